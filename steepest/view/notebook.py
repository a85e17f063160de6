"""What a notebook shows of a run, a search, a race, a comparison and a film: the conclusion first, then curves.

The curves are vector graphics in the colours of the card, so that they are dark where the notebook is.
"""

import html
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from steepest.records.card import card, details, paragraphs, table, text
from steepest.records.per_sample import PER_SAMPLE, is_sum, per_sample
from steepest.records.run import History, Record
from steepest.records.search import FAILED, RaceResult, Search
from steepest.records.verdict import Verdict
from steepest.view.figures.curves import bucket, size
from steepest.view.film import summary
from steepest.view.film.metrics import metric_info, words_of
from steepest.view.film.numbers import count, linear_ticks, log_ticks, tick_text
from steepest.view.format import capitalise, describe_event, duration, number
from steepest.view.running_median import running_median, window_of

WIDTH, LEFT, RIGHT, TOP, BOTTOM = 720, 58, 8, 24, 22
"""Of a chart, in its own pixels."""
POINTS, BARS, WIDE, DECADES = 360, 120, 30.0, 6
"""Of a line and of a band at most; the ratio of values from which an axis is logarithmic, and how far down it goes."""
FEW_EVENTS, MAX_EVENTS, MAX_ROWS = 4, 100, 24
MAX_FILM_BYTES = 8 << 20
"""Of a film that is put into a notebook, which holds it as text."""
PICTURES = {".png": "image/png", ".gif": "image/gif", ".svg": "image/svg+xml"}


class Line(NamedTuple):
    """A curve of a chart.

    Attributes:
        x, y: its points; what is not finite is a gap.
        colour: of the card.
        low, high: a band around it; None without one.
        is_points: open circles on a thin line.
        name: in the legend; empty for none.
        width: of the line.
    """

    x: np.ndarray
    y: np.ndarray
    colour: str = "c0"
    low: np.ndarray | None = None
    high: np.ndarray | None = None
    is_points: bool = False
    name: str = ""
    width: float = 1.8


# -- Charts ------------------------------------------------------------------------------------------------------------


