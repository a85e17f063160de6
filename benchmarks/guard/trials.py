"""One run of a problem by a method, with or without a fault.

A method is what people do about a loss that explodes. All of them train with our loop, from the same initial weights,
on the same batches:

- plain loop: takes every step, whatever the gradient is.
- no guard: our loop without its guard; it skips a step whose gradient is not finite.
- clip 1.0: the same, with gradients clipped at norm 1.
- Lightning: the plain loop with Lightning's `SpikeDetection` at its defaults, called after each step as its trainer
  calls it. When it raises, the run ends with the weights of that moment.
- skip-step: the rule of OLMo-core's `SkipStepOptimizer`, which skips outlier steps. Unlike the original it also undoes
  what a skipped step did to buffers.
- guard: our loop with its guard. Snapshots are taken every 50 steps, which is what a run of this size chooses, so that
  nothing depends on the clock.
- guard, async: the same with asynchronous execution; the guard sees up to 16 steps at once.
"""

import math
import tempfile
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch

import steepest as sd
from benchmarks.problems.problems import Problem
from steepest.descent import async_loop
from steepest.descent.loop import Descent
from steepest.records.run import STAGE, Step

NO_GUARD: dict[str, Any] = {"guard": False}
GUARD: dict[str, Any] = {"guard": sd.Guard(snapshot_every=50)}


class GiveUp(Exception):
    """A method ends the run early."""


class Fault:
    """What goes wrong with a run; here nothing."""

    def begin(self, descent: Descent) -> None:
        """Called before the first step."""

    def after(self, step: Step) -> None:
        """Called after each executed step."""


