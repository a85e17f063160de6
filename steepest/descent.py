"""The only loop.

for t = 1 … T:
    batch = batches(t)
    L, g  = objective.gradient(batch)
    w     ← rule(w, clip(g); rate(t))
    yield Step(t, rate, L, ‖g‖, ‖Δw‖)
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from steepest import sources
from steepest.batches import Batches
from steepest.errors import InputError
from steepest.foreign import Foreign
from steepest.formula.rule import Rule, averaged
from steepest.objective import Buffers, Objective
from steepest.record import Event, Step
from steepest.schedule import as_schedule
from steepest.seeds import StepRandomness
from steepest.settings import Settings, resolve
from steepest.space import NORMS_AND_BIASES, Space
from steepest.task import Task
from steepest.update import Update

EVALUATION_BATCH = 1024


class Descent:
    """A task being trained: iterate over it for its Steps.

    Attributes:
        task, settings, model, space: what is trained, and how.
        steps: of the whole run, T.
        steps_per_epoch: steps of one epoch.
        t: the last step done.
        base_rate: learning rate of the stage, before the schedule.

    Args:
        task: what is to be trained.
        settings: how.
        model: the module to train in place, at its start.

    Raises:
        SteepestError: settings, model or data that cannot be used; before the first step.
    """

    def __init__(self, task: Task, settings: Settings, model: nn.Module) -> None:
        self.task, self.settings = task, settings
        self.device = torch.device(_device(settings.device))
        self.model = model.to(self.device)
        s = settings
        self.batches = Batches(
            task.data, s.batch_size, s.seed, accumulate=s.accumulate, augment=task.augment, device=self.device
        )
        self.steps_per_epoch, self.steps = _horizon(self.batches.steps_per_epoch, s)
        self.space = Space(model, s.groups, s.no_decay)
        self.objective = Objective(model, task.loss, task.objective, task.count, s.precision, self.device.type)
        assert s.schedule is not None
        self.schedule = s.schedule.bind(self.steps, self.steps_per_epoch)
        self._stages = s.stages.bounds(self.steps, self.steps_per_epoch)
        self._random = StepRandomness(s.seed, self.device)
        self._buffers = Buffers(model)
        self._measured: tuple[int, dict[str, float]] = (-1, {})
        self.t, self._end = 0, 0
        for rule, lr, _ in self._stages[1:]:
            self._begun(rule, lr)  # so that a later stage that cannot be is known now
        self._enter_stage()

    def __iter__(self) -> Iterator[Step]:
        self.model.train()
        while self.t < self.steps:
            yield self.step()

    def step(self) -> Step:
        """The next step."""
        t = self.t + 1
        if t > self._end:
            self._enter_stage()
        self._random.begin(t)
        try:
            step = self._step(t)
        finally:
            self._random.end()
        self.t = t
        if self.schedule.watches and t % self.steps_per_epoch == 0:
            self.schedule.observe(t, self._watched(step))
        return step

    def _step(self, t: int) -> Step:
        buffers = self._buffers
        if buffers:
            buffers.save()
        loss = self.objective.gradient(self.batches(t), self.space.tensors())
        norm = self.update.norm()
        hypers = self._hypers_at(t)
        if math.isfinite(norm):
            moved, event = self.update.advance(hypers, self._scale(norm)), None
            if buffers:
                buffers.notice()
        else:
            buffers.restore()
            moved, event = 0.0, Event(t, "skip", _seen(loss, norm), "the step was not taken")
        return Step(t, t / self.steps_per_epoch, hypers["lr"], loss, norm, moved, event)

    def _scale(self, norm: float) -> float:
        """Factor of the gradient: min(1, clip / ‖g‖), as `clip_grad_norm_` has it."""
        clip = self.settings.clip
        return 1.0 if clip is None or norm <= clip else clip / (norm + 1e-6)

    def _hypers_at(self, t: int) -> dict[str, Any]:
        hypers = self._hypers
        for name, bound in self._scheduled:
            hypers[name] = bound(t)
        hypers["lr"] = self.base_rate * self.schedule(t)
        return hypers

    def _enter_stage(self) -> None:
        """The rule of step t + 1, with a fresh memory."""
        rule, lr, self._end = next(stage for stage in self._stages if stage[2] > self.t)
        if lr is None and self.t == 0:
            lr = self.settings.lr
        self.update, self.base_rate, self._hypers = self._begun(rule, lr)
        self._scheduled = [
            (name, as_schedule(value).bind(self.steps, self.steps_per_epoch))
            for name, value in self._hypers.items()
            if _is_schedule(value)
        ]

    def _begun(self, rule: Any, lr: float | None) -> tuple[Update | Foreign, float, dict[str, Any]]:
        """A rule at its beginning, its base rate, and its hyperparameters."""
        s = self.settings
        if isinstance(rule, Rule):
            rule = rule if s.average is None else averaged(rule, s.average)
            return Update(self.space, rule), _rate(lr, rule.hypers["lr"], rule.name), dict(rule.hypers)
        foreign = Foreign(self.space, rule)
        for name, given in (("average", s.average), ("groups", s.groups)):
            if given is not None:
                kind = type(foreign.optimizer).__name__
                raise InputError(f"{name}={given!r} goes with rules of Steepest, and {kind} is torch's; leave it out")
        return foreign, _rate(lr, foreign.lr, "of torch"), {}

    # -- measuring -----------------------------------------------------------------------------------------------------

    def measure(self, split: str = "validation") -> dict[str, float]:
        """Mean loss and metrics on a split, at the point that the rule reports; empty where there is no such split."""
        held = getattr(self.task, split)
        if held is None and (split != "validation" or self.task.data is not None):
            return {}
        if split == "validation" and self._measured[0] == self.t:
            return self._measured[1]
        with self.reported():
            found = self.objective.evaluate(sources.whole(held, EVALUATION_BATCH, self.device), self.task.metrics)
        if split == "validation":
            self._measured = (self.t, found)
        return found

    @contextmanager
    def reported(self) -> Iterator[None]:
        """The model at the point that the rule reports (a running average), for as long as the block lasts."""
        weights = self.update.reported(self._hypers_at(max(1, self.t)))
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
        weights = self.update.reported(self._hypers_at(max(1, self.t)))
        if weights is not None:
            _copy(weights, self.space.tensors())
        self.task.leave(self.model)

    def _watched(self, step: Step) -> float:
        """What a plateau looks at: the validation loss, or the step's where there is no validation data."""
        return self.measure().get("loss", step.loss)


