"""The frame of a relief: the nearest camera that keeps the block and its ticks clear of what lies over the stage.

The twin of `page/src/render/frame.ts`: the same floats in the same order.
"""

import math
from typing import NamedTuple

import numpy as np

from steepest.view.render.camera import matrix, project
from steepest.view.render.field import MISSING_CELL, Field
from steepest.view.render.relief import BASE
from steepest.view.render.theme import CONSTANTS

FRAMING = CONSTANTS["frame"]
"""The camera is sought between `near` and `far` by `halvings`; `places` are the shifts that are tried along x and y."""
CORNERS = ((-1, -1), (1, -1), (1, 1), (-1, 1))
Point = tuple[float, float]


class Area(NamedTuple):
    """A rectangle of a canvas, in pixels."""

    left: float
    top: float
    right: float
    bottom: float


class Frame(NamedTuple):
    """The canvas of a view, in pixels of the page, and what lies over it."""

    width: int
    height: int
    overlays: tuple[Area, ...] = ()

    def matrix(
        self, outline: np.ndarray, azimuth: float, elevation: float, halvings: int = FRAMING["halvings"]
    ) -> np.ndarray:
        """The matrix of the nearest camera from which the block of this outline fits in, near the middle."""
        aspect = self.width / self.height
        near, far = float(FRAMING["near"]), float(FRAMING["far"])
        best, shift = far, (0.0, 0.0)
        for _ in range(halvings):
            distance = math.sqrt(near * far)
            m = matrix(azimuth, elevation, distance, (0.0, 0.0), aspect)
            shift_px = _best_shift(_hull(self._silhouette(outline, m, azimuth)), self)
            if shift_px is None:
                near = distance
            else:
                far = best = distance
                shift = 2 * shift_px[0] / self.width, -2 * shift_px[1] / self.height
        return matrix(azimuth, elevation, best, shift, aspect)

    def _silhouette(self, outline: np.ndarray, m: np.ndarray, azimuth: float) -> list[Point]:
        """Where the block's points and its ticks' labels are on the canvas."""
        tick = FRAMING["tick"]
        sx, sy = 1 if math.cos(azimuth) > 0 else -1, 1 if math.sin(azimuth) > 0 else -1
        out = 1 + tick["out"]
        feet = [foot for at in (-1, 0, 1) for foot in ((at, sy * out, BASE), (sx * out, at, BASE))]
        across, down = tick["across"], tick["down"]
        points = project(m, self.width, self.height, np.vstack((outline, feet)))[:, :2].tolist()
        labels = [(x + u * across, y + v * down) for x, y in points[len(outline) :] for u, v in CORNERS]
        return [(x, y) for x, y in points[: len(outline)]] + labels


def outline_of(field: Field) -> np.ndarray:
    """Points [P, 3] whose hull holds the block: the highest vertex of each of a few cells, corners, and base."""
    ny, nx = field.height.shape
    there = np.where(field.state == MISSING_CELL, -np.inf, field.height.astype(np.float64))
    points: list[tuple[float, float, float]] = []

    def add(j: int, i: int) -> None:
        if np.isfinite(there[j, i]):
            points.append((2 * i / (nx - 1) - 1, 2 * j / (ny - 1) - 1, float(there[j, i]) * field.scale.block))

    rows, columns = ([i * n // FRAMING["cells"] for i in range(FRAMING["cells"] + 1)] for n in (ny, nx))
    for top, bottom in zip(rows, rows[1:]):
        for left, right in zip(columns, columns[1:]):
            cell = there[top:bottom, left:right]
            if cell.size:
                j, i = np.unravel_index(int(cell.argmax()), cell.shape)
                add(top + int(j), left + int(i))
    for u, v in CORNERS:
        add(ny - 1 if v > 0 else 0, nx - 1 if u > 0 else 0)
        points.append((u, v, BASE))
    return np.array(points)


def _hull(points: list[Point]) -> list[Point]:
    """The convex hull, around it (Andrew 1979, doi:10.1016/0020-0190(79)90072-3)."""

    def half(every: list[Point]) -> list[Point]:
        chain: list[Point] = []
        for p in every:
            while len(chain) > 1 and _cross(chain[-2], chain[-1], p) <= 0:
                chain.pop()
            chain.append(p)
        return chain[:-1]

    points = sorted(points)
    return half(points) + half(points[::-1])


def _cross(o: Point, a: Point, b: Point) -> float:
    return (a[0] - o[0]) * (b[1] - o[1]) - (a[1] - o[1]) * (b[0] - o[0])


def _best_shift(hull: list[Point], frame: Frame) -> Point | None:
    """The shift, as near to the middle as can be, that frees a hull from all overlays; None where none does."""
    margin, places = FRAMING["margin"], FRAMING["places"]
    shape = np.array(hull)
    (left, top), (right, bottom) = shape.min(axis=0).tolist(), shape.max(axis=0).tolist()
    x0, x1 = margin - left, frame.width - margin - right
    y0, y1 = margin - top, frame.height - margin - bottom
    if x1 < x0 or y1 < y0:
        return None
    j, i = (at.ravel() for at in np.mgrid[: places + 1, : places + 1])
    dx, dy = x0 + (x1 - x0) * i / places, y0 + (y1 - y0) * j / places
    off = (i - places / 2) ** 2 + (j - places / 2) ** 2
    for area in frame.overlays:
        n = _separations(shape, Area(left, top, right, bottom), area)
        off = np.where((n[:, :1] * dx + n[:, 1:2] * dy <= n[:, 2:]).any(axis=0), off, np.inf)
    best = int(off.argmin())
    return (float(dx[best]), float(dy[best])) if np.isfinite(off[best]) else None


def _separations(shape: np.ndarray, bounds: Area, area: Area) -> np.ndarray:
    """Half planes of shifts (nx, ny, most), any of which keeps a hull clear of an area."""
    sides = (
        (1, 0, area.left - bounds.right), (-1, 0, bounds.left - area.right),
        (0, 1, area.top - bounds.bottom), (0, -1, bounds.top - area.bottom),
    )  # fmt: skip
    a, b = shape, np.roll(shape, -1, axis=0)
    nx, ny = b[:, 1] - a[:, 1], a[:, 0] - b[:, 0]
    nearest = np.minimum(nx * area.left, nx * area.right) + np.minimum(ny * area.top, ny * area.bottom)
    return np.vstack((sides, np.stack((nx, ny, nearest - (nx * a[:, 0] + ny * a[:, 1])), axis=1)))
