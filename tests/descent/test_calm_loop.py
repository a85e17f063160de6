"""Calm steps in blocks: the same steps, states and errors as one after another."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import mse_loss

import steepest as sd
from steepest.descent import calm_loop
from steepest.descent.guard.guard import Guard
from steepest.descent.loop import Descent
from steepest.descent.settings import resolve

KINDS = {
    "plain": {}, "without a guard": {"guard": False}, "clip": {"clip": 0.5}, "report": {"guard": "report"},
    "a rate that explodes": {"lr": 40.0, "rule": "momentum"},
    "stages": {"rule": sd.stage("adam", "50%") >> sd.stage("momentum", "50%")},
    "a torch optimizer": {"rule": lambda p: torch.optim.SGD(p), "lr": 0.01}, "average": {"average": 0.9},
    "plateau": {"schedule": "plateau(0.5, patience=0)"}, "restarts": {"schedule": "cosine_restarts(20)"},
    "micro-batches": {"accumulate": 3}, "snapshots": {"guard": Guard(snapshot_every=7)},
}  # fmt: skip


def data(n=130):
    x = torch.randn(n, 5, generator=torch.Generator().manual_seed(0))
    return x, x.sum(1, keepdim=True).sin()


def descent(loss=mse_loss, **given):
    torch.manual_seed(0)
    layers = nn.Linear(5, 16), nn.BatchNorm1d(16), nn.Dropout(0.1), nn.ReLU(), nn.Linear(16, 1)
    task = sd.Task(nn.Sequential(*layers), data(), loss, validation=data(20))
    settings = resolve(task, **{"rule": "adam", "lr": 0.01, "batch_size": 20, "steps": 100, "guard": True, **given})
    return Descent(task, settings, task.build(0))


def walk(steps, each=lambda step: None):
    found = []
    for step in steps:
        found.append(step)
        each(step)
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_steps(kind):
    one, other = descent(**KINDS[kind]), descent(**KINDS[kind])
    singly, in_blocks = walk(one), walk(calm_loop.steps(other, (13,), lambda: False))
    np.testing.assert_equal(in_blocks, singly)
    assert (one.t, one.is_stopped, one.events) == (other.t, other.is_stopped, other.events)
    assert torch.equal(one.space.gather(), other.space.gather())
    assert one.recovery is None or one.recovery.guard.state_dict() == other.recovery.guard.state_dict()


def test_a_block_ends_where_the_caller_reads_the_descent(monkeypatch):
    monkeypatch.setattr(calm_loop, "BLOCK_S", 60.0)
    d, ends = descent(), set()
    walk(calm_loop.steps(d, (13, 0), lambda: False), lambda step: ends.add(d.t))
    assert {13, 26, 39, 50, 52, 7, 14} <= ends  # the marks, snapshots, measurements
    assert len(ends) < 60


def test_it_ends_when_asked_to():
    d, count = descent(), []
    found = next(iter([walk(calm_loop.steps(d, (), lambda: count.append(1) or len(count) >= 30))]))
    assert len(found) == 100  # the caller decides what follows
    d, seen = descent(), []
    for step in calm_loop.steps(d, (), lambda: d.t >= 33):
        seen.append(step.t)
        if step.t == d.t >= 33:
            break
    assert seen == list(range(1, 34))


def test_the_steps_before_an_error_are_not_lost():
    calls = []

    def loss(output, target):
        calls.append(1)
        if len(calls) == 45:
            raise ZeroDivisionError
        return mse_loss(output, target)

    d, seen = descent(loss), []
    with pytest.raises(ZeroDivisionError):
        walk(calm_loop.steps(d, (), lambda: False), lambda step: seen.append(step.t))
    assert seen == list(range(1, d.t + 1))
    assert d.t > 30
