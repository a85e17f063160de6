"""Eigenvalues of a symmetric matrix from its products with vectors, by Lanczos: both ends, a bound on negative ones.

    A q_j = β_{j−1} q_{j−1} + α_j q_j + β_j q_{j+1}        q₁ random; the rest follows from A

The recurrence runs in float64, whatever the precision of A, and each new vector is made orthogonal to all before, so
that no eigenvalue appears twice.

Source: Lanczos 1950, doi:10.6028/jres.045.026.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from steepest import seeds
from steepest.errors import InputError

ROUNDING_ULPS = 100
"""Numbers below this many ulps of the largest one are rounding of the products."""
ORTHOGONAL_SHARE = 0.7
"""A vector that keeps this share of its length when it is made orthogonal is orthogonal; else once more
(Daniel, Gragg, Kaufman and Stewart 1976, doi:10.1090/S0025-5718-1976-0431641-8)."""
NOT_FINITE = "a product with the matrix is not finite: curvature needs a point where loss and derivatives are finite"
MAX_DENSE_SIZE = 200
"""Up to this size a matrix is materialized, if the products suffice."""
MIN_INTERVAL = 5
"""Products between two checks of the eigenvalues, or a tenth of those so far: a check costs their cube."""
RESOLUTION = {torch.float64: 1e-10, torch.float32: 1e-4}
"""Curvature below this share of the largest cannot be separated from rounding, by the precision of the products. Three
small networks' spectra end alike in both, to 1e-7 of the largest; the rest is a margin for long sums."""


class Symmetric(Protocol):
    """A symmetric matrix [P, P], given by its products `A @ v` for v [P], and for blocks [P, B] where used."""

    shape: Any
    dtype: torch.dtype
    device: torch.device

    def __matmul__(self, v: Tensor, /) -> Tensor: ...


class Block:
    """A restricted to some coordinates: the curvature of one layer, the others fixed.

    Args:
        matrix: A.
        place: slice of the coordinates.
    """

    def __init__(self, matrix: Symmetric, place: slice) -> None:
        self._matrix, self._place = matrix, place
        size = len(range(*place.indices(matrix.shape[0])))
        self.shape, self.dtype, self.device = (size, size), matrix.dtype, matrix.device

    def __matmul__(self, v: Tensor) -> Tensor:
        whole = torch.zeros(self._matrix.shape[0], *v.shape[1:], dtype=v.dtype, device=v.device)
        whole[self._place] = v
        return (self._matrix @ whole)[self._place]


class WatchedMatrix:
    """A matrix whose products with vectors are told of.

    Args:
        matrix: A.
        notify: told of each product; what it raises ends the work.
    """

    def __init__(self, matrix: Symmetric, notify: Callable[[], None]) -> None:
        self._matrix, self._notify = matrix, notify
        self.shape, self.dtype, self.device = matrix.shape, matrix.dtype, matrix.device

    def __matmul__(self, v: Tensor) -> Tensor:
        self._notify()
        return self._matrix @ v


