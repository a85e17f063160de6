"""Pictures of a film without a browser: a twin of what `page/src/render` draws, with the page's layout around it.

Relief, paths and camera follow the page's formulas; a test lays both pictures over each other. Constants that both need
stand once, in `constants.json`. matplotlib draws the charts, and its Agg all lines, shapes and text (`canvas`). What
numba compiles is in `raster`, which is imported where it is used.
"""
