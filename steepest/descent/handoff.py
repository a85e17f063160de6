"""The learning rate of a rule that takes over, from the last steps p of the rule before it and their gradients g.

    α = (1 − β) Σ‖p‖² / Σ(−p·g),    at most half the stability limit of the new rule

At a constant gradient a heavy ball moves α / (1 − β) times the gradient, so this is the learning rate at which the new
rule moves as far along −g as the old one did. It is a ratio of sums: a single ratio is large whenever a step is almost
orthogonal to its gradient, and so is the mean of ratios. A rule that hands over to itself keeps its learning rate:
gradient descent to the bit; a heavy ball where gradients persist, and down to 1 / (1 + β) of it where they are noise.

The limit is that of `steepest.rules.stability` at the largest Hessian eigenvalue, λ_max, at the hand-off.

Source: after Keskar and Socher 2017, arXiv:1712.07628, who take a running mean of ratios.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from steepest.curvature.extremes import extremes
from steepest.curvature.samples import sample_loss_functions
from steepest.records.run import Event
from steepest.rules import stability
from steepest.rules.rule import Rule
from steepest.rules.textbook import gradient_descent, momentum, nesterov
from steepest.rules.torch_optimizer import ClosureStep, TorchOptimizer
from steepest.rules.update import Update
from steepest.tasks.data import length
from steepest.tasks.space import Space

STATISTICS_STEPS = 100
"""The last steps of a stage, from which the next stage's learning rate is derived."""
CURVATURE_PRODUCTS, CURVATURE_SAMPLES = 6, 256
"""Hessian-vector products for λ_max, and their samples. On eight of `benchmarks.problems.problems`, at 70 % of the run,
5 products gave λ_max within 1 % of 40; 128 samples gave 0.9 to 1.3 × that of all."""
CURVATURE_TOLERANCE = 0.01
"""Relative, of λ_max."""
MAX_LIMIT_SHARE = 0.5
"""Of the stability limit."""
GRADIENT_SUMS = {rule.formula: rule.hypers["lr"] for rule in (gradient_descent, momentum, nesterov)}
"""Rules whose step is the learning rate times a sum of gradients, and their default learning rates."""


def is_lr_derived(rule: Any, lr: float | None) -> bool:
    """Whether a stage's learning rate is derived: its rule is one of GRADIENT_SUMS, and no learning rate is given.

    >>> is_lr_derived(momentum(beta=0.8), None), is_lr_derived(momentum, 0.1), is_lr_derived(momentum(lr=0.1), None)
    (True, False, False)
    """
    return lr is None and isinstance(rule, Rule) and GRADIENT_SUMS.get(rule.formula) == rule.hypers["lr"]


class StepStatistics:
    """Squared length of steps, Σ‖p‖², and their decrease to first order, Σ(−p·g).

    p is the step at the base learning rate: the displacement divided by the schedule's factor and by the group's
    `lr_scale`, which multiply the next rule's steps too. g is the gradient that the rule used, after clipping.

    The sums stay on the weights' device and are not synchronised.
    """

    def __init__(self, space: Space) -> None:
        self._space = space
        self.scales = [float(space.overrides[row].get("lr_scale", 1.0)) for row in space.rows]
        self._sums = torch.zeros(3, dtype=torch.float64, device=space.tensors()[0].device)

    @torch.no_grad()
    def advance(
        self, update: Update | TorchOptimizer | ClosureStep, hypers: Mapping[str, Any], scale: Any, factor: float
    ) -> Any:
        """Takes the update's step, and adds it to the sums.

        Args:
            update: moves the point.
            hypers: of this step.
            scale: of the gradient; NaN, a float or a tensor, skips the step.
            factor: this step's learning rate relative to the base learning rate.

        Returns:
            what the update returns.
        """
        before, gradient = self._space.gather(), self._gradient()
        result = update.advance(hypers, scale)
        if factor:
            step = (self._space.gather() - before).double() / factor
            if any(s != 1 for s in self.scales):
                step *= per_weight(self._space, [1 / s if s else 0.0 for s in self.scales], step)
            terms = torch.stack([torch.ones_like(step[0]), step @ step, -(step @ gradient) * scale])
            self._sums += torch.where(torch.as_tensor(scale == scale, device=terms.device), terms, 0.0)
        return result

    def _gradient(self) -> Tensor:
        """∇L(w) [N], float64; 0 where there is none."""
        tensors = self._space.tensors()
        parts = [torch.zeros_like(p) if p.grad is None else p.grad for p in tensors]
        return torch.cat([x.reshape(-1).to(tensors[0].device, torch.float64) for x in parts])

    def state(self) -> dict[str, float]:
        """The number of steps, and the sums: `steps`, `squares`, `downhill`."""
        return dict(zip(("steps", "squares", "downhill"), self._sums.tolist(), strict=True))

    def load(self, state: Mapping[str, float]) -> None:
        """Restores what `state` gave."""
        self._sums.copy_(torch.tensor([state["steps"], state["squares"], state["downhill"]], dtype=torch.float64))


