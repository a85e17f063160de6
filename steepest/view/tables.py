"""Stored runs, searches and races as text."""

import math
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table

from steepest.records.run import Record
from steepest.records.search import FAILED, TOO_LARGE, TOO_SMALL, RaceResult, Search, Trial
from steepest.records.verdict import Verdict
from steepest.view.format import describe_event, duration, metric_value, number, sparkline

INTERNAL_SETTINGS = {
    "stages", "search", "verdict", "guard", "model", "data", "parameters", "better", "pid", "source_hash",
    "last_checkpoint",
}  # fmt: skip
"""Settings that `show` leaves out: what is shown above them, thresholds and hashes."""
REGIONS = {TOO_SMALL: "too low", TOO_LARGE: "too high", FAILED: "failed"}
"""Regions of a search, where the words differ from the record's."""
STRATEGIES = {"together": "batched", "one after another": "sequential"}
"""Words for `Search.way`."""


def print_runs(records: Sequence[Record]) -> None:
    """Prints the runs, a line each."""
    table = _table("run", "status", "rule", "lr", "val metric (last)", "duration", "started")
    for r in records:
        if r.damage:
            table.add_row(r.id, r.status)
            continue
        name, value = last_metric(r)
        metric = "" if value is None else f"{name} {number(value)}"
        rule = " → ".join(stage.rule for stage in r.config.stages) or r.config.rule
        lr = number(r.config.lr) if r.config.lr is not None else ""
        table.add_row(r.id, r.status, rule, lr, metric, duration(r.seconds), r.started[:16].replace("T", " "))
    Console(soft_wrap=False).print(table)
    _print(*(f"{r.id} is damaged: {r.damage}. Remove it with: steepest rm {r.id}" for r in records if r.damage))


def print_run(record: Record, verdict: Verdict | None) -> None:
    """Prints one run in full."""
    losses = record.steps.loss.tolist()
    lines = [f"{record.id} · {record.status} · {len(losses):,} steps in {duration(record.seconds)}", record.notes]
    lines += [headline(record, verdict), *(f"  {n}" for n in (verdict.numbers if verdict else ()))]
    measurements = {(m.split, m.name): m.value for m in record.measurements}
    for split in dict.fromkeys(split for split, _ in measurements):
        values = [f"{name} {number(x)}" for (s, name), x in measurements.items() if s == split]
        lines.append(f"{split}: {' · '.join(values)}")
    if losses:
        lines.append(f"train loss: {number(losses[0])} {sparkline(losses, 48)} {number(losses[-1])}")
    lines += [record.search.sentence] if record.search is not None else []
    lines += [describe_event(event) for event in record.events]
    table = _table("", "", show_header=False)
    for key, setting in {**record.config.to_json(), **record.versions}.items():
        if key not in INTERNAL_SETTINGS and setting is not None:
            table.add_row(key, str(getattr(record.config, key, setting)))
    table.add_row("guard", "on" if record.config.guard else "off")
    _print(*filter(None, lines), table)


def print_comparison(records: Sequence[Record], differences: Mapping[str, tuple[Any, Any]], sentence: str) -> None:
    """Prints in which settings two runs differ, how both ended, and the conclusion."""
    table = _table("", *(r.id for r in records))
    for key, values in differences.items():
        table.add_row(key, *map(str, values))
    for split, name in dict.fromkeys((m.split, m.name) for r in records for m in r.measurements):
        values = (r.last(split, name) for r in records)
        table.add_row(f"{split} {name}", *("" if v is None else number(v) for v in values))
    table.add_row("train loss", *(sparkline(r.steps.loss.tolist(), 24) for r in records))
    _print(table, sentence)


def print_rates(search: Search) -> None:
    """Prints the learning rates tried, the choice, and what the search cost."""
    print_trials(search.table)
    cost = f"{search.steps:,} steps ({search.steps / search.run_steps:.2g}× the run of {search.run_steps:,} steps)"
    strategy = f"{STRATEGIES.get(search.way, search.way)}: {search.why}"
    _print(search.sentence, f"{cost} in {duration(search.seconds)}, {strategy}.")


def print_trials(trials: Sequence[Trial]) -> None:
    """Prints the learning rates tried, a line each."""
    table = _table("steps", "lr", "val loss", "gain vs best", "result", right=4)
    for row in trials:
        gain = f"{100 * row.gain:.0f} %" if row.gain > -1 else "none"
        result = REGIONS.get(row.region, row.region) + (f" ({row.how})" if row.how else "")
        table.add_row(f"{row.steps:,}", number(row.lr), number(row.loss), gain, result)
    _print(table)


def print_race(race: RaceResult) -> None:
    """Prints each contender's learning rates, steps to the target and final values; then the conclusions."""
    metric = [f"median final {race.metric}"] if race.metric else []
    table = _table(
        "contender", "median lr", "median steps to target", "runs that reached it", "median final val loss", *metric
    )
    for column in table.columns[1:]:
        column.justify = "right"
    for name in race.sides:
        curves = race.of(name)
        steps = [c.reached(race.target) for c in curves]
        values = [median(c.lr for c in curves), median(steps), median(c.final for c in curves)]
        values += [median(float(c.metric[-1]) for c in curves)] if metric else []
        cells = [number(x) if math.isfinite(x) else "—" for x in values]
        table.add_row(name, *cells[:2], f"{sum(map(math.isfinite, steps))} of {len(curves)}", *cells[2:])
    origin = ", the highest median final loss" if race.derived else ""
    note = f"Target: val loss {number(race.target)}{origin}. —: the median run did not reach it."
    _print(table, note, race.verdict)


def last_metric(record: Record) -> tuple[str, float | None]:
    """Name and last validation value of the run's metric."""
    name = record.config.metric
    return name, record.last("validation", name)


def headline(record: Record, verdict: Verdict | None) -> str:
    """How a run ended: its metric, then the verdict's sentence and advice."""
    name, value = last_metric(record)
    test = record.last("test", name)
    parts = []
    if test is not None:
        validation = "" if value is None else f" (validation {metric_value(name, value)})"
        parts.append(f"Test {name} {metric_value(name, test)}{validation}.")
    elif value is not None:
        parts.append(f"Validation {name} {metric_value(name, value)}.")
    if verdict is not None:
        parts += [verdict.sentence, verdict.advice]
    return " ".join(filter(None, parts))


def _table(*headings: str, show_header: bool = True, right: int = 0) -> Table:
    """A table without a frame, whose first columns may be aligned to the right."""
    table = Table(box=None, pad_edge=False, header_style="bold", show_header=show_header)
    for k, heading in enumerate(headings):
        table.add_column(heading, justify="right" if k < right else "left", no_wrap=heading in ("run", "status"))
    return table


def _print(*parts: Table | str) -> None:
    """Prints tables and lines of text without interpreting the text as markup."""
    console = Console(highlight=False)
    for part in parts:
        console.print(part, markup=False)
