"""The pictures of the manual: `python -m docs.figures` makes all of them, `python -m docs.figures slope rates` some."""