def per_weight(space: Space, values: Sequence[float], like: Tensor) -> Tensor:
    """A value for each parameter as one for each weight [N]."""
    parts = zip(space.sizes, values, strict=True)
    return torch.cat([torch.full((n,), x, dtype=like.dtype, device=like.device) for n, x in parts])


def choose_lr(
    descent: Any, statistics: StepStatistics | None, hypers: Mapping[str, Any], steps: Sequence[int]
) -> tuple[float, str]:
    """The base learning rate of a rule that takes over, and its origin in words.

    Args:
        descent: the `Descent`, at the start of the stage, with the learning rate that is given or the rule's default.
        statistics: of the steps before, from which the learning rate is derived where that is possible.
        hypers: of the rule's first step.
        steps: of the stage.
    """
    default, rule = descent.base_lr, descent.stage.rule
    if statistics is None:
        is_given = descent.stage.lr is not None or getattr(rule, "formula", None) in GRADIENT_SUMS
        return default, "as given" if is_given else "the rule's default: its steps are not sums of gradients"
    n, squares, downhill = statistics.state().values()
    if not n:
        return default, "the rule's default: the stage before took no step that counts"
    if not (0 < downhill < math.inf and 0 < squares < math.inf):
        return default, f"the rule's default: the last {n:.0f} steps did not descend"
    lr = (1 - hypers.get("beta", 0.0)) * squares / downhill
    try:
        curvature = max_curvature(descent, statistics.scales, hypers.get("weight_decay", 0.0))
    except Exception as error:  # the user's module may fail to be copied or differentiated twice in any way
        reason = str(error).partition("\n")[0]
        return default, f"the rule's default: λ_max, which bounds a derived lr, is unknown ({reason})"
    bound = stable_lr(rule, hypers, curvature, max(map(descent.schedule, steps)))
    if lr <= bound:
        return lr, f"derived from the last {n:.0f} steps"
    return bound, f"half the stability limit (λ_max {curvature:.3g}); the last {n:.0f} steps suggested {lr:.3g}"


def merge_events(handoff: Event, other: Event | None) -> Event:
    """One event for a hand-off and what else happened at its step."""
    if other is None:
        return handoff
    return other._replace(seen=f"{handoff.seen}; {other.seen}", done=f"{handoff.done}; {other.done}")


def stable_lr(rule: Rule, hypers: Mapping[str, Any], curvature: float, peak: float = 1.0) -> float:
    """The largest base learning rate that a rule gets at a curvature: half of its stability limit.

    Args:
        rule: one of GRADIENT_SUMS.
        hypers: of its first step.
        curvature: λ_max.
        peak: the schedule's largest factor.

    >>> stable_lr(momentum, {"beta": 0.5}, curvature=3.0), stable_lr(gradient_descent, {}, curvature=10.0)
    (0.5, 0.1)
    """
    if curvature <= 0 or peak <= 0:
        return math.inf
    now = rule(**{name: hypers[name] for name in rule.hypers if name in hypers and name != "lr"})
    limit = stability.limit(now, lr=1.0)
    assert limit is not None
    return MAX_LIMIT_SHARE * limit.value / (curvature * peak)


def max_curvature(descent: Any, scales: Sequence[float], decay: float = 0.0) -> float:
    """λ_max of the Hessian at a descent's point, on a fixed sample of its data.

    An iterable is left where it is: the sample is then of the validation data. The model is a copy, in evaluation mode,
    with the present buffers.

    Args:
        descent: the `Descent`, at its point.
        scales: `lr_scale` of each parameter, which multiplies its steps and the curvature along them.
        decay: weight decay of the rule, which adds to the curvature.

    Raises:
        SteepestError: the curvature cannot be computed.
    """
    task, batches = descent.task, descent.batches
    data = task.validation if batches.is_iterable else task.data
    size = min(CURVATURE_SAMPLES, (1 if data is None else length(data)) or 1)
    dtype = torch.promote_types(next(descent.model.parameters()).dtype, torch.float32)
    (surface,) = sample_loss_functions(task, (size,), batches.seed, data=data, dtype=dtype, model=descent.model)
    p = per_weight(surface.space, [1 / s if s else math.inf for s in scales], surface.start)
    matrix = stability.PreconditionedHessian(surface.hessian(surface.start), p, decay)
    return extremes(matrix, CURVATURE_PRODUCTS, CURVATURE_TOLERANCE, batches.seed).greatest.value
