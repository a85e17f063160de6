"""Searches, races and looks begin where `fit` begins: weights, loss, buffers and extra state."""

import pytest
import torch
from torch import nn

import steepest as sd
from steepest.descent.loop import Descent
from steepest.descent.population.dispatch import BATCHED, SEQUENTIAL, run_descents
from steepest.descent.population.population import Plan
from steepest.descent.settings import resolve
from steepest.search import contest, rungs
from steepest.tasks import module_state

ROWS = 200


class Scaled(nn.Module):
    """Batch norm, and a scale that stands in the extra state."""

    def __init__(self):
        super().__init__()
        self.net, self.scale = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, 1)), 1.0

    def forward(self, x):
        return self.scale * self.net(x)

    def get_extra_state(self):
        return self.scale

    def set_extra_state(self, state):
        self.scale = state


class Weighted(nn.Module):
    """A loss with a weight, a buffer and an extra state."""

    def __init__(self):
        super().__init__()
        self.log, self.factor = nn.Parameter(torch.zeros(())), 1.0
        self.register_buffer("offset", torch.zeros(()))

    def forward(self, output, target):
        square = (output - target - self.offset).square().mean()
        return self.factor * torch.exp(-self.log) * square + 0.1 * self.log.square()

    def get_extra_state(self):
        return self.factor

    def set_extra_state(self, state):
        self.factor = state


def made():
    torch.manual_seed(0)
    model, loss = Scaled(), Weighted()
    model.net(3 * torch.randn(50, 6))
    with torch.no_grad():
        loss.log.fill_(0.3)
        loss.offset.fill_(0.2)
    model.scale, loss.factor = 1.5, 0.7
    return model, loss


def rows(seed):
    x = torch.randn(ROWS, 6, generator=torch.Generator().manual_seed(seed))
    return x, x.sum(1, keepdim=True)


def a_task(kind):
    model, loss = made()
    of_seed = lambda seed: made()[0]  # noqa: E731
    given = {"loss": loss, "validation": rows(1)}
    task = sd.Task(of_seed if kind == "a function" else model, rows(0), **given)
    with torch.no_grad():  # what has happened since the task was made is no start
        loss.log.fill_(9.0)
        model.net[0].weight.zero_()
    model.scale, loss.factor = 9.0, 9.0
    return task


def elsewhere(task):
    """A state and a point that are not the task's start."""
    other = task.copy(0)
    with torch.no_grad():
        for p in other.parameters():
            p.add_(0.05)
    other.model.scale = 0.8
    return module_state.read(other)


def same(a, b):
    return (
        a.tensors.keys() == b.tensors.keys()
        and all(torch.equal(a.tensors[n], b.tensors[n]) for n in a.tensors)
        and a.extra == b.extra
    )


KINDS = ("a module", "a function")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("place", ["start", "apart", "at a state", "at a point"])
def test_copies_and_the_module_itself_have_the_same_start(kind, place):
    task = a_task(kind)
    start = module_state.read(task.copy(0))
    assert start.extra == {"": 1.5, "loss": 0.7}
    assert start.tensors["loss.log"].item() == pytest.approx(0.3)
    if place == "apart":
        task = task.apart(0.2, seed=1)
    elif place == "at a state":
        start = elsewhere(task)
        task = task.at(start)
    elif place == "at a point":
        point = sd.tasks.Space(task.copy(0)).gather() + 0.1
        task = task.at(point)
        start = module_state.read(task.copy(0))
        assert torch.equal(sd.tasks.Space(task.copy(0)).gather(), point)
        assert start.extra == {"": 1.5, "loss": 0.7}
    one = task.copy(0)
    with torch.no_grad():
        for p in one.parameters():
            p.zero_()
    assert same(module_state.read(task.copy(0)), start)
    assert same(module_state.read(task.build(0)), start)


@pytest.mark.parametrize("kind", KINDS)
def test_every_verb_begins_at_the_same_loss(kind, monkeypatch, tmp_path):
    task = a_task(kind)
    own = resolve(task, rule="adam", lr=0.01, batch_size=50, steps=30)
    start = Descent(task, own, task.copy(0)).measure()["loss"]
    first = run_descents(task, [own], Plan()).members[0].losses[0]
    baselines = []
    usual = rungs.measure_baseline
    monkeypatch.setattr(rungs, "measure_baseline", lambda *given: baselines.append(usual(*given)) or baselines[-1])
    sd.find_lr(task, "adam", batch_size=50, steps=30)
    assert baselines[0].loss == start
    members = []
    run = contest.run_descents
    monkeypatch.setattr(contest, "run_descents", lambda *given: members.append(run(*given)) or members[-1])
    sd.race(task, ["adam", "momentum"], lr=0.01, seeds=2, batch_size=50, steps=30)
    for found in members:
        assert found.members[0].losses[0] == pytest.approx(first, rel=1e-6)
    losses = sd.fit(task, "adam", lr=0.01, batch_size=50, steps=30, runs=tmp_path, locate=False).losses
    assert losses[0] == pytest.approx(first, rel=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_a_population_trains_the_loss_and_ends_as_single_descents(kind):
    task = a_task(kind)
    settings = [resolve(task, rule="adam", lr=lr, batch_size=50, steps=20) for lr in (0.01, 0.03)]
    batched = run_descents(task, settings, strategy=BATCHED)
    assert [s.name for s in batched.strategies] == [BATCHED]
    for one, other in zip(batched.members, run_descents(task, settings, strategy=SEQUENTIAL).members, strict=True):
        assert one.losses == pytest.approx(other.losses, rel=1e-4)
        assert one.value == pytest.approx(other.value, rel=1e-3)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("place", ["start", "at a state"])
def test_locate_looks_there_too(kind, place):
    """All samples are alike, so that each half of them has torch's loss."""
    task = a_task(kind)
    x, y = rows(0)
    task.data = (x[:1].expand(ROWS, 6).clone(), y[:1].expand(ROWS, 1).clone())
    task = task.at(elsewhere(task)) if place == "at a state" else task
    truth = task.copy(0).eval()
    with torch.no_grad():
        loss = truth.function(truth(task.data[0]), task.data[1]).item()
    task.build(0)
    assert sd.locate(task, products=20).number("training loss").value == pytest.approx(loss, rel=1e-5)
