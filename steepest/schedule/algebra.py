"""The algebra of schedules: `a >> b` joins in time, `a * b` multiplies, `0.9 * a` scales. Then a schedule in a run:
which steps each part gets, and the factor at each step.

Boundaries are added exactly, in fractions of a step, and only then rounded up to whole steps. So shares that add up to
100% fill a run of any length, and a warmup at the beginning has at least one step. A later part of a very short run may
have no step: it is then omitted.
"""

import math
from abc import ABC, abstractmethod
from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import reduce
from numbers import Real
from operator import mul
from typing import Any

import numpy as np

from steepest.errors import InputError, ScheduleError
from steepest.schedule.arguments import integer, number_text
from steepest.schedule.span import Curve, Span


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
    def takes_rest(self) -> bool:
        """Whether it has no length of its own and takes the rest of the run."""
        return self.extent(1, 1) is None

    @property
    def pieces(self) -> "tuple[Schedule, ...]":
        """The parts of a sequence; for any other schedule, itself."""
        return self.parts if isinstance(self, Join) else (self,)

    @property
    def needs_base(self) -> bool:
        """Whether a part of it has a least value in absolute terms, as `cosine(min_lr=1e-6)`."""
        return False

    def at_base(self, base: float) -> "Schedule":
        """The same with absolute least values as shares of the base value; 1 where the base is below them."""
        return self

    @abstractmethod
    def in_shares(self, T: int, steps_per_epoch: int) -> "Schedule":
        """The same in a run of T steps, and of the same shape in a shorter one: every length is a share of the run."""

    @abstractmethod
    def extent(self, T: int, steps_per_epoch: int) -> Fraction | None:
        """Its exact length in steps in a run of T steps, or None if it takes the rest."""

    @abstractmethod
    def over(self, span: Span) -> Curve:
        """Its factors on an interval of a run."""

    def curve(self, span: Span) -> Curve:
        """Its factors on an interval of a run, with the run's offset."""
        return self.over(span)

    @abstractmethod
    def __str__(self) -> str: ...

    def __repr__(self) -> str:
        return f"parse({str(self)!r})"

    def bind(self, T: int, steps_per_epoch: int, base: float | None = None, offset: int = 0) -> "Bound":
        """The schedule of one run, with every length in steps.

        Args:
            T: steps of the whole run, at least 1.
            steps_per_epoch: steps of one epoch, at least 1.
            base: the base learning rate, which `min_lr` of a part needs.
            offset: −1 evaluates each part from 0 (`Bound`).

        Returns:
            A function of the step t, with plateaus in their initial state.

        Raises:
            ScheduleError: a part does not fit into the run.
        """
        return Bound(self, T, steps_per_epoch, base, offset)

    def __rshift__(self, other: "Bare") -> "Schedule":
        after = lift(other)
        if after is None:
            return NotImplemented
        if self.takes_rest and after.takes_rest:
            raise InputError(
                f"both {self} and {after} take the rest of the run. Give one of them a length, such as 50%."
            )
        return Join(self.pieces + after.pieces)

    def __mul__(self, other: "float | Bare") -> "Schedule":
        factor = float(other) if isinstance(other, Real) else lift(other)
        return NotImplemented if factor is None else _product(self, factor)

    __rmul__ = __mul__


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
    def needs_base(self) -> bool:
        return any(part.needs_base for part in self.parts)

    def at_base(self, base: float) -> Schedule:
        return Join(tuple(part.at_base(base) for part in self.parts))

    def in_shares(self, T: int, steps_per_epoch: int) -> Schedule:
        return Join(tuple(part.in_shares(T, steps_per_epoch) for part in self.parts))

    def extent(self, T: int, steps_per_epoch: int) -> Fraction | None:
        extents = [x for part in self.parts if (x := part.extent(T, steps_per_epoch)) is not None]
        return sum(extents, Fraction(0)) if len(extents) == len(self.parts) else None

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
    def needs_base(self) -> bool:
        return any(factor.needs_base for factor in self.factors)

    def at_base(self, base: float) -> Schedule:
        return Product(self.scale, tuple(factor.at_base(base) for factor in self.factors))

    def in_shares(self, T: int, steps_per_epoch: int) -> Schedule:
        return Product(self.scale, tuple(factor.in_shares(T, steps_per_epoch) for factor in self.factors))

    def extent(self, T: int, steps_per_epoch: int) -> Fraction | None:
        extents = [x for factor in self.factors if (x := factor.extent(T, steps_per_epoch)) is not None]
        return max(extents) if len(extents) == len(self.factors) else None

    def over(self, span: Span) -> Curve:
        curves = [sequence(factor.pieces, span) for factor in self.factors]
        scale, factors = self.scale, [curve.factor for curve in curves]
        watches = tuple(watch for curve in curves for watch in curve.watches)
        return Curve(lambda s: reduce(mul, [factor(s) for factor in factors], scale), watches)

    def __str__(self) -> str:
        factors = [f"({factor})" if isinstance(factor, Join) else str(factor) for factor in self.factors]
        return " * ".join(factors if self.scale == 1.0 else [number_text(self.scale), *factors])


