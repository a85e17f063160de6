"""After a rewind: whether the weights, the learning rate, the data or the objective were the cause."""

import math
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import steepest as sd
from steepest.descent.guard.snapshots import Snapshot
from steepest.integrations.probe import FEW_STEPS, PROBE_STEPS, SECOND_LOOK_STEPS, Probe

STEPS, ONSET = 500, 250


def probe(levels, level=2.0, best=0.0, usual=0.3, is_first=True):
    guard = SimpleNamespace(level=lambda x: x, best_mean=best, usual_level=lambda k: usual)
    one = Probe(100, {}, [], guard, level, Snapshot(50, {}), is_first)  # type: ignore[arg-type]
    one.begin()
    for x in levels:
        one.add(x)
    return one


def test_older_weights_are_better_where_they_are_as_usual():
    assert probe([0.2] * PROBE_STEPS, level=0.2).are_older_better


def test_older_weights_are_better_where_they_undo_half_of_the_rise():
    assert probe([0.9] * PROBE_STEPS).are_older_better
    assert not probe([1.1] * PROBE_STEPS).are_older_better


def test_once_more_they_must_be_as_usual_and_better():
    assert probe([0.2] * PROBE_STEPS, level=0.25, is_first=False).are_older_better
    assert not probe([0.2] * PROBE_STEPS, level=0.15, is_first=False).are_older_better
    assert not probe([0.9] * PROBE_STEPS, is_first=False).are_older_better


@pytest.mark.parametrize(
    ("levels", "is_over"),
    [([3.0] * FEW_STEPS, True), ([3.0, 0.2, 3.0], False), ([0.9] * FEW_STEPS, False), ([3.0, *[0.2] * 7], True)],
)
def test_a_few_batches_are_enough_where_none_is_as_usual(levels, is_over):
    assert probe(levels).is_over == is_over


@pytest.mark.parametrize("level", [3.0, math.inf, math.nan])
def test_what_is_no_number_is_not_better(level):
    one = probe([level] * FEW_STEPS)
    assert one.is_over
    assert not one.are_older_better


# -- In a loop ---------------------------------------------------------------------------------------------------------


class Loop:
    """A loop of which the batch, the objective or the learning rate change at ONSET."""

    def __init__(self, runs=None, data=lambda t, x, y: (x, y), rate=lambda t: 1.0):
        torch.manual_seed(0)
        random = torch.Generator().manual_seed(1)
        x = torch.randn(2000, 16, generator=random)
        y = (x @ torch.randn(16, 4, generator=random)).argmax(1)
        self.model = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 4))
        optimizer = torch.optim.Adam(self.model.parameters(), lr=5e-3)
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, rate)
        run = None if runs is None else sd.watch(self.model, optimizer, scheduler=scheduler, runs=runs)
        self.losses, self.weights = [], []
        for t in range(STEPS):
            i = torch.randint(2000, (32,), generator=random)
            optimizer.zero_grad()
            loss = F.cross_entropy(self.model(data(t, x[i], y[i])[0]), data(t, x[i], y[i])[1])
            loss.backward()
            self.losses.append(loss.item())
            optimizer.step() if run is None else run.step(loss)
            scheduler.step()
            self.weights.append(self.model[0].weight.detach().clone())
        if run is not None:
            run.close()
            self.kinds = [e.kind for e in run.events]
        self.end = sum(self.losses[-50:]) / 50


def cosine(t):
    return 0.5 * (1 + math.cos(math.pi * t / STEPS))


def test_a_rate_that_stays_too_high_is_no_new_world(tmp_path):
    def rate(t):
        return cosine(t) * (100 if t >= ONSET else 1)

    healthy, alone, watched = Loop(rate=cosine), Loop(rate=rate), Loop(tmp_path, rate=rate)
    assert alone.end > 1.5 * healthy.end
    assert watched.end < 1.1 * healthy.end
    assert "accept" not in watched.kinds


def test_what_bad_data_did_is_undone_once_they_are_over(tmp_path):
    def data(t, x, y):
        return (x, y.roll(1)) if ONSET <= t < ONSET + 40 else (x, y)

    healthy, alone, watched = (Loop(rate=cosine), Loop(None, data, cosine), Loop(tmp_path, data, cosine))
    assert [k for k in watched.kinds if k in ("rewind", "accept")] == ["rewind", "accept", "rewind"]
    assert alone.end > 2 * healthy.end
    assert watched.end < 1.3 * healthy.end  # 100 of 500 steps are lost


def test_a_new_objective_is_accepted(tmp_path):
    """Other targets from here on: no older weights help."""

    def data(t, x, y):
        return (x, (y + 1) % 4) if t >= ONSET else (x, y)

    alone, watched = Loop(data=data), Loop(tmp_path, data)
    assert watched.kinds.count("accept") == 1
    assert watched.end < 1.5 * alone.end


def test_the_older_weights_stand_still_while_they_are_judged(tmp_path):
    def data(t, x, y):
        return (x, (y + 1) % 4) if t >= ONSET else (x, y)

    weights = Loop(tmp_path, data).weights
    same = [torch.equal(a, b) for a, b in zip(weights, weights[1:], strict=False)]
    assert sum(same) == 2 * (FEW_STEPS - 1)  # after the last one the newer weights are back; twice
    assert not any(same[: ONSET + 3])
    assert any(same[ONSET + SECOND_LOOK_STEPS :])


class Phases(nn.Module):
    """A model that counts its steps, and whose objective changes with them."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 4))
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))

    def forward(self, x):
        self.count += 1
        out = self.layers(x)
        return out.roll(1, 1) if self.count > ONSET else out


def test_an_objective_that_follows_a_counter_is_accepted(tmp_path):
    model, random = Phases(), torch.Generator().manual_seed(1)
    x = torch.randn(2000, 16, generator=random)
    y = (x @ torch.randn(16, 4, generator=random)).argmax(1)
    with sd.watch(model, torch.optim.Adam(model.parameters(), lr=5e-3), runs=tmp_path) as run:
        for _ in range(STEPS):
            i = torch.randint(2000, (32,), generator=random)
            model.zero_grad()
            loss = F.cross_entropy(model(x[i]), y[i])
            loss.backward()
            run.step(loss)
    kinds = [e.kind for e in run.events]
    assert (kinds.count("rewind"), kinds.count("accept")) == (1, 1)
    assert run.losses[-50:].mean() < 0.5
