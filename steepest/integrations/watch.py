"""`watch`: a loop of the user's own, recorded and guarded.

    with sd.watch(model, optimizer, scheduler=scheduler) as run:
        for x, y in loader:
            optimizer.zero_grad()
            loss = criterion(model(x), y)
            loss.backward()
            run.step(loss)            # in place of optimizer.step()
            scheduler.step()

The guard is that of `fit`, with what a loop of the user's allows (`recovery`). Started again with the same `name=`, the
record goes on where the script does (`start`). Several processes act alike (`processes`).
"""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MethodType
from typing import Any
from weakref import WeakKeyDictionary, ref

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from steepest.analysis.conclusion import diagnose
from steepest.analysis.diagnosis.diagnose import Diagnosis
from steepest.descent.guard.guard import BY_DATA, GO_CALL, Guard
from steepest.descent.guard.thresholds import MAX_OVERFLOWS
from steepest.descent.parameters import NEW_WEIGHTS, ParameterWatch, compare
from steepest.descent.settings import make_guard
from steepest.distributed.processes import Processes
from steepest.errors import InputError
from steepest.integrations import checks
from steepest.integrations.loop_record import NOTE, LoopRecord
from steepest.integrations.loop_state import (
    LoopState,
    LowerRate,
    UpdateRatio,
    gradients_of,
    memory_bound,
    norm_of,
    scale,
)
from steepest.integrations.losses import number
from steepest.integrations.place import Place, PlaceMark, take_place
from steepest.integrations.processes import find_processes
from steepest.integrations.recovery import LoopRecovery
from steepest.integrations.second_steps import SecondSteps
from steepest.records.run import CLIP, REWIND, SKIP, STOP, Call, Event, Record, Step
from steepest.runs.run import Run
from steepest.runs.trackers import Trackers, make_trackers
from steepest.tasks.buffers import Buffers
from steepest.tasks.metric import Direction

OPEN: "WeakKeyDictionary[Optimizer, ref[Watch]]" = WeakKeyDictionary()
"""The runs that watch an optimizer now. It keeps neither: what a notebook's cell made is freed when it runs again."""


