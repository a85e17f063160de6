"""Gradient noise: unbiased, and intervals that cover what they say, on problems whose noise is known."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import binom, t

from steepest.curvature.gradient_noise import block_gradients, critical_batch_size, disjoint, gradient_noise
from steepest.curvature.loss_function import LossFunction
from steepest.errors import InputError
from steepest.records.verdict import Estimate
from steepest.tasks.task import Task

REPETITIONS = 600
LEAST = int(binom.ppf(0.005, REPETITIONS, 0.95))
"""Intervals that cover, of 95 % ones that do what they say: fewer come out once in 200 times."""


class Regression:
    """y = θ·x + σ ε, x ~ N(0, C): L(w) = E (w·x − y)² / 2 has G = C d and, with d = w − θ,

    Σ = C (dᵀC d + σ²) + C d dᵀ C        (Isserlis; one sample's gradient is x (d·x − σ ε))
    """

    def __init__(self, spectrum: np.ndarray, distance: float, sigma: float = 1.0) -> None:
        self.c, self.sigma = spectrum, sigma
        self.d = np.full(len(spectrum), distance / math.sqrt(len(spectrum)))
        self.g = self.c * self.d
        self.cov = np.diag(self.c) * (self.d @ self.g + sigma**2) + np.outer(self.g, self.g)
        self.squared_norm, self.trace = self.g @ self.g, np.trace(self.cov)

    def gradients(self, rng: np.random.Generator, blocks: int, samples: int) -> torch.Tensor:
        x = rng.standard_normal((blocks, samples, len(self.c))) * np.sqrt(self.c)
        error = x @ self.d - self.sigma * rng.standard_normal((blocks, samples))
        return torch.from_numpy((x * error[..., None]).mean(1))


def covers(estimate: Estimate, truth: float) -> bool:
    return estimate.low <= truth <= estimate.high


FLAT, STEEP = np.ones(20), 4.0 ** -np.arange(8)


@pytest.mark.parametrize("blocks", [8, 16])
@pytest.mark.parametrize("distance", [0.0, 0.3, 3.0])
@pytest.mark.parametrize("spectrum", [FLAT, STEEP], ids=["flat", "steep"])
def test_intervals_cover_in_linear_regression(spectrum, distance, blocks):
    problem, rng = Regression(spectrum, distance), np.random.default_rng(1)
    result = [gradient_noise(problem.gradients(rng, blocks, 25), [25] * blocks) for _ in range(REPETITIONS)]
    scale = problem.trace / problem.squared_norm if distance else math.inf
    assert sum(covers(n.squared_norm, problem.squared_norm) for n in result) >= LEAST
    assert sum(covers(n.trace, problem.trace) for n in result) >= LEAST
    assert sum(covers(n.scale, scale) for n in result) >= LEAST
    norms = np.array([n.squared_norm.value for n in result])
    traces = np.array([n.trace.value for n in result])
    for values, truth in ((norms, problem.squared_norm), (traces, problem.trace)):
        assert abs(values.mean() - truth) < 4 * values.std() / math.sqrt(REPETITIONS)


@pytest.mark.parametrize("distance", [0.3, 3.0])
def test_the_critical_batch_size_covers(distance):
    problem, rng = Regression(STEEP, distance), np.random.default_rng(2)
    hessian = torch.diag(torch.from_numpy(problem.c))
    p = torch.linspace(1, 3, len(problem.c), dtype=torch.float64)
    metric = np.diag(problem.c / p.numpy() ** 2)
    truth = np.trace(metric @ problem.cov) / (problem.g @ metric @ problem.g)
    hits = 0
    for _ in range(REPETITIONS):
        hits += covers(critical_batch_size(problem.gradients(rng, 16, 25), [25] * 16, hessian, p), truth)
    assert hits >= LEAST


def test_of_equal_curvature_it_is_the_simple_scale():
    g = Regression(FLAT, 1.0).gradients(np.random.default_rng(3), 16, 25)
    simple = gradient_noise(g, [25] * 16).scale
    assert critical_batch_size(g, [25] * 16, 7.0 * torch.eye(20, dtype=torch.float64)) == pytest.approx(simple)


def test_unequal_blocks_are_unbiased():
    problem, rng, sizes = Regression(STEEP, 0.5), np.random.default_rng(4), [5, 10, 20, 40] * 3
    result = []
    for _ in range(REPETITIONS):
        g = torch.cat([problem.gradients(rng, 1, n) for n in sizes])
        noise = gradient_noise(g, sizes)
        result.append((noise.squared_norm.value, noise.trace.value))
    values = np.array(result)
    errors = 4 * values.std(0) / math.sqrt(REPETITIONS)
    assert (abs(values.mean(0) - [problem.squared_norm, problem.trace]) < errors).all()


def test_jackknife_is_that_of_leaving_blocks_out():
    g, sizes = Regression(STEEP, 2.0).gradients(np.random.default_rng(5), 12, 9), [9] * 12
    whole = gradient_noise(g, sizes).trace
    without = [gradient_noise(g[torch.arange(12) != k], sizes[1:]).trace.value for k in range(12)]
    error = math.sqrt(11 * np.log(without).var())
    assert math.log(whole.high / whole.low) / 2 == pytest.approx(t.ppf(0.975, 11 / 3) * error)


def test_without_signal_the_scale_has_no_upper_end():
    noise = gradient_noise(Regression(FLAT, 0.0).gradients(np.random.default_rng(6), 16, 25), [25] * 16)
    assert noise.scale.high == math.inf
    assert noise.squared_norm.low < 0 < noise.squared_norm.high


def test_without_noise_it_is_exact():
    noise = gradient_noise(torch.ones(16, 3, dtype=torch.float64), [4] * 16)
    assert noise.squared_norm == pytest.approx(Estimate(3, 3, 3))
    assert noise.trace == noise.scale == Estimate(0, 0, 0)


# -- From a task -------------------------------------------------------------------------------------------------------


def regression_task(samples: int = 400) -> Task:
    generator = torch.Generator().manual_seed(7)
    x = torch.randn(samples, 5, generator=generator)
    y = x.sum(1, keepdim=True) + torch.randn(samples, 1, generator=generator)
    model = torch.nn.Linear(5, 1)
    return Task(model=model, loss=torch.nn.functional.mse_loss, data=(x, y), validation=(x[:9], y[:9]))


def test_blocks_are_disjoint_and_their_mean_is_the_gradient():
    task = regression_task()
    batches = disjoint(task)
    rows = torch.cat([x for x, _ in batches])
    assert len(torch.unique(rows, dim=0)) == len(rows) == 400
    w = torch.linspace(-1, 1, 6, dtype=torch.float64)
    gradients, sizes = block_gradients(task, w, batches)
    assert sizes == [25.0] * 16
    whole = LossFunction(task, [task.data]).gradient(w)[1]
    torch.testing.assert_close(gradients.mean(0), whole)


def test_a_dataset_gives_the_same_blocks():
    task = regression_task()
    other = Task(
        model=task.model, loss=task.loss, data=torch.utils.data.TensorDataset(*task.data), validation=task.validation
    )
    for (x, _), (z, _) in zip(disjoint(task, samples=100), disjoint(other, samples=100)):
        assert torch.equal(x, z)


def test_too_little_is_refused():
    with pytest.raises(InputError, match="16 blocks needs at least 1 sample, got 0"):
        disjoint(regression_task(12))
    with pytest.raises(InputError, match="blocks must be at least 8, got 4"):
        disjoint(regression_task(), blocks=4)
    with pytest.raises(InputError, match="blocks must be at least 8, got 4"):
        gradient_noise(torch.ones(4, 3), [1] * 4)
    with pytest.raises(InputError, match="8 blocks, got 9"):
        gradient_noise(torch.ones(8, 3), [1] * 9)
    with pytest.raises(InputError, match="gradients must be finite"):
        gradient_noise(torch.full((8, 3), math.nan), [1] * 8)
    with pytest.raises(InputError, match=r"between 0 and 1.*got 95"):
        gradient_noise(torch.ones(8, 3), [1] * 8, level=95)
    with pytest.raises(InputError, match="must be tensors or a Dataset"):
        disjoint(Task(model=torch.nn.Linear(1, 1), objective=lambda model, batch: model.weight.sum()))
