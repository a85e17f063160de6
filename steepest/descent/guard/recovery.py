"""What is done when the guard calls for it: snapshots, going back, and the question whose fault it was.

After a rewind the suspect batches are looked at once more, from the snapshot: where the same test that raised the alarm
is raised by their losses from there too, it was the data, and these batches are passed over. Else the rate was too
high. (A batch may explode from one point and not from another: Chowdhery et al. 2022, arXiv:2204.02311, section 5.1.)
"""

import math
import os
import time
from typing import Any, Protocol

from steepest.descent.guard.guard import DATA, RATE, Guard
from steepest.descent.guard.running_stats import GradientLimits, RunningStats
from steepest.descent.guard.snapshots import Snapshots
from steepest.descent.guard.thresholds import CAP, DRIFT, FLOOR
from steepest.descent.state import copy_state
from steepest.records.run import REWIND, SKIP, STOP, Call, Event, Message, Outcome, SnapshotInterval

OUTLYING = 4.0
"""Robust deviations above the usual loss at which a batch counts as an outlier."""
CALM, AHEAD = 8, 200
"""So many usual batches in a row end the look ahead, which sees so many at most."""
SHARE = 0.015
"""Of the time that snapshots may take."""
LEAST, TIMED = 50, (8, 24)
"""Fewest steps between snapshots; the steps that are timed to choose the interval."""
FOLLOWED = 50
"""Steps after which an event says what the loss did."""
MEMORY_SHARE = 0.25
"""Of the machine's memory that snapshots may take before there is only one of them."""


class Rewindable(Protocol):
    """What a recovery needs of a descent."""

    t: int

    def state(self) -> dict[str, Any]:
        """What `load` restores; its tensors are not copied."""
        ...

    def load(self, state: dict[str, Any]) -> None: ...

    def batch_loss(self, t: int) -> float:
        """The loss of step t's batch at the point as it is, leaving everything as it was."""
        ...

    can_replay: bool
    steps: int


