"""The optimizers that torch does not have: against other libraries, on every dtype, saved and loaded."""

import copy
import io
import pickle
from functools import partial

import pytest
import pytorch_optimizer
import schedulefree
import torch
from torch import nn

import steepest as sd

BETAS = (0.9, 0.98)


def schedule_free(params, **given):
    optimizer = schedulefree.AdamWScheduleFree(params, betas=BETAS, foreach=False, **given)
    optimizer.train()
    return optimizer


PEERS = {
    "Lion": (
        partial(sd.optim.Lion, lr=1e-3, betas=BETAS, weight_decay=0.1),
        partial(pytorch_optimizer.Lion, lr=1e-3, betas=BETAS, weight_decay=0.1, weight_decouple=True),
    ),
    "Signum": (
        partial(sd.optim.Signum, lr=1e-3, momentum=0.8, weight_decay=0.1),
        partial(pytorch_optimizer.SignSGD, lr=1e-3, momentum=0.8, weight_decay=0.1, weight_decouple=True),
    ),
    "ADOPT": (
        partial(sd.optim.ADOPT, lr=1e-2, betas=BETAS, weight_decay=0.1),
        partial(
            pytorch_optimizer.ADOPT, lr=1e-2, betas=BETAS, weight_decay=0.1, clip_lambda=lambda t: (t - 1) ** 0.25
        ),
    ),
    "AdEMAMix": (
        partial(sd.optim.AdEMAMix, lr=1e-2, betas=(*BETAS, 0.999), alpha=3.0, warmup=20, weight_decay=0.1),
        partial(
            pytorch_optimizer.AdEMAMix, lr=1e-2, betas=(*BETAS, 0.999), alpha=3.0, t_alpha_beta3=20.0,
            weight_decay=0.1, weight_decouple=True,
        ),
    ),
    "ScheduleFreeAdamW": (
        partial(sd.optim.ScheduleFreeAdamW, lr=1e-2, betas=BETAS, weight_decay=0.1),
        partial(schedule_free, lr=1e-2, weight_decay=0.1),
    ),
}  # fmt: skip


def network(dtype=torch.float64):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1)).to(dtype)


def train(net, optimizer, steps=30):
    """The losses; the second layer has no gradient at first."""
    x = torch.linspace(-1, 1, 20)[:, None].expand(20, 3).to(net[0].weight.dtype)
    losses = []
    for step in range(steps):
        optimizer.zero_grad()
        loss = (net(x) - x.sin().sum(1, keepdim=True)).square().mean()
        loss.backward()
        if step < 3:
            net[2].weight.grad = None
        optimizer.step()
        losses.append(loss.item())
    return losses


@pytest.mark.parametrize("name", PEERS)
def test_equals_its_peer(name):
    ends = []
    for make in PEERS[name]:
        net = network()
        for p in net[2].parameters():  # the peers count the steps of a group
            p.requires_grad_(False)
        net[0].requires_grad_(True)
        optimizer = make([p for p in net.parameters() if p.requires_grad])
        x = torch.linspace(-1, 1, 20, dtype=torch.float64)[:, None].expand(20, 3)
        for _ in range(40):
            optimizer.zero_grad()
            (net(x) - x.sin().sum(1, keepdim=True)).square().mean().backward()
            optimizer.step()
        if name == "ScheduleFreeAdamW":
            optimizer.eval()
        ends.append(torch.cat([p.detach().flatten() for p in net.parameters()]))
    torch.testing.assert_close(*ends, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", PEERS)
def test_it_descends_in_every_dtype(name, dtype):
    losses = train(net := network(dtype), PEERS[name][0](net.parameters()))
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("how", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
@pytest.mark.parametrize("name", [*PEERS, "RuleOptimizer"])
def test_a_copy_goes_on_bit_for_bit(name, how):
    net = network()
    make = partial(sd.optim.RuleOptimizer, rule=sd.adam(lr=0.01)) if name == "RuleOptimizer" else PEERS[name][0]
    optimizer = make(net.parameters())
    train(net, optimizer, 5)
    twin, other = how((net, optimizer))
    assert train(net, optimizer, 5) == train(twin, other, 5)


@pytest.mark.parametrize("name", PEERS)
def test_state_is_saved_and_loaded_without_code(name):
    net = network()
    optimizer = PEERS[name][0](net.parameters())
    train(net, optimizer, 5)
    file = io.BytesIO()
    torch.save(optimizer.state_dict(), file)
    file.seek(0)
    twin = copy.deepcopy(net)
    other = PEERS[name][0](twin.parameters())
    other.load_state_dict(torch.load(file, weights_only=True))
    assert train(net, optimizer, 5) == train(twin, other, 5)


def test_schedule_free_evaluates_at_its_average():
    net = network()
    optimizer = sd.optim.ScheduleFreeAdamW(net.parameters(), lr=1e-2)
    train(net, optimizer, 20)
    at_y = [p.detach().clone() for p in net.parameters()]
    optimizer.eval()
    optimizer.eval()
    assert not torch.equal(at_y[0], net[0].weight)
    with pytest.raises(sd.InputError, match=r"eval\(\) was called last. Call optimizer.train\(\)"):
        optimizer.step()
    optimizer.train()
    for p, y in zip(net.parameters(), at_y, strict=True):
        torch.testing.assert_close(p.detach(), y, rtol=1e-12, atol=1e-14)


def test_a_rule_of_ones_own():
    @sd.rule
    def half(w, g, count=0.0, total=sd.scalar(0.0), *, t, lr=0.5):
        return w - lr * g / t, count + 1, total + lr

    w = nn.Parameter(torch.ones(2))
    optimizer = sd.optim.RuleOptimizer([{"params": [w], "lr": 1.0}], half)
    for _ in range(2):
        w.grad = torch.ones(2)
        optimizer.step()
    assert w.tolist() == [-0.5, -0.5]
    assert {k: v.flatten().tolist() for k, v in optimizer.state[w].items()} == {
        "step": [2.0], "count": [2.0, 2.0], "total": [2.0]
    }  # fmt: skip


def test_maximize_ascends():
    w = nn.Parameter(torch.zeros(1))
    optimizer = sd.optim.Lion([w], lr=0.1, maximize=True)
    w.grad = torch.ones(1)
    optimizer.step()
    assert w.item() == pytest.approx(0.1)


BAD = {
    "no rate": (lambda p: sd.optim.RuleOptimizer(p, no_rate()), "lr is missing: rule plain has no default"),
    "schedule": (
        lambda p: sd.optim.RuleOptimizer(p, sd.momentum(beta=0.9 * sd.cosine())),
        "beta of momentum must be a number, got the schedule",
    ),
    "betas": (lambda p: sd.optim.Lion(p, betas=(1.0, 0.9)), "beta1 of lion must be at least 0 and below 1, got 1.0"),
    "schedule-free": (lambda p: sd.optim.ScheduleFreeAdamW(p, betas=(0.0, 0.9)), "beta1 must be above 0, got 0"),
    "option": (lambda p: sd.optim.Lion([{"params": p, "momentum": 0.9}]), "Unknown option 'momentum' of a param group"),
}


def no_rate():
    @sd.rule
    def plain(w, g, *, lr):
        return w - lr * g

    return plain


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_answered_in_words(case):
    make, words = BAD[case]
    with pytest.raises(sd.InputError, match=words):
        make([nn.Parameter(torch.ones(2))])
