"""Steepest in loops and trainers that exist already: recorded, guarded, diagnosed."""
