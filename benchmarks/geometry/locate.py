"""Where points are said to be: critical points that are known, and the ends of real runs.

python -m benchmarks locate
"""

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

TITLE = "Where a point is"
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
    """The section."""
    return [*_known(), "", *_runs()]


def _known() -> list[str]:
    told = collections.Counter()
    for seed in range(POINTS):
        task, w, kind = critical_point(seed)
        assert isinstance(task.model, torch.nn.Module)
        told[kind, analyse_point(task, w, task.model).kind] += 1
    kinds = (MINIMUM, SADDLE, UNDECIDED)
    names = {MINIMUM: "minimum", SADDLE: "saddle", UNDECIDED: "saddle that its Hessian does not show"}
    others = sorted({said for _, said in told} - set(kinds))
    rows = [[names[known], *(str(told[known, said]) for said in (*kinds, *others))] for known in kinds]
    right = sum(told[kind, kind] for kind in kinds)
    wrong = sum(n for (known, said), n in told.items() if said not in (known, UNDECIDED))
    return [
        f"{POINTS:,} critical points of linear networks of two and three layers, each with the singular values of its "
        "target that it keeps, in random bases between the layers.",
        "",
        *table(["it is a", *(f"said {said}" for said in (*kinds, *others))], rows),
        "",
        f"Right on {right / POINTS:.1%} (target 95 %), wrong on {wrong} (target none).",
    ]


def _runs() -> list[str]:
    torch.set_num_threads(1)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name, given in RUNS.items():
            task = load("digits")
            run = sd.fit(task, runs=folder, **given)
            bare = sd.fit(load("digits"), runs=folder, locate=False, **given).record.seconds
            long = sd.locate(task, run)
            found = run.verdict
            assert found is not None
            took = run.record.seconds - bare
            rows.append([name, found.kind, str(found.products), f"{bare:.2f} s", f"{took:.2f} s", long.kind])
    return [
        "Digits, one thread: the short look at the end of `sd.fit` "
        f"(target: {QUICK_PRODUCTS} Hessian-vector products at most, "
        "and the longer of 2 s and a tenth of the run), and what a long look says.",
        "",
        *table(["run", "short look", "products", "run without it", "the look takes", "long look"], rows),
    ]
