"""Takes snapshots, rewinds to them, and finds the cause of a rewind.

After a rewind the losses of the suspect batches are computed from the snapshot. If these raise the same alarm, the
cause is bad data, and the outliers among the batches are skipped; otherwise the learning rate was too high. (A batch
may explode from one point and not from another: Chowdhery et al. 2022, arXiv:2204.02311, section 5.1.)
"""

import math
from collections.abc import Sequence
from typing import Any

from torch import nn

from steepest.descent.guard import world
from steepest.descent.guard.guard import BY_DATA, BY_RATE, Guard
from steepest.descent.guard.running_stats import RunningStats
from steepest.descent.guard.snapshots import Snapshot, Snapshots, bytes_of, machine_memory
from steepest.descent.guard.thresholds import ALARM_RISE, CUSUM_DRIFT, DEVIATION_OFFSET, MAX_EXCESS
from steepest.descent.state import copy_state
from steepest.records.run import ACCEPT, LOWER, REWIND, SKIP, STOP, Call, Event, Message, Outcome, SnapshotInterval

OUTLIER_DEVIATIONS = 4.0
"""Robust deviations above the median loss at which a batch counts as an outlier."""
MIN_NORMAL_BATCHES, MAX_LOOKAHEAD = 8, 200
"""Normal batches in a row that end the search for outliers beyond the alarm, and how many batches it sees at most."""
SNAPSHOT_STEPS, LARGE_SNAPSHOT_STEPS, LARGE_SNAPSHOT_BYTES = 50, 100, 32 << 20
"""Steps between snapshots, and of those that are larger than the caches. By sizes, not by a clock, so that the same run
rewinds to the same points: the copy of a small state takes about half a step, that of a large one, into new memory, up
to one and a half steps whose update reads as much."""
WORLD_SHARE = 0.5
"""Of the rise of the loss that older weights must undo, on the batches of now, for the weights to be its cause."""
EXTREME_RISE = math.log(100.0)
"""Of a batch's loss above the best: the weights are then asked at once whether they are the cause."""
OUTCOME_STEPS = 50
"""Steps after which an event's outcome is recorded."""
SNAPSHOT_MEMORY_SHARE = 0.25
"""Share of the machine's memory that three snapshots may take; beyond it only one is kept."""


APART = "the weights differ between the processes"
"""Whose updates are the same: memory was corrupted on one of them, or it computes something else."""
MAX_APART = 3
"""Rewinds for that reason before the run is stopped."""


