"""Parts that go up and down: one cycle, triangles, and cosine waves that begin again."""

from dataclasses import dataclass
from math import cos, pi

from steepest.errors import InputError
from steepest.schedule.arguments import (
    Anneal,
    BelowOne,
    Decay,
    Duration,
    LeastRate,
    Limit,
    Multiple,
    NotNegative,
    Phases,
    Positive,
    Rest,
    Share,
    number_text,
)
from steepest.schedule.part import Part
from steepest.schedule.span import Curve, Span


@dataclass(frozen=True, repr=False)
class one_cycle(Part):
    """From 1/div up to `peak` and down to 1/(div · final_div), each along half a cosine wave.

    With three phases, from 1/div up to `peak`, as fast down to 1/div, and on to 1/(div · final_div).

    torch's `OneCycleLR(max_lr=base rate, total_steps=n)` at e = s − 1; the base learning rate is the
    maximum. Its momentum, whose base value is `max_momentum`, is a schedule of its own with
    `peak = base_momentum/max_momentum`: `one_cycle(peak=0.9, div=1, final_div=1)`.
    Smith & Topin 2018 (arXiv:1708.07120).

    Args:
        length: length of the cycle.
        rise: share of this part (not of the run) in which the factor increases, at least 0 and below 1.
        div: maximum ÷ first learning rate.
        final_div: first ÷ last learning rate.
        peak: the factor between the phases, at least 0.
        phases: 2 or 3; with 3, `rise` is at most 0.5.
        anneal: cos or linear.

    >>> one_cycle(rise=0.5, div=2, final_div=4).bind(T=4, steps_per_epoch=1).values([1, 2, 4]).tolist()
    [0.5, 1.0, 0.125]
    >>> momentum = one_cycle(rise=0.5, div=1, final_div=1, peak=0.8, anneal="linear")
    >>> print(momentum, momentum.bind(T=4, steps_per_epoch=1).values([1, 2, 4]).tolist())
    one_cycle(rise=0.5, div=1, final_div=1, peak=0.8, anneal=linear) [1.0, 0.8, 1.0]
    """

    from_zero = True

    length: Rest = None
    rise: BelowOne = 0.3
    div: Positive = 25.0
    final_div: Positive = 1e4
    peak: NotNegative = 1.0
    phases: Phases = 2
    anneal: Anneal = "cos"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.phases > 3 or (self.phases == 3 and self.rise > 0.5):
            raise InputError(
                f"one_cycle must have 2 phases, or 3 with rise at most 0.5, got phases={self.phases} and "
                f"rise={number_text(self.rise)}"
            )

    def over(self, span: Span) -> Curve:
        # Indices as in torch: the peak at e = rise · n − 1, which need not be whole, and the end at e = n − 1.
        first, last, n = 1 / self.div, 1 / self.div / self.final_div, span.n
        between = _wave if self.anneal == "cos" else _line
        phases = [(self.rise * n - 1, first, self.peak), (n - 1, self.peak, last)]
        if self.phases == 3:
            phases[1:] = [(2 * self.rise * n - 2, self.peak, first), (n - 1, first, last)]

        def factor(s: int) -> float:
            e, begin = s - 1, 0.0
            for end, start, stop in phases[:-1]:
                if end > begin and e <= end:
                    return between(start, stop, (e - begin) / (end - begin))
                begin = end
            end, start, stop = phases[-1]
            return between(start, stop, (e - begin) / (end - begin))

        return Curve(factor)


def _wave(begin: float, end: float, share: float) -> float:
    return end + (begin - end) / 2 * (1 + cos(pi * share))


def _line(begin: float, end: float, share: float) -> float:
    return (end - begin) * share + begin


