"""How a rate comes down after an explosion, and up again: a ceiling of its own beside the schedule."""

import math
from collections.abc import Mapping
from typing import Any

CUTS = (1 / 2, 1 / 4, 1 / 16)
"""Successive cuts: a network that works at 4 × its tuned rate is dead at 8 ×, so × 100 needs more than halvings."""
WARM_FROM = 0.1
JUMP = 3.0
"""A schedule that rises by more than this from one step to the next has jumped."""


class Backoff:
    """A ceiling on the learning rate, which falls with each rewind and rises when all is quiet.

    The first rewind puts it to half the rate that failed, the next to a quarter of that, then to a sixteenth; the rate
    warms up again below it. After every `quiet` steps that it holds the rate down without an alarm the ceiling doubles,
    unless a rate of that level has failed twice. A jump of the schedule that failed is taken back instead, for as long
    as it lasts: the rate then follows the schedule's shape as it would have without the jump.

    Attributes:
        ceiling: of the rate; infinite before anything has failed.
        divisor: of the rate while the schedule is above a jump; 1 before one has failed.

    Args:
        quiet: steps without an alarm before it doubles.
        warm: steps over which the rate warms up after a rewind, from a tenth.
    """

    def __init__(self, quiet: int, warm: int) -> None:
        self.quiet, self.warm = quiet, warm
        self.ceiling, self._since, self._age = math.inf, 0, 1 << 30
        self.divisor, self._successive, self._failed = 1.0, 0, dict[int, int]()

    def step(self, lr: float, jump: float) -> None:
        """One more step, at a rate that was to be `lr`, after a jump (1 where there is none)."""
        self._age += 1
        if self._without(lr, jump) <= self.ceiling:
            return
        self._since += 1
        if self._since >= self.quiet:
            self._since = self._successive = 0
            if self._failed.get(_level(2 * self.ceiling), 0) < 2:
                self.ceiling *= 2

    def factor(self, lr: float, jump: float) -> float:
        """Of a rate that is to be `lr`, after a jump (1 where there is none)."""
        share = min(1.0, self._age / self.warm)
        held = min(self._without(lr, jump), self.ceiling) / lr if lr > 0 else 1.0
        return held * (WARM_FROM + (1 - WARM_FROM) * share)

    def _without(self, lr: float, jump: float) -> float:
        return lr / self.divisor if jump > 1 else lr

    def alarm(self, lost: int = 0) -> None:
        """The quiet is over, and begins anew once the steps that were lost by going back have been done again."""
        self._since = -lost

    def fail(self, rate: float, jump: float) -> str:
        """This rate has failed: take a jump back, or lower the ceiling and warm up again.

        Args:
            rate: that failed.
            jump: by what the schedule had jumped before; 1 where it had not.

        Returns:
            what is done, in words.
        """
        if jump > JUMP and self.divisor == 1:
            self.divisor = jump
            return f"the schedule had jumped by {jump:.3g}; that is taken back for as long as it lasts"
        self._age = 0
        level = _level(rate)
        self._failed[level] = self._failed.get(level, 0) + 1
        self.ceiling = rate * CUTS[min(self._successive, len(CUTS) - 1)]
        self._successive += 1
        return f"the rate is held below {self.ceiling:.3g} and warms up again"

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
