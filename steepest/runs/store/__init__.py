"""Runs on disk: numbers in one SQLite file, weights in safetensors. Loading never runs code.

    runs/
      runs.db                          every run's configuration, steps, measurements and events
      digits-3f2a/points/420.safetensors   the weights after step 420, by name
      digits-3f2a/path.bin             the weights on the way there, evenly thinned

Steps are kept as columns, many steps a row, so that recording one costs nothing and reading a million is quick. They
are keyed by (run, attempt, t): where a run goes back and repeats steps, the newest attempt counts.
"""

from steepest.runs.store.environment import versions
from steepest.runs.store.store import Store
from steepest.runs.store.writer import Writer

__all__ = ["Store", "Writer", "versions"]
