"""What is usual: the median of the last values, and a deviation that a few outliers do not move."""

import math
from bisect import bisect_left
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

MAD = 1.4826
"""Standard deviations of a normal distribution in one median absolute deviation."""
REFRESH = 8
"""Steps between two looks at the medians: a sort costs what five steps of judging do."""


class Window:
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


def _distance(ordered: Sequence[float], center: float, k: int) -> float:
    """The k-th smallest of all |x − center|, from 0, without computing them all.

    The k + 1 nearest values are neighbours in the order; the farther end of their stretch is halved in on.
    """
    last = len(ordered) - 1 - k

    def farthest(i: int) -> float:
        return max(center - ordered[i], ordered[i + k] - center)

    i = bisect_left(range(last), True, key=lambda i: ordered[i + k] - center >= center - ordered[i])
    return farthest(i) if i == 0 else min(farthest(i), farthest(i - 1))
