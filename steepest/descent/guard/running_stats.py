"""Running medians, and deviations that a few outliers do not change."""

import math
from bisect import bisect_left
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from operator import sub
from typing import Any, NamedTuple

MAD = 1.4826
"""Standard deviations of a normal distribution in one median absolute deviation."""
NORMAL_90 = 1.2816
"""The 90th percentile of a normal distribution."""
REFRESH_STEPS = 8
"""Steps between two computations of the medians: a sort costs as much as judging five steps."""


LEAST_NORM = 1e-300
"""A gradient of 0 has the log of this norm."""
ZERO_GRADIENT = math.log(LEAST_NORM)
EARLIER_LOG_RATIO = math.log(10.0)
"""A gradient within ten times the highest median of the run is no outlier."""
MIN_NORMS = 8
"""Gradients that are not 0 from which on one of them can be an outlier."""


class RunningStats:
    """The last n values, and their median and robust deviation as of the last `refresh`.

    The names of the attributes are keys of the stored state, and part of the format.
    """

    def __init__(self, n: int) -> None:
        self.values: deque[float] = deque(maxlen=n)
        self.median, self.deviation = 0.0, math.inf

    def refresh(self, with_tail: bool = True) -> None:
        """Computes median and deviation.

        Where more than half of the values are the same, as losses of 0 are, the deviation is that of the others. Where
        a tail of them varies more than the half near the median, it is that of the steps from one value to the next,
        which a trend does not widen. Without the tail it is that of the half near the median.
        """
        values = sorted(self.values)
        if not values:
            return
        self.median = values[len(values) // 2]
        distance = _distance(values, self.median, len(values) // 2)
        if distance == 0 and values[0] != values[-1]:
            others = [x for x in values if x != self.median]
            distance = sorted(abs(x - self.median) for x in others)[len(others) // 2]
        self.deviation = max(MAD * distance, _upper_deviation(self.values) if with_tail else 0.0)

    def state_dict(self) -> dict[str, Any]:
        """The state as JSON."""
        return {**vars(self), "values": list(self.values)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores the result of `state_dict`."""
        vars(self).update(state, values=deque(state["values"], maxlen=self.values.maxlen))


class GradientLimits(NamedTuple):
    """Limits of the gradient's norm, as logs.

    Attributes:
        clip: a gradient beyond it is clipped to it.
        skip: a step beyond it is skipped.
    """

    clip: float
    skip: float


NO_LIMITS = GradientLimits(math.inf, math.inf)


class GradientNorms(RunningStats):
    """The logs of the last gradient norms above 0, and the limits of the next one.

    A gradient of exactly 0, as a hinge loss gives, says nothing about the size of the others.

    Attributes:
        outliers: how many of the last norms in a row were outliers.
        highest: the highest median so far: a gradient like those of an earlier time is no outlier, however small the
            others have become.
    """

    def __init__(self, n: int, highest: float = -math.inf) -> None:
        super().__init__(n)
        self.outliers, self.highest = 0, highest

    def refresh(self, with_tail: bool = True) -> None:
        """Computes median and deviation, and the highest median."""
        super().refresh(with_tail)
        if len(self.values) >= MIN_NORMS:
            self.highest = max(self.highest, self.median)

    def add(self, log_norm: float, limit: float) -> bool:
        """Adds a norm, capped at the limit; returns whether it is an outlier."""
        if log_norm == ZERO_GRADIENT:
            return False
        self.values.append(min(log_norm, limit))
        self.outliers = self.outliers + 1 if log_norm > limit else 0
        return log_norm > limit

    def add_calm(self, log_norms: Sequence[float]) -> None:
        """Adds norms below the limit."""
        self.values.extend(x for x in log_norms if x != ZERO_GRADIENT)
        self.outliers = 0

    def limits(self, deviations: float, min_log_ratio: float, max_skips: int) -> GradientLimits:
        """Limits so many robust deviations above the median and at least `min_log_ratio`; steps at twice that skip.

        After `max_skips` outliers in a row no step is skipped: the gradients have changed for good.
        """
        if len(self.values) < MIN_NORMS:
            return NO_LIMITS
        beyond = max(deviations * self.deviation, min_log_ratio)
        limit = max(self.median + beyond, self.highest + EARLIER_LOG_RATIO)
        return GradientLimits(limit, limit + beyond if self.outliers < max_skips else math.inf)


def _upper_deviation(values: Iterable[float]) -> float:
    """The standard deviation of normal values whose differences, from one to the next, have the same upper tenth."""
    differences = sorted(map(sub, islice(values, 1, None), values))
    return differences[int(0.9 * len(differences))] / (math.sqrt(2.0) * NORMAL_90) if differences else 0.0


def _distance(values: Sequence[float], center: float, k: int) -> float:
    """The k-th smallest |x − center|, counted from 0, without computing all of them.

    The k + 1 nearest values are contiguous in the order; a bisection finds where they begin.
    """
    last = len(values) - 1 - k

    def farthest(i: int) -> float:
        return max(center - values[i], values[i + k] - center)

    i = bisect_left(range(last), True, key=lambda i: values[i + k] - center >= center - values[i])
    return farthest(i) if i == 0 else min(farthest(i), farthest(i - 1))
