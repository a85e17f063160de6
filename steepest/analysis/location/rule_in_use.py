"""What the rule in use does at a point: how near its stability limit it is, and whether smaller steps would go lower.

What depends on the rate refers to the largest rate of the run's last tenth: after a cosine the last one is 0.
"""

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from steepest import seeds
from steepest.analysis.location.evidence import EvaluationSample, Gain, mean
from steepest.curvature.extremes import extremes
from steepest.curvature.loss_function import LossFunction
from steepest.records.run import Steps
from steepest.records.verdict import Estimate
from steepest.rules import stability
from steepest.rules.rule import Rule
from steepest.rules.update import Update
from steepest.tasks import data
from steepest.tasks.batches import Batches
from steepest.tasks.objective import Objective
from steepest.tasks.space import Space
from steepest.tasks.task import Task

FEWEST = 20
"""Steps that tell whether the loss falls."""
STEPS, CALMER, REPEATS = 10, 0.1, 4
"""So many steps at such a share of the rate, from the point, so often."""
BATCHES = 8
"""That the batch sharpness is a mean over."""


@dataclass(frozen=True)
class RuleInUse:
    """What was descending when it got here.

    Attributes:
        rule: one of ours.
        lr: the largest rate of the run's last tenth.
        batch_size: of a step; None for full batches.
        preconditioner: P [N] of the rule, where it scales each weight and its memory is known.
        t: steps that it has taken.
        fell: whether the loss still fell over the run's last twentieth; None where that cannot be told, or the rate
            had come down there.
    """

    rule: Rule
    lr: float
    batch_size: int | None = None
    preconditioner: Tensor | None = None
    t: int | None = None
    is_still_falling: bool | None = None

    @property
    def limit(self) -> stability.Limit | None:
        """The sharpness that it bears; None where there is no limit, or P is needed and not known."""
        found = stability.limit(self.rule, self.lr, self.t)
        return None if found is None or (found.preconditioned and self.preconditioner is None) else found


def is_still_falling(steps: Steps) -> bool | None:
    """Whether the loss fell over the last half of a run's last tenth, at the rate in use.

    A line through the losses there falls where the upper end of its slope's interval (three standard errors) is below
    0.

    Args:
        steps: the run's last tenth.

    Returns:
        None where there are fewer than 20 such steps, or their rates lie below half of the rate in use.
    """
    count = len(steps) // 2
    if count < FEWEST or steps.lr[-count:].max() < 0.5 * steps.lr.max():
        return None
    y, t = steps.loss[-count:], np.arange(count) - (count - 1) / 2
    if not np.isfinite(y).all():
        return None
    spread = float(t @ t)
    slope = float(t @ y) / spread
    left = y - y.mean() - slope * t
    return slope + 3 * math.sqrt(float(left @ left) / (count - 2) / spread) < 0


def sharpness(surface: LossFunction, w: Tensor, use: RuleInUse, products: int) -> tuple[Estimate, int]:
    """λmax of the Hessian as the rule sees it, P^(−1/2) H P^(−1/2), and the products that it took."""
    hessian: Any = surface.hessian(w.to(surface.device, surface.dtype))
    seen = hessian if use.preconditioner is None else stability.PreconditionedHessian(hessian, use.preconditioner)
    ends = extremes(seen, products, tolerance=1e-2)
    end = ends.greatest
    return Estimate(end.value, end.value - end.residual, end.value + end.residual), ends.products


def batch_sharpness(task: Task, model: nn.Module, w: Tensor, batch_size: int, seed: int = 0) -> Estimate:
    """gᵀHg ÷ ‖g‖² of mini-batches, each with its own gradient and Hessian: the mean over eight of them.

    Source: Andreyev and Beneventano 2024, arXiv:2412.20553.
    """
    found = []
    surface = LossFunction(task, [batch for (batch,) in _some(task, batch_size, seed, BATCHES)], model=model)
    at = w.to(surface.device, surface.dtype)
    for one in surface.apart():
        _, g = one.gradient(at)
        found.append(float(g @ (one.hessian(at) @ g)) / max(float(g @ g), 1e-300))
    return mean(torch.tensor(found, dtype=torch.float64))


def small_lr_gain(task: Task, model: nn.Module, held: EvaluationSample, w: Tensor, use: RuleInUse) -> Gain:
    """What ten steps at a tenth of the rate gain, with a fresh memory: the mean of four times, on other batches.

    Args:
        task: whose batches are taken.
        model: that is copied; its weights are put to the point.
        held: the sample that the gain is measured on.
        w: the point [N].
        use: rule, rate and size of the batches.
    """
    before, gains, ends = held.losses(w), [], []
    for seed in range(REPEATS):
        end = _walked(task, model, w, use, seed)
        ends.append(float((end - w.to(end)).norm()))
        gains.append(before - held.losses(end))
    all_gains = torch.stack(gains)
    over_samples, over_walks = mean(all_gains.mean(0)), mean(all_gains.mean(1))
    half = math.hypot(over_samples.high - over_samples.value, over_walks.high - over_walks.value)
    return Gain(
        Estimate(over_samples.value, over_samples.value - half, over_samples.value + half), sum(ends) / len(ends)
    )


def _walked(task: Task, model: nn.Module, w: Tensor, use: RuleInUse, seed: int) -> Tensor:
    own = copy.deepcopy(model).eval()
    space = Space(own)
    space.scatter(w.to(next(own.parameters())))
    objective, update = Objective(own, task.loss, task.objective, task.count), Update(space, use.rule)
    hypers = {**use.rule.hypers, "lr": CALMER * use.lr}
    for batch in _some(task, use.batch_size or "full", seed, STEPS):
        with seeds.ours(seed, "calmer"):
            objective.gradient(batch, space.tensors())
        update.advance(hypers)
    return space.gather().double()


def _some(task: Task, batch_size: int | str, seed: int, count: int) -> Sequence[list[Any]]:
    size = None if data.is_iterable(task.data) else batch_size
    batches = Batches(task.data, size, seeds.mix(seed, "locate"))
    return [batches(t) for t in range(1, count + 1)]
