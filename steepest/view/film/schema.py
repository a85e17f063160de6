"""What a film holds: surfaces, and members with their paths and curves as arrays.

`document` encodes it for the page (`page/src/film/film.ts`); `steepest.view.render` draws it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from steepest.records.comparison import EndComparison
from steepest.records.surfaces import Grid, Projection
from steepest.records.verdict import Verdict


@dataclass(frozen=True)
class Series:
    """A quantity over steps, in at most 4,096 buckets.

    Attributes:
        t: the first step of each bucket [B]; non-decreasing.
        lo, hi, mid: smallest, largest and middle value of each bucket [B].
        log: whether it is drawn on a logarithmic axis.
    """

    t: np.ndarray
    lo: np.ndarray
    hi: np.ndarray
    mid: np.ndarray
    log: bool

    @classmethod
    def of(cls, t: np.ndarray, values: np.ndarray) -> "Series":
        """A series with one value a bucket, logarithmic where all finite values are positive."""
        return cls(t, values, values, values, log=is_positive(values))

    @property
    def is_banded(self) -> bool:
        """Whether buckets have a range."""
        return not all(np.array_equal(self.mid, values, equal_nan=True) for values in (self.lo, self.hi))

    def at(self, t: float) -> float:
        """The middle value at a step; NaN where there is none."""
        return float(self.mid[max(0, index_at(self.t, t))]) if len(self.mid) else float("nan")


@dataclass(frozen=True)
class FilmEvent:
    """Something that happened to a member.

    Attributes:
        t: the step.
        kind: target, clip, rewind, stop, diverged or another.
        text: in words, on one line.
        to: the step that a rewind went back to.
        seen, done, after: reason, action and outcome in words; empty where they are not known.
        step: the run's own step, where steps were undone before and it is less than `t`.
    """

    t: int
    kind: str
    text: str
    to: int | None = None
    seen: str = ""
    done: str = ""
    after: str = ""
    step: int | None = None


class MetricInfo(NamedTuple):
    """What is known of a metric.

    Attributes:
        name: in the task.
        unit: "%" for a share of one, else "".
        better: "higher", "lower", or "" where nobody said.
        samples: of the validation set, where the metric is a share of them; else None.
    """

    name: str
    unit: str
    better: str
    samples: int | None


class Result(NamedTuple):
    """A final number of a run, such as its validation accuracy, with its interval or what to compare it with."""

    label: str
    value: str
    detail: str


class Attempt(NamedTuple):
    """Steps first + 1 to last, counted as taken, that a run kept or that a rewind undid."""

    first: int
    last: int
    is_kept: bool


@dataclass(frozen=True)
class Member:
    """One descent of a film; empty where something is not known.

    Attributes:
        name: shown to the reader.
        rule: name of the update rule.
        hyper: values of its hyperparameters; a text is a schedule.
        schedule: of the learning rate, as text.
        mathml: the rule's formula.
        js: the rule as a program, for a page that computes the descent itself.
        t, loss: steps and losses of the points along the path [P].
        on: where these points lie on each surface, by the surface's name.
        curves: loss, held_out (validation), lr, grad_norm; metric, and the names in `metrics` (validation).
        events: in the order of steps.
        verdict: where it ended.
        eigenvalues: of the Hessian at the end, in any order; None where they were not measured.
        metric: of the curve "metric", which is the run's.
        metrics: of the curves of the run's other metrics.
        result: its final numbers, the most important first.
        attempts: kept and undone steps; empty where all were kept.
        has_guard: whether a guard watched over the run; None where that is not known.
    """

    name: str
    rule: str = ""
    hyper: Mapping[str, float | str] = field(default_factory=dict)
    schedule: str = ""
    mathml: str = ""
    js: str = ""
    t: np.ndarray = field(default_factory=lambda: np.empty(0))
    loss: np.ndarray = field(default_factory=lambda: np.empty(0))
    on: Mapping[str, Projection] = field(default_factory=dict)
    curves: Mapping[str, Series] = field(default_factory=dict)
    events: tuple[FilmEvent, ...] = ()
    verdict: Verdict | None = None
    eigenvalues: tuple[float, ...] | None = None
    metric: MetricInfo | None = None
    metrics: Mapping[str, MetricInfo] = field(default_factory=dict)
    result: tuple[Result, ...] = ()
    attempts: tuple[Attempt, ...] = ()
    has_guard: bool | None = None

    @property
    def last(self) -> float:
        """Its last step."""
        return max((float(t[-1]) for t in (self.t, *(c.t for c in self.curves.values())) if len(t)), default=0.0)

    def loss_at(self, t: float) -> float:
        """The loss at a step: from the curve where there is one, else from the path."""
        if "loss" in self.curves and len(self.curves["loss"].t):
            return self.curves["loss"].at(t)
        return float(self.loss[max(0, index_at(self.t, t))]) if len(self.loss) else float("nan")


@dataclass(frozen=True)
class Film:
    """A whole film.

    Attributes:
        kind: "run", "race", "play" or "compare".
        title, subtitle: of the page.
        steps: its length.
        surfaces: by name; the first is shown first.
        members: by an id that does not change.
        headline: the sentence above the relief; a play writes its own.
        advice: why, and on a line of its own what to do; commands stand between backticks.
        live: whether the run still goes on.
        no_surface: what stands where the relief would, if there is none; empty for the page's own words.
        comparison: how the members ended, of kind "compare".
    """

    kind: str
    title: str
    subtitle: str
    steps: int
    surfaces: Mapping[str, Grid]
    members: Mapping[str, Member]
    headline: str = ""
    advice: str = ""
    live: bool = False
    no_surface: str = ""
    comparison: EndComparison | None = None


def is_positive(values: np.ndarray) -> bool:
    """Whether some values are finite, and all of these above 0."""
    finite = values[np.isfinite(values)]
    return bool(len(finite) and (finite > 0).all())


def index_at(steps: np.ndarray, t: float) -> int:
    """The last index whose step is at most t; −1 before the first. Steps are non-decreasing."""
    return int(np.searchsorted(steps, t, side="right")) - 1
