"""Optimizers that need a closure, such as L-BFGS: a step evaluates the loss of its batch several times."""

from functools import partial

import pytest
import torch
from torch import nn

import steepest as sd

LBFGS = partial(torch.optim.LBFGS, lr=0.5, line_search_fn="strong_wolfe")


def build(seed):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 1)).double()


def data():
    torch.manual_seed(1)
    x = torch.randn(60, 5, dtype=torch.float64)
    return x, x.sin().sum(1, keepdim=True)


def task():
    x, y = data()
    return sd.Task(build, (x, y), nn.functional.mse_loss, validation=(x[:10], y[:10]))


def plain(steps):
    """The losses of a plain loop."""
    net, (x, y), losses = build(0), data(), []
    optimizer = LBFGS(net.parameters())

    def closure():
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(net(x), y)
        loss.backward()
        return loss

    for _ in range(steps):
        losses.append(optimizer.step(closure).item())
    return losses


def test_descend_equals_a_plain_loop():
    steps = sd.descend(task(), rule=LBFGS, schedule="constant", batch_size="full", steps=12)
    losses = [step.loss for step in steps]
    assert losses == pytest.approx(plain(12), rel=1e-9)
    assert losses[-1] < losses[0] / 100


def test_fit_equals_a_plain_loop_and_resumes_bit_for_bit(tmp_path):
    def fit(**other):
        return sd.fit(task(), rule=LBFGS, schedule="constant", batch_size="full", runs=tmp_path, locate=False, **other)

    whole = fit(steps=12)
    assert whole.losses.tolist() == pytest.approx(plain(12), rel=1e-9)
    first = fit(steps=5)
    both = sd.resume(first, task=task(), steps=12, rule=LBFGS, runs=tmp_path)
    assert both.losses.tolist() == whole.losses.tolist()
    assert torch.equal(both.point, whole.point)


def test_one_stage_may_be_l_bfgs():
    rule = sd.stage(LBFGS, 5) >> sd.stage(sd.momentum(beta=0.9), lr=0.01)
    losses = [step.loss for step in sd.descend(task(), rule=rule, schedule="constant", batch_size="full", steps=40)]
    assert losses[:5] == pytest.approx(plain(5), rel=1e-9)
    assert losses[-1] <= losses[5]


def test_clipping_is_refused_in_words():
    with pytest.raises(
        sd.InputError, match=r"clip cannot be used with LBFGS, which searches along a line. Drop clip=1"
    ):
        next(iter(sd.descend(task(), rule=LBFGS, clip=1.0, batch_size="full", steps=8)))
