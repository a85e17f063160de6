"""Gradient noise: how much of a gradient is signal, and up to which size a larger batch pays off.

K disjoint blocks of the data give K gradients gₖ, each a mean over nₖ samples: gₖ = G + noise of covariance Σ / nₖ,
where G = ∇L on the data's distribution and Σ is the covariance of one sample's gradient. Then every *pair* of blocks is
an unbiased measurement of both,

    ‖G‖² = E gₖ·gₗ        tr Σ = E ‖gₖ − gₗ‖² / (1/nₖ + 1/nₗ)

and the estimates are means over all pairs (U-statistics). They need only the blocks' Gram matrix. The simple noise
scale B = tr Σ / ‖G‖² (McCandlish et al. 2018, arXiv:1812.06162, section 2.2) predicts the critical batch size: a batch
far below B wastes steps, one far above it wastes samples. It assumes equal curvature in all
directions, which does not hold; `critical_batch_size` corrects that with one Hessian-vector product per block. Both are
estimates, and neither says how well the network generalises.
"""

import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from steepest import seeds
from steepest.curvature.loss_function import LossFunction
from steepest.errors import InputError
from steepest.records.verdict import Estimate
from steepest.tasks.data import as_tuple, is_iterable, is_tensors, length, take
from steepest.tasks.task import Task

BLOCKS = 16
MIN_BLOCKS = 8
"""With fewer blocks the intervals cover less than their level (measured in tests/curvature/test_gradient_noise.py)."""

Values = NDArray[np.float64]


class Noise(NamedTuple):
    """A gradient's noise at a point; estimates.

    Attributes:
        squared_norm: ‖G‖²; unbiased, so it may be negative where there is little signal.
        trace: tr Σ, of the gradient of one sample.
        scale: B = tr Σ / ‖G‖², in samples; its interval has no upper end where G cannot be separated from 0.
    """

    squared_norm: Estimate
    trace: Estimate
    scale: Estimate


def disjoint(task: Task, blocks: int = BLOCKS, samples: int | None = None, seed: int = 0) -> list[Any]:
    """Batches of equal size of a task's training samples, drawn without replacement.

    Args:
        task: with tensors or a Dataset as data.
        blocks: K.
        samples: in all, at most; all of the data by default. The remainder of the division by K is left out.
        seed: of the draw.

    Raises:
        InputError: data that brings its own batches, fewer than 8 blocks, or fewer samples than blocks.
    """
    if task.data is None or is_iterable(task.data):
        advice = "Pass batches to block_gradients instead."
        raise InputError(f"task.data must be tensors or a Dataset to draw samples from it. {advice}")
    count = length(task.data) or 0
    size = min(count, samples or count) // blocks if blocks > 0 else 0
    _check_enough(blocks, size)
    order = torch.randperm(count, generator=seeds.generator(seed, "noise"))[: size * blocks]
    if is_tensors(task.data):
        return [tuple(x[rows] for x in as_tuple(task.data)) for rows in order.split(size)]
    with seeds.ours(seed, "noise"):  # a Dataset may draw its samples at random
        return [take(task.data, rows.tolist()) for rows in order.split(size)]


BlockGradients = tuple[Tensor, list[float]]
"""Of disjoint blocks: gradients [K, N], each the mean over a block; samples of each block."""


def block_gradients(
    task: Task, w: Tensor, batches: Iterable[Any], dtype: torch.dtype = torch.float64, model: nn.Module | None = None
) -> BlockGradients:
    """The gradient of each of several batches.

    Args:
        task: whose loss it is; it is evaluated as a `LossFunction` does, without dropout.
        w: the point [N].
        batches: disjoint, each a block.
        dtype: of the arithmetic.
        model: whose buffers hold; None: the task's at its start.
    """
    blocks = list(batches)
    gradients = [one.gradient(w)[1] for one in LossFunction(task, blocks, dtype, model).per_batch()]
    return torch.stack(gradients), [float(task.count(batch)) for batch in blocks]


