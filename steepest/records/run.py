"""Records of a run: steps, measurements, events, paths. Loop, store and views share them."""

import math
import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from steepest.records.config import Config, from_json
from steepest.records.path import Path
from steepest.records.search import Search
from steepest.records.verdict import Verdict


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
FAILURE, INTERRUPTION = "failed", "interrupted"
"""The kinds of the event that an exception, or the user, ended the run; it is the last one."""

GO, CLIP, SKIP, LOWER, REWIND, STOP = "go", "clip", "skip", "lower", "rewind", "stop"

ACCEPT, ASIDE = "accept", "aside"
"""The kinds of the events that the guard takes a higher loss as the new level and does nothing, and that it steps aside
for the rest of the run."""

OUT_OF_PATIENCE = "stopped early"
"""The first words of what was done where a run stopped because the validation metric no longer improved."""


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


class Outcome(NamedTuple):
    """What the loss did after a run's n-th event, from 1, in words."""

    n: int
    words: str


BAD_DATA = re.compile(r"it was the data|bad data")
"""In `done` of a rewind that bad batches caused, and not the learning rate; stored runs have the older words."""


class SnapshotInterval(NamedTuple):
    """The guard has chosen the number of steps between two snapshots."""

    every: int


class Message(NamedTuple):
    """Words for the user."""

    words: str


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
        updates: what became known at this step about the run and its earlier events.
    """

    t: int
    epoch: float
    lr: float
    loss: float
    grad_norm: float
    update_norm: float
    event: Event | None = None
    updates: tuple[Outcome | SnapshotInterval | Message, ...] = ()

    def with_updates(self, updates: Sequence[Outcome | SnapshotInterval | Message]) -> "Step":
        """The step with more updates."""
        return self._replace(updates=(*self.updates, *updates)) if updates else self


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
        status: running, done, interrupted, stopped or failed; damaged where its row in the store cannot be read.
        started: when, as ISO 8601 text in UTC.
        seconds: how long it ran.
        config: every choice that was made.
        versions: of Python, torch, steepest, the platform and the processor.
        steps: the recorded steps.
        measurements: metrics and mean losses on whole splits.
        events: what happened, in order.
        notes: the user's words.
        search: the learning-rate search before the run, for lr="auto".
        verdict: where the run ended, by a quick check.
        damage: why its row in the store cannot be read, in words; empty where it can.
    """

    id: str
    name: str
    status: str
    started: str
    seconds: float
    config: Config
    versions: dict[str, str]
    steps: Steps
    measurements: tuple[Measurement, ...] = ()
    events: tuple[Event, ...] = ()
    notes: str = ""
    search: Search | None = None
    verdict: Verdict | None = None
    damage: str = ""

    def __post_init__(self) -> None:
        if isinstance(self.config, Mapping):
            warnings.warn("Record(config=) with a dict is deprecated. Pass a Config.", DeprecationWarning, stacklevel=3)
            for name, value in zip(("config", "search", "verdict"), from_json(self.config), strict=True):
                object.__setattr__(self, name, value)

    def series(self, split: str, name: str) -> list[Measurement]:
        """All measurements of one metric on one split, in time order."""
        return [m for m in self.measurements if m.split == split and m.name == name]

    @property
    def timed_measurements(self) -> list[Measurement]:
        """The measurements; the epoch is nan where a watched loop has not told it."""
        is_unknown = self.config.is_watched
        return [m._replace(epoch=math.nan) if is_unknown and not m.epoch else m for m in self.measurements]

    def last(self, split: str, name: str) -> float | None:
        """One metric on one split at the weights that the run left, else the last; None if it was never measured."""
        series = self.series(split, name)
        end = [m for m in series if m.t == self.config.end_step] or series
        return end[-1].value if end else None

    @property
    def is_stopped_by_guard(self) -> bool:
        """Whether the guard stopped the run, and not its patience (`stop_after`)."""
        stops = [event for event in self.events if event.kind == STOP]
        return self.status == "stopped" and bool(stops) and not stops[-1].done.startswith(OUT_OF_PATIENCE)


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
