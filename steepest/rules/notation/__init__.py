"""A formula as LaTeX, MathML and plain text."""
