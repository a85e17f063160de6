"""Loss, rate and the like against the step: spikes kept, the future faint."""

import math
from dataclasses import dataclass

import numpy as np

from steepest.view.render.canvas import MIDDLE, Canvas, measured
from steepest.view.render.decode import Series, Track
from steepest.view.render.fonts import Font
from steepest.view.render.markers import SHAPES, mark
from steepest.view.render.paths import order_of
from steepest.view.render.theme import Theme
from steepest.view.render.ticks import linear_ticks, log_ticks, tick_text

LEFT, RIGHT, TOP, BOTTOM = 46, 14, 8, 6
BAND, FUTURE = 0.38, 0.78
"""Opacity of least to greatest, and of the paper over what is to come."""
TICK_FONT, KEY_FONT = Font("sans", 11), Font("sans", 12)
DOT, HEAD = 2.1, 3.8
PIXELS_A_TICK = 46


@dataclass(frozen=True)
class Line:
    """A curve of a member; its head stays at its last step. Dots are for what is measured now and then."""

    series: Series
    last: float
    member: int
    colour: str
    dots: bool


def lines_of(tracks: list[Track], name: str, theme: Theme, dots: bool = False, selected: int = 0) -> list[Line]:
    """One line for each member that has the curve, the selected one on top; of dots only its own."""
    return [
        Line(tracks[i].curves[name], tracks[i].last, i, theme.members[i % len(theme.members)], dots)
        for i in order_of(len(tracks), selected)
        if name in tracks[i].curves and len(tracks[i].curves[name].t) and (not dots or i == selected)
    ]


@dataclass(frozen=True)
class Range:
    """What an axis shows, from lo to hi."""

    log: bool
    lo: float
    hi: float

    def share(self, v: np.ndarray) -> np.ndarray:
        """How far up the axis values are, 0 … 1; NaN is at its foot."""
        clipped = np.clip(np.where(np.isnan(v), self.lo, v), self.lo, self.hi)
        if self.log:
            return np.log(clipped / self.lo) / math.log(self.hi / self.lo)
        return (clipped - self.lo) / (self.hi - self.lo)


def range_of(lines: list[Line], decades: int) -> Range:
    """The axis for some curves: logarithmic where they ask for it and nothing is below zero.

    Args:
        lines: the curves.
        decades: that a logarithmic axis shows below the greatest value.
    """
    every = [values for line in lines for values in (line.series.lo, line.series.hi, line.series.mid)]
    values = np.concatenate([np.empty(0), *every])
    values = values[np.isfinite(values)]
    if not len(values):
        return Range(False, 0.0, 1.0)
    lo, hi = float(values.min()), float(values.max())
    if lo >= 0 and hi > 0 and any(line.series.log for line in lines):
        least = float(values[values > 0].min())
        return Range(True, max(least, hi / 10.0**decades) / 1.15, hi * 1.15)
    room = (hi - lo or abs(hi) or 1) * 0.04
    return Range(False, 0.0 if 0 <= lo < hi * 0.5 else lo - room, hi + room)


