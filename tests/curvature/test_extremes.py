"""What products show of a matrix, against its eigenvalues; of real networks, against scipy and curvlinops."""

import math

import numpy as np
import pytest
import torch
from curvlinops import HessianLinearOperator
from scipy.sparse.linalg import LinearOperator, eigsh
from torch import nn
from torch.nn.functional import cross_entropy

import steepest as sd
from benchmarks.geometry.density import density
from benchmarks.problems import networks
from steepest.curvature.extremes import (
    MAX_DENSE_SIZE,
    Block,
    Krylov,
    certificate_products,
    extremes,
    materialize,
    negative_curvature,
    unit,
)
from steepest.curvature.loss_function import LossFunction
from steepest.errors import InputError
from steepest.tasks.digits import images

REPEATED = 500


class Mirrored:
    """Known eigenvalues in a basis that is not the axes': (I − 2uuᵀ) diag(d) (I − 2uuᵀ)."""

    def __init__(self, values, dtype=torch.float64):
        self.values = torch.as_tensor(values, dtype=torch.float64)
        self.shape, self.dtype, self.device = (len(values), len(values)), dtype, torch.device("cpu")
        u = torch.randn(len(values), generator=torch.Generator().manual_seed(1), dtype=torch.float64)
        self.u = u / u.norm()

    def reflected(self, v):
        return v - 2 * torch.outer(self.u, self.u @ v) if v.dim() == 2 else v - 2 * self.u * (self.u @ v)

    def __matmul__(self, v):
        values = self.values if v.dim() == 1 else self.values[:, None]
        return self.reflected(values * self.reflected(v.double())).to(self.dtype)


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def lanczos(matrix, steps):
    return Krylov(matrix, unit(matrix, 0, "lanczos")).extend(steps)


def symmetric(size, seed=0):
    m = random(size, size, seed=seed)
    return (m + m.T) / math.sqrt(2 * size)


def like_a_network(size):
    """Most eigenvalues next to 0, ten outliers, a few negative."""
    return torch.cat([0.01 * random(size - 13), torch.linspace(1, 9, 10), torch.tensor([-0.3, -0.2, -0.1])])


SPECTRA = {
    "uniform": torch.rand(3000, generator=torch.Generator().manual_seed(0)) - 0.3,
    "network": like_a_network(5000),
    "decaying": 1e-3 + 0.97 ** torch.arange(1000.0),
    "all negative": -1 - torch.rand(800, generator=torch.Generator().manual_seed(0)),
    "small": torch.linspace(-2, 5, MAX_DENSE_SIZE),
    "one above the small": torch.linspace(-2, 5, MAX_DENSE_SIZE + 1),
    "two": torch.tensor([-3.0, 2.0]),
    "one": torch.tensor([-0.7]),
}


@pytest.mark.parametrize("values", SPECTRA.values(), ids=SPECTRA)
def test_extremes_are_the_eigenvalues(values):
    a = Mirrored(values)
    result = extremes(a, products=600, tolerance=1e-9)
    assert result.has_converged
    assert result.products < 600
    for end, true in ((result.least, a.values.min()), (result.greatest, a.values.max())):
        assert abs(end.value - true) <= 1e-5 * abs(true)
        assert end.vector.norm().item() == pytest.approx(1, abs=1e-12)
        actual = (a @ end.vector - end.value * end.vector).norm().item()
        assert actual <= end.residual * (1 + 1e-6) + 1e-13


def test_every_ritz_value_is_near_an_eigenvalue():
    a = symmetric(400)
    true, result = torch.linalg.eigvalsh(a), lanczos(a, 60)
    distance = (result.values[:, None] - true).abs().min(1).values
    assert (distance <= result.residuals).all()
    assert result.weights.sum().item() == pytest.approx(1)


@pytest.mark.parametrize(("products", "exact"), [(3, False), (40, True), (100, True)])
def test_a_basis_that_holds_all_distinct_eigenvalues_is_exhausted(products, exact):
    a = Mirrored(torch.tensor([1.0, 2.0, 3.0, 5.0]).repeat(100))
    result = lanczos(a, products)
    assert result.is_complete == exact
    if exact:
        assert result.values == pytest.approx([1.0, 2.0, 3.0, 5.0], abs=1e-9)


def test_a_zero_matrix_has_no_curvature():
    zero = torch.zeros(500, 500, dtype=torch.float64)
    result = extremes(zero)
    assert (result.least.value, result.greatest.value, result.products) == (0.0, 0.0, 1)
    assert negative_curvature(zero, 1e-3).bound == 0.0
    values, weights = density(zero, 3, 5)
    assert not values.any()
    assert weights.sum() == pytest.approx(1)