@dataclass(frozen=True, repr=False)
class cyclic(Part):
    """Triangles between `begin` and `peak`: begin + (peak − begin) · rise(e) · cycle_gammaᶜ · gammaᵉ.

    e = s − 1 counts from 0, c is the number of complete cycles before it, and rise(e) goes from 0 to 1 in `up` steps
    and back in `down` steps. torch's `CyclicLR` at e = s − 1, with the base learning rate as `max_lr`: as it is for
    mode "triangular", with cycle_gamma=0.5 for "triangular2", with gamma for "exp_range". Its momentum, with
    `max_momentum` as base value, is `cyclic(up, begin=1, peak=base_momentum/max_momentum)`. Smith 2017
    (arXiv:1506.01186).

    Args:
        up: length of a rise.
        down: length of a fall; None for that of a rise.
        begin: the factor at the beginning of a cycle, at least 0.
        peak: the factor after a rise, at least 0.
        cycle_gamma: multiplies the height after each cycle, above 0 and at most 1.
        gamma: multiplies the height at each step, above 0 and at most 1.
        length: length of the part.

    >>> cyclic(2, begin=0.5, cycle_gamma=0.5).bind(T=8, steps_per_epoch=1).values(range(1, 9)).tolist()
    [0.5, 0.75, 1.0, 0.75, 0.5, 0.625, 0.75, 0.625]
    """

    from_zero = True

    up: Duration
    down: Rest = None
    begin: NotNegative = 0.1
    peak: NotNegative = 1.0
    cycle_gamma: Decay = 1.0
    gamma: Decay = 1.0
    length: Rest = None

    def over(self, span: Span) -> Curve:
        up, begin, peak = span.steps(self.up), self.begin, self.peak
        down = up if self.down is None else span.steps(self.down)

        def factor(s: int) -> float:
            cycle, e = divmod(s - 1, up + down)
            rise = e / up if e <= up else (up + down - e) / down
            return begin + (peak - begin) * rise * self.cycle_gamma**cycle * self.gamma ** (s - 1)

        return Curve(factor)


@dataclass(frozen=True, repr=False)
class cosine_restarts(Part):
    """Cosine cycles, each beginning with a step at its highest: floor + (decayⁱ − floor)(1 + cos(π e/nᵢ))/2.

    e counts from 0 in each cycle i, and nᵢ = first · multⁱ. torch's `CosineAnnealingWarmRestarts(T_0=first,
    T_mult=mult)` at e = s − 1; timm's `CosineLRScheduler(t_initial=first, cycle_mul=mult, cycle_decay=decay,
    cycle_limit=limit)` at t = s − 1. Loshchilov & Hutter 2017 (arXiv:1608.03983).

    Args:
        first: length of the first cycle.
        mult: length of a cycle ÷ length of the cycle before.
        floor: the factor at the end of each cycle, between 0 and 1.
        length: length of the part.
        decay: highest factor of a cycle ÷ that of the cycle before, above 0 and at most 1.
        limit: number of cycles, after which the floor is held; None for no end.
        min_lr: the learning rate at the end of each cycle, in place of the floor.

    >>> cosine_restarts(2).bind(T=4, steps_per_epoch=1).values(range(1, 5)).round(9).tolist()
    [1.0, 0.5, 1.0, 0.5]
    """

    from_zero = True

    first: Duration
    mult: Multiple = 1
    floor: Share = 0.0
    length: Rest = None
    decay: Decay = 1.0
    limit: Limit = None
    min_lr: LeastRate = None

    def over(self, span: Span) -> Curve:
        first, mult, floor, decay, limit = span.steps(self.first), self.mult, self.floor, self.decay, self.limit

        def factor(s: int) -> float:
            cycle, e, n = _in_cycle(s - 1, first, mult)
            if limit is not None and cycle >= limit:
                return floor
            return floor + (decay**cycle - floor) * (1 + cos(pi * e / n)) / 2

        return Curve(factor)


def _in_cycle(e: int, n: int, mult: int) -> tuple[int, int, int]:
    """The cycle of step e, the index of the step in it, and its length."""
    if mult == 1:
        return *divmod(e, n), n
    cycle = 0
    while e >= n:
        cycle, e, n = cycle + 1, e - n, n * mult
    return cycle, e, n


@dataclass(frozen=True, repr=False)
class cosine_cycles(Part):
    """A number of equal cosine cycles: floor + (decayⁱ − floor)(1 + cos(π x))/2, with i + x = cycles · s/n.

    transformers' `get_cosine_with_hard_restarts_schedule_with_warmup(num_cycles=cycles)` at e = s.

    Args:
        cycles: number of cycles, at least 1.
        floor: the factor at the end of each cycle, between 0 and 1.
        decay: highest factor of a cycle ÷ that of the cycle before, above 0 and at most 1.
        length: length of all cycles.
        min_lr: the learning rate at the end of each cycle, in place of the floor.

    >>> cosine_cycles(2).bind(T=4, steps_per_epoch=1).values(range(1, 5)).round(9).tolist()
    [0.5, 1.0, 0.5, 0.0]
    """

    cycles: Multiple
    floor: Share = 0.0
    decay: Decay = 1.0
    length: Rest = None
    min_lr: LeastRate = None

    def over(self, span: Span) -> Curve:
        cycles, floor, decay, n = self.cycles, self.floor, self.decay, span.n

        def factor(s: int) -> float:
            cycle, e = divmod(cycles * s, n)
            return floor if s >= n else floor + (decay**cycle - floor) * (1 + cos(pi * e / n)) / 2

        return Curve(factor)
