"""Faults on the device, where the guard reads the numbers of up to 16 steps at once: what survives."""

import statistics

from benchmarks.gpu.place import Place
from benchmarks.guard import trials
from benchmarks.guard.faults import FAULTS
from benchmarks.guard.survivors import TOLERANCE
from benchmarks.problems.problems import REPORT, find
from benchmarks.report import table

PROBLEMS = ("dense-momentum", "dense-adam", "conv-adam")
CHOSEN = (
    "lr × 10, 50 steps", "lr × 100, 50 steps", "lr × 100, lasting", "a batch × 1000", "NaN in a batch",
    "inf in a batch", "a weight is NaN",
)  # fmt: skip
"""Faults that make no tensors of their own on the CPU."""
SEEDS = (0, 1, 2)


def lines(place: Place) -> list[str]:
    """Lines of the report."""
    problems = find(PROBLEMS if place.is_large else PROBLEMS[:1], REPORT)
    chosen, seeds = (CHOSEN, SEEDS) if place.is_large else (CHOSEN[:2], SEEDS[:2])
    healthy = {p.name: [trials.run(p, "no guard", seed).loss for seed in seeds] for p in problems}
    rows, survivors, count = [], 0, 0
    for name in chosen:
        cells = []
        for p in problems:
            loss, base = trials.run(p, "guard, async", 0, FAULTS[name]()).loss, healthy[p.name][0]
            survives = loss <= base + max(TOLERANCE * abs(base), statistics.stdev(healthy[p.name]))
            survivors, count = survivors + survives, count + 1
            cells.append(f"{loss:.4f} / {base:.4f}{'' if survives else ' (no)'}")
        rows.append([name, *cells])
    return [
        "Validation loss at the end, with the fault and the guard / without both. A run survives if it ends at most "
        f"{TOLERANCE:.0%}, or one standard deviation between seeds, above.",
        "",
        *table(["fault", *(p.name for p in problems)], rows),
        "",
        f"Survivors: {survivors} of {count}.",
    ]
