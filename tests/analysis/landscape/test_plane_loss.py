"""The loss at points of a plane, by every strategy: against a model that is moved to each point."""

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy, mse_loss

from steepest.analysis.landscape.plane_loss import PlaneLoss
from steepest.analysis.landscape.planes import Points, random_plane
from steepest.analysis.landscape.strategies import Sequential, Threads, Vmap, choose_strategy
from steepest.curvature.loss_function import LossFunction, plain_kernels
from steepest.tasks.space import Space
from steepest.tasks.task import Task


def net(*layers):
    torch.manual_seed(0)
    return nn.Sequential(*layers)


class TwoInputs(nn.Module):
    """Two first layers, one of them used again deeper, where it is no longer affine in all weights."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two, self.out = nn.Linear(6, 6), nn.Linear(6, 6, bias=False), nn.Linear(6, 3)

    def forward(self, x):
        return self.out(self.one(torch.tanh(self.one(x) + self.two(2 * x))))


class Tied(nn.Module):
    """The first layer's weights count a second time."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Linear(6, 6)

    def forward(self, x):
        return torch.relu(self.one(x)) @ self.one.weight[:, :3]


class Doubled(nn.Linear):
    """A layer whose weights count twice: it is not affine in them."""

    def forward(self, x):
        return nn.functional.linear(x, self.weight * self.weight, self.bias)


X, Y = torch.randn(40, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64), torch.arange(40) % 3
IMAGES = X.view(40, 1, 2, 3)
MODELS = {
    "dense": (1, lambda: net(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3)), X),
    "three layers": (1, lambda: net(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 7), nn.ReLU(), nn.Linear(7, 3)), X),
    "in place, no bias": (1, lambda: net(nn.Linear(6, 8), nn.ReLU(inplace=True), nn.Linear(8, 3, bias=False)), X),
    "flattened": (1, lambda: net(nn.Linear(6, 8), nn.ReLU(), nn.Flatten(), nn.Linear(8, 3)), X),
    "ten wide": (1, lambda: net(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 10)), X),
    "normed": (1, lambda: net(nn.Linear(6, 8), nn.ReLU(), nn.BatchNorm1d(8), nn.Linear(8, 3)), X),
    "convolution": (1, lambda: net(nn.Conv2d(1, 4, 2), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(8, 3)), IMAGES),
    "one dimension": (
        1,
        lambda: net(nn.Unflatten(1, (1, 6)), nn.Conv1d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8, 3)),
        X,
    ),
    "dropout": (1, lambda: net(nn.Linear(6, 8), nn.Dropout(0.5), nn.Tanh(), nn.Linear(8, 3)), X),
    "no first layer": (0, lambda: net(nn.LayerNorm(6), nn.Linear(6, 3)), X),
    "two inputs": (1, TwoInputs, X),
    "tied": (1, Tied, X),
}
STRATEGIES = [Sequential, Vmap, Threads]


def surface(name="dense", dtype=torch.float64):
    _, model, x = MODELS[name]
    task = Task(model=model(), loss=cross_entropy, data=(x.float(), Y))
    return LossFunction(task, [(x[:25].float(), Y[:25]), (x[25:].float(), Y[25:])], dtype)


def across(s, seed=1):
    return random_plane(s.start, s.space.shapes, seed)


def points(a, b):
    a, b = np.meshgrid(a, b, indexing="ij")
    return Points(a.ravel(), b.ravel())


def at(s, w):
    model = copy.deepcopy(s.objective.model)
    Space(model).scatter(w)
    return model


