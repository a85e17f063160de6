"""`watch`: a loop of the user's own, recorded and guarded.

    with sd.watch(model, optimizer, scheduler=scheduler) as run:
        for x, y in loader:
            optimizer.zero_grad()
            loss = criterion(model(x), y)
            loss.backward()
            run.step(loss)            # in place of optimizer.step()
            scheduler.step()

The guard is that of `fit`, with what a loop of the user's allows: batches that have passed cannot be computed again.
Where the guard rewinds, the older weights are judged on the next batches, without a step: if they are as bad there, the
data or the objective have changed, and the newer weights come back.
"""

import functools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from steepest.analysis.conclusion import diagnose
from steepest.analysis.diagnosis.diagnose import Diagnosis
from steepest.descent.guard.guard import BY_RATE, GO_CALL, Guard
from steepest.descent.guard.recovery import LARGE_SNAPSHOT_BYTES, LARGE_SNAPSHOT_STEPS, SNAPSHOT_STEPS
from steepest.descent.guard.snapshots import Snapshots, bytes_of
from steepest.descent.guard.thresholds import MAX_OVERFLOWS
from steepest.descent.settings import make_guard
from steepest.errors import InputError
from steepest.integrations.loop_record import LoopRecord
from steepest.integrations.loop_state import LoopState, LowerRate, gradients_of, memory_bound, norm_of, scale
from steepest.integrations.losses import Losses, number
from steepest.integrations.probe import Probe
from steepest.records.run import ACCEPT, CLIP, REWIND, SKIP, STOP, Call, Event, Record, Step
from steepest.runs.run import Run
from steepest.tasks.buffers import Buffers

SMALL_SNAPSHOT_STEPS, SMALL_SNAPSHOT_BYTES = 25, 4 << 20
"""Steps between two snapshots that are smaller than this: the loader goes on, so that what is lost is not repeated."""
UPDATE_STEPS = 25
"""The update's norm is measured at the first step and then at every 25th; between, it follows the learning rate."""
OPEN: "dict[Optimizer, Watch]" = {}
"""The runs that watch an optimizer now."""


