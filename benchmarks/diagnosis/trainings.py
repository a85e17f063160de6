"""What the diagnosis is tried on: small real trainings, each at many learning rates and batch sizes.

Most of these runs have a fault. The thresholds of `steepest.analysis.diagnosis` may be chosen on the sets in
DEVELOPMENT, which are spent, and on them only. FRESH is the set whose figures are published: no threshold was chosen on
it, and it is run once, after everything is fixed. It shares nothing with the sets before it but the digits' pixels:
samples, targets, networks and pairs of loss and rule are others. `trainings.toml` has the sets, and how often the
diagnosis was right on each when it was new.
"""

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import steepest as sd
from benchmarks.problems import tasks
from benchmarks.problems.problems import COSINE, TASKS, Problem

CONSTANT = "constant"
SCHEDULES = {"constant": CONSTANT, "cosine": COSINE}
GRIDS: dict[str, tuple[float, ...]] = {
    "wide": (-6, -5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 6),
    "coarse": (-6, -4, -3, -2, -1, 0, 1, 2, 3, 5),
    "edge": (-3, -2, -1, 0, 0.5, 1, 1.5, 2, 2.5, 3, 3.5, 4),
}
"""Learning rates in half decades from the middle one; "edge" is finer where a full batch begins to oscillate."""


@dataclass(frozen=True)
class Series:
    """A problem at many learning rates and batch sizes.

    Attributes:
        problem: its learning rate is the middle of the grid; its batch size is not used.
        batches: sizes, each about eight times the one before; the last is only compared with, unless it is "full".
        rates: the grid, in half decades from the middle.
        healthy: the task with initial weights from which it can be learned, where its own are on a plateau.
    """

    problem: Problem
    batches: tuple[int | str, ...]
    rates: tuple[float, ...]
    healthy: Callable[[], sd.Task] | None


def _series(name: str) -> Iterator[Series]:
    """The series of a set."""
    rows = TASKS | tasks.rows(_TABLE[name]["tasks"])
    for task, rule, lr, schedule, steps, batches, grid in _TABLE[name]["series"]:
        row = rows[task]
        words = f"{task}-{rule}-{schedule}".replace("_", "-")
        problem = Problem(words, functools.partial(tasks.task, row), rule, lr, SCHEDULES[schedule], 0, steps)
        healthy = None if row.healthy is None else functools.partial(tasks.task, row, healthy=True)
        yield Series(problem, tuple(batches), GRIDS[grid], healthy)


_TABLE = tasks.load(Path(__file__).with_suffix(".toml"))
*_old, _new = _TABLE
DEVELOPMENT = tuple(series for name in _old for series in _series(name))
FRESH = tuple(_series(_new))