@pytest.fixture
def threads(strategy):
    """Two threads for `Threads`; a surface leaves the number as it was."""
    before, count = torch.get_num_threads(), 2 if strategy is Threads else 1
    torch.set_num_threads(count)
    yield
    assert torch.get_num_threads() == count
    torch.set_num_threads(before)


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("name", MODELS)
@pytest.mark.usefixtures("threads")
def test_every_strategy_computes_the_loss_at_every_point(name, strategy):
    s = surface(name)
    plane = across(s)
    loss = PlaneLoss(s, plane)
    assert [len(affine) for affine in loss._sample._affine] == [MODELS[name][0]] * 2
    loss._strategy = strategy(loss._sample)
    cells = points(np.linspace(-1, 1, 5), np.linspace(-2, 1, 4))
    expected = [s.value(plane.point(a, b)) for a, b in zip(cells.a, cells.b)]
    assert loss.losses(cells) == pytest.approx(expected, rel=1e-12)
    each = loss.per_sample_losses(cells)
    assert each.mean(1) == pytest.approx(expected, rel=1e-12)
    model, inputs = at(s, plane.point(cells.a[7], cells.b[7])), torch.cat([x for x, _ in s.batches])
    own = [cross_entropy(model(x[None]), y[None]).item() for x, y in zip(inputs, Y)]
    assert each[7] == pytest.approx(own, rel=1e-10)
    assert loss.subset(torch.tensor([3, 30])).per_sample_losses(cells) == pytest.approx(each[:, [3, 30]], rel=1e-12)


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.usefixtures("threads")
def test_the_order_and_the_number_of_points_do_not_matter(strategy):
    s = surface("three layers")
    loss, cells = PlaneLoss(s, across(s)), points(np.linspace(-1, 1, 3), np.linspace(-2, 1, 70))
    loss._strategy = strategy(loss._sample)
    expected = loss.losses(cells)
    falling = np.arange(len(cells))[::-1]
    assert loss.losses(cells[falling]) == pytest.approx(expected[falling], rel=1e-12)
    assert loss.losses(cells[:3]) == pytest.approx(expected[:3], rel=1e-12)
    rows = np.array([5, 80, 7, 200])
    assert loss.losses(cells[rows]) == pytest.approx(expected[rows], rel=1e-12)


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.usefixtures("threads")
def test_an_objective_is_evaluated_for_each_sample(strategy):
    task = Task(model=MODELS["dense"][1](), objective=lambda m, b: mse_loss(m(b[0]), b[0][:, :3]), data=(X.float(), Y))
    s = LossFunction(task, [(X.float(), Y)])
    loss, cells = PlaneLoss(s, across(s)), points(np.linspace(-1, 1, 2), np.linspace(-2, 1, 3))
    loss._strategy = strategy(loss._sample)
    expected = [s.value(across(s).point(a, b)) for a, b in zip(cells.a, cells.b)]
    assert loss.losses(cells) == pytest.approx(expected, rel=1e-12)
    assert loss.per_sample_losses(cells).mean(1) == pytest.approx(expected, rel=1e-12)


def test_a_layer_that_only_seems_to_be_affine_is_not_replaced():
    s = LossFunction(Task(model=net(Doubled(6, 8), nn.Linear(8, 3)), loss=cross_entropy, data=(X, Y)), [(X, Y)])
    plane = across(s)
    loss, cells = PlaneLoss(s, plane), points(np.linspace(-1, 1, 3), np.linspace(-2, 1, 4))
    assert not loss._sample._affine[0]
    expected = [s.value(plane.point(a, b)) for a, b in zip(cells.a, cells.b)]
    assert loss.losses(cells) == pytest.approx(expected, rel=1e-12)


class Converting(nn.Module):
    """Reads a number from a tensor, which vmap refuses."""

    def __init__(self):
        super().__init__()
        self.one = nn.Linear(6, 3)

    def forward(self, x):
        z = self.one(x)
        return z * float(z.detach().abs().max() > 0)


def test_the_strategy_of_a_model_that_vmap_refuses():
    s = LossFunction(Task(model=Converting(), loss=cross_entropy, data=(X.float(), Y)), [(X.float(), Y)])
    loss, cells = PlaneLoss(s, across(s)), points(np.linspace(-1, 1, 10), np.linspace(-1, 1, 10))
    assert not isinstance(choose_strategy(loss._sample, cells, False), Vmap)
    expected = [s.value(across(s).point(a, b)) for a, b in zip(cells.a, cells.b)]
    assert loss.losses(cells) == pytest.approx(expected, rel=1e-6)


class Sorted(nn.Module):
    """Rows go to their layers in halves by score: the weights choose the rows, whose number stays."""

    def __init__(self) -> None:
        super().__init__()
        self.gate, self.low, self.high = nn.Linear(6, 1), nn.Linear(6, 3), nn.Linear(6, 3)

    def forward(self, x):
        low, high = self.gate(x)[:, 0].argsort().chunk(2)
        out = x.new_zeros(len(x), 3).index_copy(0, low, self.low(x[low]))
        return out.index_copy(0, high, self.high(x[high]))


