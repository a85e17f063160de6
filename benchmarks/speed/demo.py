"""The test accuracy of `make demo`: the digits with the task's own recipe, over seeds."""

import contextlib
import io
import statistics
import tempfile
import time

import steepest as sd
from benchmarks.report import span, table, yes
from steepest.tasks import load

TITLE = "The demo: digits, with the task's own recipe"

SEEDS = 20
FEW = 5
TARGET = 0.975
ROUNDING = 1e-9


def measure() -> list[str]:
    """Lines of the report."""
    with tempfile.TemporaryDirectory() as runs:
        _train(0, runs)  # compiles what is not in the cache
        results = [_train(seed, runs) for seed in range(SEEDS)]
    accuracies = [accuracy for accuracy, _ in results]
    how = (
        'Test accuracy (360 images) of `sd.fit(load("digits"), seed=s)`. A few seeds say little about the target, a '
        f"median of {TARGET:.1%}, if the median is near it; {SEEDS} seeds say more."
    )
    rows = [_row(f"0 … {n - 1}", accuracies[:n]) for n in (FEW, SEEDS)]
    header = ("seeds", "median", "minimum", "maximum", "deviation", f"seeds ≥ {TARGET:.1%}", "median ≥ target")
    each = "By seed: " + ", ".join(f"{accuracy:.1%}" for accuracy in accuracies[:FEW]) + "."
    seconds = f"A run takes {span(statistics.median(s for _, s in results))} (median), with evaluation and store."
    return [how, "", *table(header, rows), "", each, seconds]


def _train(seed: int, runs: str) -> tuple[float, float]:
    """(test accuracy, seconds) of a run."""
    start = time.perf_counter()
    with contextlib.redirect_stderr(io.StringIO()):
        run = sd.fit(load("digits"), seed=seed, runs=runs)
    return run.test["accuracy"], time.perf_counter() - start


def _row(seeds: str, accuracies: list[float]) -> list[str]:
    median, count = statistics.median(accuracies), sum(map(_is_success, accuracies))
    shares = [f"{x:.1%}" for x in (median, min(accuracies), max(accuracies))]
    deviation = f"{100 * statistics.stdev(accuracies):.2f} points"
    return [seeds, *shares, deviation, f"{count} of {len(accuracies)}", yes(_is_success(median))]


def _is_success(accuracy: float) -> bool:
    return accuracy >= TARGET - ROUNDING
