"""Light at each vertex: a sun with soft shadows, and a sky that is darker in hollows. Compiled by numba."""

import math

import numpy as np

from steepest.rules.backends.jit import jit
from steepest.view.render.theme import CONSTANTS

LIGHT_DIRECTION = np.array([CONSTANTS["light"][key] for key in (
    "azimuth", "elevation", "softness", "skyShare", "skyDirections", "skyReach", "shadowReach"
)], np.float64)  # fmt: skip
"""Direction of the sun and half width of a shadow's edge in radians; the sky's share; directions and reaches."""


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


def bake(z: np.ndarray) -> np.ndarray:
    """The light at each vertex, 0 … 1, of heights [ny, nx] in half widths of the block."""
    return _bake(z, LIGHT_DIRECTION)


@jit("float32[:,::1](float64[:,::1], float64[::1])")
def _bake(z: np.ndarray, constants: np.ndarray) -> np.ndarray:
    azimuth, elevation, softness, share = constants[0], constants[1], constants[2], constants[3]
    directions, sky_reach, shadow_reach = int(constants[4]), int(constants[5]), int(constants[6])
    ny, nx = z.shape
    cell = 2 / (nx - 1)
    sx, sy = math.cos(azimuth), math.sin(azimuth)
    flat, up = math.cos(elevation), math.sin(elevation)
    light = np.empty((ny, nx), np.float32)
    for j in range(ny):
        for i in range(nx):
            dx = (_at(z, i + 1, j) - _at(z, i - 1, j)) / (2 * cell)
            dy = (_at(z, i, j + 1) - _at(z, i, j - 1)) / 4 * (ny - 1)
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
