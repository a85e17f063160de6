"""Where a point is, against points that are known: terrains, linear networks, networks that were trained."""

import collections

import pytest
import torch
from torch import nn
from torch.nn.functional import mse_loss
from torch.utils.data import DataLoader, TensorDataset

import steepest as sd
from benchmarks.linear_networks import critical_point
from steepest.looking import SHORT, locate
from steepest.terrain import TERRAINS
from steepest.verdict import (
    DESCENDING,
    DIVERGED,
    EDGE_OF_STABILITY,
    GRADIENT_FLAT,
    MAXIMUM,
    MINIMUM,
    NOISE_FLOOR,
    SADDLE,
    UNDECIDED,
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
    assert on("himmelblau" if point[0] else "bowl", point, products=SHORT).kind == UNDECIDED


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


# -- Linear networks: every critical point is known, and whether its Hessian shows a saddle ----------------------------


def test_critical_points_of_linear_networks():
    """Thirty of them; `python -m benchmarks locate` has a thousand."""
    told = collections.Counter()
    for seed in range(30):
        task, w, kind = critical_point(seed)
        told[kind, locate(task, w, task.model).kind] += 1
    assert {said for known, said in told if known != said} <= {UNDECIDED}, told
    assert sum(n for (known, said), n in told.items() if known == said) == 30, told
    assert all(told[kind, kind] >= 4 for kind in (MINIMUM, SADDLE, UNDECIDED))


# -- Networks and their data -------------------------------------------------------------------------------------------


def regression(noise=0.3, samples=400, seed=0):
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(samples, 5, generator=g)
    y = torch.sin(x @ torch.randn(5, 1, generator=g)) + noise * torch.randn(samples, 1, generator=g)
    return x, y


def network(width=16):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, width), nn.Tanh(), nn.Linear(width, 1))


def regressed(tmp_path, **given):
    data = regression()
    task = sd.Task(network(), data, mse_loss, validation=regression(seed=1))
    return task, sd.fit(task, runs=tmp_path, seed=0, **{"schedule": "constant", "batch_size": 40, **given})


def test_a_young_run_is_still_descending(tmp_path):
    task, run = regressed(tmp_path, rule="adam", lr=1e-3, epochs=2)
    assert run.verdict.kind == DESCENDING
    assert sd.locate(task, run).kind == DESCENDING
    assert sd.open(run.id, tmp_path).verdict == run.verdict


def test_small_batches_at_a_constant_rate_end_on_the_noise_floor(tmp_path):
    task, run = regressed(tmp_path, rule="gradient_descent", lr=0.3, batch_size=4, epochs=60)
    assert run.verdict.kind == NOISE_FLOOR, str(run.verdict)
    assert "at a rate of 0.3" in run.verdict.sentence
    found = sd.locate(task, run)
    assert found.kind == NOISE_FLOOR
    assert found.number("gain of ten calm steps").low > 0
    assert found.number("batch sharpness").reference == pytest.approx(2 / 0.3)


def test_full_batches_end_at_the_edge_of_stability(tmp_path):
    task, run = regressed(tmp_path, rule="gradient_descent", lr=0.5, batch_size="full", steps=1500, guard=False)
    assert run.verdict.kind == EDGE_OF_STABILITY, str(run.verdict)
    assert run.verdict.number("sharpness").reference == pytest.approx(2 / 0.5)
    assert sd.locate(task, run).kind == EDGE_OF_STABILITY


def test_a_loaders_batches_are_not_taken_for_full_ones(tmp_path):
    data = DataLoader(TensorDataset(*regression()), batch_size=20)
    task = sd.Task(network(), data, mse_loss, validation=regression(seed=1))
    run = sd.fit(task, rule="gradient_descent", lr=0.5, schedule="constant", epochs=20, runs=tmp_path)
    assert run.verdict.kind != EDGE_OF_STABILITY
    assert sd.locate(task, run).number("batch sharpness").reference == pytest.approx(2 / 0.5)


def test_a_network_that_generalises_is_not_called_a_saddle(tmp_path):
    task, run = regressed(tmp_path, rule="adam", lr=1e-2, epochs=60, schedule="cosine")
    assert run.verdict.kind in (UNDECIDED, DESCENDING)
    assert sd.locate(task, run).kind in (UNDECIDED, DESCENDING)


def test_equal_neurons_sit_on_a_saddle():
    x, y = regression(noise=0.0)
    x, y = torch.cat([x, -x]), torch.cat([y, -y])  # so that the biases have no gradient
    model = network()
    task = sd.Task(model, (x, y), mse_loss, validation=(x, y))
    zero = torch.zeros(sum(p.numel() for p in model.parameters()))
    assert sd.locate(task, zero).kind == SADDLE


def test_a_model_is_left_as_it_was(tmp_path):
    task, run = regressed(tmp_path, rule="adam", lr=1e-3, epochs=1)
    before, state = {n: p.clone() for n, p in task.model.state_dict().items()}, torch.get_rng_state()
    sd.locate(task, run)
    sd.locate(task, run.point)
    assert all(torch.equal(p, before[n]) for n, p in task.model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)


def test_a_loss_that_is_no_mean_over_samples_is_taken_apart_by_batches():
    x, y = regression()
    model = network()
    task = sd.Task(model, (x, y), lambda output, target: (output - target).square().mean().sqrt(), validation=(x, y))
    found = sd.locate(task)
    assert found.kind == DESCENDING
    assert found.number("loss").low < found.number("loss").value < found.number("loss").high


# -- What cannot be looked at ------------------------------------------------------------------------------------------


def test_a_point_that_is_not_finite_has_diverged():
    assert on("bowl", (float("nan"), 0.0)).kind == DIVERGED
    assert on("rosenbrock", (1e200, 0.0)).kind == DIVERGED


def test_a_point_of_another_shape_is_refused():
    with pytest.raises(sd.InputError, match=r"shape \(3,\).*2 weights"):
        on("bowl", (0.0, 0.0, 0.0))


def test_too_few_samples_are_refused():
    x, y = regression(samples=12)
    task = sd.Task(network(), (x, y), mse_loss, validation=(x, y))
    with pytest.raises(sd.InputError, match=r"12 samples.*at least 16"):
        sd.locate(task)


def test_a_rule_without_its_rate_is_refused():
    x, y = regression()
    with pytest.raises(sd.InputError, match="give the other one too"):
        sd.locate(sd.Task(network(), (x, y), mse_loss), rule=sd.adam())


class Twice(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return 2 * x

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, g):
        return 2 * g


class Doubling(nn.Module):
    def forward(self, x):
        return Twice.apply(x)


def test_a_run_without_a_second_derivative_ends_all_the_same(tmp_path):
    x, y = regression()
    model = nn.Sequential(nn.Linear(5, 4), nn.Tanh(), Doubling(), nn.Linear(4, 1))
    task = sd.Task(model, (x, y), mse_loss, validation=(x, y))
    run = sd.fit(task, rule="adam", epochs=1, runs=tmp_path)
    assert run.status == "done"
    assert run.verdict is None
    with pytest.raises(sd.TaskError, match="second derivative"):
        sd.locate(task, run)
