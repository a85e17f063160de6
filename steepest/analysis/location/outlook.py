"""The look at the end in the reader's terms: what holds a run there, what a lower rate gains, whether longer helps.

What a lower learning rate gains is measured, by ten steps. What longer training gains is an estimate: the loss is taken
to fall by b log τ with τ = Σ lr, or as a power of τ, whichever is less; the interval covers both.
"""

import math
from typing import NamedTuple

import numpy as np

from steepest.analysis.diagnosis.symptoms import HIGH_LR_SHARE, TINY_GRADIENT, finite, fit_line
from steepest.records import verdict as kinds
from steepest.records.run import Steps
from steepest.records.verdict import FLATNESS, NOISE, NOTHING, RATE, Ending, Estimate, digits

TREND_BLOCKS, MIN_BLOCK_STEPS = 8, 3
"""The loss of a part of the run is taken as means of so many blocks, of at least so many steps: neighbours are not
independent."""
T_975 = 2.447
"""Of Student's t with `TREND_BLOCKS` − 2 degrees of freedom."""
RELEVANT_SHARE = 0.01
"""Share of the loss, or of its fall since the start if that is larger, that a gain has to reach to be worth advice."""
HELD_BY = {
    RATE: "The learning rate holds it here.",
    NOISE: "Gradient noise holds it here, at this learning rate.",
    FLATNESS: "A flat loss holds it here: the gradient leads hardly anywhere.",
}
"""What holds a run where it ended, in words; where nothing does, the verdict says enough."""
HOLDS = {
    kinds.DESCENDING: NOTHING,
    kinds.EDGE_OF_STABILITY: RATE,
    kinds.GRADIENT_FLAT: FLATNESS,
    kinds.SADDLE: FLATNESS,
    kinds.MAXIMUM: FLATNESS,
    kinds.MINIMUM: NOTHING,
}
"""What holds a run, by its verdict; what holds the others depends."""


