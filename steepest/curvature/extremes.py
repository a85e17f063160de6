"""The smallest and the largest eigenvalue of a symmetric matrix from its products; a bound on negative curvature."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from steepest.curvature.lanczos import Krylov, Symmetric, materialize, rounding, unit
from steepest.errors import InputError

MAX_DENSE_SIZE = 200
"""Up to this size a matrix is materialized, if the products suffice."""
MIN_INTERVAL = 5
"""Products between two checks of the eigenvalues, or a tenth of those so far: a check costs their cube."""
RESOLUTION = {torch.float64: 1e-10, torch.float32: 1e-4}
"""Curvature below this share of the largest cannot be separated from rounding, by the precision of the products. Three
small networks' spectra end alike in both, to 1e-7 of the largest; the rest is a margin for long sums."""


@dataclass(frozen=True)
class Eigenpair:
    """An eigenvalue, its vector [P] of length 1, and ‖A v − λ v‖: some eigenvalue is no further away than that."""

    value: float
    vector: Tensor
    residual: float


@dataclass(frozen=True)
class Extremes:
    """The ends of a spectrum.

    Attributes:
        least, greatest: eigenpairs.
        values, residuals: all Ritz values, ascending, and the largest distance of an eigenvalue from each. A multiple
            eigenvalue may be among them once.
        products: used.
        has_converged: whether both ends are within the tolerance.
    """

    least: Eigenpair
    greatest: Eigenpair
    values: Tensor
    residuals: Tensor
    products: int
    has_converged: bool


def extremes(matrix: Symmetric, products: int = 100, tolerance: float = 1e-6, seed: int = 0) -> Extremes:
    """The smallest and the largest eigenvalue, by Lanczos from a random start.

    Args:
        matrix: A [P, P].
        products: at most.
        tolerance: an end has converged if min(r, r² ÷ distance to the next Ritz value) is at most this share of the
            largest |value|, r being its residual.
        seed: of the start.
    """
    _check(matrix, products)
    if matrix.shape[0] <= min(MAX_DENSE_SIZE, products):
        values, vectors = torch.linalg.eigh(materialize(matrix))
        residuals = torch.full_like(values, rounding(matrix, float(values.abs().max())))
        return _ends(values, residuals, lambda i: vectors[:, i], matrix.shape[0], True)
    krylov = Krylov(matrix, unit(matrix, seed, "lanczos"))
    has_converged = False
    while not has_converged and krylov.products < products:
        krylov.extend(_next_interval(krylov.products, products))
        has_converged = krylov.is_complete or _error(krylov) <= tolerance * float(krylov.values.abs().max())
    return _ends(krylov.values, krylov.residuals, krylov.vector, krylov.products, has_converged)


def _error(krylov: Krylov) -> float:
    """The larger error of the two ends.

    Source: Parlett 1998, theorem 11.7.1, with Ritz values in place of the other eigenvalues.
    """
    errors = []
    for end, next_one in ((0, 1), (-1, -2)):
        r = float(krylov.residuals[end])
        gap = float((krylov.values[end] - krylov.values[next_one]).abs() - krylov.residuals[next_one])
        errors.append(min(r, r * r / gap) if gap > 0 else r)
    return max(errors)


def _ends(
    values: Tensor, residuals: Tensor, vector: Callable[[int], Tensor], products: int, has_converged: bool
) -> Extremes:
    low, high = (Eigenpair(float(values[i]), vector(i), float(residuals[i])) for i in (0, len(values) - 1))
    return Extremes(low, high, values, residuals, products, has_converged)


# -- Negative curvature ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class NegativeCurvature:
    """Result of a search for negative curvature.

    Attributes:
        value: vᵀAv of the direction; without one, the smallest Ritz value.
        direction: v [P] of length 1 with vᵀAv ≤ −ε/2; None if there is none.
        bound: the smallest eigenvalue is above this, with probability 1 − delta; −∞ if the products did not suffice.
        delta: probability that the bound is wrong.
        products: used.
    """

    value: float
    direction: Tensor | None
    bound: float
    delta: float
    products: int


