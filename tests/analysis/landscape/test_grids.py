"""Planes and the losses on them: against losses evaluated one by one, and surfaces of known shape."""

import math
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy, mse_loss

from steepest.analysis.landscape.grids import TOLERANCE, estimate_grid, exact_grid
from steepest.analysis.landscape.planes import (
    Plane,
    curvature_plane,
    describe_random_plane,
    principal_plane,
    random_curvature,
    random_plane,
    random_walk_shares,
)
from steepest.curvature.loss_function import LossFunction
from steepest.errors import InputError, TaskError
from steepest.records.surfaces import Axis, Grid
from steepest.rules.textbook import momentum
from steepest.rules.update import Update
from steepest.tasks.task import Task
from steepest.tasks.terrains import TERRAINS
from tests.analysis.landscape.test_plane_loss import Tied, TwoInputs, net
from tests.oracles import Tensors, loss_under


def drawn(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


X, Y = drawn(40, 6), torch.arange(40) % 3
IMAGES = X.view(40, 1, 2, 3)
MODELS = {
    "dense": (lambda: net(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3)), X),
    "convolution": (lambda: net(nn.Conv2d(1, 4, 2), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(8, 3)), IMAGES),
    "dropout": (lambda: net(nn.Linear(6, 8), nn.Dropout(0.5), nn.Tanh(), nn.Linear(8, 3)), X),
    "no first layer": (lambda: net(nn.LayerNorm(6), nn.Linear(6, 3)), X),
    "two inputs": (lambda: TwoInputs(), X),
    "tied": (lambda: Tied(), X),
}
AFFINE = {"dense": 1, "convolution": 1, "dropout": 1, "no first layer": 0, "two inputs": 1, "tied": 1}


def surface(name="dense", dtype=torch.float64):
    model, x = MODELS[name]
    task = Task(model=model(), loss=cross_entropy, data=(x.float(), Y))
    return LossFunction(task, [(x[:25].float(), Y[:25]), (x[25:].float(), Y[25:])], dtype)


def plane_through(one, two, three, length=1.15):
    """The plane with its origin at the first point, through two others."""
    axis = Axis("", -0.15, length, 51)
    return Plane("points", one, torch.stack([two - one, three - one]), axis, axis, "")


def across(s, seed=1):
    return random_plane(s.start, s.space.shapes, seed)


def slowly(s, plane, n):
    plane = plane.with_cells(n)
    return np.array([[s.value(plane.point(a, b)) for a in plane.x.at] for b in plane.y.at])


def test_a_grid_lies_as_its_axes_say():
    s = surface()
    plane = across(s)
    grid = exact_grid(s, plane, 5)
    assert grid.loss == pytest.approx(slowly(s, plane, 5), rel=1e-12)
    assert grid.error is None
    assert grid.loss[2, 2] == pytest.approx(s.value(s.start), rel=1e-12)


def test_an_objective_of_its_own():
    task = Task(model=MODELS["dense"][0](), objective=lambda m, b: mse_loss(m(b[0]), b[0][:, :3]), data=(X.float(), Y))
    s = LossFunction(task, [(X.float(), Y)])
    plane = across(s)
    assert exact_grid(s, plane, 4).loss == pytest.approx(slowly(s, plane, 4), rel=1e-12)
    assert estimate_grid(s, plane, 11).loss == pytest.approx(slowly(s, plane, 11), rel=0.05)


def test_what_diverged_is_kept_as_infinite():
    s = surface(dtype=torch.float32)
    plane = across(s)
    far = replace(plane, x=plane.x._replace(hi=1e30))
    for grid in (exact_grid(s, far, 5), estimate_grid(s, far, 5)):
        assert np.isinf(grid.loss).any()
        assert np.isfinite(grid.loss).any()
        assert not np.isnan(grid.loss).any()
        assert math.isfinite(grid.range)


# -- errors that are said ----------------------------------------------------------------------------------------------


def bigger(n, dtype=torch.float64):
    """A surface on so many samples of a noisy problem, at its minimum over some steps."""
    x = drawn(n, 6, seed=5)
    y = (x[:, 0] + 0.5 * drawn(n, seed=6) > 0).long() + (x[:, 1] > 1)
    task = Task(model=MODELS["dense"][0](), loss=cross_entropy, data=(x.float(), y))
    return LossFunction(task, [(x.float(), y)], dtype)


def test_the_estimate_is_as_far_off_as_it_says():
    s = bigger(600)
    scores, worst = [], []
    for seed in range(6):
        plane = across(s, seed)
        exact, found = exact_grid(s, plane, 21), estimate_grid(s, plane, 21, seed=seed)
        some = found.error > 0
        assert (found.loss - exact.loss)[~some] == pytest.approx(0, abs=1e-12)
        assert found.error.max() <= TOLERANCE * exact.range * 1.01
        scores.append(((found.loss - exact.loss)[some] / found.error[some]).ravel())
        worst.append(np.abs(found.loss - exact.loss).max() / exact.range)
    scores = np.concatenate(scores)
    assert 0.6 < np.sqrt(np.mean(scores**2)) < 1.4
    assert np.mean(np.abs(scores) < 2) > 0.9
    assert max(worst) < 4 * TOLERANCE


