"""The named parts of schedules, one formula each.

A part is a frozen dataclass named as in the text. The annotation of a field is the check of its value, which the
constructor and the parser share.

A part has n steps of its own, s = 1 … n. Where another library counts from 0, the index e at which it agrees is stated:
most parts agree at e = s, as they reach their end at the last step; those that begin with a whole step at the base
learning rate agree at e = s − 1.
"""

from abc import ABCMeta
from dataclasses import MISSING, Field, dataclass, fields
from fractions import Fraction
from math import cos, log, pi, sqrt
from typing import Any, get_args

from steepest.errors import ScheduleError
from steepest.schedule.algebra import Bare, Curve, Schedule, Span, bare
from steepest.schedule.arguments import BelowOne, Duration, Multiple, NotNegative, Positive, Rest, Share, argument_text

MAX_EXPONENT = 700.0  # e to this power is still a float64


class PartType(ABCMeta):
    """Operators on parts without parentheses, as in text: `0.9 * cosine`, `cosine >> linear("20%")`."""

    def __rshift__(cls, other: Bare) -> Schedule:
        return bare(cls) >> other

    def __mul__(cls, other: float | Bare) -> Schedule:
        return bare(cls) * other

    __rmul__ = __mul__


@dataclass(frozen=True, repr=False)
class Part(Schedule, metaclass=PartType):
    """A schedule with a name and arguments; one of the arguments is its length."""

    def __post_init__(self) -> None:
        for name in self.parameters():
            object.__setattr__(self, name, self.check(name, vars(self)[name]))

    @classmethod
    def parameters(cls) -> dict[str, Field]:
        """Its arguments by name, in order."""
        return {field.name: field for field in fields(cls)}

    @classmethod
    def check(cls, name: str, value: Any) -> Any:
        """The argument in its canonical type.

        Raises:
            InputError: the value is invalid.
        """
        _, convert = get_args(cls.parameters()[name].type)
        return convert(value, f"{name} of {cls.__name__}")

    def extent(self, T: int, steps_per_epoch: int) -> Fraction | None:
        length = vars(self)["length"]
        return length and length.exact(T, steps_per_epoch)

    def __str__(self) -> str:
        """Its name, the first argument by position and the others by name; defaults are omitted."""
        arguments = []
        for index, (name, field) in enumerate(self.parameters().items()):
            text = argument_text(vars(self)[name])
            if field.default is MISSING or vars(self)[name] != field.default:
                arguments.append(text if index == 0 else f"{name}={text}")
        return type(self).__name__ + (f"({', '.join(arguments)})" if arguments else "")


@dataclass(frozen=True, repr=False)
class constant(Part):
    """The base learning rate: 1.

    >>> print(constant("80%"))
    constant(80%)
    """

    length: Rest = None

    def over(self, span: Span) -> Curve:
        return Curve(lambda s: 1.0)


@dataclass(frozen=True, repr=False)
class warmup(Part):
    """Linear increase from 0 to the base learning rate: s/n.

    transformers' `get_constant_schedule_with_warmup` at e = s.

    Args:
        length: when the base learning rate is reached; a warmup longer than the run is an error in `bind`.

    >>> warmup(4).bind(T=5, steps_per_epoch=1).values(range(1, 6)).tolist()
    [0.25, 0.5, 0.75, 1.0, 1.0]
    """

    length: Duration

    def over(self, span: Span) -> Curve:
        n = span.n
        return Curve(lambda s: s / n)


@dataclass(frozen=True, repr=False)
class cosine(Part):
    """Half a cosine wave down to `floor`: floor + (1 − floor)(1 + cos(π s/n))/2.

    torch's `CosineAnnealingLR(T_max=n)` at e = s. Loshchilov & Hutter 2017 (arXiv:1608.03983), without restarts.

    Args:
        length: when the floor is reached.
        floor: the last factor, between 0 and 1.

    >>> cosine(floor=0.5).bind(T=2, steps_per_epoch=1).values([1, 2]).tolist()
    [0.75, 0.5]
    """

    length: Rest = None
    floor: Share = 0.0

    def over(self, span: Span) -> Curve:
        n, floor = span.n, self.floor
        return Curve(lambda s: floor + (1 - floor) * (1 + cos(pi * s / n)) / 2)


@dataclass(frozen=True, repr=False)
class linear(Part):
    """Linear decrease to `end`: (1 − s/n) + end · s/n.

    torch's `LinearLR(start_factor=1, end_factor=end, total_iters=n)` at e = s.

    Args:
        length: when the end is reached.
        end: the last factor, at least 0.

    >>> linear().bind(T=4, steps_per_epoch=1).values(range(1, 5)).tolist()
    [0.75, 0.5, 0.25, 0.0]
    """

    length: Rest = None
    end: NotNegative = 0.0

    def over(self, span: Span) -> Curve:
        n, end = span.n, self.end
        return Curve(lambda s: (1 - s / n) + end * (s / n))


@dataclass(frozen=True, repr=False)
class polynomial(Part):
    """Polynomial decay: end + (1 − end)(1 − s/n)^power.

    torch's `PolynomialLR(total_iters=n)` at e = s.

    Args:
        power: above 0; 1 is `linear`.
        end: the last factor, at least 0.
        length: when the end is reached.

    >>> polynomial(2).bind(T=4, steps_per_epoch=1).values(range(1, 5)).tolist()
    [0.5625, 0.25, 0.0625, 0.0]
    """

    power: Positive
    end: NotNegative = 0.0
    length: Rest = None

    def over(self, span: Span) -> Curve:
        n, power, end = span.n, self.power, self.end
        return Curve(lambda s: end + (1 - end) * (1 - s / n) ** power)


