"""The algebra of schedules: `a >> b` joins in time, `a * b` multiplies, `0.9 * a` scales."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import reduce
from numbers import Real
from operator import mul
from typing import Any

from steepest.errors import InputError
from steepest.schedule.arguments import number_text
from steepest.schedule.timing import Bound, Curve, Span, sequence


class Schedule(ABC):
    """A function (t, T) → factor of the base learning rate, or of another hyperparameter, for t = 1 … T.

    A schedule is a value: two are equal if their parts are. `str` returns the text that makes it; `parse` reads it.

    >>> from steepest.schedule import cosine, warmup
    >>> schedule = warmup("5%") >> cosine(floor=0.1)
    >>> print(schedule)
    warmup(5%) >> cosine(floor=0.1)
    >>> schedule = schedule.bind(T=100, steps_per_epoch=10)
    >>> schedule(1), schedule(5), schedule(100)
    (0.2, 1.0, 0.1)
    """

    @property
    @abstractmethod
    def takes_rest(self) -> bool:
        """Whether it has no length of its own and takes the rest of the run."""

    @property
    def pieces(self) -> "tuple[Schedule, ...]":
        """The parts of a sequence; for any other schedule, itself."""
        return self.parts if isinstance(self, Join) else (self,)

    @abstractmethod
    def extent(self, T: int, steps_per_epoch: int) -> Fraction | None:
        """Its exact length in steps in a run of T steps, or None if it takes the rest."""

    @abstractmethod
    def over(self, span: Span) -> Curve:
        """Its factors on an interval of a run."""

    @abstractmethod
    def __str__(self) -> str: ...

    def __repr__(self) -> str:
        return f"parse({str(self)!r})"

    def bind(self, T: int, steps_per_epoch: int) -> Bound:
        """The schedule of one run, with every length in steps.

        Args:
            T: steps of the whole run, at least 1.
            steps_per_epoch: steps of one epoch, at least 1.

        Returns:
            A function of the step t, with plateaus in their initial state.

        Raises:
            ScheduleError: a part does not fit into the run.
        """
        return Bound(self, T, steps_per_epoch)

    def __rshift__(self, other: "Bare") -> "Schedule":
        after = lift(other)
        return join(self, after) if after is not None else NotImplemented

    def __mul__(self, other: "float | Bare") -> "Schedule":
        if isinstance(other, Real):
            return scale(float(other), self)
        factor = lift(other)
        return product(self, factor) if factor is not None else NotImplemented

    def __rmul__(self, other: float) -> "Schedule":
        return self * other if isinstance(other, Real) else NotImplemented


Bare = Schedule | type[Schedule]
"""A schedule, or a part without parentheses, as in `0.9 * cosine`."""


def lift(value: object) -> Schedule | None:
    """A schedule, or a part without parentheses, as a schedule; None for any other value.

    >>> from steepest.schedule import cosine
    >>> lift(cosine) == cosine()
    True
    """
    if isinstance(value, type) and issubclass(value, Schedule):
        return bare(value)
    return value if isinstance(value, Schedule) else None


def bare(part: Callable[[], Any]) -> Schedule:
    """The schedule of a part without parentheses.

    Raises:
        InputError: the part needs arguments.
    """
    try:
        return part()
    except TypeError as error:
        raise InputError(f"{part.__name__} needs arguments, as in {part.__name__}(...) ({error})") from None


@dataclass(frozen=True, repr=False)
class Join(Schedule):
    """Schedules one after another, flat; each counts its own steps from 1."""

    parts: tuple[Schedule, ...]

    @property
    def takes_rest(self) -> bool:
        return any(part.takes_rest for part in self.parts)

    def extent(self, T: int, steps_per_epoch: int) -> Fraction | None:
        extents = (part.extent(T, steps_per_epoch) or Fraction(0) for part in self.parts)
        return None if self.takes_rest else sum(extents, Fraction(0))

    def over(self, span: Span) -> Curve:
        return sequence(self.parts, span)

    def __str__(self) -> str:
        return " >> ".join(str(part) for part in self.parts)


@dataclass(frozen=True, repr=False)
class Product(Schedule):
    """scale · a(s) · b(s) · …, flat; a shorter factor holds its last value."""

    scale: float
    factors: tuple[Schedule, ...]

    @property
    def takes_rest(self) -> bool:
        return any(factor.takes_rest for factor in self.factors)

    def extent(self, T: int, steps_per_epoch: int) -> Fraction | None:
        extents = (factor.extent(T, steps_per_epoch) or Fraction(0) for factor in self.factors)
        return None if self.takes_rest else max(extents)

    def over(self, span: Span) -> Curve:
        curves = [sequence(factor.pieces, span) for factor in self.factors]
        scale, factors = self.scale, [curve.factor for curve in curves]
        watches = tuple(watch for curve in curves for watch in curve.watches)
        return Curve(lambda s: reduce(mul, [factor(s) for factor in factors], scale), watches)

    def __str__(self) -> str:
        factors = [f"({factor})" if isinstance(factor, Join) else str(factor) for factor in self.factors]
        return " * ".join(factors if self.scale == 1.0 else [number_text(self.scale), *factors])


def join(first: Schedule, second: Schedule) -> Schedule:
    """first >> second.

    Raises:
        InputError: both take the rest of the run.
    """
    if first.takes_rest and second.takes_rest:
        raise InputError(f"both {first} and {second} take the rest of the run. Give one of them a length, such as 50%.")
    return Join(first.pieces + second.pieces)


def product(first: Schedule, second: Schedule) -> Schedule:
    """first · second, step by step."""
    (scale, factors), (other_scale, other_factors) = _factors(first), _factors(second)
    return _product(scale * other_scale, factors + other_factors)


def scale(factor: float, schedule: Schedule) -> Schedule:
    """factor · schedule, step by step.

    Raises:
        InputError: the factor is not a finite number above 0.
    """
    own_scale, factors = _factors(schedule)
    return _product(factor * own_scale, factors)


def _factors(schedule: Schedule) -> tuple[float, tuple[Schedule, ...]]:
    return (schedule.scale, schedule.factors) if isinstance(schedule, Product) else (1.0, (schedule,))


def _product(scale: float, factors: tuple[Schedule, ...]) -> Schedule:
    if not (math.isfinite(scale) and scale > 0):
        raise InputError(f"the scale of a schedule must be finite and above 0, got {number_text(scale)}")
    return factors[0] if scale == 1.0 and len(factors) == 1 else Product(scale, factors)