def test_a_finer_tolerance_takes_more_samples_until_it_is_exact():
    s = bigger(200)
    plane = across(s)
    exact = exact_grid(s, plane, 21)
    fine = estimate_grid(s, plane, 21, tolerance=1e-9)
    assert fine.loss == pytest.approx(exact.loss, rel=1e-10)
    assert fine.error.max() == 0


def test_a_loss_that_is_no_mean_has_no_estimate():
    def loss(output, target):
        return cross_entropy(output, target) + output.mean(0).square().sum()

    s = LossFunction(Task(model=MODELS["dense"][0](), loss=loss, data=(X.float(), Y)), [(X.float(), Y)])
    assert exact_grid(s, across(s), 3).loss == pytest.approx(slowly(s, across(s), 3), rel=1e-10)
    with pytest.raises(TaskError, match="Use exact_grid"):
        estimate_grid(s, across(s), 11)


# -- planes ------------------------------------------------------------------------------------------------------------


class Quadratic(nn.Module):
    """½ Σ λᵢ wᵢ², at its critical point."""

    def __init__(self, curvatures) -> None:
        super().__init__()
        self.curvatures = curvatures
        self.w = nn.Parameter(torch.zeros(len(curvatures), dtype=torch.float64))

    def forward(self):
        return 0.5 * (self.curvatures * self.w.square()).sum()


def quadratic(curvatures):
    values = torch.tensor(curvatures, dtype=torch.float64)
    return LossFunction(Task(model=Quadratic(values), objective=lambda m, _: m()), [None])


@pytest.mark.parametrize(
    ("curvatures", "words"),
    [
        (
            (412.0, -0.83),
            "λ = 412 and −0.83. The axes have different scales: one spans 22.3× the distance of the other.",
        ),
        ((0.25, -8.5e-9), "λ = 0.25 and about 0. The axes have different scales: one spans 1,000× the distance"),
        ((2.0, 1.0), "λ = 2 and 1."),
    ],
)
def test_the_caption_of_the_curvature_plane_has_numbers_that_can_be_read(curvatures, words):
    plane = curvature_plane(torch.zeros(4), torch.eye(4)[:2], curvatures, change=0.1)
    assert plane.caption.startswith(f"Largest and smallest curvature, {words}")


def test_a_saddle_looks_like_one_on_the_curvature_plane():
    s = quadratic([412.0, -0.83, 5.0, 1.0])
    plane = curvature_plane(s.start, torch.eye(4, dtype=torch.float64)[:2], (412.0, -0.83), change=0.1)
    grid = exact_grid(s, plane, 51)
    along_x, along_y = grid.loss[25], grid.loss[:, 25]
    assert along_x[[0, -1]] == pytest.approx(0.1)
    assert along_y[[0, -1]] == pytest.approx(-0.1)
    assert (np.diff(along_x, 2) > 0).all()
    assert (np.diff(along_y, 2) < 0).all()
    assert grid.loss.max() == pytest.approx(0.1)
    assert "different scales" in grid.caption
    assert grid.y.hi / grid.x.hi == pytest.approx(math.sqrt(412 / 0.83))


def test_a_random_plane_hides_a_saddle_and_says_so():
    """900 curvatures of +1 and 100 of −1: the slice curves 0.80 ± 0.027, far from −1."""
    s = quadratic([1.0] * 900 + [-1.0] * 100)
    found = []
    for seed in range(300):
        u = drawn(2, 1000, seed=seed)
        found.append(s.value(u[0] / u[0].norm()) * 2)
    assert np.mean(found) == pytest.approx(0.80, abs=0.005)
    assert np.std(found) == pytest.approx(0.027, abs=0.003)
    assert random_curvature(800.0, 1000.0, 1000) == pytest.approx((0.8, 0.0268), abs=1e-4)
    words = describe_random_plane(800.0, 1000.0, 1000, -1.0)
    assert "0.80 ± 0.027" in words
    assert "shows a bowl although the point is a saddle" in words
    assert describe_random_plane(1000.0, 1000.0, 1000, 1.0) == ""
    grid = exact_grid(s, plane_through(s.start, *(s.start + drawn(2, 1000, seed=3))), 21)
    assert grid.loss.min() > 0
    down = torch.eye(1000, dtype=torch.float64)[[0, -1]]
    seen = exact_grid(s, curvature_plane(s.start, down, (1.0, -1.0), change=0.5), 21)
    assert seen.loss.min() == pytest.approx(-0.5)


def test_filters_have_the_norms_of_the_weights():
    s = surface("convolution")
    plane = across(s)
    for direction in plane.directions:
        for d, w, shape in zip(
            direction.split(list(s.space.sizes)), s.start.split(list(s.space.sizes)), s.space.shapes
        ):
            if len(shape) < 2:
                assert not d.any()
            else:
                assert d.view(shape[0], -1).norm(dim=1) == pytest.approx(w.view(shape[0], -1).norm(dim=1))
    assert plane.x.scale == pytest.approx(float(plane.directions[0].norm()))
    assert not torch.equal(plane.directions[0], across(s, 2).directions[0])


