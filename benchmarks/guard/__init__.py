"""Benchmarks of the guard and of resuming."""