def gradient_noise(gradients: Tensor, sizes: Sequence[float], level: float = 0.95) -> Noise:
    """Signal and noise of a gradient, from those of disjoint blocks.

    Args:
        gradients: [K, N], each the mean over a block.
        sizes: samples of each block [K].
        level: coverage of each interval.

    Raises:
        InputError: fewer than 8 blocks, not one size for each block, numbers that are not finite.

    >>> g = torch.randn(16, 1000, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) + 0.5
    >>> noise = gradient_noise(g, [10] * 16)  # ‖G‖² = 250, tr Σ = 10,000
    >>> bool(noise.squared_norm.low < 250 < noise.squared_norm.high and noise.trace.low < 10_000 < noise.trace.high)
    True
    >>> [round(x, 1) for x in noise.scale]
    [43.9, 39.8, 48.5]
    """
    pairs = _Pairs((gradients @ gradients.T).cpu(), sizes, level)
    return Noise(pairs.signal(), pairs.noise(), pairs.ratio())


def critical_batch_size(
    gradients: Tensor, sizes: Sequence[float], hessian: Any, preconditioner: Tensor | None = None, level: float = 0.95
) -> Estimate:
    """The batch size at which a step along the gradient gains half of what a noiseless one would.

    A step −α P⁻¹g changes the loss by −α GᵀP⁻¹G + α²/2 (GᵀMG + tr(MΣ) / B) with M = P⁻¹HP⁻¹, and its best α gains
    1 / (1 + B* / B) of the most, B* = tr(MΣ) / GᵀMG. An estimate: it assumes a quadratic loss, and a single step for
    rules with momentum or memory.

    Args:
        gradients: of disjoint blocks [K, N].
        sizes: samples of each block [K].
        hessian: H, by its products `hessian @ v`, v [N]; K of them are taken.
        preconditioner: P [N] of the rule (`stability.preconditioner`); None is the identity.
        level: coverage of the interval.

    Returns:
        B* in samples; without upper end where GᵀMG cannot be separated from 0, or is negative.

    Raises:
        InputError: as `gradient_noise`.

    Source: McCandlish et al. 2018, arXiv:1812.06162, equation 2.8, for P = 1.
    """
    steps = gradients if preconditioner is None else gradients / preconditioner
    products = torch.stack([hessian @ step for step in steps])
    gram = (steps @ products.T).cpu()
    return _Pairs((gram + gram.T) / 2, sizes, level).ratio()


# -- Intervals ---------------------------------------------------------------------------------------------------------


