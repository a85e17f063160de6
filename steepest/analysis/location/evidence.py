"""What can be measured at a point: is there a way down from here, and how is the ground bent?

Directions are looked for on one sample and measured on another: a subsample's Hessian has more extreme eigenvalues than
the whole one's, so it invents saddles and exaggerates sharpness (Granziol, Zohren and Roberts 2022,
jmlr.org/papers/v23/20-1258.html). What a direction is worth is told by actual steps along it, with the standard error
of the difference over samples. A task without data is known exactly.
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

DISTANCES = tuple(2.0**k for k in range(-2, 6))
"""Steps that are tried, in units of the one that a quadratic model would take."""
SURE = 2.0
"""Standard errors on each side of an interval: 95 % for a mean over many samples."""
RANDOM, PERTURBED = 8, 60
"""Directions of no curvature that are tried, and gradient steps after each at most."""
SMOOTHED = 20
"""Products that take the curvature out of a direction."""
HOPELESS = 1e-4
"""Of what is left to the level: a step that promises less will not get there."""
ROUNDING = 1e-12
"""Of the loss: a gain that may be rounding."""
PER_LAYER = 8
"""Products that tell how sharp a layer is: after 8 the sharpest of a perceptron's and of two convolutional networks'
layers was told, to 1 %; after 5 to 7 %, and after 4 it was another one (digits, after 1 and 8 epochs of Adam)."""


@dataclass(frozen=True)
class Gain:
    """What an actual step gains: loss before it less the loss after it, on samples that did not choose it.

    Attributes:
        by: the gain, with its interval.
        distance: ‖step‖.
    """

    by: Estimate
    distance: float


@dataclass(frozen=True)
class PointEvidence:
    """What was measured at a point.

    Attributes:
        loss: with its interval over samples.
        exact: whether the task has no data, so that all is known without sampling.
        squared_norm: ‖∇L‖².
        flatness: ‖Hg‖ ÷ (λmax ‖g‖): near 0 where the gradient leads along no curvature.
        ends: of the spectrum, on the sample that directions are looked for in.
        sharpest, lowest: curvature along its two eigenvectors, on the held-back sample.
        down: the best step against the gradient.
        escape: the best step to both sides along the direction of least curvature: the mean of the two.
        displacement: ‖g‖ ÷ λmax ÷ (1 + ‖w‖): how far off a critical point may be, relative to the point.
        bound: the least eigenvalue is above this with probability 0.99; −∞ where that is not known.
        floor: what escapes along directions of no curvature: the greatest gain of those tried; None where none was.
        products: Hessian-vector products taken.
    """

    loss: Estimate
    exact: bool
    squared_norm: float
    flatness: float
    ends: Extremes
    sharpest: Estimate
    lowest: Estimate
    down: Gain
    escape: Gain
    displacement: float
    bound: float = -math.inf
    floor: float | None = None
    products: int = 0


@dataclass(frozen=True)
class Layer:
    """The layer whose own weights the loss is most curved in, all others held still.

    Attributes:
        name: of its module; empty for the model's own parameters.
        curvature: the greatest along its weights, with its interval.
        count: of the layers.
        rival: the next one, where its interval reaches this one's; else None.
    """

    name: str
    curvature: Estimate
    count: int
    rival: str | None


class EvaluationSample:
    """The held-back sample, taken apart: sample by sample, or batch by batch where the loss is no mean over samples.

    Attributes:
        surface: of the whole of it.
        is_by_batch: which of the two.
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
        at = w.to(self.surface.start)
        if not self.is_by_batch:
            return self.surface.losses(at)
        return torch.tensor([one.value(at) for one in self.surface.apart()], dtype=torch.float64)

    def curvatures(self, w: Tensor, v: Tensor) -> Tensor:
        """vᵀHv [n] of each."""
        at, along = w.to(self.surface.start), v.to(self.surface.start)
        if not self.is_by_batch:
            return self.surface.curvatures(at, along)
        return torch.tensor(
            [float(along @ (one.hessian(at) @ along)) for one in self.surface.apart()], dtype=torch.float64
        )


