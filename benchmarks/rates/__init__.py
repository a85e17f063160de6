"""Benchmarks of learning-rate searches and races."""
