"""Which method survives which fault: the guard, no guard, clipping, Lightning's spike detection, a skip-step rule.

Learning-rate and weight faults happen at a moment of the run: a step that is repeated later is not affected again (a
lasting one affects all later steps t). The learning rate is raised in the schedule, where a guard that knows the
schedule can see it, or hidden in the update, so that only losses and gradients show it. Data faults belong to steps t:
a repeated step has the same bad batch. All inputs are numbers (text is one-hot vectors), so the same faults apply
everywhere; targets stay, except for shuffled labels.
"""

import argparse
import functools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from benchmarks.guard import trials
from benchmarks.guard.survivors import KEY, ONSET, Survival, lines
from benchmarks.guard.trials import METHODS, Fault, Wrapper
from benchmarks.parts import Options, Outcomes, Study
from benchmarks.problems.problems import GROUPS, Problem, find
from steepest import seeds
from steepest.descent.loop import Descent
from steepest.records.run import Step

TITLE = "Surviving faults"

LASTS = 50
"""Steps that a transient fault and shuffled labels last."""
SEEDS = (0, 1, 2)
SPREAD_SEEDS = range(5)
"""Of the runs without a fault, whose standard deviation is the spread."""


def last_healthy(descent: Descent) -> int:
    return math.floor(ONSET * descent.steps)


# -- Another learning rate ---------------------------------------------------------------------------------------------


class _ScaledSchedule(Wrapper):
    """A bound schedule times a factor that depends on the step."""

    def __init__(self, own: Any, factor: Callable[[int], float]) -> None:
        super().__init__(own)
        self._factor = factor

    def __call__(self, t: int) -> float:
        return self._factor(t) * self.own(t)


def _in_schedule(descent: Descent, factor: Callable[[int], float]) -> None:
    """Scales the learning rate where the loop knows of it."""
    descent.schedule = _ScaledSchedule(descent.schedule, factor)


class _ScaledUpdate(Wrapper):
    """An update with a learning rate that the loop does not know."""

    def __init__(self, own: Any, factor: Callable[[], float]) -> None:
        super().__init__(own)
        self._factor = factor

    def advance(self, hypers: Mapping[str, Any], scale: float = 1.0) -> float:
        return self.own.advance({**hypers, "lr": self._factor() * hypers["lr"]}, scale)


def in_update(descent: Descent, factor: Callable[[int], float]) -> None:
    """Scales the steps where only losses and gradients show it, as where the loss's curvature has grown."""
    descent.update = _ScaledUpdate(descent.update, lambda: factor(descent.t + 1))


Place = Callable[[Descent, Callable[[int], float]], None]


class LastingLr(Fault):
    """The learning rate of all steps from the onset on is multiplied."""

    def __init__(self, factor: float, place: Place = _in_schedule) -> None:
        self.factor, self.place = factor, place

    def begin(self, descent: Descent) -> None:
        last = last_healthy(descent)
        self.place(descent, lambda t: self.factor if t > last else 1.0)


class EmptyStep(Fault):
    """One step has a learning rate of 0: no fault, but another run. Differences show what is chance."""

    def begin(self, descent: Descent) -> None:
        last = last_healthy(descent)
        _in_schedule(descent, lambda t: 0.0 if t == last + 1 else 1.0)


class TransientLr(Fault):
    """The learning rate is multiplied for 50 executed steps, whichever they are, and only once."""

    def __init__(self, factor: float, place: Place = _in_schedule) -> None:
        self.factor, self.place = factor, place

    def begin(self, descent: Descent) -> None:
        self._last, self._left, self._on = last_healthy(descent), LASTS, False
        self.place(descent, lambda t: self.factor if self._on else 1.0)

    def after(self, step: Step) -> None:
        if self._on:
            self._left -= 1
        self._on = self._left > 0 and (self._on or step.t >= self._last)


# -- Bad data ----------------------------------------------------------------------------------------------------------

Batch = tuple[Tensor, Tensor]


class _BadBatches(Wrapper):
    """Batches, some of which are changed."""

    def __init__(self, own: Any, steps: range, change: Callable[[Batch, torch.Generator], Batch]) -> None:
        super().__init__(own)
        self._steps, self._change = steps, change

    def __call__(self, t: int) -> list[Any]:
        parts = self.own(t)
        if t not in self._steps:
            return parts
        return [self._change(part, seeds.generator(self.own.seed, "fault", t, i)) for i, part in enumerate(parts)]


