"""The inner loops of a picture, compiled by numba: triangles into a depth buffer, light, the points of a line."""

import math

import numpy as np

from steepest.rules.backends.jit import jit
from steepest.view.render.colours import SHADES, TONES
from steepest.view.render.field import DIVERGED_CELL, MISSING_CELL
from steepest.view.render.theme import CONSTANTS

EDGE = -1e-6
"""Pixels at a triangle's edge belong to both sides, so that rounding leaves no gaps."""
DIVERGED_ROW = SHADES + 0.5
"""In the middle of the table's last row, whatever rounding does."""

PICTURE = "uint32[:,::1], float32[:,::1]"  # pixels and 1 / distance, [height, width] each
X, Y, NEAR, LIGHT, LEVEL, SHADE, SUPPORT, CELL_STATE = range(8)
"""Columns of the vertices."""
LIGHT_DIRECTION = np.array([CONSTANTS["light"][key] for key in (
    "azimuth", "elevation", "softness", "skyShare", "skyDirections", "skyReach", "shadowReach"
)], np.float64)  # fmt: skip
"""Direction of the sun and half width of a shadow's edge in radians; the sky's share; directions and reaches."""


@jit(f"void(float64[::1], float64[::1], float64[::1], float64, uint32[:,::1], float64[::1], {PICTURE})")
def _triangle(
    a: np.ndarray, b: np.ndarray, c: np.ndarray, behind: float,
    table: np.ndarray, pens: np.ndarray, pixels: np.ndarray, depth: np.ndarray,
) -> None:  # fmt: skip
    """One triangle, with its contour lines, where it is nearer than `behind` times what is drawn."""
    height, width = pixels.shape
    area = (b[X] - a[X]) * (c[Y] - a[Y]) - (b[Y] - a[Y]) * (c[X] - a[X])
    x0, x1 = max(0, math.ceil(min(a[X], b[X], c[X]) - 0.5)), min(width - 1, math.floor(max(a[X], b[X], c[X]) - 0.5))
    y0, y1 = max(0, math.ceil(min(a[Y], b[Y], c[Y]) - 0.5)), min(height - 1, math.floor(max(a[Y], b[Y], c[Y]) - 0.5))
    if x0 > x1 or y0 > y1 or abs(area) < 1e-9:
        return
    # How the weights of corners a and b grow along x and along y.
    da, db, ea, eb = (b[Y] - c[Y]) / area, (c[Y] - a[Y]) / area, (c[X] - b[X]) / area, (a[X] - c[X]) / area
    has_diverged = DIVERGED_CELL in (a[CELL_STATE], b[CELL_STATE], c[CELL_STATE])
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


@jit(f"void(float64[:,:,::1], float64, uint32[:,::1], float64[::1], {PICTURE})")
def mesh(
    vertices: np.ndarray, behind: float,
    table: np.ndarray, pens: np.ndarray, pixels: np.ndarray, depth: np.ndarray,
) -> None:  # fmt: skip
    """Draws vertices [ny, nx, 8] where they are nearer than `behind` times what is drawn; two rows are a wall.

    The table has pixels by height and brightness. The pens are the darkness of thin and thick contour lines, the number
    of lines from one thick line to the next, half a thin line's width as a share of the picture's, and the factor of a
    thick one. Diagonals alternate, but in walls, so that no direction is favoured.
    """
    ny, nx, _ = vertices.shape
    for j in range(ny - 1):
        for i in range(nx - 1):
            a, b, c, d = vertices[j, i], vertices[j, i + 1], vertices[j + 1, i], vertices[j + 1, i + 1]
            if MISSING_CELL in (a[CELL_STATE], b[CELL_STATE], c[CELL_STATE], d[CELL_STATE]):
                continue
            if ny == 2 or (i + j) % 2:
                _triangle(a, b, c, behind, table, pens, pixels, depth)
                _triangle(b, d, c, behind, table, pens, pixels, depth)
            else:
                _triangle(a, b, d, behind, table, pens, pixels, depth)
                _triangle(a, d, c, behind, table, pens, pixels, depth)


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


@jit("float64(float64[:,::1], int64, int64, float64, float64, int64, float64)")
def _horizon(z: np.ndarray, i: int, j: int, dx: float, dy: float, steps: int, cell: float) -> float:
    """The steepest slope upwards that is seen from a vertex in a direction; strides grow with the distance.

    The heights have a margin of one vertex.
    """
    slope = 0.0
    for q in range(1, steps + 1):
        r = 0.18 * q * q + 0.82 * q
        x, y = i + dx * r, j + dy * r
        if x < 0 or y < 0 or x > z.shape[1] - 3 or y > z.shape[0] - 3:
            break
        p, o = int(x), int(y)
        a, b = x - p, y - o
        above = (z[o + 1, p + 1] * (1 - a) + z[o + 1, p + 2] * a) * (1 - b)
        below = (z[o + 2, p + 1] * (1 - a) + z[o + 2, p + 2] * a) * b
        slope = max(slope, (above + below - z[j + 1, i + 1]) / (r * cell))
    return slope


def bake(z: np.ndarray) -> np.ndarray:
    """The light at each vertex, 0 … 1, of heights [ny, nx] in half widths of the block."""
    return _bake(np.pad(z, 1, mode="edge"), LIGHT_DIRECTION)


@jit("float32[:,::1](float64[:,::1], float64[::1])")
def _bake(z: np.ndarray, constants: np.ndarray) -> np.ndarray:
    azimuth, elevation, softness, share = constants[0], constants[1], constants[2], constants[3]
    directions, sky_reach, shadow_reach = int(constants[4]), int(constants[5]), int(constants[6])
    ny, nx = z.shape[0] - 2, z.shape[1] - 2
    cell = 2 / (nx - 1)
    sx, sy = math.cos(azimuth), math.sin(azimuth)
    flat, up = math.cos(elevation), math.sin(elevation)
    light = np.empty((ny, nx), np.float32)
    for j in range(ny):
        for i in range(nx):
            dx = (z[j + 1, i + 2] - z[j + 1, i]) / (2 * cell)
            dy = (z[j + 2, i + 1] - z[j, i + 1]) / 4 * (ny - 1)
            direct = max(0.0, (up - (dx * sx + dy * sy) * flat) / math.sqrt(dx * dx + dy * dy + 1))
            sky = 0.0
            for k in range(directions):
                a = k / directions * 2 * math.pi
                rise = _horizon(z, i, j, math.cos(a), math.sin(a), sky_reach, cell)
                sky += 1 / math.sqrt(1 + rise * rise) / directions
            above = math.atan(_horizon(z, i, j, sx, sy, shadow_reach, cell)) - elevation
            shadow = min(1.0, max(0.0, (above + softness) / 0.3)) * 0.75
            light[j, i] = min(1.0, share * sky * sky + (1 - share) * direct * (1 - shadow))
    return light
