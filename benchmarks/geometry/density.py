"""The whole of a symmetric matrix's spectrum, from its products alone: density and trace, with intervals over probes.

    tr f(A) / P = E vᵀ f(A) v        v random, of length 1

Each probe's Krylov basis gives a measure of few values that has the first moments of the probe's own (quadrature).

Source: Ubaru, Chen and Saad 2017, doi:10.1137/16M1104974; Ghorbani, Krishnan and Xiao 2019, arXiv:1901.10159.
"""

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

from steepest import seeds
from steepest.curvature.lanczos import NOT_FINITE, Krylov, Symmetric, materialize, unit
from steepest.errors import InputError
from steepest.records.verdict import Estimate

DRAWN = 20_000
"""Means of squares that tell how far a mean of probes may be off: a level of 0.95 is met within 0.003."""


@dataclass(frozen=True)
class Density:
    """How the eigenvalues are spread: for each random probe a measure of a few values with weights.

    Attributes:
        size: P.
        values, weights: [probes, k]; of a matrix that was written out one row, its eigenvalues.
        exact: [probes], whether a measure is the probe's own, but for rounding.
        products: used.
    """

    size: int
    values: Tensor
    weights: Tensor
    exact: Tensor
    products: int

    def below(self, x: float, level: float = 0.95) -> Estimate:
        """The share of eigenvalues below x.

        The interval is over probes, and holds what measures of so few values can hide too: no more than lies on the two
        values around x.

        Source: Golub and Meurant 2010, Matrices, Moments and Quadrature, on Chebyshev, Markov and Stieltjes.
        """
        share = pad(self.weights.cumsum(1), (2, 1))  # share[:, k + 1] is of the k lowest
        share[:, -1] = 1.0
        k = (self.values < x).sum(1, keepdim=True)
        less, here, more = (share.gather(1, k + i)[:, 0] for i in range(3))
        low, high = torch.where(self.exact, here, less), torch.where(self.exact, here, more)
        ends = max(0.0, self._mean(low, level).low), min(1.0, self._mean(high, level).high)
        return Estimate(float(here.mean()), *ends)

    def at(self, x: Sequence[float], width: float, level: float = 0.95) -> list[Estimate]:
        """Eigenvalues per unit of the axis at each x, as shares, each eigenvalue spread to a normal density.

        The intervals are over probes; what few values hide is far less where the width is above the distance between
        values.

        Args:
            x: where.
            width: standard deviation of the normal density.
            level: of the intervals.
        """
        away = (torch.tensor(x, dtype=torch.float64).view(-1, 1, 1) - self.values.cpu()) / width
        heights = (self.weights.cpu() * torch.exp(-away.square() / 2)).sum(2) / (width * math.sqrt(2 * math.pi))
        found = [self._mean(one, level) for one in heights]
        return [Estimate(value, max(0.0, low), high) for value, low, high in found]

    def _mean(self, of_probes: Tensor, level: float) -> Estimate:
        return _mean(of_probes, level) if len(self.values) > 1 else Estimate(*[float(of_probes[0])] * 3)


def density(matrix: Symmetric, probes: int = 10, steps: int = 80, seed: int = 0) -> Density:
    """The density of the eigenvalues by stochastic Lanczos quadrature.

    A matrix that takes no more products to be written out is.

    Args:
        matrix: A [P, P].
        probes: random directions.
        steps: products of each.
        seed: of the probes.

    Raises:
        InputError: fewer than two probes, which have no interval.
    """
    size = matrix.shape[0]
    if probes < 2 or steps < 1:
        raise InputError(f"probes={probes}, steps={steps} is given; an interval takes 2 probes, each 1 step or more")
    if size <= probes * steps:
        values = torch.linalg.eigvalsh(materialize(matrix))[None]
        return Density(size, values, torch.full_like(values, 1 / size), torch.tensor([True]), size)
    found = [Krylov(matrix, unit(matrix, seed, "density", i)).extend(steps) for i in range(probes)]
    longest = max(k.products for k in found)
    values = [pad(k.values, (0, longest - k.products), value=float(k.values[-1])) for k in found]
    weights = [pad(k.weights, (0, longest - k.products)) for k in found]
    exact = torch.tensor([k.is_complete for k in found])
    return Density(size, torch.stack(values), torch.stack(weights), exact, sum(k.products for k in found))


def trace(matrix: Symmetric, products: int = 60, level: float = 0.95, seed: int = 0) -> Estimate:
    """tr A, with an interval.

    A third of the products finds the directions of great curvature, a third sums over these, and a third are random
    probes of the rest, over which the interval is. A matrix that takes no more products to be written out is.

    Args:
        matrix: A [P, P].
        products: at most, 6 or more.
        level: of the interval.
        seed: of the probes.

    Source: Meyer, Musco, Musco and Woodruff 2021, arXiv:2010.09649, algorithm 1 (Hutch++).
    """
    size = matrix.shape[0]
    if products < min(6, size):
        raise InputError(f"products={products} is given; an interval of the trace takes 6 or more")
    if size <= products:
        return Estimate(*[float(materialize(matrix).trace())] * 3)
    third = products // 3
    found = _times(matrix, _signs(matrix, third, seed, "great"))
    great = torch.linalg.qr(found).Q
    probes = _signs(matrix, products - 2 * third, seed, "rest")
    probes = probes - great @ (great.T @ probes)
    rest = _mean((probes * _times(matrix, probes)).sum(0), level)
    known = float((great * _times(matrix, great)).sum())
    return Estimate(*(known + x for x in rest))


def _times(matrix: Symmetric, block: Tensor) -> Tensor:
    found = (matrix @ block.to(matrix.dtype)).double()
    if not found.isfinite().all():
        raise InputError(NOT_FINITE)
    return found


def _signs(matrix: Symmetric, count: int, seed: int, purpose: str) -> Tensor:
    """Random ±1 [P, count]."""
    stream = seeds.generator(seed, "trace", purpose, device=matrix.device)
    shape = (matrix.shape[0], count)
    return torch.randint(0, 2, shape, generator=stream, device=matrix.device).double() * 2 - 1


def _mean(of_probes: Tensor, level: float) -> Estimate:
    """The mean over probes, and the interval of it."""
    n, center = len(of_probes), float(of_probes.mean())
    half = _deviations(n, level) * float(of_probes.std()) / math.sqrt(n)
    return Estimate(center, center - half, center + half)


@functools.cache
def _deviations(n: int, level: float) -> float:
    """Standard errors to each side that an interval over n probes takes.

    A probe's vᵀf(A)v is a weighted sum of squares of normal numbers, so it is skewed, and most so where it is one
    square. What such a one takes covers the others too. Student's t covers 86 to 91 % where 90 were asked for (small
    random matrices, 10 probes, tests/curvature/test_extremes.py).
    """
    from scipy.special import stdtrit

    squares = torch.randn(DRAWN, n, generator=seeds.generator(0, "probes", n), dtype=torch.float64).square()
    away = (squares.mean(1) - 1).abs() * math.sqrt(n) / squares.std(1)
    return max(float(away.quantile(level)), float(stdtrit(n - 1, (1 + level) / 2)))
