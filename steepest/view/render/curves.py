"""Charts of loss, metric and learning rate against the step, drawn by matplotlib: spikes stay visible, NaN is a gap."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib import rc_context, rc_params_from_file
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from steepest.records.shares import wilson
from steepest.view.film.metrics import words_of
from steepest.view.film.numbers import count, linear_ticks, log_ticks, short, tick_text
from steepest.view.film.schema import Member, MetricInfo, Series
from steepest.view.format import capitalise
from steepest.view.render.canvas import Canvas, Font, text_width
from steepest.view.render.paths import draw_order
from steepest.view.render.theme import CONSTANTS, Theme

CHART_STYLE = rc_params_from_file(Path(__file__).with_name("charts.mplstyle"), use_default_template=False)
CHARTS = CONSTANTS["charts"]
LEFT, RIGHT, CHART_TOP, BOTTOM = (CHARTS[side] for side in ("left", "right", "top", "bottom"))
FUTURE = 0.78
"""Opacity of the paper over the steps to come."""
TITLES, TITLE_FONT, TITLE_HEIGHT = {"loss": "Loss", "lr": "Learning rate"}, Font("bold", 12), 28
CHART_HEAD, ENTRY_WIDTH, LEGEND_GAP = 3.8, 80, 14
"""Radius of a member's marker, width of the axes for each entry of the legend, and the gap between title and legend."""
BATCHES_PER_BAR, BAR_WIDTH, STEP_TICK = 3, 2, 62
"""Steps that a bar of the band joins at least; its least width and the distance of the ticks of steps in pixels."""
EARLY_SHARE, CUT_SHARE = 0.2, 0.4
"""Share of the steps whose percentages may lie below the axis, and what share of it the others then take at most."""


NOTHING_FINITE = "No value is a finite number."


