"""Results of searches and races."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from steepest.records.path import Path

TOO_SMALL, WORKS, TOO_LARGE, FAILED = "too small", "works", "too large", "fails"


class Trial(NamedTuple):
    """A learning rate that was tried.

    Attributes:
        lr: the rate.
        steps: of its short run.
        loss: on the validation split at its end; infinite where it failed before.
        gain: share of the best one's gain of the same length: (start − loss) / (start − best); −∞ where it failed.
        region: "too small"; "works" with 90 % of that gain; "too large"; or "fails" with less than half.
        how: it failed, in words.
    """

    lr: float
    steps: int
    loss: float
    gain: float
    region: str
    how: str = ""


class SearchProgress(NamedTuple):
    """How far a search is.

    Attributes:
        steps, expected: taken so far; of the whole search, as far as is known.
        rates: tried to their ends.
        best: the one of the least loss, after the longest of these runs; None before one has ended.
        loss: of the best; infinite before one has ended.
        is_rung: whether the short runs that were begun together have just ended.
    """

    steps: int
    expected: int
    rates: int
    best: float | None
    loss: float
    is_rung: bool


@dataclass(frozen=True)
class Search:
    """What a search for a learning rate found.

    Attributes:
        best: the rate to train with.
        low, high: the range that works.
        fails: the smallest rate that failed; None where none did.
        table: all that was tried, in order of length and rate.
        start: validation loss where all began.
        steps: taken in all, of single members.
        run_steps: of the run that it is for.
        seconds: it took.
        way: "together" or "one after another".
        why: that way, in words.
        rule: that was searched for.
        sentence: the outcome in words.
        paths: where the members went.
    """

    best: float
    low: float
    high: float
    fails: float | None
    table: tuple[Trial, ...]
    start: float
    steps: int
    run_steps: int
    seconds: float
    way: str
    why: str
    rule: str
    sentence: str
    paths: tuple[Path, ...] = ()

    def describe(self) -> dict[str, Any]:
        """Everything but the paths, as JSON."""
        values = {f: getattr(self, f) for f in self.__dataclass_fields__ if f != "paths"}
        return {**values, "table": [list(row) for row in self.table]}

    @classmethod
    def of(cls, description: Mapping[str, Any]) -> "Search":
        """From what `describe` gave; without the paths."""
        return cls(**{**description, "table": tuple(Trial(*row) for row in description["table"])})


@dataclass(frozen=True)
class Curve:
    """How one of a race's descents went.

    Attributes:
        side: what it was run with: a rule, or a batch size.
        seed: of its start and order.
        lr: its rate.
        t: steps after which it was measured [M].
        loss: on the validation split then [M].
        metric: the task's first metric then [M]; empty without one.
        step_s: seconds of a step.
        failed: why it left early; empty where it did not.
        batch: samples of a step, in the mean over an epoch; NaN where that is not known.
    """

    side: str
    seed: int
    lr: float
    t: np.ndarray
    loss: np.ndarray
    metric: np.ndarray
    step_s: float
    failed: str = ""
    batch: float = math.nan

    @property
    def final(self) -> float:
        """The last loss; infinite where it failed."""
        return float(self.loss[-1]) if len(self.loss) and not self.failed and math.isfinite(self.loss[-1]) else math.inf

    def reached(self, target: float) -> float:
        """The step at which it was first measured at the target or below; infinite where never."""
        there = np.flatnonzero(self.loss <= target)
        return float(self.t[there[0]]) if len(there) else math.inf


@dataclass(frozen=True)
class RaceResult:
    """A race and what may be concluded.

    Attributes:
        sides: in order.
        curves: of every side and seed.
        target: the loss that is raced to.
        derived: whether the race set the target itself.
        words: a sentence for each pair of sides and quantity.
        verdict: the whole in words.
        metric: name of the task's first metric; empty without one.
        search_steps: taken to find the rates.
        paths: where the runs went; empty for a large model.
    """

    sides: tuple[str, ...]
    curves: tuple[Curve, ...]
    target: float
    derived: bool
    words: tuple[str, ...]
    verdict: str
    metric: str
    search_steps: int
    paths: tuple[Path, ...] = ()

    def of(self, side: str) -> list[Curve]:
        """The curves of a side."""
        return [c for c in self.curves if c.side == side]
