"""Planes through weight space: w(a, b) = w₀ + a u + b v, with names and lengths of their axes.

The plane decides what the surface looks like. Along a random direction the curvature is the mean of all eigenvalues: a
saddle with few descent directions looks like a bowl. The plane of the largest and smallest Hessian eigenvalue shows a
descent direction, if there is one. A path's principal plane holds as large a share of a random walk's variance as of a
descent's, so its caption compares the two.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from steepest.errors import InputError
from steepest.records.surfaces import Axis, Projection
from steepest.records.verdict import digits

CELLS = 51
"""Cells along an axis."""
AXIS_MARGIN = 0.15
"""Free space on each side of a path, as a share of its extent."""
MIN_CURVATURE_RATIO = 1e-6
"""Smallest |λ| / |λ|_max from which an axis length is computed: no axis is more than 1,000 times as long as another."""
MIN_VARIANCE_RATIO = 1e-12
"""Second principal component's variance over the first's, below which points lie on a line."""


@dataclass(frozen=True)
class Points:
    """Points of a plane.

    Attributes:
        a, b: coordinates along u and v, [K] each.
    """

    a: np.ndarray
    b: np.ndarray

    def __len__(self) -> int:
        return len(self.a)

    def __getitem__(self, index: slice | np.ndarray) -> "Points":
        return Points(self.a[index], self.b[index])

    def rows(self, longest: int) -> Iterator[tuple[float, np.ndarray]]:
        """Adjacent points with the same a, at most `longest` at a time: a, and their b."""
        ends = np.flatnonzero(np.diff(self.a)) + 1
        for lo, hi in zip([0, *ends], [*ends, len(self)], strict=True):
            for k in range(lo, hi, longest):
                yield float(self.a[lo]), self.b[k : min(hi, k + longest)]


@dataclass(frozen=True)
class Plane:
    """A plane through weight space.

    Attributes:
        kind: curvature, principal, random or points.
        origin: w₀ [N], at (0, 0).
        directions: u and v as rows [2, N], not necessarily orthonormal.
        x, y: the axes, along u and v.
        caption: one or two sentences on what the plane shows and hides.
    """

    kind: str
    origin: Tensor
    directions: Tensor
    x: Axis
    y: Axis
    caption: str

    def point(self, a: float, b: float) -> Tensor:
        """w(a, b) [N]."""
        return self.origin + a * self.directions[0] + b * self.directions[1]

    def project(self, points: Tensor) -> Projection:
        """The least-squares projection of points [P, N] on the plane, and their distances from it."""
        gaps = points.double() - self.origin.double()
        base = self.directions.double()
        at = torch.linalg.solve(base @ base.T, base @ gaps.T)
        off = (gaps - at.T @ base).norm(dim=1)
        return Projection(at[0].numpy(), at[1].numpy(), off.numpy())

    def with_cells(self, n: int) -> "Plane":
        """The same plane with another number of cells along each axis."""
        return replace(self, x=self.x._replace(n=n), y=self.y._replace(n=n))

    def cells(self) -> Points:
        """All cells; b changes fastest."""
        a, b = np.meshgrid(self.x.at, self.y.at, indexing="ij")
        return Points(a.ravel(), b.ravel())


def curvature_plane(
    origin: Tensor,
    directions: Tensor,
    curvatures: tuple[float, float],
    change: float,
    longest: tuple[float, float] = (math.inf, math.inf),
) -> Plane:
    """The plane of the largest and smallest Hessian eigenvalue.

    On each axis the quadratic part of the loss changes by `change`: half its length is √(2 change / |λ|). With a common
    length, an eigenvalue of −0.83 beside one of 412 would look flat.

    Args:
        origin: the point [N].
        directions: eigenvectors of the largest and smallest eigenvalue, [2, N]; normalised here.
        curvatures: the eigenvalues λ.
        change: change of the loss at the ends of the axes; above 0.
        longest: upper bounds of half of each axis.

    Raises:
        InputError: `change` is not positive, both eigenvalues are 0, or a direction has length 0.
    """
    _check_size(len(origin))
    if not 0 < change < math.inf:
        raise InputError(f"change must be positive and finite, such as a tenth of the loss, got {change}")
    steepest = max(map(abs, curvatures))
    if steepest == 0:
        raise InputError("Both curvatures are 0, so the axes have no natural length. Use a random plane.")
    lengths = [math.sqrt(2 * change / max(abs(c), MIN_CURVATURE_RATIO * steepest)) for c in curvatures]
    halves = [min(half, limit) for half, limit in zip(lengths, longest, strict=True)]
    x, y = (Axis(f"{which} curvature", -h, h, CELLS) for which, h in zip(("largest", "smallest"), halves))
    ratio = max(halves) / min(halves)
    largest, smallest = (_curvature_text(c, steepest) for c in curvatures)
    caption = f"Largest and smallest curvature, λ = {largest} and {smallest}. "
    if ratio > 1.5:
        caption += f"The axes have different scales: one spans {digits(ratio)}× the distance of the other."
    return Plane("curvature", origin, _unit(directions), x, y, caption.strip())


def _curvature_text(curvature: float, steepest: float) -> str:
    """A curvature in words; below the smallest one that an axis is scaled by it is none."""
    if abs(curvature) < MIN_CURVATURE_RATIO * steepest:
        return "about 0"
    return f"{'−' if curvature < 0 else ''}{digits(abs(curvature))}"


def principal_plane(points: Tensor, lengths: Sequence[int] = ()) -> Plane:
    """The principal plane of a path, through its last point.

    The directions are the first two principal components of the points, from their Gram matrix [P, P]. The caption has
    their shares of the variance and those of a random walk: 60.8 % and 15.2 % for many dimensions and steps.

    Args:
        points: the path [P, N], P ≥ 3; or several paths from one start, concatenated.
        lengths: number of points of each of several paths.

    Raises:
        InputError: fewer than 3 points, or points that lie on a line or are not finite.

    Source: Antognini and Sohl-Dickstein 2018, arXiv:1806.08805.
    """
    _check_size(points.shape[1])
    if len(points) < 3:
        raise InputError(f"A path needs at least 3 points for a principal plane, got {len(points)}")
    deviations = points.double() - points.double().mean(0)
    products = deviations @ deviations.T
    values, vectors = torch.linalg.eigh(products.nan_to_num(0.0, 0.0, 0.0))
    values, vectors = values.flip(0).clamp_min(0), vectors.flip(1)
    if not products.isfinite().all() or values[1] <= MIN_VARIANCE_RATIO * values[0]:
        raise InputError("The path's points are not finite or lie on a line, so they have no principal plane.")
    directions = _unit(vectors[:, :2].T @ deviations)
    shares = (values[:2] / values.sum()).tolist()
    walk = random_walk_shares(*(lengths or [len(points)]))
    origin = points[-1]
    flat = Plane("principal", origin, directions.to(points.dtype), Axis("", -1, 1, 2), Axis("", -1, 1, 2), "")
    projection = flat.project(points)
    x, y = (Axis(f"PCA component {k}", *_around(at), CELLS) for k, at in enumerate(projection[:2], 1))
    several = len(lengths) > 1
    walks = "Random walks of these lengths have" if several else "A random walk of this length has"
    share = f"{100 * shares[0]:.3g} % and {100 * shares[1]:.3g} %"
    caption = (
        f"Principal plane of the path{'s' * several}: {share} of the variance. "
        f"{walks} {100 * walk[0]:.3g} % and {100 * walk[1]:.3g} %; shares like these tell nothing about the loss."
    )
    return replace(flat, x=x, y=y, caption=caption)


def random_walk_shares(*lengths: int) -> tuple[float, float]:
    """Shares of variance of the first two principal components of random walks, as the dimension goes to infinity.

    The inner product of points after i and j steps is min(i, j) within a walk and 0 between two walks from one start;
    the shares are those of the eigenvalues of that matrix, centered. For one walk the eigenvalues are proportional to
    1 / sin²(πk / 2P), k = 1 … P − 1; for many points the shares are 6 / (πk)².

    Args:
        lengths: number of points P of each walk.

    >>> [round(share, 3) for share in random_walk_shares(1000)]
    [0.608, 0.152]

    Source: Antognini and Sohl-Dickstein 2018, arXiv:1806.08805, section 2.
    """
    if len(lengths) == 1:
        values = 1 / np.sin(np.pi * np.arange(1, lengths[0]) / (2 * lengths[0])) ** 2
        return tuple((values[:2] / values.sum()).tolist())
    steps = [np.arange(n) for n in lengths]
    walk = np.repeat(np.arange(len(lengths)), lengths)
    products = np.minimum.outer(np.concatenate(steps), np.concatenate(steps)) * (walk[:, None] == walk)
    products = products - products.mean(0) - products.mean(1)[:, None] + products.mean()
    values = np.linalg.eigvalsh(products)[::-1]
    return tuple((values[:2] / values.sum()).tolist())


def random_plane(origin: Tensor, shapes: Sequence[tuple[int, ...]], seed: int = 0) -> Plane:
    """A plane of filter-normalised random directions: each filter of a direction has the norm of the weights' filter.

    A filter is the weights of one output: a row of a dense layer, a kernel of a convolution. Biases and parameters of
    norms do not change, as in the paper's figures.

    Args:
        origin: the point [N].
        shapes: shapes of the parameters, in the point's order.
        seed: seed of the directions.

    Raises:
        InputError: no parameter has two dimensions or more.

    Source: Li et al. 2018, arXiv:1712.09913, section 4.
    """
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(2, len(origin), generator=generator, dtype=torch.float64).to(origin)
    sizes = [math.prod(s) for s in shapes]
    filters = list(zip(origin.split(sizes), shapes, strict=True))
    rows = [[_normalise_filters(d, w, s) for d, (w, s) in zip(row.split(sizes), filters)] for row in noise]
    directions = torch.stack([torch.cat(row) for row in rows])
    _check_size(len(origin))
    norms = directions.double().norm(dim=1)
    if not norms.isfinite().all():
        raise InputError(f"The weights are too large for a plane through them: a direction has norm {norms.max():.3g}.")
    if not directions.any():
        why = "No parameter has two or more dimensions"
        raise InputError(f"{why}, so filter-normalised directions are 0. Use another plane.")
    if float(torch.det((directions @ directions.T).double() / norms.outer(norms))) < MIN_VARIANCE_RATIO:
        raise InputError("Random directions need two weights of matrices or kernels, got one. Use another plane.")
    x, y = (Axis(f"random direction {k}", -1.0, 1.0, CELLS, float(d.norm())) for k, d in enumerate(directions, 1))
    caption = (
        "Filter-normalised random directions. They show average curvature: a saddle with few descent directions looks "
        "like a bowl."
    )
    return Plane("random", origin, directions, x, y, caption)


def random_curvature(trace: float, squares: float, n: int) -> tuple[float, float]:
    """(mean, standard deviation) of the curvature uᵀHu along a random unit vector u.

    The mean is tr H / N; the variance 2 (tr H² / N − (tr H / N)²) / (N + 2) vanishes as N grows.

    Args:
        trace: tr H.
        squares: tr H², the sum of the squared eigenvalues.
        n: N.

    >>> mean, deviation = random_curvature(900 - 100, 1000, 1000)
    >>> round(mean, 2), round(deviation, 3)
    (0.8, 0.027)
    """
    mean = trace / n
    return mean, math.sqrt(2 * max(0.0, squares / n - mean**2) / (n + 2))


def describe_random_plane(trace: float, squares: float, n: int, smallest: float) -> str:
    """A sentence on what a random plane hides at a point; empty without negative curvature.

    Args:
        trace, squares, n: as in `random_curvature`.
        smallest: the smallest eigenvalue.
    """
    if smallest >= 0:
        return ""
    mean, deviation = random_curvature(trace, squares, n)
    if mean <= 0:
        return (
            f"Curvature along a random direction is {mean:.2f} ± {deviation:.2g} (mean ± standard deviation): the "
            "negative curvature shows on this plane."
        )
    distance = (mean - smallest) / deviation if deviation else math.inf
    return (
        f"Curvature along a random direction is {mean:#.2g} ± {deviation:.2g} (mean ± standard deviation); the "
        f"smallest is {smallest:.3g}, {distance:.0f} standard deviations away. This plane shows a bowl although the "
        "point is a saddle."
    )


def _check_size(n: int) -> None:
    if n < 2:
        raise InputError(f"A plane needs at least 2 weights, got {n}. The film shows the curves.")


def _unit(directions: Tensor) -> Tensor:
    norms = directions.norm(dim=1, keepdim=True)
    if not (torch.isfinite(norms).all() and norms.all()):
        raise InputError("A plane needs two finite directions of positive length.")
    return directions / norms


def _normalise_filters(direction: Tensor, weights: Tensor, shape: tuple[int, ...]) -> Tensor:
    """The direction with each filter scaled to the norm of the weights' filter; 0 for biases and norms."""
    if len(shape) < 2:
        return torch.zeros_like(direction)
    d, w = direction.view(shape[0], -1), weights.view(shape[0], -1)
    return (d * (w.norm(dim=1, keepdim=True) / d.norm(dim=1, keepdim=True))).reshape(-1)


def _around(at: np.ndarray) -> tuple[float, float]:
    """Ends of an axis that holds these coordinates, with a margin."""
    lo, hi = float(at.min()), float(at.max())
    return lo - AXIS_MARGIN * (hi - lo), hi + AXIS_MARGIN * (hi - lo)
