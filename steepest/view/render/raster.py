"""The inner loops of a picture, compiled by numba: triangles into a depth buffer, and the points that a line needs."""

import math

import numpy as np

from steepest.rules.backends.jit import jit
from steepest.view.render.colours import SHADES, TONES
from steepest.view.render.field import DIVERGED_CELL, MISSING_CELL

EDGE = -1e-6
"""Pixels at a triangle's edge belong to both sides, so that rounding leaves no gaps."""
DIVERGED_ROW = SHADES + 0.5
"""In the middle of the table's last row, whatever rounding does."""
BEHIND = 1.0006
"""Factor of 1 / distance by which a wall must be nearer to be drawn: the surface's edge stays in front of it."""

PICTURE = "uint32[:,::1], float32[:,::1]"  # pixels and 1 / distance, [height, width] each


CORNER = "float64[::1], float64[::1], float64[::1]"
X, Y, NEAR, LIGHT, LEVEL, SHADE, SUPPORT = range(7)
"""Columns of the vertices."""


@jit(f"UniTuple(float64, 4)({CORNER})")
def _growth(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> tuple[float, float, float, float]:
    """Derivatives of the weights of corners a and b along x and along y; NaN for an empty triangle."""
    area = (b[X] - a[X]) * (c[Y] - a[Y]) - (b[Y] - a[Y]) * (c[X] - a[X])
    if abs(area) < 1e-9:
        return math.nan, math.nan, math.nan, math.nan
    return (b[Y] - c[Y]) / area, (c[Y] - a[Y]) / area, (c[X] - b[X]) / area, (a[X] - c[X]) / area


@jit(f"UniTuple(int64, 4)({CORNER}, int64, int64)")
def _box(a: np.ndarray, b: np.ndarray, c: np.ndarray, width: int, height: int) -> tuple[int, int, int, int]:
    """Bounds of the pixels that a triangle may cover: x0, x1, y0, y1, ends included."""
    x0 = max(0, math.ceil(min(a[X], b[X], c[X]) - 0.5))
    x1 = min(width - 1, math.floor(max(a[X], b[X], c[X]) - 0.5))
    y0 = max(0, math.ceil(min(a[Y], b[Y], c[Y]) - 0.5))
    y1 = min(height - 1, math.floor(max(a[Y], b[Y], c[Y]) - 0.5))
    return x0, x1, y0, y1


@jit(f"void({CORNER}, boolean, float64, uint32[:,::1], float64[::1], {PICTURE})")
def _triangle(
    a: np.ndarray, b: np.ndarray, c: np.ndarray, has_diverged: bool, behind: float,
    table: np.ndarray, pens: np.ndarray, pixels: np.ndarray, depth: np.ndarray,
) -> None:  # fmt: skip
    """One triangle, with its contour lines, where it is nearer than `behind` times what is drawn."""
    height, width = pixels.shape
    da, db, ea, eb = _growth(a, b, c)
    if math.isnan(da):
        return
    x0, x1, y0, y1 = _box(a, b, c, width, height)
    va, vb, vc = (DIVERGED_ROW, DIVERGED_ROW, DIVERGED_ROW) if has_diverged else (a[SHADE], b[SHADE], c[SHADE])
    wa, wb, wc, la, lb, lc = a[NEAR], b[NEAR], c[NEAR], a[LIGHT], b[LIGHT], c[LIGHT]
    ua, ub, uc = a[LEVEL], b[LEVEL], c[LEVEL]
    # Contour levels a pixel: lines fade where they are dense, and where the standard error does not support them.
    steep = math.hypot((ua - uc) * da + (ub - uc) * db, (ua - uc) * ea + (ub - uc) * eb)
    worth = 0.0 if has_diverged else (a[SUPPORT] + b[SUPPORT] + c[SUPPORT]) / 3
    thin = pens[0] * worth * min(1.0, max(0.0, 1.25 - steep * 5))
    thick = pens[1] * worth * min(1.0, max(0.0, 1.25 - steep * 1.6))
    per_pixel = 1 / max(1e-5, steep)
    half_thin, half_thick = pens[3] * width + 0.5, pens[3] * width * pens[4] + 0.5
    for y in range(y0, y1 + 1):
        pa = (x0 + 0.5 - c[X]) * da + (y + 0.5 - c[Y]) * ea
        pb = (x0 + 0.5 - c[X]) * db + (y + 0.5 - c[Y]) * eb
        for x in range(x0, x1 + 1):
            pc = 1 - pa - pb
            near = pa * wa + pb * wb + pc * wc
            if pa >= EDGE and pb >= EDGE and pc >= EDGE and near > depth[y, x] * behind:
                depth[y, x] = near
                u = pa * ua + pb * ub + pc * uc
                line = math.floor(u + 0.5)
                is_thick = line % pens[2] == 0
                cover = (half_thick if is_thick else half_thin) - abs(u - line) * per_pixel
                lit = pa * la + pb * lb + pc * lc
                if cover > 0:
                    lit *= 1 - min(1.0, cover) * (thick if is_thick else thin)
                pixels[y, x] = table[int(pa * va + pb * vb + pc * vc), int(lit * (TONES - 1))]
            pa += da
            pb += db


@jit(f"void(float64[:,:,::1], uint8[:,::1], uint32[:,::1], float64[::1], {PICTURE})")
def surface(
    vertices: np.ndarray, state: np.ndarray, table: np.ndarray, pens: np.ndarray, pixels: np.ndarray, depth: np.ndarray
) -> None:
    """The block's upper side, of vertices [ny, nx, 7]. Diagonals alternate, so that no direction is favoured.

    The table has pixels by height and brightness. The pens are the darkness of thin and thick contour lines, the number
    of lines from one thick line to the next, half a thin line's width as a share of the picture's, a thick one's factor.
    """
    ny, nx = state.shape
    for j in range(ny - 1):
        for i in range(nx - 1):
            states = state[j, i], state[j, i + 1], state[j + 1, i], state[j + 1, i + 1]
            if MISSING_CELL in states:
                continue
            sa, sb, sc, sd = states
            a, b, c, d = vertices[j, i], vertices[j, i + 1], vertices[j + 1, i], vertices[j + 1, i + 1]
            da, db, dc, dd = sa == DIVERGED_CELL, sb == DIVERGED_CELL, sc == DIVERGED_CELL, sd == DIVERGED_CELL
            if (i + j) % 2:
                _triangle(a, b, c, da or db or dc, 1.0, table, pens, pixels, depth)
                _triangle(b, d, c, db or dd or dc, 1.0, table, pens, pixels, depth)
            else:
                _triangle(a, b, d, da or db or dd, 1.0, table, pens, pixels, depth)
                _triangle(a, d, c, da or dd or dc, 1.0, table, pens, pixels, depth)


@jit(f"void(float64[:,:,::1], uint8[::1], uint32[:,::1], float64[::1], {PICTURE})")
def wall(
    ring: np.ndarray, state: np.ndarray, table: np.ndarray, pens: np.ndarray, pixels: np.ndarray, depth: np.ndarray
) -> None:
    """A wall from the surface's edge down to the base, of a ring of vertices [n, 2, 7]: above, and at the base."""
    for k in range(len(ring) - 1):
        if state[k] != MISSING_CELL and state[k + 1] != MISSING_CELL:
            _triangle(ring[k, 0], ring[k + 1, 0], ring[k, 1], False, BEHIND, table, pens, pixels, depth)
            _triangle(ring[k + 1, 0], ring[k + 1, 1], ring[k, 1], False, BEHIND, table, pens, pixels, depth)


@jit("boolean[::1](float64[:,::1], float64)")
def thin(points: np.ndarray, distance: float) -> np.ndarray:
    """Mask of points [P, 2], each at least this far, across plus down, from the one selected before."""
    mask = np.ones(len(points), np.bool_)
    last = -1
    for k in range(len(points)):
        if math.isnan(points[k, 0]):
            last = -1
        elif last >= 0 and abs(points[k, 0] - points[last, 0]) + abs(points[k, 1] - points[last, 1]) < distance:
            mask[k] = False
        else:
            last = k
    return mask
