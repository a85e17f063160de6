"""The camera of a picture: its frame, and the opening view, which hides as little of the paths as possible."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from steepest.view.render.camera import matrix, project
from steepest.view.render.field import coarse
from steepest.view.render.paths import LIFT, SLACK, Trace
from steepest.view.render.relief import Block
from steepest.view.render.theme import CONSTANTS, Theme

VIEW = CONSTANTS["view"]
"""Weights and sizes of `opening_view`. `distance` is where the block fills a canvas `wide` times as wide as high."""


class Frame(NamedTuple):
    """The canvas of a view, in pixels of the page; the verdict may lie over its top left."""

    width: int
    height: int
    overlaid: bool

    def matrix(self, azimuth: float, elevation: float) -> np.ndarray:
        """The matrix of the camera that fits the block in, lower and to the right where the verdict overlays it."""
        aspect = self.width / self.height
        low = 1 + max(0.0, VIEW["low"] - self.height) / VIEW["low"] if self.overlaid else 1.0
        shift = (0.15, -0.1) if self.overlaid else (0.0, -0.02) if self.width < VIEW["narrow"] else (0.12, 0.05)
        return matrix(azimuth, elevation, VIEW["distance"] * low * max(1.0, VIEW["wide"] / aspect), shift, aspect)


def opening_view(block: Block, traces: Sequence[Trace | None], frame: Frame, theme: Theme) -> tuple[float, float]:
    """(azimuth, elevation) of the view that hides least of the paths, out of 16 azimuths and 3 elevations.

    All are compared on a coarse grid in small pictures, the finalists on the whole one in larger ones.
    """
    paths = [t.at[:: max(1, len(t.at) // VIEW["points"]), :2] for t in traces if t is not None]
    points = np.concatenate([np.empty((0, 2)), *paths])
    points = points[~np.isnan(points[:, 0])]
    count = VIEW["azimuths"]
    views = [((a + 0.5) / count * 2 * math.pi, elevation) for elevation in VIEW["elevations"] for a in range(count)]
    small = Block(coarse(block.field, max(1, block.field.x.n // VIEW["coarseVertices"])), theme)
    finalists = _rank(small, VIEW["smallWidth"], views, points, frame)[: VIEW["finalists"]]
    return _rank(block, VIEW["largeWidth"], finalists, points, frame)[0]


def _rank(
    block: Block, width: int, views: list[tuple[float, float]], points: np.ndarray, frame: Frame
) -> list[tuple[float, float]]:
    """Views by their cost in a picture of this width, the cheapest first."""
    block.resize(width, math.floor(width * frame.height / frame.width + 0.5))

    def cost(view: tuple[float, float]) -> float:
        azimuth, elevation = view
        turn = azimuth - VIEW["mapAzimuth"]  # axes should run as on a map, and the block not be seen along an axis
        m = frame.matrix(azimuth, elevation)
        block.render(m, azimuth)
        away = abs(math.atan2(math.sin(turn), math.cos(turn))) / math.pi
        own = VIEW["asOnMap"] * away + VIEW["alongAxis"] * math.cos(2 * azimuth) ** 2
        return own + _hidden_share(block, m, points, frame.overlaid)

    return sorted(views, key=cost)


def _hidden_share(block: Block, m: np.ndarray, points: np.ndarray, overlaid: bool) -> float:
    """Share of points that are hidden or lie under the verdict, minus a reward for their spread over the picture."""
    if not len(points):
        return 0.0
    at = project(m, block.width, block.height, block.above(*points.T, LIFT))
    visible = block.is_visible(at, 1, SLACK)
    under = overlaid & visible & (at[:, 0] < 0.5 * block.width) & (at[:, 1] < 0.27 * block.height)
    count = (~visible).sum() + VIEW["covered"] * under.sum()
    across, down = np.ptp(at[:, :2], axis=0)
    spread = math.hypot(across / block.width, down / block.height)
    return float(count / len(points) - VIEW["spread"] * min(1.0, spread))
