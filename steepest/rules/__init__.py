"""Update rules: one formula each, and what is made from it: kernels, notation, code for the web page."""
