"""K points at once against each of them alone."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from steepest.descent.population.members import Members, why_not_batched
from steepest.tasks.objective import Objective
from steepest.tasks.space import Space
from steepest.tasks.task import Task


def data(n=24, seed=0):
    random = torch.Generator().manual_seed(seed)
    return torch.randn(n, 6, generator=random), torch.randint(0, 3, (n,), generator=random)


def model(seed=0, *middle):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(6, 8), *middle, nn.ReLU(), nn.Linear(8, 3))


def counted(net):
    return Objective(net, Task(net, loss=cross_entropy))


def members(nets):
    return Members(nets, counted(nets[0]), Space(nets[0]))


class Assigns(nn.Module):
    """A buffer that forward assigns anew, which a population must not lose."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(6, 3)
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, x):
        self.seen = self.seen + x.mean()
        return self.inner(x)


@pytest.mark.parametrize("middle", [(), (nn.BatchNorm1d(8),)], ids=["plain", "batch norm"])
def test_losses_gradients_and_buffers_are_those_of_each_alone(middle):
    nets = [model(k, *[type(m)(8) for m in middle]) for k in range(3)]
    together = members(nets)
    losses = together.gradient([data()])
    for k, net in enumerate(nets):
        loss = counted(net).gradient([data()], net.parameters())
        assert losses[k] == pytest.approx(loss, rel=1e-5)
        for (name, p), g in zip(net.named_parameters(), together.tensors(), strict=True):
            torch.testing.assert_close(g.grad[k], p.grad, rtol=1e-4, atol=1e-6, msg=name)
        for name, b in net.named_buffers():
            torch.testing.assert_close(together.buffers[name][k], b)


def test_a_buffer_that_is_assigned_anew_is_kept():
    nets = [Assigns(), Assigns()]
    together = members(nets)
    for _ in range(2):
        together.gradient([data()])
    torch.testing.assert_close(together.buffers["seen"], (2 * data()[0].mean()).expand(2))


def test_each_sees_its_own_batch():
    nets = [model(0), model(0)]
    x, y = (torch.stack(pair) for pair in zip(data(seed=1), data(seed=2), strict=True))
    losses = members(nets).gradient([(x, y)], per_member=True)
    for k, seed in enumerate((1, 2)):
        assert losses[k] == pytest.approx(counted(nets[k]).value([data(seed=seed)]), rel=1e-5)


def test_micro_batches_are_weighted():
    net = model()
    x, y = data(10)
    parts = [(x[:7], y[:7]), (x[7:], y[7:])]
    together = members([net, net])
    losses = together.gradient(parts)
    assert losses[0] == pytest.approx(counted(net).gradient([(x, y)], net.parameters()), rel=1e-5)
    for p, g in zip(net.parameters(), together.tensors(), strict=True):
        torch.testing.assert_close(g.grad[1], p.grad, rtol=1e-4, atol=1e-6)


def test_who_does_not_take_the_step_keeps_its_buffers():

    nets = [model(k, nn.BatchNorm1d(8)) for k in range(2)]
    together = members(nets)
    before = {n: b.clone() for n, b in together.buffers.items()}
    together.gradient([data()])
    together.restore(np.array([True, False]))
    for n, b in together.buffers.items():
        assert torch.equal(b[1], before[n][1])
        assert not torch.equal(b[0], before[n][0])


def test_dropout_masks_differ():
    net = model(0, nn.Dropout(0.5))
    losses = members([net, net, net]).gradient([data()])
    assert len(set(losses)) == 3


def test_frozen_and_tied_weights():
    net = model()
    net[0].weight.requires_grad_(False)
    net.append(nn.Linear(3, 3))
    net.append(nn.Linear(3, 3))
    net[4].weight = net[3].weight
    together = members([net, net])
    together.gradient([data()])
    counted(net).gradient([data()], net.parameters())
    assert together.names == Space(net).names
    for name, g in zip(together.names, together.tensors(), strict=True):
        torch.testing.assert_close(g.grad[0], dict(net.named_parameters())[name].grad, rtol=1e-4, atol=1e-6)


def test_members_can_leave_and_be_put_into_a_model():

    nets = [model(k, nn.BatchNorm1d(8)) for k in range(3)]
    together = members(nets)
    together.select(np.array([2]))
    into = model(7, nn.BatchNorm1d(8))
    together.write_to(0, into)
    for (name, a), (_, b) in zip(into.state_dict().items(), nets[2].state_dict().items(), strict=True):
        assert torch.equal(a, b), name
    assert torch.equal(together.point(0), Space(nets[2]).gather())


# -- Records of the mapping --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("middle", [(), (nn.BatchNorm1d(8),)], ids=["plain", "batch norm"])
def test_a_record_does_what_the_mapping_does(middle):
    def made():
        return members([model(k, *[type(m)(8) for m in middle]) for k in range(3)])

    one, other = made(), made()
    assert one.trace([data()])
    for seed in range(3):
        batch = data(seed=seed)
        np.testing.assert_array_equal(one.gradient([batch]), other.gradient([batch]))
        for a, b in zip(one.tensors(), other.tensors(), strict=True):
            torch.testing.assert_close(a.grad, b.grad)
        for name, b in other.buffers.items():
            torch.testing.assert_close(one.buffers[name], b)
    short = data(7)
    np.testing.assert_array_equal(one.gradient([short]), other.gradient([short]))
    one.select(np.array([0, 2]))
    other.select(np.array([0, 2]))
    np.testing.assert_array_equal(one.gradient([data()]), other.gradient([data()]))


