"""Escaping a saddle: by noise that has a component along the way out; never where a symmetry forbids one."""

import itertools
import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.autograd.functional import hessian, jacobian

import steepest as sd
from benchmarks.geometry.critical import Quartic, factorisation_point, factorisation_points, field, morse
from steepest.curvature.loss_function import LossFunction

RATE, OUT = 0.1, 0.5
GROWTH = math.log(1 + RATE)
SEEDS = 16


class Pass(nn.Module):
    """(x² − y²) / 2 + y⁴ / 4 + noise · y: a saddle between two valleys, at the saddle's side."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.tensor([1.0, 0.0], dtype=torch.float64))

    def forward(self, noise: Tensor) -> Tensor:
        x, y = self.w
        return (x**2 - y**2) / 2 + y**4 / 4 + (noise * y).mean()


def crossing(noise: Tensor) -> sd.Task:
    """The pass, each sample with a slope of its own along y; in pairs, so that all of them have none."""
    data = torch.cat([noise, -noise])
    return sd.Task(model=Pass(), data=(data,), objective=lambda model, batch: model(batch[0]), validation=(data[:1],))


def normal(sigma: float, seed: int = 0) -> Tensor:
    return sigma * torch.randn(2048, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def time_to_leave(task: sd.Task, batch_size: int | str, seed: int = 0, steps: int = 1000) -> float:
    """The first step after which |y| > 1/2; infinite where it never is."""
    given = {"rule": sd.gradient_descent, "lr": RATE, "schedule": "constant", "batch_size": batch_size}
    for step in sd.descend(task, **given, steps=steps, seed=seed):
        if abs(task.model.w[1].item()) > OUT:
            return step.t
    return math.inf


def expected_time(sigma: float) -> float:
    """Of noise of deviation σ a step: y grows by 1 + α a step, from an amplitude of deviation ασ / √((1 + α)² − 1).

    E log|N(0, 1)| = −(γ + log 2) / 2, and the way from 10⁻⁹ tells by how much y⁴ / 4 delays.
    """
    y, delay = 1e-9, -math.log(OUT / 1e-9) / GROWTH
    while y <= OUT:
        y, delay = y + RATE * (y - y**3), delay + 1
    amplitude = RATE * sigma / math.sqrt((1 + RATE) ** 2 - 1)
    return (math.log(OUT / amplitude) + (np.euler_gamma + math.log(2)) / 2) / GROWTH + delay


# -- A way out with noise along it -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("sigma", "batch_size"), [(1e-2, 1), (1e-5, 1), (1e-2, 16)])
def test_time_to_leave_is_logarithmic_in_the_noise(sigma, batch_size):
    times = np.array([time_to_leave(crossing(normal(sigma)), batch_size, seed) for seed in range(SEEDS)])
    error = math.pi / math.sqrt(8) / GROWTH / math.sqrt(SEEDS)  # of a mean: log|N(0, 1)| has the deviation π / √8
    assert times.mean() == pytest.approx(expected_time(sigma / math.sqrt(batch_size)), abs=3 * error)


def test_full_batch_stays_until_rounding_ejects_it():
    """What is left of slopes that cancel is rounding, some 10⁻¹⁷: noise as any other, only smaller."""
    task = crossing(normal(1e-2))
    given = {"rule": sd.gradient_descent, "lr": RATE, "schedule": "constant", "batch_size": "full"}
    *_, last = sd.descend(task, **given, steps=200)
    assert last.loss == pytest.approx(0, abs=1e-9)
    assert abs(task.model.w[1].item()) < 1e-6
    assert expected_time(1e-15) < time_to_leave(crossing(normal(1e-2)), "full") < expected_time(1e-20)


def test_full_batch_never_leaves_where_rounding_is_exact():
    """Slopes of ±1/64 cancel to the bit."""
    task = crossing(torch.full((256,), 2.0**-6, dtype=torch.float64))
    assert time_to_leave(task, "full", steps=2000) == math.inf
    assert task.model.w[1].item() == 0
    assert time_to_leave(task, 1) < 100


# -- Saddles that a symmetry holds -------------------------------------------------------------------------------------


def wave() -> tuple[Tensor, Tensor]:
    x = torch.linspace(-1, 1, 128, dtype=torch.float64)[:, None]
    return x, torch.sin(4 * x)


def neurons(equal: bool) -> nn.Module:
    """Eight hidden units, all alike or all at random."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        net = nn.Sequential(nn.Linear(1, 8), nn.Tanh(), nn.Linear(8, 1)).double()
    if equal:
        for p in (net[0].weight, net[0].bias, net[2].weight.T):
            p.data[:] = p.data[:1].clone()
    return net


