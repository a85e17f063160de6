"""Stages: one rule hands the run over to another, as in "finish with SGD and momentum"."""

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from steepest.errors import InputError
from steepest.schedule import Length


@dataclass(frozen=True)
class Stages:
    """Rules that follow one another. Made by `sd.stage(...) >> sd.stage(...)`.

    Attributes:
        parts: (rule, length, rate or None), in order.
    """

    parts: tuple[tuple[Any, Length | None, float | None], ...]

    def __rshift__(self, other: "Stages") -> "Stages":
        return Stages(self.parts + other.parts)

    def __str__(self) -> str:
        return " >> ".join(f"stage({', '.join(str(x) for x in part if x is not None)})" for part in self.parts)

    @property
    def first(self) -> "Stages":
        """The first stage's rule for the whole run."""
        rule, _, lr = self.parts[0]
        return Stages(((rule, None, lr),))

    def bounds(self, steps: int, steps_per_epoch: int) -> list[tuple[Any, float | None, int]]:
        """Rule, rate and last step of each stage; one without a length takes what the others leave.

        Raises:
            InputError: two without a length, or lengths that do not make up the run.
        """
        lengths = [None if n is None else n.exact(steps, steps_per_epoch) for _, n, _ in self.parts]
        if lengths.count(None) > 1:
            raise InputError(f"stages {self}: at most one stage can be without a length, to take the rest")
        rest = steps - sum(n for n in lengths if n is not None)
        ends, end = [], Fraction(0)
        for (rule, _, lr), n in zip(self.parts, lengths, strict=True):
            end += rest if n is None else n
            ends.append((rule, lr, math.ceil(end)))
        lasts = [0, *(end for _, _, end in ends)]
        if lasts[-1] != steps or any(b <= a for a, b in zip(lasts, lasts[1:])):
            raise InputError(
                f"stages {self}: they take {lasts[-1]} of the run's {steps} steps; give lengths that make up the run, "
                "or leave one out to take the rest"
            )
        return ends


def stage(rule: Any, length: int | str | Length | None = None, lr: float | None = None) -> Stages:
    """A rule for a part of the run.

    Args:
        rule: a rule, its name, or a function that makes a torch optimizer.
        length: steps (500), epochs ("30 epochs") or a share of the run ("70%"); None takes the rest.
        lr: the rule's base rate in this stage. None: of the first stage the run's `lr`; of gradient_descent, momentum
            and nesterov in a later one what follows from the last 100 steps before it (`steepest.descent.handoff`);
            of all
            others, whose step is not a sum of gradients, and where nothing follows, the rule's own default.

    >>> from steepest.rules.textbook import adam, momentum
    >>> stages = stage(adam(), "70%") >> stage(momentum(), "30%", lr=0.05)
    >>> [last for _, _, last in stages.bounds(steps=10, steps_per_epoch=1)]
    [7, 10]
    """
    if lr is not None and not lr > 0:
        raise InputError(f"stage: lr={lr} is given; a learning rate is a number above 0, such as 1e-3")
    return Stages(((rule, None if length is None else Length.parse(length), lr),))