class Krylov:
    """The Krylov space of a matrix after k products: a basis [k, P] in which it is tridiagonal.

    Attributes:
        products: k.
        is_complete: whether the basis has an eigenvector of every eigenvalue, up to rounding.
        values: Ritz values [k], ascending; each is vᵀAv of a unit vector.
        weights: shares [k] of the start in the Ritz vectors.
        residuals: ‖A v − value v‖ [k]; an eigenvalue is no further from the value than this.

    Args:
        matrix: A.
        start: q₁ [P], of any norm.
    """

    def __init__(self, matrix: Symmetric, start: Tensor) -> None:
        self._matrix = matrix
        self._basis = (start.double() / start.double().norm())[None]
        self._alphas, self._betas = list[float](), list[float]()
        self.is_complete = False

    @property
    def products(self) -> int:
        return len(self._alphas)

    def extend(self, steps: int) -> "Krylov":
        """Adds so many products, or fewer if the basis becomes complete."""
        rows, size = self._basis.shape
        if rows <= self.products + steps:  # no room for all vectors and the next one
            room = torch.zeros(max(self.products + steps + 1, 2 * rows) - rows, size).to(self._basis)
            self._basis = torch.cat([self._basis, room])
        for k in range(self.products, self.products + steps):
            if self.is_complete:
                break
            u = (self._matrix @ self._basis[k].to(self._matrix.dtype)).double()
            u = self._orthogonalize(k, u)
            if not math.isfinite(self._betas[-1]):
                raise InputError(NOT_FINITE)
            scale = max(map(abs, self._alphas + self._betas))
            self.is_complete = k + 1 == len(u) or self._betas[-1] <= rounding(self._matrix, scale)
            if k + 1 < len(self._basis):
                self._basis[k + 1] = u / self._betas[-1]
        self._solve()
        return self

    def vector(self, i: int) -> Tensor:
        """The Ritz vector of value i [P], of length 1."""
        return self._basis[: self.products].T @ self._inner[:, i].to(self._basis)

    def _orthogonalize(self, k: int, u: Tensor) -> Tensor:
        """The part of a product with vector k outside the basis; stores α and β."""
        basis = self._basis[: k + 1]
        self._alphas.append(float(basis[k] @ u))
        u = u - self._alphas[-1] * basis[k]
        before, after = math.inf, float(u.norm())
        while ORTHOGONAL_SHARE * before > after > 0.0:
            u = u - basis.T @ (basis @ u)
            before, after = after, float(u.norm())
        self._betas.append(after)
        return u

    def _solve(self) -> None:
        between = torch.tensor(self._betas[:-1], dtype=torch.float64)
        inner = torch.diag(torch.tensor(self._alphas, dtype=torch.float64)) + between.diag(1) + between.diag(-1)
        self.values, self._inner = torch.linalg.eigh(inner)
        self.weights = self._inner[0].square()
        floor = rounding(self._matrix, float(self.values.abs().max()))
        self.residuals = (self._betas[-1] * self._inner[-1].abs()).clamp_min(floor)


def unit(matrix: Symmetric, seed: int, *purpose: int | str) -> Tensor:
    """A uniformly random direction [P], float64, of length 1."""
    stream = seeds.generator(seed, *purpose, device=matrix.device)
    v = torch.randn(matrix.shape[0], generator=stream, dtype=torch.float64, device=matrix.device)
    return v / v.norm()


def materialize(matrix: Symmetric) -> Tensor:
    """The matrix itself [P, P], float64, from P products, made exactly symmetric."""
    whole = (matrix @ torch.eye(matrix.shape[0], dtype=matrix.dtype, device=matrix.device)).double()
    if not whole.isfinite().all():
        raise InputError(NOT_FINITE)
    return (whole + whole.T) / 2


def rounding(matrix: Symmetric, scale: float) -> float:
    """Rounding error of the products in numbers of that scale."""
    return ROUNDING_ULPS * torch.finfo(matrix.dtype).eps * scale


# -- Both ends ---------------------------------------------------------------------------------------------------------


class Eigenpair(NamedTuple):
    """An eigenvalue, its vector [P] of length 1, and ‖A v − λ v‖: some eigenvalue is no further away than that."""

    value: float
    vector: Tensor
    residual: float


class Extremes(NamedTuple):
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


class NegativeCurvature(NamedTuple):
    """Result of a search for negative curvature.

    Attributes:
        value: vᵀAv of the direction; without one, the smallest Ritz value.
        direction: v [P] of length 1 with vᵀAv ≤ −ε/2; None if there is none.
        bound: the smallest eigenvalue is above this, with probability 1 − delta; −∞ if the products did not suffice.
        products: used.
    """

    value: float
    direction: Tensor | None
    bound: float
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
        greatest = max(abs(low), abs(high))
        smallest = RESOLUTION[matrix.dtype] * greatest
        if epsilon < smallest:
            raise InputError(
                f"epsilon must be at least {smallest:.3g}, which {matrix.dtype} resolves beside the largest curvature "
                f"{greatest:.3g}, got {epsilon:.3g}. Pass a larger epsilon, or compute in float64."
            )
        if low <= -epsilon / 2:
            v = krylov.vector(0)
            value = float(v @ (matrix @ v.to(matrix.dtype)).double())
            return NegativeCurvature(value, v, bound, krylov.products + 1)
        if krylov.is_complete:
            bound = low - float(krylov.residuals[0])
        elif krylov.products >= certificate_products(matrix.shape[0], delta, epsilon / 2, high - low):
            bound = low - epsilon / 2
    return NegativeCurvature(float(krylov.values[0]), None, bound, krylov.products)


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


def _check(matrix: Symmetric, products: int) -> None:
    if products < 1 or matrix.shape[0] < 1:
        raise InputError(f"products must be at least 1, got {products} for a matrix of shape {tuple(matrix.shape)}")