@dataclass(frozen=True)
class BadData(Fault):
    """The batches of the first steps after the onset are changed, or every `stride`-th of them."""

    change: Callable[[Batch, torch.Generator], Batch]
    steps: int = 1
    stride: int = 1

    def begin(self, descent: Descent) -> None:
        first = last_healthy(descent) + 1
        descent.batches = _BadBatches(descent.batches, range(first, first + self.steps, self.stride), self.change)


def _scale(batch: Batch, random: torch.Generator) -> Batch:
    return 1000 * batch[0], batch[1]


def _insert(value: float) -> Callable[[Batch, torch.Generator], Batch]:
    """Replaces one number of one sample."""

    def change(batch: Batch, random: torch.Generator) -> Batch:
        x = batch[0].clone()
        x.view(-1)[x.numel() // 2] = value
        return x, batch[1]

    return change


def _noise(batch: Batch, random: torch.Generator) -> Batch:
    x, y = batch
    return 30 * x.std() * torch.randn(x.shape, generator=random), y


def _shuffle_labels(batch: Batch, random: torch.Generator) -> Batch:
    x, y = batch
    return x, y.flatten()[torch.randperm(y.numel(), generator=random)].view(y.shape)


class BrokenWeight(Fault):
    """A weight of the last matrix becomes NaN between two steps, once."""

    def begin(self, descent: Descent) -> None:
        self._descent, self._waits = descent, True

    def after(self, step: Step) -> None:
        if not self._waits or step.t < last_healthy(self._descent):
            return
        *_, weights = (p for p in self._descent.space.tensors() if p.dim() > 1)
        with torch.no_grad():
            weights.view(-1)[weights.numel() // 2] = math.nan
        self._waits = False


FAULTS: dict[str, Callable[[], Fault]] = {
    "nothing": Fault,
    "a step with lr 0": EmptyStep,
    "lr × 10, lasting": lambda: LastingLr(10),
    "lr × 10, 50 steps": lambda: TransientLr(10),
    "lr × 100, lasting": lambda: LastingLr(100),
    "lr × 100, 50 steps": lambda: TransientLr(100),
    "hidden lr × 10, lasting": lambda: LastingLr(10, in_update),
    "hidden lr × 10, 50 steps": lambda: TransientLr(10, in_update),
    "hidden lr × 100, lasting": lambda: LastingLr(100, in_update),
    "hidden lr × 100, 50 steps": lambda: TransientLr(100, in_update),
    "a batch × 1000": lambda: BadData(_scale),
    "NaN in a batch": lambda: BadData(_insert(math.nan)),
    "inf in a batch": lambda: BadData(_insert(math.inf)),
    "5 batches of noise": lambda: BadData(_noise, 5),
    "labels shuffled, 50 steps": lambda: BadData(_shuffle_labels, LASTS),
    "a weight is NaN": BrokenWeight,
}


# -- Runs --------------------------------------------------------------------------------------------------------------


def _problems(options: Options) -> list[Problem]:
    return find(options.problems, GROUPS[options.group])


def _work(outcomes: Outcomes, options: Options) -> None:
    """Runs the missing trials, and the runs without a fault that they are compared with."""
    chosen_seeds = SEEDS if options.seeds is None else options.seeds
    for problem in _problems(options):
        runs = [("nothing", "no guard", seed) for seed in sorted({*SPREAD_SEEDS, *chosen_seeds})]
        runs += [(f, m, seed) for seed in chosen_seeds for f in options.faults for m in options.methods]
        for fault, method, seed in runs:
            outcomes.add(
                (problem.name, fault, method, seed), functools.partial(outcome_of, problem, FAULTS[fault], method, seed)
            )


def outcome_of(problem: Problem, make: Callable[[], Fault], method: str, seed: int) -> dict[str, Any]:
    """The outcome of a run with a fault, as it is stored."""
    run = trials.run(problem, method, seed, make())
    return {
        "loss": run.loss,
        "executed": run.count,
        "stopped": run.t if run.gave_up else None,
        "events": run.events,
        "onset": run.first_count.get(math.floor(ONSET * problem.steps) + 1),
    }


def _lines(outcomes: Outcomes, options: Options) -> list[str]:
    survival = Survival(outcomes, [p.name for p in _problems(options)], list(FAULTS))
    return lines(survival, options.details)


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--group", choices=GROUPS, default="reported")
    parser.add_argument("--faults", nargs="*", default=list(FAULTS), choices=list(FAULTS))
    parser.add_argument("--methods", nargs="*", default=list(METHODS), choices=list(METHODS))


STUDY = Study("faults", KEY, _work, _lines, _add_options)
"""All of it takes about an hour and a half."""
measure, main = STUDY.measure, STUDY.main
