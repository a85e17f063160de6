"""Stored runs: numbers in one SQLite file, weights as safetensors. Loading runs no code.

    runs/
      runs.db                          every run's configuration, steps, measurements and events
      digits-3f2a/points/420.safetensors   the weights after step 420, by name
      digits-3f2a/path.bin             the weights along the path, evenly thinned

Steps are stored as columns, many steps to a row, so that recording and reading are fast. They are keyed by (run,
attempt, t): if a rewind repeats steps, the last attempt counts.

A folder may come from somebody else, or from a damaged disk: `checks` says what a value must be, `rows` reads rows by
it, `database` leaves other programs' files alone, `run_folder` follows no link out of the folder. Reading writes
nothing.
"""

from steepest.runs.store.environment import versions
from steepest.runs.store.store import Store
from steepest.runs.store.writer import Writer

__all__ = ["Store", "Writer", "versions"]
