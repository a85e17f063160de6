"""Charts of the loss and the learning rate against the step, drawn by matplotlib: spikes stay visible."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib import rc_context, rc_params_from_file
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from steepest.view.film.numbers import linear_ticks, log_ticks, tick_text
from steepest.view.film.schema import Member, Series
from steepest.view.render.canvas import Canvas, Font
from steepest.view.render.paths import draw_order
from steepest.view.render.theme import CONSTANTS, Theme

CHART_STYLE = rc_params_from_file(Path(__file__).with_name("charts.mplstyle"), use_default_template=False)
CHARTS = CONSTANTS["charts"]
LEFT, RIGHT, CHART_TOP, BOTTOM = (CHARTS[side] for side in ("left", "right", "top", "bottom"))
FUTURE = 0.78
"""Opacity of the paper over the steps to come."""
TITLES, TITLE_FONT, TITLE_HEIGHT = {"loss": "Loss", "lr": "Learning rate"}, Font("bold", 12), 28
CHART_HEAD, WHOLE_LEGEND = 3.8, 290
"""Radius of a member's marker, and width of axes from which the legend has room for three entries."""


class Chart:
    """The loss, "loss", or the learning rate, "lr", of the members that have it: drawn once, and shown at any step.

    The first member is on top, its validation losses as dots. `size` is width and height in pixels.
    """

    def __init__(self, members: Sequence[Member], name: str, steps: float, size: tuple[int, int], theme: Theme) -> None:
        self._members, self._title, self._theme = members, TITLES[name], theme
        self._curves = {i: members[i].curves[name] for i in draw_order(len(members)) if has_curve(members[i], name)}
        dots = [members[0].curves["held_out"]] if name == "loss" and has_curve(members[0], "held_out") else []
        lo, hi, is_log = limits([*self._curves.values(), *dots], CHARTS[f"{name}Decades"])
        width, height = size
        across, down = width - LEFT - RIGHT, height - TITLE_HEIGHT - CHART_TOP - BOTTOM
        ticks = (log_ticks if is_log else linear_ticks)(lo, hi, max(2, round(down / CHARTS["pixelsPerTick"])))
        with rc_context(CHART_STYLE):
            figure = Figure((width / 72, height / 72), dpi=72, facecolor=theme.paper)
            self._axes = axes = figure.add_axes((LEFT / width, BOTTOM / height, across / width, down / height))
            axes.set(xlim=(0, steps), ylim=(lo, hi), yscale="log" if is_log else "linear", facecolor="none")
            axes.set_yticks(ticks, [tick_text(v, is_log) for v in ticks], color=theme.ink3)
            axes.minorticks_off()
            axes.grid(axis="y", color=theme.hair, clip_on=False)
            for i, series in self._curves.items():
                self._plot(series, theme.colour(i), has_label=name == "loss" and len(self._curves) == 1)
            for series in dots:
                axes.plot(series.t, series.mid, "o", color=theme.ink2, label="validation", clip_on=False)
            handles = axes.get_legend_handles_labels()[0][: 3 if across >= WHOLE_LEGEND else 2]
            legend = axes.legend(handles=handles, bbox_to_anchor=(-9 / across, 1), ncols=3, labelcolor=theme.ink2)
            for band in (line for line in legend.get_lines() if line.get_alpha()):
                band.set(linewidth=7, solid_capstyle="butt")
            agg = FigureCanvasAgg(figure)
            agg.draw()
        self._pixels = np.asarray(agg.buffer_rgba())[..., :3]

    def _plot(self, series: Series, colour: str, has_label: bool) -> None:
        """The range of each bucket as a column, so that no spike is lost, and the line of the middle values."""
        lo, hi = self._axes.get_ylim()
        names = ("per-step range", "running median") if has_label else (None, None)
        if series.is_banded:
            t, ends = np.repeat(series.t, 2), np.stack((series.lo, series.hi), axis=1).clip(lo, hi).ravel()
            self._axes.plot(t, ends, color=colour, alpha=CHARTS["band"], linewidth=1, label=names[0], clip_on=False)
        there = ~np.isnan(series.mid)
        self._axes.plot(series.t[there], series.mid[there].clip(lo, hi), color=colour, label=names[1], clip_on=False)

    def draw(self, canvas: Canvas, t: float) -> None:
        """Draws it at a step on a canvas of its size."""
        theme, width, height = self._theme, canvas.width, canvas.height
        canvas.pixels[:] = self._pixels
        canvas.rectangle(0, 0, width, 1, theme.hair)
        canvas.write(self._title, 0, 20, TITLE_FONT, theme.ink)
        now, _ = self._place(t, 1.0)
        canvas.rectangle(now, TITLE_HEIGHT, width - now, height, theme.paper, FUTURE)
        canvas.rectangle(now - 0.5, TITLE_HEIGHT, 1, height, theme.ink, 0.5)
        for i, series in self._curves.items():
            step = min(t, self._members[i].last)
            v = series.at(step)
            if not math.isnan(v):
                canvas.marker(i, *self._place(step, v), CHART_HEAD, theme.colour(i), theme.paper)

    def _place(self, t: float, v: float) -> tuple[float, float]:
        """Place of a value at a step on the canvas."""
        x, y = self._axes.transData.transform((t, np.clip(v, *self._axes.get_ylim())))
        return float(x), len(self._pixels) - float(y)


def has_curve(member: Member, name: str) -> bool:
    """Whether a member has values of this curve."""
    return name in member.curves and len(member.curves[name].t) > 0


def limits(curves: Sequence[Series], decades: int) -> tuple[float, float, bool]:
    """Ends of the axis of values, and whether it is logarithmic: then with so many decades below the largest value."""
    values = np.concatenate([values for series in curves for values in (series.lo, series.hi, series.mid)])
    values = values[np.isfinite(values)]
    if not len(values):
        return 0.0, 1.0, False
    lo, hi = float(values.min()), float(values.max())
    if lo >= 0 and hi > 0 and any(series.log for series in curves):
        smallest = float(values[values > 0].min())
        return max(smallest, hi / 10.0**decades) / 1.15, hi * 1.15, True
    room = (hi - lo or abs(hi) or 1) * 0.04
    return 0.0 if 0 <= lo < hi * 0.5 else lo - room, hi + room, False