def _product(*factors: float | Schedule) -> Schedule:
    """The product, flat: numbers and the scales of products are one scale."""
    scale, schedules = 1.0, ()
    for factor in factors:
        if isinstance(factor, Product):
            scale, schedules = scale * factor.scale, schedules + factor.factors
        elif isinstance(factor, Schedule):
            schedules += (factor,)
        else:
            scale *= factor
    if not (math.isfinite(scale) and scale > 0):
        raise InputError(f"the scale of a schedule must be finite and above 0, got {number_text(scale)}")
    return schedules[0] if scale == 1.0 and len(schedules) == 1 else Product(scale, schedules)


# -- In a run ----------------------------------------------------------------------------------------------------------


def lay(parts: Sequence[Schedule], span: Span) -> list[Span]:
    """The interval of each part of a sequence, exact and in order.

    A part without a length takes what the others leave; at most one part has no length.

    Raises:
        ScheduleError: a part ends after the span.
    """
    extents = [part.extent(span.T, span.steps_per_epoch) for part in parts]
    rest = max(Fraction(0), span.end - span.begin - sum(extent for extent in extents if extent is not None))
    spans, begin = [], span.begin
    for index, extent in enumerate(extents):
        end = begin + (rest if extent is None else extent)
        if end > span.end:
            position = len("".join(f"{part} >> " for part in parts[:index]))
            problem = (
                f"{parts[index]} lasts {float(end - begin):.10g} steps, but only {float(span.end - begin):.10g} of the "
                f"run's {span.T} are left. Shorten it, train longer, or use a share of the run, such as 5%."
            )
            raise ScheduleError(" >> ".join(map(str, parts)), position, problem)
        spans.append(replace(span, begin=begin, end=end))
        begin = end
    return spans


def sequence(parts: Sequence[Schedule], span: Span) -> Curve:
    """The parts one after another on a span; after the last one its last value is held.

    Each part counts its own steps from 1.
    """
    spans = lay(parts, span)
    if not any(own.n for own in spans):  # the whole sequence is shorter than a step: the first part gets that step
        spans[0] = replace(spans[0], end=spans[0].begin + 1)
    live = [(part, own) for part, own in zip(parts, spans) if own.n]
    curves = [part.curve(own) for part, own in live]
    if len(live) == 1 and live[0][1].n == span.n:
        return curves[0]
    starts = [own.start - span.start for _, own in live]
    end = starts[-1] + live[-1][1].n - span.offset

    def factor(s: int) -> float:
        s = min(s, end)
        active = bisect_left(starts, s) - 1  # the last part with start < s
        return curves[active].factor(s - starts[active])

    return Curve(factor, tuple(watch for curve in curves for watch in curve.watches))


