"""Two runs, or two groups of runs, compared: what differed, how both ended, and what may be concluded."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from steepest.errors import InputError
from steepest.records.arguments import A_RUN, check
from steepest.records.comparison import ENDS_HIGHER, ENDS_LOWER, NO_INTERVAL, EndComparison
from steepest.runs.run import Run, open
from steepest.search.comparison import compare_ends
from steepest.view.figures.curves import compare_curves
from steepest.view.notebook import comparison_card

IDENTITY_KEYS = ("stages", "pid", "parameters", "end_step", "last_checkpoint")
"""Keys that say nothing more than others do."""


class Comparison:
    """Two runs, or two groups of runs, compared.

    Attributes:
        records: of the first run of each group.
        differing: settings and versions in which these differ, (the one's, the other's); without the seed if a
            group has several runs.
        ends: how both ended, with intervals; the page of `steepest serve` shows the same.
        conclusion: whether the other group's metric is "better" or "worse" than the one's, where the interval of the
            difference excludes 0; "tie" where it does not, "unknown" where there is none: for single runs whose metric
            is no share of samples, or without a metric in common.
        sentence: the conclusion in words.
    """

    def __init__(self, ones: Sequence[Run], others: Sequence[Run]) -> None:
        self.sides = (tuple(ones), tuple(others))
        self.records = (ones[0].record, others[0].record)
        a, b = ({**record.config.to_json(), **record.versions} for record in self.records)
        keys = [k for k in dict.fromkeys((*a, *b)) if k not in IDENTITY_KEYS]
        self.differing = {k: (a.get(k), b.get(k)) for k in keys if a.get(k) != b.get(k)}
        if len(ones) > 1 or len(others) > 1:
            self.differing.pop("seed", None)
        self.ends = _ends(*self.sides)
        self.conclusion, self.sentence = _conclusion(self.ends), self.ends.sentence

    def figure(self, path: str | Path) -> Path:
        """Writes all curves in one figure."""
        return compare_curves([run.record for side in self.sides for run in side], path)

    def _repr_html_(self) -> str:
        records, ends = [run.record for side in self.sides for run in side], self.ends
        rest = self.sentence.removeprefix(ends.headline).strip()
        return comparison_card(records, ends.headline or self.sentence, rest, self.differing)

    def __str__(self) -> str:
        lines = [f"{key}: {a} | {b}" for key, (a, b) in self.differing.items()]
        return "\n".join([f"{self.records[0].id} | {self.records[1].id}", *lines, self.sentence])


Group = Run | str | Sequence[Run | str]


def compare(one: Group, other: Group, runs: str | Path = "runs") -> Comparison:
    """Compares two runs: what differed, both curves, and the conclusion.

    One run each cannot separate a difference from seed-to-seed variation, and the conclusion says so. Groups of several
    runs are compared by intervals over seeds.

    Args:
        one, other: a run, its id, or several of them that differ only in their seeds.
        runs: folder of the runs that are given by id.

    Raises:
        StoreError: no such run.
        InputError: a group without runs.
    """
    return Comparison(_open_group(one, runs), _open_group(other, runs))


def _open_group(group: Group, runs: str | Path) -> list[Run]:
    members: list[Any] = list(group) if isinstance(group, list | tuple) else [group]
    for member in members:
        check("one, other", member, A_RUN)
    if not members:
        raise InputError("compare needs a run, its id, or several of them on each side, got none")
    return [open(r, runs) if isinstance(r, str) else r for r in members]


def _ends(ones: Sequence[Run], others: Sequence[Run]) -> EndComparison:
    """How both ended."""
    groups = [[run.record for run in side] for side in (ones, others)]
    one, other = (group[0] for group in groups)
    if min(map(len, groups)) > 1 and one.config.metric == other.config.metric and one.config.better is None:
        raise InputError(
            f"metric '{one.config.metric}': say better= before runs are compared, in sd.metric(f, better='higher') "
            "or run.measure(..., better='higher')."
        )
    names = (one.id, f"{other.id} (again)") if one.id == other.id else None
    return compare_ends(groups, names)


def _conclusion(ends: EndComparison) -> str:
    """Whether the second group is better or worse, if a difference is certain."""
    (pair,) = ends.pairs
    if pair.result not in (ENDS_HIGHER, ENDS_LOWER):
        return pair.result
    if not ends.better:
        return NO_INTERVAL
    return "better" if (pair.result == ENDS_LOWER) == (ends.better == "higher") else "worse"