def trained(net: nn.Module, data: tuple[Tensor, Tensor], batch_size: int | str, lr: float, steps: int) -> float:
    """Loss on all the data after momentum, the rate falling to 0."""
    task = sd.Task(model=net, loss=nn.functional.mse_loss, data=data, validation=data)
    for _ in sd.descend(task, sd.momentum, lr=lr, schedule="cosine", batch_size=batch_size, steps=steps, no_decay=None):
        pass
    return nn.functional.mse_loss(net(data[0]), data[1]).item()


@pytest.mark.parametrize("batch_size", [1, "full"])
def test_equal_neurons_stay_equal_at_any_batch_size(batch_size):
    net, free = neurons(equal=True), neurons(equal=False)
    held = trained(net, wave(), batch_size, 0.02, 1500)
    assert (net[0].weight - net[0].weight[:1]).abs().max() < 1e-9
    assert (net[2].weight - net[2].weight[:, :1]).abs().max() < 1e-9
    assert trained(free, wave(), batch_size, 0.02, 1500) < held / 3


SINGULAR = (3.0, 2.0, 1.0)


def linear(live: int | None) -> nn.Module:
    """Two linear layers of three units, of which some are at 0; None has none of them there."""
    with torch.random.fork_rng():
        torch.manual_seed(4)
        net = nn.Sequential(nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False)).double()
    if live is not None:
        net[0].weight.data[live:] = 0
        net[1].weight.data[:, live:] = 0
    return net


def whitened() -> tuple[Tensor, Tensor]:
    """xxᵀ has the mean 1, and y = Ax; mean squared error is then 2/3 of ‖W₂W₁ − A‖² / 2."""
    g = torch.Generator().manual_seed(5)
    x, _ = torch.linalg.qr(torch.randn(60, 3, dtype=torch.float64, generator=g))
    x = x * math.sqrt(60)
    return x, x * torch.tensor(SINGULAR, dtype=torch.float64)


@pytest.mark.parametrize("batch_size", [1, "full"])
@pytest.mark.parametrize("live", [1, 2])
def test_units_at_zero_stay_there_at_any_batch_size(live, batch_size):
    net, data = linear(live), whitened()
    saddle = factorisation_point(SINGULAR, range(live), width=3)
    loss = trained(net, data, batch_size, 0.01, 500)
    assert (net[0].weight[live:] == 0).all()
    assert (net[1].weight[:, live:] == 0).all()
    assert loss >= 2 / 3 * saddle.loss * (1 - 1e-9)
    if batch_size == "full":
        assert loss == pytest.approx(2 / 3 * saddle.loss, rel=1e-6)
        task = sd.Task(model=net, loss=nn.functional.mse_loss, data=data, validation=data)
        surface = LossFunction(task, [data])
        curvatures = torch.linalg.eigvalsh(dense(surface))
        assert int((curvatures < -1e-3).sum()) == saddle.index > 0
    assert trained(linear(None), data, batch_size, 0.01, 500) < 1e-3 * loss


def dense(surface: LossFunction) -> Tensor:
    h = surface.hessian(surface.start)
    found = torch.stack([h @ e for e in torch.eye(surface.size, dtype=torch.float64)])
    return (found + found.T) / 2


# -- How many critical points are saddles ------------------------------------------------------------------------------


