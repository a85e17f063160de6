"""The bounds of the diagnosis, and one table of how each symptom is shown: value, side of the problem, bound, words.

The bounds were chosen on 9,528 runs of the 290 trainings of SPENT in `benchmarks/diagnosis/trainings`. There the
diagnosis was right in 96.1 % before the rule on unknown floors (`diagnose`); with bounds chosen without a fifth of the
tasks, it was right in 96.0 % of that fifth. Losses are in units of the initial loss.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

from steepest.analysis.diagnosis.symptoms import TINY_GRADIENT, Symptoms
from steepest.records.verdict import digits

MIN_FINITE_STEPS = 20
"""With fewer finite steps there is no diagnosis."""
MIN_NONFINITE_STEPS = 3
"""Non-finite steps of an explosion; fewer may be bad data."""

DISTANCE_TINY, DISTANCE_SMALL, DISTANCE_LARGE = 0.03, 0.3, 1.2
"""Distance moved per weight. Tiny: less than the initial weights, so the lr is too low whatever the loss says. Small:
the lr is too low if the predicted decrease is small too. Large: the lr is not too low."""
PREDICTED_SURE, RATIO_SLOW_MIN = 2.0, 0.065
"""A learning rate is too low for sure where the steps predict a decrease below 2; or where the loss fell by at least
6.5 % of the prediction: it still follows the steps, and larger ones would bring more. Chosen on `choice` of
`benchmarks/diagnosis/floors`."""
TREND_ERRORS, TREND_MIN = 2.5, 0.03
"""A loss still falls where its slope on log Σ lr is so many standard errors above 0, and a factor 3 brings so much."""
PREDICTED_DECREASE_MIN, PREDICTED_DECREASE_NOISE_MAX = 14.0, 30.0
"""Predicted decrease: below 14 the steps may have been too small. Where nothing was gained, noise explains up to 30,
and more if the loss never rose."""
DECREASE_NONE, DECREASE_NONE_AFTER_PEAK, DECREASE_PARTIAL, DECREASE_GOOD = 0.1, 0.2, 0.4, 0.75
"""Decrease of the loss: below 0.1 (0.2 after a peak) nothing was gained; below 0.4 there is more to gain; above 0.75
the lr is no problem, since a non-negative loss can gain at most a third of that on top."""
REMAINING_GAIN_LARGE = 0.3
"""Share of its fall that a run with too low an lr would gain with 10 × the cumulative lr."""
NOISE_EXCESS_SMALL, NOISE_EXCESS_MAX_ON_PLATEAU, NOISE_EXCESS_LARGE = 0.1, 0.03, 0.25
"""Excess loss from gradient noise: small relative to the fall or gain; large enough (in initial losses) to hide a
slope; a large share of the fall."""
LEARNED_MIN = 0.005
"""A validation loss that fell by more is not on a plateau."""
DECREASE_RATIO_MIN = 0.02
"""Actual / predicted decrease: below this there is no slope."""
GRADIENT_Q05_MIN, GRADIENT_Q05_MIN_BATCH = 0.14, 4
"""5 % quantile / median of the gradient norm: below 0.14 only one or two components are non-zero, so most weights have
no gradient (|N(0, 1)| has 0.09, two components 0.27, ten 0.65). In batches of fewer than 4 samples gradients may
cancel."""
PEAK_GRADIENT_MAX = 8.0
"""Largest / mean late gradient norm: above 8 a step diverged to where the loss is flat."""
RISE_ERRORS_MAX, RISE_ROUNDING = 3.0, 1e-12
"""A rise above the start of up to so many standard errors is chance; one below the second is rounding."""
RISE_MAX, PEAK_RISE_MAX = 0.5, 10.0
"""Rise of the loss above its start: above 0.5 the lr was too high if there is no noise; above 10 even if the loss fell
since."""
EXPLOSION_COHERENCE, COHERENCE_NOT_NOISE = 0.055, 0.0125
"""Adam's step size / lr: below 0.055 the second moment remembers an explosion; noise never makes it 0.0125."""
BATCH_SPREAD_MIN, NOISY_BATCH_SIZE = 0.15, 6
"""Batch-to-batch spread of the loss where noise matters; in batches of fewer than 6 samples it always does. Where a
divergent step left units inactive or saturated, outputs and loss hardly depend on the batch."""
OSCILLATION_MAX = 0.1
"""Share of its largest fall by which a loss oscillates, or that it has regained."""
REGAINED_MAX, REGAINED_ALL = 0.1, 1.0
"""Share of its fall that the validation loss regains when a run overfits; and where that is what to fix first."""


# -- How symptoms are shown --------------------------------------------------------------------------------------------


class Indicator(NamedTuple):
    """A number that a finding rests on.

    Attributes:
        words: the symptom with its value.
        value: of this run.
        limit: where the problem begins.
        problem: on which side of the limit, in words; empty where there is no problem.
    """

    words: str
    value: float
    limit: float
    problem: str = ""

    def __str__(self) -> str:
        return f"{self.words} ({self.problem})" if self.problem else self.words


