"""Logs of other trainers, read as records: a file of each format, and one table of what their columns mean."""
