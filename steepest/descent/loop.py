"""The only loop.

for t = 1 … T:
    batch = batches(t)
    L, g  = objective.gradient(batch)
    call  = guard.judge(L, ‖g‖)               # go | clip | skip | lower | rewind | stop
    w     ← rule(w, clip(g); lr(t))
    yield Step(t, lr, L, ‖g‖, ‖Δw‖)
"""

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from steepest.descent import handoff
from steepest.descent.guard.guard import GO_CALL
from steepest.descent.guard.recovery import Recovery
from steepest.descent.guard.running_stats import GradientLimits
from steepest.descent.norm_statistics import NormStatistics
from steepest.descent.optimizer import is_schedule, make_optimizer
from steepest.descent.parameters import FrozenParameters, ParameterWatch, follow
from steepest.descent.settings import Settings, device, horizon, make_batches, measure_interval
from steepest.descent.state import copy_tensors, restore_tensors
from steepest.distributed.objective import norms_of, share
from steepest.distributed.processes import ALONE, Processes
from steepest.records.run import REWIND, SKIP, STAGE, STOP, Call, Event, Message, SnapshotInterval, Step
from steepest.rules.torch_optimizer import ClosureStep, TorchOptimizer
from steepest.schedule import Schedule, as_schedule
from steepest.seeds import StepRandomness, mix
from steepest.tasks import Buffers, Objective, Space, Task, data, module_state
from steepest.tasks.batch_norm import check_batch_norm
from steepest.tasks.module_state import ModuleState
from steepest.tasks.space import local

EVALUATION_BATCH = 1024


