"""Test functions of two variables with known minima and saddles.

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

EDGE_MARGIN = 0.05
"""Distance of a start from the domain's edge, at least; as a share of the domain."""
START_QUANTILE = 0.8
"""Quantile of the domain's values that a start has."""


@dataclass(frozen=True)
class Terrain:
    """A test function.

    Attributes:
        name: its name.
        formula: its formula in x and y, in the grammar of `expression`.
        f: the function, [..., D] -> [...], twice differentiable except where the formula is not.
        start: starting point of a descent.
        domain: the region shown: ((x from, x to), (y from, y to)).
        floor: the infimum.
        minima, saddles, maxima: known critical points.
        source: citation.
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
    source: str = ""

    def model(self, start: tuple[float, ...] | None = None) -> "OnTerrain":
        """A module with one parameter `w` [D] that returns f(w)."""
        return OnTerrain(self.f, self.start if start is None else start)

    def over(self, domain: Domain) -> "Terrain":
        """The same function on another domain, with the critical points inside it.

        Raises:
            InputError: the domain is not two finite intervals.
        """
        try:
            (x0, x1), (y0, y1) = ((float(lo), float(hi)) for lo, hi in domain)
        except (TypeError, ValueError):
            x0 = x1 = y0 = y1 = np.nan
        if not (np.isfinite([x0, x1, y0, y1]).all() and x0 < x1 and y0 < y1):
            raise InputError(
                f"domain must be ((x from, x to), (y from, y to)), such as ((-2, 2), (-1, 3)), got {domain}"
            )
        inside = {
            kind: tuple(p for p in getattr(self, kind) if x0 <= p[0] <= x1 and y0 <= p[1] <= y1)
            for kind in ("minima", "saddles", "maxima")
        }
        return replace(self, domain=((x0, x1), (y0, y1)), **inside)

    def grid(self, n: int = 201) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(x [n], y [n], values [n, n] with y along the rows), on the domain.

        >>> x, y, z = TERRAINS["bowl"].grid(5)
        >>> z.shape, float(z[2, 2])
        ((5, 5), 0.0)
        """
        (x0, x1), (y0, y1) = self.domain
        x, y = np.linspace(x0, x1, n), np.linspace(y0, y1, n)
        points = torch.from_numpy(np.stack(np.meshgrid(x, y), -1))
        return x, y, self.f(points).numpy()


class OnTerrain(nn.Module):
    """A function of its one parameter w."""

    def __init__(self, f: Callable[[Tensor], Tensor], start: tuple[float, ...]) -> None:
        super().__init__()
        self.f = f
        self.w = nn.Parameter(torch.tensor(start, dtype=torch.float64))

    def forward(self) -> Tensor:
        """f(w)."""
        return self.f(self.w)


