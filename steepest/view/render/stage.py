"""The stage: the relief with the paths on it, in the view that hides as little of them as possible."""

import math

import numpy as np
from PIL import Image

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
"""On a narrower canvas only the first member has a label."""
HEAD_FONT = Font("bold", 13)


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
        """Draws it at a step, with fractions while playing, on an empty canvas of the frame's size.

        The camera is rotated from the opening view, in radians.
        """
        azimuth = self.azimuth + rotation
        view = View(canvas, self.block, self.frame.matrix(azimuth, self.elevation), self.theme)
        if self._static is None or rotation != self._static[0]:
            self.block.render(view.matrix, azimuth)
            _lay(self.block.pixels, canvas.pixels)
            draw_edges(view, self.block.edges())
            draw_axes(view, azimuth)
            self._static = rotation, canvas.pixels.copy()
        canvas.pixels[:] = self._static[1]
        self._draw_paths(view, t)

    def _draw_paths(self, view: View, t: float) -> None:
        """Marks, paths, members and labels."""
        traces, is_wide = self.traces, view.canvas.width >= NARROW
        labels = draw_marks(view, self._marks, is_wide)
        end = position_at(traces[0], self._steps) if traces and traces[0] else None
        if end is not None and t >= self._steps:
            labels += draw_escape(view, self._marks, end)
        first = next((trace for trace in traces if trace), None)
        if first:
            labels += draw_start(view, first, is_wide)
        for member, (x, y) in reversed(draw_paths(view, traces, t).items()):
            text = self._names[member] if len(traces) > 1 else f"step {count(math.floor(t))}"
            if is_wide or member == 0:
                labels.append(Label(x, y, text, HEAD_FONT, self.theme.name_colour(member), False))
        draw_labels(view.canvas, labels, outline_points(view, traces), self.theme)


def _lay(fine: np.ndarray, pixels: np.ndarray) -> None:
    """Lays a finer picture [FINE · height, FINE · width] uint32 over pixels of one colour: the mean of each FINE²."""
    paper = np.append(pixels[0, 0], np.uint8(255)).view(np.uint32)
    opaque = np.where(fine == 0, paper, fine).view(np.uint8).reshape(*fine.shape, 4)  # 0 where nothing is drawn
    pixels[:] = np.asarray(Image.fromarray(opaque).reduce(FINE))[..., :3]
