"""Measurements at a point: does a step lower the loss, and how is the loss curved?

Directions are chosen on one sample and measured on another: the Hessian of a subsample has more extreme eigenvalues
than that of all data, so it invents saddles and exaggerates sharpness (Granziol, Zohren and Roberts 2022,
jmlr.org/papers/v23/20-1258.html). The gain of a direction is measured by actual steps along it, with the standard
error of the difference over samples. A task without data has no sampling error.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from steepest.curvature.extremes import Extremes, extremes, negative_curvature
from steepest.curvature.lanczos import Block
from steepest.curvature.loss_function import LossFunction
from steepest.errors import DivergedError, TaskError
from steepest.records.verdict import Estimate

STEP_FACTORS = tuple(2.0**k for k in range(-2, 6))
"""Step lengths that are tried, relative to that of a quadratic model."""
STANDARD_ERRORS = 2.0
"""On each side of an interval: 95 % for a mean over many samples."""
FLAT_DIRECTIONS, MAX_DESCENT_STEPS = 8, 60
"""Random near-flat directions that are tried, and the most gradient steps after each."""
SMOOTHING_PRODUCTS = 20
"""Products that remove the curvature from a direction."""
MIN_PROMISE = 1e-4
"""A gradient step that promises a smaller share of what is left to the level will not reach it."""
LOSS_ROUNDING = 1e-12
"""A gain of a smaller share of the loss may be rounding."""
LAYER_PRODUCTS = 8
"""Products that find a layer's sharpness: with 8 the sharpest layer of a perceptron and of two convolutional networks
was found, to 1 %; with 5 to 7 %, and with 4 it was another layer (digits, after 1 and 8 epochs of Adam)."""
EVIDENCE_PRODUCTS = 3
"""Products of `measure_point` beside those of the eigenvalues."""


@dataclass(frozen=True)
class Gain:
    """The decrease by an actual step, on samples that did not choose it.

    Attributes:
        decrease: loss before the step − loss after it, with its interval.
        step_length: ‖step‖.
    """

    decrease: Estimate
    step_length: float


NO_GAIN = Gain(Estimate(0.0, 0.0, 0.0), 0.0)


@dataclass(frozen=True)
class PointEvidence:
    """Measurements at a point w, with g = ∇L(w).

    Attributes:
        loss: with its interval over samples.
        is_exact: whether the task has no data, so that nothing is sampled.
        squared_norm: ‖g‖².
        flatness: ‖Hg‖ ÷ (λmax ‖g‖): near 0 where the gradient has no curvature along it.
        ends: of the spectrum, on the search sample.
        largest, smallest: curvature along its two eigenvectors, on the evaluation sample.
        gradient_step: the best step against the gradient.
        escape: the best step along the direction of smallest curvature, mean of both signs.
        relative_newton_step: ‖g‖ ÷ λmax ÷ (1 + ‖w‖): distance to a critical point, relative to w.
        size: 1 + ‖w‖.
        bound: the smallest eigenvalue is above this with probability 0.99; −∞ where it is not known.
        negative: curvature of a direction of negative curvature on all data; None where none was searched or found.
        flat_direction_gain: the largest gain along near-flat directions; None where none was tried.
        products: Hessian-vector products taken.
    """

    loss: Estimate
    is_exact: bool
    squared_norm: float
    flatness: float
    ends: Extremes
    largest: Estimate
    smallest: Estimate
    gradient_step: Gain
    escape: Gain
    relative_newton_step: float
    size: float
    bound: float = -math.inf
    negative: float | None = None
    flat_direction_gain: float | None = None
    products: int = 0


@dataclass(frozen=True)
class Layer:
    """The layer along whose own weights the loss is most curved, the others fixed.

    Attributes:
        name: of its module; empty for the model's own parameters.
        curvature: the largest along its weights, with its interval.
        count: of the layers.
        rival: the next one, where its interval reaches this one's; else None.
    """

    name: str
    curvature: Estimate
    count: int
    rival: str | None


class EvaluationSample:
    """The sample that directions are measured on, by samples, or by batches if the loss is no mean over samples.

    Attributes:
        surface: the loss on all of it.
        is_by_batch: whether by batches.
    """

    def __init__(self, surface: LossFunction) -> None:
        self.surface = surface
        try:
            surface.losses(surface.start)
            self.is_by_batch = False
        except TaskError:
            self.is_by_batch = True

    def losses(self, w: Tensor) -> Tensor:
        """The losses [n] whose mean is that of the sample."""
        if not self.is_by_batch:
            return self.surface.losses(w)
        return torch.tensor([one.value(w) for one in self.surface.per_batch()], dtype=torch.float64)

    def curvatures(self, w: Tensor, v: Tensor) -> Tensor:
        """vᵀHv [n] of each."""
        if not self.is_by_batch:
            return self.surface.curvatures(w, v)
        v = v.to(self.surface.start)
        return torch.tensor([float(v @ (one.hessian(w) @ v)) for one in self.surface.per_batch()], dtype=torch.float64)


def measure_point(search: LossFunction, evaluation: EvaluationSample, w: Tensor, products: int) -> PointEvidence:
    """Measures loss, gradient, extreme curvatures, and what steps along them gain.

    Args:
        search: the sample on which directions are chosen.
        evaluation: the sample on which they are measured; the same if the task has no data.
        w: the point [N].
        products: Hessian-vector products at most.

    Raises:
        DivergedError: the point or its loss is not finite.
    """
    at, losses = w.to(search.device, search.dtype), evaluation.losses(w)
    loss = mean(losses)
    if not (math.isfinite(loss.value) and bool(torch.isfinite(at).all())):
        is_loss = not math.isfinite(loss.value)
        raise DivergedError(f"the loss here is {loss.value:.3g}" if is_loss else "some weights are not finite")
    hessian = search.hessian(at)
    ends = extremes(hessian, max(1, products - EVIDENCE_PRODUCTS), tolerance=1e-4)
    _, g = search.gradient(at)
    norm, size, top = float(g.norm()), 1 + float(at.norm()), max(abs(ends.greatest.value), abs(ends.least.value))
    probe, v = PointProbe(search, evaluation, at, losses), ends.least.vector.to(at)
    return PointEvidence(
        loss=loss,
        is_exact=search is evaluation.surface,
        squared_norm=norm**2,
        flatness=float((hessian @ g).norm()) / (top * norm) if top * norm > 0 else 0.0,
        ends=ends,
        largest=probe.curvature(ends.greatest.vector.to(at)),
        smallest=probe.curvature(v),
        gradient_step=probe.gradient_step(g, top),
        escape=probe.escape(v, ends.least.value),
        relative_newton_step=norm / top / size if top > 0 else math.inf,
        size=size,
        products=ends.products + EVIDENCE_PRODUCTS,
    )


def bound_min_eigenvalue(
    evidence: PointEvidence, whole: LossFunction, w: Tensor, epsilon: float, products: int
) -> PointEvidence:
    """Bounds the smallest eigenvalue and tries near-flat directions: what a minimum has to pass.

    Args:
        evidence: so far.
        whole: the loss on all data; a bound on a sample says nothing.
        w: the point [N].
        epsilon: curvature that counts as none.
        products: at most.
    """
    at = w.to(whole.device, whole.dtype)
    result = negative_curvature(whole.hessian(at), epsilon, products=products)
    negative = None if result.direction is None else result.value
    products = evidence.products + result.products
    evidence = replace(evidence, bound=result.bound, negative=negative, products=products)
    if math.isinf(result.bound) or result.value > epsilon:  # no bound, or no near-flat direction
        return evidence
    gain, smoothing = _flat_direction_gain(whole, at, evidence.ends, epsilon)
    return replace(evidence, flat_direction_gain=gain, products=products + smoothing)


def sharpest_layer(search: LossFunction, evaluation: EvaluationSample, w: Tensor, products: int) -> Layer | None:
    """The layer of the largest λmax(Hₗₗ), by the diagonal blocks of the Hessian.

    Args:
        search, evaluation, w: as in `measure_point`.
        products: at most, of all layers.

    Returns:
        None if there is one layer, or the products do not suffice for all.
    """
    layers, at = search.by_layer, w.to(search.device, search.dtype)
    per_layer = products // len(layers)
    if len(layers) < 2 or per_layer < LAYER_PRODUCTS:
        return None
    hessian, sharpness, directions = search.hessian(at), dict[str, float](), dict[str, Tensor]()
    for name, place in layers.items():
        end = extremes(Block(hessian, place), per_layer, tolerance=1e-2).greatest
        sharpness[name], directions[name] = end.value, torch.zeros_like(at)
        directions[name][place] = end.vector.to(at)
    first, second = sorted(sharpness, key=lambda name: -sharpness[name])[:2]
    largest, next_one = (mean(evaluation.curvatures(w, directions[name])) for name in (first, second))
    return Layer(first, largest, len(layers), second if next_one.high >= largest.low else None)


class PointProbe:
    """A point, its two samples and the losses there, for steps away from it."""

    def __init__(self, search: LossFunction, evaluation: EvaluationSample, w: Tensor, losses: Tensor) -> None:
        self.search, self.evaluation, self.w, self.losses = search, evaluation, w, losses

    def curvature(self, v: Tensor) -> Estimate:
        """vᵀHv on the evaluation sample."""
        return mean(self.evaluation.curvatures(self.w, v))

    def gradient_step(self, g: Tensor, top: float) -> Gain:
        """The best step −k/λmax · g; k = 1 minimises a quadratic model along its sharpest direction."""
        if float(g.norm()) == 0 or top == 0:
            return NO_GAIN
        best = min((-(k / top) * g for k in STEP_FACTORS), key=lambda step: self._value(self.w + step))
        return Gain(self._decrease([best]), float(best.norm()))

    def escape(self, v: Tensor, curvature: float) -> Gain:
        """The best step along v, mean of both signs: a slope along v, which a saddle has not, cancels out."""
        if not curvature < 0:
            return NO_GAIN
        a_percent = 0.01 * max(abs(float(self.losses.mean())), 1e-3)
        unit = min(math.sqrt(2 * a_percent / -curvature), 0.1 * (1 + float(self.w.norm())))
        best = min(
            (k * unit for k in STEP_FACTORS), key=lambda r: self._value(self.w + r * v) + self._value(self.w - r * v)
        )
        return Gain(self._decrease([best * v, -best * v]), best)

    def _value(self, w: Tensor) -> float:
        value = self.search.value(w)
        return value if math.isfinite(value) else math.inf

    def _decrease(self, steps: Sequence[Tensor]) -> Estimate:
        after = torch.stack([self.evaluation.losses(self.w + step) for step in steps]).mean(0)
        return mean(self.losses - after)


def mean(values: Tensor) -> Estimate:
    """The mean of a number over samples [n], with two standard errors on each side; exact for one sample."""
    middle = float(values.mean())
    if len(values) < 2:
        return Estimate(middle, middle, middle)
    half = STANDARD_ERRORS * float(values.std()) / math.sqrt(len(values))
    return Estimate(middle, middle - half, middle + half)


def _flat_direction_gain(surface: LossFunction, w: Tensor, ends: Extremes, epsilon: float) -> tuple[float, int]:
    """The gain of gradient steps from points displaced along near-flat directions, and the products it took.

    At a minimum they return; at a saddle that the Hessian does not show (x³ − 3xy²) they end lower, and the first
    measurable gain is enough.
    """
    value, top = surface.value(w), max(ends.greatest.value, epsilon)
    generator = torch.Generator().manual_seed(0)
    best, k = 0.0, 0
    for k in range(FLAT_DIRECTIONS):
        v = torch.randn(len(w), generator=generator, dtype=torch.float64).to(w)
        v = _without_curvature(surface, w, v / v.norm(), top)
        start = w + 0.02 * 2.0 ** (k % 4) * (1 + float(w.norm())) * v
        best = max(best, value - _descend(surface, start, top, value))
        if best > LOSS_ROUNDING * max(1.0, abs(value)):
            break
    return best, (k + 1) * SMOOTHING_PRODUCTS


def _descend(surface: LossFunction, w: Tensor, curvature: float, level: float) -> float:
    """The loss after gradient steps g / curvature, which grow until one would rise.

    They end below the level, back at it, or where they hardly come nearer to it.
    """
    value, g = surface.gradient(w)
    for _ in range(MAX_DESCENT_STEPS):
        above = value - level
        if above < LOSS_ROUNDING * max(1.0, abs(level)) or float(g @ g) / curvature < MIN_PROMISE * above:
            break
        step = g / curvature
        after, next_g = surface.gradient(w - step)
        if after <= value:
            w, value, g, curvature = w - step, after, next_g, curvature / 2
        else:
            curvature *= 4
    return value if math.isfinite(value) else math.inf


def _without_curvature(surface: LossFunction, w: Tensor, v: Tensor, top: float) -> Tensor:
    """The part of v in directions of little curvature: (1 − H/λmax)ᵏ v, scaled to length 1."""
    hessian = surface.hessian(w)
    for _ in range(SMOOTHING_PRODUCTS):
        v = v - (hessian @ v) / top
        v = v / v.norm().clamp(min=1e-300)
    return v
