"""Two runs side by side: what differed, how both ended, and what may be concluded."""

from pathlib import Path
from typing import Any

from steepest.record import Record
from steepest.run import Run, open
from steepest.view.figures import compare_curves


def differing(one: Record, other: Record) -> dict[str, tuple[Any, Any]]:
    """The settings and versions in which two runs differ: (of the one, of the other)."""
    sides = [{**r.config, **r.versions} for r in (one, other)]
    keys = [k for k in dict.fromkeys((*sides[0], *sides[1])) if k not in ("stages", "pid", "parameters", "search")]
    return {k: (sides[0].get(k), sides[1].get(k)) for k in keys if sides[0].get(k) != sides[1].get(k)}


class Comparison:
    """Two runs side by side.

    Attributes:
        records: of the two.
        differing: settings in which they differ.
        sentence: what may be concluded.
    """

    def __init__(self, one: Run, other: Run) -> None:
        self.records = (one.record, other.record)
        self.differing = differing(*self.records)
        self.sentence = _conclusion(one, other)

    def figure(self, path: str | Path) -> Path:
        """Writes both curves in one figure."""
        return compare_curves(self.records, path)

    def __str__(self) -> str:
        lines = [f"{key}: {a} | {b}" for key, (a, b) in self.differing.items()]
        return "\n".join([f"{self.records[0].id} | {self.records[1].id}", *lines, self.sentence])


def compare(one: Run | str, other: Run | str, runs: str | Path = "runs") -> Comparison:
    """What differed between two runs, both curves, and what may be concluded.

    With one run a side it cannot be told whether a difference exceeds the noise between seeds, and it says so.

    Raises:
        StoreError: a run that does not exist.
    """
    sides = [open(r, runs) if isinstance(r, str) else r for r in (one, other)]
    return Comparison(*sides)


def _conclusion(one: Run, other: Run) -> str:
    name = one.record.config.get("metric", "loss")
    if one.metric is None or other.metric is None or name != other.record.config.get("metric", "loss"):
        return "They were not measured by the same metric, so their ends cannot be compared."
    gap = abs(one.metric - other.metric)
    return (
        f"Their last validation {name} differs by {gap:.3g}. With one run a side, noise between seeds cannot be told "
        "from a difference: repeat both with several seeds before you believe it."
    )
