"""What the loss was at each learning rate, so that a rise that the schedule meant is known as such.

After a restart the loss rises to what it was when the learning rate was as high before. While the learning rate is not
above that of the best loss, no rise is meant.
"""

import math
from collections.abc import Mapping
from typing import Any

PER_OCTAVE = 2
"""Learning rates within a factor of √2 are taken as one."""
RISE_RATIO = 1.25
"""Ratio to the learning rate of the best loss above which a higher loss is meant."""


class RateLevels:
    """The loss's level at each learning rate of the schedule, as it was when the schedule left it.

    The names of the attributes are keys of the stored state, and part of the format.
    """

    def __init__(self) -> None:
        self._levels: dict[int, float] = {}
        self._place: int | None = None  # the present learning rate, in steps of √2
        self._level = math.inf
        self._best, self._best_lr, self._last_lr = math.inf, math.inf, math.inf

    def add(self, lr: float, level: float, best: float) -> None:
        """Takes the level of the loss at a learning rate, and the best so far."""
        if best != self._best:
            self._best, self._best_lr = best, min(lr, self._last_lr)  # it was between this call and the last
        self._last_lr = lr
        place = _place(lr)
        if place != self._place and self._place is not None:
            self._levels[self._place] = self._level
        self._place, self._level = place, level

    def before(self, lr: float) -> float:
        """The level when the schedule last left a learning rate like this one, above that of the best; −∞ otherwise."""
        place = _place(lr)
        is_higher = lr > RISE_RATIO * self._best_lr
        return self._levels.get(place, -math.inf) if is_higher and place is not None else -math.inf

    def state_dict(self) -> dict[str, Any]:
        """The state as JSON."""
        return {**vars(self), "_levels": [list(item) for item in self._levels.items()]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores the result of `state_dict`."""
        vars(self).update(state, _levels=dict(state["_levels"]))


def _place(lr: float) -> int | None:
    return round(PER_OCTAVE * math.log2(lr)) if lr > 0 else None
