"""The history of a run: rewound steps are part of it, and time is the number of steps taken."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path as File
from typing import NamedTuple

import numpy as np

from steepest.errors import StoreError
from steepest.records.run import COLUMNS, FAILURE, INTERRUPTION, Event, History, Path, Record, Steps
from steepest.runs.store import path_file


class Attempt(NamedTuple):
    """The steps of one attempt.

    Attributes:
        attempt: its number.
        first: its first step.
        before: number of steps in all earlier attempts.
        columns: its steps [columns, n].
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
        """Number of steps taken after its step t."""
        return self.before + t - self.first + 1


def current_steps(attempts: Sequence[Attempt]) -> Steps:
    """The current steps: a later attempt replaces those of earlier ones from its first step on."""
    return Steps(*join_attempts(attempts, len(COLUMNS)))


def join_attempts(attempts: Sequence[Attempt], columns: int) -> np.ndarray:
    """The columns of the current steps [columns, n]."""
    parts = [np.empty((columns, 0))]
    for attempt in attempts:
        parts = [p[:, p[0] < attempt.first] for p in parts] + [attempt.columns]
    return np.concatenate(parts, axis=1)


def find_place(
    attempts: Sequence[Attempt], events: Sequence[tuple[int, Event]], t: int, attempt: int | None = None
) -> tuple[int, int, int]:
    """The place of step t: its attempt, the last recorded step of it until t, and the number of events until then.

    Args:
        attempts: of the run.
        events: with their attempts, in their order.
        t: the step; 0 for the run's end.
        attempt: of the step; None for the one whose step is current.
    """
    own = [a for a in attempts if (t == 0 or a.first <= t) and (attempt is None or t == 0 or a.attempt == attempt)]
    number, last = (own[-1].attempt, min(own[-1].last, t or own[-1].last)) if own else (attempt or 0, 0)
    if t == 0:
        return number, last, len(events)
    return number, last, sum((a, e.t) <= (number, t) and e.kind not in (FAILURE, INTERRUPTION) for a, e in events)


class Clock:
    """Converts step t of an attempt to the number of steps taken, rewound ones included.

    Args:
        attempts: of the run.
    """

    def __init__(self, attempts: Sequence[Attempt]) -> None:
        self._attempts = {part.attempt: part for part in attempts}

    def __call__(self, attempt: int, t: int) -> int:
        """The number of steps taken after step t of an attempt; before its first step, at its beginning."""
        part = self._attempts.get(attempt)
        if part is None:  # nothing of it is recorded
            return max((p.count(p.last) for a, p in self._attempts.items() if a < attempt), default=0)
        return max(part.before, part.count(t))

    @property
    def last(self) -> int:
        """The last step of any attempt."""
        return max((part.last for part in self._attempts.values()), default=0)

    def back(self) -> dict[int, int]:
        """For the count at each rewind, the count at the step that it returned to."""
        counts = {}
        for attempt, part in self._attempts.items():
            earlier = [p for a, p in self._attempts.items() if a < attempt]
            targets = [p.count(part.first - 1) for p in earlier if p.first < part.first <= p.last + 1]
            if earlier:
                counts[part.before] = targets[-1] if targets else 0
        return counts


def make_history(
    record: Record, attempts: Sequence[Attempt], measurements: Sequence[tuple], events: Sequence[tuple], folder: File
) -> History:
    """Makes the history of a run.

    Args:
        record: of the run; its steps, measurements and events are replaced.
        attempts: of the run.
        measurements, events: pairs of an attempt and what was measured, or happened, in it.
        folder: of the run, with its path.
    """
    clock = Clock(attempts)
    columns = np.concatenate([np.empty((len(COLUMNS), 0)), *(p.columns for p in attempts)], axis=1)
    steps = Steps(np.arange(1.0, columns.shape[1] + 1), *columns[1:])
    values = sorted((m._replace(t=clock(a, m.t)) for a, m in measurements), key=lambda m: m.t)
    all_events = tuple(e._replace(t=clock(a, e.t)) for a, e in events)
    ends = [clock(a, m.t) for a, m in measurements if m.t == record.config.end_step]
    config = replace(record.config, end_step=ends[-1] if ends else None)
    whole = replace(record, config=config, steps=steps, measurements=tuple(values), events=all_events)
    return History(whole, clock.back(), _path(record, steps, clock, folder))


def _path(record: Record, steps: Steps, clock: Clock, folder: File) -> Path:
    """The saved points, and the loss at each, which is that of the next step.

    Raises:
        StoreError: they are not points of this run's steps.
    """
    points = path_file.read(folder, record.config.weights)
    limit = max(record.config.steps, clock.last)
    is_right = (points["attempt"] >= 0) & (points["t"] >= 0) & (points["t"] <= limit)
    t = np.array([clock(int(a), int(at)) for a, at in zip(points["attempt"], points["t"], strict=True)], np.int64)
    if not is_right.all() or (np.diff(t) < 0).any():
        raise StoreError(f"{folder / path_file.PATH_FILE} has points of other steps; without this file it has no path")
    losses = steps.loss[np.minimum(t, len(steps) - 1)] if len(steps) else np.full(len(t), np.nan)
    return Path(record.name, points["w"], losses, t)
