"""Watches the work on surfaces: its progress, and the time that the user gave."""

import time
from collections.abc import Callable

SURFACE_SECONDS = 20.0
"""Work of all surfaces, in seconds of one core as `curvature.work` counts them: a run has the same film anywhere."""

PLANNED_SHARE = 0.5
"""Share of the user's time for which work is planned: the rest is for imports, the curvature and a busy machine."""

Notify = Callable[[str, int, int], None]
"""(stage, count, total): how much of how much is done; 0 where that is not known."""


class TimeOver(Exception):
    """The user's time is over."""


class Watch:
    """Tells of progress, and ends the work when the user's time is over.

    It is the only stopwatch on which results hang, and only where the user gave a time.

    Attributes:
        work_seconds: work that may be planned, in seconds of one core.

    Args:
        seconds: that the user gave; None: no end.
        notify: told of progress.
    """

    def __init__(self, seconds: float | None, notify: Notify) -> None:
        self.work_seconds = SURFACE_SECONDS if seconds is None else PLANNED_SHARE * seconds
        self._seconds, self._notify, self._start = seconds, notify, time.perf_counter()
        self._stage, self._total, self._count = "", 0, 0

    def stage(self, name: str, total: int) -> None:
        """Begins a stage."""
        self._stage, self._total, self._count = name, total, 0
        self(0)

    def __call__(self, count: int) -> None:
        """Takes how much more is done.

        Raises:
            TimeOver: the user's time is over.
        """
        self._count += count
        self._notify(self._stage, self._count, self._total)
        if self._seconds is not None and time.perf_counter() - self._start > self._seconds:
            raise TimeOver

    def words(self, error: BaseException) -> str:
        """Why the work ended."""
        if isinstance(error, TimeOver):
            return f"the budget of {self._seconds:g} s was used up before. Pass a larger one, or fewer planes."
        return "interrupted."
