"""Intervals of a run, and the factors on them."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, NamedTuple

from steepest.schedule.arguments import Extent, Length


@dataclass(frozen=True)
class Span:
    """An interval of a run: its exact begin and end, and the run.

    Attributes:
        begin: exact steps of the run before it.
        end: exact steps of the run up to its end.
        T: steps of the whole run.
        steps_per_epoch: steps of one epoch.
        offset: 0, or −1 where parts are evaluated from 0 (`Bound`).

    >>> span = Span(Fraction(3, 2), Fraction(30), T=30, steps_per_epoch=10)
    >>> span.start, span.n, span.steps("10%")
    (2, 28, 3)
    """

    begin: Fraction
    end: Fraction
    T: int
    steps_per_epoch: int
    offset: int = 0

    @property
    def start(self) -> int:
        """Whole steps before it: its local step s is step start + s of the run."""
        return math.ceil(self.begin)

    @property
    def n(self) -> int:
        """Whole steps in it: s = 1 … n."""
        return math.ceil(self.end) - self.start

    def exact(self, length: Extent) -> Fraction:
        """A length in steps of this run, before rounding."""
        return Length.parse(length).exact(self.T, self.steps_per_epoch)

    def steps(self, length: Extent) -> int:
        """A length in whole steps of this run, rounded up."""
        return math.ceil(self.exact(length))


class Watch(NamedTuple):
    """A part's memory, such as a plateau's, which observes the losses, and the interval in which it is active."""

    span: Span
    controller: Any


class Curve(NamedTuple):
    """The factors on a span, at local step s = 1 … n, and the controllers that observe the losses."""

    factor: Callable[[int], float]
    watches: tuple[Watch, ...] = ()
