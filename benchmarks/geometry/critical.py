"""Losses whose critical points are all known: which of them are saddles, and at what loss."""

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np


class Critical(NamedTuple):
    """A critical point: its loss and its index, the number of negative Hessian eigenvalues."""

    loss: float
    index: int


def factorisation_point(singular: Sequence[float], components: Sequence[int], width: int) -> Critical:
    """A critical point of L(W₂, W₁) = ‖W₂W₁ − A‖² / 2 that has learned some components of A.

    At a critical point W₂W₁ consists of some of A's singular components (Baldi and Hornik 1989,
    doi:10.1016/0893-6080(89)90014-2). In coordinates along them the Hessian splits into blocks of two: a learned
    component i with a missing one j has the eigenvalues sᵢ ± sⱼ, a hidden unit without a component ± sⱼ. So

        loss = Σⱼ sⱼ² / 2        index = #{(i, j) : sⱼ > sᵢ} + (width − learned) · #{j : sⱼ > 0}        j missing

    and the only minima have the largest components, as many as there are units.

    Args:
        singular: values of A, all different except zeros.
        components: indices of the components that the point has, at most `width`.
        width: hidden units, all those without a component at 0.
    """
    rest = [s for j, s in enumerate(singular) if j not in components]
    swaps = sum(s > singular[i] for i in components for s in rest)
    return Critical(sum(s * s for s in rest) / 2, swaps + (width - len(components)) * sum(s > 0 for s in rest))


def factorisation_points(singular: Sequence[float], width: int) -> Iterator[Critical]:
    """All critical points, one of each family (W₂G, G⁻¹W₁)."""
    for size in range(min(width, len(singular)) + 1):
        for components in itertools.combinations(range(len(singular)), size):
            yield factorisation_point(singular, components, width)


SPREAD = 2.0


def field(dimension: int, draws: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Critical points of a Gaussian random field of covariance exp(−‖x − y‖² / 2): (losses, indices, weights) [draws].

    Where the field is f, its Hessian is M − f, M symmetric and Gaussian of variance 2 on the diagonal and 1 beside it,
    and neither depends on the gradient; the density of critical points is proportional to |det| of the Hessian (Kac and
    Rice). So nothing needs to be searched for, and nothing can be missed.

    Losses are drawn with twice the field's standard deviation and reweighted, since minima lie far below the mean.

    Source: Bray and Dean 2007, doi:10.1103/PhysRevLett.98.150201.
    """
    rng = np.random.default_rng(seed)
    a = rng.standard_normal((draws, dimension, dimension))
    losses = SPREAD * rng.standard_normal(draws)
    likelihood = np.exp((1 / SPREAD**2 - 1) * losses**2 / 2)
    curvatures = np.linalg.eigvalsh((a + a.transpose(0, 2, 1)) / math.sqrt(2)) - losses[:, None]
    return losses, (curvatures < 0).sum(1), likelihood * abs(curvatures.prod(1))


# -- Random polynomials ------------------------------------------------------------------------------------------------

ROUGHNESS = 2.0
"""Standard deviation of the coefficients of all terms below ‖x‖⁴ / 4."""
STEPS = 60
"""Of Newton's method; those that converge take fewer than 30."""


@dataclass(frozen=True)
class Quartic:
    """f(x) = ‖x‖⁴ / 4 + T(x, x, x) / 6 + xᵀQx / 2 + b·x with random coefficients; bounded below."""

    t: np.ndarray
    q: np.ndarray
    b: np.ndarray

    @classmethod
    def random(cls, dimension: int, rng: np.random.Generator) -> "Quartic":
        """Symmetric coefficients, of standard deviation ROUGHNESS before they are symmetrised."""
        t, q, b = (ROUGHNESS * rng.standard_normal((dimension,) * n) for n in (3, 2, 1))
        return cls(sum(t.transpose(p) for p in itertools.permutations(range(3))) / 6, (q + q.T) / 2, b)

    def value(self, x: np.ndarray) -> np.ndarray:
        """f at points [n, d]."""
        cubic = np.einsum("ijk,ni,nj,nk->n", self.t, x, x, x) / 6
        return (x * x).sum(1) ** 2 / 4 + cubic + np.einsum("ij,ni,nj->n", self.q, x, x) / 2 + x @ self.b

    def gradient(self, x: np.ndarray) -> np.ndarray:
        """∇f at points [n, d]."""
        return (x * x).sum(1)[:, None] * x + np.einsum("ijk,nj,nk->ni", self.t, x, x) / 2 + x @ self.q + self.b

    def hessian(self, x: np.ndarray) -> np.ndarray:
        """∇²f at points [n, d]: [n, d, d]."""
        squares = (x * x).sum(1)[:, None, None] * np.eye(len(self.b))
        return squares + 2 * x[:, :, None] * x[:, None] + np.einsum("ijk,nk->nij", self.t, x) + self.q

    def critical_points(self, starts: int, rng: np.random.Generator) -> list[Critical]:
        """Critical points that Newton's method reaches from many starts.

        Points where ‖∇f‖ is only small are not critical (Frye et al. 2021, arXiv:2003.10397): at every one returned the
        gradient is 0 to rounding. Over all of them Σ (−1)^index = 1 (Morse), which reveals most omissions.
        """
        d = len(self.b)
        x = rng.standard_normal((starts, d)) * rng.uniform(0, 3, (starts, 1)) * max(1.0, abs(self.t).max()) / d**0.5
        for _ in range(STEPS):
            step = np.linalg.solve(self.hessian(x), self.gradient(x)[..., None])[..., 0]
            x = x - step * np.minimum(1, 3 / (np.linalg.norm(step, axis=1, keepdims=True) + 1e-300))
        x = x[np.linalg.norm(self.gradient(x), axis=1) < 1e-10]
        x = x[np.unique(x.round(6), axis=0, return_index=True)[1]]
        indices = (np.linalg.eigvalsh(self.hessian(x)) < 0).sum(1)
        return [Critical(float(v), int(k)) for v, k in zip(self.value(x), indices)]


def morse(points: Sequence[Critical]) -> int:
    """Σ (−1)^index: 1 for all critical points of a function that rises to infinity on every side."""
    return sum((-1) ** p.index for p in points)
