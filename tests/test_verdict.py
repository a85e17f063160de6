"""Where a point is, against points that are known: terrains, linear networks, networks that were trained."""

import collections

import pytest
import torch
from torch import nn

import steepest as sd
from steepest import verdict
from steepest.terrain import TERRAINS
from steepest.verdict import (
    DESCENDING,
    GRADIENT_FLAT,
    MAXIMUM,
    MINIMUM,
    SADDLE,
    UNDECIDED,
    locate,
)


def on(terrain, point, **given):
    model = TERRAINS[terrain].model()
    task = sd.Task(model=model, objective=lambda model, batch: model())
    return locate(task, torch.tensor(point, dtype=torch.float64), model, **given)


KNOWN = [(name, p, MINIMUM) for name, t in TERRAINS.items() for p in t.minima]
KNOWN += [(name, p, SADDLE) for name, t in TERRAINS.items() for p in t.saddles if name != "monkey_saddle"]
KNOWN += [(name, p, MAXIMUM) for name, t in TERRAINS.items() for p in t.maxima]
KNOWN += [(name, t.start, DESCENDING) for name, t in TERRAINS.items()]


@pytest.mark.parametrize(("terrain", "point", "kind"), KNOWN)
def test_the_critical_points_of_the_terrains(terrain, point, kind):
    found = on(terrain, point)
    assert found.kind == kind
    assert found.sentence
    assert found.advice


def test_himmelblau_has_four_minima_four_saddles_and_a_maximum():
    kinds = collections.Counter(kind for name, _, kind in KNOWN if name == "himmelblau")
    assert (kinds[MINIMUM], kinds[SADDLE], kinds[MAXIMUM]) == (4, 4, 1)


def test_a_monkey_saddle_cannot_be_told_from_its_hessian():
    assert on("monkey_saddle", (0.0, 0.0)).kind == UNDECIDED


@pytest.mark.parametrize("point", [(3.0, 2.0), (0.0, 0.0)])
def test_a_short_look_never_says_minimum(point):
    assert on("himmelblau" if point[0] else "bowl", point, products=verdict.SHORT).kind == UNDECIDED


class Quadratic(nn.Module):
    """½ Σ dᵢ wᵢ² + 1."""

    def __init__(self, d):
        super().__init__()
        self.w = nn.Parameter(torch.zeros(len(d), dtype=torch.float64))
        self.register_buffer("d", d)

    def forward(self):
        return 0.5 * (self.d * self.w**2).sum() + 1


def of_quadratic(d, w=None, **given):
    model = Quadratic(d)
    task = sd.Task(model=model, objective=lambda model, batch: model())
    return locate(task, torch.zeros(len(d), dtype=torch.float64) if w is None else w, model, **given)


@pytest.mark.parametrize("negative", [100, 1])
def test_a_few_directions_down_among_many_up_are_a_saddle(negative):
    d = torch.cat([torch.ones(1000 - negative), -torch.ones(negative)]).double()
    found = of_quadratic(d)
    assert found.kind == SADDLE
    assert found.number("least curvature").value == pytest.approx(-1.0)


def test_a_slope_without_curvature_is_no_critical_point():
    class Slope(nn.Module):
        def __init__(self):
            super().__init__()
            self.w = nn.Parameter(torch.zeros(3, dtype=torch.float64))

        def forward(self):
            x, y, z = self.w
            return x**2 + y**2 + 1e-7 * z + 1.0

    model = Slope()
    task = sd.Task(model=model, objective=lambda model, batch: model())
    w = torch.tensor([0.0, 0.0, 1e-3], dtype=torch.float64)
    assert locate(task, w, model).kind in (GRADIENT_FLAT, UNDECIDED)


# -- Linear networks: every critical point is known, and whether its Hessian shows a saddle -----------------------------


class Product(nn.Module):
    def __init__(self, factors):
        super().__init__()
        self.factors = nn.ParameterList(nn.Parameter(torch.zeros_like(f)) for f in factors)

    def forward(self, target):
        first, *others = self.factors
        for f in others:
            first = f @ first
        return 0.5 * (first - target).square().sum()


def critical_point(seed):
    """A critical point of ½‖W_d ⋯ W₁ − M‖²: it keeps some of M's singular values, in any bases between the layers.

    All largest ones that fit through the layers: a global minimum. Else a saddle: with two layers, or where a smaller
    value is kept in place of a larger one, its Hessian has a negative eigenvalue; three layers that only lack values
    can add one at third order alone. Source: Achour, Malgouyres and Gerchinovitz 2024, jmlr.org/papers/v25/23-0493.
    """
    g = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=g, dtype=torch.float64)

    n, m = torch.randint(2, 6, (2,), generator=g).tolist()
    width, depth = int(torch.randint(1, 5, (1,), generator=g)), 2 + int(torch.randint(0, 2, (1,), generator=g))
    rank = min(n, m)
    u, _, v = torch.linalg.svd(normal(n, m))
    values = torch.rand(rank, generator=g, dtype=torch.float64).sort(descending=True)[0] * 2 + 0.2
    values = values + 0.15 * torch.arange(rank, 0, -1)
    most = min(width, rank)
    count = int(torch.randint(0, most + 1, (1,), generator=g))
    kept = list(range(most)) if seed % 3 == 0 else sorted(torch.randperm(rank, generator=g)[:count].tolist())
    root, places = values[kept] ** (1 / depth), range(len(kept))
    first, last = normal(width, m) * 0, normal(n, width) * 0
    first[places], last[:, places] = root[:, None] * v[kept], u[:, kept] * root
    middle = normal(width, width) * 0
    middle[places, places] = root
    factors = [first, *[middle] * (depth - 2), last]
    for i in range(depth - 1):
        c = torch.linalg.qr(normal(width, width))[0] * (0.7 + 0.6 * torch.rand(width, generator=g, dtype=torch.float64))
        factors[i], factors[i + 1] = c @ factors[i], factors[i + 1] @ torch.linalg.inv(c)
    largest = kept == list(range(len(kept)))
    kind = MINIMUM if largest and len(kept) == most else UNDECIDED if largest and depth > 2 else SADDLE
    return factors, (u[:, :rank] * values) @ v[:rank], kind


def test_three_hundred_critical_points_of_linear_networks():
    told = collections.Counter()
    for seed in range(300):
        factors, target, kind = critical_point(seed)
        model = Product(factors)
        task = sd.Task(model=model, objective=lambda model, batch, target=target: model(target))
        w = torch.cat([f.reshape(-1) for f in factors])
        told[kind, locate(task, w, model).kind] += 1
    right = sum(n for (known, said), n in told.items() if known == said)
    assert {said for known, said in told if known != said} <= {UNDECIDED}, told
    assert right >= 0.95 * 300, told
    assert all(sum(n for (known, _), n in told.items() if known == kind) >= 40 for kind in (MINIMUM, SADDLE, UNDECIDED))
