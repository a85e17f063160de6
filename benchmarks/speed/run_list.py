"""The list of `steepest serve` with many runs of 500 steps: the first page of a fresh server, and later ones."""

import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.report import check, span, table
from steepest.runs.server.query import Query
from steepest.runs.server.run_list import RunList
from steepest.runs.store import Store
from tests.runs.server.many import fill

TITLE = "The list of runs"

COUNTS = (10, 100, 1000)
ROUNDS = 5
MAX_FIRST_S = 1.0
SEARCH = Query(text="adam lr>0.002 seed=1", sort="-metric")


def measure() -> Sequence[str]:
    """The section's lines."""
    rows = []
    for count in COUNTS:
        with tempfile.TemporaryDirectory() as folder:
            store = Store(Path(folder, "runs"))
            fill(store, count)
            first, again, found = [], [], []
            for _ in range(ROUNDS):
                runs = RunList(store)
                first.append(_seconds(runs, Query()))
                again.append(_seconds(runs, Query()))
                found.append(_seconds(runs, SEARCH))
        first_s = statistics.median(first)
        others = (span(statistics.median(times)) for times in (again, found))
        rows.append((f"{count:,}", span(first_s), *others, f"< {MAX_FIRST_S:g} s", check(first_s, MAX_FIRST_S)))
    return table(("runs", f"first page, median of {ROUNDS}", "again", "search, by metric", "target", "met"), rows)


def _seconds(runs: RunList, query: Query) -> float:
    start = time.perf_counter()
    runs.content(query)
    return time.perf_counter() - start