def _xy(f: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """A function of x and y as one of w = (x, y)."""
    return lambda w: f(w[..., 0], w[..., 1])


TERRAINS = {
    t.name: t
    for t in (
        Terrain(
            "bowl", "x² + y²", _xy(lambda x, y: x**2 + y**2), (-1.6, 1.2), ((-2, 2), (-2, 2)), 0.0, ((0.0, 0.0),),
        ),
        Terrain(
            "ravine", "(x² + 50 y²) / 2", _xy(lambda x, y: 0.5 * (x**2 + 50 * y**2)), (-4.0, 0.9),
            ((-5, 5), (-1.5, 1.5)), 0.0, ((0.0, 0.0),),
        ),
        Terrain(
            "rosenbrock", "(1 − x)² + 100 (y − x²)²", _xy(lambda x, y: (1 - x) ** 2 + 100 * (y - x**2) ** 2),
            (-1.2, 1.0), ((-2, 2), (-1, 3)), 0.0, ((1.0, 1.0),), source="Rosenbrock 1960, doi:10.1093/comjnl/3.3.175",
        ),
        Terrain(
            "himmelblau", "(x² + y − 11)² + (x + y² − 7)²",
            _xy(lambda x, y: (x**2 + y - 11) ** 2 + (x + y**2 - 7) ** 2),
            (-0.5, -1.5), ((-5, 5), (-5, 5)), 0.0,
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
            "beale", "(1.5 − x + xy)² + (2.25 − x + xy²)² + (2.625 − x + xy³)²",
            _xy(lambda x, y: (1.5 - x + x * y) ** 2 + (2.25 - x + x * y**2) ** 2 + (2.625 - x + x * y**3) ** 2),
            (-1.0, -1.5), ((-4.5, 4.5), (-4.5, 4.5)), 0.0, ((3.0, 0.5),), ((0.0, 1.0),), source="Beale 1958",
        ),
        Terrain(
            "rastrigin", "20 + x² − 10 cos(2πx) + y² − 10 cos(2πy)",
            lambda w: 20 + (w**2 - 10 * torch.cos(2 * torch.pi * w)).sum(-1), (2.2, -1.7),
            ((-3.2, 3.2), (-3.2, 3.2)), 0.0, ((0.0, 0.0),), source="Rastrigin 1974",
        ),
        Terrain(
            "monkey_saddle", "x³ − 3xy²", _xy(lambda x, y: x**3 - 3 * x * y**2), (0.6, 0.3), ((-1.5, 1.5), (-1.5, 1.5)),
            -float("inf"), saddles=((0.0, 0.0),),
        ),
        Terrain(
            "saddle", "x² − y²", _xy(lambda x, y: x**2 - y**2), (-1.2, 1e-3), ((-1.5, 1.5), (-1.5, 1.5)), -float("inf"),
            saddles=((0.0, 0.0),),
        ),
        Terrain(
            "plateau", "σ(8 (x − 1)) + (x² + y²) / 50",
            _xy(lambda x, y: torch.sigmoid(8 * (x - 1)) + 0.02 * (x**2 + y**2)),
            (3.0, 1.0), ((-2, 4), (-3, 3)), 0.0002744430491709828, minima=((-0.04630228060507552, 0.0),),
        ),
    )
}  # fmt: skip


def find_terrain(terrain: str) -> Terrain:
    """The terrain of that name.

    Raises:
        UnknownNameError: no terrain has this name.
    """
    if terrain not in TERRAINS:
        raise unknown("terrain", terrain, TERRAINS)
    return TERRAINS[terrain]


def parse_terrain(source: str, domain: Domain = ((-2, 2), (-2, 2))) -> Terrain:
    """A terrain from the text of its function, with a start high in the domain.

    It lists no critical points, and its floor is the smallest value on its grid.

    Args:
        source: such as "x**2 - y**2"; the grammar is in `steepest.tasks.expression`.
        domain: the region shown: ((x from, x to), (y from, y to)).

    Raises:
        InputError: the text does not parse, the domain is not two finite intervals, or the function is undefined in it.

    >>> land = parse_terrain("x² − y²")
    >>> land.f(torch.tensor([3.0, 1.0])), land.floor
    (tensor(8.), -4.0)
    """
    bare = Terrain("function", source, Expression(source), (0.0, 0.0), domain, 0.0).over(domain)
    start = choose_start(bare)
    _, _, values = bare.grid()
    return replace(bare, start=start, floor=float(values[np.isfinite(values)].min()))


def choose_start(terrain: Terrain) -> tuple[float, float]:
    """A starting point with a value above 80 % of the domain's, away from its edge.

    Raises:
        InputError: the function is undefined everywhere in its domain.
    """
    x, y, values = terrain.grid()
    finite = np.isfinite(values)
    if not finite.any():
        raise InputError(
            f"{terrain.formula} is undefined everywhere for x from {x[0]:g} to {x[-1]:g} and y from {y[0]:g} to "
            f"{y[-1]:g}. Pass another domain."
        )
    edge = round(EDGE_MARGIN * len(x))
    inner = np.zeros_like(finite)
    inner[edge:-edge, edge:-edge] = finite[edge:-edge, edge:-edge]
    candidates = inner if inner.any() else finite
    high = np.quantile(values[candidates], START_QUANTILE, method="higher")
    i, j = np.argwhere(candidates & (values == high))[0]
    return float(x[j]), float(y[i])


def undefined_regions(values: np.ndarray) -> str:
    """A sentence with the share of NaN on a grid; empty without any.

    >>> undefined_regions(np.array([[1.0, np.nan], [2.0, 3.0]]))
    'The function is undefined on 25 % of this domain.'
    """
    share = 100 * float(np.isnan(values).mean())
    return f"The function is undefined on {max(share, 0.1):.2g} % of this domain." if share else ""