class Routed(nn.Module):
    """Rows above a threshold of the weights take a layer: their number changes."""

    def __init__(self) -> None:
        super().__init__()
        self.gate, self.one = nn.Linear(6, 1), nn.Linear(6, 3)

    def forward(self, x):
        rows = (self.gate(x)[:, 0] > 0).nonzero().flatten()
        return x.new_zeros(len(x), 3).index_copy(0, rows, self.one(x[rows]))


class Fourier(nn.Module):
    """Weights seen as complex numbers, behind an odd number of others; `kind` says how."""

    def __init__(self, kind) -> None:
        super().__init__()
        self.kind, self.shift = kind, nn.Parameter(torch.zeros(3))
        self.filter = nn.Parameter(torch.randn(4, 2, generator=torch.Generator().manual_seed(0)))

    def forward(self, x):
        spectrum = (
            torch.view_as_complex(self.filter) if self.kind == "pairs" else self.filter.view(torch.complex64)[:, 0]
        )
        return torch.fft.irfft(torch.fft.rfft(x) * spectrum, n=6)[:, :3] + self.shift


class SingularSomewhere(nn.Module):
    """A Cholesky factor, which half of the plane has none of."""

    def __init__(self) -> None:
        super().__init__()
        self.scale, self.out = nn.Parameter(torch.full((1,), 0.2)), nn.Linear(6, 3)

    def forward(self, x):
        return self.out(x) * torch.linalg.cholesky(self.scale.view(1, 1))


def by_hand(s, plane, cells):
    losses = []
    for a, b in zip(cells.a, cells.b):
        try:
            losses.append(s.value(plane.point(a, b)))
        except RuntimeError:
            losses.append(float("nan"))
    return losses


@pytest.mark.filterwarnings("ignore:An output with one or more elements was resized")
@pytest.mark.parametrize(
    "model", [Sorted, Routed, lambda: Fourier("pairs"), lambda: Fourier("viewed"), SingularSomewhere]
)
def test_what_holds_at_one_point_need_not_hold_at_others(model):
    torch.manual_seed(0)
    x = X.float()
    s = LossFunction(
        Task(model(), loss=cross_entropy, data=(x, Y)), [(x[:25], Y[:25]), (x[25:], Y[25:])], torch.float32
    )
    plane, cells = across(s), points(np.linspace(-1.5, 1.5, 9), np.linspace(-1, 1, 9))
    assert PlaneLoss(s, plane).losses(cells) == pytest.approx(by_hand(s, plane, cells), rel=1e-5, nan_ok=True)


def test_a_model_that_raises_everywhere_says_so():
    s = surface()
    loss = PlaneLoss(s, across(s))
    loss._sample.objective.model.forward = lambda x: x @ torch.zeros(1, 1)
    with pytest.raises(RuntimeError, match="shapes"):
        loss.losses(points(np.linspace(-1, 1, 9), np.linspace(-1, 1, 9)))


class Encoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, dropout=0.0)
        self.words, self.body, self.out = nn.Embedding(5, 8), nn.TransformerEncoder(layer, 1), nn.Linear(8, 3)

    def forward(self, x):
        return self.out(self.body(self.words(x), src_key_padding_mask=x == 0).mean(1))


def test_an_encoder_goes_through_vmap():
    torch.manual_seed(0)
    x = torch.randint(1, 5, (24, 6))
    x[:, 4:] *= (torch.arange(24) % 2)[:, None]
    s = LossFunction(Task(Encoder(), loss=cross_entropy, data=(x, Y[:24])), [(x, Y[:24])], torch.float64)
    plane, cells = across(s), points(np.linspace(-1, 1, 9), np.linspace(-1, 1, 9))
    loss = PlaneLoss(s, plane)
    assert loss.losses(cells) == pytest.approx([s.value(plane.point(a, b)) for a, b in zip(cells.a, cells.b)], rel=1e-9)
    with plain_kernels():
        assert Vmap(loss._sample)(0, cells, False) == pytest.approx(loss.losses(cells), rel=1e-9)
    assert torch.backends.mha.get_fastpath_enabled()
