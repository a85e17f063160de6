"""Planes through weight space: w(a, b) = w₀ + a u + b v, with axes that say what they are and how far they reach.

Which plane one looks at decides what one sees. Along a random direction of many dimensions the curvature is the mean of
all eigenvalues: a saddle with few ways down looks like a bowl. The plane of greatest and least curvature shows the ways
down, if there are any. The principal plane of a path shows the path, and would show as much of a random walk as of a
descent; so its share is said beside a random walk's.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from steepest.errors import InputError
from steepest.records.surfaces import Axis, Projection

CELLS = 51
"""Cells along an axis."""
MARGIN = 0.15
"""Of what is to be seen, left free on each side."""
FLAT = 1e-6
"""Share of the greatest curvature below which a direction counts as flat when its axis gets a length: the axis then
is a thousand times as long as the steepest one, and no longer."""

STRAIGHT = 1e-9
"""Sine of the angle between two sides of a triangle below which its corners lie on a line."""


@dataclass(frozen=True)
class Plane:
    """A plane through weight space.

    Attributes:
        kind: curvature, principal, random or points.
        origin: w₀ [N], at (0, 0).
        directions: u and v as rows [2, N]; they need be neither of unit length nor orthogonal.
        x, y: the axes, along u and v.
        caption: what it shows and what it hides, in words.
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

    def shadow(self, points: Tensor) -> Projection:
        """Where points fall on the plane, by least squares, and how far off it they are.

        Args:
            points: [P, N].
        """
        gaps = points.double() - self.origin.double()
        base = self.directions.double()
        at = torch.linalg.solve(base @ base.T, base @ gaps.T)
        off = (gaps - at.T @ base).norm(dim=1)
        return Projection(at[0].numpy(), at[1].numpy(), off.numpy())

    def cells(self, n: int) -> "Plane":
        """The same plane with another number of cells along each axis."""
        return replace(self, x=self.x._replace(n=n), y=self.y._replace(n=n))


def curvature_plane(
    origin: Tensor,
    directions: Tensor,
    curvatures: tuple[float, float],
    change: float,
    most: tuple[float, float] = (math.inf, math.inf),
) -> Plane:
    """The plane of greatest and least curvature.

    Each axis is as long as it takes the curvature to change the loss by `change`: half its length is √(2 change / |λ|).
    With one length for both, a least curvature of −0.83 beside a greatest of 412 would be a flat line.

    Args:
        origin: the point [N].
        directions: along the greatest and the least curvature, [2, N]; brought to unit length.
        curvatures: λ along each.
        change: of the loss at the ends of the axes; above 0.
        most: half of each axis at most, where the loss is known to bend more than its curvature says.
    """
    if not 0 < change < math.inf:
        raise InputError(f"change={change} is given; expected is a change of the loss above 0, such as a tenth of it")
    steepest = max(map(abs, curvatures))
    if steepest == 0:
        raise InputError("both curvatures are 0; there is no length to choose for the axes: look at a random plane")
    bent = [math.sqrt(2 * change / max(abs(c), FLAT * steepest)) for c in curvatures]
    halves = [min(half, limit) for half, limit in zip(bent, most, strict=True)]
    x, y = (
        Axis(f"{which} curvature", -half, half, CELLS)
        for which, c, half in zip(("greatest", "least"), curvatures, halves, strict=True)
    )
    ratio = max(halves) / min(halves)
    caption = f"Greatest and least curvature, λ = {curvatures[0]:.3g} and {curvatures[1]:.3g}. "
    if ratio > 1.5:
        caption += f"Each axis has its own scale: the longer spans {ratio:.3g} times the distance of the other."
    return Plane("curvature", origin, _unit(directions), x, y, caption.strip())


