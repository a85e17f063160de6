"""Light, baked once for each vertex: a sun with soft shadows, and a sky that hollows see less of. Compiled by numba."""

import math

import numpy as np

from steepest.rules.backends.jit import jit

SUN_AZIMUTH, SUN_ELEVATION = 2.45, 0.72
SKY_DIRECTIONS, SKY_REACH, SHADOW_REACH = 10, 10, 14
SOFTNESS = 0.22
"""Half width of the shadow's edge, radians."""
SKY_SHARE = 0.34


@jit("float64(float64[:,::1], int64, int64)")
def _at(z: np.ndarray, i: int, j: int) -> float:
    """The height of a vertex, or of the nearest one."""
    return z[max(0, min(z.shape[0] - 1, j)), max(0, min(z.shape[1] - 1, i))]


@jit("float64(float64[:,::1], int64, int64, float64, float64, int64, float64)")
def _horizon(z: np.ndarray, i: int, j: int, dx: float, dy: float, steps: int, cell: float) -> float:
    """The steepest slope upwards that is seen from a vertex in a direction; strides grow with the distance."""
    slope = 0.0
    for q in range(1, steps + 1):
        r = 0.18 * q * q + 0.82 * q
        x, y = i + dx * r, j + dy * r
        if x < 0 or y < 0 or x > z.shape[1] - 1 or y > z.shape[0] - 1:
            break
        p, o = int(x), int(y)
        a, b = x - p, y - o
        above = (_at(z, p, o) * (1 - a) + _at(z, p + 1, o) * a) * (1 - b)
        below = (_at(z, p, o + 1) * (1 - a) + _at(z, p + 1, o + 1) * a) * b
        slope = max(slope, (above + below - z[j, i]) / (r * cell))
    return slope


@jit("float32[:,::1](float64[:,::1])")
def bake(z: np.ndarray) -> np.ndarray:
    """The light at each vertex, 0 … 1.

    Args:
        z: heights [ny, nx] in half widths of the block.
    """
    ny, nx = z.shape
    cell = 2 / (nx - 1)
    sx, sy = math.cos(SUN_AZIMUTH), math.sin(SUN_AZIMUTH)
    flat, up = math.cos(SUN_ELEVATION), math.sin(SUN_ELEVATION)
    light = np.empty((ny, nx), np.float32)
    for j in range(ny):
        for i in range(nx):
            dx = (_at(z, i + 1, j) - _at(z, i - 1, j)) / (2 * cell)
            dy = (_at(z, i, j + 1) - _at(z, i, j - 1)) / 4 * (ny - 1)
            facing = max(0.0, (up - (dx * sx + dy * sy) * flat) / math.sqrt(dx * dx + dy * dy + 1))
            sky = 0.0
            for k in range(SKY_DIRECTIONS):
                a = k / SKY_DIRECTIONS * 2 * math.pi
                rise = _horizon(z, i, j, math.cos(a), math.sin(a), SKY_REACH, cell)
                sky += 1 / math.sqrt(1 + rise * rise) / SKY_DIRECTIONS
            above = math.atan(_horizon(z, i, j, sx, sy, SHADOW_REACH, cell)) - SUN_ELEVATION
            shadow = min(1.0, max(0.0, (above + SOFTNESS) / 0.3)) * 0.75
            light[j, i] = min(1.0, SKY_SHARE * sky * sky + (1 - SKY_SHARE) * facing * (1 - shadow))
    return light