def factors(singular: tuple[float, ...], held: tuple[int, ...], width: int, shape: tuple[int, int]) -> Tensor:
    """W₂ and W₁ of a critical point as one vector, mixed by a random G."""
    g = torch.Generator().manual_seed(6)
    mixing = torch.randn(width, width, dtype=torch.float64, generator=g) + 2 * torch.eye(width)
    w2, w1 = torch.zeros(shape[0], width, dtype=torch.float64), torch.zeros(width, shape[1], dtype=torch.float64)
    for unit, i in enumerate(held):
        w2[i, unit] = w1[unit, i] = math.sqrt(singular[i])
    return torch.cat([(w2 @ mixing).reshape(-1), (torch.linalg.inv(mixing) @ w1).reshape(-1)])


@pytest.mark.parametrize("width", [1, 2, 3, 4])
@pytest.mark.parametrize("shape", [(3, 3), (4, 3)])
def test_index_of_factorisations_is_that_of_the_hessian(width, shape):
    singular = (2.0, 1.2, 0.7)
    a = torch.zeros(shape, dtype=torch.float64)
    a[range(3), range(3)] = torch.tensor(singular, dtype=torch.float64)

    def loss(w: Tensor) -> Tensor:
        w2, w1 = w.split([shape[0] * width, width * shape[1]])
        return (w2.view(shape[0], width) @ w1.view(width, shape[1]) - a).square().sum() / 2

    for size in range(min(width, 3) + 1):
        for held in itertools.combinations(range(3), size):
            w, known = factors(singular, held, width, shape), factorisation_point(singular, held, width)
            assert loss(w).item() == pytest.approx(known.loss)
            assert jacobian(loss, w).abs().max() < 1e-12
            curvatures = torch.linalg.eigvalsh(hessian(loss, w))
            assert int((curvatures < -1e-9).sum()) == known.index


def test_one_factorisation_in_a_power_of_two_is_no_saddle():
    for d in (1, 2, 5, 8):
        points = list(factorisation_points(range(1, d + 1), width=d))
        assert len(points) == 2**d
        assert [p.loss for p in points if p.index == 0] == [0.0]


def test_three_linear_layers_are_flat_at_zero():
    """A saddle whose Hessian does not show it: the way out is of third order."""

    def loss(w: Tensor) -> Tensor:
        return (w[2] * w[1] * w[0] - 1) ** 2 / 2

    zero = torch.zeros(3, dtype=torch.float64)
    assert (hessian(loss, zero) == 0).all()
    assert loss(zero + 0.1) < loss(zero) < loss(zero - 0.1)


def test_a_field_of_one_dimension_has_as_many_minima_as_maxima():
    _, indices, weights = field(1, 100_000)
    assert weights[indices == 0].sum() / weights.sum() == pytest.approx(1 / 2, abs=0.01)
    _, indices, weights = field(2, 100_000)
    assert weights[indices == 1].sum() / weights.sum() == pytest.approx(1 / 2, abs=0.01)


@pytest.mark.parametrize("dimension", [1, 2, 3])
def test_all_critical_points_of_quartics_are_found(dimension):
    rng = np.random.default_rng(7)
    for _ in range(8):
        quartic = Quartic.random(dimension, rng)
        points = quartic.critical_points(300, rng)
        assert morse(points) == 1
        if dimension == 1:
            roots = np.roots([1, quartic.t.item() / 2, quartic.q.item(), quartic.b.item()])
            assert len(points) == int((abs(roots.imag) < 1e-9).sum())


def test_gradient_and_hessian_of_quartics_are_those_of_the_value():
    rng = np.random.default_rng(8)
    quartic, x = Quartic.random(3, rng), rng.standard_normal((1, 3))
    shifts = 1e-5 * np.eye(3)
    slopes = (quartic.value(x + shifts) - quartic.value(x - shifts)) / 2e-5
    np.testing.assert_allclose(slopes, quartic.gradient(x)[0], rtol=1e-6)
    bends = (quartic.gradient(x + shifts) - quartic.gradient(x - shifts)) / 2e-5
    np.testing.assert_allclose(bends, quartic.hessian(x)[0], rtol=1e-6)
