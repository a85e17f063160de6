"""How a relief is looked at: framing, and the opening view that hides least of the paths."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from steepest.view.render.camera import Camera, matrix, project
from steepest.view.render.field import coarse
from steepest.view.render.paths import LIFT, SLACK, Trace
from steepest.view.render.relief import Block
from steepest.view.render.theme import Theme

NARROW, LOW, WIDE = 500, 700, 1.3
DISTANCE = 13.8
"""At which the block fills a canvas that is wide enough."""
AZIMUTHS, ELEVATIONS = 16, (0.5, 0.75, 1.02)
SMALL, LARGER = 200, 480
"""Widths of the small pictures in which hidden points are counted."""
POINTS = 120
COARSE, FINALISTS = 40, 6
"""Vertices of the coarse grid, and how many views are looked at again on the whole one."""
SPREAD, COVERED, AS_ON_A_MAP, MAP_AZIMUTH = 0.15, 0.5, 0.06, -1.2
"""What is hidden weighs most; then that paths spread on the screen, and that axes run as on a map."""
ALONG_AN_AXIS = 0.12
"""A block that is seen along an axis looks flat."""


@dataclass(frozen=True)
class Frame:
    """The canvas that is looked through.

    Attributes:
        width, height: in pixels of the page.
        overlaid: whether the verdict lies over its top left.
    """

    width: int
    height: int
    overlaid: bool

    def camera(self, azimuth: float, elevation: float) -> Camera:
        """The camera that frames the block; where the verdict overlays it, a little lower and to the right."""
        aspect = self.width / self.height
        # There the verdict takes a larger share.
        low = 1 + max(0.0, LOW - self.height) / LOW if self.overlaid else 1.0
        distance = DISTANCE * low * max(1.0, WIDE / aspect)
        shift = (0.15, -0.1) if self.overlaid else (0.0, -0.02) if self.width < NARROW else (0.12, 0.05)
        return Camera(azimuth, elevation, distance, shift)

    def matrix(self, azimuth: float, elevation: float) -> np.ndarray:
        """The matrix of that camera."""
        return matrix(self.camera(azimuth, elevation), self.width / self.height)


def opening_view(block: Block, traces: Sequence[Trace | None], frame: Frame, theme: Theme) -> tuple[float, float]:
    """(azimuth, elevation): of 16 azimuths and 3 elevations, the one that hides least of the paths.

    All are looked at on a coarse grid, the best ones on the whole.

    Args:
        block: the relief; it is left at the size of the last look.
        traces: the paths on it.
        frame: through which it is looked at.
        theme: of a block made for looking.
    """
    thinned = [t.at[:: max(1, len(t.at) // POINTS), :2] for t in traces if t is not None]
    points = np.concatenate([np.empty((0, 2)), *thinned])
    points = points[~np.isnan(points[:, 0])]
    every = [((a + 0.5) / AZIMUTHS * 2 * math.pi, elevation) for elevation in ELEVATIONS for a in range(AZIMUTHS)]
    small = Block(coarse(block.field, max(1, block.field.x.n // COARSE)), theme)
    return _ranked(block, LARGER, _ranked(small, SMALL, every, points, frame)[:FINALISTS], points, frame)[0]


def _ranked(
    block: Block, across: int, views: list[tuple[float, float]], points: np.ndarray, frame: Frame
) -> list[tuple[float, float]]:
    """Views in the order of what they cost, the cheapest first, as seen in a picture so many pixels wide."""
    block.resize(across, math.floor(across * frame.height / frame.width + 0.5))

    def cost(view: tuple[float, float]) -> float:
        azimuth, elevation = view
        away = azimuth - MAP_AZIMUTH
        turned = abs(math.atan2(math.sin(away), math.cos(away))) / math.pi
        m = frame.matrix(azimuth, elevation)
        block.render(m, azimuth)
        given = AS_ON_A_MAP * turned + ALONG_AN_AXIS * math.cos(2 * azimuth) ** 2
        return given + _hiding(block, m, points, frame.overlaid)

    return sorted(views, key=cost)


def _hiding(block: Block, m: np.ndarray, points: np.ndarray, overlaid: bool) -> float:
    """Share of points that are hidden or lie under the verdict, less how far they spread over the picture."""
    if not len(points):
        return 0.0
    above = np.column_stack((points, block.height_at(*points.T) + LIFT))
    seen = project(m, block.width, block.height, above)
    visible = block.is_visible(seen, 1, SLACK)
    under = overlaid & visible & (seen[:, 0] < 0.5 * block.width) & (seen[:, 1] < 0.27 * block.height)
    hidden = (~visible).sum() + COVERED * under.sum()
    across, down = np.ptp(seen[:, :2], axis=0)
    spread = math.hypot(across / block.width, down / block.height)
    return float(hidden / len(points) - SPREAD * min(1.0, spread))
