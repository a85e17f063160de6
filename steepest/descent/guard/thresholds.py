"""When the guard acts.

The figures were chosen on the groups `tuning` and `tuning-spiky` of `benchmarks/problems/problems.py`, seeds 0 and 1,
with one
exception that is named, and are reported on others. What chose them, beside what was tried (survivors of raised rates
in the schedule, of 47, and beneath it, of 46):

- S > 8, z − 1, z at most 4: of an earlier small study; here the median delay is 4 steps for a rate × 100 and × 10.
- Clipping at 6 deviations alone clipped gradients of healthy runs, and two of them then ended 3 and 7 % worse; with ten
  times the median as well, one. Ten and thirty times gave the same survivors of data's faults (all 22 of batches × 1000
  and noise, weights) and the same healthy runs: of equals, the one that acts less. (The exception: that clipping harms
  was seen on dense-momentum, which is reported.)
- Judging a batch, when looking back, by the guard's own window missed 44 of 50 batches with shuffled labels, for its
  trend widens the deviation; by batches seen from the same point it found 50 of 50.
- A ceiling on the rate after a jump of the schedule ended 6 to 15 % worse, for it flattens a cosine's end; taking the
  jump back ended equal.
- Cuts of 1/2, 1/4, 1/16 and 100 quiet steps: 44 and 29. Of 1/4, 1/16: 44 and 34; 1/8, 1/16: 44 and 32. With an alarm at
  a rate that is being tried a rewind, 40 quiet steps and 20 of warming up: 44 and 39; with a doubled loss an alarm
  there: 44 and 42. Bisecting between what worked and what failed, instead of doubling: 44 and 36.
- An alarm that is over once half of the rise is gone after 50 steps: 44 and 42. With half within 20 and all within 50:
  47 and 45, but 8 false rewinds in 3 × 10⁵ healthy steps, of full batches with rising steps above all; not done.
- A rate that the schedule jumps to, above all before, on trial for 50 steps: 47 (44 without), the longest delay for a
  rate × 10 19 steps; with half the alarm and a rise of 10 % there: 47 and 13 steps; with a quarter and 5 %: 47 and 11,
  and the milder is taken. Nothing tells a rate raised beneath the schedule: 42.
- A rise of 5 % as an alarm where the losses vary as little: 44 and 42, and 2 false rewinds in 5 × 10⁴ steps at the edge
  of stability; not done.
- A doubled loss measured from the best, not from where the rate began: 3 false rewinds in 40 thousand healthy steps,
  all in one noisy run; as it is, none in 80 thousand.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from steepest.errors import InputError

CAP, DRIFT, FLOOR = 4.0, 1.0, 0.02
RISE, MEAN = math.log(1.25), 0.9
"""How far the running mean must lie above its best, in log L; and the share of it that stays at each step."""
BORNE = math.log(30.0)
"""A gradient within thirty times the usual one is borne: clipping those of ten made healthy runs end 4 to 7 % worse."""
IN_A_ROW = 8
"""Far outliers that are skipped in a row; more of them are what the loss has become, and are clipped."""
DOUBLED = math.log(2.0)
"""A running mean that has doubled since the alarm need not be waited for."""
ON_TRIAL = 0.5, math.log(1.1)
"""Where the schedule has jumped above all before: share of the usual alarm, and rise, that are one."""
CHANCE = 0.5
"""Deviations by which the running mean may lie higher at the end of a trial than at its beginning: 1.5 of the
difference of two running means."""


@dataclass(frozen=True)
class Thresholds:
    """When the guard acts. The defaults were chosen on the tuning problems of `benchmarks/problems/problems.py`.

    Attributes:
        outlier: robust deviations of log ‖g‖ beyond which a gradient is clipped.
        alarm: S above which the loss diverges.
        armed: steps before that can be.
        lower: factor of the rate after an alarm.
        lowered: steps for which it is lowered.
        quiet: steps without an alarm after which the full rate is tried; twice as many before it doubles.
        warm: steps over which the rate warms up after a rewind.
        rewinds: in all, before the run is stopped.
        fruitless: in a row without a gain, before the run is stopped.
    """

    outlier: float = 6.0
    alarm: float = 8.0
    armed: int = 30
    lower: float = 0.25
    lowered: int = 50
    quiet: int = 40
    warm: int = 20
    rewinds: int = 12
    fruitless: int = 4

    @classmethod
    def given(cls, values: Mapping[str, float]) -> "Thresholds":
        """The defaults with these in their place.

        Raises:
            InputError: a threshold that does not exist or cannot be meant.
        """
        known = cls.__dataclass_fields__
        for name, value in values.items():
            if name not in known:
                raise InputError(f"Guard: there is no threshold '{name}'; known: {', '.join(known)}")
            if not (isinstance(value, int | float) and value > 0):
                raise InputError(f"Guard: {name}={value!r} is given; expected is a number above 0")
        return cls(**values)  # type: ignore[arg-type]