class Watch(Run):
    """The run of a loop that is watched. Made by `sd.watch`.

    Attributes:
        t: steps so far, rewound ones not counted.
        epoch: epochs done, if the loop says so: `run.epoch = 3.5`. It is recorded with steps and measurements.
        on_close: called when the run ends.
    """

    on_close: Callable[[], Any] = staticmethod(lambda: None)

    def __init__(
        self, model: nn.Module, optimizers: Sequence[Optimizer], others: Sequence[Any], scaler: Any,
        guard: Guard | None, record: LoopRecord, memory: float, processes: Processes,
    ) -> None:  # fmt: skip
        self.store, self.task, self._model, self.epoch = record.store, None, model, 0.0
        self._record, self._scaler, self._optimizers = record, scaler, list(optimizers)
        self._loop = LoopState(model, optimizers, [*others, *([] if scaler is None else [scaler])])
        self._guards = {id(o): guard if k == 0 else _like(guard) for k, o in enumerate(optimizers)}
        self._recovery = LoopRecovery(self._loop, list(self._guards.values()), memory, bool(others))
        self._processes = processes
        self._steps = {id(o): o.step for o in optimizers}
        self._buffers = Buffers(model)
        self._buffers.save()
        self._is_open, self._is_named, self._overflows, self.t = True, record.is_named, 0, record.start.t
        self._update_ratio, self._given_up = UpdateRatio(optimizers[0]), set[int]()  # ids of optimizers
        self._closure: Callable[[], Any] | None = None  # of this step, for an optimizer that needs one
        self._layout, self._parameters, self._has_trainer = self._loop.structure, ParameterWatch(model), False
        self._go_on(record.start.place)
        self._mark = PlaceMark(self._optimizers[0], self._place, self._refuse)
        self._second_steps = SecondSteps(self._optimizers, record.say)

    # -- a step --------------------------------------------------------------------------------------------------------

    def step(
        self, loss: Tensor | float | Sequence[Tensor | float] | Callable[[], Any] | None = None,
        optimizer: Optimizer | None = None,
    ) -> Event | None:  # fmt: skip
        """Takes the optimizer's step, unless the guard has it otherwise; in place of `optimizer.step()`.

        Args:
            loss: of the step's batch; those of its micro-batches, which are averaged; or a closure that computes loss
                and gradients, as LBFGS needs it.
            optimizer: whose step it is, where there are several.

        Returns:
            what the guard did, if anything.

        Raises:
            InputError: the loss is no number, the optimizer is not watched, or the run has ended.
        """
        own = self._find_optimizer(optimizer)
        if (now := self._loop.structure) != self._layout:
            self._follow_model(now)
        loss = self._run_closure(own, loss)
        value = self._processes.mean(number(loss))
        if not self._recovery.snapshots.good and self._recovery.is_on and (words := self._recovery.begin(self.t)):
            self._record.say(words)
        gradients, guard = self._unscale(own), self._guards[id(own)]
        norm, lr = norm_of(gradients), float(own.param_groups[0]["lr"])
        if self._is_overflow(value, norm):
            self._move(own, gradients, GO_CALL, norm, 1.0)  # the scaler skips the step, and lowers its scale
            return None
        if self._recovery.is_probing:
            return self._stand_still(own, value, norm, lr)
        call = GO_CALL if guard is None else guard.judge(value, norm, lr)
        if call.kind in (SKIP, STOP) and id(own) in self._given_up:
            call = Call(SKIP)  # it was said once
        else:
            (self._given_up.add if call.kind == STOP else self._given_up.discard)(id(own))
        rate = 1.0 if guard is None else guard.rate_for(lr)
        t = after = self.t + 1
        if call.kind in (REWIND, STOP):
            event, after = self._recovery.rewind(guard, call, t, math.isfinite(value) and math.isfinite(norm))
            own.zero_grad()
        else:
            self._move(own, gradients, call, norm, rate)
            event = Event(t, call.kind, call.seen, call.done) if call.seen else None
        self._buffers.save()
        is_back, is_first = event is not None and event.kind in (REWIND, STOP), own is self._optimizers[0]
        if is_back or is_first:
            self.t = after
        if is_first:
            update_norm = 0.0 if is_back or call.kind == SKIP else self._update_ratio.value * lr * rate
            self._record.step(Step(t, self.epoch, lr * rate, value, norm, update_norm), event, self.t)
        elif event is not None:
            self._record.event(event)
            if is_back:
                self._record.go_back(self.t)
        return event if is_back else self._after(guard) or event

    @property
    def is_stopped(self) -> bool:
        """Whether the guard has given up: nothing was finite, and steps are skipped until something is."""
        return bool(self._given_up)

    def _follow_model(self, structure: list[list[int]]) -> None:
        """The user has given an optimizer other parameters: snapshots of the old ones do not fit any more."""
        self._layout, before, self._parameters = structure, self._parameters, ParameterWatch(self._loop.model)
        words = compare(before.places, self._parameters.places).words or "an optimizer has other parameters"
        self._buffers = Buffers(self._loop.model)
        self._buffers.save()
        self._recovery.forget()
        self._record.follow_model()
        self._record.event(Event(self.t, NEW_WEIGHTS, words, "snapshots begin again"))

    def _run_closure(self, optimizer: Optimizer, loss: Any) -> Any:
        """The loss, computed where it is a closure; an optimizer that computes it again is handed the closure."""
        closure, self._closure = loss if callable(loss) else None, None
        if closure is None:
            if checks.needs_closure(optimizer):
                raise InputError(
                    f"run.step needs a closure for {type(optimizer).__name__}, which computes the loss several times, "
                    f"got {'none' if loss is None else 'a loss'}. Pass the closure: run.step(closure)."
                )
            return loss
        with torch.enable_grad():
            loss = closure()
        if checks.needs_closure(optimizer):
            self._closure = checks.closure_from(closure, loss)
        return loss

    def _stand_still(self, optimizer: Optimizer, loss: float, norm: float, lr: float) -> Event | None:
        """A step on which older weights are judged."""
        self._move(optimizer, [], Call(SKIP), norm, 1.0)
        self._buffers.save()
        if optimizer is self._optimizers[0]:
            self.t += 1
            self._record.step(Step(self.t, self.epoch, lr, loss, norm, 0.0), None, self.t)
        event, after = self._recovery.judge(self._guards[id(optimizer)], loss, self.t)
        if event is not None:
            self._record.event(event)
        if after < self.t:
            self.t = after
            self._record.go_back(after)
        return event

    def _after(self, guard: Guard | None) -> Event | None:
        """After a step that was taken: the snapshot that is due."""
        if guard is None or not self._recovery.is_on:
            return None
        if self._recovery.is_second_look_due(guard, self.t):
            self._recovery.look_again(self.t)
        elif self._recovery.is_due(guard, self.t):
            if not self._processes.agree(lambda: norm_of(self._loop.weights)):
                return self._go_back_together(guard)
            self._recovery.take(self.t)
        return None

    def _go_back_together(self, guard: Guard) -> Event:
        """Where the weights differ between the processes, whose updates are the same, memory was corrupted on one."""
        call = Call(REWIND, seen="the weights differ between the processes")
        event, self.t = self._recovery.rewind(guard, call, self.t, False, BY_DATA)
        self._record.event(event)
        self._record.go_back(self.t)
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
            if call.kind == CLIP and self._closure is None:
                scale(gradients, call.limit / (norm + 1e-6))
            with LowerRate(optimizer, rate), self._update_ratio.measure(optimizer, self.t), self._second_steps.own():
                step = self._steps[id(optimizer)]
                if self._closure is not None:
                    step(self._closure)
                else:
                    step() if self._scaler is None else self._scaler.step(optimizer)
        if self._scaler is not None and optimizer is self._optimizers[-1]:
            self._scaler.update()

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

    def take_over(self, step: Callable[[Optimizer, Any], Any]) -> None:
        """From now on `optimizer.step(closure)` is this function, for a trainer that calls it; until `close`."""
        for optimizer in self._optimizers:
            optimizer.step = MethodType(step, optimizer)  # type: ignore[method-assign]
        self._has_trainer = True
        self._second_steps.end()

    def own_step(self, optimizer: Optimizer) -> Any:
        """A step of the optimizer itself, neither recorded nor guarded."""
        return self._steps[id(optimizer)]()

    # -- the place in the record ---------------------------------------------------------------------------------------

    def _place(self) -> Place | None:
        """The place now, for a state_dict that the user takes."""
        if self._loop.is_busy:
            return None
        guards = [guard and guard.state_dict() for guard in self._guards.values()]
        return self._record.place(self.t, guards=guards, update_ratio=self._update_ratio.value)

    def _go_on(self, place: Place | None) -> None:
        """Restores what the guards had learned."""
        if place is None:
            return
        self._update_ratio.value = place.update_ratio
        for own, state in zip(self._guards.values(), place.guards or [], strict=False):
            if own is not None and state is not None:
                try:
                    own.load_state_dict(state)
                except InputError:
                    self._record.say("The guard begins anew: what it had learned is of another version of Steepest.")

    def _refuse(self, place: Place) -> None:
        """An optimizer that is restored after `watch` and before the first step: the record has begun elsewhere."""
        if not self._loop.is_busy and self._is_named and self.t == self._record.start.t != place.t:
            raise InputError(
                f"The optimizer must be restored before sd.watch(name=...), got the state of step {place.t} after it. "
                "Load its state_dict first: the record then goes on there."
            )

    # -- what the user adds --------------------------------------------------------------------------------------------

    def measure(self, values: Mapping[str, Any], split: str = "validation", better: Direction | None = None) -> None:
        """Records numbers that were measured on a whole split, by name; "val_loss" of "validation" is its "loss".

        Args:
            values: by name.
            split: of the data.
            better: "higher" or "lower", which is better of a metric whose name does not say; `compare` asks.

        Raises:
            InputError: a value is no number, or better is something else.
        """
        for name, value in checks.by_name(values, split, better).items():
            self._record.measure(self.t, self.epoch, split, name, number(value), better)

    def note(self, words: str) -> None:
        """Records a sentence at the present step."""
        self._record.event(Event(self.t, NOTE, str(words), NOTE))

    def diagnose(self) -> Diagnosis:
        """What is wrong with the run so far; see `sd.diagnose`."""
        return diagnose(self)

    # -- the record ----------------------------------------------------------------------------------------------------

    @property
    def record(self) -> Record:
        """The run as it is recorded now."""
        return self._record.read()

    def close(self, status: str = "done") -> None:
        """Ends the record: done, interrupted or failed; "done" is "stopped" where the guard gave up."""
        if self._is_open:
            self._is_open = False
            self._recovery.free()
            self._second_steps.end()
            self._mark.end(None if status == "done" else self._place())
            for optimizer in self._optimizers:
                OPEN.pop(optimizer, None)
                if self._has_trainer:
                    optimizer.step = self._steps[id(optimizer)]  # type: ignore[method-assign]
            self.on_close()
            self._record.close(self.t, "stopped" if self.is_stopped and status == "done" else status)

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
    step: int | None = None, trackers: Trackers = (),
) -> Watch:  # fmt: skip
    """Records and guards a loop of your own: `run.step(loss)` takes the place of `optimizer.step()`.

    Without a fault the weights are bit for bit those of the loop alone. Started again with the same `name=` and
    settings, an interrupted run goes on: restore the weights and the optimizer first, whose state_dict also holds the
    place in the record and what the guard has learned.

    Args:
        model: that is trained.
        optimizer: of it; a list where there are several.
        scheduler: what sets their learning rates; a list where there are several. After a rewind it keeps the place
            of the loader.
        scaler: a `torch.amp.GradScaler`; `run.step` then also unscales the gradients and updates the scaler.
        guard: True, False, "report" or `sd.Guard(...)`.
        runs: folder of the runs.
        name: of the run, which goes on if it was interrupted; without one a new run begins, named after the model.
        memory: bytes that snapshots may hold, or a share of the machine's memory as text.
        step: steps that the loop has taken before, where the optimizer's state was not restored.
        trackers: what else gets the numbers as they come, as in `fit`: "csv", "mlflow", "tensorboard", or a `Tracker`.

    Raises:
        InputError: an optimizer has no parameter of the model, is watched already, or an argument is invalid.
        StoreError: the folder cannot be written.
    """
    optimizers, schedulers = checks.as_list(optimizer), checks.as_list(scheduler)
    checks.check_model(model)
    inner, processes = find_processes(model)
    checks.check_optimizers(inner, optimizers, OPEN)
    checks.check_others(optimizers, schedulers, scaler)
    step = checks.check_step(step, name)
    own, bound = make_guard(guard), processes.least(memory_bound(memory))
    places = [take_place(o) for o in optimizers]
    record = LoopRecord(inner, optimizers, own, runs, name, places[0], step, processes, make_trackers(trackers))
    run = Watch(inner, optimizers, schedulers, scaler, own, record, bound, processes)
    OPEN.update(dict.fromkeys(optimizers, ref(run)))
    return run


def _like(guard: Guard | None) -> Guard | None:
    return None if guard is None else Guard.of(guard.describe())
