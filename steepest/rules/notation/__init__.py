"""The formula of a rule in print: LaTeX, MathML and plain text."""
