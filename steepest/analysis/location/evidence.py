"""Measurements at a point: does a step lower the loss, and how is the loss curved?

Directions are chosen on one sample and measured on another: the Hessian of a subsample has more extreme eigenvalues
than that of all data, so it invents saddles and exaggerates sharpness (Granziol, Zohren and Roberts 2022,
jmlr.org/papers/v23/20-1258.html). The gain of a direction is measured by actual steps along it, with the standard
error of the difference over samples. A task without data has no sampling error.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from steepest.curvature.extremes import Block, Extremes, WatchedMatrix, extremes, negative_curvature
from steepest.curvature.loss_function import LossFunction
from steepest.curvature.sample_losses import reason
from steepest.errors import DivergedError, TaskError
from steepest.records.verdict import Estimate

STEP_FACTORS = tuple(2.0**k for k in range(-2, 6))
"""Step lengths that are tried, relative to that of a quadratic model."""
MAX_STEP_FACTOR = 2.0**16
"""Of the longest gradient step."""
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
"""Products of `PointEvidence` beside those of the eigenvalues."""


class Gain(NamedTuple):
    """The decrease by an actual step, on samples that did not choose it.

    Attributes:
        decrease: loss before the step − loss after it, with its interval.
        step_length: ‖step‖.
    """

    decrease: Estimate
    step_length: float


NO_GAIN = Gain(Estimate(0.0, 0.0, 0.0), 0.0)


class Layer(NamedTuple):
    """The layer along whose own weights the loss is most curved, the others fixed.

    Attributes:
        name: of its module; empty for the model's own parameters.
        curvature: the largest along its weights, with its interval.
        layers: their number.
        rival: the next one, where its interval reaches this one's; else None.
    """

    name: str
    curvature: Estimate
    layers: int
    rival: str | None


class EvaluationSample:
    """The sample that directions are measured on: by samples, or by batches.

    By batches where the loss is no sum over samples, or the model would see one sample after another.

    Attributes:
        surface: the loss on all of it.
        is_by_batch: whether by batches.
        weights: what each counts [n]; their mean is 1.
        is_held_back: whether no direction is chosen on these samples.
        messages: how it is measured, where that is not as usual, in words.

    Args:
        surface, is_held_back: as above.
        w: the point.
        whole: the same samples in larger batches, whose numbers are reported where those of small batches differ.
    """

    def __init__(
        self, surface: LossFunction, w: Tensor, whole: LossFunction | None = None, is_held_back: bool = True
    ) -> None:
        self.surface, self.is_held_back, self.messages = surface, is_held_back, list[str]()
        if not is_held_back:
            self.messages.append(
                "The only batch of the data cannot be cut in two: no samples are held back, and curvature is measured "
                "on those that chose its directions."
            )
        self._whole = whole
        try:
            self.weights, self.is_by_batch = surface.sample_weights(w), surface.has_slow_samples
        except Exception as error:  # the loss mixes samples, is not finite, or its samples cannot be taken apart
            self.is_by_batch = True
            why = f"The samples' own losses cannot be told ({reason(error)})"
            if isinstance(error, TaskError):
                why = "The loss mixes samples or draws random numbers"
            self.messages.append(f"{why}: numbers and their intervals are over batches.")
        if self.is_by_batch:
            shares = torch.tensor(surface.shares, dtype=torch.float64)
            self.weights = shares / shares.mean()

    def losses(self, w: Tensor) -> Tensor:
        """The losses [n] whose mean is that of the sample."""
        if not self.is_by_batch:
            return self.surface.losses(w)
        return self._by_batch(lambda one: one.value(w))

    def curvatures(self, w: Tensor, v: Tensor) -> Tensor:
        """vᵀHv [n] of each."""
        if not self.is_by_batch:
            return self.surface.curvatures(w, v)
        v = v.to(self.surface.start)
        return self._by_batch(lambda one: float(v @ (one.best_hessian(w) @ v)))

    def mean(self, values: Tensor) -> Estimate:
        """The mean of a number over the sample, with its interval."""
        return mean(values, self.weights)

    def _by_batch(self, number: Callable[[LossFunction], float]) -> Tensor:
        """A number of each batch, times its share and the number of batches, so that the mean is that of the sample."""
        shares = self.surface.shares
        ones = [number(one) if share else 0.0 for one, share in zip(self.surface.per_batch(), shares, strict=True)]
        values = torch.tensor([len(shares) * s * x for s, x in zip(shares, ones, strict=True)], dtype=torch.float64)
        return values if self._whole is None else values + (number(self._whole) - values.mean())


class PointEvidence:
    """Measurements at a point w, with g = ∇L(w).

    Attributes:
        search: the sample on which directions are chosen.
        evaluation: the sample on which they are measured; the same if the task has no data.
        w: the point [N].
        loss: with its interval over samples.
        is_exact: whether the task has no data, so that nothing is sampled.
        squared_norm: ‖g‖².
        ends: of the spectrum, on the search sample.
        top: λmax, the largest curvature, whatever its sign.
        flatness: ‖Hg‖ ÷ (λmax ‖g‖): near 0 where the gradient has no curvature along it.
        largest, smallest: curvature along its two eigenvectors, on the evaluation sample.
        gradient_step: the best step against the gradient.
        escape: the best step along the direction of smallest curvature, mean of both signs.
        size: 1 + ‖w‖.
        relative_newton_step: ‖g‖ ÷ λmax ÷ (1 + ‖w‖): distance to a critical point, relative to w.
        products: Hessian-vector products taken.
        bound: the smallest eigenvalue is above this with probability 0.99; −∞ where it is not known.
        negative: curvature of a direction of negative curvature on all data; None where none was searched or found.
        flat_direction_gain: the largest gain along near-flat directions; None where none was tried.

    Args:
        search, evaluation, w: as above.
        products: Hessian-vector products at most.
        notify: told of each product of the eigenvalues.

    Raises:
        DivergedError: the point or its loss is not finite.
    """

    def __init__(
        self, search: LossFunction, evaluation: EvaluationSample, w: Tensor, products: int,
        notify: Callable[[], None] = lambda: None,
    ) -> None:  # fmt: skip
        self.search, self.evaluation, self.w = search, evaluation, w.to(search.device, search.dtype)
        self._losses = evaluation.losses(w)
        self.loss, self.is_exact = evaluation.mean(self._losses), search is evaluation.surface
        if not math.isfinite(self.loss.value):
            raise DivergedError(f"the loss here is {self.loss.value:.3g}")
        if abs(self.loss.value) > torch.finfo(search.own_dtype).max:
            dtype = str(search.own_dtype).removeprefix("torch.")
            raise DivergedError(f"the loss here is {self.loss.value:.3g}, more than {dtype} can hold")
        if not bool(torch.isfinite(self.w).all()):
            raise DivergedError("some weights are not finite")
        hessian, (_, g) = search.best_hessian(self.w), search.gradient(self.w)
        evaluation.surface.has_second_derivative = search.has_second_derivative
        self.ends = extremes(WatchedMatrix(hessian, notify), max(1, products - EVIDENCE_PRODUCTS), tolerance=1e-4)
        self.products = self.ends.products + EVIDENCE_PRODUCTS
        first, last = self.ends.least, self.ends.greatest
        top, norm = max(abs(last.value), abs(first.value)), float(g.norm())
        self.top, self.squared_norm, self.size = top, norm * norm, 1 + float(self.w.norm())
        self.flatness = float((hessian @ g).norm()) / (top * norm) if top * norm > 0 else 0.0
        self.relative_newton_step = norm / top / self.size if top > 0 else math.inf
        self.largest, self.smallest = (
            evaluation.mean(evaluation.curvatures(self.w, end.vector)) for end in (last, first)
        )
        self.gradient_step = self._best_gradient_step(g)
        self.escape = self._best_escape(first.vector.to(self.w), first.value)
        self.bound, self.negative, self.flat_direction_gain = -math.inf, None, None

    def bound_min_eigenvalue(self, whole: LossFunction, epsilon: float, products: int) -> None:
        """Bounds the smallest eigenvalue and tries near-flat directions: what a minimum has to pass.

        Args:
            whole: the loss on all data; a bound on a sample says nothing.
            epsilon: curvature that counts as none.
            products: at most.
        """
        at = self.w.to(whole.start)
        result = negative_curvature(whole.hessian(at), epsilon, products=products)
        self.bound, self.negative = result.bound, None if result.direction is None else result.value
        self.products += result.products
        if not math.isinf(result.bound) and result.value <= epsilon:  # there are near-flat directions
            self.flat_direction_gain, smoothing = _flat_direction_gain(whole, at, self.ends, epsilon)
            self.products += smoothing

    def sharpest_layer(self, products: int) -> Layer | None:
        """The layer of the largest λmax(Hₗₗ), by the diagonal blocks of the Hessian.

        Args:
            products: at most, of all layers.

        Returns:
            None if there is one layer, or the products do not suffice for all.
        """
        layers = self.search.by_layer
        per_layer = products // len(layers)
        if len(layers) < 2 or per_layer < LAYER_PRODUCTS:
            return None
        hessian, sharpness, directions = self.search.best_hessian(self.w), dict[str, float](), dict[str, Tensor]()
        for name, place in layers.items():
            end = extremes(Block(hessian, place), per_layer, tolerance=1e-2).greatest
            sharpness[name], directions[name] = end.value, torch.zeros_like(self.w)
            directions[name][place] = end.vector.to(self.w)
        first, second = sorted(sharpness, key=lambda name: -sharpness[name])[:2]
        evaluation = self.evaluation
        largest, next_one = (
            evaluation.mean(evaluation.curvatures(self.w, directions[name])) for name in (first, second)
        )
        return Layer(first, largest, len(layers), second if next_one.high >= largest.low else None)

    def _best_gradient_step(self, g: Tensor) -> Gain:
        """The best step −k/λmax · g; k = 1 minimises a quadratic model along its sharpest direction.

        Where the longest is the best, longer ones are tried as long as they lower the loss: a gradient that lies in
        directions of little curvature leads far.
        """
        if float(g.norm()) == 0 or self.top == 0:
            return NO_GAIN
        losses = {k: self._value(self.w - (k / self.top) * g) for k in STEP_FACTORS}
        best = min(losses, key=lambda k: losses[k])
        while best == max(losses) < MAX_STEP_FACTOR:
            losses[2 * best] = self._value(self.w - (2 * best / self.top) * g)
            best = min(best, 2 * best, key=lambda k: losses[k])
        step = -(best / self.top) * g
        return Gain(self._decrease([step]), float(step.norm()))

    def _best_escape(self, v: Tensor, curvature: float) -> Gain:
        """The best step along v, mean of both signs: a slope along v, which a saddle has not, cancels out."""
        if not curvature < 0:
            return NO_GAIN
        w, a_percent = self.w, 0.01 * max(abs(self.loss.value), 1e-3)
        unit = min(math.sqrt(2 * a_percent / -curvature), 0.1 * self.size)
        best = min((k * unit for k in STEP_FACTORS), key=lambda r: self._value(w + r * v) + self._value(w - r * v))
        return Gain(self._decrease([best * v, -best * v]), best)

    def _value(self, w: Tensor) -> float:
        value = self.search.value(w)
        return value if math.isfinite(value) else math.inf

    def _decrease(self, steps: Sequence[Tensor]) -> Estimate:
        after = torch.stack([self.evaluation.losses(self.w + step) for step in steps]).mean(0)
        return self.evaluation.mean(self._losses - after)


def mean(values: Tensor, weights: Tensor | None = None) -> Estimate:
    """The mean of a number over samples [n], with two standard errors on each side; exact for one sample.

    Args:
        values: already weighted, so that their mean is the estimate.
        weights: what each sample counts [n], with mean 1, where the estimate is a weighted mean. It is then a ratio of
            two means, both of which vary with the sample: its error is that of values − weights × mean.

    Source: Cochran 1977, Sampling Techniques, section 6.4.
    """
    middle = float(values.mean())
    if len(values) < 2:
        return Estimate(middle, middle, middle)
    residuals = values if weights is None else values - weights.to(values) * middle
    half = STANDARD_ERRORS * float(residuals.std()) / math.sqrt(len(values))
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