class Chart:
    """Lines against a common axis, as SVG.

    Args:
        title: what is shown, above the axis.
        lines: the curves.
        height: in pixels.
        x_name: of the x axis; empty where another chart has it.
        x_ends: places that the x axis reaches at least.
        is_share: whether the values are shares, written in percent.
        from_zero: whether the axis begins at 0.
        log_x: whether the x axis is logarithmic.
    """

    def __init__(
        self, title: str, lines: Sequence[Line], height: int, x_name: str = "step",
        x_ends: Sequence[float] = (), is_share: bool = False, from_zero: bool = False, log_x: bool = False,
    ) -> None:  # fmt: skip
        self._title, self._lines, self._height, self._log_x, self._x_name = title, lines, height, log_x, x_name
        self._x = _ends(np.append(np.concatenate([line.x for line in lines]), list(x_ends)), log_x)
        values = np.concatenate([np.ravel(v) for line in lines for v in (line.y, line.low, line.high) if v is not None])
        finite = values[np.isfinite(values)]
        self._is_empty, self._scale = not len(finite), 100.0 if is_share else 1.0
        lowest = _lowest(np.concatenate([line.y for line in lines]))
        is_wide = 0 < WIDE * lowest < finite.max(initial=0.0)
        self._log_y = bool(is_wide and finite.min() >= 0 and not from_zero)
        if self._log_y:
            finite = np.maximum(finite, max(lowest / 3, float(finite.max()) / 10**DECADES))
        elif from_zero:
            finite = np.append(finite, 0.0)
        self._y = _ends(finite if len(finite) else np.zeros(1), self._log_y)
        self._foot = TOP + height

    def svg(self, marks: Sequence[float] = (), target: float | None = None, names: Sequence[Any] = ()) -> str:
        """The chart.

        Args:
            marks: places on the x axis, such as those of events.
            target: a level that is marked.
            names: places on the x axis with a name each.
        """
        parts = [self._axes(), *(self._mark(x) for x in marks), *(self._name(x, words) for x, words in names)]
        if target is not None and self._y[0] <= target <= self._y[1]:
            y = self._at_y(np.array([target]))[0]
            parts.append(_line(LEFT, y, WIDTH - RIGHT, y, "ink3", ' stroke-dasharray="4 3"'))
        parts += [self._draw(line) for line in self._lines]
        total = self._foot + (BOTTOM if self._x_name else 4)
        label = f'role="img" aria-label="{text(self._title)}"'
        return f'<svg viewBox="0 0 {WIDTH} {total}" {label} font-size="11">{"".join(parts)}</svg>'

    def _at_x(self, x: np.ndarray) -> np.ndarray:
        return LEFT + (WIDTH - LEFT - RIGHT) * _share(x, self._x, self._log_x)

    def _at_y(self, y: np.ndarray) -> np.ndarray:
        return self._foot - self._height * _share(y, self._y, self._log_y)

    def _axes(self) -> str:
        parts = [f'<text x="0" y="10" fill="var(--ink2)" font-weight="600">{text(self._title)}</text>', self._legend()]
        if self._is_empty:
            middle = TOP + self._height / 2
            parts.append(f'<text x="{LEFT}" y="{middle:.0f}" fill="var(--bad)">no value is a finite number</text>')
        about = max(3, round(self._height / 40))
        low, high = self._scale * self._y[0], self._scale * self._y[1]
        for value in [] if self._is_empty else (log_ticks if self._log_y else linear_ticks)(low, high, about):
            y, unit = self._at_y(np.array([value / self._scale]))[0], " %" if self._scale > 1 else ""
            words = f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end" fill="var(--ink3)">'
            parts.append(_line(LEFT, y, WIDTH - RIGHT, y, "hair"))
            parts.append(f"{words}{text(tick_text(value, self._log_y) + unit)}</text>")
        if not self._x_name:
            return "".join(parts)
        at = (log_ticks if self._log_x else linear_ticks)(*self._x, 6)
        for x, value in zip(self._at_x(np.array(at)), at, strict=True):
            words = tick_text(value, True) if self._log_x else count(value)
            parts.append(
                f'<text x="{x:.1f}" y="{self._foot + 16}" text-anchor="middle" fill="var(--ink3)">{text(words)}</text>'
            )
        name = f'<text x="{WIDTH - RIGHT}" y="10" text-anchor="end" fill="var(--ink3)">{text(self._x_name)} →</text>'
        return "".join([*parts, name])

    def _legend(self) -> str:
        parts, x = [], 12 + 7 * len(self._title)
        for line in self._lines:
            if line.name:
                sign = f'<circle cx="{x}" cy="6" r="3.5" fill="none" stroke="var(--{line.colour})"/>'
                if not line.is_points:
                    sign = _line(x - 6, 6, x + 6, 6, line.colour, ' stroke-width="2"')
                parts.append(f'{sign}<text x="{x + 11}" y="10" fill="var(--ink2)">{text(line.name)}</text>')
                x += 32 + 6.4 * len(line.name)
        return "".join(parts)

    def _mark(self, x: float) -> str:
        at = self._at_x(np.array([x]))[0]
        return _line(at, TOP, at, self._foot, "bad", ' stroke-width="1" opacity="0.55"')

    def _name(self, x: float, words: str) -> str:
        at = self._at_x(np.array([x]))[0]
        anchor, shift = ("end", -5) if at > WIDTH / 2 else ("start", 5)
        place = f'x="{at + shift:.1f}" y="{TOP + 10}" text-anchor="{anchor}"'
        label = f'<text {place} fill="var(--ink)" font-weight="600">{text(words)}</text>'
        return _line(at, TOP, at, self._foot, "ink", ' stroke-width="1.4"') + label

    def _draw(self, line: Line) -> str:
        if self._is_empty:
            return ""
        x, parts = self._at_x(line.x), []
        if line.low is not None and line.high is not None:
            fine = np.isfinite(line.low) & np.isfinite(line.high)
            edge = [*zip(x[fine], self._at_y(line.high[fine])), *zip(x[fine][::-1], self._at_y(line.low[fine])[::-1])]
            points = " ".join(f"{a:.1f},{b:.1f}" for a, b in edge)
            parts.append(f'<polygon points="{points}" fill="var(--{line.colour})" opacity="0.22"/>')
        y = np.where(np.isfinite(line.y), self._at_y(line.y), np.nan)
        width = 1 if line.is_points else line.width
        opacity = "" if line.width > 1 else ' opacity="0.45"'
        stroke = f'fill="none" stroke="var(--{line.colour})" stroke-width="{width}"{opacity}'
        parts.append(f'<path d="{_path(x, y)}" {stroke} stroke-linejoin="round"/>')
        if line.is_points:
            circle = f'r="3" fill="var(--paper)" stroke="var(--{line.colour})" stroke-width="1.2"'
            parts += [f'<circle cx="{a:.1f}" cy="{b:.1f}" {circle}/>' for a, b in zip(x, y) if math.isfinite(b)]
        return "".join(parts)


def _path(x: np.ndarray, y: np.ndarray) -> str:
    """A path that leaves out what is not finite."""
    parts, command = [], "M"
    for a, b in zip(x, y, strict=True):
        if math.isfinite(b):
            parts.append(f"{command}{a:.1f} {b:.1f}")
        command = "L" if math.isfinite(b) else "M"
    return "".join(parts)


