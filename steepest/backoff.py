"""How a rate comes down after an explosion, and up again: a ceiling of its own beside the schedule."""

import math
from collections.abc import Mapping
from typing import Any

CUTS = (1 / 2, 1 / 4, 1 / 16)
"""Successive cuts: a network that works at 4 × its tuned rate is dead at 8 ×, so × 100 needs more than halvings."""
WARM_FROM = 0.1
JUMP = 2.0
"""A rate that rose by more than this before it failed goes back to what had worked."""


class Backoff:
    """A ceiling on the learning rate, which falls with each rewind and rises when all is quiet.

    The first rewind puts it to half the rate that failed, the next to a quarter of that, then to a sixteenth; where the
    rate had jumped, to the greatest that had worked before. The rate warms up again below it. After every `quiet` steps
    that it holds the rate down without an alarm the ceiling doubles, unless a rate of that level has failed twice.

    Attributes:
        ceiling: of the rate; infinite before anything has failed.

    Args:
        quiet: steps without an alarm before it doubles.
        warm: steps over which the rate warms up after a rewind, from a tenth.
    """

    def __init__(self, quiet: int, warm: int) -> None:
        self.quiet, self.warm = quiet, warm
        self.ceiling, self._since, self._age = math.inf, 0, 1 << 30
        self._successive, self._failed = 0, dict[int, int]()

    def step(self, lr: float) -> None:
        """One more step, at a rate that was to be `lr`."""
        self._age += 1
        if lr <= self.ceiling:
            return
        self._since += 1
        if self._since >= self.quiet:
            self._since = self._successive = 0
            if self._failed.get(_level(2 * self.ceiling), 0) < 2:
                self.ceiling *= 2

    def factor(self, lr: float) -> float:
        """Of a rate that is to be `lr`."""
        share = min(1.0, self._age / self.warm)
        return min(1.0, self.ceiling / lr if lr > 0 else 1.0) * (WARM_FROM + (1 - WARM_FROM) * share)

    def alarm(self, lost: int = 0) -> None:
        """The quiet is over, and begins anew once the steps that were lost by going back have been done again."""
        self._since = -lost

    def fail(self, rate: float, worked: float) -> None:
        """This rate has failed: lower the ceiling, and warm up again.

        Args:
            rate: that failed.
            worked: the greatest that had worked before; 0 where that is not known.
        """
        level = _level(rate)
        self._failed[level] = self._failed.get(level, 0) + 1
        if self._successive == 0 and 0 < JUMP * worked < rate:
            self.ceiling = min(self.ceiling / 2, worked)
        else:
            self.ceiling = rate * CUTS[min(self._successive, len(CUTS) - 1)]
            self._successive += 1
        self._age = 0

    def forgive(self) -> bool:
        """Whether a failure that nothing had announced may be taken for chance: the first in a row."""
        self._successive += 1
        return self._successive == 1

    def state_dict(self) -> dict[str, Any]:
        """What it remembers, as JSON."""
        return {**vars(self), "_failed": [[k, v] for k, v in self._failed.items()]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores what `state_dict` gave."""
        vars(self).update(state)
        self._failed = dict(state["_failed"])


def _level(rate: float) -> int:
    """Rates within a factor of about two are one level."""
    return round(math.log2(rate)) if rate > 0 else -(1 << 30)
