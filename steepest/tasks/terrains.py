"""Surfaces with a formula, whose minima and saddles are known: for looking, for learning, and for testing rules.

A terrain needs no data: `Task(model=terrain.model(), objective=lambda model, batch: model())`.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from steepest.errors import InputError, unknown
from steepest.tasks.expression import Expression

Points = tuple[tuple[float, ...], ...]
Domain = tuple[tuple[float, float], tuple[float, float]]

MARGIN, HIGH = 0.05, 0.8
"""A place to start from is not so near the domain's edge, and higher than so much of it; shares."""


@dataclass(frozen=True)
class Terrain:
    """An analytic surface.

    Attributes:
        name: of it.
        formula: as a text of x and y that `expression` reads.
        f: [..., D] -> [...], twice differentiable but where the formula says otherwise.
        start: a point from which to descend.
        domain: what to look at: ((x from, x to), (y from, y to)).
        floor: the least value.
        minima, saddles, maxima: the critical points, as far as they are listed.
        convex: whether the surface is.
        source: where it comes from.
    """

    name: str
    formula: str
    f: Callable[[Tensor], Tensor]
    start: tuple[float, ...]
    domain: Domain
    floor: float
    minima: Points = ()
    saddles: Points = ()
    maxima: Points = ()
    convex: bool = False
    source: str = ""

    def model(self, start: tuple[float, ...] | None = None) -> "OnTerrain":
        """A module with one parameter `w` [D], whose forward pass gives f(w)."""
        return OnTerrain(self.f, self.start if start is None else start)

    def over(self, domain: Domain) -> "Terrain":
        """The same surface seen over another domain, with the critical points inside it.

        Raises:
            InputError: no such domain.
        """
        try:
            (x0, x1), (y0, y1) = ((float(lo), float(hi)) for lo, hi in domain)
        except (TypeError, ValueError):
            x0 = x1 = y0 = y1 = np.nan
        if not (np.isfinite([x0, x1, y0, y1]).all() and x0 < x1 and y0 < y1):
            raise InputError(
                f"domain={domain} is given; expected is ((x from, x to), (y from, y to)), such as ((-2, 2), (-1, 3))"
            )
        inside = {
            kind: tuple(p for p in getattr(self, kind) if x0 <= p[0] <= x1 and y0 <= p[1] <= y1)
            for kind in ("minima", "saddles", "maxima")
        }
        return replace(self, domain=((x0, x1), (y0, y1)), **inside)

    def grid(self, n: int = 201) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(x [n], y [n], values [n, n] with y along the rows), over the domain.

        >>> x, y, z = TERRAINS["bowl"].grid(5)
        >>> z.shape, float(z[2, 2])
        ((5, 5), 0.0)
        """
        (x0, x1), (y0, y1) = self.domain
        x, y = np.linspace(x0, x1, n), np.linspace(y0, y1, n)
        points = torch.from_numpy(np.stack(np.meshgrid(x, y), -1))
        return x, y, self.f(points).numpy()


class OnTerrain(nn.Module):
    """A point on a terrain."""

    def __init__(self, f: Callable[[Tensor], Tensor], start: tuple[float, ...]) -> None:
        super().__init__()
        self.f = f
        self.w = nn.Parameter(torch.tensor(start, dtype=torch.float64))

    def forward(self) -> Tensor:
        """f(w)."""
        return self.f(self.w)


def _bowl(w: Tensor) -> Tensor:
    x, y = w[..., 0], w[..., 1]
    return x**2 + y**2


def _ravine(w: Tensor) -> Tensor:
    x, y = w[..., 0], w[..., 1]
    return 0.5 * (x**2 + 50 * y**2)


def _rosenbrock(w: Tensor) -> Tensor:
    x, y = w[..., 0], w[..., 1]
    return (1 - x) ** 2 + 100 * (y - x**2) ** 2


def _himmelblau(w: Tensor) -> Tensor:
    x, y = w[..., 0], w[..., 1]
    return (x**2 + y - 11) ** 2 + (x + y**2 - 7) ** 2


def _beale(w: Tensor) -> Tensor:
    x, y = w[..., 0], w[..., 1]
    return (1.5 - x + x * y) ** 2 + (2.25 - x + x * y**2) ** 2 + (2.625 - x + x * y**3) ** 2


def _rastrigin(w: Tensor) -> Tensor:
    return 20 + (w**2 - 10 * torch.cos(2 * torch.pi * w)).sum(-1)


def _monkey_saddle(w: Tensor) -> Tensor:
    x, y = w[..., 0], w[..., 1]
    return x**3 - 3 * x * y**2


def _saddle(w: Tensor) -> Tensor:
    x, y = w[..., 0], w[..., 1]
    return x**2 - y**2


def _plateau(w: Tensor) -> Tensor:
    x, y = w[..., 0], w[..., 1]
    return torch.sigmoid(8 * (x - 1)) + 0.02 * (x**2 + y**2)


TERRAINS = {
    t.name: t
    for t in (
        Terrain("bowl", "x² + y²", _bowl, (-1.6, 1.2), ((-2, 2), (-2, 2)), 0.0, ((0.0, 0.0),), convex=True),
        Terrain(
            "ravine", "(x² + 50 y²) / 2", _ravine, (-4.0, 0.9), ((-5, 5), (-1.5, 1.5)), 0.0, ((0.0, 0.0),), convex=True
        ),
        Terrain(
            "rosenbrock", "(1 − x)² + 100 (y − x²)²", _rosenbrock, (-1.2, 1.0), ((-2, 2), (-1, 3)), 0.0, ((1.0, 1.0),),
            source="Rosenbrock 1960, doi:10.1093/comjnl/3.3.175",
        ),
        Terrain(
            "himmelblau", "(x² + y − 11)² + (x + y² − 7)²", _himmelblau, (-0.5, -1.5), ((-5, 5), (-5, 5)), 0.0,
            minima=(
                (3.0, 2.0), (-2.805118086952745, 3.131312518250573), (-3.779310253377747, -3.283185991286169),
                (3.5844283403304917, -1.8481265269644036),
            ),
            saddles=(
                (0.08667750455539634, 2.884254701174776), (-0.12796134673068005, -1.9537149802445766),
                (-3.0730257507643897, -0.08135304428796751), (3.385154183607021, 0.07385187983774928),
            ),
            maxima=((-0.2708445906673476, -0.9230385564799815),),
            source="Himmelblau 1972, Applied Nonlinear Programming",
        ),
        Terrain(
            "beale", "(1.5 − x + xy)² + (2.25 − x + xy²)² + (2.625 − x + xy³)²", _beale, (-1.0, -1.5),
            ((-4.5, 4.5), (-4.5, 4.5)), 0.0, ((3.0, 0.5),), ((0.0, 1.0),), source="Beale 1958",
        ),
        Terrain(
            "rastrigin", "20 + x² − 10 cos(2πx) + y² − 10 cos(2πy)", _rastrigin, (2.2, -1.7),
            ((-3.2, 3.2), (-3.2, 3.2)), 0.0, ((0.0, 0.0),), source="Rastrigin 1974",
        ),
        Terrain(
            "monkey_saddle", "x³ − 3xy²", _monkey_saddle, (0.6, 0.3), ((-1.5, 1.5), (-1.5, 1.5)), -float("inf"),
            saddles=((0.0, 0.0),),
        ),
        Terrain(
            "saddle", "x² − y²", _saddle, (-1.2, 1e-3), ((-1.5, 1.5), (-1.5, 1.5)), -float("inf"), saddles=((0.0, 0.0),)
        ),
        Terrain(
            "plateau", "σ(8 (x − 1)) + (x² + y²) / 50", _plateau, (3.0, 1.0), ((-2, 4), (-3, 3)), 0.0002744430491709828,
            minima=((-0.04630228060507552, 0.0),),
        ),
    )
}  # fmt: skip


def find_terrain(terrain: str) -> Terrain:
    """The terrain of that name.

    Raises:
        UnknownNameError: nobody has that name; says the nearest one.
    """
    if terrain not in TERRAINS:
        raise unknown("terrain", terrain, TERRAINS)
    return TERRAINS[terrain]


def parse_terrain(source: str, domain: Domain = ((-2, 2), (-2, 2))) -> Terrain:
    """A surface from the text of its function, to descend from a place that is high in its domain.

    Its critical points are not known, and its floor is the least value on its grid.

    Args:
        source: such as "x**2 - y**2"; what can be written is in `steepest.tasks.expression`.
        domain: what to look at: ((x from, x to), (y from, y to)).

    Raises:
        InputError: the text is no function (says where), no such domain, or no value anywhere in it.

    >>> land = parse_terrain("x² − y²")
    >>> land.f(torch.tensor([3.0, 1.0])), land.floor
    (tensor(8.), -4.0)
    """
    bare = Terrain("function", source, Expression(source), (0.0, 0.0), domain, 0.0).over(domain)
    start = high_place(bare)
    _, _, values = bare.grid()
    return replace(bare, start=start, floor=float(values[np.isfinite(values)].min()))


def high_place(terrain: Terrain) -> tuple[float, float]:
    """A point of the domain to descend from: higher than four fifths of it, and not at its edge.

    Raises:
        InputError: the surface has no value anywhere in its domain.
    """
    x, y, values = terrain.grid()
    known = np.isfinite(values)
    if not known.any():
        raise InputError(
            f"{terrain.formula} has no value anywhere for x from {x[0]:g} to {x[-1]:g} and y from {y[0]:g} to "
            f"{y[-1]:g}; give a domain where it has"
        )
    edge = round(MARGIN * len(x))
    inner = np.zeros_like(known)
    inner[edge:-edge, edge:-edge] = known[edge:-edge, edge:-edge]
    offered = inner if inner.any() else known
    high = np.quantile(values[offered], HIGH, method="higher")
    i, j = np.argwhere(offered & (values == high))[0]
    return float(x[j]), float(y[i])


def undefined_regions(values: np.ndarray) -> str:
    """What share of a grid is no number, in a sentence; empty where none is.

    >>> undefined_regions(np.array([[1.0, np.nan], [2.0, 3.0]]))
    'On 25 % of this domain the function is no number.'
    """
    share = 100 * float(np.isnan(values).mean())
    return f"On {max(share, 0.1):.2g} % of this domain the function is no number." if share else ""
