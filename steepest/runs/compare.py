"""Two runs side by side: what differed, how both ended, and what may be concluded."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from steepest.errors import InputError
from steepest.records.run import Record
from steepest.runs.run import Run, open
from steepest.search.statistics import differences
from steepest.view.figures.curves import compare_curves


def differing(one: Record, other: Record) -> dict[str, tuple[Any, Any]]:
    """The settings and versions in which two runs differ: (of the one, of the other)."""
    sides = [{**r.config, **r.versions} for r in (one, other)]
    keys = [
        k
        for k in dict.fromkeys((*sides[0], *sides[1]))
        if k not in ("stages", "pid", "parameters", "search", "verdict")
    ]
    return {k: (sides[0].get(k), sides[1].get(k)) for k in keys if sides[0].get(k) != sides[1].get(k)}


class Comparison:
    """Two runs, or two groups of runs, side by side.

    Attributes:
        records: of the first run of each side.
        differing: settings in which these differ; a seed does not count where a side has several.
        sentence: what may be concluded.
    """

    def __init__(self, ones: Sequence[Run], others: Sequence[Run]) -> None:
        self.sides = (tuple(ones), tuple(others))
        self.records = (ones[0].record, others[0].record)
        self.differing = differing(*self.records)
        if len(ones) > 1 or len(others) > 1:
            self.differing.pop("seed", None)
        self.sentence = _conclusion(*self.sides)

    def figure(self, path: str | Path) -> Path:
        """Writes all curves in one figure."""
        return compare_curves([run.record for side in self.sides for run in side], path)

    def __str__(self) -> str:
        lines = [f"{key}: {a} | {b}" for key, (a, b) in self.differing.items()]
        return "\n".join([f"{self.records[0].id} | {self.records[1].id}", *lines, self.sentence])


Side = Run | str | Sequence[Run | str]


def compare(one: Side, other: Side, runs: str | Path = "runs") -> Comparison:
    """What differed between two runs, both curves, and what may be concluded.

    With one run a side it cannot be told whether a difference exceeds the noise between seeds, and it says so; with
    several a side it is told as a race tells it.

    Args:
        one, other: a run, its id, or several of them that differ in nothing but their seeds.
        runs: folder of the runs that are named.

    Raises:
        StoreError: a run that does not exist.
        InputError: a side without runs.
    """
    return Comparison(_opened(one, runs), _opened(other, runs))


def _opened(side: Side, runs: str | Path) -> list[Run]:
    given = [side] if isinstance(side, Run | str) else list(side)
    if not given:
        raise InputError("compare: a side without runs is given; expected is a run, its id, or several of them")
    return [open(r, runs) if isinstance(r, str) else r for r in given]


def _conclusion(ones: Sequence[Run], others: Sequence[Run]) -> str:
    every = [*ones, *others]
    names = {run.record.config.get("metric", "loss") for run in every}
    values = [[run.metric for run in side if run.metric is not None] for side in (ones, others)]
    if len(names) > 1 or sum(map(len, values)) < len(every):
        return "They were not measured by the same metric, so their ends cannot be compared."
    (name,) = names
    if min(map(len, values)) > 1:
        sides = dict(zip(_labels(ones[0].record, others[0].record), values, strict=True))
        scale = "log" if name == "loss" and min(map(min, values)) > 0 else "linear"
        better = ones[0].record.config.get("better", "lower")
        (found,) = differences(f"last validation {name}", sides, scale=scale, better=better)
        return found.sentence + "."
    gap = abs(values[0][0] - values[1][0])
    return (
        f"Their last validation {name} differs by {gap:.3g}. With one run a side, noise between seeds cannot be told "
        "from a difference: repeat both with several seeds before you believe it."
    )


def _labels(one: Record, other: Record) -> tuple[str, str]:
    """Names, or ids where the names are the same."""
    return (one.name, other.name) if one.name != other.name else (one.id, other.id)
