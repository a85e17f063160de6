"""The update rule at a point: how near its stability limit it is, and whether smaller steps would lower the loss.

"The learning rate in use" is the largest of the run's last tenth: after a cosine schedule the last one is 0.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from steepest import seeds
from steepest.analysis.diagnosis.symptoms import fit_line
from steepest.analysis.location.evidence import EvaluationSample, mean
from steepest.curvature.extremes import extremes
from steepest.curvature.loss_function import LossFunction
from steepest.descent.loop import Descent
from steepest.records.run import Steps
from steepest.records.verdict import Estimate
from steepest.rules import stability
from steepest.rules.rule import Rule
from steepest.rules.update import Update
from steepest.tasks import data
from steepest.tasks.batches import Batches
from steepest.tasks.module_copy import copy_module
from steepest.tasks.objective import Objective
from steepest.tasks.space import Space
from steepest.tasks.task import Task

MIN_TREND_STEPS = 20
"""Steps that show whether the loss falls."""
SMALL_LR_STEPS, SMALL_LR_FACTOR, SMALL_LR_REPEATS = 10, 0.1, 4
"""Steps from the point at this share of the learning rate, and how often, each time with other batches."""
SMALL_LR_SHARE, SMALL_LR_MIN_S = 0.1, 0.1
"""Share of a run's work that these steps may take in a quick check, and what they may take in any case, in seconds of
one core (`curvature.work`)."""
SHARPNESS_BATCHES = 8
"""The batch sharpness is a mean over so many batches."""


class RuleInUse(NamedTuple):
    """The update rule that led to a point.

    Attributes:
        rule: one of ours.
        lr: the largest of the run's last tenth.
        batch_size: of a step; None for full batches.
        preconditioner: P [N] of the rule, if it scales each weight and its state is known.
        t: steps that it has taken.
        is_still_falling: whether the loss fell over the run's last twentieth; None if that is not known, or the
            learning rate had decayed there.
    """

    rule: Rule
    lr: float
    batch_size: int | None = None
    preconditioner: Tensor | None = None
    t: int | None = None
    is_still_falling: bool | None = None

    @property
    def limit(self) -> stability.Limit | None:
        """The sharpness up to which it is stable; None if it has no limit, or P is needed and not known."""
        limit = stability.limit(self.rule, self.lr, self.t)
        return None if limit is None or (limit.preconditioned and self.preconditioner is None) else limit


def rule_in_use(descent: Descent, steps: Steps) -> RuleInUse | None:
    """The rule at the end of a descent; None for a torch optimizer, or before the first step.

    Args:
        descent: after its last step.
        steps: its last tenth.
    """
    update = descent.update
    if not isinstance(update, Update) or not len(steps) or not int(update.t):
        return None
    lr = float(steps.lr.max())
    if not lr > 0:
        return None  # so few steps that the schedule has ended within the last tenth
    hypers = {**descent.hypers_at(descent.t), "lr": lr}
    rule = update.rule(**{name: hypers[name] for name in update.rule.hypers})
    limit = stability.limit(rule, lr)
    scale = stability.preconditioner(update, hypers) if limit is not None and limit.preconditioned else None
    if scale is not None and not bool((scale > 0).all()):
        scale = None  # a weight has never had a gradient
    return RuleInUse(rule, lr, _batch_size(descent), scale, int(update.t), is_still_falling(steps))


def _batch_size(descent: Descent) -> int | None:
    """Samples of a step; None if a step sees all of the data."""
    if descent.batches.steps_per_epoch == 1:
        return None
    if descent.batches.is_iterable:
        batches: Any = descent.task.data
        return data.count(next(iter(batches), None))
    size = descent.settings.batch_size
    return size if isinstance(size, int) else None


def is_still_falling(steps: Steps) -> bool | None:
    """Whether the loss fell over the last half of a run's last tenth, at the learning rate in use.

    The least-squares line through the losses falls if the upper end of its slope's interval (three standard errors) is
    below 0.

    Args:
        steps: the run's last tenth.

    Returns:
        None with fewer than 20 such steps, or with learning rates below half of the one in use.
    """
    count = len(steps) // 2
    y, t = steps.loss[-count:], np.arange(count) - (count - 1) / 2
    if count < MIN_TREND_STEPS or steps.lr[-count:].max() < 0.5 * steps.lr.max() or not np.isfinite(y).all():
        return None
    slope, error = fit_line(t, y)
    return slope + 3 * error < 0


def sharpness(surface: LossFunction, w: Tensor, rule: RuleInUse, products: int) -> tuple[Estimate, int]:
    """λmax(P^(−1/2) H P^(−1/2)) with the eigensolver's error bound, and the products that it took."""
    hessian: Any = surface.best_hessian(w)
    if rule.preconditioner is not None:
        hessian = stability.PreconditionedHessian(hessian, rule.preconditioner)
    ends = extremes(hessian, products, tolerance=1e-2)
    end = ends.greatest
    return Estimate(end.value, end.value - end.residual, end.value + end.residual), ends.products