# -- Negative curvature ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
def test_a_tenth_of_negative_directions_is_found(seed):
    a = Mirrored(torch.cat([torch.ones(900), -torch.ones(100)]))
    result = negative_curvature(a, 0.1, seed=seed)
    assert result.value == pytest.approx(-1)
    assert result.direction is not None
    assert (result.direction @ (a @ result.direction)).item() == pytest.approx(-1)
    assert result.products <= 3


@pytest.mark.parametrize("size", [1, 2, 30, 1000])
def test_where_there_is_none_a_bound_is_given(size):
    result = negative_curvature(Mirrored(torch.linspace(0, 1, size)), 0.05)
    assert result.direction is None
    assert -0.05 <= result.bound <= 0.0


def test_too_few_products_bound_nothing():
    result = negative_curvature(Mirrored(torch.linspace(0, 1, 1000)), 0.001, products=20)
    assert (result.direction, result.bound, result.products) == (None, -math.inf, 20)


@pytest.mark.parametrize("depth", [1.05, 3.0])
def test_bounds_are_wrong_as_rarely_as_they_say(depth):
    """One direction of negative curvature among 400, at a depth × ε; nothing may be claimed that is not so."""
    epsilon, delta = 0.1, 0.2
    a = Mirrored(torch.cat([torch.tensor([-depth * epsilon]), torch.linspace(0, 1, 399)]))
    result = [negative_curvature(a, epsilon, delta, seed=seed) for seed in range(REPEATED)]
    for one in result:
        if one.direction is not None:
            assert one.value <= -epsilon / 2 + 1e-12
    wrong = sum(one.direction is None and one.bound > -depth * epsilon for one in result)
    assert wrong <= REPEATED * delta


def test_a_certificate_needs_no_more_products_than_one_by_the_norm():
    """Royer, O'Neill and Wright's count for a matrix of known norm M, at M/ε."""
    for ratio in (10, 100, 1000):
        theirs = 1 + math.ceil(math.log(2.75 * 10**6 / 0.01**2) / 2 * math.sqrt(ratio))
        assert certificate_products(10**6, 0.01, 1 / 2, ratio) <= theirs


@pytest.mark.parametrize(("dtype", "epsilon"), [(torch.float32, 1e-5), (torch.float64, 1e-12)])
def test_curvature_beyond_the_precision_is_refused(dtype, epsilon):
    a = Mirrored(torch.linspace(0, 1, 300), dtype)
    with pytest.raises(InputError, match=r"epsilon must be at least .*resolves"):
        negative_curvature(a, epsilon)


def test_products_in_float32_are_enough_for_what_they_resolve():
    a = Mirrored(like_a_network(2000), torch.float32)
    result = extremes(a, 300)
    assert result.has_converged
    assert result.greatest.value == pytest.approx(9, rel=1e-5)
    assert result.least.value == pytest.approx(-0.3, rel=1e-4)


# -- The whole spectrum ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [600, 1200])
def test_quadrature_is_the_density_that_the_probes_see(size):
    a = symmetric(size)
    true, vectors = torch.linalg.eigh(a)
    seen = torch.stack([(vectors.T @ unit(a, 0, "density", i)).square() for i in range(4)]).mean(0)
    grid = torch.linspace(-1.5, 1.5, 31, dtype=torch.float64)[:, None]
    values, weights = density(a, probes=4, steps=100)
    truth = torch.exp(-50 * (grid - true) ** 2) @ seen
    np.testing.assert_allclose(torch.exp(-50 * (grid - values) ** 2) @ weights, truth, rtol=1e-5)


# -- Parts -------------------------------------------------------------------------------------------------------------


def test_a_block_is_the_matrix_of_some_coordinates():
    a = symmetric(300)
    block = Block(a, slice(100, 140))
    assert torch.equal(materialize(block), a[100:140, 100:140])
    assert extremes(block).greatest.value == pytest.approx(torch.linalg.eigvalsh(a[100:140, 100:140])[-1].item())


class Broken:
    shape, dtype, device = (300, 300), torch.float64, torch.device("cpu")

    def __matmul__(self, v):
        return v * float("nan")


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: extremes(symmetric(4), products=0), "products must be at least 1, got 0"),
        (lambda: extremes(Broken()), "not finite"),
    ],
)
def test_what_cannot_be_meant_is_refused(call, words):
    with pytest.raises(InputError, match=words):
        call()