class Sign(NamedTuple):
    """One row of the table: how a symptom is shown.

    Attributes:
        value: of a run's symptoms.
        side: of the bound on which the problem lies: "below" or "above".
        bound: where the problem begins.
        words: with {} for the value.
        text: shows a value.
        problem: with {} for the side and the bound.
    """

    value: Callable[[Symptoms], float]
    side: str
    bound: float
    words: str
    text: Callable[[float], str]
    problem: str = "problem {}"

    def indicator(self, s: Symptoms) -> Indicator:
        """The symptom of a run, its bound beside it."""
        value, unit = self.value(s), "×" if "{}×" in self.words else ""
        text = self.text(value)
        if text == UNKNOWN:
            return Indicator(self.words.partition("{}")[0] + UNKNOWN, value, self.bound)
        bound = f"{self.side} {self.text(self.bound).removeprefix('fell by ')}{unit}"
        return Indicator(self.words.format(text), value, self.bound, self.problem.format(bound))


UNKNOWN = "—"
MEANINGLESS = 1e6
"""A quotient above this has no meaningful denominator."""


def plain(x: float) -> str:
    """A number, or a dash where it is meaningless."""
    return digits(x) if abs(x) < MEANINGLESS else UNKNOWN


def multiple(x: float) -> str:
    """A multiple of the initial loss; of a large one its bound, and a dash where there is none.

    >>> multiple(12.9), multiple(2846409.9), multiple(float("nan"))
    ('12.9', '> 1,000,000', '—')
    """
    return digits(x) if abs(x) < MEANINGLESS else _beyond(x, MEANINGLESS)


def percent(x: float, most: int = 10) -> str:
    """A share.

    >>> percent(0.9876), percent(453.0), percent(-6.45e297), percent(float("nan"))
    ('98.8 %', '> 1,000 %', '< −1,000 %', '—')
    """
    if not math.isfinite(x):
        return UNKNOWN
    return f"{digits(100 * x) if abs(x) <= most else _beyond(100 * x, 100 * most)} %"


def _beyond(x: float, most: float) -> str:
    """That a number is larger than a bound, or a dash where it is none."""
    if not math.isfinite(x):
        return UNKNOWN
    return f"> {most:,.0f}" if x > 0 else f"< −{most:,.0f}"


def share(x: float) -> str:
    """A share of a whole: more than the whole says nothing."""
    return percent(x, 1)


def change(decrease: float) -> str:
    """A fall or a rise of the loss."""
    return f"fell by {percent(decrease)}" if decrease >= 0 else f"rose by {percent(-decrease)}"


def of_fall(part: float, s: Symptoms) -> float:
    """Relative to the largest fall; NaN if the loss did not fall."""
    return part / s.max_fall if s.max_fall > TINY_GRADIENT else math.nan


# fmt: off
DECREASE = Sign(lambda s: s.decrease, "below", DECREASE_GOOD, "the loss {}", change)
NO_DECREASE = DECREASE._replace(bound=DECREASE_NONE)
PREDICTED_LARGE = Sign(lambda s: s.predicted_decrease, "above", PREDICTED_DECREASE_MIN,
                       "predicted decrease Σ‖Δw‖‖∇L‖: {}× the initial loss", multiple)
PREDICTED_SMALL = PREDICTED_LARGE._replace(side="below")
REMAINING_GAIN = Sign(lambda s: s.remaining_gain, "above", REMAINING_GAIN_LARGE,
                      "still to gain with 10× the cumulative lr: {}", share)
NOISE_EXCESS = Sign(lambda s: of_fall(s.likely_excess, s), "above", NOISE_EXCESS_LARGE,
                    "loss excess from gradient noise: {} of the fall", share)
DISTANCE = Sign(lambda s: s.distance_per_weight, "below", DISTANCE_SMALL, "distance moved per weight: {}", plain)
DECREASE_RATIO = Sign(lambda s: s.decrease_ratio, "below", DECREASE_RATIO_MIN,
                      "actual / predicted decrease: at most {}", percent)
RATIO_SLOW = DECREASE_RATIO._replace(side="above", bound=RATIO_SLOW_MIN)
GRADIENT_Q05 = Sign(lambda s: s.gradient_q05_ratio, "below", GRADIENT_Q05_MIN,
                    "5th percentile / median of the gradient norm: {}", plain, "problem {}: few active weights")
PEAK_GRADIENT = Sign(lambda s: s.peak_gradient_ratio, "above", PEAK_GRADIENT_MAX,
                     "largest / mean late gradient norm: {}×", plain, "{} rules a plateau out")
RISE = Sign(lambda s: max(s.max_rise, 0.0), "above", RISE_MAX, "the loss rose by {}× its initial value", multiple)
COHERENCE = Sign(lambda s: s.coherence, "below", EXPLOSION_COHERENCE, "Adam's step size / lr: {}", plain)
OSCILLATION = Sign(lambda s: of_fall(max(s.max_fall - s.decrease, s.oscillation), s), "above", OSCILLATION_MAX,
                   "oscillation: {} of the largest fall", share)
BATCH_SPREAD = Sign(lambda s: s.batch_spread, "above", BATCH_SPREAD_MIN,
                    "batch-to-batch spread of the loss: {}", percent)
BATCH_SIZE = Sign(lambda s: s.batch_size, "below", NOISY_BATCH_SIZE, "batch size: {}", plain)
REGAIN = Sign(lambda s: s.validation_regain, "above", REGAINED_MAX,
              "validation loss regained {} of its fall", percent)
# fmt: on