def _line(x1: float, y1: float, x2: float, y2: float, colour: str, more: str = "") -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="var(--{colour})"{more}/>'


def _ends(values: np.ndarray, is_log: bool) -> tuple[float, float]:
    """The ends of an axis: those of the values, and a little more."""
    low, high = (float(values.min()), float(values.max())) if len(values) else (0.0, 1.0)
    if high <= low:
        return (low / 2, low * 2) if is_log else (low - (abs(low) or 1.0) / 2, low + (abs(low) or 1.0) / 2)
    return (low / 1.05, high * 1.05) if is_log else (low, high)


def _lowest(values: np.ndarray) -> float:
    """The lowest of the usual values above 0: a few of nearly 0 do not set the foot of an axis."""
    values = values[np.isfinite(values) & (values > 0)]
    return float(np.quantile(values, 0.02)) if len(values) else 0.0


def _share(values: np.ndarray, ends: tuple[float, float], is_log: bool) -> np.ndarray:
    low, high = ends
    with np.errstate(all="ignore"):
        if is_log:
            return np.log(np.clip(values, low, None) / low) / math.log(high / low)
        return (values - low) / (high - low)


# -- Cards -------------------------------------------------------------------------------------------------------------


def run_card(history: History, verdict: Verdict | None) -> str:
    """A run: how it ended, its curves, what happened.

    Args:
        history: of the run.
        verdict: where it ended.
    """
    record = history.record
    is_live = record.status == "running"
    sentence = summary.headline(history, verdict, is_live) if len(record.steps) else f"{record.id} has no steps."
    advice = "" if is_live else summary.advice(history, verdict)
    c, took = record.config, f" in {duration(record.seconds)}" if record.seconds else ""
    facts = [
        record.id, record.status, f"{count(len(record.steps))} steps{took}", c.rules,
        "" if c.lr is None else f"lr {number(c.lr)}",
    ]  # fmt: skip
    events = [describe_event(e) for e in record.events if e.seen or e.done]
    few, many = (events, []) if len(events) <= FEW_EVENTS else ([], events[:MAX_EVENTS])
    happened = paragraphs("\n".join(few), "note") + details(f"{len(events)} events", many)
    note = paragraphs(" · ".join(filter(None, facts)), "note")
    return card(sentence, paragraphs(advice), curves(record), happened, note)


def curves(record: Record) -> str:
    """The curves of a run: loss, validation metric and learning rate over the steps."""
    own, name = per_sample(record), record.config.metric
    t, loss = own.steps.t, own.steps.loss
    if not len(t):
        return ""
    events = [e.t for e in record.events]
    lines = [_banded(t, loss)]
    if held_out := own.series("validation", "loss"):
        lines.append(_measured(held_out, "validation"))
    title = PER_SAMPLE if is_sum(record) else "loss"
    ends = (0, max([t[-1], *events]))
    charts = [Chart(title.capitalize(), lines, 150, x_ends=ends).svg(events)]
    if name != "loss" and (values := own.series("validation", name)):
        info = metric_info(record, name)
        is_share = info is not None and bool(info.unit)
        charts.append(Chart(capitalise(words_of(name)), [_measured(values)], 70, "", ends, is_share).svg())
    each = size(len(t), POINTS)
    rate = Line(t[::each].astype(float), own.steps.lr[::each], "ink2")
    charts.append(Chart("Learning rate", [rate], 40, "", ends, from_zero=True).svg())
    return "".join(charts)


def _banded(t: np.ndarray, loss: np.ndarray) -> Line:
    """The running median of the losses over a band of single ones."""
    finite, each = np.where(np.isfinite(loss), loss, np.nan), size(len(t), BARS)
    low, _, high = bucket(finite, each)
    middle = running_median(finite, window_of(len(t)))[::each]
    return Line(t[::each].astype(float), middle, "c0", low, high, name="train")