def measure_point(found: LossFunction, held: EvaluationSample, w: Tensor, products: int) -> PointEvidence:
    """Looks around.

    Args:
        found: the sample in which directions are looked for.
        held: the one that is held back; of a task without data the same.
        w: the point [N].
        products: Hessian-vector products at most.

    Raises:
        DivergedError: the point or its loss is not finite.
    """
    at, before = w.to(found.device, found.dtype), held.losses(w)
    loss = mean(before)
    if not (math.isfinite(loss.value) and bool(torch.isfinite(at).all())):
        raise DivergedError(f"the loss at the point is {loss.value}")
    hessian = found.hessian(at)
    ends = extremes(hessian, max(1, products - 3), tolerance=1e-4)
    _, g = found.gradient(at)
    norm, top = float(g.norm()), max(abs(ends.greatest.value), abs(ends.least.value))
    turned = float((hessian @ g).norm()) / (top * norm) if top * norm > 0 else 0.0
    here = Here(found, held, at, before)
    v = ends.least.vector.to(at)
    return PointEvidence(
        loss, found is held.surface, norm**2, turned, ends,
        here.curvature(ends.greatest.vector.to(at)), here.curvature(v),
        here.down(g, top), here.escape(v, ends.least.value),
        norm / top / (1 + float(at.norm())) if top > 0 else math.inf, products=ends.products + 3,
    )  # fmt: skip


def bound_min_eigenvalue(
    evidence: PointEvidence, whole: LossFunction, w: Tensor, epsilon: float, products: int
) -> PointEvidence:
    """GradientLimits the least eigenvalue, and tries directions of no curvature: what a minimum has to stand.

    Args:
        evidence: so far.
        whole: all the data; a bound that holds on a sample says nothing.
        w: the point [N].
        epsilon: curvature that counts as none.
        products: at most.
    """
    at = w.to(whole.device, whole.dtype)
    hessian = whole.hessian(at)
    search = negative_curvature(hessian, epsilon, products=products)
    known = replace(evidence, bound=search.bound, products=evidence.products + search.products)
    if math.isinf(search.bound) or search.value > epsilon:  # no bound, or no direction without curvature
        return known
    gain, taken = _floor(whole, at, evidence.ends, epsilon)
    return replace(known, floor=gain, products=known.products + taken)


def sharpest_layer(found: LossFunction, held: EvaluationSample, w: Tensor, products: int) -> Layer | None:
    """The layer of the greatest curvature λmax(Hₗₗ), by the blocks of the Hessian on its diagonal.

    Args:
        found, held, w: as `measure_point` has them.
        products: at most, of all layers.

    Returns:
        None where there is one layer, or the products do not suffice for all.
    """
    layers, at = found.by_layer, w.to(found.device, found.dtype)
    each = products // len(layers)
    if len(layers) < 2 or each < PER_LAYER:
        return None
    hessian, sharp = found.hessian(at), dict[str, tuple[float, Tensor]]()
    for name, place in layers.items():
        end = extremes(Block(hessian, place), each, tolerance=1e-2).greatest
        v = torch.zeros_like(at)
        v[place] = end.vector.to(at)
        sharp[name] = end.value, v
    first, second = sorted(sharp, key=lambda name: -sharp[name][0])[:2]
    most, next_one = (mean(held.curvatures(w, sharp[name][1])) for name in (first, second))
    return Layer(first, most, len(layers), second if next_one.high >= most.low else None)


