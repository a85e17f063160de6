"""The only loop.

for t = 1 … T:
    batch = batches(t)
    L, g  = objective.gradient(batch)
    call  = guard.judge(L, ‖g‖)               # go | clip | skip | lower | rewind | stop
    w     ← rule(w, clip(g); rate(t))
    yield Step(t, rate, L, ‖g‖, ‖Δw‖)
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from steepest.descent import handoff
from steepest.descent.guard.recovery import Recovery
from steepest.descent.guard.running_stats import GradientLimits
from steepest.descent.optimizer import is_schedule, make_optimizer
from steepest.descent.settings import Settings, device, horizon
from steepest.descent.state import restore_tensors
from steepest.records.run import GO, REWIND, SKIP, STOP, Call, Event, Step
from steepest.schedule import as_schedule
from steepest.seeds import StepRandomness
from steepest.tasks import data
from steepest.tasks.batches import Batches
from steepest.tasks.buffers import Buffers
from steepest.tasks.objective import Objective
from steepest.tasks.space import Space
from steepest.tasks.task import Task

EVALUATION_BATCH = 1024


class Descent:
    """A task being trained: iterate over it for its Steps.

    Attributes:
        task, settings, model, space: what is trained, and how.
        steps: of the whole run, T.
        steps_per_epoch: steps of one epoch.
        t: the last step done.
        end: the last step of its stage.
        rule: of the stage.
        base_rate: learning rate of the stage, before the schedule.
        recovery: the guard and its snapshots; None where nobody watches.
        stopped: whether the guard has given up; the model is then at the best snapshot there is.

    Args:
        task: what is to be trained.
        settings: how.
        model: the module to train in place, at its start.

    Raises:
        SteepestError: settings, model or data that cannot be used; before the first step.
    """

    def __init__(self, task: Task, settings: Settings, model: nn.Module) -> None:
        self.task, self.settings = task, settings
        self.device = torch.device(device(settings.device))
        self.model = model.to(self.device)
        s = settings
        self.batches = Batches(
            task.data, s.batch_size, s.seed, accumulate=s.accumulate, augment=task.augment, device=self.device
        )
        self.steps_per_epoch, self.steps = horizon(self.batches.steps_per_epoch, s)
        self.space = Space(model, s.groups, s.no_decay)
        self.objective = Objective(model, task.loss, task.objective, task.count, s.precision, self.device.type)
        assert s.schedule is not None
        self.schedule = s.schedule.bind(self.steps, self.steps_per_epoch)
        self._stages = s.stages.bounds(self.steps, self.steps_per_epoch)
        self.random = StepRandomness(s.seed, self.device)
        self.buffers = Buffers(model)
        self._measured: tuple[int, dict[str, float]] = (-1, {})
        self.t, self.end, self.stopped = 0, 0, False
        self._handed: Event | None = None
        self.recovery = None if s.guard is None else Recovery(s.guard)
        self.can_look = not self.batches.is_iterable
        for rule, lr, _ in self._stages[1:]:
            make_optimizer(self.space, rule, lr, s)  # so that a later stage that cannot be is known now
        self._enter_stage()

    def __iter__(self) -> Iterator[Step]:
        self.model.train()
        while self.t < self.steps and not self.stopped:
            yield self.step()

    def step(self) -> Step:
        """The next step. After a rewind it is one that was done before."""
        t = self.t + 1
        self.prepare(t)
        self.random.begin(t)
        try:
            step, call = self._step(t)
        finally:
            self.random.end()
        if call.kind in (REWIND, STOP):
            return self.gone_back(step, call)
        self.t = t
        self.settle(step)
        return step

    def prepare(self, t: int) -> None:
        """What comes before step t: its stage, and the guard's first snapshot."""
        recovery = self.recovery
        if t > self.end:
            self._hand_over(t)
        if recovery is not None and not recovery.snapshots.good:
            recovery.begin(self)

    def settle(self, step: Step) -> None:
        """What comes after a step that stands: plateaus see an epoch's loss, and a snapshot may be due."""
        if step.t % self.steps_per_epoch == 0:
            self._observe(step)
        if self.recovery is not None:
            self.recovery.after(self)

    def gone_back(self, step: Step, call: Call) -> Step:
        """Goes back as the guard has called for at this step; the step as it is told."""
        recovery = self.recovery
        assert recovery is not None
        self.stopped = call.kind == STOP
        return step._replace(event=recovery.noted(recovery.rewind(self, call, step.t)))

    def _step(self, t: int) -> tuple[Step, Call]:
        buffers = self.buffers
        if buffers:
            buffers.save()
        loss = self.objective.gradient(self.batches(t), self.space.tensors())
        norm = self.update.norm()
        call = self.judge(t, loss, norm)
        hypers = self.hypers_at(t)
        if call.kind in (SKIP, REWIND, STOP):
            buffers.restore()
            moved = 0.0
        else:
            moved = self.advance(t, hypers, self._scale(norm, call.limit))
            if buffers:
                buffers.notice()
        return self.told(t, hypers["lr"], loss, norm, moved, call), call

    def judge(self, t: int, loss: float, norm: float, bounds: GradientLimits | None = None, ahead: int = 0) -> Call:
        """What is to be done with a step; the last two as `Guard.judge` has them."""
        if self.recovery is None:
            return _finite(loss, norm)
        return self.recovery.judge(t, loss, norm, self.base_rate * self.schedule(t), bounds, ahead)

    def told(self, t: int, lr: float, loss: float, norm: float, moved: float, call: Call) -> Step:
        """The step as a record, with its event."""
        event = Event(t, call.kind, call.seen, call.done) if call.seen else None
        if self._handed is not None:
            event, self._handed = handoff.merge_events(self._handed, event), None
        if event is not None and self.recovery is not None and call.kind not in (REWIND, STOP):
            self.recovery.noted(event)
        return Step(t, t / self.steps_per_epoch, lr, loss, norm, moved, event)

    def advance(self, t: int, hypers: dict[str, Any], scale: Any) -> Any:
        """Moves the point as `Update.advance` does; before a stage whose rate follows, the last steps are looked at."""
        since = self.end - handoff.WINDOW
        if self._stride is None or t <= since:
            return self.update.advance(hypers, scale)
        if t == since + 1:  # a run that was stretched has looked at others
            self._stride = handoff.StepStatistics(self.space)
        return self._stride.advance(self.update, hypers, scale, hypers["lr"] / self.base_rate)

    def _scale(self, norm: float, limit: float) -> float:
        """Factor of the gradient: min(1, clip / ‖g‖), as `clip_grad_norm_` has it."""
        clip = self.settings.clip
        clip = limit if clip is None else min(clip, limit)
        return 1.0 if norm <= clip else clip / (norm + 1e-6)

    def _observe(self, step: Step) -> None:
        """Shows the plateaus, of the rate or of another hyperparameter, the epoch's loss."""
        for bound in (self.schedule, *(bound for _, bound in self._scheduled)):
            if bound.watches:
                bound.observe(step.t, self._watched(step))

    def hypers_at(self, t: int) -> dict[str, Any]:
        """The hyperparameters of step t, the guard's factor of the rate included."""
        hypers = self._hypers
        for name, bound in self._scheduled:
            hypers[name] = bound(t)
        rate = self.base_rate * self.schedule(t)
        hypers["lr"] = rate if self.recovery is None else rate * self.recovery.guard.rate_for(rate)
        return hypers

    def _enter_stage(self) -> float | None:
        """The rule of step t + 1, with a fresh memory; returns the rate that its stage was given."""
        ends = [0, *(end for _, _, end in self._stages)]
        at = next(k for k, end in enumerate(ends[1:]) if end > self.t)
        (self.rule, lr, self.end), self._begin = self._stages[at], ends[at]
        if lr is None and at == 0:
            lr = self.settings.lr
        self.update, self.base_rate, self._hypers = make_optimizer(self.space, self.rule, lr, self.settings)
        self._scheduled = [
            (name, as_schedule(value).bind(self.steps, self.steps_per_epoch))
            for name, value in self._hypers.items()
            if is_schedule(value)
        ]
        self._stride = handoff.stride_before(self.space, self._stages[at + 1 : at + 2])
        return lr

    def _hand_over(self, t: int) -> None:
        """The next stage's rule goes on from step t, at the rate that it is given or that follows."""
        stride, ended = self._stride, self.update.name
        given = self._enter_stage()
        if stride is None:
            why = handoff.why_given(self.rule, given)
        else:
            self.base_rate, why = handoff.derive_lr(stride, self, self.hypers_at(t), range(t, self.end + 1))
        self._handed = handoff.event(t, ended, self.update.name, self.base_rate, why)
        if self.recovery is not None:
            self.recovery.guard.reset_statistics()

    # -- going back ----------------------------------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """Everything that the steps to come depend on, nested; the tensors are its own (`state.copied`)."""
        return {
            "t": self.t,
            "weights": {name: p.detach() for name, p in self.space.named()},
            "buffers": dict(self.model.named_buffers()),
            "update": self.update.state(),
            "base_rate": self.base_rate,
            "stride": None if self._stride is None else self._stride.state(),
            "schedules": [bound.state_dict() for bound in (self.schedule, *(b for _, b in self._scheduled))],
            "guard": None if self.recovery is None else self.recovery.guard.state_dict(),
            "taken": self.batches.taken,
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Restores what `state` gave; the batches of an iterable go on from where they are."""
        self.t = max(0, state["t"] - 1)
        if not self._begin < self.t + 1 <= self.end:
            self._enter_stage()
        self.t, self._measured = state["t"], (-1, {})
        self.base_rate = state["base_rate"]
        if self._stride is not None:
            self._stride.load(state["stride"])
        restore_tensors(state["weights"], dict(self.space.named()))
        restore_tensors(state["buffers"], dict(self.model.named_buffers()))
        self.update.load(state["update"])
        bounds = (self.schedule, *(b for _, b in self._scheduled))
        for bound, own in zip(bounds, state["schedules"], strict=True):
            bound.load_state_dict(own)

    def everything(self) -> dict[str, Tensor]:
        """Weights and buffers, by name."""
        return dict((*self.space.named(), *self.model.named_buffers()))

    def look(self, t: int) -> float:
        """The loss of step t's batch at the point as it is; everything is as before afterwards."""
        buffers = Buffers(self.model)
        buffers.save()
        self.random.begin(t)
        try:
            return self.objective.value(self.batches(t))
        finally:
            self.random.end()
            buffers.restore()

    def is_finite(self) -> bool:
        """Whether all weights are."""
        return all(bool(torch.isfinite(p).all()) for p in self.space.tensors())

    # -- measuring -----------------------------------------------------------------------------------------------------

    def measure(self, split: str = "validation") -> dict[str, float]:
        """Mean loss and metrics on a split, at the point that the rule reports; empty where there is no such split."""
        held = getattr(self.task, split)
        if held is None and (split != "validation" or self.task.data is not None):
            return {}
        if split == "validation" and self._measured[0] == self.t:
            return self._measured[1]
        with self.reported():
            found = self.objective.evaluate(data.in_batches(held, EVALUATION_BATCH, self.device), self.task.metrics)
        if split == "validation":
            self._measured = (self.t, found)
        return found

    @contextmanager
    def reported(self) -> Iterator[None]:
        """The model at the point that the rule reports (a running average), for as long as the block lasts."""
        weights = self.update.reported(self.hypers_at(max(1, self.t)))
        if weights is None:
            yield
            return
        own = [p.detach().clone() for p in self.space.tensors()]
        _copy(weights, self.space.tensors())
        try:
            yield
        finally:
            _copy(own, self.space.tensors())

    def finish(self) -> None:
        """Leaves the model at the point that the rule reports."""
        weights = self.update.reported(self.hypers_at(max(1, self.t)))
        if weights is not None:
            _copy(weights, self.space.tensors())
        self.task.leave(self.model)

    def _watched(self, step: Step) -> float:
        """What a plateau looks at: the validation loss, or the step's where there is no validation data."""
        return self.measure().get("loss", step.loss)


def _finite(loss: float, norm: float) -> Call:
    """Without a guard: every step is taken whose gradient is finite."""
    if math.isfinite(norm):
        return Call(GO)
    return Call(SKIP, seen=f"non-finite gradient (norm {norm:.3g}, loss {loss:.3g})", done="step skipped")


@torch.no_grad()
def _copy(source: Sequence[Tensor], target: Sequence[Tensor]) -> None:
    for a, b in zip(source, target, strict=True):
        b.copy_(a)