def descend(
    task: Task,
    rule: Any = None,
    lr: float | None = None,
    schedule: Any = None,
    batch_size: int | str | None = None,
    epochs: int | None = None,
    steps: int | None = None,
    *,
    clip: float | None = None,
    accumulate: int = 1,
    average: float | None = None,
    precision: str | None = None,
    groups: Mapping[str, Mapping[str, float]] | None = None,
    no_decay: str | Sequence[str] | None = NORMS_AND_BIASES,
    seed: int = 0,
    device: str = "auto",
) -> Iterator[Step]:
    """Trains the task's model in place, one Step after another; your `for` body is the callback.

    The arguments are those of `fit`. Settings are checked when it is called, before the first step.

    Yields:
        a frozen Step of plain floats for t = 1 … T.

    Raises:
        SteepestError: settings, model or data that cannot be used.

    >>> import torch, steepest as sd
    >>> from steepest.terrain import TERRAINS
    >>> bowl = sd.Task(model=TERRAINS["bowl"].model(), objective=lambda model, batch: model())
    >>> *_, last = sd.descend(bowl, rule=sd.gradient_descent, lr=0.1, schedule="constant", steps=100)
    >>> last.loss < 1e-6
    True
    """
    settings = resolve(
        task, rule=rule, lr=lr, schedule=schedule, batch_size=batch_size, epochs=epochs, steps=steps, clip=clip,
        accumulate=accumulate, average=average, precision=precision, groups=groups, no_decay=no_decay, seed=seed,
        device=device,
    )  # fmt: skip
    return _run(Descent(task, settings, task.build(seed)))


def _run(descent: Descent) -> Iterator[Step]:
    training = descent.model.training
    try:
        yield from descent
    finally:
        descent.finish()
        descent.model.train(training)


def _device(name: str) -> str:
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).partition("\n")[0]
        raise InputError(
            f"device={name!r} cannot be used here ({reason}); expected is 'auto', 'cpu' or 'cuda'"
        ) from None
    return name


def _horizon(steps_per_epoch: int | None, settings: Settings) -> tuple[int, int]:
    """(steps of an epoch, steps of the run)."""
    if settings.steps is not None:
        return steps_per_epoch or settings.steps, settings.steps
    assert settings.epochs is not None
    if steps_per_epoch is None:
        raise InputError(
            f"epochs={settings.epochs} is given and the data does not say how many batches it has (it has no length); "
            "give steps instead"
        )
    return steps_per_epoch, steps_per_epoch * settings.epochs


def _rate(given: float | None, default: Any, rule: str) -> float:
    rate = default if given is None else given
    if rate is None:
        raise InputError(f"rule {rule} has no default rate; give lr")
    if _is_schedule(rate):
        raise InputError(f"rule {rule}: lr is a schedule; give its base rate as a number, and schedule= beside it")
    return float(rate)


def _is_schedule(value: Any) -> bool:
    return hasattr(value, "bind")


def _seen(loss: float, norm: float) -> str:
    return f"the gradient is not finite (norm {norm}, loss {loss:.4g})"


@torch.no_grad()
def _copy(source: Sequence[Tensor], target: Sequence[Tensor]) -> None:
    for a, b in zip(source, target, strict=True):
        b.copy_(a)
