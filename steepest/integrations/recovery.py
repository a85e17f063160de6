"""Snapshots of a watched loop, and the way back to one.

The batches that have passed cannot be computed again. Where the guard rewinds, the older weights are judged on the next
batches, without a step (`probe`): if they are as bad there, the data or the objective have changed, and the newer
weights come back.
"""

from collections.abc import Sequence
from typing import Any

from steepest.descent.guard.guard import BY_RATE, Guard
from steepest.descent.guard.recovery import LARGE_SNAPSHOT_BYTES, LARGE_SNAPSHOT_STEPS, SNAPSHOT_STEPS
from steepest.descent.guard.snapshots import Snapshot, Snapshots, bytes_of
from steepest.integrations.loop_state import LoopState
from steepest.integrations.probe import SECOND_LOOK_STEPS, Probe
from steepest.records.run import ACCEPT, REWIND, SKIP, STOP, Call, Event

SMALL_SNAPSHOT_STEPS, SMALL_SNAPSHOT_BYTES = 25, 4 << 20
"""Steps between two snapshots that are smaller than this: the loader goes on, so that what is lost is not repeated."""


class LoopRecovery:
    """Takes snapshots of a loop, and goes back to one.

    Attributes:
        snapshots: so far.
        has_room: whether memory is enough for one.

    Args:
        loop: whose state it is.
        guards: of its optimizers.
        memory: bytes that the snapshots may hold.
        has_scheduler: whether what sets the learning rates goes back too.
    """

    def __init__(self, loop: LoopState, guards: Sequence[Guard | None], memory: float, has_scheduler: bool) -> None:
        self._loop, self._guards, self._memory, self._has_scheduler = loop, list(guards), memory, has_scheduler
        self.snapshots, self.has_room = Snapshots(SMALL_SNAPSHOT_STEPS), True
        self._probe: Probe | None = None
        self._older: Probe | None = None  # that was no better, and will be asked again

    @property
    def is_on(self) -> bool:
        """Whether the loop can go back."""
        guard = self._guards[0]
        return guard is not None and not guard.report and self.has_room

    def begin(self, t: int) -> str:
        """The first snapshot, after step t; without room for one the guard acts without going back: says so."""
        state = self._loop.copy()
        size = bytes_of(state)
        if size > self._memory:
            self.has_room = False
            return (
                f"A snapshot takes {size / 2**20:.0f} MiB, more than memory= allows ({self._memory / 2**20:.0f} MiB): "
                "the guard clips, skips and lowers the rate, and does not go back."
            )
        if size >= SMALL_SNAPSHOT_BYTES:
            self.snapshots.every = SNAPSHOT_STEPS if size < LARGE_SNAPSHOT_BYTES else LARGE_SNAPSHOT_STEPS
        self.snapshots.single = 4 * size > self._memory
        self.take(t, state)
        self.snapshots.good, self.snapshots.candidate = [self.snapshots.candidate or self.snapshots.good[0]], None
        return ""

    def take(self, t: int, state: dict[str, Any] | None = None) -> None:
        """Takes a snapshot after step t; of a state that was copied already, if it is given."""
        guards = [guard and guard.state_dict() for guard in self._guards]
        self.snapshots.take(t, {**(state or self._loop.copy()), "guards": guards})

    @property
    def is_probing(self) -> bool:
        """Whether the older weights are on trial after a rewind."""
        return self._probe is not None

    def is_due(self, guard: Guard, t: int) -> bool:
        """Whether a snapshot is due after step t."""
        is_time = t % (self.snapshots.every or SNAPSHOT_STEPS) == 0
        return is_time and not guard.is_passive and guard.is_quiet

    def rewind(
        self, guard: Guard | None, call: Call, t: int, is_usable: bool, cause: str = BY_RATE
    ) -> tuple[Event, int]:
        """Restores a snapshot; the present state is kept until it is known whether that helps.

        Args:
            guard: whose call it is.
            call: a rewind, or a stop.
            t: the step.
            is_usable: whether the present state may come back.
            cause: of the rewind, as `Guard.on_rewind` takes it.

        Returns:
            the event at step t, and the step after which the loop goes on.
        """
        assert guard is not None
        if not self.has_room:
            action = guard.on_rewind(BY_RATE)
            return Event(t, SKIP, call.seen, f"step skipped, {action}; there is no snapshot to go back to"), t
        snapshot, probe = self.snapshots.back(), None
        if is_usable and not self.snapshots.single and self.snapshots.rewinds == 1:
            states = [own and own.state_dict() for own in self._guards]
            probe = Probe(t - 1, self._loop.copy(), states, guard, guard.mean, snapshot)
        self._begin_probe(snapshot, probe)
        if call.kind == STOP:
            guard.step_aside()
            words = (
                f"{call.done}; restored the snapshot of step {snapshot.t}; steps are skipped until the loss is finite"
            )
            return Event(t, STOP, call.seen, words), snapshot.t
        action = guard.on_rewind(cause)
        rest = (
            "" if self._has_scheduler or not self._loop.has_initial_lr else "; the scheduler was not passed and goes on"
        )
        words = f"rewound to step {snapshot.t}; {action}; the loader goes on{rest}"
        return Event(t, REWIND, call.seen, words), snapshot.t

    def _restore(self, state: dict[str, Any], rewinding: bool) -> None:
        self._loop.load({k: v for k, v in state.items() if k != "guards"})
        for own, guard_state in zip(self._guards, state["guards"], strict=True):
            if own is not None and guard_state is not None:
                own.load_state_dict(guard_state, rewinding=rewinding)

    def _begin_probe(self, snapshot: Snapshot, probe: Probe | None) -> None:
        self._restore(snapshot.state, rewinding=True)
        if probe is not None:
            probe.begin()
        self._probe, self._older = probe, None

    def is_second_look_due(self, guard: Guard, t: int) -> bool:
        """Whether older weights, which were no better on the batches of then, are to be asked again after step t."""
        return self._older is not None and guard is self._older.guard and t >= self._older.t + SECOND_LOOK_STEPS

    def look_again(self, t: int) -> None:
        """Asks the older weights once more, after step t."""
        older = self._older
        assert older is not None
        states, level = [own and own.state_dict() for own in self._guards], older.guard.mean
        probe = Probe(t, self._loop.copy(), states, older.guard, level, older.snapshot, is_first=False)
        self._begin_probe(older.snapshot, probe)

    def judge(self, guard: Guard | None, loss: float, t: int) -> tuple[Event | None, int]:
        """The older weights on one more batch; the newer ones come back where the older ones are as bad.

        Args:
            guard: of the optimizer whose loss it is.
            loss: of the batch, at the older weights.
            t: steps so far.

        Returns:
            what was decided, if anything, and the step after which the loop goes on.
        """
        probe = self._probe
        if probe is None or guard is not probe.guard:
            return None, t
        probe.add(loss)
        if not probe.is_over:
            return None, t
        self._probe = None
        if probe.are_older_better:
            return (None, t) if probe.is_first else self._stay_back(probe, t)
        self._restore({**probe.state, "guards": probe.guards}, rewinding=False)
        return (self._accept(probe, t), t) if probe.is_first else (None, t)

    def _stay_back(self, probe: Probe, t: int) -> tuple[Event, int]:
        """The older weights stay: the data that made the difference are over."""
        snapshot = probe.snapshot
        self.snapshots.good, self.snapshots.candidate = [snapshot], None
        words = f"rewound to step {snapshot.t}; cause: bad data, which are over; the loader goes on"
        return Event(t, REWIND, "the older weights are better again on the batches of now", words), snapshot.t

    def _accept(self, probe: Probe, t: int) -> Event:
        """The newer weights go on; the older ones will be asked again."""
        self._older = probe
        probe.guard.accept()
        self.snapshots.good, self.snapshots.candidate = [], None
        self.begin(t)
        words = f"new level accepted; the weights of step {probe.t} are back"
        return Event(t, ACCEPT, "the older weights are no better on the batches of now", words)

    def forget(self) -> None:
        """Drops all snapshots: those of another model do not fit."""
        self.snapshots.good, self.snapshots.candidate, self._probe, self._older = [], None, None, None

    def free(self) -> None:
        """Drops all snapshots."""
        self.snapshots, self._probe, self._older = Snapshots(), None, None