class Recovery:
    """The guard of one descent, its snapshots, and what happened.

    Attributes:
        guard, snapshots: as named.
        attempt: how often the descent has gone back so far.
        passed_over: steps whose batches are not trained on.
    """

    def __init__(self, guard: Guard) -> None:
        self.guard, self.attempt = guard, 0
        self.snapshots = Snapshots(guard.snapshot_every)
        self.passed_over: set[int] = set()
        self._followed: list[tuple[int, int, float]] = []  # event, steps left, level then
        self._clock: tuple[float, float] | None = None

    def begin(self, descent: Rewindable) -> tuple[Message, ...]:
        """Takes a snapshot of the start; a message where only one snapshot fits into memory."""
        if self.guard.watch:
            return ()
        began = time.perf_counter()
        state = copy_state(descent.state())
        self._clock = (time.perf_counter() - began, 0.0)
        size = sum(x.nbytes for x in _tensors(state))
        if 3 * size > MEMORY_SHARE * _memory():
            self.snapshots.single = True
        self.snapshots.good = [(descent.t, state)]
        words = f"The guard keeps one snapshot instead of three: each takes {size / 2**30:.1f} GiB."
        return (Message(words),) if self.snapshots.single else ()

    def judge(
        self, t: int, loss: float, norm: float, lr: float, bounds: GradientLimits | None = None, ahead: int = 0
    ) -> Call:
        """The guard's call on a step (`Guard.judge`); a batch that is passed over is not shown to it."""
        if t in self.passed_over:
            return Call(SKIP, seen="its batch was an outlier", done="passed over")
        return self.guard.judge(loss, norm, lr, bounds, ahead)

    def after(self, descent: Rewindable) -> tuple[SnapshotInterval, ...]:
        """Called after each step: takes the snapshot that is due; returns the interval once it is chosen."""
        t, snapshots = descent.t, self.snapshots
        if self.guard.watch:
            return ()
        if snapshots.every is None:
            return self._choose_interval(t)
        if t % snapshots.every == 0 and self.guard.is_quiet and t < descent.steps:
            snapshots.take(t, copy_state(descent.state()))
        return ()

    def _choose_interval(self, t: int) -> tuple[SnapshotInterval, ...]:
        """Once, by the time that a snapshot and a step take; from then on it is part of the record."""
        if self._clock is None:
            self.snapshots.every = LEAST
        elif t == TIMED[0]:
            self._clock = (self._clock[0], time.perf_counter())
        elif t >= TIMED[1]:
            cost, began = self._clock
            step = (time.perf_counter() - began) / (TIMED[1] - TIMED[0])
            self.snapshots.every = max(LEAST, math.ceil(cost / (SHARE * step)))
        if self.snapshots.every is None:
            return ()
        self.guard.snapshot_every = self.snapshots.every
        return (SnapshotInterval(self.snapshots.every),)

    def rewind(self, descent: Rewindable, call: Call, t: int) -> Event:
        """Goes back, finds out why, and tells the guard; a call to stop goes back too, to the best there is."""
        then, state = self.snapshots.best(_mean) if call.kind == STOP else self.snapshots.back()
        descent.load(state)
        self.guard.load_state_dict(state["guard"], rewinding=True)
        self.attempt += 1
        if call.kind == STOP:
            return Event(t, STOP, call.seen, f"{call.done} (step {then})")
        bad = self._outliers(descent, then, t)
        self.passed_over |= bad
        done = self.guard.rewound(DATA if bad else RATE, t - then)
        where = f"; {len(bad)} batches from step {min(bad)} on are passed over" if bad else ""
        return Event(t, REWIND, call.seen, f"back to step {then}: {done}{where}")

    def _outliers(self, descent: Rewindable, then: int, t: int) -> set[int]:
        """The steps after `then` whose batches are outliers from there too, if these alone would raise the alarm.

        All are looked at from one point, so their losses are alike but for the batches; what is usual is told by the
        first half of those up to step t, which came before anything rose.
        """
        if not descent.can_replay:
            return set()
        known = [s for s in range(then + 1, t + 1) if s not in self.passed_over]
        levels = {s: self._level(descent.batch_loss(s)) for s in known}
        usual = RunningStats(len(known))
        usual.values.extend(x for s, x in levels.items() if s <= (then + t) // 2 and x < math.inf)
        if len(usual.values) < CALM:
            return set()
        usual.look()
        total = highest = 0.0
        calm, found, s = 0, set[int](), then
        while s < min(t + AHEAD, descent.steps) and (s < t or calm < CALM):
            s += 1
            if s in self.passed_over:
                continue
            z = ((levels[s] if s in levels else self._level(descent.batch_loss(s))) - usual.median) / (
                usual.deviation + FLOOR
            )
            total = math.inf if z == math.inf else max(0.0, total + min(z, CAP) - DRIFT)
            highest, calm = max(highest, total), 0 if z > OUTLYING else calm + 1
            if z > OUTLYING:
                found.add(s)
        return found if highest > self.guard.thresholds.alarm else set()

    def _level(self, loss: float) -> float:
        return self.guard.level(loss) if math.isfinite(loss) else math.inf

    # -- events --------------------------------------------------------------------------------------------------------

    def follow(self, n: int) -> None:
        """From now on follows the loss after the run's n-th event."""
        self._followed.append((n, FOLLOWED, self.guard.mean))

    def outcomes(self, t: int) -> tuple[Outcome, ...]:
        """What the loss did after those events that are FOLLOWED judged steps ago at step t."""
        if not self._followed or t in self.passed_over:
            return ()
        left = [(n, k - 1, then) for n, k, then in self._followed]
        self._followed = [item for item in left if item[1] > 0]
        return tuple(Outcome(n, self._outcome(then)) for n, k, then in left if k <= 0)

    def _outcome(self, then: float) -> str:
        change = math.exp(min(self.guard.mean - then, 50.0))
        return f"{FOLLOWED} steps later the running mean of the loss was {change:.3g} × that"

    # -- state ---------------------------------------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """Everything, nested; the snapshots included."""
        return {
            "guard": self.guard.state_dict(),
            "snapshots": self.snapshots.state(),
            "attempt": self.attempt,
            "passed_over": sorted(self.passed_over),
            "followed": [list(f) for f in self._followed],
        }

    def load(self, state: dict[str, Any]) -> None:
        """Restores what `state` gave."""
        self.guard.load_state_dict(state["guard"])
        self.snapshots.load({**state["snapshots"], "every": state["snapshots"]["every"] or self.snapshots.every})
        self.guard.snapshot_every = self.snapshots.every
        self.attempt = state["attempt"]
        self.passed_over = set(state["passed_over"])
        self._followed = [(n, k, then) for n, k, then in state["followed"]]


def _mean(state: dict[str, Any]) -> float:
    """The running mean of the loss's level at a snapshot."""
    mean = state["guard"]["mean"]
    return math.inf if math.isnan(mean) else mean


def _tensors(nested: Any) -> list[Any]:
    if isinstance(nested, dict):
        return [x for v in nested.values() for x in _tensors(v)]
    if isinstance(nested, list | tuple):
        return [x for v in nested for x in _tensors(v)]
    return [nested] if hasattr(nested, "nbytes") else []


def _memory() -> int:
    """Bytes of the machine's memory."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
