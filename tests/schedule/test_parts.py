"""Every part against torch's or transformers' values at every step."""

import warnings

import pytest
import torch
import transformers
from torch.optim import lr_scheduler as peers

from steepest.schedule import parse

T = 60


def values(text, steps=T, steps_per_epoch=6):
    bound = parse(text).bind(steps, steps_per_epoch)
    return [bound(t) for t in range(1, steps + 1)]


def of_torch(make, steps=T + 1):
    """The peer's rates at its indices e = 0 … steps − 1, for a base rate of 1."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = make(optimizer)
    found = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns of an order of calls that does not matter here
        for _ in range(steps):
            found.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            scheduler.step()
    return found


AT_T = {  # e = t
    "cosine": lambda o: peers.CosineAnnealingLR(o, T_max=T),
    "cosine(floor=0.1)": lambda o: peers.CosineAnnealingLR(o, T_max=T, eta_min=0.1),
    "linear": lambda o: peers.LinearLR(o, start_factor=1.0, end_factor=0.0, total_iters=T),
    "linear(end=0.2)": lambda o: peers.LinearLR(o, start_factor=1.0, end_factor=0.2, total_iters=T),
    "polynomial(2)": lambda o: peers.PolynomialLR(o, total_iters=T, power=2),
    "exponential(0.01)": lambda o: peers.ExponentialLR(o, gamma=0.01 ** (1 / T)),
    "warmup(10) >> constant": lambda o: transformers.get_constant_schedule_with_warmup(o, 10),
    "warmup(10) >> linear": lambda o: transformers.get_linear_schedule_with_warmup(o, 10, T),
    "warmup(10) >> cosine": lambda o: transformers.get_cosine_schedule_with_warmup(o, 10, T),
}
BEFORE_T = {  # e = t − 1
    "step(7, gamma=0.5)": lambda o: peers.StepLR(o, 7, 0.5),
    "step(2 epochs, gamma=0.1)": lambda o: peers.StepLR(o, 12, 0.1),
    "one_cycle": lambda o: peers.OneCycleLR(o, max_lr=1.0, total_steps=T),
    "one_cycle(rise=0.5, div=10, final_div=100)": lambda o: peers.OneCycleLR(
        o, max_lr=1.0, total_steps=T, pct_start=0.5, div_factor=10, final_div_factor=100
    ),
    "cosine_restarts(8)": lambda o: peers.CosineAnnealingWarmRestarts(o, 8),
    "cosine_restarts(8, mult=2)": lambda o: peers.CosineAnnealingWarmRestarts(o, 8, 2),
}


@pytest.mark.parametrize("text", AT_T)
def test_equals_its_peer_at_t(text):
    assert values(text) == pytest.approx(of_torch(AT_T[text])[1:], rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("text", BEFORE_T)
def test_equals_its_peer_before_t(text):
    steps = T if "one_cycle" in text else T + 1
    assert values(text) == pytest.approx(of_torch(BEFORE_T[text], steps)[:T], rel=1e-9, abs=1e-12)


def test_inverse_sqrt_equals_its_peer():
    theirs = of_torch(lambda o: transformers.get_inverse_sqrt_schedule(o, 10))
    assert values("inverse_sqrt(10)") == pytest.approx(theirs[1:], rel=1e-9)


def test_warmup_stable_decay():
    found = values("warmup(10) >> constant(30) >> linear")
    assert found[:10] == pytest.approx([t / 10 for t in range(1, 11)])
    assert found[10:40] == [1.0] * 30
    assert found[40:] == pytest.approx([1 - s / 20 for s in range(1, 21)])


@pytest.mark.parametrize("text", ["plateau(0.5, patience=1)", "warmup(12) >> plateau(0.5, patience=1)"])
def test_plateau_equals_its_peer(text):
    losses = [3.0, 2.0, 2.1, 2.2, 1.9, 1.95, 1.96, 1.97, 1.98, 1.0]
    bound = parse(text).bind(T, 6)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    theirs = peers.ReduceLROnPlateau(optimizer, factor=0.5, patience=1)
    skipped = 2 if "warmup" in text else 0
    for epoch, loss in enumerate(losses, 1):
        bound.observe(6 * epoch, loss)
        if epoch > skipped:
            theirs.step(loss)
            assert bound(min(T, 6 * epoch + 1)) == optimizer.param_groups[0]["lr"], epoch
    assert bound(T) < 1


def test_plateau_is_resumed():
    one = parse("plateau(0.5, patience=0)").bind(T, 6)
    for epoch, loss in enumerate([1.0, 2.0, 3.0], 1):
        one.observe(6 * epoch, loss)
    other = parse("plateau(0.5, patience=0)").bind(T, 6)
    other.load_state_dict(one.state_dict())
    assert other(20) == one(20) == 0.25
