"""Full-batch training reaches the edge of stability and stays there: sharpness ÷ each rule's limit, on real data.

Cohen et al. report about 1 for gradient descent (2021, arXiv:2103.00065) and for Adam (2022, arXiv:2207.14484). With
Adam the sharpness is that of P^(-1/2) H P^(-1/2).
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

import steepest as sd
from benchmarks.report import check, table
from steepest.curvature.loss_function import LossFunction
from steepest.descent.loop import Descent
from steepest.descent.settings import resolve
from steepest.rules.rule import Rule
from steepest.rules.stability import PreconditionedHessian, limit, preconditioner
from steepest.tasks.digits import images

TITLE = "Sharpness at the edge of stability"

SAMPLES, WIDTH = 500, 24
MEASUREMENTS = 40
"""Of a run."""
COLUMNS = 8
"""Measurements in the table."""
MAX_DISTANCE = 0.15
"""Of the median of a run's second half from 1."""
TOLERANCE = 1e-4
"""Relative, of an eigenvalue."""


@dataclass(frozen=True)
class Run:
    """A rule, its learning rate, its steps, and whether its sharpness must reach the limit."""

    rule: Rule
    lr: float
    steps: int
    required: bool = False


RUNS = (
    Run(sd.gradient_descent, 0.5, 3000, required=True),
    Run(sd.gradient_descent, 0.3, 4000, required=True),
    Run(sd.momentum, 0.4, 3000),
    Run(sd.nesterov, 0.2, 3000),
    Run(sd.adam, 1e-2, 2000, required=True),
    Run(sd.adam, 3e-3, 3000, required=True),
    Run(sd.adamw, 1e-2, 2000),
    Run(sd.amsgrad, 1e-2, 2000),
    Run(sd.nadam, 1e-2, 2000),
    Run(sd.adamax, 1e-2, 2000),
    Run(sd.rmsprop, 1e-3, 2000),
    Run(sd.adagrad, 3e-2, 2000),
    Run(sd.schedule_free_adamw, 1e-2, 2000),
)


def network(seed: int) -> nn.Module:
    """64-24-24-10, tanh."""
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Linear(64, WIDTH), nn.Tanh(), nn.Linear(WIDTH, WIDTH), nn.Tanh(), nn.Linear(WIDTH, 10)
    )  # fmt: skip


def digits() -> sd.Task:
    """The first samples, with centred pixels; the loss is ‖output − target‖² / 2."""
    x, y = images()
    x, y = x[:SAMPLES] - x[:SAMPLES].mean(0), one_hot(y[:SAMPLES], 10).float()
    return sd.Task(model=network, loss=_squares, data=(x, y), validation=(x, y))


def _squares(output: Tensor, target: Tensor) -> Tensor:
    return (output - target).square().sum(1).mean() / 2


def ratios(run: Run) -> tuple[np.ndarray, float]:
    """(sharpness ÷ limit [MEASUREMENTS], loss at the end)."""
    task = digits()
    settings = resolve(
        task, rule=run.rule, lr=run.lr, schedule="constant", batch_size="full", steps=run.steps, no_decay=None
    )
    descent = Descent(task, settings, task.build(0))
    surface, values, loss = LossFunction(task, [task.data]), [], float("nan")
    vector = np.ones(surface.size)
    for step in descent:
        loss = step.loss
        if step.t % (run.steps // MEASUREMENTS):
            continue
        bound = limit(run.rule, run.lr, step.t)
        assert bound is not None
        p = preconditioner(descent.update, {**run.rule.hypers, "lr": run.lr})
        operator = PreconditionedHessian(surface.hessian(descent.space.gather().double()), p)
        value, vector = largest(operator, vector)
        values.append(value / bound.value)
    return np.array(values), loss


def largest(matrix: Any, start: np.ndarray, tolerance: float = TOLERANCE) -> tuple[float, np.ndarray]:
    """The largest eigenvalue and its vector by scipy's implicitly restarted Lanczos method; `start` is its first
    vector."""
    from scipy.sparse.linalg import LinearOperator, eigsh

    product = LinearOperator(
        matrix.shape, matvec=lambda v: (matrix @ torch.from_numpy(v.reshape(-1))).numpy(), dtype=np.float64
    )
    values, vectors = eigsh(product, k=1, which="LA", v0=start, tol=tolerance)
    return float(values[0]), vectors[:, 0]


def measure() -> list[str]:
    """Lines of the report."""
    torch.set_num_threads(1)
    every = MEASUREMENTS // COLUMNS
    shares = (f"{n / COLUMNS:.0%}" for n in range(1, COLUMNS + 1))
    header = [
        "rule",
        "lr",
        "limit",
        *shares,
        "median, 2nd half",
        "10 to 90 %",
        f"within {MAX_DISTANCE:.0%} of 1",
        "loss",
    ]
    return [
        f"Sharpness ÷ limit after shares of the run: {SAMPLES} digits, network 64-{WIDTH}-{WIDTH}-10 (tanh), ‖output − "
        "target‖² / 2, full batches, constant learning rate; eigenvalues by `eigsh` on exact products in float64. "
        "Gradient descent and Adam have targets; the limits of the others are derived in the same way.",
        "",
        *table(header, (_row(run, *ratios(run), every) for run in RUNS)),
    ]


def _row(run: Run, values: np.ndarray, loss: float, every: int) -> list[str]:
    half = values[MEASUREMENTS // 2 :]
    middle = float(np.median(half))
    low, high = np.quantile(half, (0.1, 0.9))
    bound = limit(run.rule, run.lr, run.steps)
    assert bound is not None
    return [
        run.rule.name, f"{run.lr:g}", f"{bound.value:.4g}", *(f"{x:.2f}" for x in values[every - 1 :: every]),
        f"{middle:.3f}", f"{low:.2f} to {high:.2f}", check(abs(middle - 1), MAX_DISTANCE) if run.required else "",
        f"{loss:.2g}",
    ]  # fmt: skip
