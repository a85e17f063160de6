"""L(w) of a task as a function of the point, against the model itself, differences and autograd's dense Hessian."""

import copy
import random

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy, mse_loss
from torch.utils.data import DataLoader, TensorDataset

import steepest as sd
from benchmarks.problems import networks
from steepest.curvature import hessian as room
from steepest.curvature.loss_function import LossFunction
from steepest.curvature.samples import sample_loss_functions
from steepest.errors import InputError, TaskError
from steepest.tasks.terrains import TERRAINS


def data(n=30, inputs=4, classes=3):
    stream = torch.Generator().manual_seed(0)
    return torch.randn(n, inputs, generator=stream), torch.randint(0, classes, (n,), generator=stream)


def smooth(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3))


def rectified(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 3))


def batches(x, y, *sizes):
    return list(zip(x.split(list(sizes)), y.split(list(sizes))))


def surface(net=None, loss=cross_entropy, dtype=torch.float64, **kept):
    x, y = data()
    task = sd.Task(net or smooth(), (x, y), loss, **kept)
    return LossFunction(task, batches(x, y, 16, 8, 6), dtype)


def direction(surface, seed=0):
    return torch.randn(surface.size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def mean_over_all(s):
    """Loss and dense Hessian by autograd, on all samples at once."""
    net = smooth().double()
    x, y = data()
    names, shapes = [n for n, _ in net.named_parameters()], s.space.shapes

    def loss(w):
        parts = [p.view(shape) for p, shape in zip(w.split(list(s.space.sizes)), shapes)]
        return cross_entropy(torch.func.functional_call(net, dict(zip(names, parts)), (x.double(),)), y)

    return loss


def test_value_gradient_and_hessian_are_those_of_all_samples():
    s = surface()
    w, whole = s.start + 0.1 * direction(s), mean_over_all(s)
    loss, gradient = s.gradient(w)
    assert s.value(w) == pytest.approx(whole(w).item(), rel=1e-12)
    assert loss == pytest.approx(whole(w).item(), rel=1e-12)
    torch.testing.assert_close(gradient, torch.autograd.functional.jacobian(whole, w), rtol=1e-10, atol=1e-12)
    h = s.hessian(w)
    assert h.loss == pytest.approx(loss, rel=1e-12)
    torch.testing.assert_close(h.gradient, gradient)
    dense = torch.autograd.functional.hessian(whole, w)
    torch.testing.assert_close(h @ torch.eye(s.size, dtype=torch.float64), dense, rtol=1e-10, atol=1e-12)


MODELS = {
    "dense": (rectified, lambda: data(), cross_entropy),
    "convolution": (networks.convolution, lambda: (torch.rand(12, 1, 8, 8), torch.arange(12) % 10), cross_entropy),
    "attention": (
        lambda seed: networks.transformer(seed, 4, 6, 8, 3, True), lambda: (torch.rand(10, 6, 4), torch.rand(10, 6, 3)),
        mse_loss,
    ),
    "recurrent": (
        lambda seed: networks.recurrent(seed, 4, 6), lambda: (torch.rand(10, 5, 4), torch.rand(10, 5, 4)), mse_loss,
    ),
}  # fmt: skip


@pytest.mark.parametrize(("make", "given", "loss"), MODELS.values(), ids=MODELS)
def test_products_are_differences_of_gradients(make, given, loss):
    torch.manual_seed(1)
    x, y = given()
    s = LossFunction(sd.Task(make, (x, y), loss), [(x[:7], y[:7]), (x[7:], y[7:])])
    assert (s.dtype, s.why) == (torch.float64, "")
    w, v, step = s.start + 1e-2 * direction(s, 1), direction(s), 1e-7
    difference = (s.gradient(w + step * v)[1] - s.gradient(w - step * v)[1]) / (2 * step)
    h = s.hessian(w)
    assert torch.dist(h @ v, difference) <= 1e-6 * difference.norm()
    block = torch.stack([v, direction(s, 2), direction(s, 3)], 1)
    torch.testing.assert_close(h @ block, torch.stack([h @ c for c in block.T], 1), rtol=1e-9, atol=1e-12)
    assert s.losses(w).mean().item() == pytest.approx(s.value(w), rel=1e-12)
    assert s.curvatures(w, v).mean().item() == pytest.approx((v @ (h @ v)).item(), rel=1e-9)


@pytest.mark.parametrize(("kept", "together"), [(0, 1 << 20), (20_000, 1), (1 << 30, 1 << 30)])
def test_graphs_that_do_not_fit_into_memory_are_built_again(monkeypatch, kept, together):
    s = surface()
    w, block = s.start, torch.eye(s.size, dtype=torch.float64)
    before = s.hessian(w) @ block
    monkeypatch.setattr(room, "GRAPH_BYTES", kept)
    monkeypatch.setattr(room, "BLOCK_BYTES", together)
    h = s.hessian(w)
    torch.testing.assert_close(h @ block, before, rtol=1e-12, atol=1e-14)
    assert h.loss == pytest.approx(s.value(w))


def test_a_linear_loss_has_no_curvature():
    x, y = data()
    s = LossFunction(sd.Task(nn.Linear(4, 1, bias=False), (x, y), lambda out, _: out.mean()), [(x, y)])
    assert not (s.hessian(s.start) @ direction(s)).any()
    assert not s.curvatures(s.start, direction(s)).any()


def test_a_terrain_needs_no_data():
    land = TERRAINS["himmelblau"]
    task = sd.Task(land.model(), objective=lambda model, batch: model())
    one, other = sample_loss_functions(task, (1, 1))
    w = torch.tensor([3.0, 2.0], dtype=torch.float64)
    dense = torch.autograd.functional.hessian(land.f, w)
    torch.testing.assert_close(one.hessian(w) @ torch.eye(2, dtype=torch.float64), dense)
    assert other.losses(w).tolist() == [0.0]
    assert one.curvatures(w, torch.tensor([1.0, 0.0])).item() == pytest.approx(dense[0, 0].item())


# -- Sample by sample --------------------------------------------------------------------------------------------------


def by_hand(s, w, v=None, step=1e-4):
    """Each sample's loss, or its second difference along v, from a model of its own."""
    net = copy.deepcopy(smooth()).double()

    def losses(point):
        s.space.__class__(net).scatter(point)
        x, y = data()
        with torch.no_grad():
            return cross_entropy(net(x.double()), y, reduction="none")

    return losses(w) if v is None else (losses(w + step * v) - 2 * losses(w) + losses(w - step * v)) / step**2


def test_each_sample_has_its_own_loss_and_curvature():
    s = surface()
    v = direction(s)
    torch.testing.assert_close(s.losses(s.start), by_hand(s, s.start))
    torch.testing.assert_close(s.curvatures(s.start, v), by_hand(s, s.start, v), rtol=1e-5, atol=1e-6)


def decides(net):
    """A model that looks at its numbers, which torch cannot map over samples."""

    class Decides(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = net

        def forward(self, x):
            return self.net(x) if x.sum().item() < 1e9 else self.net(-x)

    return Decides()


def test_a_model_that_cannot_be_mapped_goes_sample_by_sample():
    mapped, alone = surface(), surface(decides(smooth()))
    v = direction(mapped)
    torch.testing.assert_close(alone.losses(alone.start), mapped.losses(mapped.start))
    torch.testing.assert_close(alone.curvatures(alone.start, v), mapped.curvatures(mapped.start, v))


def tokens():
    """Sequences of which some places, and of one all, are padding (−1)."""
    torch.manual_seed(0)
    x, y = torch.rand(8, 5, 4), torch.randint(0, 3, (8, 5))
    y[1, 2:], y[3], y[6, :1] = -1, -1, -1
    return x, y


def masked(model, batch):
    return cross_entropy(model(batch["x"]).flatten(0, 1), batch["y"].flatten(), ignore_index=-1)


def test_tokens_are_weighted_as_they_are_counted():
    x, y = tokens()
    given = [{"x": x[:3], "y": y[:3]}, {"x": x[3:], "y": y[3:]}]
    count = lambda batch: (batch["y"] >= 0).sum()  # noqa: E731
    s = LossFunction(sd.Task(smooth(), objective=masked, count=count), given)
    whole = LossFunction(sd.Task(smooth(), objective=masked, count=count), [{"x": x, "y": y}])
    v = direction(s)
    assert s.value(s.start) == pytest.approx(whole.value(s.start), rel=1e-12)
    losses, curvatures = s.losses(s.start), s.curvatures(s.start, v)
    assert (len(losses), losses[3].item(), curvatures[3].item()) == (8, 0.0, 0.0)
    assert losses.mean().item() == pytest.approx(s.value(s.start), rel=1e-12)
    assert curvatures.mean().item() == pytest.approx((v @ (s.hessian(s.start) @ v)).item(), rel=1e-9)


CLASS_WEIGHTS = torch.tensor([1.0, 2.0, 50.0])
SUMS = {
    "module with weights": (nn.CrossEntropyLoss(weight=CLASS_WEIGHTS.double()), lambda y: CLASS_WEIGHTS[y]),
    "weighted": (lambda out, y: cross_entropy(out, y, weight=CLASS_WEIGHTS.to(out)), lambda y: CLASS_WEIGHTS[y]),
    "summed": (lambda out, y: cross_entropy(out, y, reduction="sum"), torch.ones_like),
    "ignored": (lambda out, y: cross_entropy(out, y, ignore_index=1), lambda y: (y != 1).float()),
    "masked": (lambda out, y: cross_entropy(out[y != 1], y[y != 1]), lambda y: (y != 1).float()),
    "hinge": (lambda out, y: (1 - out.gather(1, y[:, None])).relu().mean(), torch.ones_like),
}


@pytest.mark.parametrize(("loss", "weights"), SUMS.values(), ids=SUMS)
def test_a_loss_that_weights_samples_is_the_sum_of_their_parts(loss, weights):
    x, y = data()
    s = LossFunction(sd.Task(smooth(), (x, y), loss), [(x, y)])
    w, v = s.start, direction(s)
    assert s.value(w) == pytest.approx(loss(smooth().double()(x.double()), y).item(), rel=1e-9)
    assert s.losses(w).mean().item() == pytest.approx(s.value(w), rel=1e-9)
    assert s.curvatures(w, v).mean().item() == pytest.approx((v @ (s.hessian(w) @ v)).item(), rel=1e-9)
    expected = weights(y).double()
    torch.testing.assert_close(s.sample_weights(w), expected / expected.mean(), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize(
    "loss",
    [
        lambda out, y: cross_entropy(out - out.mean(0), y),
        lambda out, y: (out[:, 0] - y).square().mean().sqrt(),
        lambda out, y: cross_entropy(out @ out.T, torch.arange(len(out))),
    ],
    ids=["mixed", "root of a mean", "contrastive"],
)
def test_a_loss_that_mixes_samples_is_not_taken_apart(loss):
    s = surface(loss=loss)
    with pytest.raises(TaskError, match="must be the mean over its samples"):
        s.losses(s.start)


class Noisy(nn.Module):
    """Draws random numbers for each sample."""

    def __init__(self):
        super().__init__()
        self.net = smooth()

    def forward(self, x):
        return self.net(x + 0.1 * torch.randn_like(x))


@pytest.mark.parametrize("net", [Noisy, smooth], ids=["noise", "conversion in the loss"])
def test_what_cannot_go_together_goes_one_after_another_with_the_same_numbers(net):
    together = surface(net())
    alone = surface(net(), lambda out, y: cross_entropy(out, y) + 0 * out.sum().item())
    torch.testing.assert_close(alone.losses(alone.start), together.losses(together.start))
    assert together.messages == []
    assert "one after another" in alone.messages[0]
    assert len(alone.messages) == 1


def test_an_objective_that_differentiates_inside_is_evaluated():
    def slope(model, batch):
        x = batch[0].clone().requires_grad_()
        return (torch.autograd.grad(model(x).sum(), x, create_graph=True)[0] - 1).square().mean()

    x, _ = data()
    s = LossFunction(sd.Task(smooth(), (x,), objective=slope), [(x,)])
    assert s.losses(s.start).mean().item() == pytest.approx(s.value(s.start), rel=1e-9)
    assert (s.hessian(s.start) @ direction(s)).isfinite().all()


@pytest.mark.parametrize("normed", [nn.utils.weight_norm, nn.utils.spectral_norm], ids=["weight_norm", "spectral_norm"])
@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
def test_a_module_that_holds_a_tensor_with_a_graph_is_copied(normed):
    net = nn.Sequential(normed(nn.Linear(4, 5)), nn.Tanh(), nn.Linear(5, 3))
    x, y = data()
    loss = cross_entropy(net(x), y)
    s = LossFunction(sd.Task(net, (x, y), cross_entropy), [(x, y)], model=net)
    expected = cross_entropy(net.eval()(x), y).item()
    assert s.value(s.start) == pytest.approx(expected, rel=1e-5)
    assert (s.best_hessian(s.start) @ direction(s)).isfinite().all()
    loss.backward()
    assert net[2].weight.grad is not None


def test_a_sparse_matrix_in_the_model_is_no_obstacle():
    class Graph(nn.Module):
        """A convolution on a graph whose nodes are the samples."""

        def __init__(self):
            super().__init__()
            self.net, self.features = smooth(), data()[0]
            self.edges = (torch.eye(30) + torch.eye(30).roll(1, 0)).to_sparse()

        def forward(self, nodes):
            return self.net(torch.sparse.mm(self.edges, self.features))[nodes]

    nodes, y = torch.arange(30), data()[1]
    s = LossFunction(sd.Task(Graph(), (nodes, y), cross_entropy), [(nodes[:20], y[:20]), (nodes[20:], y[20:])])
    assert s.losses(s.start).mean().item() == pytest.approx(s.value(s.start), rel=1e-4)
    assert (s.hessian(s.start) @ direction(s)).isfinite().all()


# -- What it computes in -----------------------------------------------------------------------------------------------


class Single(nn.Module):
    """Makes a float32 tensor of its own, of which the next layer cannot make anything in float64."""

    def __init__(self):
        super().__init__()
        self.net = smooth()

    def forward(self, x):
        return self.net(torch.cat([x[:, :3], torch.ones(len(x), 1)], 1).to(torch.float32))


@pytest.mark.parametrize(
    ("net", "loss"),
    [(Single(), cross_entropy), (smooth(), lambda out, y: cross_entropy(out.float(), y))],
    ids=["model", "loss"],
)
def test_what_does_not_work_in_float64_stays_as_it_is(net, loss):
    s = surface(net, loss)
    assert s.dtype == s.start.dtype == torch.float32
    assert "float" in s.why
    v = direction(s)
    assert (s.hessian(s.start) @ v).dtype == torch.float32
    assert s.curvatures(s.start, v).dtype == torch.float64


def test_float32_may_be_asked_for():
    s, exact = surface(dtype=torch.float32), surface()
    assert (s.dtype, s.why) == (torch.float32, "")
    v = direction(s)
    torch.testing.assert_close((s.hessian(s.start) @ v).double(), exact.hessian(s.start) @ v, rtol=1e-4, atol=1e-5)


class Twice(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.square()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, g):
        return 2 * ctx.saved_tensors[0] * g


class Once(nn.Module):
    def forward(self, x):
        return Twice.apply(x)


class Square(nn.Module):
    def forward(self, x):
        return x.square()


class Nested(nn.Module):
    def __init__(self, *inner):
        super().__init__()
        self.add_module("in", nn.Sequential(*inner))

    def forward(self, x):
        return self.get_submodule("in")(x)


@pytest.mark.parametrize(
    ("net", "loss", "words"),
    [
        (
            nn.Sequential(nn.Linear(4, 3), Nested(nn.Tanh(), Once()), nn.Linear(3, 3)),
            cross_entropy,
            r"Once \(1.in.1\)",
        ),
        (nn.Sequential(nn.Linear(4, 3), Once()), lambda out, y: out.mean(), r"Once \(1\).*differences of gradients"),
        (smooth(), lambda out, y: Twice.apply(out).mean(), "^the loss has no second"),
    ],
    ids=["raises", "is silent", "is the loss"],
)
def test_what_has_no_second_derivative_is_named(net, loss, words):
    s = surface(net, loss)
    s.gradient(s.start)
    with pytest.raises(TaskError, match=words):
        s.hessian(s.start)


def test_what_has_no_second_derivative_is_multiplied_by_differences_of_gradients():
    exact = surface(nn.Sequential(smooth(), Square()))
    s = surface(nn.Sequential(smooth(), Once()))
    w, block = s.start, torch.stack([direction(s), direction(s, 1)], 1)
    h, expected = s.best_hessian(w), exact.hessian(w)
    assert (h.loss, h.shape) == (pytest.approx(expected.loss), expected.shape)
    torch.testing.assert_close(h @ block, expected @ block, rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(s.curvatures(w, block[:, 0]), exact.curvatures(w, block[:, 0]), rtol=1e-4, atol=1e-5)
    assert [words.split(" has no second")[0] for words in s.messages] == ["Once (1)"]


def test_units_that_stand_where_they_bend_are_not_taken_for_a_fault():
    """Empty pictures and biases of 0: every unit of the first layer is exactly at 0."""
    x, y = data()
    net = rectified()
    nn.init.zeros_(net[0].bias)
    s = LossFunction(sd.Task(net, (torch.zeros_like(x), y), cross_entropy), [(torch.zeros_like(x), y)])
    assert (s.hessian(s.start) @ direction(s)).isfinite().all()


# -- What stays as it is -----------------------------------------------------------------------------------------------


class Counts(nn.Module):
    """Draws random numbers and writes a buffer, in evaluation too."""

    def __init__(self):
        super().__init__()
        self.net = smooth()
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x):
        self.calls += 1
        return self.net(x) * self.calls + 0.1 * torch.randn(3) + random.random() * np.random.rand()


def test_nothing_is_touched():
    net = Counts().train()
    s = surface(net)
    state = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()
    before = {n: t.clone() for n, t in net.state_dict().items()}
    w = s.start.clone()
    values = {s.value(w) for _ in range(3)} | {s.gradient(w)[0], s.hessian(w).loss}
    assert max(values) - min(values) <= 1e-12
    h, v = s.hessian(w), direction(s)
    assert torch.equal(h @ v, h @ v)
    assert torch.equal(w, s.start)
    assert net.training
    assert all(torch.equal(t, before[n]) for n, t in net.state_dict().items())
    assert (random.getstate(), np.random.get_state()[1].tolist()) == state[:2]
    assert torch.equal(torch.get_rng_state(), state[2])


def test_a_trained_batch_norm_keeps_its_statistics():
    x, y = torch.rand(40, 1, 8, 8) + 3, torch.arange(40) % 10
    net = networks.convolution(0)
    task = sd.Task(net, (x, y), cross_entropy)
    for _ in sd.descend(task, lr=1e-3, batch_size=8, epochs=2):
        pass
    (s,) = sample_loss_functions(task, (20,), data=(x[:20], y[:20]), model=net)
    with torch.no_grad():
        expected = cross_entropy(copy.deepcopy(net).double().eval()(x[:20].double()), y[:20])
    assert s.value(s.start) == pytest.approx(expected.item(), rel=1e-9)


def test_a_compiled_model_is_taken_as_it_was():
    s = surface(torch.compile(smooth(), backend="eager"))
    torch.testing.assert_close(s.hessian(s.start) @ direction(s), surface().hessian(s.start) @ direction(s))


def test_tied_weights_are_one():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.first, self.last = nn.Linear(4, 4), nn.Linear(4, 4)
            self.last.weight = self.first.weight

        def forward(self, x):
            return self.last(torch.tanh(self.first(x)))

    s = surface(Tied())
    w, v, step = s.start, direction(s), 1e-6
    assert s.size == 24
    difference = (s.gradient(w + step * v)[1] - s.gradient(w - step * v)[1]) / (2 * step)
    assert torch.dist(s.hessian(w) @ v, difference) <= 1e-7 * difference.norm()


def test_layers_have_their_places():
    assert surface().by_layer == {"0": slice(0, 25), "2": slice(25, 43)}
    assert surface(Single()).by_layer == {"net.0": slice(0, 25), "net.2": slice(25, 43)}


# -- Samples -----------------------------------------------------------------------------------------------------------


def held(*surfaces):
    return [sorted(torch.cat([b[0][:, 0] for b in s.batches]).tolist()) for s in surfaces]


@pytest.mark.parametrize("kind", [tuple, lambda xy: TensorDataset(*xy)], ids=["tensors", "Dataset"])
def test_samples_are_disjoint_and_follow_from_the_seed(kind):
    x, y = torch.arange(600.0)[:, None].repeat(1, 4), torch.zeros(600, dtype=torch.long)
    task = sd.Task(smooth(), kind((x, y)), cross_entropy, validation=(x, y))
    one, other = held(*sample_loss_functions(task, (300, 200), 1))
    assert (len(set(one)), len(set(other))) == (300, 200)
    assert not set(one) & set(other)
    assert [one, other] == held(*sample_loss_functions(task, (300, 200), 1))
    assert one != held(*sample_loss_functions(task, (300, 200), 2))[0]
    assert [len(b[0]) for b in sample_loss_functions(task, (600,))[0].batches] == [512, 88]


def test_an_iterable_gives_its_first_batches():
    x, y = torch.arange(60.0)[:, None].repeat(1, 4), torch.zeros(60, dtype=torch.long)
    loader = DataLoader(TensorDataset(x, y), batch_size=8)
    task = sd.Task(smooth(), loader, cross_entropy, validation=(x, y))
    one, other = held(*sample_loss_functions(task, (10, 8)))
    assert one == list(range(16))
    assert other == list(range(16, 24))
    with pytest.raises(InputError, match="add up to at most 60"):
        sample_loss_functions(task, (40, 40))


@pytest.mark.parametrize("sizes", [(20, 11), (0,)])
def test_more_samples_than_there_are_is_refused(sizes):
    x, y = data()
    with pytest.raises(InputError, match="at most 30"):
        sample_loss_functions(sd.Task(smooth(), (x, y), cross_entropy, validation=(x, y)), sizes)


@pytest.mark.parametrize("call", ["value", "gradient", "losses", "hessian"])
def test_a_point_of_another_shape_is_refused(call):
    s = surface()
    with pytest.raises(InputError, match=r"shape \(43,\), one number for each weight, got \(42,\)"):
        getattr(s, call)(torch.zeros(42))


def test_a_product_with_another_shape_is_refused():
    s = surface()
    with pytest.raises(InputError, match=r"\[43\] or \[43, B\], got \[2, 43\]"):
        s.hessian(s.start) @ torch.zeros(2, 43)


def test_a_point_where_the_loss_is_not_finite_has_no_hessian():
    s = surface()
    w = s.start.clone()
    w[3] = float("nan")
    assert np.isnan(s.value(w))
    with pytest.raises(InputError, match="1 of 43 weights are not finite"):
        s.hessian(w)


# -- Gradients that leave something out --------------------------------------------------------------------------------


class Rows(nn.Module):
    """An embedding some of whose rows have no gradient: by padding_idx, by detach, by units that are never active."""

    def __init__(self, kind):
        super().__init__()
        torch.manual_seed(0)
        self.kind = kind
        self.rows = nn.Embedding(6, 4, padding_idx=0 if kind == "padding_idx" else None)
        self.inactive, self.out = nn.Linear(4, 4), nn.Linear(4, 3)
        nn.init.constant_(self.inactive.bias, -50.0)

    def forward(self, x):
        h = self.rows((4 * x[:, :2]).abs().long().clamp(max=5)).sum(1).tanh()
        if self.kind == "detach":
            h = h * h.detach()
        return self.out(h) + (self.out(self.inactive(h).relu()) if self.kind == "inactive units" else 0.0)


@pytest.mark.parametrize("kind", ["padding_idx", "detach", "inactive units"])
def test_a_gradient_that_leaves_something_out_has_a_second_derivative(kind):
    s = surface(Rows(kind))
    h, v = s.hessian(s.start), direction(s)
    assert (h @ v).isfinite().all()
    if kind == "padding_idx":
        padding = s.space.gather().new_zeros(s.size)
        padding[:4] = 1.0
        assert not (h @ padding).any()


def test_rows_that_a_hook_freezes_have_no_gradient_and_no_curvature():
    """Also in a copy, which has lost the hook."""
    net = Rows("hook")
    frozen = torch.arange(6)[:, None] < 2
    net.rows.weight.register_hook(lambda g: g.masked_fill(frozen, 0.0))
    x, y = data()
    task = sd.Task(net, (x, y), cross_entropy)
    for model in (None, net, copy.deepcopy(net)):
        s = LossFunction(task, [(x, y)], model=model)
        h, v = s.hessian(s.start), direction(s)
        assert not s.gradient(s.start)[1][:8].any()
        assert s.gradient(s.start)[1][8:24].any()
        assert not (h @ v)[:8].any()
        free = v.clone()
        free[:8] = 0.0
        torch.testing.assert_close((h @ v)[8:], (h @ free)[8:])


def test_a_fault_beside_a_row_of_padding_is_found():
    s = surface(nn.Sequential(Rows("padding_idx"), Once()), lambda out, _: out.mean())
    with pytest.raises(TaskError, match=r"Once \(1\)"):
        s.hessian(s.start)


class Noisy(torch.utils.data.Dataset):
    """Rows that are drawn anew each time, as by random crops."""

    def __len__(self):
        return 64

    def __getitem__(self, i):
        return torch.randn(3), torch.tensor([float(i)])


@pytest.mark.parametrize(("data", "is_said"), [(Noisy(), True), ([(torch.ones(3), torch.ones(1))] * 64, False)])
def test_samples_drawn_at_random_are_said(data, is_said):
    class Listed(torch.utils.data.Dataset):
        def __len__(self):
            return len(data)

        def __getitem__(self, i):
            return data[i]

    task = sd.Task(torch.nn.Linear(3, 1), Listed(), torch.nn.functional.mse_loss)
    one, other = (sample_loss_functions(task, (16,), seed=0)[0] for _ in range(2))
    assert one.value(one.start) == other.value(other.start)
    assert any("draws its samples at random" in words for words in one.messages) == is_said