def negative_curvature(
    matrix: Symmetric, epsilon: float, delta: float = 0.01, products: int = 400, seed: int = 0
) -> NegativeCurvature:
    """A direction with vᵀAv ≤ −ε/2, or λ_min ≥ −ε with probability 1 − δ, by Lanczos from a random start.

    After k products the smallest Ritz value is above λ_min by more than a share x of the spread λ_max − λ_min with
    probability 1.648 √P exp(−√x (2k − 1)) at most; the same holds at the other end. After the k₀ products of x = 1/20
    the spread is therefore at most that of the Ritz values ÷ 0.9; then k need only grow until x × that spread is ε/2. A
    third of δ goes to each end at k₀, and to the smallest at the k of the true spread, which depends on A alone and
    is not later than the k where the search ends.

    Args:
        matrix: A [P, P].
        epsilon: curvature that matters.
        delta: probability of a wrong bound; a direction is never wrong.
        products: at most.
        seed: of the start.

    Raises:
        InputError: the precision of the products does not resolve epsilon.

    Source: Kuczyński and Woźniakowski 1992, doi:10.1137/0613066, theorem 4.2; Royer, O'Neill and Wright 2020,
    doi:10.1007/s10107-019-01362-7, who bound the spread by a known norm instead.
    """
    _check(matrix, products)
    krylov = Krylov(matrix, unit(matrix, seed, "lanczos"))
    bound = -math.inf
    while math.isinf(bound) and krylov.products < products:
        krylov.extend(_next_interval(krylov.products, products))
        low, high = float(krylov.values[0]), float(krylov.values[-1])
        _check_resolution(matrix, epsilon, max(abs(low), abs(high)))
        if low <= -epsilon / 2:
            v = krylov.vector(0)
            value = float(v @ (matrix @ v.to(matrix.dtype)).double())
            return NegativeCurvature(value, v, bound, delta, krylov.products + 1)
        if krylov.is_complete:
            bound = low - float(krylov.residuals[0])
        elif krylov.products >= certificate_products(matrix.shape[0], delta, epsilon / 2, high - low):
            bound = low - epsilon / 2
    return NegativeCurvature(float(krylov.values[0]), None, bound, delta, krylov.products)


SPREAD_ERROR = 1 / 20
"""Relative error at which the Ritz values give the spread: 30 products of a million weights at δ = 0.01."""


def certificate_products(size: int, delta: float, error: float, spread: float) -> int:
    """Products after which the smallest Ritz value is near the smallest eigenvalue, as in `negative_curvature`.

    Args:
        size: P.
        delta: probability that it is not.
        error: largest distance.
        spread: of the Ritz values, largest − smallest.

    >>> [certificate_products(10**6, 0.01, 1 / 2, ratio) for ratio in (10, 100, 1000)]
    [32, 99, 310]
    """
    share = min(SPREAD_ERROR, error * (1 - 2 * SPREAD_ERROR) / spread) if spread > 0 else SPREAD_ERROR
    unlikely = math.log(1.648 * math.sqrt(size) * 3 / delta)
    return min(size, math.ceil((1 + unlikely / math.sqrt(share)) / 2))


def _next_interval(count: int, products: int) -> int:
    """Products until the next check of the eigenvalues."""
    return min(max(MIN_INTERVAL, count // 10), products - count)


def _check_resolution(matrix: Symmetric, epsilon: float, greatest: float) -> None:
    smallest = RESOLUTION[matrix.dtype] * greatest
    if epsilon < smallest:
        raise InputError(
            f"epsilon must be at least {smallest:.3g}, which {matrix.dtype} resolves beside the largest curvature "
            f"{greatest:.3g}, got {epsilon:.3g}. Pass a larger epsilon, or compute in float64."
        )


def _check(matrix: Symmetric, products: int) -> None:
    if products < 1 or matrix.shape[0] < 1:
        raise InputError(f"products must be at least 1, got {products} for a matrix of shape {tuple(matrix.shape)}")
