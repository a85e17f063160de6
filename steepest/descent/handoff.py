"""The learning rate of a rule that takes over, from the last steps p of the rule before it and their gradients g.

    α = (1 − β) Σ‖p‖² / Σ(−p·g),    at most half the stability limit of the new rule

In its stride a heavy ball goes α / (1 − β) times the gradient, so this is the rate at which it goes as far along −g as
the old rule did. It is a ratio of sums: single ratios are large whenever a step happens to be at right angles to its
gradient, and so is their mean. A rule handed to itself keeps its rate: gradient descent to the bit; a heavy ball where
gradients last, and less, down to 1 / (1 + β) of it, where they are noise.

The limit is that of `steepest.rules.stability` at the greatest eigenvalue of the Hessian, λmax, at the hand-off.

Source: after Keskar and Socher 2017, arXiv:1712.07628, who take a running mean of ratios.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from steepest.curvature.extremes import extremes
from steepest.curvature.loss_function import sample_loss_functions
from steepest.records.run import STAGE, Event
from steepest.rules import stability
from steepest.rules.rule import Rule
from steepest.rules.textbook import gradient_descent, momentum, nesterov
from steepest.tasks.batches import Batches
from steepest.tasks.data import length
from steepest.tasks.space import Space
from steepest.tasks.task import Task

WINDOW = 100
"""The last steps of a stage, from which the next one's rate follows."""
PRODUCTS, SAMPLE = 6, 256
"""Hessian-vector products for λmax, and the samples they are taken on. On eight of `benchmarks.problems.problems`, at
70 % of
the run, 5 products gave λmax within 1 % of 40; 128 samples gave 0.9 to 1.3 × that of all."""
TOLERANCE = 0.01
"""Of λmax."""
ALLOWED = 0.5
"""Of the stability limit."""
PROPORTIONAL = {rule.formula: rule.hypers["lr"] for rule in (gradient_descent, momentum, nesterov)}
"""Rules whose step is a sum of gradients times the rate, and their default rates: no other rule's rate follows."""


class Moves(Protocol):
    """What moves the point: an Update or a Foreign."""

    def advance(self, hypers: Mapping[str, Any], scale: Any = 1.0) -> Any: ...


def is_lr_derived(rule: Any, lr: float | None) -> bool:
    """Whether a stage's rate follows from the steps before it: its rule is one of PROPORTIONAL, and none is given.

    >>> is_lr_derived(momentum(beta=0.8), None), is_lr_derived(momentum, 0.1), is_lr_derived(momentum(lr=0.1), None)
    (True, False, False)
    """
    return lr is None and isinstance(rule, Rule) and PROPORTIONAL.get(rule.formula) == rule.hypers["lr"]


class StepStatistics:
    """How far steps went, Σ‖p‖², and how far downhill, Σ(−p·g).

    p is the step at the base rate: what was moved, divided by the schedule's factor and by the group's `lr_scale`,
    which the next rule will be multiplied with as well. g is the gradient that the rule was given, after clipping.

    The sums are where the weights are, and nothing waits for them.
    """

    def __init__(self, space: Space) -> None:
        self._space = space
        self.scales = [float(space.overrides[row].get("lr_scale", 1.0)) for row in space.rows]
        self._sums = torch.zeros(3, dtype=torch.float64, device=space.tensors()[0].device)

    @torch.no_grad()
    def advance(self, update: Moves, hypers: Mapping[str, Any], scale: Any, factor: float) -> Any:
        """Has the update take its step, and looks at it.

        Args:
            update: that moves the point.
            hypers: of this step.
            scale: of the gradient; NaN, a float or a tensor, is a step that is not taken.
            factor: by which this step's rate is the base rate's.

        Returns:
            what the update gives.
        """
        before, gradient = self._space.gather(), self._gradient()
        moved = update.advance(hypers, scale)
        if factor:
            step = (self._space.gather() - before).double() / factor
            if any(s != 1 for s in self.scales):
                step *= spread(self._space, [1 / s if s else 0.0 for s in self.scales], step)
            seen = torch.stack([torch.ones_like(step[0]), step @ step, -(step @ gradient) * scale])
            self._sums += torch.where(torch.as_tensor(scale == scale, device=seen.device), seen, 0.0)
        return moved

    def _gradient(self) -> Tensor:
        """∇L(w) [N], float64; 0 where there is none."""
        tensors = self._space.tensors()
        parts = [torch.zeros_like(p) if p.grad is None else p.grad for p in tensors]
        return torch.cat([x.reshape(-1).to(tensors[0].device, torch.float64) for x in parts])

    def state(self) -> dict[str, float]:
        """Steps that were taken, and the sums: `steps`, `squares`, `downhill`."""
        return dict(zip(("steps", "squares", "downhill"), self._sums.tolist(), strict=True))

    def load(self, state: Mapping[str, float]) -> None:
        """Restores what `state` gave."""
        self._sums.copy_(torch.tensor([state["steps"], state["squares"], state["downhill"]], dtype=torch.float64))


