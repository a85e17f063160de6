"""The stage: the relief with the paths on it, in the view that hides as little of them as possible."""

import math

import numpy as np

from steepest.records.surfaces import Grid
from steepest.view.film.numbers import count
from steepest.view.film.schema import Member
from steepest.view.render.canvas import Canvas, Font
from steepest.view.render.field import field_of, refine
from steepest.view.render.framing import Frame, opening_view
from steepest.view.render.labels import Label, draw_labels
from steepest.view.render.paths import View, draw_paths, outline_points, position_at, trace_of
from steepest.view.render.relief import Block
from steepest.view.render.scenery import draw_axes, draw_edges, draw_escape, draw_marks, draw_start
from steepest.view.render.theme import Theme

FINE = 2
"""Pixels of the relief per pixel of the canvas, along x and along y."""
NARROW = 640
"""On a narrower canvas only the selected member has a label."""
HEAD_FONT = Font("bold", 13)


class Stage:
    """A surface and the paths on it.

    Args:
        grid: a surface with a finite cell.
        name: its name in the film.
        members: of the film.
        steps: the film's last step.
        frame: of the view.
        theme: its colours.
        focus: the member that is drawn on top.
    """

    def __init__(
        self, grid: Grid, name: str, members: list[Member], steps: float, frame: Frame, theme: Theme, focus: int = 0
    ) -> None:
        self.field = refine(field_of(grid))
        self.block = Block(self.field, theme)
        self.traces = [trace_of(member, name, self.block) for member in members]
        self._marks, self._steps, self._focus = grid.marks, steps, focus
        self.frame, self.theme = frame, theme
        self.azimuth, self.elevation = opening_view(self.block, self.traces, frame, theme)
        self.block.resize(FINE * frame.width, FINE * frame.height)
        self._edges = self.block.edges()
        self._static: tuple[float, np.ndarray] | None = None

    def draw(self, canvas: Canvas, t: float, rotation: float = 0.0) -> None:
        """Draws it at a step.

        Args:
            canvas: of the frame's size, empty.
            t: the step, with fractions while playing.
            rotation: of the camera from the opening view in radians.
        """
        azimuth = self.azimuth + rotation
        view = View(canvas, self.block, self.frame.matrix(azimuth, self.elevation), self.theme)
        if self._static is None or rotation != self._static[0]:
            self.block.render(view.matrix, azimuth)
            _lay(self.block.pixels, canvas.pixels)
            draw_edges(view, self._edges)
            draw_axes(view, self.field.x, self.field.y, azimuth)
            self._static = rotation, canvas.pixels.copy()
        canvas.pixels[:] = self._static[1]
        self._draw_paths(view, t)

    def _draw_paths(self, view: View, t: float) -> None:
        """Marks, paths, members and labels."""
        x, y, traces = self.field.x, self.field.y, self.traces
        verbose = view.canvas.width >= NARROW
        labels = draw_marks(view, self._marks, x, y, verbose)
        own = traces[self._focus] if traces else None
        end = None if own is None else position_at(own, self._steps)
        if end is not None and t >= self._steps:
            labels += draw_escape(view, self._marks, x, y, end)
        first = next((trace for trace in traces if trace is not None), None)
        if first is not None:
            labels += draw_start(view, first, verbose)
        step = f"step {count(math.floor(t))}"
        labels += [
            Label(
                head.x,
                head.y,
                head.name if len(traces) > 1 else step,
                HEAD_FONT,
                self.theme.name_colour(head.member),
                False,
            )
            for head in reversed(draw_paths(view, traces, t, self._focus))
            if verbose or head.member == self._focus
        ]
        draw_labels(view.canvas, labels, outline_points(view, traces), self.theme)


def _lay(fine: np.ndarray, pixels: np.ndarray) -> None:
    """Lays a finer picture [FINE · height, FINE · width] uint32 over pixels: the mean of each block of FINE²."""
    height, width = pixels.shape[:2]
    samples = fine.view(np.uint8).reshape(height * FINE, width * FINE, 4)
    total = np.zeros((height, width, 4), np.uint16)
    for k in range(FINE**2):
        total += samples[k // FINE :: FINE, k % FINE :: FINE]
    free = FINE**2 - total[..., 3:] // 255  # where nothing is drawn, all four bytes are 0
    pixels[:] = (total[..., :3] + free * pixels + FINE**2 // 2) // FINE**2
