"""What a notebook shows of a run, a search, a race, a comparison and a film: the conclusion first, then curves.

The curves are vector graphics in the colours of the card, so that they are dark where the notebook is.
"""

import html
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from steepest.records.card import card, details, paragraphs, table, text
from steepest.records.per_sample import PER_SAMPLE, is_sum, per_sample
from steepest.records.run import History, Record
from steepest.records.search import FAILED, RaceResult, Search
from steepest.records.verdict import Verdict
from steepest.view.figures.curves import bucket, size
from steepest.view.film import summary
from steepest.view.film.metrics import metric_info, words_of
from steepest.view.film.numbers import count
from steepest.view.format import capitalise, describe_event, duration, number
from steepest.view.running_median import running_median, window_of
from steepest.view.svg_chart import Chart, Line

LINE_POINTS, BAND_POINTS = 360, 120
"""Of a line and of a band at most."""
FEW_EVENTS, LISTED_EVENTS, MAX_SETTINGS = 4, 100, 24
MAX_FILM_BYTES = 8 << 20
"""Of a film that is put into a notebook, which holds it as text."""
PICTURES = {".png": "image/png", ".gif": "image/gif", ".svg": "image/svg+xml"}


# -- Cards -------------------------------------------------------------------------------------------------------------


def run_card(history: History, verdict: Verdict | None) -> str:
    """A run: how it ended, its curves, what log.

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
    few, many = (events, []) if len(events) <= FEW_EVENTS else ([], events[:LISTED_EVENTS])
    log = paragraphs("\n".join(few), "note") + details(f"{len(events)} events", many)
    note = paragraphs(" · ".join(filter(None, facts)), "note")
    return card(sentence, paragraphs(advice), curves(record), log, note)


def curves(record: Record) -> str:
    """The curves of a run: loss, validation metric and learning rate over the steps."""
    own, name = per_sample(record), record.config.metric
    t, loss = own.steps.t, own.steps.loss
    if not len(t):
        return ""
    events = [e.t for e in record.events]
    lines = [_train_line(t, loss)]
    if held_out := own.series("validation", "loss"):
        lines.append(_point_line(held_out, "validation"))
    title = PER_SAMPLE if is_sum(record) else "loss"
    ends = (0, max([t[-1], *events]))
    charts = [Chart(title.capitalize(), lines, 150, x_ends=ends).svg(events)]
    if name != "loss" and (values := own.series("validation", name)):
        info = metric_info(record, name)
        is_share = info is not None and bool(info.unit)
        charts.append(Chart(capitalise(words_of(name)), [_point_line(values)], 70, "", ends, is_share).svg())
    each = size(len(t), LINE_POINTS)
    rate = Line(t[::each].astype(float), own.steps.lr[::each], "ink2")
    charts.append(Chart("Learning rate", [rate], 40, "", ends, from_zero=True).svg())
    return "".join(charts)


def _train_line(t: np.ndarray, loss: np.ndarray) -> Line:
    """The running median of the losses over a band of single ones."""
    finite, each = np.where(np.isfinite(loss), loss, np.nan), size(len(t), BAND_POINTS)
    low, _, high = bucket(finite, each)
    middle = running_median(finite, window_of(len(t)))[::each]
    return Line(t[::each].astype(float), middle, "c0", low, high, name="train")


def _point_line(values: Sequence[Any], name: str = "") -> Line:
    each = size(len(values), LINE_POINTS // 4)
    points = [*values[::each], *([values[-1]] if (len(values) - 1) % each else [])]
    t, y = (np.array([getattr(m, key) for m in points], float) for key in ("t", "value"))
    return Line(t, y, "ink", is_points=True, name=name)


def search_card(search: Search) -> str:
    """A learning-rate search: the rate to use, loss against rate, what was failures."""
    lines = []
    for colour, steps in zip(("c1", "c0"), sorted({row.steps for row in search.table})):
        rows = sorted(row for row in search.table if row.steps == steps)
        losses = np.minimum([row.loss if math.isfinite(row.loss) else math.nan for row in rows], 1.05 * search.start)
        x = np.array([row.lr for row in rows], float)
        lines.append(Line(x, losses, colour, is_points=True, name=f"{count(steps)} steps"))
    chart = Chart("Validation loss of short runs", lines, 160, "learning rate", log_x=True, target=search.start)
    failures = [row for row in search.table if row.region == FAILED]
    words = ", ".join(f"{number(row.lr)} ({row.how})" if row.how else number(row.lr) for row in failures[:FEW_EVENTS])
    cost = f"{count(search.steps)} steps in {duration(search.seconds)}, {search.rule}."
    svg = chart.svg(names=[(search.best, f"use {number(search.best)}")])
    rest = [f"Dashed: the loss at the start, {number(search.start)}.", f"Failed: {words}." if words else "", cost]
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
        hits = sum(math.isfinite(c.reached(race.target)) for c in own)
        rates = number(float(np.median([c.lr for c in own])))
        values = (count(steps) if math.isfinite(steps) else "—", f"{hits} of {len(own)}", number(float(final)))
        rows.append((side, rates, *values))
    chart = Chart("Validation loss", lines, 180, target=race.target).svg()
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
        Line(r.steps.t[:: size(len(r.steps), LINE_POINTS)].astype(float), _median(r), f"c{k % 6}", name=r.id)
        for k, r in enumerate(records) if len(r.steps)
    ]  # fmt: skip
    chart = Chart("Loss, running median", lines, 160).svg() if lines else ""
    rows = [(key, *("—" if value is None else value for value in values)) for key, values in differing.items()]
    names = ("setting", *(r.id for r in records[:2]))
    rest = f"and {len(rows) - MAX_SETTINGS} more settings" if len(rows) > MAX_SETTINGS else ""
    return card(sentence, paragraphs(note), chart, table(rows[:MAX_SETTINGS], names), paragraphs(rest, "note"))


def _median(record: Record) -> np.ndarray:
    loss = record.steps.loss
    finite = np.where(np.isfinite(loss), loss, np.nan)
    return running_median(finite, window_of(len(loss)))[:: size(len(loss), LINE_POINTS)]


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
