"""Stored runs as text: the list of them, one in full, two side by side."""

import math
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table

from steepest.records.run import Record
from steepest.records.search import RaceResult, Search, Trial
from steepest.records.verdict import Verdict
from steepest.view.format import duration, number, sparkline

HIDDEN = {"stages", "search", "verdict"}


def print_runs(records: Sequence[Record]) -> None:
    """The runs, a line each."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("run", "status", "rule", "lr", "metric", "took", "started"):
        table.add_column(heading, no_wrap=heading in ("run", "status"))
    for r in records:
        name, value = headline(r)
        shown = f"{name} {number(value)}" if value is not None else ""
        started = r.started[:16].replace("T", " ")
        rate = r.config.get("lr")
        lr = number(rate) if isinstance(rate, float) else ""
        table.add_row(r.id, r.status, str(r.config.get("rule", "")), lr, shown, duration(r.seconds), started)
    Console(soft_wrap=False).print(table)


def print_run(record: Record) -> None:
    """One run in full."""
    console = Console(highlight=False)
    name, value = headline(record)
    console.print(f"[bold]{record.id}[/bold]  {record.status}, {len(record.steps)} steps in {duration(record.seconds)}")
    if record.notes:
        console.print(record.notes, markup=False)
    if value is not None:
        console.print(f"validation {name}: {number(value)}")
    for split, metric, measured in finals(record):
        console.print(f"{split} {metric}: {number(measured)}")
    if len(record.steps):
        losses = record.steps.loss.tolist()
        console.print(f"loss {number(losses[0])} {sparkline(losses, 48)} {number(losses[-1])}", markup=False)
    if "search" in record.config:
        console.print(record.config["search"]["sentence"], markup=False)
    if "verdict" in record.config:
        console.print(str(Verdict.of(record.config["verdict"])), markup=False)
    for event in record.events:
        after = f"; {event.after}" if event.after else ""
        console.print(f"step {event.t}: {event.kind}: {event.seen}; {event.done}{after}", markup=False)
    table = Table(box=None, pad_edge=False, show_header=False)
    for key, setting in {**record.config, **record.versions}.items():
        if key not in HIDDEN:
            table.add_row(key, str(setting))
    console.print(table)


def print_comparison(sides: Sequence[Record], differing: Mapping[str, tuple[Any, Any]], sentence: str) -> None:
    """What differed between two runs, how both ended, and what may be concluded."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("", *(r.id for r in sides)):
        table.add_column(heading)
    for key, values in differing.items():
        table.add_row(key, *(str(v) for v in values))
    for key, cells in _endings(sides).items():
        table.add_row(key, *cells)
    table.add_row("loss", *(sparkline(r.steps.loss.tolist(), 24) for r in sides))
    console = Console(highlight=False)
    console.print(table)
    console.print(sentence, markup=False)


def print_rates(found: Search) -> None:
    """The rates that were tried, and the choice."""
    print_tried(found.table)
    console = Console(highlight=False)
    console.print(found.sentence, markup=False)
    cost = found.steps / found.run_steps
    console.print(
        f"{found.steps} steps, {cost:.2f} runs, in {duration(found.seconds)}; members went {found.way}: {found.why}.",
        markup=False,
    )


def print_tried(rates: Sequence[Trial]) -> None:
    """The rates that were tried, a line each."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("steps", "rate", "loss", "gain", "", ""):
        table.add_column(heading, justify="left" if not heading else "right", no_wrap=True)
    for row in rates:
        gain = f"{row.gain:.0%}" if row.gain > -1 else "none"
        table.add_row(str(row.steps), number(row.lr), number(row.loss), gain, row.region, row.how)
    Console(highlight=False).print(table)


def print_race(contest: RaceResult) -> None:
    """Each side's rates, steps to the target and ends; then what may be concluded."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("side", "lr", "steps to target", "reached", "loss at the end", contest.metric):
        table.add_column(heading, justify="left" if heading == "side" else "right")
    for side in contest.sides:
        mine = contest.of(side)
        reached = [c.reached(contest.target) for c in mine]
        metric = number(median(float(c.metric[-1]) for c in mine)) if contest.metric else ""
        there = f"{sum(map(math.isfinite, reached))} of {len(mine)}"
        cells = (median(c.lr for c in mine), median(reached), median(c.final for c in mine))
        lr, steps, loss = (number(x) if math.isfinite(x) else "-" for x in cells)
        table.add_row(side, lr, steps, there, loss, metric)
    console = Console(highlight=False)
    console.print(table)
    kind = "half of each side's runs reach it" if contest.derived else "as given"
    console.print(f"medians; target: validation loss {number(contest.target)} ({kind})", markup=False)
    console.print(contest.verdict, markup=False)


def headline(record: Record) -> tuple[str, float | None]:
    """Name and last validation value of the run's metric."""
    name = record.config.get("metric", "loss")
    return name, record.last("validation", name)


def finals(record: Record) -> list[tuple[str, str, float]]:
    """(split, name, value) of what was measured at the end, but for the headline."""
    newest = {(m.split, m.name): m.value for m in record.measurements}
    metric = headline(record)[0]
    return [(split, name, value) for (split, name), value in newest.items() if (split, name) != ("validation", metric)]


def _endings(sides: Sequence[Record]) -> dict[str, list[str]]:
    rows: dict[str, list[str]] = {}
    keys = dict.fromkeys((m.split, m.name) for r in sides for m in r.measurements)
    for split, name in keys:
        values = [r.last(split, name) for r in sides]
        rows[f"{split} {name}"] = ["" if v is None else number(v) for v in values]
    return rows