def test_a_record_draws_new_dropout_masks():
    net = model(0, nn.Dropout(0.5))
    together = members([net, net])
    assert together.trace([data()])
    assert set(together.gradient([data()])).isdisjoint(together.gradient([data()]))


class Chance(nn.Linear):
    """Depth by chance, drawn in Python: a record would freeze it."""

    def forward(self, x):
        import random

        return super().forward(x) * (1 + random.randint(0, 10**6))


def test_what_is_decided_in_python_is_not_recorded():
    assert not members([Chance(6, 3), Chance(6, 3)]).trace([data()])


# -- Trust -------------------------------------------------------------------------------------------------------------


class Branches(nn.Linear):
    def forward(self, x):
        return super().forward(x) * (2 if x.sum() > 0 and self.weight.sum() > -1e9 else 1)


class Doubles(torch.autograd.Function):
    @staticmethod
    def forward(context, x):
        return 2 * x

    @staticmethod
    def backward(context, g):
        return 2 * g


class Custom(nn.Linear):
    def forward(self, x):
        return Doubles.apply(super().forward(x))


class Wrong(nn.Linear):
    """Knows when it is mapped, and computes something else."""

    def forward(self, x):
        mapped = torch._C._functorch.is_functorch_wrapped_tensor(self.weight)
        return super().forward(x) * (1.5 if mapped else 1.0)


@pytest.mark.parametrize(
    "net", [model(), model(0, nn.BatchNorm1d(8)), model(0, nn.Dropout(0.3))], ids=["plain", "batch norm", "dropout"]
)
def test_nothing_to_doubt(net):
    before = {n: x.clone() for n, x in net.state_dict().items()}
    assert why_not_batched(net, counted(net), Space(net), [data()], seed=0) == ""
    assert net.training
    assert all(torch.equal(x, before[n]) for n, x in net.state_dict().items())


@pytest.mark.parametrize(
    ("net", "words"),
    [(Branches(6, 3), "RuntimeError"), (Custom(6, 3), "RuntimeError"), (Wrong(6, 3), "gradients differ by")],
)
def test_what_cannot_be_mapped_is_doubted(net, words):
    assert words in why_not_batched(net, counted(net), Space(net), [data()], seed=0)


# -- Micro-batches -----------------------------------------------------------------------------------------------------

WEIGHTS = torch.tensor([1.0, 5.0, 0.2])


def ignores(output, y):
    return cross_entropy(output, torch.where(y == 2, -100, y))


def weighs(output, y):
    return cross_entropy(output, y, weight=WEIGHTS)


def sums(output, y):
    return cross_entropy(output, y, reduction="sum")


def labels(seed):
    """Labels of three parts: without the ignored one, with it, and nothing but it."""
    random = torch.Generator().manual_seed(seed)
    return torch.cat([torch.randint(0, 2, (4,), generator=random), torch.tensor([2, 0, 1, 2]), torch.full((3,), 2)])


@pytest.mark.parametrize("loss", [ignores, weighs, sums, cross_entropy])
@pytest.mark.parametrize("per_member", [False, True])
def test_micro_batches_count_as_in_a_single_descent(loss, per_member):
    """The same as all samples in one batch, by torch."""
    nets = [model(k) for k in range(2)]
    x, ys = data(11)[0], [labels(0), labels(1).flip(0) if per_member else labels(0)]
    cuts = ((0, 4), (4, 8), (8, 11))
    stacked = [(torch.stack([x[a:b]] * 2), torch.stack([y[a:b] for y in ys])) for a, b in cuts]
    shared = [(x[a:b], ys[0][a:b]) for a, b in cuts]
    together = Members(nets, Objective(nets[0], Task(nets[0], loss=loss)), Space(nets[0]))
    losses = together.gradient(stacked if per_member else shared, per_member)
    for k, net in enumerate(nets):
        whole = loss(net(x), ys[k])
        assert losses[k] == pytest.approx(whole.item(), rel=1e-5)
        for g, p in zip(together.tensors(), torch.autograd.grad(whole, list(net.parameters())), strict=True):
            torch.testing.assert_close(g.grad[k], p, rtol=1e-4, atol=1e-6)


def test_a_tree_of_outputs_and_a_target_of_predict_count_too():
    net, (x, y) = model(), data(10)
    given = {
        "loss": lambda output, y: weighs(output["out"][0], y),
        "predict": lambda m, b: ({"out": (m(b["x"]), "name")}, b["y"]),
    }
    together = Members([net, net], Objective(net, Task(net, **given)), Space(net))
    losses = together.gradient([{"x": x[:7], "y": y[:7]}, {"x": x[7:], "y": y[7:]}])
    assert losses[1] == pytest.approx(weighs(net(x), y).item(), rel=1e-5)


def test_micro_batches_that_cannot_be_weighted_are_doubted():
    net, (x, y) = model(), data(10)
    mixes = Objective(net, Task(net, loss=lambda output, y: (output - output.mean(0)).square().mean()))
    assert "mixes the samples" in why_not_batched(net, mixes, Space(net), [(x[:5], y[:5]), (x[5:], y[5:])], seed=0)
