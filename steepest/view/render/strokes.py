"""Lines, shapes and letters laid over pixels, with soft edges. Compiled by numba."""

import math

import numpy as np

from steepest.rules.backends.jit import jit

SUB = 4
"""Samples a pixel along x and along y in a filled shape."""

RGB = "Array(uint8, 3, 'A')"
COVER = "float32[:,::1]"


@jit(f"void({RGB}, int64, int64, float64, float64[::1])")
def _blend(pixels: np.ndarray, y: int, x: int, share: float, colour: np.ndarray) -> None:
    """Lays so much of a colour, 0 … 255 each, over one pixel."""
    for k in range(3):
        old = float(pixels[y, x, k])
        pixels[y, x, k] = np.uint8(old + (colour[k] - old) * share + 0.5)


@jit(f"void({RGB}, {COVER}, float64[:,::1], float64, float64[::1], float64)")
def stroke(
    pixels: np.ndarray, cover: np.ndarray, points: np.ndarray, width: float, colour: np.ndarray, alpha: float
) -> None:
    """A line through points [P, 2] with round joints and ends; NaN interrupts it.

    Where it crosses itself it is not drawn twice.

    Args:
        pixels: [height, width, 3].
        cover: zeros of that size, and zeros again afterwards.
        points: in pixels.
        width: of the line in pixels, 1 or more.
        colour: 0 … 255 each.
        alpha: how opaque it is.
    """
    height, across = cover.shape
    reach = width / 2 + 0.5
    left, right, top, bottom = across, -1, height, -1
    for k in range(len(points) - 1):
        ax, ay, bx, by = points[k, 0], points[k, 1], points[k + 1, 0], points[k + 1, 1]
        if math.isnan(ax + ay + bx + by):
            continue
        dx, dy = bx - ax, by - ay
        long = max(dx * dx + dy * dy, 1e-12)
        x0, x1 = max(0.0, min(ax, bx) - reach), min(across - 1.0, max(ax, bx) + reach)
        y0, y1 = max(0.0, min(ay, by) - reach), min(height - 1.0, max(ay, by) + reach)
        if x1 < x0 or y1 < y0:
            continue
        left, right, top, bottom = min(left, int(x0)), max(right, int(x1)), min(top, int(y0)), max(bottom, int(y1))
        for y in range(int(y0), int(y1) + 1):
            for x in range(int(x0), int(x1) + 1):
                px, py = x + 0.5 - ax, y + 0.5 - ay
                s = min(1.0, max(0.0, (px * dx + py * dy) / long))
                here = reach - math.hypot(px - s * dx, py - s * dy)
                if here > cover[y, x]:
                    cover[y, x] = min(1.0, here)
    for y in range(top, bottom + 1):
        for x in range(left, right + 1):
            if cover[y, x] > 0:
                _blend(pixels, y, x, cover[y, x] * alpha, colour)
                cover[y, x] = 0


@jit(f"void({RGB}, float64[:,::1], float64[::1], float64)")
def fill(pixels: np.ndarray, corners: np.ndarray, colour: np.ndarray, alpha: float) -> None:
    """A polygon [C, 2], even-odd."""
    height, width = pixels.shape[:2]
    left, top = max(0, int(corners[:, 0].min())), max(0, int(corners[:, 1].min()))
    right, bottom = min(width - 1, int(corners[:, 0].max())), min(height - 1, int(corners[:, 1].max()))
    for y in range(top, bottom + 1):
        for x in range(left, right + 1):
            hits = 0
            for q in range(SUB * SUB):
                px, py = x + (q % SUB + 0.5) / SUB, y + (q // SUB + 0.5) / SUB
                inside = False
                for k in range(len(corners)):
                    ax, ay, bx, by = corners[k - 1, 0], corners[k - 1, 1], corners[k, 0], corners[k, 1]
                    if (ay > py) != (by > py) and px < ax + (py - ay) / (by - ay) * (bx - ax):
                        inside = not inside
                hits += inside
            if hits:
                _blend(pixels, y, x, hits / (SUB * SUB) * alpha, colour)


@jit(f"void({RGB}, float64, float64, float64, float64, float64[::1], float64)")
def fill_box(
    pixels: np.ndarray, left: float, top: float, right: float, bottom: float, colour: np.ndarray, alpha: float
) -> None:
    """A rectangle."""
    height, width = pixels.shape[:2]
    for y in range(max(0, math.floor(top)), min(height, math.ceil(bottom))):
        down = min(y + 1.0, bottom) - max(float(y), top)
        for x in range(max(0, math.floor(left)), min(width, math.ceil(right))):
            across = min(x + 1.0, right) - max(float(x), left)
            _blend(pixels, y, x, across * down * alpha, colour)


@jit(f"void({RGB}, uint8[:,::1], int64, int64, float64[::1], float64)")
def lay(pixels: np.ndarray, mask: np.ndarray, left: int, top: int, colour: np.ndarray, alpha: float) -> None:
    """A mask [h, w] of 0 … 255 whose upper left pixel lies at (left, top)."""
    for j in range(max(0, -top), min(mask.shape[0], pixels.shape[0] - top)):
        for i in range(max(0, -left), min(mask.shape[1], pixels.shape[1] - left)):
            if mask[j, i]:
                _blend(pixels, top + j, left + i, mask[j, i] / 255 * alpha, colour)


@jit(f"void(uint8[:,:,::1], int64, {RGB})")
def shrink(fine: np.ndarray, factor: int, pixels: np.ndarray) -> None:
    """Lays a finer picture over pixels: each is covered by the mean of `factor`² of [height, width, 4]."""
    n = factor * factor
    for y in range(pixels.shape[0]):
        for x in range(pixels.shape[1]):
            r, g, b, opaque = 0, 0, 0, 0
            for j in range(y * factor, (y + 1) * factor):
                for i in range(x * factor, (x + 1) * factor):
                    if fine[j, i, 3]:
                        r, g, b, opaque = r + fine[j, i, 0], g + fine[j, i, 1], b + fine[j, i, 2], opaque + 1
            free = n - opaque
            pixels[y, x, 0] = (r + free * pixels[y, x, 0] + n // 2) // n
            pixels[y, x, 1] = (g + free * pixels[y, x, 1] + n // 2) // n
            pixels[y, x, 2] = (b + free * pixels[y, x, 2] + n // 2) // n


@jit("boolean[::1](float64[:,::1], float64)")
def thinned(points: np.ndarray, nearer: float) -> np.ndarray:
    """Which points [P, 2] to keep so that each lies farther than this, across plus down, from the one kept before."""
    kept = np.ones(len(points), np.bool_)
    last = -1
    for k in range(len(points)):
        if math.isnan(points[k, 0]):
            last = -1
        elif last >= 0 and abs(points[k, 0] - points[last, 0]) + abs(points[k, 1] - points[last, 1]) < nearer:
            kept[k] = False
        else:
            last = k
    return kept