class _Pairs:
    """Means over pairs of blocks, with jackknife intervals.

    The jackknife measures the part of a mean over pairs that is linear in the blocks. The rest of gₖ·gₗ, without the
    mean and each block's effect, has a variance of its own, and near G = 0 there is nothing else: it is added.
    Intervals are made where errors are nearly normal: on log tr Σ, with its jackknife bias removed, and on
    arsinh(‖G‖² / spread), which is linear up to the spread at G = 0 and a logarithm above. Student's t has (K − 1) / 3
    degrees of freedom, since the variance of a square is known less well than that of a normal number: with K − 1, 95 %
    intervals of 8 to 32 blocks covered 89 to 97 %, worst where one direction has nearly all the noise and signal and
    noise are of one size. tests/curvature/test_gradient_noise.py measures their coverage.
    """

    def __init__(self, gram: Tensor | Values, sizes: Sequence[float], level: float) -> None:
        m, n = np.asarray(gram, np.float64), np.asarray(sizes, np.float64)
        _check(m, n, level)
        square = np.diag(m)
        self._products = _without_diagonal(m)
        self._distances = _without_diagonal((square[:, None] + square - 2 * m) / (1 / n[:, None] + 1 / n))
        self._q, self._s = _mean(self._products), _mean(self._distances)
        self._qs, self._ss = _means_without(self._products), _means_without(self._distances)
        self._own = _own_variance(self._products)
        from scipy.special import stdtrit

        self._t = float(stdtrit((len(n) - 1) / 3, (1 + level) / 2))

    def signal(self) -> Estimate:
        """The mean of gₖ·gₗ."""
        return Estimate(self._q, *self._asinh_interval(self._q, self._qs, self._own))

    def noise(self) -> Estimate:
        """The mean of ‖gₖ − gₗ‖² / (1/nₖ + 1/nₗ)."""
        if min(self._s, *self._ss) <= 0:  # no noise, or a metric that is not positive
            half = self._t * _jackknife(self._ss)
            return Estimate(self._s, self._s - half, self._s + half)
        logs = np.log(self._ss)
        bias = (len(logs) - 1) * (logs.mean() - np.log(self._s))
        middle, half = np.log(self._s) - bias, self._t * _jackknife(logs)
        return Estimate(self._s, float(np.exp(middle - half)), float(np.exp(middle + half)))

    def ratio(self) -> Estimate:
        """Noise ÷ signal: the reciprocal of signal ÷ noise; an interval that reaches 0 there has no upper end here."""
        if self._s == 0 and self._q > 0:
            return Estimate(0.0, 0.0, 0.0)
        value = _over(max(self._s, 0.0), self._q)
        if min(self._s, *self._ss) <= 0:
            return Estimate(value, 0.0, np.inf)
        low, high = self._asinh_interval(self._q / self._s, self._qs / self._ss, self._own / self._s**2)
        return Estimate(value, _over(1.0, high), _over(1.0, low))

    def _asinh_interval(self, value: float, without: Values, own: float) -> tuple[float, float]:
        """An interval on the scale of arsinh(x / spread)."""
        spread = math.sqrt(own)
        if spread == 0:
            half = self._t * _jackknife(without)
            return value - half, value + half
        asinh = np.arcsinh(without / spread)
        error = np.hypot(_jackknife(asinh), spread / np.hypot(spread, value))
        middle, half = np.arcsinh(value / spread), self._t * error
        return float(spread * np.sinh(middle - half)), float(spread * np.sinh(middle + half))


def _without_diagonal(pairs: Values) -> Values:
    return pairs - np.diag(np.diag(pairs))


def _mean(pairs: Values) -> float:
    """Over pairs of different blocks."""
    return float(pairs.sum() / (len(pairs) * (len(pairs) - 1)))


def _means_without(pairs: Values) -> Values:
    """The means with each block left out [K]."""
    k = len(pairs)
    return (pairs.sum() - 2 * pairs.sum(1)) / ((k - 1) * (k - 2))


def _jackknife(without: Values) -> float:
    """Standard error: √((K − 1) · variance of the values with a block left out)."""
    return float(np.sqrt((len(without) - 1) * np.var(without)))


def _own_variance(pairs: Values) -> float:
    """Variance of the mean over pairs that no single block explains: 2 σ² / (K (K − 1)), from the residuals.

    Source: Hoeffding 1948, doi:10.1214/aoms/1177730196, section 5.
    """
    k, mean = len(pairs), _mean(pairs)
    effects = (pairs.sum(1) - (k - 1) * mean) / (k - 2)
    residuals = _without_diagonal(pairs - mean - effects[:, None] - effects)
    return float(2 * (residuals**2).sum() / (k * (k - 3)) / (k * (k - 1)))


def _over(a: float, b: float) -> float:
    return float(a / b) if b > 0 else np.inf


# -- Checks ------------------------------------------------------------------------------------------------------------


def _check(gram: Values, sizes: Values, level: float) -> None:
    if gram.shape != (len(sizes), len(sizes)):
        raise InputError(f"sizes must have one number for each of the {len(gram)} blocks, got {len(sizes)}")
    _check_enough(len(sizes), sizes.min(initial=np.inf))
    if not np.isfinite(gram).all():
        raise InputError("gradients must be finite. Measure noise at a point where the loss is finite.")
    if not 0 < level < 1:
        raise InputError(f"level must be between 0 and 1, such as 0.95, got {level}")


def _check_enough(blocks: int, smallest: float) -> None:
    if blocks < MIN_BLOCKS:
        raise InputError(f"blocks must be at least {MIN_BLOCKS}, got {blocks}. Split the data into more.")
    if smallest < 1:
        raise InputError(f"each of the {blocks} blocks needs at least 1 sample, got {smallest:g}. Use more data.")