def spread(space: Space, values: Sequence[float], like: Tensor) -> Tensor:
    """A value for each parameter as one for each weight [N]."""
    parts = zip(space.sizes, values, strict=True)
    return torch.cat([torch.full((n,), x, dtype=like.dtype, device=like.device) for n, x in parts])


def stride_before(space: Space, stages: Iterable[tuple[Any, float | None, int]]) -> StepStatistics | None:
    """What looks at the steps before the next of these stages, if there is one and its rate follows from them."""
    for rule, lr, _ in stages:
        return StepStatistics(space) if is_lr_derived(rule, lr) else None
    return None


class Descending(Protocol):
    """What a hand-off needs of a descent, which is at its beginning of the new stage."""

    task: Task
    model: nn.Module
    batches: Batches
    schedule: Any
    rule: Any
    base_rate: float


def derive_lr(
    stride: StepStatistics, descent: Descending, hypers: Mapping[str, Any], steps: Sequence[int]
) -> tuple[float, str]:
    """The base rate of a rule that takes over: what follows from the steps before it, or its own where nothing does.

    Args:
        stride: the steps before.
        descent: where it is.
        hypers: of the rule's first step.
        steps: of its stage.

    Returns:
        the rate; and why, in words.
    """
    own, (n, squares, downhill) = descent.base_rate, stride.state().values()
    if not n:
        return own, "its own, for no step was taken from which one follows"
    if not (0 < downhill < math.inf and 0 < squares < math.inf):
        return own, f"its own, for the last {n:.0f} steps together did not go downhill"
    rate = (1 - hypers.get("beta", 0.0)) * squares / downhill
    try:
        curvature = max_curvature(descent, stride.scales, hypers.get("weight_decay", 0.0))
    except Exception as error:  # whatever the user's module makes of being copied or differentiated twice
        reason = str(error).partition("\n")[0]
        return own, f"its own, for the curvature, which bounds what follows, is not known: {reason}"
    bound = stable_lr(descent.rule, hypers, curvature, max(map(descent.schedule, steps)))
    if rate <= bound:
        return rate, f"as follows from the last {n:.0f} steps"
    follows = f"{rate:.3g} follows from the last {n:.0f} steps"
    return bound, f"half its stability limit at curvature {curvature:.3g} ({follows})"


def why_given(rule: Any, given: float | None) -> str:
    """Why a rule has the rate that it has, in words, where that does not follow from the steps before."""
    if given is not None or getattr(rule, "formula", None) in PROPORTIONAL:
        return "as given"
    return "its own, for its steps are not sums of gradients"


def event(t: int, ended: str, begun: str, rate: float, why: str) -> Event:
    """What the record says of a hand-off at step t."""
    return Event(t, STAGE, f"{ended}'s stage is over", f"{begun} takes over, its base rate {rate:.4g}: {why}")


def merge_events(handed: Event, other: Event | None) -> Event:
    """A hand-off, and what else happened in its step: one event."""
    if other is None:
        return handed
    return other._replace(seen=f"{handed.seen}; {other.seen}", done=f"{handed.done}; {other.done}")


def stable_lr(rule: Rule, hypers: Mapping[str, Any], curvature: float, peak: float = 1.0) -> float:
    """The greatest base rate that a rule is given at a curvature: half of that above which it is unstable.

    Args:
        rule: one of PROPORTIONAL.
        hypers: of its first step.
        curvature: λmax.
        peak: the greatest factor of the rate.

    >>> stable_lr(momentum, {"beta": 0.5}, curvature=3.0), stable_lr(gradient_descent, {}, curvature=10.0)
    (0.5, 0.1)
    """
    if curvature <= 0 or peak <= 0:
        return math.inf
    now = rule(**{name: hypers[name] for name in rule.hypers if name in hypers and name != "lr"})
    limit = stability.limit(now, lr=1.0)
    assert limit is not None
    return ALLOWED * limit.value / (curvature * peak)


def max_curvature(descent: Descending, scales: Sequence[float], decay: float = 0.0) -> float:
    """λmax of the Hessian where a descent is, on a frozen sample of its data.

    Data that brings its own batches is not disturbed; then held-back data is used. The model is a copy, in evaluation
    mode, with its buffers as they are.

    Args:
        descent: where it is.
        scales: `lr_scale` of each parameter: so much longer are its steps, and the curvature along them.
        decay: weight decay of the rule, which is curvature too.

    Raises:
        SteepestError: the curvature cannot be had.
    """
    task, batches = descent.task, descent.batches
    data = task.validation if batches.is_iterable else task.data
    size = min(SAMPLE, (1 if data is None else length(data)) or 1)
    dtype = torch.promote_types(next(descent.model.parameters()).dtype, torch.float32)
    (surface,) = sample_loss_functions(task, (size,), batches.seed, data=data, dtype=dtype, model=descent.model)
    p = spread(surface.space, [1 / s if s else math.inf for s in scales], surface.start)
    matrix = stability.PreconditionedHessian(surface.hessian(surface.start), p, decay)
    return extremes(matrix, PRODUCTS, TOLERANCE, batches.seed).greatest.value
