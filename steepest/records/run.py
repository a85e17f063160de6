"""Records of a run: steps, measurements, events, paths. Loop, store and views share them."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np


class Event(NamedTuple):
    """Something that happened in a run, and what was done about it.

    Attributes:
        t: the step, from 1.
        kind: one word, such as "skip".
        seen: the reason, in words.
        done: the action, in words; details follow after "; ", as in "rewound to step 300; lr × 0.125 with warmup".
        after: the outcome, what the loss did afterwards, in words; empty until it is known.
    """

    t: int
    kind: str
    seen: str
    done: str
    after: str = ""


STAGE = "stage"
"""The kind of the event that another update rule begins."""

GO, CLIP, SKIP, LOWER, REWIND, STOP = "go", "clip", "skip", "lower", "rewind", "stop"


class Call(NamedTuple):
    """What to do with a step.

    Attributes:
        kind: go, clip, skip, lower, rewind or stop.
        limit: for clip: the gradient norm to scale down to.
        seen: the reason, in words; empty for go.
        done: the action, in words.
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
        event: what happened at this step, if anything.
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


COLUMNS = ("t", "epoch", "lr", "loss", "grad_norm", "update_norm")


@dataclass(frozen=True)
class Steps:
    """Recorded steps as columns, float64 [steps] each."""

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
        """The last `count` steps."""
        return Steps(*(getattr(self, name)[-count:] for name in COLUMNS))


@dataclass(frozen=True)
class Record:
    """Everything known about a run except its weights.

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
        events: what happened, in order.
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
        """The last value of one metric on one split, or None if it was never measured."""
        series = self.series(split, name)
        return series[-1].value if series else None


@dataclass(frozen=True)
class Path:
    """The path of a descent: points in weight space and the losses there.

    Attributes:
        name: its label in a legend.
        points: [P, D].
        losses: [P] float64; empty if unknown.
        t: number of steps before each point [P]; empty if every step has a point.
    """

    name: str
    points: np.ndarray
    losses: np.ndarray = field(default_factory=lambda: np.empty(0))
    t: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))


@dataclass(frozen=True)
class History:
    """A run as it happened, rewound steps included; time is the number of steps taken.

    Attributes:
        record: of the run; the t of its steps, measurements and events is the number of steps taken.
        back: for each rewind, the number of steps taken then and at the step that it went back to.
        path: the saved points, float32, with the losses of their steps.
    """

    record: Record
    back: Mapping[int, int]
    path: Path
