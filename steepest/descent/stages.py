"""Stages: a run that changes its update rule on the way, as in "finish with SGD and momentum"."""

import math
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any, NamedTuple

from steepest.errors import InputError
from steepest.records.arguments import A_NUMBER, check
from steepest.schedule import Length


@dataclass(frozen=True)
class Stage:
    """One update rule for a part of the run.

    Attributes:
        rule: a rule, its name, or a function `params -> torch.optim.Optimizer`.
        length: of the stage; None takes what the other stages leave.
        lr: base learning rate. None in a run's first stage: `Settings.lr` holds it.
    """

    rule: Any
    length: Length | None = None
    lr: float | None = None

    def __str__(self) -> str:
        return f"stage({', '.join(str(x) for x in (self.rule, self.length, self.lr) if x is not None)})"


class StageSteps(NamedTuple):
    """The steps `first` … `last` that a stage takes of a run, counted from 1, with its rule and base learning rate."""

    rule: Any
    lr: float | None
    first: int
    last: int


@dataclass(frozen=True)
class Stages:
    """Stages in their order. Made by `sd.stage(...) >> sd.stage(...)`."""

    parts: tuple[Stage, ...]

    def __rshift__(self, other: "Stages") -> "Stages":
        return Stages(self.parts + other.parts)

    def __str__(self) -> str:
        return " >> ".join(map(str, self.parts))

    @property
    def first(self) -> "Stages":
        """The first stage's rule for the whole run."""
        return Stages((replace(self.parts[0], length=None),))

    def bounds(self, steps: int, steps_per_epoch: int) -> list[StageSteps]:
        """First and last step of each stage; a stage without a length takes what the others leave.

        Raises:
            InputError: two stages without a length, or lengths that do not add up to the run.
        """
        lengths = [None if s.length is None else s.length.exact(steps, steps_per_epoch) for s in self.parts]
        if lengths.count(None) > 1:
            raise InputError(f"stages {self}: at most one stage may omit its length (it takes the rest)")
        rest = steps - sum(n for n in lengths if n is not None)
        bounds, end = [], Fraction(0)
        for part, n in zip(self.parts, lengths, strict=True):
            first = math.ceil(end) + 1
            end += rest if n is None else n
            bounds.append(StageSteps(part.rule, part.lr, first, math.ceil(end)))
        if bounds[-1].last != steps or any(b.last < b.first for b in bounds):
            raise InputError(
                f"stages {self} must add up to the run's {steps} steps with at least one step each, got "
                f"{bounds[-1].last}. Change the lengths, or omit one to take the rest."
            )
        return bounds


def stage(rule: Any, length: int | str | Length | None = None, lr: float | None = None) -> Stages:
    """An update rule for a part of the run; join stages with `>>`.

    Args:
        rule: a rule, its name, or a function `params -> torch.optim.Optimizer`.
        length: steps (500), epochs ("30 epochs") or a share of the run ("70%"); None takes the rest.
        lr: base learning rate of this stage. In the first stage it takes precedence over the run's `lr`, unless that is
            "auto". None in the first stage: the run's `lr`. None in a later stage: for gradient_descent, momentum and
            nesterov it is derived from the last 100 steps before the stage (`steepest.descent.handoff`); every other
            rule, whose step is not a sum of gradients, starts at its default.

    >>> from steepest.rules.textbook import adam, momentum
    >>> stages = stage(adam(), "70%") >> stage(momentum(), "30%", lr=0.05)
    >>> [(part.first, part.last) for part in stages.bounds(steps=10, steps_per_epoch=1)]
    [(1, 7), (8, 10)]
    """
    if lr is not None:
        check("stage: lr", lr, A_NUMBER)
    if lr is not None and not lr > 0:
        raise InputError(f"stage: lr must be positive, got {lr}")
    return Stages((Stage(rule, None if length is None else Length.parse(length), lr),))
