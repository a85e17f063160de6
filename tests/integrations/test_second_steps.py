"""Steps that a loop takes beside `run.step(loss)`."""

import pytest
import torch
from torch import nn

import steepest as sd

WORDS = "optimizer.step() was called beside run.step(loss)"


def loop(run, optimizer, model, *, steps=4, beside=lambda t: False, scaler=None):
    x = torch.randn(16, 3, generator=torch.Generator().manual_seed(0))
    for t in range(steps):
        optimizer.zero_grad()
        loss = model(x).square().mean()
        (loss if scaler is None else scaler.scale(loss)).backward()
        if beside(t):
            optimizer.step()
        run.step(loss)


@pytest.fixture
def model():
    torch.manual_seed(0)
    return nn.Linear(3, 2)


@pytest.mark.parametrize("rule", [torch.optim.SGD, torch.optim.AdamW, sd.optim.Adam])
def test_they_are_said_once(model, rule, tmp_path, capsys):
    optimizer = rule(model.parameters(), lr=0.01)
    with sd.watch(model, optimizer, runs=tmp_path) as run:
        loop(run, optimizer, model, beside=lambda t: True)
    assert capsys.readouterr().err.count(WORDS) == 1


def test_steps_before_the_first_are_the_loops_own(model, tmp_path, capsys):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    with sd.watch(model, optimizer, runs=tmp_path) as run:
        loop(run, optimizer, model, beside=lambda t: t == 0)
    assert WORDS not in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["plain", "scaler", "closure", "another optimizer"])
def test_its_own_steps_are_none_of_them(model, kind, tmp_path, capsys):
    other = torch.optim.SGD(nn.Linear(2, 2).parameters(), lr=0.1)
    if kind == "closure":
        optimizer = torch.optim.LBFGS(model.parameters(), lr=0.1, max_iter=3)
        with sd.watch(model, optimizer, runs=tmp_path) as run:
            for _ in range(3):

                def closure():
                    optimizer.zero_grad()
                    loss = model(torch.ones(4, 3)).square().mean()
                    loss.backward()
                    return loss

                run.step(closure)
    else:
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
        scaler = torch.amp.GradScaler("cpu") if kind == "scaler" else None
        with sd.watch(model, optimizer, runs=tmp_path, scaler=scaler) as run:
            loop(run, optimizer, model, scaler=scaler)
            if kind == "another optimizer":
                other.step()
                loop(run, optimizer, model)
    assert WORDS not in capsys.readouterr().err


def test_a_run_that_is_closed_sees_none(model, tmp_path, capsys):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    with sd.watch(model, optimizer, runs=tmp_path) as run:
        loop(run, optimizer, model)
    assert not optimizer._optimizer_step_post_hooks
    optimizer.step()
    assert WORDS not in capsys.readouterr().err
