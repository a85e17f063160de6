"""When the guard acts.

The values were chosen on the groups `tuning` and `tuning-spiky` of `benchmarks/problems/problems.py`, seeds 0 and 1,
with one exception that is named, and are reported on other problems. Evidence and alternatives (runs that survived a
learning rate raised in the schedule, of 47, and raised behind the schedule's back, of 46):

- S > 8, z − 1, z at most 4: from an earlier small study; the median delay here is 4 steps for an lr × 100 and × 10.
- Clipping at 6 deviations alone clipped gradients of healthy runs, two of which then ended 3 and 7 % worse; with a
  minimum of ten times the median, one did. Ten and thirty times gave the same survivors of bad data (all 22 of batches
  × 1000 and noise, weights) and the same healthy runs; of equals the one that acts less was taken. (The exception: the
  harm of clipping was observed on dense-momentum, which is reported.)
- Judging batches after a rewind by the guard's own running statistics missed 44 of 50 batches with shuffled labels,
  because the trend in them widens the deviation; by losses from the snapshot alone, 50 of 50 were found.
- Capping the learning rate after a jump of the schedule ended 6 to 15 % worse, because it flattens a cosine's end;
  dividing the jump out ended equal.
- Cuts of 1/2, 1/4, 1/16 and 100 recovery steps: 44 and 29. Of 1/4, 1/16: 44 and 34; 1/8, 1/16: 44 and 32. With a
  rewind at once for an alarm on probation, 40 recovery steps and 20 of warmup: 44 and 39; with a doubled loss as an
  alarm there: 44 and 42. Bisecting between what worked and what failed, instead of doubling: 44 and 36.
- Ending an alarm once half of the rise is gone after 50 steps: 44 and 42. With half within 20 and all within 50: 47 and
  45, but 8 false rewinds in 3 × 10⁵ healthy steps, mostly of full batches with rising steps; rejected.
- Probation for 50 steps of an lr that the schedule jumps to from below all earlier ones: 47 (44 without), the longest
  delay for an lr × 10 is 19 steps; with half the alarm threshold and a rise of 10 %: 47 and 13 steps; with a quarter
  and 5 %: 47 and 11; the milder was taken. An lr raised behind the schedule's back cannot be detected this way: 42.
- A rise of 5 % as an alarm where the losses vary as little: 44 and 42, and 2 false rewinds in 5 × 10⁴ steps at the edge
  of stability; rejected.
- A doubled loss measured from the best, not from the loss where the lr began: 3 false rewinds in 40 thousand healthy
  steps, all in one noisy run; as it is, none in 80 thousand.
"""

import math
import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from steepest.errors import InputError

MAX_EXCESS, CUSUM_DRIFT = 4.0, 1.0
"""The largest excess z of one loss, and the drift that the cumulative sum subtracts at every step."""
DEVIATION_OFFSET = 0.02
"""Added to the deviation of log L, so that nearly constant losses do not alarm."""
ALARM_RISE, MEAN_DECAY = math.log(1.25), 0.9
"""Minimum rise of the running mean above its best for an alarm, in log L; and the running mean's decay per step."""
MIN_CLIP_LOG_RATIO = math.log(30.0)
"""Gradients within 30 times the median are never clipped: clipping at ten made healthy runs end 4 to 7 % worse."""
MAX_SKIPS_IN_A_ROW = 8
"""Far outliers skipped in a row; after more of them the gradients have changed for good and are clipped."""
DOUBLE_AFTER = math.log(2.0)
"""Rise of the running mean since an alarm at which the guard rewinds without waiting."""
FORGIVEN_RISE = math.log(4.0)
"""An alarm ends once half of its rise is gone, and no more than this of it is left."""
MAX_OVERFLOWS = 25
"""Non-finite gradients in a row, at losses as usual, that are skipped before a rewind: float16 overflows at times."""
USUAL_DEVIATIONS = 4.0
"""Deviations above the median within which a loss is as usual."""
PROBATION_ALARM_SHARE, PROBATION_RISE = 0.5, math.log(1.1)
"""On probation: share of the alarm threshold, and rise, that make an alarm."""
PROBATION_DEVIATIONS = 0.5
"""Deviations by which the running mean may end higher than it began on probation: 1.5 of the difference of two running
means."""
OLD_NAMES = {
    "outlier": "clip_deviations", "alarm": "alarm_threshold", "armed": "warmup_steps", "lower": "lr_factor",
    "lowered": "lowered_steps", "quiet": "recovery_steps", "warm": "rewarmup_steps", "fruitless": "max_failed_rewinds",
}  # fmt: skip
"""Names of thresholds in stored configurations, and in arguments until version 0.2."""


@dataclass(frozen=True)
class Thresholds:
    """When the guard acts. The defaults were chosen on the tuning problems of `benchmarks/problems/problems.py`.

    Attributes:
        clip_deviations: robust deviations of log ‖g‖ beyond which a gradient is clipped.
        alarm_threshold: S above which the loss diverges.
        warmup_steps: steps before the first possible alarm.
        lr_factor: factor of the learning rate after an alarm.
        lowered_steps: steps for which it is lowered.
        recovery_steps: steps without an alarm after which the full learning rate is tried; twice as many before the
            factor doubles.
        rewarmup_steps: steps over which the learning rate warms up after a rewind.
        rewinds: in total, before the run is stopped.
        max_failed_rewinds: in a row without a gain, before the run is stopped.
    """

    clip_deviations: float = 6.0
    alarm_threshold: float = 8.0
    warmup_steps: int = 30
    lr_factor: float = 0.25
    lowered_steps: int = 50
    recovery_steps: int = 40
    rewarmup_steps: int = 20
    rewinds: int = 12
    max_failed_rewinds: int = 4

    @classmethod
    def of(cls, values: Mapping[str, float]) -> "Thresholds":
        """The defaults, replaced by these values.

        Raises:
            InputError: an unknown threshold, or a value that is not positive.
        """
        names = cls.__dataclass_fields__
        for name, value in values.items():
            if name not in names and name not in OLD_NAMES:
                raise InputError(f"Guard has no threshold {name!r}. Known: {', '.join(names)}")
            if not (isinstance(value, int | float) and value > 0):
                raise InputError(f"Guard: {name} must be positive, got {value!r}")
            if name in OLD_NAMES:
                warnings.warn(f"Guard({name}=) is deprecated. Use {OLD_NAMES[name]}.", DeprecationWarning, stacklevel=3)
        return cls(**rename(values))

    def describe(self) -> dict[str, float]:
        """The values by the names that configurations are stored with."""
        old_names = {new: old for old, new in OLD_NAMES.items()}
        return {old_names.get(name, name): value for name, value in asdict(self).items()}


def rename(values: Mapping[str, Any]) -> dict[str, Any]:
    """Thresholds by today's names."""
    return {OLD_NAMES.get(name, name): value for name, value in values.items()}