class Recovery:
    """The guard of one `Descent`, its snapshots, and what happened.

    Attributes:
        guard, snapshots: as named.
        attempt: number of rewinds so far.
        skipped_steps: steps whose batches are skipped.
    """

    def __init__(self, guard: Guard) -> None:
        self.guard, self.attempt = guard, 0
        self.snapshots = Snapshots(guard.snapshot_every)
        self.skipped_steps: set[int] = set()
        self._open_events: list[tuple[int, int, float]] = []  # event, steps left, level then
        self._times_apart = 0

    @property
    def follows_events(self) -> bool:
        """Whether the loss after an event is being followed."""
        return bool(self._open_events)

    @property
    def every(self) -> int:
        """Steps between two snapshots."""
        return self.snapshots.every or SNAPSHOT_STEPS  # None in a run that an old version interrupted

    def begin(self, descent: Any) -> tuple[Message | SnapshotInterval, ...]:
        """Takes a snapshot of the start; gives the interval of the next, and says where only one fits in memory."""
        if self.guard.report:
            return ()
        state = copy_state(descent.state())
        size = -descent.processes.least(-bytes_of(state))  # all processes of a run choose alike
        memory = descent.processes.least(machine_memory())
        self.snapshots.single |= 3 * size > SNAPSHOT_MEMORY_SHARE * memory
        self.snapshots.good = [Snapshot(descent.t, state)]
        words = f"The guard keeps one snapshot instead of three: each takes {size / 2**30:.1f} GiB."
        return (*((Message(words),) if self.snapshots.single else ()), *self._choose_interval(size))

    def after(self, descent: Any) -> tuple[SnapshotInterval, ...]:
        """Called after each step: takes the snapshot that is due."""
        t = descent.t
        if not self.guard.is_passive and t % self.every == 0 and self.guard.is_quiet and t < descent.steps:
            self.snapshots.take(t, copy_state(descent.state()))
        return ()

    def compare(self, descent: Any, call: Call) -> Call:
        """A rewind in place of a call where the processes' weights differ; looked at for each snapshot and at the end.

        Sharded weights differ anyway.
        """
        is_due = descent.t % self.every == 0 or descent.t == descent.steps
        if not is_due or self.guard.is_passive or not self.snapshots.good or descent.space.is_sharded:
            return call
        if descent.processes.agree(lambda: float(nn.utils.get_total_norm(descent.space.tensors()))):
            return call
        self._times_apart += 1
        if self._times_apart > MAX_APART:
            return Call(STOP, seen=APART, done=f"run stopped after {MAX_APART} rewinds")
        return Call(REWIND, seen=APART)

    def _choose_interval(self, size: int) -> tuple[SnapshotInterval, ...]:
        """Chooses the interval once, from the bytes of a snapshot; then it is part of the record."""
        if self.snapshots.every is not None:
            return ()
        every = SNAPSHOT_STEPS if size < LARGE_SNAPSHOT_BYTES else LARGE_SNAPSHOT_STEPS
        self.snapshots.every = self.guard.snapshot_every = every
        return (SnapshotInterval(every),)

    def review(self, descent: Any, call: Call, t: int, batches: Sequence[Any], norm: float = 0.0) -> Call:
        """The guard's call, or that nothing is to be done, where the rise is the objective's or the data's.

        Args:
            descent: as it is now.
            call: of the guard at step t.
            t: the present step.
            batches: of the step; none where they are read only later, and then computed again.
            norm: of the gradient; where it is not finite, no loss tells whether older weights are better.
        """
        if call.kind not in (SKIP, LOWER, REWIND, STOP) or self.guard.is_passive or not self.snapshots.good:
            return call
        if (descent.batches.is_iterable and not batches) or (call.kind != SKIP and not math.isfinite(norm)):
            return call
        snapshot = self.snapshots.good[0]
        if call.kind == SKIP:
            return self._review_skip(descent, snapshot, call, t, batches)
        now, then = world.losses(descent, snapshot, t, batches)
        if not math.isfinite(now) or (math.isfinite(then) and self._gains(now, then)):
            return call
        with world.weights_of(snapshot, descent.model):
            if self._ends_soon(descent, t):
                return call  # bad data: a rewind passes them over
        self.guard.accept()
        why = f"{call.seen}; the weights of step {snapshot.t} are no better on these batches"
        return Call(ACCEPT, seen=why, done="new level accepted")

    def _review_skip(self, descent: Any, snapshot: Snapshot, call: Call, t: int, batches: Sequence[Any]) -> Call:
        """A rewind in place of a skip, where the loss is extreme and the last good weights have none on this batch."""
        extreme, own = self.guard.best_mean + EXTREME_RISE, batches if descent.batches.is_iterable else None
        if t in self.skipped_steps or self._level(world.batch_loss(descent, t, own)) <= extreme:
            return call
        with world.weights_of(snapshot, descent.model):
            if self._level(world.batch_loss(descent, t, own)) > self.guard.usual_level(OUTLIER_DEVIATIONS):
                return call
        return self.guard.call_rewind(f"{call.seen}; the weights of step {snapshot.t} are as usual on this batch")

    def _gains(self, now: float, then: float) -> bool:
        """Whether the weights of then are better by more than a half of the rise of the loss."""
        level = self.guard.level(now)
        return level - self.guard.level(then) > max(ALARM_RISE, WORLD_SHARE * (level - self.guard.best_mean))

    def _ends_soon(self, descent: Any, t: int) -> bool:
        """Whether batches to come are as usual again at the present weights."""
        if descent.batches.is_iterable:
            return False
        usual, normal = self.guard.usual_level(OUTLIER_DEVIATIONS), 0
        for s in range(t + 1, min(t + MAX_LOOKAHEAD, descent.steps) + 1):
            normal = normal + 1 if self._level(world.batch_loss(descent, s)) <= usual else 0
            if normal == MIN_NORMAL_BATCHES:
                return True
        return False

    def rewind(self, descent: Any, call: Call, t: int) -> Event:
        """Restores a snapshot, finds the cause, and tells the guard; for a stop it restores the best snapshot."""
        snapshot = self.snapshots.best(_mean) if call.kind == STOP else self.snapshots.back()
        then = snapshot.t
        descent.load(snapshot.state)
        self.guard.load_state_dict(snapshot.state["guard"], rewinding=True)
        self.attempt += 1
        if call.kind == STOP:
            return Event(t, STOP, call.seen, f"{call.done}; restored the best snapshot (step {then})")
        if call.seen == APART:
            self.guard.on_rewind(BY_DATA, t - then)
            return Event(t, REWIND, call.seen, f"rewound to step {then}; lr unchanged")
        bad = self._outliers(descent, then, t)
        self.skipped_steps |= bad
        action = self.guard.on_rewind(BY_DATA if bad else BY_RATE, t - then)
        skip_words = f"; skipping {len(bad)} batches from step {min(bad)}" if bad else ""
        return Event(t, REWIND, call.seen, f"rewound to step {then}; {action}{skip_words}")

    def _outliers(self, descent: Any, then: int, t: int) -> set[int]:
        """The steps after `then` whose batches are outliers at the snapshot, if their losses alone raise the alarm.

        All losses are computed at one point, so only the batches differ. Median and deviation are those of the first
        half of the steps up to t, before anything rose.
        """
        if descent.batches.is_iterable:  # it cannot give a batch again
            return set()
        steps = [s for s in range(then + 1, t + 1) if s not in self.skipped_steps]
        levels = {s: self._level(world.batch_loss(descent, s)) for s in steps}
        usual = RunningStats(len(steps))
        usual.values.extend(x for s, x in levels.items() if s <= (then + t) // 2 and x < math.inf)
        if len(usual.values) < MIN_NORMAL_BATCHES:
            return set()
        usual.refresh(with_tail=False)
        cusum = highest = 0.0
        normal, outliers, s = 0, set[int](), then
        while s < min(t + MAX_LOOKAHEAD, descent.steps) and (s < t or normal < MIN_NORMAL_BATCHES):
            s += 1
            if s in self.skipped_steps:
                continue
            level = levels[s] if s in levels else self._level(world.batch_loss(descent, s))
            z = (level - usual.median) / (usual.deviation + DEVIATION_OFFSET)
            cusum = math.inf if z == math.inf else max(0.0, cusum + min(z, MAX_EXCESS) - CUSUM_DRIFT)
            highest, normal = max(highest, cusum), 0 if z > OUTLIER_DEVIATIONS else normal + 1
            if z > OUTLIER_DEVIATIONS:
                outliers.add(s)
        return outliers if highest > self.guard.thresholds.alarm_threshold else set()

    def _level(self, loss: float) -> float:
        return self.guard.level(loss) if math.isfinite(loss) else math.inf

    # -- events --------------------------------------------------------------------------------------------------------

    def follow(self, n: int) -> None:
        """From now on follows the loss after the run's n-th event."""
        self._open_events.append((n, OUTCOME_STEPS, self.guard.mean))

    def outcomes(self, t: int) -> tuple[Outcome, ...]:
        """What the loss did after those events that are OUTCOME_STEPS judged steps ago at step t.

        After a rewind to the start no mean is known yet, and nothing is said.
        """
        if not self._open_events or t in self.skipped_steps:
            return ()
        left = [(n, k - 1, then) for n, k, then in self._open_events if math.isfinite(then)]
        self._open_events = [item for item in left if item[1] > 0]
        changes = {
            n: math.exp(min(self.guard.mean - then, 50.0)) for n, k, then in left if k <= 0 and math.isfinite(then)
        }
        words = f"{OUTCOME_STEPS} steps later the running mean of the loss was"
        return tuple(Outcome(n, f"{words} {change:.3g} × that") for n, change in changes.items())

    # -- state ---------------------------------------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """The whole state, nested, snapshots included; its keys are part of the format."""
        parts = {"guard": self.guard.state_dict(), "snapshots": self.snapshots.state()}
        skips, events = sorted(self.skipped_steps), [list(event) for event in self._open_events]
        return {**parts, "attempt": self.attempt, "passed_over": skips, "followed": events}

    def load(self, state: dict[str, Any]) -> None:
        """Restores the result of `state`."""
        self.guard.load_state_dict(state["guard"])
        self.snapshots.load({**state["snapshots"], "every": state["snapshots"]["every"] or self.snapshots.every})
        self.guard.snapshot_every = self.snapshots.every
        self.attempt = state["attempt"]
        self.skipped_steps = set(state["passed_over"])
        self._open_events = [(n, k, then) for n, k, then in state["followed"]]


def _mean(state: dict[str, Any]) -> float:
    """The running mean of the loss's level at a snapshot."""
    mean = state["guard"]["mean"]
    return math.inf if math.isnan(mean) else mean