def batch_sharpness(task: Task, model: nn.Module, w: Tensor, batch_size: int, seed: int = 0) -> Estimate:
    """gᵀHg ÷ ‖g‖² of mini-batches, each with its own gradient and Hessian: the mean over eight of them.

    Source: Andreyev and Beneventano 2024, arXiv:2412.20553.
    """
    ratios = []
    batches = _draw_batches(task, batch_size, seed, SHARPNESS_BATCHES)
    for one in LossFunction(task, [batch for (batch,) in batches], model=model).per_batch():
        _, g = one.gradient(w)
        ratios.append(float(g @ (one.best_hessian(w) @ g)) / max(float(g @ g), 1e-300))
    return mean(torch.tensor(ratios, dtype=torch.float64))


def small_lr_gain(
    task: Task, model: nn.Module, evaluation: EvaluationSample, w: Tensor, rule: RuleInUse,
    repeats: int = SMALL_LR_REPEATS,
) -> Estimate:  # fmt: skip
    """The decrease by ten steps at a tenth of the learning rate, with fresh state: the mean of some repetitions.

    Args:
        task: whose batches are used.
        model: is copied; the copy's weights are set to the point.
        evaluation: the sample on which the decrease is measured.
        w: the point [N].
        rule: with learning rate and batch size.
        repeats: each with other batches; of full batches one says it all.
    """
    before = evaluation.losses(w)
    ends = [_after_small_steps(task, model, w, rule, seed) for seed in range(repeats)]
    gains = torch.stack([before - evaluation.losses(end) for end in ends])
    over_samples = evaluation.mean(gains.mean(0))
    half = over_samples.high - over_samples.value
    if repeats > 1:
        over_repeats = mean(gains.mean(1))
        half = math.hypot(half, over_repeats.high - over_repeats.value)
    return Estimate(over_samples.value, over_samples.value - half, over_samples.value + half)


def _after_small_steps(task: Task, model: nn.Module, w: Tensor, rule: RuleInUse, seed: int) -> Tensor:
    model = copy_module(model)
    model.eval()
    space = Space(model)
    space.scatter(w.to(next(model.parameters())))
    objective, update = Objective(model, task), Update(space, rule.rule)
    hypers = {**rule.rule.hypers, "lr": SMALL_LR_FACTOR * rule.lr}
    for batch in _draw_batches(task, rule.batch_size or "full", seed, SMALL_LR_STEPS):
        with seeds.ours(seed, "calmer"):
            objective.gradient(batch, space.tensors())
        update.advance(hypers)
    return space.gather().double()


def _draw_batches(task: Task, batch_size: int | str, seed: int, count: int) -> Sequence[list[Any]]:
    size = None if data.is_iterable(task.data) else batch_size
    batches = Batches(task.data, size, seeds.mix(seed, "locate"))
    return [batches(t) for t in range(1, count + 1)]
