"""Figures by matplotlib: a run's curves, a learning-rate search, a race, a loss surface."""