def _measured(values: Sequence[Any], name: str = "") -> Line:
    each = size(len(values), POINTS // 4)
    kept = [*values[::each], *([values[-1]] if (len(values) - 1) % each else [])]
    t, y = (np.array([getattr(m, key) for m in kept], float) for key in ("t", "value"))
    return Line(t, y, "ink", is_points=True, name=name)


def search_card(search: Search) -> str:
    """A learning-rate search: the rate to use, loss against rate, what was tried."""
    lines = []
    for colour, steps in zip(("c1", "c0"), sorted({row.steps for row in search.table})):
        rows = sorted(row for row in search.table if row.steps == steps)
        losses = np.minimum([row.loss if math.isfinite(row.loss) else math.nan for row in rows], 1.05 * search.start)
        x = np.array([row.lr for row in rows], float)
        lines.append(Line(x, losses, colour, is_points=True, name=f"{count(steps)} steps"))
    chart = Chart("Validation loss of short runs", lines, 160, log_x=True, x_name="learning rate")
    tried = [row for row in search.table if row.region == FAILED]
    failed = ", ".join(f"{number(row.lr)} ({row.how})" if row.how else number(row.lr) for row in tried[:FEW_EVENTS])
    cost = f"{count(search.steps)} steps in {duration(search.seconds)}, {search.rule}."
    svg = chart.svg(target=search.start, names=[(search.best, f"use {number(search.best)}")])
    rest = [f"Dashed: the loss at the start, {number(search.start)}.", f"Failed: {failed}." if failed else "", cost]
    return card(search.sentence, svg, paragraphs(" ".join(filter(None, rest)), "note"))


def race_card(race: RaceResult) -> str:
    """A race: the conclusion, every curve with each contender's median, and how they ended."""
    lines, rows = [], []
    for k, side in enumerate(race.sides):
        own, colour = race.of(side), f"c{k % 6}"
        lines += [Line(c.t.astype(float), c.loss, colour, width=0.7) for c in own]
        longest = max(own, key=lambda c: len(c.t))
        ends = np.full((len(own), len(longest.t)), math.inf)
        for row, c in zip(ends, own, strict=True):
            row[: len(c.loss)] = np.where(np.isfinite(c.loss), c.loss, math.inf)
        lines.append(Line(longest.t.astype(float), np.median(ends, axis=0), colour, name=side, width=2.2))
        steps, final = (np.median([f(c) for c in own]) for f in (lambda c: c.reached(race.target), lambda c: c.final))
        reached = sum(math.isfinite(c.reached(race.target)) for c in own)
        rates = number(float(np.median([c.lr for c in own])))
        values = (count(steps) if math.isfinite(steps) else "—", f"{reached} of {len(own)}", number(float(final)))
        rows.append((side, rates, *values))
    chart = Chart("Validation loss", lines, 180).svg(target=race.target)
    headings = ("contender", "median lr", "steps to target", "reached it", "median final loss")
    note = f"Dashed: the target, a validation loss of {number(race.target)}. Thin lines: single runs."
    return card(race.verdict, chart, table(rows, headings), paragraphs(note, "note"))


def comparison_card(
    records: Sequence[Record], sentence: str, note: str, differing: Mapping[str, tuple[Any, ...]]
) -> str:
    """Runs compared: the conclusion, their curves, the settings in which they differ.

    Args:
        records: one of each side, or all.
        sentence: the conclusion.
        note: what the intervals are, and what would settle more.
        differing: settings by name, with a value of each side.
    """
    lines = [
        Line(r.steps.t[:: size(len(r.steps), POINTS)].astype(float), _median(r), f"c{k % 6}", name=r.id)
        for k, r in enumerate(records) if len(r.steps)
    ]  # fmt: skip
    chart = Chart("Loss, running median", lines, 160).svg() if lines else ""
    rows = [(key, *("—" if value is None else value for value in values)) for key, values in differing.items()]
    names = ("setting", *(r.id for r in records[:2]))
    rest = f"and {len(rows) - MAX_ROWS} more settings" if len(rows) > MAX_ROWS else ""
    return card(sentence, paragraphs(note), chart, table(rows[:MAX_ROWS], names), paragraphs(rest, "note"))


def _median(record: Record) -> np.ndarray:
    loss = record.steps.loss
    finite = np.where(np.isfinite(loss), loss, np.nan)
    return running_median(finite, window_of(len(loss)))[:: size(len(loss), POINTS)]


# -- Films -------------------------------------------------------------------------------------------------------------


class FilmFile(type(Path())):
    """The path of a film; a notebook shows the film."""

    def _repr_html_(self) -> str:
        return film_html(Path(self))


def film_html(path: Path) -> str:
    """The film in a frame of its own, without access to the notebook; where it is too large, where it is."""
    try:
        data = path.read_bytes()
    except OSError:
        return card(f"{path} is no longer there.")
    suffix = path.suffix.lower()
    if len(data) > MAX_FILM_BYTES:
        return card(f"The film is in {path}.", paragraphs(f"It has {len(data) / 2**20:.0f} MB. Open it in a browser."))
    if suffix == ".html":
        style = "width:100%;height:760px;border:1px solid #8884;border-radius:6px"
        page = html.escape(data.decode("utf-8"))
        return f'<iframe sandbox="allow-scripts" loading="lazy" title="film" style="{style}" srcdoc="{page}"></iframe>'
    if suffix in PICTURES:
        import base64

        source = f"data:{PICTURES[suffix]};base64,{base64.b64encode(data).decode()}"
        return f'<img alt="{text(path.name)}" style="max-width:100%" src="{source}">'
    return card(f"The film is in {path}.")
