"""Lanczos iteration: eigenvalues of a symmetric matrix from its products with vectors.

    A q_j = β_{j−1} q_{j−1} + α_j q_j + β_j q_{j+1}        q₁ random; the rest follows from A

The recurrence runs in float64, whatever the precision of A, and each new vector is made orthogonal to all before, so
that no eigenvalue appears twice.

Source: Lanczos 1950, doi:10.6028/jres.045.026.
"""

import math
from typing import Any, Protocol

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


class Symmetric(Protocol):
    """A symmetric matrix [P, P], given by its products `A @ v` for v [P], and for blocks [P, B] where used."""

    @property
    def shape(self) -> Any: ...
    @property
    def dtype(self) -> torch.dtype: ...
    @property
    def device(self) -> torch.device: ...
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
        self._alphas: list[float] = []
        self._betas: list[float] = []
        self.is_complete = False

    @property
    def products(self) -> int:
        return len(self._alphas)

    def extend(self, steps: int) -> "Krylov":
        """Adds so many products, or fewer if the basis becomes complete."""
        self._make_room(self.products + steps)
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

    def _make_room(self, steps: int) -> None:
        """For the vectors of so many products and the next one."""
        rows, size = self._basis.shape
        if rows <= steps:
            room = torch.zeros(max(steps + 1, 2 * rows) - rows, size).to(self._basis)
            self._basis = torch.cat([self._basis, room])

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
