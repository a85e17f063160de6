"""The film page's relief, drawn without a browser: a twin of what `page/src` draws, room by room.

`camera`, `field`, `scale`, `shade`, `paths`, `scenery`, `labels`, `glyph`, `curves`, `theme` and `numerals` (there:
`numbers`) do what the page's rooms of these names do, by the same formulas and with the same constants; `block` and
`raster` are its `relief`, `opening` its `view`, `plan` its `contour` and `map`. A test lays both pictures over each
other. What numba compiles is in `raster`, `light` and `ink`, which are imported where they are used.
"""
