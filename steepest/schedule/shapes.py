"""The named parts of schedules, one formula each.

A part has n steps of its own, s = 1 … n. Where a peer counts from 0, the index e at which it agrees is stated: most
parts agree at e = s, as they reach their end at the last step; those that begin with a whole step at the base rate
agree at e = s − 1.
"""

from dataclasses import dataclass
from math import cos, log, pi, sqrt

from steepest.errors import ScheduleError
from steepest.schedule.base import Part
from steepest.schedule.checks import BelowOne, Duration, Multiple, NotNegative, Positive, Rest, Share
from steepest.schedule.lengths import Length
from steepest.schedule.timing import Curve, Span

LARGEST_LOG = 700.0  # e to this power is still a float64


@dataclass(frozen=True, repr=False)
class constant(Part):
    """The base rate itself: 1.

    >>> print(constant("80%"))
    constant(80%)
    """

    length: Rest = None

    def over(self, span: Span) -> Curve:
        return Curve(lambda s: 1.0)


@dataclass(frozen=True, repr=False)
class warmup(Part):
    """From 0 up to the base rate in a straight line: s/n.

    transformers' `get_constant_schedule_with_warmup` at e = s.

    Args:
        length: when the base rate is reached; a warmup longer than the run is an error when it is bound.

    >>> warmup(4).bind(T=5, steps_per_epoch=1).values(range(1, 6)).tolist()
    [0.25, 0.5, 0.75, 1.0, 1.0]
    """

    length: Duration

    def over(self, span: Span) -> Curve:
        n = span.n
        return Curve(lambda s: s / n)


@dataclass(frozen=True, repr=False)
class cosine(Part):
    """Half a cosine wave down to its floor: floor + (1 − floor)(1 + cos(π s/n))/2.

    torch's `CosineAnnealingLR(T_max=n)` at e = s. Loshchilov & Hutter 2017 (arXiv:1608.03983), without restarts.

    Args:
        length: when the floor is reached.
        floor: the last factor, from 0 to 1.

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
    """A straight line to its end: (1 − s/n) + end · s/n.

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
    """A power of what is left of the time: end + (1 − end)(1 − s/n)^power.

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
    """By the same factor at every step, down to its end: end^(s/n).

    torch's `ExponentialLR(gamma=end**(1/n))` at e = s. Where the factor per step or epoch is what you know, write
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
    """By the factor gamma after every so many steps: gamma^⌊(s − 1)/every⌋.

    torch's `StepLR(step_size=every)` at e = s − 1.

    Args:
        every: how long each level lasts.
        gamma: factor from one level to the next, above 0.
        length: how long the part lasts.

    >>> step(2, gamma=0.5).bind(T=5, steps_per_epoch=1).values(range(1, 6)).tolist()
    [1.0, 1.0, 0.5, 0.5, 0.25]
    """

    every: Duration
    gamma: Positive = 0.1
    length: Rest = None

    def over(self, span: Span) -> Curve:
        every, gamma = span.steps(self.every), self.gamma
        if log(gamma) * ((span.n - 1) // every) > LARGEST_LOG:
            raise ScheduleError(str(self), 0, f"{self} would grow beyond all numbers in {span.n} steps; lower gamma")
        return Curve(lambda s: gamma ** ((s - 1) // every))


@dataclass(frozen=True, repr=False)
class one_cycle(Part):
    """Up from 1/div to the base rate and down to 1/(div · final_div), each along half a cosine wave.

    torch's `OneCycleLR(max_lr=base rate, total_steps=n)` at e = s − 1; the base rate is the greatest.
    Smith & Topin 2018 (arXiv:1708.07120).

    Args:
        length: how long the cycle lasts.
        rise: share of the cycle that goes up, from 0 to below 1; it is a share of this part, not of the run.
        div: greatest rate ÷ first rate.
        final_div: first rate ÷ last rate.

    >>> one_cycle(rise=0.5, div=2, final_div=4).bind(T=4, steps_per_epoch=1).values([1, 2, 4]).tolist()
    [0.5, 1.0, 0.125]
    """

    length: Rest = None
    rise: BelowOne = 0.3
    div: Positive = 25.0
    final_div: Positive = 1e4

    def over(self, span: Span) -> Curve:
        # Indices, as torch has them: the peak at e = rise · n − 1, which need not be whole, and the end at e = n − 1.
        first, last = 1 / self.div, 1 / self.div / self.final_div
        peak, end = self.rise * span.n - 1, span.n - 1

        def factor(s: int) -> float:
            e = s - 1
            rises = peak > 0 and e <= peak
            return _wave(first, 1.0, e / peak) if rises else _wave(1.0, last, (e - peak) / (end - peak))

        return Curve(factor)


def _wave(begin: float, end: float, share: float) -> float:
    return end + (begin - end) / 2 * (1 + cos(pi * share))


@dataclass(frozen=True, repr=False)
class cosine_restarts(Part):
    """Cosines one after another, each beginning with a step at the base rate: floor + (1 − floor)(1 + cos(π e/nᵢ))/2.

    e counts from 0 in each cycle, and nᵢ = first · multⁱ. torch's `CosineAnnealingWarmRestarts(T_0=first,
    T_mult=mult)` at e = s − 1. Loshchilov & Hutter 2017 (arXiv:1608.03983).

    Args:
        first: length of the first cycle.
        mult: each cycle lasts so many times as long as the one before.
        floor: where each cycle ends, from 0 to 1.
        length: how long the part lasts.

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
    """Steps since the cycle began that holds step e, and how long it lasts."""
    if mult == 1:
        return e % n, n
    while e >= n:
        e, n = e - n, n * mult
    return e, n


@dataclass(frozen=True, repr=False)
class inverse_sqrt(Part):
    """Up in a straight line, then down with one over the root of time: min(s/w, √(w/s)).

    transformers' `get_inverse_sqrt_schedule(num_warmup_steps=w)` at e = s; Vaswani et al. 2017 (arXiv:1706.03762,
    section 5.3) with the greatest rate as the base rate.

    Args:
        warmup: w, when the base rate is reached.
        length: how long the part lasts.

    >>> inverse_sqrt(2).bind(T=8, steps_per_epoch=1).values([1, 2, 8]).tolist()
    [0.5, 1.0, 0.5]
    """

    warmup: Duration
    length: Rest = None

    def over(self, span: Span) -> Curve:
        w = span.steps(self.warmup)
        if Length.parse(self.warmup).exact(span.T, span.steps_per_epoch) > span.end - span.begin:
            problem = f"the warmup lasts {w} steps, but {self} has only {span.n} of the run's {span.T}; shorten it"
            raise ScheduleError(str(self), len("inverse_sqrt("), problem)
        return Curve(lambda s: s / w if s < w else sqrt(w / s))
