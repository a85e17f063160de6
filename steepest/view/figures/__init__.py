"""Figures by matplotlib: curves of a run, a learning-rate search, a race."""
