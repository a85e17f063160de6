"""Each against its peers, side by side in one run.

A section is a module with a `TITLE` and `measure() -> list[str]`: how it was measured, and a table. Peers take turns
with us inside each of them, and what is said is medians and their ratios.
"""