def principal_plane(points: Tensor, lengths: Sequence[int] = ()) -> Plane:
    """The plane in which a path varies most, through its last point.

    The directions are the first two principal components of the points, from their Gram matrix [P, P]. Beside the
    share of the variance that they hold stands a random walk's: with many dimensions and steps 60.8 % and 15.2 %.

    Args:
        points: the path [P, N], P ≥ 3; or several paths from one start, one after another.
        lengths: points of each, where there are several.

    Raises:
        InputError: fewer points, or points on a line.

    Source: Antognini and Sohl-Dickstein 2018, arXiv:1806.08805.
    """
    if len(points) < 3:
        raise InputError(f"a path of {len(points)} points is given; a principal plane needs 3 or more")
    centred = points.double() - points.double().mean(0)
    values, vectors = torch.linalg.eigh(centred @ centred.T)
    values, vectors = values.flip(0).clamp_min(0), vectors.flip(1)
    if not torch.isfinite(values).all() or values[1] <= 1e-12 * values[0]:
        raise InputError("the path's points are not finite or lie on a line: no plane is their own")
    directions = _unit(vectors[:, :2].T @ centred)
    shares = (values[:2] / values.sum()).tolist()
    walk = random_walk_shares(*(lengths or [len(points)]))
    origin = points[-1]
    flat = Plane("principal", origin, directions.to(points.dtype), Axis("", -1, 1, 2), Axis("", -1, 1, 2), "")
    shadow = flat.shadow(points)
    x, y = (Axis(f"component {k}", *_around(at), CELLS) for k, at in zip((1, 2), shadow[:2], strict=True))
    several = len(lengths) > 1
    walks = f"Random walks of {len(points)} points have" if several else f"A random walk of {len(points)} points has"
    caption = (
        f"The principal plane of the path{'s' * several}: {shares[0]:.1%} and {shares[1]:.1%} of the variance. "
        f"{walks} {walk[0]:.1%} and {walk[1]:.1%}: a share as large says nothing of the loss."
    )
    return replace(flat, x=x, y=y, caption=caption)


