"""Charts of the loss and the learning rate against the step: spikes stay visible, the future is faint."""

import math
from dataclasses import dataclass

import numpy as np

from steepest.view.film.numbers import linear_ticks, log_ticks, tick_text
from steepest.view.film.schema import Member, Series
from steepest.view.render.canvas import MIDDLE, Canvas, Font, text_width
from steepest.view.render.paths import draw_order
from steepest.view.render.theme import CONSTANTS, Theme

CHART_CONSTANTS = CONSTANTS["charts"]
LEFT, RIGHT, CHART_TOP, BOTTOM = (CHART_CONSTANTS[side] for side in ("left", "right", "top", "bottom"))
BAND, FUTURE = CHART_CONSTANTS["band"], 0.78
"""Opacity of the range of the buckets, and of the paper over the steps to come."""
TICK_FONT, KEY_FONT, TITLE_FONT = Font("sans", 11), Font("sans", 12), Font("bold", 12)
TITLE_HEIGHT = 28
DOT, CHART_HEAD = 2.1, 3.8


@dataclass(frozen=True)
class Line:
    """A curve of a member; its marker stays at its last step. Dots stand for values measured now and then."""

    series: Series
    last: float
    member: int
    colour: str
    dots: bool


@dataclass(frozen=True)
class Chart:
    """Curves on common axes.

    Attributes:
        title: above the axes.
        lines: the curves.
        log: whether the axis of values is logarithmic.
        lo, hi: its ends.
        steps: the end of the axis of steps.
    """

    title: str
    lines: list[Line]
    log: bool
    lo: float
    hi: float
    steps: float

    def height(self, v: np.ndarray) -> np.ndarray:
        """Height of values on the axis, 0 … 1; NaN is at its foot."""
        v = np.clip(np.where(np.isnan(v), self.lo, v), self.lo, self.hi)
        if self.log:
            return np.log(v / self.lo) / math.log(self.hi / self.lo)
        return (v - self.lo) / (self.hi - self.lo)


def lines_of(members: list[Member], name: str, theme: Theme, dots: bool = False, focus: int = 0) -> list[Line]:
    """One line for each member that has the curve, the selected one on top; dots for the selected member only."""
    return [
        Line(members[i].curves[name], members[i].last, i, theme.colour(i), dots)
        for i in draw_order(len(members), focus)
        if name in members[i].curves and len(members[i].curves[name].t) and (not dots or i == focus)
    ]


def chart_of(title: str, lines: list[Line], steps: float, decades: int) -> Chart:
    """A chart whose axis is logarithmic where a curve asks for it and none has values below zero.

    Args:
        title: above the axes.
        lines: the curves.
        steps: the film's last step.
        decades: shown on a logarithmic axis, below the largest value.
    """
    every = [values for line in lines for values in (line.series.lo, line.series.hi, line.series.mid)]
    values = np.concatenate([np.empty(0), *every])
    values = values[np.isfinite(values)]
    if not len(values):
        return Chart(title, lines, False, 0.0, 1.0, steps)
    lo, hi = float(values.min()), float(values.max())
    if lo >= 0 and hi > 0 and any(line.series.log for line in lines):
        smallest = float(values[values > 0].min())
        return Chart(title, lines, True, max(smallest, hi / 10.0**decades) / 1.15, hi * 1.15, steps)
    room = (hi - lo or abs(hi) or 1) * 0.04
    return Chart(title, lines, False, 0.0 if 0 <= lo < hi * 0.5 else lo - room, hi + room, steps)


def draw_chart(whole: Canvas, chart: Chart, t: float, theme: Theme) -> None:
    """Draws a chart at a step."""
    whole.stroke(np.array(((0, 0.5), (whole.width, 0.5))), 1, theme.hair)
    _draw_key(whole, chart, whole.write(chart.title, 0, 20, TITLE_FONT, theme.ink) + 14, theme)
    canvas = whole.part(0, TITLE_HEIGHT, whole.width, whole.height - TITLE_HEIGHT)
    width, height = canvas.width, canvas.height

    def place(step: np.ndarray | float, v: np.ndarray | float) -> np.ndarray:
        x = LEFT + np.asarray(step) / chart.steps * (width - LEFT - RIGHT)
        return np.stack((x, height - BOTTOM - chart.height(np.asarray(v)) * (height - CHART_TOP - BOTTOM)), axis=-1)

    ticks = (log_ticks if chart.log else linear_ticks)(
        chart.lo, chart.hi, max(2, round(height / CHART_CONSTANTS["pixelsPerTick"]))
    )
    for v in ticks:
        y = round(float(place(0, v)[1])) + 0.5
        canvas.stroke(np.array(((LEFT, y), (width - RIGHT, y))), 1, theme.hair)
        canvas.write(tick_text(v, chart.log), LEFT - 8, y + MIDDLE * 11, TICK_FONT, theme.ink3, "right")
    for line in chart.lines:
        series = line.series
        if line.dots:
            for x, y in place(series.t, series.mid):
                canvas.ellipse(x, y, DOT, DOT, theme.ink2)
            continue
        if series.is_banded:
            canvas.stroke(_columns(place(series.t, series.lo), place(series.t, series.hi)), 1, line.colour, BAND)
        canvas.stroke(place(series.t, series.mid)[~np.isnan(series.mid)], 1.6, line.colour)
    now = float(place(t, 1.0)[0])
    canvas.rectangle(now, 0, width - now, height, theme.paper, FUTURE)
    canvas.rectangle(now - 0.5, 0, 1, height, theme.ink, 0.5)
    for line in chart.lines:
        step = min(t, line.last)
        v = line.series.at(step)
        if not line.dots and not math.isnan(v):
            x, y = place(step, v)
            canvas.marker(line.member, x, y, CHART_HEAD, line.colour, theme.paper)


def _columns(lo: np.ndarray, hi: np.ndarray) -> np.ndarray:
    """Vertical lines between the ends of each column of pixels, so that no spike is lost: [3 · C, 2], NaN between them.

    Args:
        lo, hi: places [B, 2] of the smallest and the largest values.
    """
    column = np.floor(hi[:, 0])
    begin = np.flatnonzero(np.diff(column, prepend=-math.inf))
    out = np.full((len(begin), 3, 2), np.nan)
    out[:, :2, 0] = column[begin, None] + 0.5
    out[:, 0, 1], out[:, 1, 1] = np.minimum.reduceat(hi[:, 1], begin), np.maximum.reduceat(lo[:, 1], begin) + 0.01
    return out.reshape(-1, 2)


def _draw_key(canvas: Canvas, chart: Chart, x: float, theme: Theme) -> None:
    """Explains band, line and dots beside the title, where there is more than lines."""
    lines = [line for line in chart.lines if not line.dots]
    if len(lines) == 1 and lines[0].series.is_banded:
        canvas.rectangle(x, 12.5, 12, 7, lines[0].colour, BAND)
        x += 29 + canvas.write("per-step range", x + 17, 20, KEY_FONT, theme.ink2)
        canvas.rectangle(x, 15, 14, 2, lines[0].colour)
        x += 31 + canvas.write("running median", x + 19, 20, KEY_FONT, theme.ink2)
    if len(lines) < len(chart.lines) and x + 10 + text_width("validation", KEY_FONT) <= canvas.width:
        canvas.ellipse(x + 2.5, 16, 2.5, 2.5, theme.ink2)
        canvas.write("validation", x + 10, 20, KEY_FONT, theme.ink2)
