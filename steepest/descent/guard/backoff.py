"""How a rate comes down after an explosion, and up again: a factor of its own beside the schedule."""

import math
from collections.abc import Mapping
from typing import Any

CUTS = (1 / 8, 1 / 16)
"""Successive cuts: a network that works at 4 × its tuned rate is dead at 8 ×, so a rate that has grown tenfold or a
hundredfold needs one cut of its size, not halvings."""
WARM_FROM = 0.1
SLOWLY = 2
"""Quiet times before a doubling."""
JUMP = 3.0
"""A schedule that rises by more than this from one step to the next has jumped."""
ABOVE_ALL, BACK = "above all", "back"


class Pace:
    """What the schedule does from one step to the next.

    Attributes:
        jump: by what the rate has risen in its last jump; 1 before one, and once it has jumped back.
    """

    def __init__(self) -> None:
        self.jump, self._last, self._highest = 1.0, 0.0, 0.0

    def step(self, lr: float) -> str:
        """Whether the rate has jumped "above all" before, or "back"; "" where neither."""
        ratio = lr / self._last if self._last > 0 else 1.0
        is_above_all = lr > JUMP * self._highest
        self._last, self._highest = lr, max(self._highest, lr)
        if ratio > JUMP:
            self.jump = ratio
            return ABOVE_ALL if is_above_all else ""
        if ratio < 1 / JUMP:
            self.jump = 1.0
            return BACK
        return ""

    def after(self, lr: float) -> float:
        """What `jump` will be at a next step of this rate."""
        ratio = lr / self._last if self._last > 0 else 1.0
        return ratio if ratio > JUMP else 1.0 if ratio < 1 / JUMP else self.jump

    def state_dict(self) -> dict[str, Any]:
        """What it remembers, as JSON."""
        return dict(vars(self))

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores what `state_dict` gave."""
        vars(self).update(state)


class Backoff:
    """A factor of the learning rate, in (0, 1], which falls with rewinds and rises when all is quiet.

    The first explosion is forgiven: the steps are done again as they were, which undoes whatever passes by itself. A
    repeat multiplies the factor by 1/8, the next by 1/16, and the rate warms up again. After a quiet time it is tried
    whether all is over, at the full rate; where that fails, the factor goes back to what had worked, and doubles after
    every two quiet times, but not to more than a quarter of what has failed twice. A jump of the schedule that failed
    is taken back for as long as it lasts. So the rate always follows the schedule's shape.

    Attributes:
        cut: the factor, without warming up.
        divisor: of the rate while the schedule is above a jump; 1 before one has failed.

    Args:
        quiet: steps without an alarm that make a quiet time.
        warm: steps over which the rate warms up after a cut, from a tenth.
    """

    def __init__(self, quiet: int, warm: int) -> None:
        self.quiet, self.warm = quiet, warm
        self.cut, self.divisor, self._since, self._age = 1.0, 1.0, 0, 1 << 30
        self._successive, self._forgiven, self._failed = 0, False, dict[int, int]()
        self._tried, self._worked = False, 1.0

    def step(self) -> None:
        """One more step."""
        self._age += 1
        self._since += 1
        if self._since < (SLOWLY if self._tried else 1) * self.quiet:
            return
        self._since, self._successive, self._forgiven, self._worked = 0, 0, False, self.cut
        if self.cut < 1 and not self._tried:
            self._tried, self.cut = True, 1.0
        elif self.cut < 1 and all(self._failed.get(self._level + k, 0) < 2 for k in (1, 2)):
            self.cut = min(1.0, 2 * self.cut)

    def factor(self, jump: float) -> float:
        """Of the rate, after a jump of the schedule (1 where there is none)."""
        share = min(1.0, self._age / self.warm)
        return self.cut * (WARM_FROM + (1 - WARM_FROM) * share) / (self.divisor if jump > 1 else 1.0)

    @property
    def is_trying(self) -> bool:
        """Whether this factor has not yet worked for a quiet time since something failed."""
        return self._worked < self.cut

    def alarm(self, lasts: int = 0) -> None:
        """The quiet is over, and begins anew so many steps from now."""
        self._since = min(0, self._since, -lasts)

    def fail(self, jump: float) -> str:
        """This rate has failed.

        Args:
            jump: by what the schedule had jumped before; 1 where it had not.

        Returns:
            what is done, in words.
        """
        if jump > JUMP and self.divisor == 1:
            self.divisor = jump
            return f"the schedule had jumped by {jump:.3g}; that is taken back for as long as it lasts"
        if not self._forgiven and self._worked == 1:
            self._forgiven = True
            return "the same steps once more: it may have passed"
        self._failed[self._level] = self._failed.get(self._level, 0) + 1
        if 0 < self._worked < self.cut:
            self.cut = self._worked
        else:
            self._worked = 0.0  # what works now is not known
            self.cut *= CUTS[min(self._successive, len(CUTS) - 1)]
            self._successive += 1
        self._age = 0
        return f"the rate is multiplied by {self.cut:.3g} and warms up again"

    @property
    def _level(self) -> int:
        return round(math.log2(self.cut))

    def state_dict(self) -> dict[str, Any]:
        """What it remembers, as JSON."""
        return {**vars(self), "_failed": [[k, v] for k, v in self._failed.items()]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores what `state_dict` gave."""
        vars(self).update(state)
        self._failed = dict(state["_failed"])
