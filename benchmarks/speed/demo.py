"""What `make demo` reaches: test accuracy on the digits with the task's own recipe, from seed to seed."""

import contextlib
import io
import statistics
import tempfile
import time

import steepest as sd
from benchmarks.report import span, table
from steepest.tasks import load

TITLE = "The demo: digits, with the task's own recipe"

SEEDS = 20
FEW = 5
TARGET = 0.975
ROUNDING = 1e-9


def measure() -> list[str]:
    """Lines of the report."""
    with tempfile.TemporaryDirectory() as runs:
        _trained(0, runs)  # compiles what is not in the cache
        found = [_trained(seed, runs) for seed in range(SEEDS)]
    few, all_of_them = ([accuracy for accuracy, _ in part] for part in (found[:FEW], found))
    how = (
        'Test accuracy (360 images) of `sd.fit(load("digits"), seed=s)`. The target, a median of '
        f"{TARGET:.1%}, lies near the median itself, so a few seeds may or may not reach it; {SEEDS} say more."
    )
    rows = [_row(f"0 … {FEW - 1}", few), _row(f"0 … {SEEDS - 1}", all_of_them)]
    header = ("seeds", "median", "least", "greatest", "deviation", f"seeds ≥ {TARGET:.1%}", "median reaches it")
    each = "Seed by seed: " + ", ".join(f"{accuracy:.1%}" for accuracy in few) + "."
    seconds = f"A run takes {span(statistics.median(s for _, s in found))} (median), evaluation and store included."
    return [how, "", *table(header, rows), "", each, seconds]


def _trained(seed: int, runs: str) -> tuple[float, float]:
    """(test accuracy, seconds) of a run."""
    began = time.perf_counter()
    with contextlib.redirect_stderr(io.StringIO()):
        run = sd.fit(load("digits"), seed=seed, runs=runs)
    return run.test["accuracy"], time.perf_counter() - began


def _row(seeds: str, found: list[float]) -> list[str]:
    median = statistics.median(found)
    reached = sum(_reaches(accuracy) for accuracy in found)
    spread = [f"{x:.1%}" for x in (median, min(found), max(found))] + [f"{100 * statistics.stdev(found):.2f} points"]
    return [seeds, *spread, f"{reached} of {len(found)}", "yes" if _reaches(median) else "no"]


def _reaches(accuracy: float) -> bool:
    return accuracy >= TARGET - ROUNDING