class Watch(Run):
    """The run of a loop that is watched. Made by `sd.watch`.

    Attributes:
        t: steps so far, rewound ones not counted.
        on_close: called when the run ends.
    """

    on_close: Callable[[], Any] = staticmethod(lambda: None)

    def __init__(
        self, model: nn.Module, optimizers: Sequence[Optimizer], others: Sequence[Any], scaler: Any,
        guard: Guard | None, record: LoopRecord, memory: float,
    ) -> None:  # fmt: skip
        self.store, self.task, self._model = record.store, None, model
        self._record, self._scaler, self._optimizers = record, scaler, list(optimizers)
        self._loop = LoopState(model, optimizers, [*others, *([] if scaler is None else [scaler])])
        self._guards = {id(o): guard if k == 0 else _like(guard) for k, o in enumerate(optimizers)}
        self._snapshots, self._memory = Snapshots(SMALL_SNAPSHOT_STEPS), memory
        self._probe: Probe | None = None
        self._steps = {id(o): o.step for o in optimizers}
        self._buffers = Buffers(model)
        self._buffers.save()
        self._has_room, self._is_open, self._overflows, self.t = True, True, 0, 0
        self._update_ratio = math.nan  # ‖Δw‖ ÷ lr, when it was last measured
        self._has_scheduler = bool(others)

    # -- a step --------------------------------------------------------------------------------------------------------

    def step(self, loss: Tensor | float | Sequence[Tensor | float], optimizer: Optimizer | None = None) -> Event | None:
        """Takes the optimizer's step, unless the guard has it otherwise; in place of `optimizer.step()`.

        Args:
            loss: of the step's batch; those of its micro-batches, which are averaged.
            optimizer: whose step it is, where there are several.

        Returns:
            what the guard did, if anything.

        Raises:
            InputError: the loss is no number, the optimizer is not watched, or the run has ended.
        """
        own = self._find_optimizer(optimizer)
        value = number(loss)
        if not self._snapshots.good and self._is_guarded:
            self._begin()
        gradients, guard = self._unscale(own), self._guards[id(own)]
        norm, lr = norm_of(gradients), float(own.param_groups[0]["lr"])
        if self._is_overflow(value, norm):
            self._move(own, gradients, GO_CALL, norm, 1.0)  # the scaler skips the step, and lowers its scale
            return None
        if self._probe is not None:
            return self._judge_probe(self._probe, own, value, norm, lr)
        call = GO_CALL if guard is None else guard.judge(value, norm, lr)
        rate = 1.0 if guard is None else guard.rate_for(lr)
        t = self.t + 1
        if call.kind in (REWIND, STOP):
            event = self._rewind(own, call, t, math.isfinite(value) and math.isfinite(norm))
            own.zero_grad()
        else:
            self._move(own, gradients, call, norm, rate)
            event = Event(t, call.kind, call.seen, call.done) if call.seen else None
        self._buffers.save()
        is_back = event is not None and event.kind in (REWIND, STOP)
        if own is self._optimizers[0]:
            self.t = self.t if is_back else t
            update_norm = 0.0 if is_back or call.kind == SKIP else self._update_ratio * lr * rate
            self._record.step(Step(t, 0.0, lr * rate, value, norm, update_norm), event, self.t)
        elif event is not None:
            self._record.event(event)
            if is_back:
                self._record.go_back(self.t)
        if not is_back:
            self._after(guard)
        return event

    def _is_overflow(self, loss: float, norm: float) -> bool:
        """Whether the scaler's factor was too large, as it is at times; more of these in a row are something else."""
        is_overflow = self._scaler is not None and self._scaler.is_enabled() and not math.isfinite(norm)
        self._overflows = self._overflows + 1 if is_overflow and math.isfinite(loss) else 0
        return 0 < self._overflows <= MAX_OVERFLOWS

    def _move(self, optimizer: Optimizer, gradients: list[Tensor], call: Call, norm: float, rate: float) -> None:
        """The optimizer's own step, with clipped gradients or a lower rate where the guard has them."""
        if call.kind == SKIP:
            self._buffers.restore()  # what the model has learned of a bad batch
        else:
            if call.kind == CLIP:
                scale(gradients, call.limit / (norm + 1e-6))
            with LowerRate(optimizer, rate), self._measure_update(optimizer):
                step = self._steps[id(optimizer)]
                step() if self._scaler is None else self._scaler.step(optimizer)
        if self._scaler is not None and optimizer is self._optimizers[-1]:
            self._scaler.update()

    @contextmanager
    def _measure_update(self, optimizer: Optimizer) -> Iterator[None]:
        """Measures ‖Δw‖ ÷ lr of the first optimizer's step inside the block, every 25th time."""
        if optimizer is not self._optimizers[0] or self.t % UPDATE_STEPS:
            yield
            return
        weights = [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        before = [p.detach().clone() for p in weights]
        yield
        lr = float(optimizer.param_groups[0]["lr"])
        change = norm_of([p.detach() - w for p, w in zip(weights, before, strict=True)])
        self._update_ratio = change / lr if lr else 0.0

    def _unscale(self, optimizer: Optimizer) -> list[Tensor]:
        """The gradients without the scaler's factor."""
        if self._scaler is not None and self._scaler.is_enabled():
            stage = self._scaler._per_optimizer_states[id(optimizer)]["stage"].name
            if stage == "READY":
                self._scaler.unscale_(optimizer)
        return gradients_of(optimizer)

    def _find_optimizer(self, optimizer: Optimizer | None) -> Optimizer:
        if not self._is_open:
            raise InputError("run.step was called after the run had ended. Begin another one: sd.watch(...).")
        if optimizer is None:
            if len(self._optimizers) > 1:
                raise InputError(f"run.step needs its optimizer where {len(self._optimizers)} are watched, got none")
            return self._optimizers[0]
        if id(optimizer) not in self._guards:
            raise InputError("optimizer must be one that sd.watch was given, got another one. Pass it to sd.watch.")
        return optimizer

    def take_over(self, losses: Losses) -> None:
        """From now on `optimizer.step()` is `step`, for a trainer that calls it; until `close`.

        Args:
            losses: where the trainer's losses are found.
        """
        for optimizer in self._optimizers:
            optimizer.step = functools.partial(self._step_of_trainer, optimizer, losses)  # type: ignore[method-assign]

    def _step_of_trainer(self, optimizer: Optimizer, losses: Losses, closure: Any = None) -> Any:
        result = None
        if closure is not None:
            with torch.enable_grad():
                result = closure()
        self.step(losses.take(result), optimizer)
        return result

    # -- going back ----------------------------------------------------------------------------------------------------

    @property
    def _is_guarded(self) -> bool:
        guard = self._guards[id(self._optimizers[0])]
        return guard is not None and not guard.report and self._has_room

    def _begin(self) -> None:
        """The first snapshot; without room for one the guard acts without going back, and that is said."""
        state = self._loop.copy()
        size = bytes_of(state)
        if size > self._memory:
            self._has_room = False
            self._record.say(
                f"A snapshot takes {size / 2**20:.0f} MiB, more than memory= allows ({self._memory / 2**20:.0f} MiB): "
                "the guard clips, skips and lowers the rate, and does not go back."
            )
            return
        if size >= SMALL_SNAPSHOT_BYTES:
            self._snapshots.every = SNAPSHOT_STEPS if size < LARGE_SNAPSHOT_BYTES else LARGE_SNAPSHOT_STEPS
        self._snapshots.single = 4 * size > self._memory
        self._take(state)
        self._snapshots.good, self._snapshots.candidate = [self._snapshots.candidate or self._snapshots.good[0]], None

    def _take(self, state: dict[str, Any] | None = None) -> None:
        guards = [guard and guard.state_dict() for guard in self._guards.values()]
        self._snapshots.take(self.t, {**(state or self._loop.copy()), "guards": guards})

    def _after(self, guard: Guard | None) -> None:
        """After a step that was taken: the snapshot that is due."""
        if guard is None or not self._is_guarded:
            return
        if not guard.is_passive and self.t % (self._snapshots.every or SNAPSHOT_STEPS) == 0 and guard.is_quiet:
            self._take()

    def _rewind(self, optimizer: Optimizer, call: Call, t: int, is_finite: bool) -> Event:
        """Restores a snapshot; the present state is kept until it is known whether that helps."""
        guard = self._guards[id(optimizer)]
        assert guard is not None
        if not self._has_room:
            action = guard.on_rewind(BY_RATE)
            return Event(t, SKIP, call.seen, f"step skipped, {action}; there is no snapshot to go back to")
        snapshot, probe = self._snapshots.back(), None
        if is_finite and not self._snapshots.single and self._snapshots.rewinds == 1:
            guards = [own and own.state_dict() for own in self._guards.values()]
            probe = Probe(t - 1, self._loop.copy(), guards, optimizer, guard.mean)
        self._loop.load({k: v for k, v in snapshot.state.items() if k != "guards"})
        for own, state in zip(self._guards.values(), snapshot.state["guards"], strict=True):
            if own is not None and state is not None:
                own.load_state_dict(state, rewinding=True)
        if probe is not None:
            probe.begin(guard)
        self._probe, self.t = probe, snapshot.t
        if call.kind == STOP:
            guard.step_aside()
            return Event(t, STOP, call.seen, f"{call.done}; restored the snapshot of step {snapshot.t}")
        action = guard.on_rewind(BY_RATE, 0)
        rest = "" if self._has_scheduler or not self._has_initial_lr else "; the scheduler was not passed and goes on"
        return Event(t, REWIND, call.seen, f"rewound to step {snapshot.t}; {action}; the loader goes on{rest}")

    @property
    def _has_initial_lr(self) -> bool:
        """Whether a scheduler has written to an optimizer."""
        return any("initial_lr" in group for o in self._optimizers for group in o.param_groups)

    def _judge_probe(self, probe: Probe, optimizer: Optimizer, loss: float, norm: float, lr: float) -> Event | None:
        """A step on which older weights are judged; the newer ones come back where the older ones are as bad."""
        guard, t = self._guards[id(optimizer)], self.t + 1
        self._move(optimizer, [], Call(SKIP), norm, 1.0)
        self._buffers.save()
        if optimizer is self._optimizers[0]:
            self.t = t
            self._record.step(Step(t, 0.0, lr, loss, norm, 0.0), None, t)
        if optimizer is not probe.optimizer or guard is None:
            return None
        probe.levels.append(guard.level(loss) if math.isfinite(loss) else math.inf)
        if not probe.is_over:
            return None
        self._probe = None
        return None if probe.are_older_better else self._accept(probe, guard)

    def _accept(self, probe: Probe, guard: Guard) -> Event:
        """The newer weights come back, and the guard's statistics begin again."""
        self._loop.load(probe.state)
        for own, state in zip(self._guards.values(), probe.guards, strict=True):
            if own is not None and state is not None:
                own.load_state_dict(state)
        guard.accept()
        self._snapshots.good, self._snapshots.candidate = [], None
        self._begin()
        words = f"new level accepted; the weights of step {probe.t} are back"
        event = Event(self.t, ACCEPT, "the older weights are no better on the batches of now", words)
        self._record.event(event)
        return event

    # -- what the user adds --------------------------------------------------------------------------------------------

    def measure(self, values: Mapping[str, Any], split: str = "validation") -> None:
        """Records numbers that were measured on a whole split, by name.

        Raises:
            InputError: a value is no number.
        """
        for name, value in values.items():
            self._record.measure(self.t, split, name, number(value))

    def note(self, words: str) -> None:
        """Records a sentence at the present step."""
        self._record.event(Event(self.t, "note", str(words), "note"))

    def diagnose(self) -> Diagnosis:
        """What is wrong with the run so far; see `sd.diagnose`."""
        return diagnose(self)

    # -- the record ----------------------------------------------------------------------------------------------------

    @property
    def record(self) -> Record:
        """The run as it is recorded now."""
        return self._record.read()

    def close(self, status: str = "done") -> None:
        """Ends the record: done, interrupted or failed."""
        if self._is_open:
            self._is_open = False
            self._snapshots, self._probe = Snapshots(), None
            for optimizer in self._optimizers:
                OPEN.pop(optimizer, None)
                if isinstance(optimizer.__dict__.get("step"), functools.partial):
                    optimizer.step = self._steps[id(optimizer)]  # type: ignore[method-assign]
            self.on_close()
            self._record.close(self.t, status)

    def __enter__(self) -> "Watch":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> None:
        if error is None:
            return self.close()
        self._record.fail(self.t, error)
        return self.close("interrupted" if isinstance(error, KeyboardInterrupt | GeneratorExit) else "failed")


def watch(
    model: nn.Module, optimizer: Optimizer | Sequence[Optimizer], *, scheduler: Any = None, scaler: Any = None,
    guard: bool | str | Guard = True, runs: str | Path = "runs", name: str | None = None, memory: str | int = "25%",
) -> Watch:  # fmt: skip
    """Records and guards a loop of your own: `run.step(loss)` takes the place of `optimizer.step()`.

    Without a fault the weights are bit for bit those of the loop alone.

    Args:
        model: that is trained.
        optimizer: of it; a list where there are several.
        scheduler: what sets their learning rates; a list where there are several. It goes back with the weights.
        scaler: a `torch.amp.GradScaler`; `run.step` then also unscales the gradients and updates the scaler.
        guard: True, False, "report" or `sd.Guard(...)`.
        runs: folder of the runs.
        name: of the run; the model's class by default.
        memory: bytes that snapshots may hold, or a share of the machine's memory as text.

    Raises:
        InputError: an optimizer has no parameter of the model, is watched already, or an argument is invalid.
        StoreError: the folder cannot be written.
    """
    optimizers = [optimizer] if isinstance(optimizer, Optimizer) else list(optimizer)
    _check(model, optimizers)
    schedulers = [] if scheduler is None else [scheduler] if hasattr(scheduler, "state_dict") else list(scheduler)
    own, bound = make_guard(guard), memory_bound(memory)
    record = LoopRecord(model, optimizers, own, runs, name or type(model).__name__)
    run = Watch(model, optimizers, schedulers, scaler, own, record, bound)
    OPEN.update(dict.fromkeys(optimizers, run))
    return run


def _check(model: nn.Module, optimizers: Sequence[Optimizer]) -> None:
    own = {id(p) for p in model.parameters()}
    if not optimizers:
        raise InputError("optimizer must be a torch optimizer or a list of them, got none")
    for o in optimizers:
        if not isinstance(o, Optimizer):
            raise InputError(f"optimizer must be a torch optimizer, got {type(o).__name__}")
        if not any(id(p) in own for group in o.param_groups for p in group["params"]):
            raise InputError(
                f"optimizer must have parameters of the model, got {type(o).__name__} with none of them. "
                "Make it from this model's parameters, after the model is on its device."
            )
        if (other := OPEN.get(o)) is not None:
            raise InputError(f"The optimizer is watched already, as run {other.id}. Close that run first: run.close().")


def _like(guard: Guard | None) -> Guard | None:
    return None if guard is None else Guard.of(guard.describe())