class GuardEvent(NamedTuple):
    """An event of the guard.

    Attributes:
        count: steps executed until then, including repeated ones.
        t: the step at which it happened.
        kind: of event.
    """

    count: int
    t: int
    kind: str


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Attributes:
        loss: validation loss at the end; infinite where it is not finite.
        count: executed steps, including repeated ones.
        t: the last step.
        gave_up: whether the method ended the run early.
        events: of the guard, including skipped steps.
        losses: by step t; of a repeated step the last one.
        first_count: by step t, the count of executed steps when it was first done.
    """

    loss: float
    count: int
    t: int
    gave_up: bool
    events: list[GuardEvent]
    losses: dict[int, float]
    first_count: dict[int, int]


def run(problem: Problem, method: str, seed: int, fault: Fault | None = None) -> Outcome:
    """Trains a problem to its end, or until the method gives up."""
    return train(problem.descent(seed, **METHODS[method].settings), method, fault)


def train(descent: Descent, method: str, fault: Fault | None = None) -> Outcome:
    """Trains a descent that has the settings of a method."""
    fault, way = fault or Fault(), METHODS[method]
    observe = way.begin(descent)
    fault.begin(descent)
    events: list[GuardEvent] = []
    losses: dict[int, float] = {}
    first_count: dict[int, int] = {}
    count, gave_up = 0, False
    try:
        for step in way.steps(descent):
            count += 1
            losses[step.t] = step.loss
            first_count.setdefault(step.t, count)
            if step.event is not None and step.event.kind != STAGE:  # that one is the rule's, not the guard's
                events.append(GuardEvent(count, step.event.t, step.event.kind))
            observe(step)
            fault.after(step)
    except GiveUp:
        gave_up = True
    loss = descent.measure()["loss"]
    loss = loss if math.isfinite(loss) else math.inf
    return Outcome(loss, count, descent.t, gave_up, events, losses, first_count)


# -- Methods -----------------------------------------------------------------------------------------------------------

Observer = Callable[[Step], None]


@dataclass(frozen=True)
class Method:
    """How a descent is run.

    Attributes:
        begin: changes the descent; returns what is called after every step.
        settings: of the descent.
        steps: its steps.
    """

    begin: Callable[[Descent], Observer]
    settings: Mapping[str, Any] = field(default_factory=lambda: NO_GUARD)
    steps: Callable[[Descent], Iterable[Step]] = iter


class Wrapper:
    """A part of a descent of which some methods are replaced."""

    def __init__(self, own: Any) -> None:
        self.own = own

    def __getattr__(self, name: str) -> Any:
        return getattr(self.own, name)


def _no_change(descent: Descent) -> Observer:
    return lambda step: None


class _AlwaysFinite(Wrapper):
    """An update whose norm is always finite, so that no step is skipped."""

    def norm(self) -> float:
        norm = self.own.norm()
        return norm if math.isfinite(norm) else 0.0


def _plain(descent: Descent) -> Observer:
    descent.update = _AlwaysFinite(descent.update)
    return lambda step: None


class _NoFabric:
    """The part of a Fabric that the detection uses: one process, on the CPU."""

    global_rank = 0
    root_device = torch.device("cpu")

    @property
    def strategy(self) -> "_NoFabric":
        return self

    def barrier(self) -> None:
        return

    def reduce_boolean_decision(self, decision: bool, all: bool) -> bool:
        return decision


def _lightning(descent: Descent) -> Observer:
    from lightning.fabric.utilities.spike import SpikeDetection, TrainingSpikeException

    observe, fabric = _plain(descent), _NoFabric()
    folder = tempfile.TemporaryDirectory()
    detection = SpikeDetection(exclude_batches_path=folder.name)

    def after(step: Step) -> None:
        observe(step)
        try:
            detection.on_train_batch_end(fabric, torch.tensor(step.loss), None, step.t - 1)  # type: ignore
        except TrainingSpikeException as spike:
            folder.cleanup()
            raise GiveUp from spike

    return after


class SkipStep:
    """OLMo-core's rule at its defaults: skip a step whose loss or norm is 6 standard deviations from the mean.

    Mean and deviation are those of the last 128 steps, skipped ones included; the rule begins with the 64th step.
    """

    WINDOW, SIGMAS = 128, 6.0

    def __init__(self) -> None:
        self.losses: deque[float] = deque(maxlen=self.WINDOW + 1)
        self.norms: deque[float] = deque(maxlen=self.WINDOW + 1)

    def takes(self, loss: float, norm: float) -> bool:
        """Whether to take the step."""
        self.losses.append(loss)
        self.norms.append(norm)
        if len(self.losses) < self.WINDOW // 2:
            return True
        return self._usual(self.losses) and self._usual(self.norms)

    def _usual(self, values: deque[float]) -> bool:
        *before, last = values
        with np.errstate(all="ignore"):
            return bool(abs(last - np.mean(before)) / np.std(before, ddof=1) <= self.SIGMAS)


class _LossMemory(Wrapper):
    """An objective that remembers the last loss."""

    last = math.nan

    def gradient(self, *arguments: Any) -> float:
        self.last = self.own.gradient(*arguments)
        return self.last


class _SkipOutliers(Wrapper):
    """An update whose norm is NaN where the rule skips the step, so that the loop skips it."""

    def __init__(self, own: Any, objective: _LossMemory) -> None:
        super().__init__(own)
        self.objective, self.rule = objective, SkipStep()

    def norm(self) -> float:
        norm = self.own.norm()
        return norm if self.rule.takes(self.objective.last, norm) else math.nan


def _skip_step(descent: Descent) -> Observer:
    objective = descent.objective = _LossMemory(descent.objective)
    descent.update = _SkipOutliers(descent.update, objective)
    return lambda step: None


METHODS = {
    "plain loop": Method(_plain),
    "no guard": Method(_no_change),
    "clip 1.0": Method(_no_change, {"clip": 1.0, **NO_GUARD}),
    "Lightning": Method(_lightning),
    "skip-step": Method(_skip_step),
    "guard": Method(_no_change, GUARD),
    "guard, async": Method(_no_change, GUARD, async_loop.steps),
}
