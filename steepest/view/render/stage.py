"""The stage: the relief with the paths on it, in the view that hides as little of them as possible."""

import math
from collections.abc import Sequence

import numpy as np
from PIL import Image

from steepest.records.surfaces import Grid
from steepest.view.film.numbers import count
from steepest.view.film.schema import Member
from steepest.view.render.camera import project
from steepest.view.render.canvas import Canvas, Font
from steepest.view.render.field import coarse, field_of, refine
from steepest.view.render.frame import FRAMING, Frame, outline_of
from steepest.view.render.labels import Label, draw_labels
from steepest.view.render.paths import LIFT, SLACK, Trace, View, draw_paths, outline_points, position_at, trace_of
from steepest.view.render.relief import Block
from steepest.view.render.scenery import axis_labels, draw_edges, draw_escape, draw_marks, draw_start, undone_labels
from steepest.view.render.theme import CONSTANTS, Theme

Angles = tuple[float, float]
"""Azimuth and elevation of the camera in radians."""
VIEW = CONSTANTS["view"]
"""Weights and sizes of `opening_view`."""
FINE = 2
"""Pixels of the relief per pixel of the canvas, along x and along y."""
HEAD_FONT = Font("bold", 13)


class Stage:
    """A surface that has a finite cell, by its name in the film, and the members' paths on it, the first on top."""

    def __init__(self, grid: Grid, name: str, members: list[Member], steps: float, frame: Frame, theme: Theme) -> None:
        self.field = refine(field_of(grid))
        self.block = Block(self.field, theme)
        self.traces = [trace_of(member, name, self.block) for member in members]
        self._marks, self._steps, self._names = grid.marks, steps, [member.name for member in members]
        self.frame, self.theme = frame, theme
        self._outline = outline_of(self.field)
        self.azimuth, self.elevation = opening_view(self.block, self._outline, self.traces, frame, theme)
        self.block.resize(FINE * frame.width, FINE * frame.height)
        self._static: tuple[float, np.ndarray, np.ndarray, list[Label]] | None = None

    def draw(self, canvas: Canvas, t: float, rotation: float = 0.0) -> None:
        """Draws it at a step, with fractions while playing, the camera rotated by radians from the opening view."""
        azimuth = self.azimuth + rotation
        if self._static is None or rotation != self._static[0]:
            m = self.frame.matrix(self._outline, azimuth, self.elevation)
            view = View(canvas, self.block, m, self.theme)
            self.block.render(m, azimuth)
            _lay(self.block.pixels, canvas.pixels)
            draw_edges(view)
            self._static = rotation, canvas.pixels.copy(), m, axis_labels(view, azimuth)
        _, pixels, m, axes = self._static
        canvas.pixels[:] = pixels
        view = View(canvas, self.block, m, self.theme)
        traces = self.traces
        words = draw_marks(view, self._marks)
        end = position_at(traces[0], self._steps) if traces and traces[0] else None
        if end is not None and t >= self._steps:
            words += draw_escape(view, self._marks, end)
        start = [label for trace in [trace for trace in traces if trace][:1] for label in draw_start(view, trace)]
        if traces and traces[0]:
            start += undone_labels(view, traces[0], t)
        heads = [
            Label(x, y, self._words(member, t), HEAD_FONT, self.theme.name_colour(member))
            for member, (x, y) in reversed(draw_paths(view, traces, t).items())
        ]
        draw_labels(
            canvas, [*heads, *start, *words, *axes], outline_points(view, traces), self.frame.overlays, self.theme
        )

    def _words(self, member: int, t: float) -> str:
        return self._names[member] if len(self.traces) > 1 else f"step {count(math.floor(t))}"


def _lay(fine: np.ndarray, pixels: np.ndarray) -> None:
    """Lays a finer picture [FINE · height, FINE · width] uint32 over pixels of one colour: the mean of each FINE²."""
    paper = np.append(pixels[0, 0], np.uint8(255)).view(np.uint32)
    opaque = np.where(fine == 0, paper, fine)  # 0 where nothing is drawn
    pixels[:] = np.asarray(Image.frombuffer("RGBX", fine.shape[::-1], opaque).reduce(FINE))[..., :3]


def opening_view(
    block: Block, outline: np.ndarray, traces: Sequence[Trace | None], frame: Frame, theme: Theme
) -> Angles:
    """The view that hides least of the paths, out of 16 azimuths and 3 elevations.

    All are compared on a coarse grid in small pictures, the finalists on the whole one in larger ones.
    """
    paths = [t.at[:: max(1, len(t.at) // VIEW["points"]), :2] for t in traces if t is not None]
    points = np.concatenate([np.empty((0, 2)), *paths])
    points = points[~np.isnan(points[:, 0])]
    count = VIEW["azimuths"]
    views = [((a + 0.5) / count * 2 * math.pi, elevation) for elevation in VIEW["elevations"] for a in range(count)]
    small = Block(coarse(block.field, max(1, block.field.x.n // VIEW["coarseVertices"])), theme)
    finalists = _rank(small, VIEW["smallWidth"], views, points, outline, frame)[: VIEW["finalists"]]
    return _rank(block, VIEW["largeWidth"], finalists, points, outline, frame)[0]


def _rank(
    block: Block, width: int, views: list[Angles], points: np.ndarray, outline: np.ndarray, frame: Frame
) -> list[Angles]:
    """Views by their cost in a picture of this width, the cheapest first.

    The cost is the share of points that are hidden, minus a reward for their spread.
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
        m = frame.matrix(outline, azimuth, elevation, FRAMING["roughly"])
        block.render(m, azimuth)
        at = project(m, block.width, block.height, above)
        visible = block.is_visible(at, 1, SLACK)
        across, down = np.ptp(at[:, :2], axis=0)
        spread = math.hypot(across / block.width, down / block.height)
        return own + float((~visible).sum() / len(points) - VIEW["spread"] * min(1.0, spread))

    return sorted(views, key=cost)
