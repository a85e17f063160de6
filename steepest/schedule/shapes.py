"""The named parts of schedules, one formula each.

A part has n steps of its own, s = 1 … n. Where another library counts from 0, the index e at which it agrees is stated:
most parts agree at e = s, as they reach their end at the last step; those that begin with a whole step at the base
learning rate agree at e = s − 1. With `offset=-1` (`Bound`) the first are evaluated at s − 1 too, and all agree at the
peer's own index.
"""

from bisect import bisect_right
from dataclasses import dataclass
from math import cos, pi, sqrt

from steepest.errors import ScheduleError
from steepest.schedule.arguments import (
    Duration,
    Durations,
    Function,
    LeastRate,
    NotNegative,
    Positive,
    Rest,
    Share,
    check_factor,
)
from steepest.schedule.part import Part, check_power
from steepest.schedule.span import Curve, Span


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

    transformers' `get_constant_schedule_with_warmup` at e = s. A warmup from a tenth of the base learning rate is
    `0.1 * linear(500, end=10)`: torch's `LinearLR(start_factor=0.1, total_iters=500)`.

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
        min_lr: the last learning rate, in place of the floor; a base learning rate below it stays as it is.

    >>> cosine(floor=0.5).bind(T=2, steps_per_epoch=1).values([1, 2]).tolist()
    [0.75, 0.5]
    """

    length: Rest = None
    floor: Share = 0.0
    min_lr: LeastRate = None

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
        min_lr: the last learning rate, in place of the end.

    >>> linear().bind(T=4, steps_per_epoch=1).values(range(1, 5)).tolist()
    [0.75, 0.5, 0.25, 0.0]
    """

    length: Rest = None
    end: NotNegative = 0.0
    min_lr: LeastRate = None

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
        min_lr: the last learning rate, in place of the end.

    >>> polynomial(2).bind(T=4, steps_per_epoch=1).values(range(1, 5)).tolist()
    [0.5625, 0.25, 0.0625, 0.0]
    """

    power: Positive
    end: NotNegative = 0.0
    length: Rest = None
    min_lr: LeastRate = None

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

    from_zero = True

    every: Duration
    gamma: Positive = 0.1
    length: Rest = None

    def over(self, span: Span) -> Curve:
        every, gamma = span.steps(self.every), self.gamma
        check_power(self, gamma, (span.n - 1) // every, span)
        return Curve(lambda s: gamma ** ((s - 1) // every))


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


@dataclass(frozen=True, repr=False)
class multistep(Part):
    """Multiplication by gamma at each milestone: gamma^(number of milestones ≤ s − 1).

    torch's `MultiStepLR(milestones)` at e = s − 1; optax's `piecewise_constant_schedule`.

    Args:
        milestones: steps after which the factor changes, from the beginning of the part.
        gamma: factor from one level to the next, above 0.
        length: length of the part.

    >>> multistep([2, "75%"], gamma=0.5).bind(T=4, steps_per_epoch=1).values(range(1, 5)).tolist()
    [1.0, 1.0, 0.5, 0.25]
    >>> print(multistep(["30 epochs", "60 epochs"]))
    multistep([30 epochs, 60 epochs])
    """

    from_zero = True

    milestones: Durations
    gamma: Positive = 0.1
    length: Rest = None

    def over(self, span: Span) -> Curve:
        milestones, gamma = sorted(span.steps(milestone) for milestone in self.milestones), self.gamma
        check_power(self, gamma, len(milestones), span)
        return Curve(lambda s: gamma ** bisect_right(milestones, s - 1))


@dataclass(frozen=True, repr=False)
class cooldown(Part):
    """Decay that is fastest at its beginning: floor + (1 − floor)(1 − (s/n)^power), with 1 − √(s/n) by default.

    The last part of warmup-stable-decay, `warmup(5%) >> constant >> cooldown(20%)`: transformers'
    `get_wsd_schedule(decay_type="1-sqrt")` at e = s. Hägele et al. 2024 (arXiv:2405.18392, section 3.2).

    Args:
        length: when the floor is reached.
        floor: the last factor, between 0 and 1.
        power: above 0; 1 is `linear`.
        min_lr: the last learning rate, in place of the floor.

    >>> cooldown().bind(T=4, steps_per_epoch=1).values(range(1, 5)).round(4).tolist()
    [0.5, 0.2929, 0.134, 0.0]
    """

    length: Rest = None
    floor: Share = 0.0
    power: Positive = 0.5
    min_lr: LeastRate = None

    def over(self, span: Span) -> Curve:
        n, floor, power = span.n, self.floor, self.power
        return Curve(lambda s: floor + (1 - floor) * (1 - (s / n) ** power))


@dataclass(frozen=True, repr=False)
class custom(Part):
    """A function of one's own: f(s, n).

    torch's `LambdaLR` at e = s. A text cannot hold a function: it prints as `custom(name)`, which a run records and
    `parse` refuses. Such a run cannot be resumed; `start=` begins another at its end.

    Args:
        f: (t, T) → factor, at least 0, for t = 1 … T of the part, and the same for equal arguments.
        length: length of the part.

    >>> from steepest.schedule import warmup
    >>> schedule = warmup(2) >> custom(lambda t, T: 1 / t)
    >>> schedule.bind(T=4, steps_per_epoch=1).values(range(1, 5)).tolist()
    [0.5, 1.0, 1.0, 0.5]
    """

    f: Function
    length: Rest = None

    def over(self, span: Span) -> Curve:
        f, n = self.f, span.n
        return Curve(lambda s: check_factor(f(s, n), f"the factor of {self} at step {s} of {n}"))

    def __str__(self) -> str:
        name = getattr(self.f, "__name__", type(self.f).__name__).strip("<>")  # of a lambda
        return f"custom({name}, length={self.length})" if self.length else f"custom({name})"
