"""Nouns that all rooms share: runs, verdicts, searches, loss surfaces.

Plain data: nothing here computes and nothing holds a tensor, so views can be tested with records written by hand.
"""