class Trend(NamedTuple):
    """What the record tells of a run's end.

    Attributes:
        longer: decrease of the loss by as many steps again; None if there is no trend.
        fall: of the loss since the start.
        steps: of the run.
        is_positive: whether the loss was never negative: then no more can be gained than is left.
    """

    longer: Estimate | None
    fall: float
    steps: int
    is_positive: bool = False

    @classmethod
    def of(cls, steps: Steps) -> "Trend":
        """From the record of a run with a finite step."""
        loss = steps.loss[finite(steps)]
        window = max(1, len(loss) // 50)
        fall = max(float(loss[:window].mean() - loss[-window:].mean()), 0.0)
        return cls(longer_gain(steps), fall, len(steps), bool(loss.min() >= 0))

    @property
    def of_ten_steps(self) -> float:
        """The decrease by ten more steps, at most."""
        return 0.0 if self.longer is None else 10 * max(self.longer.high, 0.0) / (math.log(2) * self.steps)


def ending(
    kind: str, lower_lr: Estimate | None, loss: float, trend: Trend | None = None, holds: str = "", noise: str = NOISE
) -> Ending:
    """What an end means.

    Args:
        kind: of the verdict.
        lower_lr: decrease by ten steps at a tenth of the learning rate; None if it was not measured.
        loss: here.
        trend: of the run; None where it is not known.
        holds: what holds the run, where neither the verdict nor a lower rate decides it.
        noise: what holds a run where a lower rate helps: for full batches it is the rate.
    """
    relevant = RELEVANT_SHARE * max(abs(loss), 0.0 if trend is None else trend.fall)
    lower_helps = longer_helps = None
    if lower_lr is not None and all(map(math.isfinite, lower_lr)):
        if kind == kinds.NOISE_FLOOR:
            lower_helps = True
        elif trend is not None:
            least = relevant + trend.of_ten_steps
            is_still = kind != kinds.DESCENDING  # where a gradient step gains, ten small ones are too short to tell
            lower_helps = True if lower_lr.low > least else False if is_still and lower_lr.high < least else None
    longer = None if trend is None else trend.longer
    if longer is not None and trend is not None and trend.is_positive:
        longer = Estimate(*(min(x, max(loss, 0.0)) for x in longer))
    if longer is not None:
        longer_helps = True if longer.low > relevant else False if longer.high < relevant else None
    if kind == kinds.MINIMUM:  # a bound on all data weighs more than a trend, or than steps that left the place
        lower_helps, longer_helps = lower_helps and None, longer_helps and None
    if lower_helps and kind != kinds.EDGE_OF_STABILITY:
        holds = noise
    elif kind == kinds.DESCENDING and longer_helps is False:
        holds = RATE  # the slope is there, and its steps gain nothing
    else:
        holds = HOLDS.get(kind, holds)
    words = [HELD_BY[holds]] if holds in HELD_BY else []
    if lower_lr is not None:
        words.append(_lower_lr_words(lower_lr, loss, lower_helps))
    if trend is not None and longer is not None:
        words.append(_longer_words(longer, trend, longer_helps))
    return Ending(holds, lower_lr, longer, lower_helps, longer_helps, tuple(words))


def _lower_lr_words(gain: Estimate, loss: float, helps: bool | None) -> str:
    share = f", {digits(100 * gain.value / loss)} %" if loss > 0 else ""
    if gain.value < 0 and not helps:
        return "A lower learning rate gains nothing: ten steps at a tenth of it do not lower the loss."
    what = f"ten steps at a tenth of it lower the loss by {_number(gain)}{share}"
    if helps is None:
        return f"Ten{what[3:].replace('of it', 'of the learning rate')}."
    return f"A lower learning rate {'helps' if helps else 'gains little'}: {what}."


def _longer_words(gain: Estimate, trend: Trend, helps: bool | None) -> str:
    value = max(gain.value, 0.0)
    share = f" ({digits(100 * value / trend.fall)} % of its fall so far)" if 0 < value < trend.fall else ""
    again = (
        f"by its trend, {trend.steps:,} more steps lower the loss by about {digits(value)}{share}, a rough estimate."
    )
    if helps is None:
        return f"Whether longer training helps cannot be told: {again}"
    return f"Longer training would {'help' if helps else 'hardly help'}: {again}"


def _number(x: Estimate) -> str:
    return f"{digits(x.value)} ({digits(x.low)} to {digits(x.high)})"


def longer_gain(steps: Steps) -> Estimate | None:
    """The decrease of the loss by as many steps again at the learning rates in use, with an interval.

    With b₁ and b₂ the slopes of the loss over log τ, τ = Σ lr, in the third and the last doubling of τ, the loss falls
    by b₂ log 2 if it goes on as a logarithm, and by b₂ log 2 · b₂/b₁ as a power. Only steps at a high learning rate
    count: what falls while it decays is noise that ends, and the loss that is left shrinks in proportion.
    The interval is that of the slopes. It says nothing of whether the law goes on: of 20 trainings that were run again
    with twice as many steps, 6 ended within it.
    A loss that was never negative falls to a share of itself, 2^(−p) with p = b ÷ loss, and not below 0.

    Args:
        steps: of the whole run.

    Returns:
        None with too few steps, or if the learning rate was 0.
    """
    mask = finite(steps)
    lr, loss = np.abs(steps.lr[mask]), steps.loss[mask]
    if not len(lr) or not lr.max() > 0 or not mask[-1]:
        return None
    is_high = lr >= HIGH_LR_SHARE * lr.max()
    window = max(1, len(loss) // 50)
    end = abs(float(loss[-window:].mean()))
    lr, loss = lr[is_high], loss[is_high]
    tau = np.cumsum(lr)
    last, before = _slope(tau, loss, 0.5), _slope(tau, loss, 0.25)
    if last is None or before is None:
        return None
    share = 1.0 if is_high[-1] else min(1.0, end / max(abs(float(loss[-window:].mean())), TINY_GRADIENT))
    log_gain = Estimate(*(share * math.log(2) * x for x in last))
    ratio = min(max(last.value / before.value, 0.0), 1.0) if before.value > 0 else 1.0
    if log_gain.value > 0:
        log_gain = Estimate(ratio * log_gain.value, min(log_gain.low, ratio * log_gain.low), log_gain.high)
    return log_gain if steps.loss[mask].min() < 0 else Estimate(*(_within_loss(x, end) for x in log_gain))


def _within_loss(gain: float, loss: float) -> float:
    """A fall by this much, as a share of what is left: loss (1 − exp(−gain ÷ loss)), never more than the loss."""
    return gain if gain <= 0 else -loss * math.expm1(-gain / max(loss, TINY_GRADIENT))


def _slope(tau: np.ndarray, loss: np.ndarray, first: float) -> Estimate | None:
    """Fall of the loss by log τ from this share of τ to its double, from means of blocks; None with too few steps."""
    part = (tau > first * tau[-1]) & (tau <= 2 * first * tau[-1])
    if part.sum() < TREND_BLOCKS * MIN_BLOCK_STEPS:
        return None
    blocks = [np.array_split(x, TREND_BLOCKS) for x in (np.log(tau[part]), loss[part])]
    x, y = (np.array([block.mean() for block in group]) for group in blocks)
    slope, error = fit_line(x, y)
    half = T_975 * error
    return Estimate(-slope, -slope - half, -slope + half)
