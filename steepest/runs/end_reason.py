"""Why a run did not reach its end, as the last event of its record."""

import signal
import traceback
from pathlib import Path

from steepest.records.run import FAILURE, INTERRUPTION, Event

MAX_ERROR_TEXT = 2_000
"""Characters of an exception that are recorded."""
PACKAGE = str(Path(__file__).parents[1])


def interruption(t: int, number: int) -> Event:
    """The event that the user interrupted the run.

    Args:
        t: its last step.
        number: of the signal; 0 where the loop over the steps was left.

    >>> interruption(7, signal.SIGTERM).seen
    'SIGTERM'
    """
    name = "Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name if number else "the loop was left"
    return Event(t, INTERRUPTION, name, "the run was interrupted")


def failure(t: int, error: Exception) -> Event:
    """The event that an exception ended the run, with the line of the user's code that raised it.

    >>> failure(7, ValueError("two\\nlines")).seen
    'ValueError: two lines'
    """
    words = f"{type(error).__name__}: {' '.join(str(error).split())}"[:MAX_ERROR_TEXT] + _place(error)
    return Event(t, FAILURE, words.encode("utf-8", "replace").decode(), "the run failed")


def _place(error: Exception) -> str:
    """The innermost line that is not in a package; empty where there is none."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [f for f in frames if "site-packages" not in f.filename and not f.filename.startswith((PACKAGE, "<"))]
    return f" ({own[-1].filename}, line {own[-1].lineno})" if own else ""
