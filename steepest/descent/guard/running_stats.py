"""What is usual: the median of the last values, and a deviation that a few outliers do not move."""

import math
from bisect import bisect_left
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

MAD = 1.4826
"""Standard deviations of a normal distribution in one median absolute deviation."""
REFRESH = 8
"""Steps between two looks at the medians: a sort costs what five steps of judging do."""


class RunningStats:
    """The last n values, and their median and robust deviation as of the last look."""

    def __init__(self, n: int) -> None:
        self.values: deque[float] = deque(maxlen=n)
        self.median, self.deviation = 0.0, math.inf

    def look(self) -> None:
        """Computes both anew."""
        ordered = sorted(self.values)
        self.median = ordered[len(ordered) // 2]
        self.deviation = MAD * _distance(ordered, self.median, len(ordered) // 2)

    def state_dict(self) -> dict[str, Any]:
        """What it remembers, as JSON."""
        return {**vars(self), "values": list(self.values)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores what `state_dict` gave."""
        values = deque(state["values"], maxlen=self.values.maxlen)
        vars(self).update({**state, "values": values})


class GradientLimits(NamedTuple):
    """What a gradient is held to, as logs of its norm.

    Attributes:
        clip: beyond it the gradient is clipped to it.
        skip: beyond it the step is not taken.
    """

    clip: float
    skip: float


NO_LIMITS = GradientLimits(math.inf, math.inf)


class Norms(RunningStats):
    """The logs of the last gradient norms, and what the next one is held to.

    Attributes:
        outliers: in a row, up to the last one.
    """

    def __init__(self, n: int) -> None:
        super().__init__(n)
        self.outliers = 0

    def note(self, log_norm: float, limit: float) -> bool:
        """Takes one, no more of it than the limit; whether it is an outlier."""
        self.values.append(min(log_norm, limit))
        self.outliers = self.outliers + 1 if log_norm > limit else 0
        return log_norm > limit

    def bounds(self, deviations: float, borne: float, in_a_row: int) -> GradientLimits:
        """So many robust deviations above the median, and never less than what is borne; twice that is skipped.

        After so many outliers in a row nothing is skipped: this is what the loss has become.
        """
        beyond = max(deviations * self.deviation, borne)
        limit = self.median + beyond
        return GradientLimits(limit, limit + beyond if self.outliers < in_a_row else math.inf)


def _distance(ordered: Sequence[float], center: float, k: int) -> float:
    """The k-th smallest of all |x − center|, from 0, without computing them all.

    The k + 1 nearest values are neighbours in the order; the farther end of their stretch is halved in on.
    """
    last = len(ordered) - 1 - k

    def farthest(i: int) -> float:
        return max(center - ordered[i], ordered[i + k] - center)

    i = bisect_left(range(last), True, key=lambda i: ordered[i + k] - center >= center - ordered[i])
    return farthest(i) if i == 0 else min(farthest(i), farthest(i - 1))
