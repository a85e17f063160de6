"""Terrains: their known points, and every rule on every one of them."""

import numpy as np
import pytest
import torch

from steepest.descent.descend import descend
from steepest.errors import InputError, UnknownNameError
from steepest.rules.textbook import RULES
from steepest.tasks.expression import Expression
from steepest.tasks.task import Task
from steepest.tasks.terrains import TERRAINS, find_terrain, parse_terrain, undefined_regions

SIGNS = {"minima": {1}, "maxima": {-1}, "saddles": {-1, 1}}
KNOWN = [(n, kind, p) for n, t in TERRAINS.items() for kind in SIGNS for p in getattr(t, kind)]


@pytest.mark.parametrize(("name", "kind", "point"), KNOWN)
def test_critical_points(name, kind, point):
    terrain, w = TERRAINS[name], torch.tensor(point, dtype=torch.float64)
    gradient = torch.autograd.functional.jacobian(terrain.f, w)
    hessian = torch.autograd.functional.hessian(terrain.f, w)
    assert gradient.abs().max() < 1e-10
    if name == "monkey_saddle":
        assert hessian.abs().max() == 0
    else:
        assert set(torch.linalg.eigvalsh(hessian).sign().int().tolist()) == SIGNS[kind]


@pytest.mark.parametrize("name", TERRAINS)
def test_floor_batches_and_dtypes(name):
    terrain = TERRAINS[name]
    x, y, z = terrain.grid(101)
    assert z.min() >= terrain.floor
    assert z[7, 3] == pytest.approx(float(terrain.f(torch.tensor([x[3], y[7]]))))
    for point in terrain.minima:
        assert float(terrain.f(torch.tensor(point, dtype=torch.float64))) == pytest.approx(terrain.floor, abs=1e-12)
    assert terrain.f(torch.ones(3, 2, dtype=torch.float32)).dtype is torch.float32


@pytest.mark.parametrize("name", TERRAINS)
def test_gradient_by_finite_differences(name):
    terrain = TERRAINS[name]
    w = torch.tensor(terrain.start, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(terrain.f, w)


@pytest.mark.parametrize("name", TERRAINS)
def test_the_formula_is_the_function(name):
    """What is shown, and what the page descends on, is what is computed here."""
    terrain = TERRAINS[name]
    x, y, values = terrain.grid(41)
    found = Expression(terrain.formula)(torch.from_numpy(np.stack(np.meshgrid(x, y), -1))).numpy()
    np.testing.assert_allclose(found, values, rtol=1e-12, atol=1e-12 * np.abs(values).max())


def test_a_typed_function_is_a_terrain():
    land = parse_terrain("x**2 - y**2", ((-1, 3), (-2, 1)))
    _, _, z = land.grid()
    assert (land.formula, land.floor, land.domain) == ("x**2 - y**2", z.min(), ((-1, 3), (-2, 1)))
    height = float(land.f(torch.tensor(land.start)))
    assert np.mean(z < height) == pytest.approx(0.8, abs=0.1)
    assert -1 < land.start[0] < 3
    assert -2 < land.start[1] < 1


def test_a_typed_function_may_have_gaps():
    land = parse_terrain("log(x) + y²")
    assert land.start[0] > 0
    assert undefined_regions(land.grid(51)[2]) == "The function is undefined on 49 % of this domain."
    assert undefined_regions(parse_terrain("x").grid(51)[2]) == ""
    with pytest.raises(InputError, match="is undefined everywhere for x from -2 to -1 and y from 0 to 1"):
        parse_terrain("log(x)", ((-2, -1), (0, 1)))


def test_another_domain_keeps_the_points_inside_it():
    seen = TERRAINS["himmelblau"].over(((0, 5), (-5, 5)))
    assert seen.minima == ((3.0, 2.0), (3.5844283403304917, -1.8481265269644036))
    assert seen.grid(3)[0].tolist() == [0, 2.5, 5]
    for domain in [((1, 0), (0, 1)), ((0, 1), (0, np.inf)), ((0, 1),), (0, 1, 2, 3), "wide"]:
        with pytest.raises(InputError, match=r"domain must be \(\(x from, x to\)"):
            seen.over(domain)


def test_unknown_name():
    with pytest.raises(UnknownNameError, match="Did you mean 'himmelblau'"):
        find_terrain("himelblau")


def descent(terrain, rule, lr, steps, schedule):
    """The losses of a descent, one after another; the last one is that of its end."""
    task = Task(terrain.model(), objective=lambda model, batch: model())
    for step in descend(task, rule, lr, schedule, steps=steps, no_decay=None):
        yield step.loss
    yield task.model().item()


RATES = (1e-1, 3e-2, 1e-2, 3e-1, 3e-3, 1e-3)
"""A grid, in the order of what most often does."""
SHORT = ((150, 0.3), (150, 0.03), (150, 1.0), (300, 0.1), (600, 0.03), (600, 3.0), (2000, 3.0))
"""Steps and a rate of the grid with which most rules reach the floor: tried before 2,000 steps at every rate."""


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("name", ["bowl", "ravine"])
def test_every_rule_reaches_the_floor_of_a_convex_terrain(name, rule):
    """f − f* ≤ 1e-6 (f₀ − f*) within 2,000 steps under a cosine, at the best rate of a grid."""
    terrain = TERRAINS[name]
    gaps = []
    for steps, lr in (*SHORT, *((2000, lr) for lr in (*RATES, 1.0, 3.0))):
        found = list(descent(terrain, rule, lr, steps, "cosine"))
        gaps.append((found[-1] - terrain.floor) / (found[0] - terrain.floor))
        if gaps[-1] <= 1e-6:
            return
    pytest.fail(f"the best gap of {rule} on {name} is {np.nanmin(gaps):.1e}")


LEVELS = {"rosenbrock": 0.5, "himmelblau": 1e-2, "beale": 0.5, "rastrigin": 0.9, "plateau": 0.2}
"""Share of the start's height above the floor that the median of the last tenth must be below."""


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("name", LEVELS)
def test_every_rule_gets_down_the_others(name, rule):
    """Within 500 steps under a cosine, at the best rate of a grid: of 150 steps if that is enough."""
    terrain = TERRAINS[name]
    shares = []
    rates = (30.0, 10.0, 1.0, *RATES) if rule == "adadelta" else RATES  # its own steps are a hundredth of others'
    for steps, lr in (*((150, lr) for lr in rates[:2]), *((500, lr) for lr in rates)):
        found = np.array(list(descent(terrain, rule, lr, steps, "cosine")))
        shares.append((np.median(found[-steps // 10 :]) - terrain.floor) / (found[0] - terrain.floor))
        if shares[-1] < LEVELS[name]:
            return
    pytest.fail(f"the best share of {rule} on {name} is {np.nanmin(shares):.2g}")


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("name", ["saddle", "monkey_saddle"])
def test_every_rule_leaves_a_saddle(name, rule):
    """Within 1,000 steps: the descent is over once it has."""
    assert any(loss < -0.01 for loss in descent(TERRAINS[name], rule, 0.03, 1000, "constant"))