def random_walk_shares(*lengths: int) -> tuple[float, float]:
    """The shares of variance in the first two principal components of random walks in very many dimensions.

    Two points of a walk that have i and j steps behind them have the inner product min(i, j), those of two walks from
    one start 0; the shares are of the eigenvalues of that matrix, centred. Those of one walk are in proportion to
    1 / (4 sin²(πk / 2P)), k = 1 … P − 1; for many points the shares are 6 / (πk)².

    Args:
        lengths: points P of each walk.

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
    centred = products - products.mean(0) - products.mean(1)[:, None] + products.mean()
    values = np.linalg.eigvalsh(centred)[::-1]
    return tuple((values[:2] / values.sum()).tolist())


def random_plane(origin: Tensor, shapes: Sequence[tuple[int, ...]], seed: int = 0) -> Plane:
    """A random plane, normalised filter by filter: each filter of a direction has the norm of the weights' own.

    A filter is what makes one output: a row of a dense layer, a kernel of a convolution. Biases and the parameters of
    norms do not move, as in the authors' figures.

    Args:
        origin: the point [N].
        shapes: of the parameters, in the point's order.
        seed: of the directions.

    Source: Li et al. 2018, arXiv:1712.09913, section 4.
    """
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randn(2, len(origin), generator=generator, dtype=torch.float64).to(origin)
    sizes = [math.prod(s) for s in shapes]
    rows = [
        torch.cat([_filtered(d, w, s) for d, w, s in zip(row.split(sizes), origin.split(sizes), shapes, strict=True)])
        for row in drawn
    ]
    directions = torch.stack(rows)
    if not directions.any():
        raise InputError("no parameter has two dimensions or more: a filter-normalised plane does not move; choose two")
    x, y = (
        Axis(f"random direction {k}", -1.0, 1.0, CELLS, float(d.norm()))
        for k, d in zip((1, 2), directions, strict=True)
    )
    caption = (
        "Random directions, normalised filter by filter. The curvature along one is an average over all directions: a "
        "saddle with few ways down looks like a bowl here."
    )
    return Plane("random", origin, directions, x, y, caption)


def seen_at_random(trace: float, squares: float, n: int) -> tuple[float, float]:
    """(mean, standard deviation) of the curvature uᵀHu along a random direction of length 1.

    The mean is tr H / N; the variance 2 (tr H² / N − (tr H / N)²) / (N + 2), which vanishes as N grows.

    Args:
        trace: tr H.
        squares: tr H², the sum of the squared eigenvalues.
        n: N.

    >>> mean, deviation = seen_at_random(900 - 100, 1000, 1000)
    >>> round(mean, 2), round(deviation, 3)
    (0.8, 0.027)
    """
    mean = trace / n
    return mean, math.sqrt(2 * max(0.0, squares / n - mean**2) / (n + 2))


def share_that_misleads(trace: float, squares: float, n: int, least: float) -> str:
    """How misleading a random plane is at a point, in words; empty where no curvature is negative.

    Args:
        trace, squares, n: as in `seen_at_random`.
        least: the least eigenvalue.
    """
    if least >= 0:
        return ""
    mean, deviation = seen_at_random(trace, squares, n)
    if mean <= 0:
        return f"A random direction curves {mean:.2f} ± {deviation:.2g}: this plane shows a way down, as there is one."
    away = (mean - least) / deviation if deviation else math.inf
    return (
        f"A random direction curves up by {mean:#.2g} ± {deviation:.2g} here, whatever the seed, the least "
        f"curvature is {least:.3g}, {away:.0f} deviations away: this plane shows a bowl where there is a saddle."
    )


def plane_through(one: Tensor, two: Tensor, three: Tensor, names: Sequence[str] = ("1", "2", "3")) -> Plane:
    """The plane through three points, with the first at its origin and the second on its first axis.

    Args:
        one, two, three: the points [N].
        names: what to call them.

    Raises:
        InputError: the points lie on a line.

    Source: Garipov et al. 2018, arXiv:1802.10026, section 3.
    """
    u, v = (two - one).double(), (three - one).double()
    across = v - (v @ u) / (u @ u) * u
    if not across.norm() > STRAIGHT * v.norm():  # NaN where the first two are one point
        raise InputError("the three points lie on a line: there are many planes through them; choose another point")
    flat = Plane("points", one, _unit(torch.stack([u, across])).to(one), Axis("", -1, 1, 2), Axis("", -1, 1, 2), "")
    shadow = flat.shadow(torch.stack([one, two, three]))
    x = Axis(f"from {names[0]} to {names[1]}", *_around(shadow.x), CELLS)
    y = Axis(f"across, towards {names[2]}", *_around(shadow.y), CELLS)
    caption = f"The plane through three points: {names[0]}, {names[1]} and {names[2]}."
    return replace(flat, x=x, y=y, caption=caption)


def _unit(directions: Tensor) -> Tensor:
    norms = directions.norm(dim=1, keepdim=True)
    if not (torch.isfinite(norms).all() and norms.all()):
        raise InputError("a direction of length 0, or one that is not finite, is given; a plane needs two that are")
    return directions / norms


def _filtered(direction: Tensor, weights: Tensor, shape: tuple[int, ...]) -> Tensor:
    """A direction whose filters have the norms of the weights' filters; none for biases and norms."""
    if len(shape) < 2:
        return torch.zeros_like(direction)
    d, w = direction.view(shape[0], -1), weights.view(shape[0], -1)
    return (d * (w.norm(dim=1, keepdim=True) / d.norm(dim=1, keepdim=True))).reshape(-1)


def _around(at: np.ndarray) -> tuple[float, float]:
    """Ends of an axis that shows these coordinates with a margin."""
    lo, hi = float(at.min()), float(at.max())
    return lo - MARGIN * (hi - lo), hi + MARGIN * (hi - lo)