class Here:
    """A point, its two samples and the held-back losses there."""

    def __init__(self, found: LossFunction, held: EvaluationSample, w: Tensor, before: Tensor) -> None:
        self.found, self.held, self.w, self.before = found, held, w, before
        self.size = float(w.norm())

    def curvature(self, v: Tensor) -> Estimate:
        """vᵀHv on the held-back sample."""
        return mean(self.held.curvatures(self.w, v))

    def down(self, g: Tensor, top: float) -> Gain:
        """The best step against the gradient; 1/λmax is what a quadratic model takes along its sharpest direction."""
        norm = float(g.norm())
        if norm == 0 or top == 0:
            return Gain(Estimate(0.0, 0.0, 0.0), 0.0)
        steps = [-(k / top) * g for k in DISTANCES]
        best = min(steps, key=lambda step: self._value(self.w + step))
        return Gain(self._gain([best]), float(best.norm()))

    def escape(self, v: Tensor, curvature: float) -> Gain:
        """The best step to both sides along v: a slope along it, which is no saddle's, cancels out."""
        if not curvature < 0:
            return Gain(Estimate(0.0, 0.0, 0.0), 0.0)
        a_percent = 0.01 * max(abs(float(self.before.mean())), 1e-3)
        unit = min(math.sqrt(2 * a_percent / -curvature), 0.1 * (1 + self.size))
        best = min((k * unit for k in DISTANCES), key=lambda r: self._both(r * v))
        return Gain(self._gain([best * v, -best * v]), best)

    def _both(self, step: Tensor) -> float:
        return self._value(self.w + step) + self._value(self.w - step)

    def _value(self, w: Tensor) -> float:
        value = self.found.value(w)
        return value if math.isfinite(value) else math.inf

    def _gain(self, steps: Sequence[Tensor]) -> Estimate:
        after = torch.stack([self.held.losses(self.w + step) for step in steps]).mean(0)
        return mean(self.before - after)


def mean(values: Tensor) -> Estimate:
    """The mean of a number over samples [n], with two standard errors on each side; of one it is exact."""
    middle = float(values.mean())
    if len(values) < 2:
        return Estimate(middle, middle, middle)
    half = SURE * float(values.std()) / math.sqrt(len(values))
    return Estimate(middle, middle - half, middle + half)


def _floor(surface: LossFunction, w: Tensor, ends: Extremes, epsilon: float) -> tuple[float, int]:
    """What gradient steps gain from near the point, moved along directions of no curvature, and the products it took.

    At a minimum they lead back; at a saddle whose Hessian does not show it (x³ − 3xy²) they lead below, and the first
    clear gain is enough.
    """
    value, top = surface.value(w), max(ends.greatest.value, epsilon)
    generator = torch.Generator().manual_seed(0)
    best, k = 0.0, 0
    for k in range(RANDOM):
        v = torch.randn(len(w), generator=generator, dtype=torch.float64).to(w)
        v = _without_curvature(surface, w, v / v.norm(), top)
        best = max(best, value - _descended(surface, w + 0.02 * 2.0 ** (k % 4) * (1 + float(w.norm())) * v, top, value))
        if best > ROUNDING * max(1.0, abs(value)):
            break
    return best, (k + 1) * SMOOTHED


def _descended(surface: LossFunction, w: Tensor, curvature: float, level: float) -> float:
    """The loss after gradient steps g / curvature, which grow until one would rise.

    They end below the level, where they are back at it, and where they hardly come nearer to it.
    """
    value, g = surface.gradient(w)
    for _ in range(PERTURBED):
        above = value - level
        if above < ROUNDING * max(1.0, abs(level)) or float(g @ g) / curvature < HOPELESS * above:
            break
        step = g / curvature
        after, ahead = surface.gradient(w - step)
        if after <= value:
            w, value, g, curvature = w - step, after, ahead, curvature / 2
        else:
            curvature *= 4
    return value if math.isfinite(value) else math.inf


def _without_curvature(surface: LossFunction, w: Tensor, v: Tensor, top: float) -> Tensor:
    """Most of v that is in directions of little curvature: (1 − H/λmax)ᵏ v, of length 1."""
    hessian = surface.hessian(w)
    for _ in range(SMOOTHED):
        v = v - (hessian @ v) / top
        v = v / v.norm().clamp(min=1e-300)
    return v
