"""Update rules: each is one formula, from which kernels, notation and the web page's program are generated."""
