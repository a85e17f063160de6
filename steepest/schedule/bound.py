"""A schedule bound to a run: every length is a number of steps, and plateaus have their memory."""

from collections.abc import Iterable
from fractions import Fraction
from typing import Any

import numpy as np

from steepest.errors import InputError
from steepest.schedule.checks import Whole
from steepest.schedule.timing import Span, Timed, sequence


class Bound:
    """The factor of the base learning rate at each step t = 1 … T of one run; past T the last value is held.

    Without a plateau in it, it is a pure function of t and may be asked in any order.

    Args:
        schedule: what to bind.
        T: steps of the whole run, at least 1.
        steps_per_epoch: steps of one epoch, at least 1.

    Raises:
        InputError: if T or steps_per_epoch is below 1.
        ScheduleError: if a part does not fit into the run.

    >>> from steepest.schedule import parse
    >>> bound = parse("warmup(2) >> linear").bind(T=4, steps_per_epoch=2)
    >>> [bound(t) for t in (1, 2, 3, 4, 5)]
    [0.5, 1.0, 0.5, 0.0, 0.0]
    """

    def __init__(self, schedule: Timed, T: int, steps_per_epoch: int) -> None:
        self.schedule = schedule
        self.T = _count("T, the steps of the run", T)
        self.steps_per_epoch = _count("steps_per_epoch", steps_per_epoch)
        curve = sequence(schedule.pieces, Span(Fraction(0), Fraction(self.T), self.T, self.steps_per_epoch))
        self._factor = curve.factor
        self._watches = curve.watches

    def __call__(self, t: int) -> float:
        """The factor of step t."""
        if t < 1:
            raise InputError(f"steps are counted from 1, given t = {t}")
        return self._factor(min(t, self.T))

    @property
    def watches(self) -> bool:
        """Whether a part of it must see the losses."""
        return bool(self._watches)

    def observe(self, t: int, loss: float) -> None:
        """Shows the plateau that is active at step t the loss of the epoch that ended there.

        Args:
            t: the last step of the epoch.
            loss: what is to become small; call it once an epoch.

        >>> from steepest.schedule import plateau, warmup
        >>> bound = (warmup(2) >> plateau(0.5, patience=0)).bind(T=6, steps_per_epoch=2)
        >>> for t, loss in ((2, 1.0), (4, 3.0), (6, 3.0)):  # the first is not the plateau's to see
        ...     bound.observe(t, loss)
        >>> bound(6)
        0.5
        """
        for span, controller in self._watches:
            if span.start < t <= span.start + span.n:
                controller.observe(float(loss))

    def values(self, ts: Iterable[int] | np.ndarray) -> np.ndarray:
        """The factors of many steps, for a picture.

        Args:
            ts: steps, [n].

        Returns:
            float64 [n].

        Raises:
            InputError: if a plateau is in it, whose factors follow from losses.
        """
        if self.watches:
            raise InputError(f"the factors of {self.schedule} follow from losses; no list of them is known beforehand")
        return np.array([self(int(t)) for t in ts], np.float64)

    def state_dict(self) -> dict[str, Any]:
        """What the plateaus remember, as JSON; a pure schedule remembers nothing."""
        return {"plateaus": [controller.state_dict() for _, controller in self._watches]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores what `state_dict` gave, also where T has changed since.

        Raises:
            InputError: if it was saved from another schedule.
        """
        saved = state.get("plateaus")
        if not isinstance(saved, list) or len(saved) != len(self._watches):
            raise InputError(
                f"this state is not from the schedule {self.schedule}, which has {len(self._watches)} plateaus: {state}"
            )
        for (_, controller), own in zip(self._watches, saved):
            controller.load_state_dict(own)

    def __reduce__(self) -> tuple:
        # A copy shares no memory with the original; its closures, copied as they are, would.
        return _restored, (self.schedule, self.T, self.steps_per_epoch, self.state_dict())


def _restored(schedule: Timed, T: int, steps_per_epoch: int, state: dict[str, Any]) -> Bound:
    bound = Bound(schedule, T, steps_per_epoch)
    bound.load_state_dict(state)
    return bound


def _count(name: str, given: int) -> int:
    try:
        return Whole(1)(given)
    except InputError as error:
        raise InputError(f"{name}: {error}") from None
