"""Stored runs, searches and races as text."""

import io
import math
from collections.abc import Container, Mapping, Sequence
from statistics import median
from typing import Any

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from steepest.records.run import Record
from steepest.records.search import FAILED, TOO_LARGE, TOO_SMALL, RaceResult, Search, Trial
from steepest.records.verdict import Verdict
from steepest.view.format import describe_event, duration, metric_value, number, sparkline
from steepest.view.plain_text import visible

INTERNAL_SETTINGS = {
    "stages", "search", "verdict", "guard", "model", "data", "parameters", "better", "pid", "source_hash",
    "last_checkpoint",
}  # fmt: skip
"""Settings that `show` leaves out: what is shown above them, thresholds and hashes."""
UNKNOWN_TO_A_LOOP = {
    "schedule", "accumulate", "seed", "keep", "checkpoint_every", "locate", "steps_per_epoch", "start",
}  # fmt: skip
"""Settings that `show` leaves out too where the loop was the user's own."""
REGIONS = {TOO_SMALL: "too low", TOO_LARGE: "too high", FAILED: "failed"}
"""Regions of a search, where the words differ from the record's."""
STRATEGIES = {"together": "batched", "one after another": "sequential"}
"""Words for `Search.way`."""


PIPE_WIDTH = 100_000
"""Columns where output is no terminal: nothing is cut or wrapped."""


def print_runs(records: Sequence[Record]) -> None:
    """Prints the runs, a line each; two lines where an id leaves too little room for the rest."""
    headings = ("status", "rule", "lr", "val metric (last)", "duration", "started")
    rows = []
    for r in records:
        if r.damage:
            rows.append((r.status, *("" for _ in headings[1:])))
            continue
        name, value = last_metric(r)
        metric = "" if value is None else f"{name} {metric_value(name, value)}"
        lr = number(r.config.lr) if r.config.lr is not None else ""
        rows.append((r.status, r.config.rules, lr, metric, duration(r.seconds), r.started[:16].replace("T", " ")))
    _print_rows([r.id for r in records], headings, rows)
    _print(*(f"{r.id} is damaged: {r.damage}. Remove it with: steepest rm {r.id}" for r in records if r.damage))


