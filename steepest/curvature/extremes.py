"""The ends of a symmetric matrix's spectrum, from its products alone: the least and the greatest eigenvalue, negative
curvature or the bound on what was not found.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from steepest.curvature.lanczos import Krylov, Symmetric, materialize, rounding, unit
from steepest.errors import InputError

EXACT = 200
"""Up to this size a matrix is written out, where that takes no more products than are allowed."""
CHECK = 5
"""Products between two looks at the eigenvalues, or a tenth of those so far: a look costs the cube of these."""
RESOLVED = {torch.float64: 1e-10, torch.float32: 1e-4}
"""Curvature below this share of the greatest is not told from rounding, by the precision of the products. Three
small networks' spectra end alike in both, to 1e-7 of the greatest; the rest is a margin for long sums."""


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
        values, residuals: all Ritz values, rising, and how far an eigenvalue is from each at most. An eigenvalue that
            several vectors have may be among them once.
        products: used.
        converged: whether both ends are as exact as was asked for.
    """

    least: Eigenpair
    greatest: Eigenpair
    values: Tensor
    residuals: Tensor
    products: int
    converged: bool


def extremes(matrix: Symmetric, products: int = 100, tolerance: float = 1e-6, seed: int = 0) -> Extremes:
    """The least and the greatest eigenvalue, by Lanczos from a random start.

    Args:
        matrix: A [P, P].
        products: at most.
        tolerance: an end is exact where min(r, r² ÷ distance to the next Ritz value) is at most this share of the
            greatest |value|, r being its residual.
        seed: of the start.
    """
    _check(matrix, products)
    if matrix.shape[0] <= min(EXACT, products):
        values, vectors = torch.linalg.eigh(materialize(matrix))
        residuals = torch.full_like(values, rounding(matrix, float(values.abs().max())))
        return _ends(values, residuals, lambda i: vectors[:, i], matrix.shape[0], True)
    krylov = Krylov(matrix, unit(matrix, seed, "lanczos"))
    converged = False
    while not converged and krylov.products < products:
        krylov.extend(_until_look(krylov.products, products))
        converged = krylov.exhausted or _error(krylov) <= tolerance * float(krylov.values.abs().max())
    return _ends(krylov.values, krylov.residuals, krylov.vector, krylov.products, converged)


def _error(krylov: Krylov) -> float:
    """Of the ends' values. Source: Parlett 1998, theorem 11.7.1, with Ritz values in place of the other eigenvalues."""
    found = []
    for end, next_one in ((0, 1), (-1, -2)):
        r = float(krylov.residuals[end])
        gap = float((krylov.values[end] - krylov.values[next_one]).abs() - krylov.residuals[next_one])
        found.append(min(r, r * r / gap) if gap > 0 else r)
    return max(found)


def _ends(
    values: Tensor, residuals: Tensor, vector: Callable[[int], Tensor], products: int, converged: bool
) -> Extremes:
    low, high = (Eigenpair(float(values[i]), vector(i), float(residuals[i])) for i in (0, len(values) - 1))
    return Extremes(low, high, values, residuals, products, converged)


# -- Negative curvature ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class NegativeCurvature:
    """What a search for negative curvature found.

    Attributes:
        value: vᵀAv of the direction; without one, the least Ritz value.
        direction: v [P] of length 1 with vᵀAv ≤ −ε/2; None where none was found.
        bound: the least eigenvalue is above this, with probability 1 − delta; −∞ where the products did not suffice.
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

    After k products the least Ritz value is above λ_min by more than a share x of the spread λ_max − λ_min with
    probability 1.648 √P exp(−√x (2k − 1)) at most, and so at the other end. After the k₀ products of x = 1/20 the
    spread is therefore at most that of the Ritz values ÷ 0.9; then k need only grow until x × that spread is ε/2. A
    third of δ goes to each end at k₀, and to the least at the k of the true spread, which depends on A alone and
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
        krylov.extend(_until_look(krylov.products, products))
        low, high = float(krylov.values[0]), float(krylov.values[-1])
        _check_resolved(matrix, epsilon, max(abs(low), abs(high)))
        if low <= -epsilon / 2:
            v = krylov.vector(0)
            value = float(v @ (matrix @ v.to(matrix.dtype)).double())
            return NegativeCurvature(value, v, bound, delta, krylov.products + 1)
        if krylov.exhausted:
            bound = low - float(krylov.residuals[0])
        elif krylov.products >= certificate_products(matrix.shape[0], delta, epsilon / 2, high - low):
            bound = low - epsilon / 2
    return NegativeCurvature(float(krylov.values[0]), None, bound, delta, krylov.products)


SPREAD = 1 / 20
"""Relative error at which the spread is taken from the Ritz values: 30 products of a million weights at δ = 0.01."""


def certificate_products(size: int, delta: float, error: float, spread: float) -> int:
    """Products after which the least Ritz value is near the least eigenvalue, as `negative_curvature` says.

    Args:
        size: P.
        delta: probability that it is not.
        error: how near.
        spread: of the Ritz values, greatest − least.

    >>> [certificate_products(10**6, 0.01, 1 / 2, ratio) for ratio in (10, 100, 1000)]
    [32, 99, 310]
    """
    share = min(SPREAD, error * (1 - 2 * SPREAD) / spread) if spread > 0 else SPREAD
    unlikely = math.log(1.648 * math.sqrt(size) * 3 / delta)
    return min(size, math.ceil((1 + unlikely / math.sqrt(share)) / 2))


def _until_look(done: int, products: int) -> int:
    return min(max(CHECK, done // 10), products - done)


def _check_resolved(matrix: Symmetric, epsilon: float, greatest: float) -> None:
    least = RESOLVED[matrix.dtype] * greatest
    if epsilon < least:
        raise InputError(
            f"epsilon={epsilon:.3g} is given and the greatest curvature is {greatest:.3g}; {matrix.dtype} resolves "
            f"{least:.3g} of that: ask for more, or compute in float64"
        )


def _check(matrix: Symmetric, products: int) -> None:
    if products < 1 or matrix.shape[0] < 1:
        raise InputError(f"products={products} of a matrix {tuple(matrix.shape)} are asked for; expected is 1 or more")
