"""Steepest beside its peers, measured in one run.

A section is a module with a `TITLE` and `measure() -> list[str]`: how it was measured, and a table. Inside a section
the contenders take turns; the report gives medians and ratios of medians.
"""