class Descent:
    """A task being trained: iterate over it for its Steps.

    Attributes:
        task, settings, model, space: what is trained, and how.
        steps: of the whole run, T.
        steps_per_epoch: steps of one epoch.
        measure_every: steps from one measurement of the validation split to the next.
        t: the last completed step.
        stage: the present stage.
        base_lr: learning rate of the stage, before the schedule.
        recovery: the guard and its snapshots; None without a guard.
        events: number of events so far.
        watch: of the model's parameters.
        processes: that share the descent.
        joint: the objective of several processes; None on one.
        trained_names: of all parameters that were trained or have changed so far; some of them may be frozen.
        statistics: batch norm's at the point that the rule reports.
        is_stopped: whether guard or caller has ended the run; after the guard, the model is at the best snapshot.

    Args:
        task: what to train.
        settings: how.
        model: the module to train in place, at its start.
        processes: that share the descent.

    Raises:
        SteepestError: settings, model or data are invalid.
    """

    def __init__(self, task: Task, settings: Settings, model: nn.Module, processes: Processes = ALONE) -> None:
        self.task, self.settings = task, settings
        self.device = torch.device(device(settings.device))
        self.model, s = model.to(self.device), settings
        processes.copy_from_first([p for p in (*model.parameters(), *model.buffers()) if local(p) is p])
        self.batches = make_batches(task, settings, s.seed, self.device)
        self.steps_per_epoch, self.steps = horizon(self.batches.steps_per_epoch, s)
        self.measure_every = measure_interval(self.steps, self.batches.steps_per_epoch, s)
        self.space = Space(model, s.groups, s.no_decay)
        self.objective = Objective(model, task, s.precision, self.device.type)
        self.processes, self.joint = processes, share(processes, task, self.objective, self.batches, s.precision)
        self._norm, self._whole = norms_of(self.joint)
        check_batch_norm(self.objective, self.batches, self.steps)
        assert s.schedule is not None
        self._bind_schedule(s.schedule, s.lr)
        first, *later = s.stages.bounds(self.steps, self.steps_per_epoch)
        self._stages = [first._replace(lr=s.lr), *later]
        self.random = StepRandomness(mix(s.seed, "rank", processes.rank) if processes.rank else s.seed, self.device)
        self.buffers = Buffers(model)
        self.watch = ParameterWatch(model)
        self._frozen_parameters = FrozenParameters(model)
        self.trained_names = dict.fromkeys(self.space.names)
        self._validation: tuple[int, dict[str, float]] = (-1, {})
        self.t, self.events, self.is_stopped = 0, 0, False
        self._next_event: Event | None = None
        self._has_begun = self._is_at_reported = False
        self.statistics = NormStatistics(task, settings, model, self.device)
        self.recovery = None if s.guard is None else Recovery(s.guard)
        for stage in later:
            make_optimizer(self.space, stage.rule, stage.lr, s, self.steps)  # an invalid later stage is an error now
        self._enter_stage()

    def __iter__(self) -> Iterator[Step]:
        self.model.train()
        while self.t < self.steps and not self.is_stopped:
            yield self.step()

    def step(self) -> Step:
        """The next step. After a rewind it repeats an earlier one."""
        t = self.t + 1
        updates = self.before_step(t) if t > self.stage.last or not self._has_begun else ()
        with self.random.of_step(t):
            step, call = self.judge_and_move(t, *self.measure_step(t))
        return self.conclude(step, call).with_updates(updates)

    def conclude(self, step: Step, call: Call) -> Step:
        """Counts a step, or rewinds it; returns it with what becomes known."""
        if call.kind not in (REWIND, STOP):
            self.t = step.t
            call = self.recovery.compare(self, call) if self.joint and self.recovery else call
        has_gone_back = call.kind in (REWIND, STOP)
        return self.rewind(step, call) if has_gone_back else step.with_updates(self.after_step(step))

    def is_undisturbed(self, t: int) -> bool:
        """Whether step t begins no stage, follows no event and repeats no step that is skipped."""
        if t > self.stage.last or not self._has_begun or self._next_event is not None:
            return False
        return self.recovery is None or not (self.recovery.skipped_steps or self.recovery.follows_events)

    def before_step(self, t: int) -> tuple[Message | SnapshotInterval, ...]:
        """Enters the stage of step t, and takes the guard's first snapshot."""
        recovery, self._has_begun = self.recovery, True
        if t > self.stage.last:
            self._hand_over(t)
        return () if recovery is None or recovery.snapshots.good else recovery.begin(self)

    def after_step(self, step: Step) -> tuple[SnapshotInterval, ...]:
        """Shows plateaus the loss that is measured, and takes a snapshot that is due; not after a rewound step."""
        if step.t % self.measure_every == 0:
            for bound in self.bound_schedules():
                if bound.watches:  # the validation loss; without validation data the step's
                    bound.observe(step.t, self.measure().get("loss", step.loss))
        recovery = self.recovery
        return () if recovery is None or step.t % recovery.every else recovery.after(self)

    def rewind(self, step: Step, call: Call) -> Step:
        """Restores a snapshot as the guard has called for at this step; returns the step with the event."""
        assert self.recovery is not None
        self.is_stopped = call.kind == STOP
        return step._replace(event=self.register(self.recovery.rewind(self, call, step.t)))

    def measure_step(self, t: int) -> tuple[list[Any], float, float, float]:
        """The micro-batches of step t, its loss and ‖∇L(w)‖, and its learning rate by the schedule."""
        if self.buffers:
            self.buffers.save()
        batches = self.batches(t)
        if self.statistics.keeps_batches:
            self.statistics.see(batches)
        loss = (self.joint or self.objective).gradient(batches, self.space.tensors())
        return batches, loss, self._norm(self.update), self.base_lr * self.schedule(t)

    def judge_and_move(self, t: int, batches: list[Any], loss: float, norm: float, lr: float) -> tuple[Step, Call]:
        """Step t after its gradient: what the guard says, and the update."""
        call = self.judge(t, loss, norm, lr=lr, batches=batches)
        hypers = self.hypers_at(t, lr)
        if call.kind in (SKIP, REWIND, STOP):
            self.buffers.restore()
            update_norm = 0.0
        else:
            update_norm = self.move(t, batches, norm, hypers, call.limit)
        return self.make_step(t, call, hypers["lr"], loss, norm, update_norm), call

    def move(self, t: int, batches: list[Any], norm: float, hypers: dict[str, Any], limit: float = math.inf) -> float:
        """Moves the point along the gradient, which is clipped to the limit and the settings'; returns ‖Δw‖."""
        clip = min(limit, self.settings.clip or math.inf)
        scale = 1.0 if norm <= clip else clip / (norm + 1e-6)  # as in `clip_grad_norm_`
        update_norm = self._whole(self.advance(t, hypers, scale, batches))
        if self.buffers:
            self.buffers.detect_changes()
        return update_norm

    def judge(
        self, t: int, loss: float, norm: float, bounds: GradientLimits | None = None, ahead: int = 0,
        lr: float | None = None, batches: Sequence[Any] = (),
    ) -> Call:  # fmt: skip
        """What to do with a step; `bounds` and `ahead` are those of `Guard.judge`.

        Without a guard only a step with a non-finite gradient is skipped.
        """
        if self.recovery is None:
            if math.isfinite(norm):
                return GO_CALL
            return Call(SKIP, seen=f"non-finite gradient (norm {norm:.3g}, loss {loss:.3g})", done="step skipped")
        if t in self.recovery.skipped_steps:
            return Call(SKIP, seen="bad batch", done="step skipped")
        lr = self.base_lr * self.schedule(t) if lr is None else lr
        return self.recovery.review(self, self.recovery.guard.judge(loss, norm, lr, bounds, ahead), t, batches, norm)

    def make_step(self, t: int, call: Call, lr: float, loss: float, norm: float, update_norm: float) -> Step:
        """The step as a record, with its event and the outcomes of earlier events."""
        outcomes = () if self.recovery is None else self.recovery.outcomes(t)
        event = Event(t, call.kind, call.seen, call.done) if call.seen else None
        if self._next_event is not None:
            event, self._next_event = handoff.merge_events(self._next_event, event), None
        if event is not None and call.kind not in (REWIND, STOP):
            self.register(event)
        return Step(t, t / self.steps_per_epoch, lr, loss, norm, update_norm, event, outcomes)

    def register(self, event: Event) -> Event:
        """Counts an event; from now on the guard follows the loss after it."""
        self.events += 1
        if self.recovery is not None:
            self.recovery.follow(self.events)
        return event

    def advance(self, t: int, hypers: dict[str, Any], scale: Any, batches: Sequence[Any] = ()) -> Any:
        """Moves the point as `Update.advance` does; measures the last steps before a stage with a derived lr."""
        since, update = self.stage.last - handoff.STATISTICS_STEPS, self.update
        if isinstance(update, TorchOptimizer) and update.needs_closure:
            update = ClosureStep(update, lambda: (self.joint or self.objective).gradient(batches, self.space.tensors()))
        if self._statistics is None or t <= since:
            return update.advance(hypers, scale)
        if t == since + 1:  # before the run was stretched, other steps were the last ones
            self._statistics = handoff.StepStatistics(self.space)
        return self._statistics.advance(update, hypers, scale, hypers["lr"] / self.base_lr)

    def bound_schedules(self) -> list[Any]:
        """The schedules of the learning rate and of hyperparameters, bound to the run."""
        return [self.schedule, *(bound for _, bound in self._hyper_schedules)]

    def hypers_at(self, t: int, lr: float | None = None) -> dict[str, Any]:
        """The hyperparameters of step t, `lr` by the schedule; their learning rate includes the guard's factor."""
        hypers = self._hypers
        for name, bound in self._hyper_schedules:
            hypers[name] = bound(t)
        lr = self.base_lr * self.schedule(t) if lr is None else lr
        hypers["lr"] = lr if self.recovery is None else lr * self.recovery.guard.rate_for(lr)
        return hypers

    def _enter_stage(self) -> None:
        """Makes the optimizer of step t + 1, with fresh state."""
        at = next(k for k, stage in enumerate(self._stages) if stage.last > self.t)
        self.stage = self._stages[at]
        self.update, self.base_lr, self._hypers = make_optimizer(
            self.space, self.stage.rule, self.stage.lr, self.settings, self.steps
        )
        self._hyper_schedules = [
            (name, as_schedule(value).bind(self.steps, self.steps_per_epoch))
            for name, value in self._hypers.items()
            if is_schedule(value)
        ]
        is_derived = any(handoff.is_lr_derived(after.rule, after.lr) for after in self._stages[at + 1 : at + 2])
        self._statistics = handoff.StepStatistics(self.space) if is_derived else None

    def _hand_over(self, t: int) -> None:
        """Enters the next stage at step t, with its learning rate, given or derived."""
        statistics, old_rule = self._statistics, self.update.name
        self._enter_stage()
        steps = range(t, self.stage.last + 1)
        self.base_lr, why = handoff.choose_lr(self, statistics, self.hypers_at(t), steps)
        words = f"switched to {self.update.name}, lr {self.base_lr:.4g}, {why}"
        self.announce(Event(t, STAGE, f"{old_rule}'s stage ended", words))
        if self.recovery is not None:
            self.recovery.guard.reset_statistics()

    @property
    def base_lr(self) -> float:
        """Learning rate of the stage, before the schedule."""
        return self._base_lr

    @base_lr.setter
    def base_lr(self, lr: float) -> None:
        self._base_lr = lr
        schedule = self.settings.schedule
        if schedule is not None and schedule.needs_base:
            memory = self.schedule.state_dict()
            self._bind_schedule(schedule, lr)
            self.schedule.load_state_dict(memory)

    def _bind_schedule(self, schedule: Schedule, lr: float | None) -> None:
        base = (lr or math.inf) if schedule.needs_base else None  # where lr is None, the optimizer's own follows
        self.schedule = schedule.bind(self.steps, self.steps_per_epoch, base)

    def follow_model(self) -> bool:
        """Whether the user's code has changed which parameters are trained; the space then follows the model.

        It is said in the event of the next step. Called where such code may have run.

        Raises:
            TaskError: nothing is left to train.
        """
        return follow(self)

    def announce(self, event: Event) -> None:
        """Lets the next step bear an event, with those that it has already."""
        self._next_event = event if self._next_event is None else handoff.merge_events(self._next_event, event)

    def restart_measurements(self) -> None:
        """Forgets what was measured at the weights of before: the validation split, and steps for the next stage."""
        self._validation = (-1, {})
        if self._statistics is not None:
            self._statistics = handoff.StepStatistics(self.space)

    # -- state ---------------------------------------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """Everything that later steps depend on, nested; the tensors are the descent's own (`state.copy_state`)."""
        return {
            "t": self.t, "base_rate": self.base_lr, "taken": self.batches.position,
            "weights": self._weights(), "update": self.update.state(),
            "buffers": module_state.buffers_of(self.model), "extra": module_state.storable_extra(self.model),
            "stride": self._statistics and self._statistics.state(),
            "schedules": [bound.state_dict() for bound in self.bound_schedules()],
            "guard": self.recovery and self.recovery.guard.state_dict(),
        }  # fmt: skip

    def load(self, state: Mapping[str, Any]) -> None:
        """Restores what `state` gave; an iterable continues from where it is."""
        self.t = max(0, state["t"] - 1)
        if not self.stage.first <= self.t + 1 <= self.stage.last:
            self._enter_stage()
        self.t, self.base_lr, self._validation = state["t"], state["base_rate"], (-1, {})
        if self._statistics is not None:
            self._statistics.load(state["stride"])
        then = state["weights"]  # without frozen weights that have changed only since
        restore_tensors(then, {name: p for name, p in self._weights(then).items() if name in then})
        self.trained_names.update(dict.fromkeys(then))
        buffers = {module_state.plain_name(name): b for name, b in state["buffers"].items()}  # of Steepest 0.1 too
        restore_tensors(buffers, module_state.buffers_of(self.model))
        module_state.write_extra(self.model, state.get("extra", {}))
        self.update.load(state["update"])
        for bound, own in zip(self.bound_schedules(), state["schedules"], strict=True):
            bound.load_state_dict(own)

    def end_state(self) -> ModuleState:
        """The trained weights, buffers and extra state that a file can hold; the tensors are the model's own."""
        model = self.model
        extra, transient = module_state.storable_extra(model), module_state.transient_buffers(model)
        return ModuleState(self._weights(), module_state.buffers_of(model), extra, transient=transient)

    def _weights(self, others: Collection[str] = ()) -> dict[str, Tensor]:
        """The weights that are trained, the frozen ones that were or have changed all the same, and others by name."""
        self.trained_names.update(dict.fromkeys(self._frozen_parameters.changes(self.model)))
        weights = {name: p.detach() for name, p in self.space.named()}
        if len(self.trained_names) == len(weights) and all(name in weights for name in others):
            return weights
        names = {*self.trained_names, *others} - weights.keys()
        return {**weights, **{name: p for name, p in module_state.parameters_of(self.model).items() if name in names}}

    # -- measuring -----------------------------------------------------------------------------------------------------

    def measure(self, split: str = "validation") -> dict[str, float]:
        """Mean loss and metrics on a split, at the point that the rule reports; empty where there is no such split."""
        split_data = getattr(self.task, split)
        if split_data is None and (split != "validation" or self.task.data is not None):
            return {}
        if split == "validation" and self._validation[0] == self.t:
            return self._validation[1]
        batches = data.in_batches(split_data, EVALUATION_BATCH, self.device)
        with self.at_reported_point():
            values = (self.joint or self.objective).evaluate(batches, self.task.metrics)
        if split == "validation":
            self._validation = (self.t, values)
        return values

    @contextmanager
    def at_reported_point(self) -> Iterator[None]:
        """The model is at the point that the rule reports (a running average) inside the block; it can be nested."""
        weights = None if self._is_at_reported else self._reported_weights()
        if weights is None:
            yield
            return
        buffers = Buffers(self.model)
        buffers.save(all=True)
        own = [p.detach().clone() for p in self.space.tensors()]
        self._move_to(weights)
        self._is_at_reported = True
        try:
            yield
        finally:
            self._is_at_reported = False
            copy_tensors(own, self.space.tensors())
            buffers.restore()

    def finish(self) -> None:
        """Leaves the model at the point that the rule reports."""
        weights = self._reported_weights()
        if weights is not None:
            self._move_to(weights)
        self.task.remember_weights(self.model)

    def _reported_weights(self) -> list[Tensor] | None:
        return self.update.reported_weights(self.hypers_at(max(1, self.t)))

    def _move_to(self, weights: Sequence[Tensor]) -> None:
        """Moves the model to the reported weights, with the batch-norm statistics that hold there."""
        copy_tensors(weights, self.space.tensors())
        self.statistics.update(self)
        self.processes.copy_from_first(list(self.model.buffers()))
