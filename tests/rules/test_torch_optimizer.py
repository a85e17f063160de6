"""Torch's optimizers with the methods of an update."""

import math

import pytest
import torch
from torch import nn

from steepest.descent.state import copy_state
from steepest.errors import InputError
from steepest.rules.torch_optimizer import TorchOptimizer
from steepest.tasks.space import Space

MAKERS = {
    "SGD": lambda params: torch.optim.SGD(params, lr=0.1, momentum=0.9),
    "Adam": lambda params: torch.optim.Adam(params, lr=0.01),
    "Adagrad": lambda params: torch.optim.Adagrad(params, lr=0.01),
}


def moved(foreign, model, seeds, **given):
    """Steps at recorded gradients; the lengths of the updates."""
    found = []
    for seed in seeds:
        g = torch.Generator().manual_seed(seed)
        for p in model.parameters():
            p.grad = torch.randn(p.shape, generator=g)
        found.append(foreign.advance({"lr": 0.05}, **given))
    return found


def made(kind):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Linear(4, 3)
    return model, TorchOptimizer(Space(model), MAKERS[kind])


@pytest.mark.parametrize("kind", list(MAKERS))
def test_it_steps_as_the_optimizer_does(kind):
    model, foreign = made(kind)
    other, _ = made(kind)
    optimizer = MAKERS[kind](other.parameters())
    moved(foreign, model, range(5), scale=0.5)
    for seed in range(5):
        g = torch.Generator().manual_seed(seed)
        for p in other.parameters():
            p.grad = 0.5 * torch.randn(p.shape, generator=g)
        optimizer.param_groups[0]["lr"] = 0.05
        optimizer.step()
    assert all(torch.equal(p, q) for p, q in zip(model.parameters(), other.parameters(), strict=True))
    assert foreign.t == 5


def test_the_norm_and_the_length_of_an_update():
    model, foreign = made("Adam")
    before = Space(model).gather()
    (length,) = moved(foreign, model, [1])
    assert length == pytest.approx((Space(model).gather() - before).norm().item(), rel=1e-6)
    g = torch.cat([p.grad.reshape(-1) for p in model.parameters()])
    assert foreign.norm() == pytest.approx(g.norm().item(), rel=1e-6)


def test_parameters_without_a_gradient_stay():
    model, foreign = made("SGD")
    assert foreign.norm() == 0.0
    model.weight.grad = torch.ones(3, 4)
    bias = model.bias.clone()
    foreign.advance({"lr": 0.1})
    assert foreign.norm() == pytest.approx(math.sqrt(12))
    assert torch.equal(model.bias, bias)


@pytest.mark.parametrize("kind", list(MAKERS))
def test_nan_as_scale_leaves_all_as_it_is(kind):
    model, foreign = made(kind)
    moved(foreign, model, [0])
    before = Space(model).gather()
    assert moved(foreign, model, [1], scale=math.nan) == [0.0]
    assert torch.equal(Space(model).gather(), before)
    assert foreign.t == 1
    other, whole = made(kind)
    moved(whole, other, [0, 2])
    moved(foreign, model, [2])
    assert torch.equal(Space(model).gather(), Space(other).gather())


@pytest.mark.parametrize("kind", list(MAKERS))
def test_what_it_remembers_can_be_restored(kind):
    model, foreign = made(kind)
    moved(foreign, model, range(3))
    other, restored = made(kind)
    other.load_state_dict(model.state_dict())
    state = copy_state(foreign.state())
    restored.load(state)
    assert restored.t == 3
    moved(foreign, model, range(3, 6))
    moved(restored, other, range(3, 6))
    assert torch.equal(Space(model).gather(), Space(other).gather())
    _, second = made(kind)
    second.load(state)  # not what was made of it since
    assert second.optimizer.state_dict()["state"] != {}
    assert all(
        torch.equal(a, b)
        for one, two in zip(second.state()["optimizer"]["state"].values(), state["optimizer"]["state"].values())
        for a, b in zip(one.values(), two.values())
    )


def test_its_rate_is_the_optimizers():
    assert made("SGD")[1].lr == 0.1


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda params: None, "the function passed as rule must return a torch.optim.Optimizer, got NoneType"),
        (lambda params: torch.optim.SGD, "the function passed as rule must return a torch.optim.Optimizer, got type"),
    ],
)
def test_what_is_no_optimizer_for_this_loop(make, says):
    with pytest.raises(InputError, match=says):
        TorchOptimizer(Space(nn.Linear(2, 2)), make)
