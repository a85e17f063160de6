"""The stage: the relief with the paths on it, in the view that hides as little of them as possible."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image

from steepest.records.surfaces import Grid
from steepest.view.film.numbers import count
from steepest.view.film.schema import Member
from steepest.view.render.camera import matrix, project
from steepest.view.render.canvas import Canvas, Font
from steepest.view.render.field import coarse, field_of, refine
from steepest.view.render.labels import Label, draw_labels
from steepest.view.render.paths import LIFT, SLACK, Trace, View, draw_paths, outline_points, position_at, trace_of
from steepest.view.render.relief import Block
from steepest.view.render.scenery import draw_axes, draw_edges, draw_escape, draw_marks, draw_start
from steepest.view.render.theme import CONSTANTS, Theme

Angles = tuple[float, float]
"""Azimuth and elevation of the camera in radians."""
VIEW = CONSTANTS["view"]
"""Weights and sizes of `opening_view`. `distance` is where the block fills a canvas `wide` times as wide as high."""
FINE = 2
"""Pixels of the relief per pixel of the canvas, along x and along y."""
NARROW = 640
"""On a narrower canvas only the first member has a label."""
HEAD_FONT = Font("bold", 13)


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


class Stage:
    """A surface that has a finite cell, by its name in the film, and the members' paths on it, the first on top."""

    def __init__(self, grid: Grid, name: str, members: list[Member], steps: float, frame: Frame, theme: Theme) -> None:
        self.field = refine(field_of(grid))
        self.block = Block(self.field, theme)
        self.traces = [trace_of(member, name, self.block) for member in members]
        self._marks, self._steps, self._names = grid.marks, steps, [member.name for member in members]
        self.frame, self.theme = frame, theme
        self.azimuth, self.elevation = opening_view(self.block, self.traces, frame, theme)
        self.block.resize(FINE * frame.width, FINE * frame.height)
        self._static: tuple[float, np.ndarray] | None = None

    def draw(self, canvas: Canvas, t: float, rotation: float = 0.0) -> None:
        """Draws it at a step, with fractions while playing, the camera rotated by radians from the opening view."""
        azimuth = self.azimuth + rotation
        view = View(canvas, self.block, self.frame.matrix(azimuth, self.elevation), self.theme)
        if self._static is None or rotation != self._static[0]:
            self.block.render(view.matrix, azimuth)
            _lay(self.block.pixels, canvas.pixels)
            draw_edges(view)
            draw_axes(view, azimuth)
            self._static = rotation, canvas.pixels.copy()
        else:
            canvas.pixels[:] = self._static[1]
        traces, has_room = self.traces, canvas.width >= NARROW
        labels = draw_marks(view, self._marks, has_room)
        end = position_at(traces[0], self._steps) if traces and traces[0] else None
        if end is not None and t >= self._steps:
            labels += draw_escape(view, self._marks, end)
        for trace in [trace for trace in traces if trace][:1]:
            labels += draw_start(view, trace, has_room)
        for member, (x, y) in reversed(draw_paths(view, traces, t).items()):
            text = self._names[member] if len(traces) > 1 else f"step {count(math.floor(t))}"
            if has_room or member == 0:
                labels.append(Label(x, y, text, HEAD_FONT, self.theme.name_colour(member), False))
        draw_labels(canvas, labels, outline_points(view, traces), self.theme)


def _lay(fine: np.ndarray, pixels: np.ndarray) -> None:
    """Lays a finer picture [FINE · height, FINE · width] uint32 over pixels of one colour: the mean of each FINE²."""
    paper = np.append(pixels[0, 0], np.uint8(255)).view(np.uint32)
    opaque = np.where(fine == 0, paper, fine)  # 0 where nothing is drawn
    pixels[:] = np.asarray(Image.frombuffer("RGBX", fine.shape[::-1], opaque).reduce(FINE))[..., :3]


def opening_view(block: Block, traces: Sequence[Trace | None], frame: Frame, theme: Theme) -> Angles:
    """The view that hides least of the paths, out of 16 azimuths and 3 elevations.

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


def _rank(block: Block, width: int, views: list[Angles], points: np.ndarray, frame: Frame) -> list[Angles]:
    """Views by their cost in a picture of this width, the cheapest first.

    The cost is the share of points that are hidden or lie under the verdict, minus a reward for their spread.
    """
    block.resize(width, math.floor(width * frame.height / frame.width + 0.5))
    above = block.above(points[:, 0], points[:, 1], LIFT)

    def cost(view: Angles) -> float:
        azimuth, elevation = view
        turn = azimuth - VIEW["mapAzimuth"]  # axes should run as on a map, and the block not be seen along an axis
        away = abs(math.atan2(math.sin(turn), math.cos(turn))) / math.pi
        own = VIEW["asOnMap"] * away + VIEW["alongAxis"] * math.cos(2 * azimuth) ** 2
        if not len(points):
            return own
        m = frame.matrix(azimuth, elevation)
        block.render(m, azimuth)
        at = project(m, block.width, block.height, above)
        visible = block.is_visible(at, 1, SLACK)
        under = frame.overlaid & visible & (at[:, 0] < 0.5 * block.width) & (at[:, 1] < 0.27 * block.height)
        penalty = (~visible).sum() + VIEW["covered"] * under.sum()
        across, down = np.ptp(at[:, :2], axis=0)
        spread = math.hypot(across / block.width, down / block.height)
        return own + float(penalty / len(points) - VIEW["spread"] * min(1.0, spread))

    return sorted(views, key=cost)
