"""Verdicts of `sd.locate`: on critical points whose kind is known, and at the end of real runs."""

import collections
import tempfile
from typing import Any

import torch

import steepest as sd
from benchmarks.geometry.linear_networks import critical_point
from benchmarks.report import table
from steepest.analysis.location.locate import QUICK_PRODUCTS, analyse_point
from steepest.records.verdict import MINIMUM, SADDLE, UNDECIDED
from steepest.tasks import load

TITLE = "Verdicts on points"

POINTS = 1000
RUNS: dict[str, dict[str, Any]] = {
    "adam, 3e-3, cosine, 20 epochs": {"epochs": 20},
    "adam, 1e-4, 2 epochs": {"rule": "adam", "lr": 1e-4, "epochs": 2},
    "momentum, 0.02, cosine, 20 epochs": {"rule": "momentum", "lr": 0.02, "epochs": 20},
    "gradient descent, batches of 4, 0.05, constant": {
        "rule": "gradient_descent", "lr": 0.05, "batch_size": 4, "epochs": 5, "schedule": "constant",
    },
    "gradient descent, full batches, 0.1, constant": {
        "rule": "gradient_descent", "lr": 0.1, "batch_size": "full", "steps": 1000, "schedule": "constant",
    },
}  # fmt: skip


def measure() -> list[str]:
    """Lines of the report."""
    return [*_critical_points(), "", *_runs()]


def _critical_points() -> list[str]:
    counts = collections.Counter()
    for seed in range(POINTS):
        task, w, kind = critical_point(seed)
        assert isinstance(task.model, torch.nn.Module)
        counts[kind, analyse_point(task, w, task.model).kind] += 1
    kinds = (MINIMUM, SADDLE, UNDECIDED)
    names = {MINIMUM: "minimum", SADDLE: "saddle", UNDECIDED: "saddle that its Hessian does not show"}
    verdicts = (*kinds, *sorted({verdict for _, verdict in counts} - set(kinds)))
    rows = [[names[kind], *(str(counts[kind, verdict]) for verdict in verdicts)] for kind in kinds]
    right = sum(counts[kind, kind] for kind in kinds)
    wrong = sum(n for (kind, verdict), n in counts.items() if verdict not in (kind, UNDECIDED))
    return [
        f"{POINTS:,} critical points of linear networks of two and three layers, each with some of the singular values "
        "of its target, in random bases between the layers.",
        "",
        *table(["point", *(f"verdict {verdict}" for verdict in verdicts)], rows),
        "",
        f"Right on {right / POINTS:.1%} (target 95 %), wrong on {wrong} (target 0).",
    ]


def _runs() -> list[str]:
    torch.set_num_threads(1)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name, options in RUNS.items():
            task = load("digits")
            run = sd.fit(task, runs=folder, **options)
            bare = sd.fit(load("digits"), runs=folder, locate=False, **options).record.seconds
            full, quick = sd.locate(task, run), run.verdict
            assert quick is not None
            cost = run.record.seconds - bare
            rows.append([name, quick.kind, str(quick.products), f"{bare:.2f} s", f"{cost:.2f} s", full.kind])
    return [
        f"Digits, one thread: the quick check at the end of `sd.fit` (target: at most {QUICK_PRODUCTS} Hessian-vector "
        "products, and at most 2 s or a tenth of the run, whichever is longer), and the full analysis.",
        "",
        *table(["run", "quick check", "products", "run without it", "its time", "full analysis"], rows),
    ]
