"""Diagnosis of a run from its record alone: learning rate too low or too high, noise, overfitting."""