class Chart:
    """Curves on axes; what does not change while the film plays is drawn once.

    Args:
        lines: the curves.
        steps: the film's last step.
        decades: that a logarithmic axis shows.
        width, height: in pixels.
        theme: its colours.
    """

    def __init__(self, lines: list[Line], steps: float, decades: int, width: int, height: int, theme: Theme) -> None:
        self._lines, self._steps, self._theme = lines, max(1.0, steps), theme
        self._width, self._height = width, height
        self._range = range_of(lines, decades)
        canvas = Canvas.of(width, height, theme.paper)
        self._draw_ticks(canvas)
        for line in lines:
            self._draw_line(canvas, line)
        self._whole = canvas.pixels

    def draw_key(self, canvas: Canvas, x: float, base: float) -> None:
        """What band, line and dots are, from x on along a baseline, where there is more than lines."""
        theme, middle = self._theme, base - 4
        alone = {line.member for line in self._lines if not line.dots}
        if len(alone) == 1 and any(line.series.is_banded for line in self._lines):
            colour = next(line.colour for line in self._lines if not line.dots)
            canvas.rectangle(x, middle - 3.5, 12, 7, colour, BAND)
            x = self._write_key(canvas, "batch", x + 17, base)
            canvas.rectangle(x, middle - 1, 14, 2, colour)
            x = self._write_key(canvas, "middle", x + 19, base)
        if any(line.dots for line in self._lines):
            canvas.fill(SHAPES[0] * 2.5 + (x + 2.5, middle), theme.ink2)
            self._write_key(canvas, "held out", x + 10, base)

    def _write_key(self, canvas: Canvas, text: str, x: float, base: float) -> float:
        canvas.write(text, x, base, KEY_FONT, self._theme.ink2)
        return x + measured(text, KEY_FONT) + 12

    def draw(self, canvas: Canvas, t: float) -> None:
        """Draws it at a step on a canvas of its size."""
        canvas.pixels[:] = self._whole
        at = float(self._x(t))
        theme = self._theme
        canvas.rectangle(at, 0, self._width - at, self._height, theme.paper, FUTURE)
        canvas.rectangle(at - 0.5, 0, 1, self._height, theme.ink, 0.5)
        for line in self._lines:
            step = min(t, line.last)
            v = line.series.at(step)
            if not line.dots and not math.isnan(v):
                x, y = float(self._x(step)), float(self._y(np.asarray(v)))
                mark(canvas, line.member, x, y, HEAD, line.colour, theme.paper)

    def _x(self, step: float | np.ndarray) -> np.ndarray:
        return np.asarray(LEFT + step / self._steps * (self._width - LEFT - RIGHT))

    def _y(self, v: np.ndarray) -> np.ndarray:
        return self._height - BOTTOM - self._range.share(v) * (self._height - TOP - BOTTOM)

    def _draw_ticks(self, canvas: Canvas) -> None:
        log, theme = self._range.log, self._theme
        about = max(2, round(self._height / PIXELS_A_TICK))
        for v in (log_ticks if log else linear_ticks)(self._range.lo, self._range.hi, about):
            y = round(float(self._y(np.asarray(v)))) + 0.5
            canvas.stroke(np.array(((LEFT, y), (self._width - RIGHT, y))), 1, theme.hair)
            canvas.write(tick_text(v, log), LEFT - 8, y + MIDDLE * 11, TICK_FONT, theme.ink3, "right")

    def _draw_line(self, canvas: Canvas, line: Line) -> None:
        series = line.series
        if line.dots:
            for x, y in zip(self._x(series.t), self._y(series.mid)):
                canvas.fill(SHAPES[0] * DOT + (x, y), self._theme.ink2)
            return
        if series.is_banded:
            for (x, _), (_, top), (_, bottom), _ in self._columns(series.t, series.lo, series.hi, 1):
                canvas.rectangle(x, top - 0.5, 1, bottom - top + 1, line.colour, BAND)
        through = [point for column in self._columns(series.t, series.mid, series.mid, 2) for point in column]
        if through:
            canvas.stroke(np.array(through), 1.6, line.colour)

    def _columns(self, t: np.ndarray, lo: np.ndarray, hi: np.ndarray, finer: int) -> list[list[tuple[float, float]]]:
        """Where first, greatest, least and last of the values of each column lie, so that no spike is lost.

        Args:
            t, lo, hi: steps, least and greatest values.
            finer: columns a pixel.
        """
        known = ~(np.isnan(lo) | np.isnan(hi))
        t, lo, hi = t[known], lo[known], hi[known]
        if not len(t):
            return []
        column = np.floor(self._x(t) * finer + 0.5)
        begin = np.flatnonzero(np.diff(column, prepend=-math.inf))
        end = np.append(begin[1:], len(t)) - 1
        values = hi[begin], np.maximum.reduceat(hi, begin), np.minimum.reduceat(lo, begin), hi[end]
        x, places = (column[begin] / finer).tolist(), [self._y(v).tolist() for v in values]
        return [[(x[k], y[k]) for y in places] for k in range(len(x))]
