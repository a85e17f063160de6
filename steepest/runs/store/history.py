"""A run as it happened: steps that were rewound are part of it, and time is the count of steps taken."""

from collections.abc import Sequence
from pathlib import Path as File
from typing import NamedTuple

import numpy as np

from steepest.records.run import COLUMNS, Event, History, Measurement, Path, Record, Steps
from steepest.runs.store import path_file


class Part(NamedTuple):
    """The steps of one attempt.

    Attributes:
        attempt: its number.
        first: its first step.
        before: steps taken in all earlier ones.
        columns: of its steps [columns, n].
    """

    attempt: int
    first: int
    before: int
    columns: np.ndarray

    @property
    def last(self) -> int:
        """Its last step."""
        return self.first + self.columns.shape[1] - 1

    def count(self, t: int) -> int:
        """Steps taken when its step t was done."""
        return self.before + t - self.first + 1


def parts(chunks: Sequence[tuple]) -> list[Part]:
    """The attempts of a run, from rows of (attempt, *columns as bytes) in the order of the steps."""
    found: list[Part] = []
    taken = 0
    for attempt in sorted({c[0] for c in chunks}):
        own = [np.stack([np.frombuffer(b, "<f8") for b in c[1:]]) for c in chunks if c[0] == attempt]
        columns = np.concatenate(own, axis=1)
        found.append(Part(attempt, int(columns[0, 0]), taken, columns))
        taken += columns.shape[1]
    return found


def standing(attempts: Sequence[Part]) -> Steps:
    """The steps that stand: a later attempt replaces what an earlier one did from its first step on."""
    return Steps(*join_attempts(attempts, len(COLUMNS)))


def join_attempts(attempts: Sequence[Part], columns: int) -> np.ndarray:
    """The columns of the steps that stand [columns, n]."""
    kept = [np.empty((columns, 0))]
    for part in attempts:
        kept = [p[:, p[0] < part.first] for p in kept] + [part.columns]
    return np.concatenate(kept, axis=1)


class Clock:
    """Counts the steps that were taken, rewound ones included.

    Args:
        attempts: of the run.
    """

    def __init__(self, attempts: Sequence[Part]) -> None:
        self._attempts = {part.attempt: part for part in attempts}

    def __call__(self, attempt: int, t: int) -> int:
        """Steps taken when step t of an attempt was done; of one before its first, when it began."""
        part = self._attempts.get(attempt)
        if part is None:  # nothing of it is recorded
            return max((p.count(p.last) for a, p in self._attempts.items() if a < attempt), default=0)
        return max(part.before, part.count(t))

    def back(self) -> dict[int, int]:
        """For the count at each rewind, the count at the step that was gone back to."""
        found = {}
        for attempt, part in self._attempts.items():
            earlier = [p for a, p in self._attempts.items() if a < attempt]
            reached = [p.count(part.first - 1) for p in earlier if p.first < part.first <= p.last + 1]
            if earlier:
                found[part.before] = reached[-1] if reached else 0
        return found


def told(
    record: Record,
    attempts: Sequence[Part],
    measurements: Sequence[tuple],
    events: Sequence[tuple],
    folder: File,
) -> History:
    """The history of a run.

    Args:
        record: of it; its steps, measurements and events are replaced.
        attempts: of it.
        measurements: rows of (attempt, t, epoch, split, name, value).
        events: rows of (attempt, t, kind, seen, done, after).
        folder: with its points.
    """
    clock = Clock(attempts)
    columns = np.concatenate([np.empty((len(COLUMNS), 0)), *(p.columns for p in attempts)], axis=1)
    steps = Steps(np.arange(1.0, columns.shape[1] + 1), *columns[1:])
    measured = (Measurement(clock(a, t), epoch, split, name, np.nan if v is None else v)
                for a, t, epoch, split, name, v in measurements)  # fmt: skip
    happened = tuple(Event(clock(a, t), *words) for a, t, *words in events)
    known = {**vars(record), "steps": steps, "events": happened}
    ordered = tuple(sorted(measured, key=lambda m: m.t))
    return History(Record(**{**known, "measurements": ordered}), clock.back(), _path(record, steps, clock, folder))


def _path(record: Record, steps: Steps, clock: Clock, folder: File) -> Path:
    """The points that were kept, and the loss of the step after each, which was computed there."""
    points = path_file.read(folder, record.config.weights)
    t = np.array([clock(int(a), int(at)) for a, at in zip(points["attempt"], points["t"], strict=True)], np.int64)
    known = len(steps)
    losses = steps.loss[np.minimum(t, known - 1)] if known else np.full(len(t), np.nan)
    return Path(record.name, points["w"], losses, t)