class Bound:
    """A schedule bound to one run: the factor of the base learning rate at each step t = 1 … T.

    After T the last value is held. Without a plateau it is a pure function of t and accepts steps in any order.

    Most parts are evaluated at the end of a step, s/n, and so are at their end in the last step. torch, transformers,
    timm and optax evaluate them at its beginning, (s − 1)/n: the first step of a warmup is at 0, and a cosine does not
    reach its floor within the run. `offset=-1` does the same, for equal rates at every step.

    Args:
        schedule: the schedule.
        T: steps of the whole run, at least 1.
        steps_per_epoch: steps of one epoch, at least 1.
        base: the base learning rate, which `min_lr` of a part needs.
        offset: 0; −1 evaluates each part one of its own steps earlier.

    Raises:
        InputError: T or steps_per_epoch is below 1, another offset, or a schedule with `min_lr` without base.
        ScheduleError: a part does not fit into the run.

    >>> from steepest.schedule import parse
    >>> bound = parse("warmup(2) >> linear").bind(T=4, steps_per_epoch=2)
    >>> [bound(t) for t in (1, 2, 3, 4, 5)]
    [0.5, 1.0, 0.5, 0.0, 0.0]
    """

    def __init__(
        self, schedule: Schedule, T: int, steps_per_epoch: int, base: float | None = None, offset: int = 0
    ) -> None:
        if offset not in (0, -1):
            raise InputError(f"offset must be 0, or -1 to evaluate parts from 0, got {offset!r}")
        if base is None and schedule.needs_base:
            raise InputError(
                f"min_lr must be for the learning rate, whose base value is known, got {schedule} for something else. "
                "Use a relative least value, such as floor."
            )
        self.schedule, self.base, self.offset = schedule, base, offset
        self.T = integer(1)(T, "T, the number of steps of the run,")
        self.steps_per_epoch = integer(1)(steps_per_epoch, "steps_per_epoch")
        whole = Span(Fraction(0), Fraction(self.T), self.T, self.steps_per_epoch, offset)
        pieces = (schedule if base is None else schedule.at_base(base)).pieces
        self._factor, self._watches = sequence(pieces, whole)

    def __call__(self, t: int) -> float:
        """The factor at step t."""
        if t < 1:
            raise InputError(f"t must be at least 1 (steps are counted from 1), got {t}")
        return self._factor(min(t, self.T - self.offset))

    @property
    def watches(self) -> bool:
        """Whether a part of it observes the losses."""
        return bool(self._watches)

    def observe(self, t: int, loss: float) -> None:
        """Passes the loss of the epoch that ended at step t to the plateau that is active then.

        Args:
            t: the last step of the epoch.
            loss: the quantity to minimise; call this once per epoch.

        >>> from steepest.schedule import plateau, warmup
        >>> bound = (warmup(2) >> plateau(0.5, patience=0)).bind(T=6, steps_per_epoch=2)
        >>> for t, loss in ((2, 1.0), (4, 3.0), (6, 3.0)):  # the first epoch belongs to the warmup
        ...     bound.observe(t, loss)
        >>> bound(6)
        0.5
        """
        for span, controller in self._watches:
            if span.start < t <= span.start + span.n:
                controller.observe(float(loss))

    def values(self, ts: Iterable[int] | np.ndarray) -> np.ndarray:
        """The factors at many steps, for a figure.

        Args:
            ts: steps, [n].

        Returns:
            float64 [n].

        Raises:
            InputError: the schedule contains a plateau, whose factors depend on the losses.
        """
        if self.watches:
            raise InputError(f"the factors of {self.schedule} depend on the losses and cannot be listed in advance")
        return np.array([self(int(t)) for t in ts], np.float64)

    def state_dict(self) -> dict[str, Any]:
        """The state of the plateaus, as JSON; a schedule without a plateau has none."""
        return {"plateaus": [controller.state_dict() for _, controller in self._watches]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores what `state_dict` returned, also if T has changed since.

        Raises:
            InputError: the state belongs to another schedule.
        """
        plateaus = state.get("plateaus")
        if not isinstance(plateaus, list) or len(plateaus) != len(self._watches):
            raise InputError(f"the state of {self.schedule} must have {len(self._watches)} plateaus, got {state}")
        for (_, controller), own in zip(self._watches, plateaus):
            controller.load_state_dict(own)

    def __reduce__(self) -> tuple:
        # The closures would share memory between copies, so a copy is bound again.
        return Bound, (self.schedule, self.T, self.steps_per_epoch, self.base, self.offset), self.state_dict()

    __setstate__ = load_state_dict