@dataclass(frozen=True, repr=False)
class exponential(Part):
    """Exponential decay to `end`, by the same factor at every step: end^(s/n).

    torch's `ExponentialLR(gamma=end**(1/n))` at e = s. To give the factor per step or epoch instead, write
    `step(1, gamma=0.999)` or `step(1 epoch, gamma=0.95)`.

    Args:
        end: the last factor, above 0.
        length: when the end is reached.

    >>> exponential(0.25).bind(T=2, steps_per_epoch=1).values([1, 2]).tolist()
    [0.5, 0.25]
    """

    end: Positive
    length: Rest = None

    def over(self, span: Span) -> Curve:
        n, end = span.n, self.end
        return Curve(lambda s: end ** (s / n))


@dataclass(frozen=True, repr=False)
class step(Part):
    """Multiplication by gamma after each interval of length `every`: gamma^⌊(s − 1)/every⌋.

    torch's `StepLR(step_size=every)` at e = s − 1.

    Args:
        every: length of each level.
        gamma: factor from one level to the next, above 0.
        length: length of the part.

    >>> step(2, gamma=0.5).bind(T=5, steps_per_epoch=1).values(range(1, 6)).tolist()
    [1.0, 1.0, 0.5, 0.5, 0.25]
    """

    every: Duration
    gamma: Positive = 0.1
    length: Rest = None

    def over(self, span: Span) -> Curve:
        every, gamma = span.steps(self.every), self.gamma
        if log(gamma) * ((span.n - 1) // every) > MAX_EXPONENT:
            raise ScheduleError(str(self), 0, f"{self} exceeds the float range in {span.n} steps. Lower gamma.")
        return Curve(lambda s: gamma ** ((s - 1) // every))


@dataclass(frozen=True, repr=False)
class one_cycle(Part):
    """From 1/div up to the base learning rate and down to 1/(div · final_div), each along half a cosine wave.

    torch's `OneCycleLR(max_lr=base rate, total_steps=n)` at e = s − 1; the base learning rate is the
    maximum.
    Smith & Topin 2018 (arXiv:1708.07120).

    Args:
        length: length of the cycle.
        rise: share of this part (not of the run) in which the factor increases, at least 0 and below 1.
        div: maximum ÷ first learning rate.
        final_div: first ÷ last learning rate.

    >>> one_cycle(rise=0.5, div=2, final_div=4).bind(T=4, steps_per_epoch=1).values([1, 2, 4]).tolist()
    [0.5, 1.0, 0.125]
    """

    length: Rest = None
    rise: BelowOne = 0.3
    div: Positive = 25.0
    final_div: Positive = 1e4

    def over(self, span: Span) -> Curve:
        # Indices as in torch: the peak at e = rise · n − 1, which need not be whole, and the end at e = n − 1.
        first, last = 1 / self.div, 1 / self.div / self.final_div
        peak, end = self.rise * span.n - 1, span.n - 1

        def factor(s: int) -> float:
            e = s - 1
            if peak > 0 and e <= peak:
                return _wave(first, 1.0, e / peak)
            return _wave(1.0, last, (e - peak) / (end - peak))

        return Curve(factor)


def _wave(begin: float, end: float, share: float) -> float:
    return end + (begin - end) / 2 * (1 + cos(pi * share))


@dataclass(frozen=True, repr=False)
class cosine_restarts(Part):
    """Cosine cycles, each beginning with a step at the base learning rate: floor + (1 − floor)(1 + cos(π e/nᵢ))/2.

    e counts from 0 in each cycle, and nᵢ = first · multⁱ. torch's `CosineAnnealingWarmRestarts(T_0=first,
    T_mult=mult)` at e = s − 1. Loshchilov & Hutter 2017 (arXiv:1608.03983).

    Args:
        first: length of the first cycle.
        mult: length of a cycle ÷ length of the cycle before.
        floor: the factor at the end of each cycle, between 0 and 1.
        length: length of the part.

    >>> cosine_restarts(2).bind(T=4, steps_per_epoch=1).values(range(1, 5)).round(9).tolist()
    [1.0, 0.5, 1.0, 0.5]
    """

    first: Duration
    mult: Multiple = 1
    floor: Share = 0.0
    length: Rest = None

    def over(self, span: Span) -> Curve:
        first, mult, floor = span.steps(self.first), self.mult, self.floor

        def factor(s: int) -> float:
            e, n = _in_cycle(s - 1, first, mult)
            return floor + (1 - floor) * (1 + cos(pi * e / n)) / 2

        return Curve(factor)


def _in_cycle(e: int, n: int, mult: int) -> tuple[int, int]:
    """The index of step e in its cycle, and the length of that cycle."""
    if mult == 1:
        return e % n, n
    while e >= n:
        e, n = e - n, n * mult
    return e, n


@dataclass(frozen=True, repr=False)
class inverse_sqrt(Part):
    """Linear warmup, then decay with 1/√s: min(s/w, √(w/s)).

    transformers' `get_inverse_sqrt_schedule(num_warmup_steps=w)` at e = s; Vaswani et al. 2017 (arXiv:1706.03762,
    section 5.3) with the maximum as the base learning rate.

    Args:
        warmup: w, when the base learning rate is reached.
        length: length of the part.

    >>> inverse_sqrt(2).bind(T=8, steps_per_epoch=1).values([1, 2, 8]).tolist()
    [0.5, 1.0, 0.5]
    """

    warmup: Duration
    length: Rest = None

    def over(self, span: Span) -> Curve:
        w = span.steps(self.warmup)
        if span.exact(self.warmup) > span.end - span.begin:
            problem = f"the warmup lasts {w} steps, but {self} has only {span.n} of the run's {span.T}. Shorten it."
            raise ScheduleError(str(self), len("inverse_sqrt("), problem)
        return Curve(lambda s: s / w if s < w else sqrt(w / s))
