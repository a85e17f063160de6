"""What is known of layers along the lines of a plane: against the layers themselves."""

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from steepest.analysis.landscape import evaluate as landscape
from steepest.analysis.landscape.plane_loss import PlaneLoss
from steepest.analysis.landscape.planes import random_plane
from steepest.analysis.landscape.relu_lines import Hinge, Layer
from steepest.curvature.loss_function import LossFunction
from steepest.tasks.task import Task


def drawn(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def three(*shape, seed, dtype=torch.float64):
    return tuple(drawn(*shape, seed=seed + k, dtype=dtype) for k in range(3))


def directly(units, weight, bias, a, b):
    z, w, c = (x0 + a * xu + b * xv for x0, xu, xv in (units, weight, bias))
    return z.relu() @ w.T + c


# -- A hinge -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("dtype", "within"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
@pytest.mark.parametrize("together", [1, 3, 8, 100])
def test_the_outputs_on_a_line_are_those_of_the_layers(dtype, within, together):
    units, weight, bias = (three(*shape, seed=s, dtype=dtype) for s, shape in enumerate([(30, 12), (5, 12), (5,)]))
    b = np.linspace(-2, 1.5, 23)
    found = torch.cat([z.clone() for z in Hinge(units, Layer(weight, bias)).along(0.4, b, together)])
    expected = torch.stack([directly(units, weight, bias, 0.4, y) for y in b])
    assert found.shape == expected.shape == (23, 30, 5)
    assert (found - expected).abs().max() < within * expected.abs().max()


@pytest.mark.parametrize(("dtype", "within"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
def test_and_those_of_a_narrow_layer_behind(dtype, within):
    shapes = [(30, 12), (9, 12), (9,), (3, 9), (3,)]
    units, weight, bias, narrow, shift = (three(*shape, seed=s, dtype=dtype) for s, shape in enumerate(shapes))
    b = np.linspace(-2, 1.5, 23)
    (found,) = Hinge(units, Layer(weight, bias), Layer(narrow, shift)).along(0.4, b)
    expected = torch.stack(
        [
            directly(
                (directly(units, weight, bias, 0.4, y),) + (torch.zeros(30, 9, dtype=dtype),) * 2, narrow, shift, 0.4, y
            )
            for y in b
        ]
    )
    assert found.shape == expected.shape == (23, 30, 3)
    assert (found - expected).abs().max() < within * expected.abs().max()


def test_points_may_lie_at_any_distance():
    units, weight, bias = three(30, 12, seed=0), three(5, 12, seed=3), three(5, seed=6)
    b = np.cumsum(np.geomspace(1e-6, 2, 20)) - 3
    found = torch.cat([z.clone() for z in Hinge(units, Layer(weight, bias)).along(-0.1, b)])
    assert torch.allclose(found, torch.stack([directly(units, weight, bias, -0.1, y) for y in b]), rtol=1e-10)


def test_units_that_stay_and_those_that_pass_at_a_point():
    """By unit: always on, never on, on from b = 0, on until b = 0, 0 everywhere."""
    p, q = torch.tensor([[1.0, -1.0, 0.0, 0.0, 0.0]]), torch.tensor([[0.0, 0.0, 1.0, -1.0, 0.0]])
    still = torch.zeros(1, 5)
    weight = torch.tensor([[1.0, 10.0, 100.0, 1000.0, 10000.0]])
    hinge = Hinge((p, still, q), Layer((weight, 0 * weight, 0 * weight), (torch.zeros(1),) * 3))
    found = torch.cat([z.clone() for z in hinge.along(0.0, np.array([-2.0, -1.0, 0.0, 1.0, 2.0]))])
    assert found.flatten().tolist() == [2001, 1001, 1, 101, 201]


@pytest.mark.parametrize("last", [None, Layer(three(2, 5, seed=9), three(2, seed=12))])
def test_what_is_no_number_stays_none(last):
    units, layer = three(4, 3, seed=0), Layer(three(5, 3, seed=3), three(5, seed=6))
    units[0][1, 2] = math.nan
    found = torch.cat([z.clone() for z in Hinge(units, layer, last).along(0.0, np.linspace(-1, 1, 9))])
    assert found[:, 1].isnan().all()
    assert found[:, [0, 2, 3]].isfinite().all()


# -- Which layers ------------------------------------------------------------------------------------------------------


class Remembering(nn.Module):
    """What is rectified counts a second time, behind the layer."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(6, 7), nn.Linear(7, 7)

    def forward(self, x):
        z = self.one(x)
        return self.two(z.relu()) + z


def net(*layers):
    torch.manual_seed(0)
    return nn.Sequential(*layers)


MODELS = {
    "one behind": (1, lambda: net(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))),
    "and more": (1, lambda: net(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 7), nn.ReLU(), nn.Linear(7, 3))),
    "in place, no bias": (1, lambda: net(nn.Linear(6, 8), nn.ReLU(inplace=True), nn.Linear(8, 3, bias=False))),
    "flattened": (1, lambda: net(nn.Linear(6, 8), nn.ReLU(), nn.Flatten(), nn.Linear(8, 3))),
    "not rectified": (0, lambda: net(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3))),
    "ten wide": (0, lambda: net(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 10))),
    "ten wide, no bias": (
        1,
        lambda: net(nn.Linear(6, 9), nn.ReLU(), nn.Linear(9, 40), nn.Tanh(), nn.Linear(40, 10, bias=False)),
    ),
    "normed": (0, lambda: net(nn.Linear(6, 8), nn.ReLU(), nn.BatchNorm1d(8), nn.Linear(8, 3))),
    "convolution": (
        0,
        lambda: net(nn.Unflatten(1, (1, 6)), nn.Conv1d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8, 3)),
    ),
}
X, Y = drawn(40, 6).float(), torch.arange(40) % 3


def laid(model, dtype=torch.float64):
    s = LossFunction(Task(model=model, loss=cross_entropy, data=(X, Y)), [(X[:25], Y[:25]), (X[25:], Y[25:])], dtype)
    return s, random_plane(s.start, s.space.shapes, 1)


@pytest.fixture
def as_many_threads(way):
    before = torch.get_num_threads()
    torch.set_num_threads(2 if way == "_shared" else 1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("way", ["_in_turn", "_stacked", "_shared"])
@pytest.mark.parametrize("name", MODELS)
@pytest.mark.usefixtures("as_many_threads")
def test_every_point_of_a_line_has_its_loss(name, way):
    count, model = MODELS[name]
    s, plane = laid(model())
    sheet = PlaneLoss(s, plane)
    sheet._look_behind()
    assert [len(known.behind) for known in sheet._known] == [count] * 2
    sheet._way, sheet._mapped = getattr(sheet, way), way == "_shared"  # whose threads then map what is known
    a, b = (x.ravel() for x in np.meshgrid(np.linspace(-1, 1, 3), np.linspace(-2, 1, 11), indexing="ij"))
    expected = [s.value(plane.point(x, y)) for x, y in zip(a, b)]
    assert sheet.losses(a, b) == pytest.approx(expected, rel=1e-12)
    assert sheet.each(a, b).mean(1) == pytest.approx(expected, rel=1e-12)
    assert sheet.losses(a[::-1].copy(), b[::-1].copy()) == pytest.approx(
        expected[::-1], rel=1e-12
    )  # falling: the usual way
    assert sheet.losses(a[:3], b[:3]) == pytest.approx(expected[:3], rel=1e-12)  # few: likewise


def test_what_is_not_as_it_seems_is_looked_at_the_usual_way():
    torch.manual_seed(0)
    s, plane = laid(Remembering())
    seems, sheet = PlaneLoss(s, plane), PlaneLoss(s, plane)
    seems._look_behind()
    assert all(known.behind for known in seems._known)
    a, b = (x.ravel() for x in np.meshgrid(np.linspace(-1, 1, 5), np.linspace(-1, 1, 16), indexing="ij"))
    assert sheet._hinged(a, b, False, sheet._in_turn, plain=1e9) is None
    assert not any(known.behind for known in sheet._known)


def test_a_surface_is_the_same_with_what_is_known_on_lines():
    s, plane = laid(MODELS["and more"][1](), torch.float32)
    sheet = PlaneLoss(s, plane)
    a, b = (x.ravel() for x in np.meshgrid(np.linspace(-1, 1, 5), np.linspace(-1, 1, 16), indexing="ij"))
    assert sheet._hinged(a, b, False, sheet._in_turn, plain=1e9) == sheet._in_turn
    assert all(known.behind for known in sheet._known)
    plain = np.array([s.value(plane.point(x, y)) for x, y in zip(a, b)])
    assert sheet.losses(a, b) == pytest.approx(plain, rel=1e-5)
    exact = landscape.exact(s, plane, 21)
    assert exact.loss[3, 4] == pytest.approx(s.value(plane.cells(21).point(exact.x.at[4], exact.y.at[3])), rel=1e-5)