# -- Real networks -----------------------------------------------------------------------------------------------------


def pictures(n=120):
    x, y = images()
    return x[:n].reshape(-1, 1, 8, 8), y[:n]


def convolution():
    return networks.convolution(0), *pictures(60)


class Normed(nn.Module):
    """A LayerNorm in plain operations: with torch 2.13's own, curvlinops' products (a jvp of jacrev) are not symmetric,
    and 6 % from differences of gradients; ours are 2e-10."""

    def __init__(self, norm):
        super().__init__()
        self.weight, self.bias, self.eps = norm.weight, norm.bias, norm.eps

    def forward(self, x):
        centred = x - x.mean(-1, keepdim=True)
        return centred / (centred.square().mean(-1, keepdim=True) + self.eps).sqrt() * self.weight + self.bias


def transformer():
    x, y = pictures(60)
    net = networks.transformer(0, 8, 8, 16, 10, causal=False)
    for part in [m for m in net.modules() if isinstance(m, nn.Sequential)]:
        for name, module in part.named_children():
            if isinstance(module, nn.LayerNorm):
                part[int(name)] = Normed(module)
    return net, x.flatten(1, 2), y


def dense():
    x, y = pictures()
    return networks.dense(0, (64, 10, 10), nn.Tanh), x.flatten(1), y


@pytest.mark.parametrize("make", [convolution, transformer])
def test_the_sharpest_direction_is_scipys_and_curvlinops(make):
    net, x, y = make()
    surface = LossFunction(sd.Task(net, (x, y), cross_entropy), [(x[:40], y[:40]), (x[40:], y[40:])])
    h = surface.hessian(surface.start)
    result = extremes(h, 200, 1e-7)
    matrix = LinearOperator(h.shape, matvec=lambda v: (h @ torch.from_numpy(v).flatten()).numpy(), dtype=np.float64)
    start = unit(h, 3).numpy()
    for end, which in ((result.greatest, "LA"), (result.least, "SA")):
        assert end.value == pytest.approx(eigsh(matrix, 1, which=which, v0=start, tol=1e-4)[0][0], rel=1e-5)
    theirs = net.double().eval()
    data = [(x.double(), y)]
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        other = HessianLinearOperator(theirs, nn.CrossEntropyLoss(), list(theirs.parameters()), data)
        v = random(surface.size, seed=5)
        assert torch.dist(h @ v, other @ v) <= 1e-9 * (other @ v).norm()
        value = eigsh(other.to_scipy(np.float64), 1, which="LA", v0=start, tol=1e-4)[0][0]
    assert result.greatest.value == pytest.approx(value, rel=1e-5)


def test_a_real_spectrum_is_the_dense_one():
    net, x, y = dense()
    surface = LossFunction(sd.Task(net, (x, y), cross_entropy), [(x, y)])
    h = surface.hessian(surface.start)
    true, vectors = torch.linalg.eigh(materialize(h))
    result = extremes(h, 300, 1e-10)
    assert result.greatest.value == pytest.approx(true[-1].item(), rel=1e-5)
    assert result.least.value == pytest.approx(true[0].item(), rel=1e-5)
    probes, limit = 8, 1e-3
    values, weights = (part.view(probes, 40) for part in density(h, probes, 40))
    weights = probes * weights
    seen = torch.stack([(vectors.T @ unit(h, 0, "density", i)).square() for i in range(probes)])
    for power in (1, 2, 3):  # 40 values have the first 79 moments of what their probe sees
        np.testing.assert_allclose((weights * values**power).sum(1), seen @ true**power, rtol=1e-8)
    below = (values < limit).sum(1)
    low, high = (torch.stack([w[: max(0, k + i)].sum() for w, k in zip(weights, below)]) for i in (-1, 1))
    share = seen[:, true < limit].sum(1)  # between the weights up to the values around the limit (Chebyshev, Markov)
    assert (low <= share + 1e-9).all()
    assert (share <= high + 1e-9).all()
    # Over random probes v of length 1 the variance of v'f(A)v is 2 Var f / (P + 2): four standard errors of the mean.
    error, count = 4 * math.sqrt(2 / (len(true) + 2) / probes), (true < limit).double()
    assert (weights * values).sum(1).mean().item() == pytest.approx(true.mean().item(), abs=error * true.std().item())
    assert low.mean() - error * count.std() <= count.mean() <= high.mean() + error * count.std()