def _print_rows(ids: Sequence[str], headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    console = _console()
    whole = _table(("run", *headings), [(run, *row) for run, row in zip(ids, rows, strict=True)])
    if _fits(whole, console):
        console.print(whole)
        return
    lines = _lines(_table(headings, rows))
    console.print(Text(f"run\n{INDENT}{lines[0]}", "bold"))
    for run, line in zip(ids, lines[1:], strict=True):
        console.print(Text(f"{visible(run)}\n{INDENT}{line}"), soft_wrap=True)


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
    left_out = INTERNAL_SETTINGS | (UNKNOWN_TO_A_LOOP if record.config.is_watched else set())
    settings = {
        key: str(getattr(record.config, key, setting))
        for key, setting in {**record.config.to_json(), **record.versions}.items()
        if key not in left_out and setting is not None
    }
    settings["guard"] = "on" if record.config.guard else "off"
    _print(*filter(None, lines), _table(("", ""), list(settings.items()), show_header=False))


def print_comparison(records: Sequence[Record], differences: Mapping[str, tuple[Any, Any]], sentence: str) -> None:
    """Prints in which settings two runs differ, how both ended, and the conclusion."""
    rows = [(key, *map(str, values)) for key, values in differences.items()]
    for split, name in dict.fromkeys((m.split, m.name) for r in records for m in r.measurements):
        ends = (r.last(split, name) for r in records)
        rows.append((f"{split} {name}", *("" if v is None else number(v) for v in ends)))
    rows.append(("train loss", *(sparkline(r.steps.loss.tolist(), 24) for r in records)))
    ids, console = [r.id for r in records], _console()
    table = _table(("", *ids), rows)
    if _fits(table, console):
        _print(table, sentence)
        return
    legend = [f"({i}) {run}" for i, run in enumerate(ids, start=1)]
    _print(*legend, _table(("", *(f"({i})" for i in range(1, len(ids) + 1))), rows), sentence)


def print_rates(search: Search) -> None:
    """Prints the learning rates tried, the choice, and what the search cost."""
    print_trials(search.table)
    cost = f"{search.steps:,} steps ({search.steps / search.run_steps:.2g}× the run of {search.run_steps:,} steps)"
    strategy = f"{STRATEGIES.get(search.way, search.way)}: {search.why}"
    _print(search.sentence, f"{cost} in {duration(search.seconds)}, {strategy}.")


def print_trials(trials: Sequence[Trial]) -> None:
    """Prints the learning rates tried, a line each."""
    rows = []
    for row in trials:
        gain = f"{100 * row.gain:.0f} %" if row.gain > -1 else "none"
        result = REGIONS.get(row.region, row.region) + (f" ({row.how})" if row.how else "")
        rows.append((f"{row.steps:,}", number(row.lr), number(row.loss), gain, result))
    _print(_table(("steps", "lr", "val loss", "gain vs best", "result"), rows, right=range(4)))


def print_race(race: RaceResult) -> None:
    """Prints each contender's learning rates, steps to the target and final values; then the conclusions."""
    metric = [f"median final {race.metric}"] if race.metric else []
    headings = ["contender", "median lr", "median steps to target", "runs that reached it", "median final val loss"]
    rows = []
    for name in race.sides:
        curves = race.of(name)
        steps = [c.reached(race.target) for c in curves]
        values = [median(c.lr for c in curves), median(steps), median(c.final for c in curves)]
        values += [median(float(c.metric[-1]) for c in curves)] if metric else []
        cells = [number(x) if math.isfinite(x) else "—" for x in values]
        rows.append((name, *cells[:2], f"{sum(map(math.isfinite, steps))} of {len(curves)}", *cells[2:]))
    table = _table((*headings, *metric), rows, right=range(1, len(headings) + len(metric)))
    origin = ", the highest median final loss" if race.derived else ""
    note = f"Target: val loss {number(race.target)}{origin}. —: the median run did not reach it."
    _print(table, note, race.verdict)


def last_metric(record: Record) -> tuple[str, float | None]:
    """Name and last validation value of the run's metric."""
    name = record.config.metric
    return name, record.last("validation", name)


def headline(record: Record, verdict: Verdict | None) -> str:
    """How a run ended: its metric, then the verdict's sentence, what would lower the loss further, and advice."""
    name, value = last_metric(record)
    test = record.last("test", name)
    parts = []
    if test is not None:
        validation = "" if value is None else f" (validation {metric_value(name, value)})"
        parts.append(f"Test {name} {metric_value(name, test)}{validation}.")
    elif value is not None:
        parts.append(f"Validation {name} {metric_value(name, value)}.")
    if verdict is not None:
        parts += [verdict.sentence, verdict.outlook, verdict.advice]
    return " ".join(filter(None, parts))


INDENT = "  "


def _table(
    headings: Sequence[str], rows: Sequence[Sequence[str]], show_header: bool = True, right: Container[int] = ()
) -> Table:
    """A table without a frame. Cells are shown as they are written, whatever they mean to `rich`.

    Args:
        headings: of the columns.
        rows: of cells.
        show_header: whether the headings are shown.
        right: columns that are aligned to the right.
    """
    table = Table(box=None, pad_edge=False, header_style="bold", show_header=show_header)
    for k, heading in enumerate(headings):
        is_whole = heading in ("run", "status")
        table.add_column(Text(visible(heading)), justify="right" if k in right else "left", no_wrap=is_whole)
    for row in rows:
        table.add_row(*(Text(visible(cell)) for cell in row))
    return table


def _console() -> Console:
    """Where results are printed; what is no terminal is as wide as it takes."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=PIPE_WIDTH)


def _fits(table: Table, console: Console) -> bool:
    any_width = console.options.update(max_width=PIPE_WIDTH)
    return Measurement.get(console, any_width, table).maximum <= console.width


def _lines(table: Table) -> list[str]:
    """A table's header and rows, a line each, however wide the terminal is."""
    wide = Console(width=PIPE_WIDTH, file=io.StringIO(), color_system=None)
    wide.print(table)
    assert isinstance(wide.file, io.StringIO)
    return [line.rstrip() for line in wide.file.getvalue().splitlines()]


def _print(*parts: Table | str) -> None:
    """Prints tables, and lines of text as they are written."""
    console = _console()
    for part in parts:
        console.print(Text(visible(part)) if isinstance(part, str) else part)