class Chart:
    """The loss, "loss", the metric, "metric", or the learning rate, "lr", of the members that have it.

    It is drawn once, and shown at any step. The first member is on top, its validation losses as open circles. `size`
    is width and height in pixels.
    """

    def __init__(self, members: Sequence[Member], name: str, steps: float, size: tuple[int, int], theme: Theme) -> None:
        self._members, self._theme, self._name = members, theme, name
        self._info = members[0].metric if name == "metric" else None
        self._title = TITLES.get(name, "") if self._info is None else _title(self._info)
        self._curves = {i: members[i].curves[name] for i in draw_order(len(members)) if has_curve(members[i], name)}
        width, height = size
        across, down = width - LEFT - RIGHT, height - TITLE_HEIGHT - CHART_TOP - BOTTOM
        with rc_context(CHART_STYLE):
            figure = Figure((width / 72, height / 72), dpi=72, facecolor=theme.paper)
            self._axes = figure.add_axes((LEFT / width, BOTTOM / height, across / width, down / height))
            self._draw_axes(steps, down, across)
            self._is_empty = not any(np.isfinite(curve.mid).any() for curve in self._all_curves())
            self._axes.set_visible(not self._is_empty)
            entries = [] if self._is_empty else self._draw_curves(steps, across)
            legend = self._axes.legend(
                handles=entries[: max(1, across // ENTRY_WIDTH)], ncols=9, labelcolor=theme.ink2,
                bbox_to_anchor=((text_width(self._title, TITLE_FONT) + LEGEND_GAP - LEFT) / across, 1),
            )  # fmt: skip
            legend.set_visible(bool(entries))
            agg = FigureCanvasAgg(figure)
            agg.draw()
        self._pixels = np.asarray(agg.buffer_rgba())[..., :3]

    def _all_curves(self) -> list[Series]:
        """All curves of the chart."""
        held_out = self._name == "loss" and has_curve(self._members[0], "held_out")
        return [*self._curves.values(), *([self._members[0].curves["held_out"]] if held_out else [])]

    def _interval(self) -> tuple[float, float] | None:
        """The interval of the metric's last value, where it is a share of samples of the only member."""
        last = self._curves[0].mid[-1] if self._info and 0 in self._curves else math.nan
        if not self._info or not self._info.samples or len(self._members) > 1 or not math.isfinite(last):
            return None
        return wilson(float(last) * self._info.samples, self._info.samples)

    def _draw_axes(self, steps: float, down: float, across: float) -> None:
        """Both axes with their ticks."""
        axes, theme = self._axes, self._theme
        is_percent = bool(self._info and self._info.unit)
        decades = CHARTS["lrDecades" if self._name == "lr" else "lossDecades"]
        ends = (
            percent_limits(self._all_curves(), self._interval()) if is_percent else limits(self._all_curves(), decades)
        )
        lo, hi, is_log = ends
        scale = 100 if is_percent else 1
        about = max(2, round(down / CHARTS["pixelsPerTick"]))
        ticks = [v / scale for v in (log_ticks if is_log else linear_ticks)(lo * scale, hi * scale, about)]
        texts = [f"{short(100 * v)} %" if is_percent else tick_text(v, is_log).replace(" × ", "×") for v in ticks]
        axes.set(xlim=(0, steps), ylim=(lo, hi), yscale="log" if is_log else "linear", facecolor="none")
        axes.set_yticks(ticks, texts, color=theme.ink3)
        at = step_ticks(steps, across)
        axes.set_xticks(at, [count(t) for t in at], color=theme.ink3)
        first, *_, last = axes.get_xticklabels()
        first.set_horizontalalignment("left")
        last.set_horizontalalignment("right")
        axes.minorticks_off()
        axes.grid(axis="y", color=theme.hair, clip_on=False)

    def _draw_curves(self, steps: float, across: float) -> list[Line2D]:
        """Undone steps, curves, what is no number; returns the entries of the legend."""
        axes, theme, first = self._axes, self._theme, self._members[0]
        entries = []
        is_alone = len(self._members) == 1
        for attempt in first.attempts if is_alone else ():
            if not attempt.is_kept:
                span = axes.axvspan(
                    attempt.first, attempt.last, facecolor="none", edgecolor=theme.ink3, hatch="////", linewidth=0
                )
                span.set_alpha(0.35)
                axes.axvline(attempt.last, color=theme.ink3, linewidth=1, alpha=0.7)
        for i, series in self._curves.items():
            if self._name == "metric":
                self._draw_points(series, theme.ink if is_alone else theme.colour(i))
            else:
                self._draw_line(series, theme.colour(i), across / max(1.0, steps))
        if self._name == "loss":
            colour = theme.colour(0)
            has_band = is_alone and any(curve.is_banded for curve in self._curves.values())
            if has_band:
                entries.append(_entry("train", colour))
            for series in self._all_curves()[len(self._curves) :]:
                self._draw_points(series, theme.ink)
        if self._name == "metric" or len(self._all_curves()) > len(self._curves):
            ring = {"marker": "o", "markerfacecolor": theme.paper, "markeredgewidth": 1.2, "linewidth": 1}
            entries.append(_entry("validation", theme.ink, **ring))
        interval = self._interval()
        if interval is not None:
            t, low, high = self._curves[0].t[-1], *interval
            axes.plot([t, t], [low, high], "_-", color=theme.ink, linewidth=1.3, markersize=8, markeredgewidth=1.3,
                      clip_on=False)  # fmt: skip
        if is_alone and first.attempts and self._name != "lr":
            entries.append(_entry("undone", theme.ink3, alpha=0.5, linewidth=6, linestyle=(0, (0.4, 0.4))))
        entries += self._draw_gaps()
        if self._name == "loss" and entries and entries[0].get_label() == "train":
            entries.append(_entry("single batches", theme.colour(0), alpha=CHARTS["band"], linewidth=7))
        return entries

    def _draw_gaps(self) -> list[Line2D]:
        """Pale spans where a curve is no number, triangles where it is infinite; returns their entries."""
        axes, bad, entries = self._axes, self._theme.bad, {}
        for series in self._all_curves():
            for first, last in gaps(series):
                axes.axvspan(first, last, color=bad, alpha=0.13, linewidth=0)
                entries["NaN"] = _entry("NaN", bad, alpha=0.25, linewidth=7)
            infinite = series.t[np.isposinf(series.hi)]
            if len(infinite):
                axes.plot(infinite, np.full(len(infinite), 0.985), "^", color=bad, markersize=6, clip_on=False,
                          transform=axes.get_xaxis_transform())  # fmt: skip
                entries["infinite"] = _entry("infinite", bad, marker="^", markersize=6, linestyle="")
        return list(entries.values())

    def _draw_line(self, series: Series, colour: str, pixels: float) -> None:
        """The range of some buckets as a bar, so that no spike is lost, and the line of the middle values."""
        lo, hi = self._axes.get_ylim()
        if series.is_banded:
            width = max(BATCHES_PER_BAR, math.ceil(BAR_WIDTH / max(pixels * _stride(series.t), 1e-9)))
            starts = np.arange(0, len(series.t), width)
            least, greatest = np.fmin.reduceat(series.lo, starts), np.fmax.reduceat(series.hi, starts)
            least, greatest = np.clip(least, lo, hi), np.clip(greatest, lo, hi)
            middles = series.t[np.minimum(starts + width // 2, len(series.t) - 1)]
            line = max(1.0, width * pixels * _stride(series.t))
            self._axes.vlines(
                middles, least, greatest, color=colour, alpha=CHARTS["band"], linewidth=line, clip_on=False
            )
        self._axes.plot(series.t, np.clip(series.mid, lo, hi), color=colour, clip_on=False)

    def _draw_points(self, series: Series, colour: str) -> None:
        """What is measured now and then: open circles on a thin line; what is no number as a cross at the foot."""
        lo, hi = self._axes.get_ylim()
        inside = np.where((series.mid >= lo) & (series.mid <= hi), series.mid, np.nan)
        self._axes.plot(series.t, series.mid, color=colour, alpha=0.55, linewidth=1.1)
        self._axes.plot(series.t, inside, "o", color=self._theme.paper, markeredgecolor=colour, markeredgewidth=1.2,
                        markersize=4.8, clip_on=False)  # fmt: skip

    def draw(self, canvas: Canvas, t: float) -> None:
        """Draws it at a step on a canvas of its size."""
        theme, width, height = self._theme, canvas.width, canvas.height
        canvas.pixels[:] = self._pixels
        canvas.rectangle(0, 0, width, 1, theme.hair)
        canvas.write(self._title, 0, 20, TITLE_FONT, theme.ink)
        if self._is_empty:
            canvas.write(NOTHING_FINITE, LEFT, TITLE_HEIGHT + 30, Font("sans", 13), theme.ink2)
            return
        now, _ = self._place(t, 1.0)
        canvas.rectangle(now + 3, TITLE_HEIGHT, width - now - 3, height - BOTTOM - TITLE_HEIGHT, theme.paper, FUTURE)
        canvas.rectangle(
            now - 0.5, TITLE_HEIGHT + CHART_TOP, 1, height - BOTTOM - TITLE_HEIGHT - CHART_TOP, theme.ink, 0.35
        )
        for i, series in self._curves.items():
            step = min(t, self._members[i].last)
            v = series.at(step)
            if math.isfinite(v) and self._name != "metric":
                canvas.marker(i, *self._place(step, v), CHART_HEAD, theme.colour(i), theme.paper)

    def _place(self, t: float, v: float) -> tuple[float, float]:
        """Place of a value at a step on the canvas."""
        x, y = self._axes.transData.transform((t, np.clip(v, *self._axes.get_ylim())))
        return float(x), len(self._pixels) - float(y)


class Limits(NamedTuple):
    """Ends of the axis of values, and whether it is logarithmic."""

    lo: float
    hi: float
    is_log: bool


def has_curve(member: Member, name: str) -> bool:
    """Whether a member has values of this curve."""
    return name in member.curves and len(member.curves[name].t) > 0


def limits(curves: Sequence[Series], decades: int) -> Limits:
    """The axis of some curves; a logarithmic one has so many decades below the largest value."""
    values = np.concatenate([values for series in curves for values in (series.lo, series.hi, series.mid)])
    values = values[np.isfinite(values)]
    if not len(values):
        return Limits(0.0, 1.0, False)
    lo, hi = float(values.min()), float(values.max())
    if lo >= 0 and hi > 0 and any(series.log for series in curves):
        smallest = float(values[values > 0].min())
        return Limits(max(smallest, hi / 10.0**decades) / 1.15, hi * 1.15, True)
    room = (hi - lo or abs(hi) or 1) * 0.04
    return Limits(0.0 if 0 <= lo < hi * 0.5 else lo - room, hi + room, False)


def percent_limits(curves: Sequence[Series], interval: tuple[float, float] | None) -> Limits:
    """The axis of shares: where the first values would take most of it, it begins at the later ones."""
    values = np.concatenate([curve.mid for curve in curves] + [np.array(interval or ())])
    later = [curve.mid[curve.t >= EARLY_SHARE * curve.t[-1]] for curve in curves if len(curve.t)]
    late = np.concatenate([*later, np.array(interval or ())])
    values, late = values[np.isfinite(values)], late[np.isfinite(late)]
    if not len(values):
        return Limits(0.0, 1.0, False)
    lo, hi = float(values.min()), float(values.max())
    if len(late) and hi - late.min() < CUT_SHARE * (hi - lo):
        lo = float(late.min())
    room = max(hi - lo, 1e-3) * 0.06
    return Limits(max(0.0, lo - room), max(min(1.0, hi + room), hi + 1e-3), False)


def gaps(series: Series) -> list[tuple[float, float]]:
    """First step of each run of values that are no number, and the step after it."""
    edges = np.flatnonzero(np.diff(np.concatenate(([0], np.isnan(series.mid).astype(int), [0]))))
    ends = np.append(series.t, series.t[-1] + 1) if len(series.t) else series.t
    return [(float(series.t[a]), float(ends[b])) for a, b in zip(edges[::2], edges[1::2])]


def step_ticks(steps: float, width: float) -> list[float]:
    """The ends, and round numbers between them that have room."""
    about = max(1, int(width // STEP_TICK))
    near = 0.75 * STEP_TICK * steps / max(1.0, width)
    return [0.0, *(t for t in linear_ticks(0.0, steps, about) if near <= t <= steps - near), float(steps)]


def _stride(t: np.ndarray) -> float:
    """Steps from one bucket to the next, on average."""
    return float(t[-1] - t[0]) / (len(t) - 1) if len(t) > 1 else 1.0


def _entry(label: str, colour: str, **style: object) -> Line2D:
    return Line2D([], [], color=colour, label=label, **{"solid_capstyle": "butt", "linewidth": 1.7, **style})  # type: ignore[arg-type]


def _title(info: MetricInfo) -> str:
    return capitalise(words_of(info.name))
