"""What is usual: the median of the last values, and a deviation that a few outliers do not move."""

import math
from collections import deque
from collections.abc import Mapping
from typing import Any

MAD = 1.4826
"""Standard deviations of a normal distribution in one median absolute deviation."""


class Window:
    """The last n values, and their median and robust deviation as of the last look."""

    def __init__(self, n: int) -> None:
        self.values: deque[float] = deque(maxlen=n)
        self.median, self.deviation = 0.0, math.inf

    def look(self) -> None:
        """Computes both anew."""
        ordered = sorted(self.values)
        self.median = ordered[len(ordered) // 2]
        self.deviation = MAD * sorted([abs(x - self.median) for x in ordered])[len(ordered) // 2]

    def state_dict(self) -> dict[str, Any]:
        """What it remembers, as JSON."""
        return {**vars(self), "values": list(self.values)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores what `state_dict` gave."""
        values = deque(state["values"], maxlen=self.values.maxlen)
        vars(self).update({**state, "values": values})