def test_the_principal_plane_holds_a_path_that_lies_in_one():
    u, v = torch.linalg.qr(drawn(30, 2)).Q.T
    t = torch.linspace(0, 6, 40, dtype=torch.float64)[:, None]
    path = drawn(30, seed=2) + 3 * torch.cos(t) * u + torch.sin(t) * v
    plane = principal_plane(path)
    projection = plane.project(path)
    assert np.abs(projection.off).max() < 1e-12
    for k in (0, 17, 39):
        assert plane.point(projection.x[k], projection.y[k]) == pytest.approx(path[k])
    assert (projection.x[-1], projection.y[-1]) == pytest.approx((0, 0), abs=1e-12)
    inside = plane.x.lo < projection.x.min() < projection.x.max() < plane.x.hi
    assert inside
    assert plane.y.lo < projection.y.min()
    off = drawn(30, seed=9)
    off -= (off @ u) * u + (off @ v) * v
    assert plane.project((path[3] + off)[None]).off == pytest.approx([off.norm().item()])


def test_a_random_walk_has_the_share_that_is_said():
    assert random_walk_shares(5000) == pytest.approx((6 / math.pi**2, 6 / math.pi**2 / 4), rel=1e-3)
    caption = principal_plane(drawn(300, 6000).cumsum(0)).caption
    shares = [float(x) for x in re.findall(r"([0-9.]+) %", caption)]
    assert shares == pytest.approx([60.8, 15.2, 60.8, 15.2], abs=1.5)


def test_so_have_several_from_one_start():
    walks = [torch.cat([torch.zeros(1, 6000), drawn(n - 1, 6000, seed=n).cumsum(0)]) for n in (150, 100, 80)]
    caption = principal_plane(torch.cat(walks), [150, 100, 80]).caption
    shares = [float(x) for x in re.findall(r"([0-9.]+) %", caption)]
    assert shares[:2] == pytest.approx(shares[2:], abs=1.5)
    assert shares[2] < 55
    assert "the paths: " in caption


@pytest.mark.parametrize("name", ["bowl", "ravine", "rosenbrock", "himmelblau", "beale", "saddle"])
def test_path_and_surface_agree_within_the_error_that_is_said(name):
    """On a terrain every point lies in the plane."""
    terrain = TERRAINS[name]
    s = LossFunction(Task(model=terrain.model(), objective=lambda m, _: m()), [None])
    w = torch.tensor(terrain.start, dtype=torch.float64, requires_grad=True)
    update, points, losses = Update(Tensors({"w": w}), momentum()), [], []
    for _ in range(60):
        loss = terrain.f(w)
        points.append(w.detach().clone())
        losses.append(loss.item())
        w.grad = torch.autograd.grad(loss, w)[0]
        update.advance({**momentum.hypers, "lr": 2e-4})
    path = torch.stack(points)
    plane = plane_through(path[-1], path[0], path[-1] + torch.tensor([0.3, 0.2]) + (path[0] - path[-1]).flip(0))
    grid = exact_grid(s, plane, 51)
    projection = plane.project(path)
    assert np.abs(projection.off).max() < 1e-12
    seen = [loss_under(grid, x, y) for x, y in zip(projection.x, projection.y)]
    inside = [(loss, z, error) for loss, (z, error) in zip(losses, seen) if math.isfinite(z)]
    assert len(inside) > 20
    for loss, z, error in inside:
        assert abs(z - loss) <= error + 1e-12
        assert error <= 0.02 * grid.range
    assert math.isnan(loss_under(grid, plane.x.hi + 1, 0)[0])


def test_between_cells_a_standard_error_counts_twice():
    axis = Axis("", 0.0, 2.0, 3)
    flat = Grid("points", axis, axis, np.ones((3, 3)), np.full((3, 3), 0.25), "")
    assert loss_under(flat, 0.3, 1.7) == (pytest.approx(1.0), 0.5)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (lambda w: principal_plane(w[:2]), "at least 3 points"),
        (lambda w: principal_plane(torch.stack([w[0], 2 * w[0], 3 * w[0]])), "on a line"),
        (lambda w: curvature_plane(w[0], w[:2], (1.0, -1.0), 0.0), "must be positive"),
        (lambda w: curvature_plane(w[0], w[:2], (0.0, 0.0), 1.0), "random plane"),
        (lambda w: curvature_plane(w[0], 0 * w[:2], (1.0, -1.0), 1.0), "positive length"),
        (lambda w: random_plane(w[0], [(20,)]), "two or more dimensions"),
        (lambda w: exact_grid(surface(), across(surface()), 1), "at least 2"),
        (lambda w: estimate_grid(surface(), across(surface()), 3), "at least 4"),
        (lambda w: estimate_grid(surface(), across(surface()), 9, tolerance=0), "tolerance positive"),
    ],
)
def test_what_cannot_be_meant(wrong, words):
    with pytest.raises(InputError, match=words):
        wrong(drawn(3, 20))
