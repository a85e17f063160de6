"""Two runs, or two groups of runs, compared: what differed, how both ended, and what may be concluded."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median

from steepest.errors import InputError
from steepest.runs.run import Run, open
from steepest.search.statistics import Difference, differences
from steepest.view.figures.curves import compare_curves

IDENTITY_KEYS = ("stages", "pid", "parameters", "end_step", "last_checkpoint")
"""Keys that say nothing more than others do."""


class Comparison:
    """Two runs, or two groups of runs, compared.

    Attributes:
        records: of the first run of each group.
        differing: settings and versions in which these differ, (the one's, the other's); without the seed if a
            group has several runs.
        conclusion: whether the other group's metric is "better" or "worse" than the one's; "tie" where no difference
            was detected, "unknown" for single runs, or without a metric in common.
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
        self.conclusion, self.sentence = _conclusion(*self.sides)

    def figure(self, path: str | Path) -> Path:
        """Writes all curves in one figure."""
        return compare_curves([run.record for side in self.sides for run in side], path)

    def __str__(self) -> str:
        lines = [f"{key}: {a} | {b}" for key, (a, b) in self.differing.items()]
        return "\n".join([f"{self.records[0].id} | {self.records[1].id}", *lines, self.sentence])


Group = Run | str | Sequence[Run | str]


def compare(one: Group, other: Group, runs: str | Path = "runs") -> Comparison:
    """Compares two runs: what differed, both curves, and the conclusion.

    One run each cannot separate a difference from seed-to-seed variation, and the conclusion says so. Groups of several
    runs are compared with the statistics of a race.

    Args:
        one, other: a run, its id, or several of them that differ only in their seeds.
        runs: folder of the runs that are given by id.

    Raises:
        StoreError: no such run.
        InputError: a group without runs.
    """
    return Comparison(_open_group(one, runs), _open_group(other, runs))


def _open_group(group: Group, runs: str | Path) -> list[Run]:
    members = [group] if isinstance(group, Run | str) else list(group)
    if not members:
        raise InputError("compare needs a run, its id, or several of them on each side, got none")
    return [open(r, runs) if isinstance(r, str) else r for r in members]


def _conclusion(ones: Sequence[Run], others: Sequence[Run]) -> tuple[str, str]:
    """The conclusion in one word and in words."""
    runs = [*ones, *others]
    names = {run.record.config.metric for run in runs}
    values = [[run.metric for run in group if run.metric is not None] for group in (ones, others)]
    if len(names) > 1 or sum(map(len, values)) < len(runs):
        return "unknown", "The runs have no metric in common, so their ends cannot be compared."
    (name,) = names
    one, other = ones[0].record, others[0].record
    labels = (one.name, other.name) if one.name != other.name else (one.id, other.id)
    if one.id == other.id:
        labels = (one.id, f"{other.id} (again)")
    if min(map(len, values)) > 1:
        if one.config.better is None:
            raise InputError(f"metric '{name}': say better= in sd.metric(f, better='higher') before runs are compared.")
        scale = "log" if name == "loss" and min(map(min, values)) > 0 else "linear"
        groups = dict(zip(labels, values, strict=True))
        (difference,) = differences(f"last validation {name}", groups, scale=scale, better=one.config.better)
        return _outcome(difference, groups, one.config.better), difference.sentence + "."
    ends = ", ".join(f"{label} {group[0]:.3g}" for label, group in zip(labels, values, strict=True))
    return "unknown", (
        f"Validation {name}: {ends}. One run each cannot separate this from seed-to-seed variation; repeat both with "
        "several seeds."
    )


def _outcome(difference: Difference, groups: Mapping[str, Sequence[float]], better: str) -> str:
    """Whether the second group is better or worse, if a difference is claimed."""
    if not difference.claimed:
        return "tie"
    one, other = (median(values) for values in groups.values())
    return "better" if (other > one) == (better == "higher") else "worse"
