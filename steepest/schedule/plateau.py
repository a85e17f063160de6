"""A schedule with memory: it lowers the learning rate when the loss stops falling."""

import math
from dataclasses import dataclass
from typing import Any

from steepest.errors import InputError
from steepest.schedule.arguments import BelowOne, Count, Inside, Rest
from steepest.schedule.part import Part
from steepest.schedule.span import Curve, Span, Watch

MEMORY_KEYS = ("scale", "best", "bad_epochs", "cooldown")
"""What a plateau remembers; the keys are part of a checkpoint's format."""


@dataclass(frozen=True, repr=False)
class plateau(Part):
    """Multiplication by `factor` whenever the loss has not fallen for more than `patience` epochs.

    torch's `ReduceLROnPlateau` (mode "min", threshold_mode "rel", eps=0). In a sequence it begins at 1 and counts
    only the epochs that end while it is the active part: `warmup(5%) >> plateau(0.5, patience=3)`.

    Args:
        factor: multiplies the learning rate, between 0 and 1.
        patience: number of epochs without a decrease that are allowed.
        threshold: the loss has fallen if it is below best − threshold · |best|. (torch's (1 − threshold) · best is
            above a negative best, so that a loss that stays or rises counts as one that falls.)
        cooldown: epochs after a reduction that are not counted.
        floor: the smallest factor.
        length: length of the part.

    >>> bound = plateau(0.5, patience=1).bind(T=4, steps_per_epoch=1)
    >>> for t, loss in enumerate([1.0, 1.0, 1.0, 0.5], start=1):
    ...     bound.observe(t, loss)
    ...     print(bound(t + 1))
    1.0
    1.0
    0.5
    0.5
    """

    factor: Inside = 0.1
    patience: Count = 10
    threshold: BelowOne = 1e-4
    cooldown: Count = 0
    floor: BelowOne = 0.0
    length: Rest = None

    def over(self, span: Span) -> Curve:
        memory = Memory(self)
        return Curve(lambda s: memory.scale, (Watch(span, memory),))


@dataclass
class Memory:
    """State of one plateau: its current factor, the best loss, and counters of epochs."""

    settings: plateau
    scale: float = 1.0
    best: float | None = None  # not inf, which JSON lacks
    bad_epochs: int = 0
    cooldown: int = 0

    def observe(self, loss: float) -> None:
        """Counts one epoch. A NaN loss has not fallen."""
        settings = self.settings
        best = math.inf if self.best is None else self.best
        if loss < best * (1 - math.copysign(settings.threshold, best)):
            self.best, self.bad_epochs = loss, 0
        else:
            self.bad_epochs += 1
        if self.cooldown > 0:
            self.cooldown -= 1
            self.bad_epochs = 0
        if self.bad_epochs > settings.patience:
            self.scale = max(self.scale * settings.factor, settings.floor)
            self.cooldown = settings.cooldown
            self.bad_epochs = 0

    def state_dict(self) -> dict[str, Any]:
        """Its state, as JSON."""
        return {key: getattr(self, key) for key in MEMORY_KEYS}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores what `state_dict` returned.

        Raises:
            InputError: the state is not that of a plateau.
        """
        if not isinstance(state, dict) or state.keys() != set(MEMORY_KEYS):
            raise InputError(f"the state of a plateau must have the keys {', '.join(MEMORY_KEYS)}, got {state}")
        vars(self).update(state)
