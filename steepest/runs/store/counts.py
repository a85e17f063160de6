"""How much there is of each run, without reading it."""

import sqlite3
from typing import NamedTuple

from steepest.records.run import REWIND


class Counts(NamedTuple):
    """Attributes:
    steps: current steps, without those that were undone.
    rewinds: how often the guard went back.
    """

    steps: int = 0
    rewinds: int = 0


def read_counts(connection: sqlite3.Connection) -> dict[str, Counts]:
    """The counts of every run that has steps; the last chunk of the last attempt ends at the current step."""
    chunks = connection.execute("SELECT run, t0 + n - 1 FROM chunks ORDER BY run, attempt, t0")
    steps = dict(chunks.fetchall())
    rewinds = dict(connection.execute("SELECT run, COUNT(*) FROM events WHERE kind=? GROUP BY run", (REWIND,)))
    return {run: Counts(t, rewinds.get(run, 0)) for run, t in steps.items() if isinstance(t, int)}
