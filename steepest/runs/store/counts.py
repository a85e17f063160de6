"""How much there is of each run, without reading it."""

import sqlite3
from typing import NamedTuple

from steepest.records.run import FAILURE, INTERRUPTION, REWIND, STOP
from steepest.runs.store.checks import SURROGATE

MAX_REASON_TEXT = 400
"""Characters of a reason."""


class Counts(NamedTuple):
    """Attributes:
    steps: current steps, without those that were undone.
    rewinds: how often the guard went back.
    reason: why it failed, was stopped or interrupted, the last time; empty where that is not recorded.
    """

    steps: int = 0
    rewinds: int = 0
    reason: str = ""


def read_counts(connection: sqlite3.Connection) -> dict[str, Counts]:
    """The counts of every run that has any; the last chunk of the last attempt ends at the current step."""
    chunks = connection.execute("SELECT run, t0 + n - 1 FROM chunks ORDER BY run, attempt, t0")
    steps = dict(chunks.fetchall())
    rewinds = dict(connection.execute("SELECT run, COUNT(*) FROM events WHERE kind=? GROUP BY run", (REWIND,)))
    why = "SELECT run, substr(seen, 1, ?) FROM events WHERE kind IN (?, ?, ?) AND typeof(seen)='text' ORDER BY run, n"
    rows = connection.execute(why, (MAX_REASON_TEXT, FAILURE, INTERRUPTION, STOP))
    reasons = {run: SURROGATE.sub("?", reason) for run, reason in rows}
    runs = dict.fromkeys((*steps, *reasons))
    return {run: Counts(_whole(steps.get(run, 0)), rewinds.get(run, 0), reasons.get(run, "")) for run in runs}


def _whole(t: object) -> int:
    """A number of steps; 0 where a damaged row has something else."""
    return t if isinstance(t, int) and t > 0 else 0
