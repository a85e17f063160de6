"""What is known of a descent, as numbers and words: the nouns that loop, store and views share.

Nothing here computes and nothing holds a tensor, so a view can be tested with records written by hand.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np


class Event(NamedTuple):
    """Something that happened to a run and was acted on.

    Attributes:
        t: the step it happened at, from 1.
        kind: one word, such as "skip".
        seen: what was seen, in words.
        done: what was done about it, in words.
        after: what the loss did afterwards, in words; empty until known.
    """

    t: int
    kind: str
    seen: str
    done: str
    after: str = ""


STAGE = "stage"
"""The kind of the event that another rule takes over."""

GO, CLIP, SKIP, LOWER, REWIND, STOP = "go", "clip", "skip", "lower", "rewind", "stop"


class Call(NamedTuple):
    """What to do with a step.

    Attributes:
        kind: go, clip, skip, lower, rewind or stop.
        limit: for clip: the gradient norm to scale down to.
        seen: what was seen, in words; empty for go.
        done: what is done about it, in words.
    """

    kind: str
    limit: float = math.inf
    seen: str = ""
    done: str = ""


class Step(NamedTuple):
    """One step of a descent; its numbers are plain floats.

    Attributes:
        t: the step, from 1.
        epoch: epochs done once this step is done (3.5: half of the fourth).
        lr: learning rate of this step, schedule included.
        loss: mean loss over the step's samples, before the update.
        grad_norm: ‖∇L(w)‖ before clipping.
        update_norm: ‖w_new − w_old‖; 0 for a skipped step.
        event: what was noticed and done at this step, if anything.
    """

    t: int
    epoch: float
    lr: float
    loss: float
    grad_norm: float
    update_norm: float
    event: Event | None = None


class Measurement(NamedTuple):
    """A number measured on a whole split: a metric, or the mean loss (name "loss")."""

    t: int
    epoch: float
    split: str
    name: str
    value: float


class Estimate(NamedTuple):
    """A number that was estimated, and the interval that covers it with the stated probability.

    Attributes:
        value: the estimate.
        low, high: ends of the interval; both are the value where it is exact.
    """

    value: float
    low: float
    high: float


class Number(NamedTuple):
    """A measured number of a verdict.

    Attributes:
        name: what it is.
        value: of it.
        low, high: an interval that covers it; both are the value where it is exact.
        reference: what to compare it with; None where there is nothing.
        words: on what it was measured, and how surely.
    """

    name: str
    value: float
    low: float
    high: float
    reference: float | None = None
    words: str = ""

    def __str__(self) -> str:
        exact = self.low == self.high
        interval = "" if exact else f" ({self.low:.3g} to {self.high:.3g})"
        reference = "" if self.reference is None else f", against {self.reference:.4g}"
        return f"{self.name}: {self.value:.4g}{interval}{reference}{self.words and f'; {self.words}'}"


@dataclass(frozen=True)
class Verdict:
    """Where a point is: words first, numbers with intervals after.

    Attributes:
        kind: one of the names in `steepest.verdict`.
        sentence: the finding, in words.
        advice: what follows from it.
        numbers: that it rests on.
        products: Hessian-vector products that were taken.
    """

    kind: str
    sentence: str
    advice: str
    numbers: tuple[Number, ...] = ()
    products: int = 0

    def __str__(self) -> str:
        return "\n".join([self.sentence, self.advice, *(f"  {number}" for number in self.numbers)])

    def number(self, name: str) -> Number | None:
        """The number of this name, or None."""
        return next((n for n in self.numbers if n.name == name), None)

    def describe(self) -> dict[str, Any]:
        """As JSON."""
        return {**vars(self), "numbers": [list(n) for n in self.numbers]}

    @classmethod
    def of(cls, described: Mapping[str, Any]) -> "Verdict":
        """From what `describe` gave."""
        return cls(**{**described, "numbers": tuple(Number(*n) for n in described["numbers"])})


COLUMNS = ("t", "epoch", "lr", "loss", "grad_norm", "update_norm")


@dataclass(frozen=True)
class Steps:
    """The recorded steps as columns, float64 [steps] each."""

    t: np.ndarray
    epoch: np.ndarray
    lr: np.ndarray
    loss: np.ndarray
    grad_norm: np.ndarray
    update_norm: np.ndarray

    def __len__(self) -> int:
        return len(self.t)

    @classmethod
    def of(cls, steps: list[Step]) -> "Steps":
        """Columns of a list of steps."""
        return cls(*(np.array([step[i] for step in steps], np.float64) for i in range(len(COLUMNS))))

    def last(self, count: int) -> "Steps":
        """The last ones."""
        return Steps(*(getattr(self, name)[-count:] for name in COLUMNS))


@dataclass(frozen=True)
class Record:
    """Everything that is known of a run but its weights.

    Attributes:
        id: unique name of the run in its folder.
        name: what the user called it; else the task's name.
        status: running, done, interrupted, stopped or failed.
        started: when, as ISO 8601 text in UTC.
        seconds: how long it ran.
        config: the whole configuration: every choice that was made, as JSON.
        versions: of Python, torch, steepest, the platform and the processor.
        steps: the recorded steps.
        measurements: metrics and mean losses on whole splits.
        events: what happened and was acted on.
        notes: the user's words.
    """

    id: str
    name: str
    status: str
    started: str
    seconds: float
    config: dict[str, Any]
    versions: dict[str, str]
    steps: Steps
    measurements: tuple[Measurement, ...] = ()
    events: tuple[Event, ...] = ()
    notes: str = ""

    def series(self, split: str, name: str) -> list[Measurement]:
        """All measurements of one metric on one split, in time order."""
        return [m for m in self.measurements if m.split == split and m.name == name]

    def last(self, split: str, name: str) -> float | None:
        """The newest value of one metric on one split, or None where it was never measured."""
        series = self.series(split, name)
        return series[-1].value if series else None


@dataclass(frozen=True)
class Path:
    """Where a descent went: points in weight space and the losses there.

    Attributes:
        name: what to call it in a legend.
        points: [P, D] float64.
        losses: [P] float64.
    """

    name: str
    points: np.ndarray
    losses: np.ndarray = field(default_factory=lambda: np.empty(0))


TOO_SMALL, WORKS, TOO_LARGE, FAILS = "too small", "works", "too large", "fails"


class Tried(NamedTuple):
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
    table: tuple[Tried, ...]
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
        found = {f: getattr(self, f) for f in self.__dataclass_fields__ if f != "paths"}
        return {**found, "table": [list(row) for row in self.table]}


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
    """

    side: str
    seed: int
    lr: float
    t: np.ndarray
    loss: np.ndarray
    metric: np.ndarray
    step_s: float
    failed: str = ""

    @property
    def final(self) -> float:
        """The last loss; infinite where it failed."""
        return float(self.loss[-1]) if len(self.loss) and not self.failed and math.isfinite(self.loss[-1]) else math.inf

    def reached(self, target: float) -> float:
        """The step at which it was first measured at the target or below; infinite where never."""
        there = np.flatnonzero(self.loss <= target)
        return float(self.t[there[0]]) if len(there) else math.inf


@dataclass(frozen=True)
class Contest:
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
