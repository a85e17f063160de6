"""A schedule with memory: the rate is lowered when the loss no longer falls."""

from dataclasses import dataclass
from typing import Any

from steepest.errors import InputError
from steepest.schedule.base import Part
from steepest.schedule.checks import BelowOne, Count, Inside, Rest
from steepest.schedule.timing import Curve, Span, Watch


@dataclass(frozen=True, repr=False)
class plateau(Part):
    """By a factor whenever the loss has not fallen for more than so many epochs.

    torch's `ReduceLROnPlateau` (mode "min", threshold_mode "rel", eps=0). In a sequence it begins at 1 and sees only
    the epochs that end while it is the active part: `warmup(5%) >> plateau(0.5, patience=3)`.

    Args:
        factor: what the rate is multiplied by, between 0 and 1.
        patience: epochs without a fall that are borne.
        threshold: a loss counts as fallen below (1 − threshold) · best.
        cooldown: epochs after a reduction in which nothing is counted.
        floor: the least factor.
        length: how long the part lasts.

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


class Memory:
    """What one plateau has seen: its factor by now, the best loss, and the epochs counted."""

    def __init__(self, settings: plateau) -> None:
        self.settings = settings
        self.scale = 1.0
        self.best: float | None = None  # not inf, which JSON lacks
        self.bad_epochs = 0
        self.cooldown = 0

    def observe(self, loss: float) -> None:
        """One more epoch. A loss that is not a number has not fallen."""
        settings = self.settings
        self._compare(loss)
        if self.cooldown > 0:
            self.cooldown -= 1
            self.bad_epochs = 0
        if self.bad_epochs > settings.patience:
            self.scale = max(self.scale * settings.factor, settings.floor)
            self.cooldown = settings.cooldown
            self.bad_epochs = 0

    def _compare(self, loss: float) -> None:
        best = float("inf") if self.best is None else self.best
        if loss < best * (1 - self.settings.threshold):
            self.best, self.bad_epochs = loss, 0
        else:
            self.bad_epochs += 1

    def state_dict(self) -> dict[str, Any]:
        """What it has seen, as JSON."""
        return {name: value for name, value in vars(self).items() if name != "settings"}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores what `state_dict` gave.

        Raises:
            InputError: if the state is not a plateau's.
        """
        expected = self.state_dict().keys()
        if not isinstance(state, dict) or state.keys() != expected:
            raise InputError(f"{state} is not a plateau's state: expected {', '.join(expected)}")
        vars(self).update(state)
