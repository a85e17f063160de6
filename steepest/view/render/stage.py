"""The stage: the relief with the paths on it, from the view that hides least of them."""

import math

import numpy as np

from steepest.records.surfaces import Grid
from steepest.view.render.canvas import Canvas
from steepest.view.render.decode import Track
from steepest.view.render.field import field_of, refined
from steepest.view.render.fonts import Font
from steepest.view.render.framing import Frame, opening_view
from steepest.view.render.labels import Label, draw_labels
from steepest.view.render.paths import View, draw_paths, outlines, position_at, trace_of
from steepest.view.render.relief import Block
from steepest.view.render.scenery import draw_axes, draw_edges, draw_escape, draw_marks, draw_start
from steepest.view.render.theme import Theme
from steepest.view.render.ticks import count

FINE = 2
"""Pixels of the relief a pixel of the canvas, along x and along y."""
NARROW = 640
"""On a narrower canvas only the selected member is named."""
HEAD_FONT = Font("bold", 13)


class Stage:
    """A surface and the paths on it.

    Args:
        grid: a surface that has a finite cell.
        name: its name in the film.
        tracks: the members.
        steps: the film's last step.
        frame: through which it is looked at.
        theme: its colours.
        selected: the member that is drawn on top.
    """

    def __init__(
        self, grid: Grid, name: str, tracks: list[Track], steps: float, frame: Frame, theme: Theme, selected: int = 0
    ) -> None:
        self.field = refined(field_of(grid))
        self.block = Block(self.field, theme)
        self.traces = [trace_of(track, name, self.block) for track in tracks]
        self._marks, self._steps, self._selected = grid.marks, steps, selected
        self.frame, self.theme = frame, theme
        self.azimuth, self.elevation = opening_view(self.block, self.traces, frame, theme)
        self.block.resize(FINE * frame.width, FINE * frame.height)
        self._edges = self.block.edges()
        self._ground: np.ndarray | None = None
        self._turned = 0.0

    def draw(self, canvas: Canvas, t: float, turned: float = 0.0) -> None:
        """Draws it at a step.

        Args:
            canvas: of the frame's size, empty.
            t: the step, with fractions while playing.
            turned: radians by which the camera has gone around since the opening view.
        """
        azimuth = self.azimuth + turned
        m = self.frame.matrix(azimuth, self.elevation)
        view = View(canvas, self.block, m, self.theme)
        if self._ground is None or turned != self._turned:
            self._draw_ground(view, azimuth)
            self._ground, self._turned = canvas.pixels.copy(), turned
        else:
            canvas.pixels[:] = self._ground
        self._draw_over(view, t)

    def _draw_ground(self, view: View, azimuth: float) -> None:
        """What stays while the film plays."""
        from steepest.view.render import strokes

        self.block.render(view.matrix, azimuth)
        fine = self.block.pixels.view(np.uint8).reshape(self.block.height, self.block.width, 4)
        strokes.shrink(fine, FINE, view.canvas.pixels)
        draw_edges(view, self._edges)
        draw_axes(view, self.field.x, self.field.y, azimuth)

    def _draw_over(self, view: View, t: float) -> None:
        """Marks, paths, heads and words."""
        x, y, traces = self.field.x, self.field.y, self.traces
        verbose = view.canvas.width >= NARROW
        labels = draw_marks(view, self._marks, x, y, verbose)
        mine = traces[self._selected] if traces else None
        end = None if mine is None else position_at(mine, self._steps)
        if end is not None and t >= self._steps:
            labels += draw_escape(view, self._marks, x, y, end)
        first = next((trace for trace in traces if trace is not None), None)
        if first is not None:
            labels += draw_start(view, first, verbose)
        heads = draw_paths(view, traces, t, self._selected)
        names = [
            Label(head.x, head.y, self._name(head.member, t), HEAD_FONT, self._colour(head.member), False)
            for head in reversed(heads)
            if verbose or head.member == self._selected
        ]
        draw_labels(view.canvas, labels + names, outlines(view, traces), self.theme)

    def _name(self, member: int, t: float) -> str:
        trace = self.traces[member]
        return trace.name if trace is not None and len(self.traces) > 1 else f"step {count(math.floor(t))}"

    def _colour(self, member: int) -> str:
        return self.theme.names[member % len(self.theme.names)]
