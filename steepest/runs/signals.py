"""Signals that end a run after the present step: Ctrl-C, and those by which a cluster takes a machine back."""

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

REQUEUE = 75
"""Exit code of a run that was told to end and can go on: EX_TEMPFAIL, for which schedulers start a job again."""
GRACE_S = 25.0
"""Seconds from such a signal until the process ends in any case; torchrun kills it after 30."""
REPEAT_S = 5.0
"""Seconds in which the same signal counts as one: torchrun sends its processes the Ctrl-C that they have had."""
OF_CLUSTERS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGUSR1", "SIGUSR2") if hasattr(signal, name))


class StopSignals:
    """The signals of one run.

    Attributes:
        number: of the first signal that has come; 0 without one.

    Args:
        joint: the objective of several processes, by which all of them get to know; None on one process.
        can_requeue: whether the run goes on where the program is started again: the process then ends with REQUEUE.
    """

    def __init__(self, joint: Any = None, can_requeue: bool = False) -> None:
        self.number, self._time, self._joint = 0, 0.0, joint
        self.can_requeue = can_requeue or joint is not None
        self._handlers: dict[int, Any] = {}
        self._timer: threading.Timer | None = None

    @property
    def due(self) -> int:
        """The signal by which the run ends after the present step; 0 without one. The same on all processes."""
        return self.number if self._joint is None else self._joint.agreed_signal

    @property
    def must_requeue(self) -> bool:
        """Whether the run has ended so that it goes on elsewhere."""
        return self.can_requeue and self.due in OF_CLUSTERS

    @contextmanager
    def catch(self) -> Iterator[None]:
        """Within the block, a signal ends the run after the present step; a second Ctrl-C at once."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        own = (signal.SIGINT, *OF_CLUSTERS) if self.can_requeue else (signal.SIGINT, signal.SIGTERM)
        self._handlers = {s: signal.signal(s, self._request_stop) for s in own}
        try:
            yield
        finally:
            self.restore()

    def restore(self) -> None:
        """Puts the handlers of before in place."""
        for s, handler in self._handlers.items():
            signal.signal(s, handler)
        self._handlers = {}
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def exit_to_requeue(self) -> None:
        """Ends the process with REQUEUE where the run has ended so that it goes on elsewhere."""
        if self.must_requeue:
            raise SystemExit(REQUEUE)

    def _request_stop(self, number: int, frame: Any) -> None:
        if not self.can_requeue:
            if self.number:
                raise KeyboardInterrupt
        elif self.number:
            if number == signal.SIGINT and time.monotonic() - self._time > REPEAT_S:
                raise KeyboardInterrupt
            return
        self.number, self._time = number, time.monotonic()
        if self._joint is not None:
            self._joint.signal = number
        if self.can_requeue and number in OF_CLUSTERS:
            self._timer = threading.Timer(GRACE_S, _give_up, [signal.Signals(number).name])
            self._timer.daemon = True
            self._timer.start()


def _give_up(name: str) -> None:
    """Ends the process where the step, or the checkpoint after it, takes too long."""
    words = f"no checkpoint within {GRACE_S:.0f} s of {name}; the run goes on from the last one"
    print(f"steepest: {words}.", file=sys.stderr, flush=True)
    os._exit(REQUEUE)
