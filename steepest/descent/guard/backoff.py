"""The guard's factor of the learning rate: down after explosions, up again while the loss is calm."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from steepest.descent.state import get_fields, set_fields

CUTS = (1 / 8, 1 / 16)
"""Factors of successive cuts: a network that works at 4 × its tuned learning rate is dead at 8 ×, so a learning rate
that is ten or a hundred times too high needs one cut of that size, not halvings."""
REWARMUP_START = 0.1
"""Share of the cut learning rate at which it warms up again."""
RECOVERIES_TO_DOUBLE = 2
"""Recovery times without an alarm before the factor doubles."""
JUMP_RATIO = 3.0
"""A schedule that rises by more than this from one step to the next has jumped."""
NEW_MAXIMUM, DROP_BACK = "new maximum", "drop back"
BACKOFF_FIELDS = {
    "quiet": "recovery_steps", "warm": "rewarmup_steps", "cut": "cut", "divisor": "divisor", "_since": "_calm_steps",
    "_age": "_cut_age", "_successive": "_successive_cuts", "_forgiven": "_is_retry_used", "_failed": "_failures",
    "_tried": "_is_full_lr_used", "_worked": "_stable_cut",
}  # fmt: skip
"""Keys of the stored state, which are part of the format, and the attributes that they hold."""


class JumpDetector:
    """Detects jumps of the schedule from one step to the next.

    Attributes:
        jump: ratio of the last jump upwards; 1 before one, and once the schedule has dropped back.

    The names of the attributes are keys of the stored state, and part of the format.
    """

    def __init__(self) -> None:
        self.jump, self._last, self._highest = 1.0, 0.0, 0.0  # the last and the highest learning rate

    def step(self, lr: float) -> str:
        """NEW_MAXIMUM where the learning rate jumped above all earlier ones, DROP_BACK where it fell, else ""."""
        ratio = self._ratio(lr)
        is_new_maximum = lr > JUMP_RATIO * self._highest
        self.jump = self.jump_after(lr)
        self._last, self._highest = lr, max(self._highest, lr)
        if ratio > JUMP_RATIO:
            return NEW_MAXIMUM if is_new_maximum else ""
        return DROP_BACK if ratio < 1 / JUMP_RATIO else ""

    @property
    def last(self) -> float:
        """The learning rate of the last step."""
        return self._last

    def pass_by(self, lrs: Sequence[float]) -> None:
        """Takes the learning rates of steps between which there is no jump."""
        self._last, self._highest = lrs[-1], max(self._highest, *lrs)

    def jump_after(self, lr: float) -> float:
        """The value of `jump` after a next step with this learning rate."""
        ratio = self._ratio(lr)
        return ratio if ratio > JUMP_RATIO else 1.0 if ratio < 1 / JUMP_RATIO else self.jump

    def _ratio(self, lr: float) -> float:
        return lr / self._last if self._last > 0 else 1.0

    def state_dict(self) -> dict[str, Any]:
        """The state as JSON."""
        return dict(vars(self))

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores the result of `state_dict`."""
        vars(self).update(state)


class Backoff:
    """A factor of the learning rate in (0, 1].

    The first explosion is retried with the same steps, which is enough where the cause was transient. A second one
    multiplies the factor by 1/8, the next by 1/16, and the learning rate warms up again. After a recovery time without
    an alarm the full learning rate is tried; if it fails, the factor returns to the last stable one and doubles after
    every two recovery times, up to a quarter of what has failed twice. A jump of the schedule that failed is divided
    out until the schedule drops back. The learning rate therefore keeps the schedule's shape.

    Attributes:
        cut: the factor, without the warmup.
        divisor: of the learning rate while the schedule is above a jump; 1 before one has failed.

    Args:
        recovery_steps: steps without an alarm that make a recovery time.
        rewarmup_steps: steps over which the learning rate warms up after a cut, from a tenth.
    """

    def __init__(self, recovery_steps: int, rewarmup_steps: int) -> None:
        self.recovery_steps, self.rewarmup_steps = recovery_steps, rewarmup_steps
        self.cut, self.divisor, self._calm_steps, self._cut_age = 1.0, 1.0, 0, 1 << 30
        self._successive_cuts, self._is_retry_used = 0, False
        self._failures: dict[int, int] = {}  # by log2 of the factor
        self._is_full_lr_used, self._stable_cut = False, 1.0

    def step(self, n: int = 1) -> None:
        """Counts n steps."""
        recovery = (RECOVERIES_TO_DOUBLE if self._is_full_lr_used else 1) * self.recovery_steps
        if n > 1 and self._calm_steps + n >= recovery:
            for _ in range(n):
                self.step()
            return
        self._cut_age += n
        self._calm_steps += n
        if self._calm_steps < recovery:
            return
        self._calm_steps, self._successive_cuts, self._is_retry_used, self._stable_cut = 0, 0, False, self.cut
        if self.cut < 1 and not self._is_full_lr_used:
            self._is_full_lr_used, self.cut = True, 1.0
        elif self.cut < 1 and all(self._failures.get(self._level + k, 0) < 2 for k in (1, 2)):
            self.cut = min(1.0, 2 * self.cut)

    def factor(self, jump: float) -> float:
        """The factor of the learning rate after a jump of the schedule (1 without one)."""
        share = min(1.0, self._cut_age / self.rewarmup_steps)
        warmup = REWARMUP_START + (1 - REWARMUP_START) * share
        return self.cut * warmup / (self.divisor if jump > 1 else 1.0)

    @property
    def is_on_probation(self) -> bool:
        """Whether the factor has not been stable for a recovery time since a failure."""
        return self._stable_cut < self.cut

    def alarm(self, delay: int = 0) -> None:
        """Restarts the recovery time, `delay` steps from now."""
        self._calm_steps = min(0, self._calm_steps, -delay)

    def fail(self, jump: float) -> str:
        """Reacts to a failure of the present learning rate.

        Args:
            jump: ratio by which the schedule had jumped before; 1 where it had not.

        Returns:
            the reaction, in words.
        """
        if jump > JUMP_RATIO and self.divisor == 1:
            self.divisor = jump
            return f"lr ÷ {jump:.3g} until the schedule drops back (it had jumped {jump:.3g}×)"
        if not self._is_retry_used and self._stable_cut == 1:
            self._is_retry_used = True
            return "retrying unchanged"
        self._failures[self._level] = self._failures.get(self._level, 0) + 1
        if 0 < self._stable_cut < self.cut:
            self.cut = self._stable_cut
        else:
            self._stable_cut = 0.0  # no stable factor is known
            self.cut *= CUTS[min(self._successive_cuts, len(CUTS) - 1)]
            self._successive_cuts += 1
        self._cut_age = 0
        return f"lr × {self.cut:.3g} with warmup"

    @property
    def _level(self) -> int:
        return round(math.log2(self.cut))

    def state_dict(self) -> dict[str, Any]:
        """The state as JSON."""
        return {**get_fields(self, BACKOFF_FIELDS), "_failed": [[k, v] for k, v in self._failures.items()]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores the result of `state_dict`."""
        set_fields(self, BACKOFF_FIELDS, {**state, "_failed": dict(state["_failed"])})
