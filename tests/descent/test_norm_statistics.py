"""Batch norm at the point that a rule reports: its statistics are those of the reported weights."""

import copy

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.optim.swa_utils import AveragedModel, update_bn
from torch.utils.data import DataLoader, TensorDataset

import steepest as sd
from steepest.descent import norm_statistics
from steepest.descent.loop import Descent
from steepest.descent.settings import resolve
from steepest.tasks import module_state


def data(n, seed):
    g = torch.Generator().manual_seed(seed)
    x = 3 * torch.randn(n, 6, generator=g) + 4
    return x, ((x - 4) @ torch.randn(6, 3, generator=torch.Generator().manual_seed(7))).argmax(1)


class Noisy(nn.Module):
    """Counts the training passes, in a buffer and in its extra state."""

    def __init__(self):
        super().__init__()
        self.calls = 0
        self.register_buffer("passes", torch.zeros(()))

    def forward(self, x):
        self.calls += self.training
        self.passes += 1
        return x + 0.1 * torch.rand_like(x) if self.training else x

    def get_extra_state(self):
        return self.calls

    def set_extra_state(self, state):
        self.calls = state


def network(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Linear(6, 24), nn.BatchNorm1d(24), nn.ReLU(), Noisy(), nn.Linear(24, 24), nn.BatchNorm1d(24), nn.ReLU(),
        nn.Dropout(0.2), nn.Linear(24, 3),
    )  # fmt: skip


def a_task(source=None, **given):
    metrics = {"accuracy": sd.accuracy}
    source = data(480, 0) if source is None else source
    return sd.Task(network, source, cross_entropy, validation=data(300, 1), metrics=metrics, name="bn", **given)


def descent(task=None, steps=45, **choices):
    task = task or a_task()
    defaults = {
        "rule": "momentum",
        "lr": 0.05,
        "schedule": "constant",
        "batch_size": 32,
        "steps": steps,
        "average": 0.9,
    }
    return Descent(task, resolve(task, **{**defaults, **choices}), task.build(0))


def test_they_are_those_of_torchs_update_bn():
    """Over all training data once, where it is below the bound."""
    d = descent()
    list(d)
    d.finish()
    model = copy.deepcopy(d.model)
    for layer in norm_statistics.norm_layers(model):
        layer.running_mean.fill_(50)
    for m in model:
        m.eval()
        if isinstance(m, nn.BatchNorm1d):
            m.train()
    model.train = lambda mode=True: model  # torch's own would switch dropout on
    update_bn([d.batches(t)[0][0] for t in range(1, 16)], model)
    ours, theirs = norm_statistics.norm_layers(d.model), norm_statistics.norm_layers(model)
    for a, b in zip(ours, theirs, strict=True):
        assert torch.allclose(a.running_mean, b.running_mean, atol=1e-5)
        assert torch.allclose(a.running_var, b.running_var, rtol=1e-4)


def end_of_descent(**choices):
    """A descent at its end; the accuracy of its own weights, and the loss of the reported ones with its statistics."""
    d = descent(steps=90, **choices)
    list(d)
    x, y = d.task.validation
    accuracy = sd.accuracy(copy.deepcopy(d.model).eval()(x), y)
    stale = copy.deepcopy(d.model).eval()
    for p, w in zip(stale.parameters(), d.update.reported_weights(d.hypers_at(90)), strict=True):
        p.data.copy_(w)
    return d, accuracy, cross_entropy(stale(x), y).item()


@pytest.mark.parametrize("average", [0.9, 0.98])
def test_an_average_is_not_worse_than_the_last_weights(average):
    d, accuracy, stale_loss = end_of_descent(average=average)
    reported = d.measure()
    d.finish()
    x, y = d.task.validation
    assert sd.accuracy(d.model.eval()(x), y) == reported["accuracy"] >= accuracy > 0.8
    assert reported["loss"] < stale_loss


def test_the_point_of_a_schedule_free_rule_has_its_own_too():
    d, _, stale_loss = end_of_descent(rule="schedule_free_adamw", average=None)
    reported = d.measure()
    d.finish()
    x, y = d.task.validation
    assert cross_entropy(d.model.eval()(x), y).item() == pytest.approx(reported["loss"], rel=1e-5)
    assert reported["loss"] < stale_loss


def test_a_measurement_changes_nothing():
    """Weights, buffers, extra state, modes, the random state, and so all further steps."""
    d, plain = descent(), descent()
    losses = []
    for step in d:
        losses.append(step.loss)
        before = module_state.read(d.model)
        modes, state = [m.training for m in d.model.modules()], torch.get_rng_state()
        d.measure()
        after = module_state.read(d.model)
        assert all(torch.equal(after.tensors[name], x) for name, x in before.tensors.items())
        assert (after.extra, torch.get_rng_state().tolist()) == (before.extra, state.tolist())
        assert [m.training for m in d.model.modules()] == modes
    assert losses == [step.loss for step in plain]


def test_they_depend_on_the_step_alone():
    """Not on what was measured before, so a resumed run measures the same."""
    often, once = descent(), descent()
    for _ in often:
        often.measure()
    list(once)
    assert often.measure() == once.measure()


def test_a_model_without_batch_norm_and_a_rule_that_reports_its_weights_pay_nothing(monkeypatch):
    def refuse(*arguments):
        raise AssertionError

    monkeypatch.setattr(norm_statistics, "_measure", refuse)
    d = descent(average=None)
    list(d)
    d.measure()
    task = sd.Task(nn.Linear(6, 3), data(60, 0), cross_entropy)
    other = descent(task)
    list(other)
    other.measure()


def test_no_more_samples_than_the_bound(monkeypatch):
    counts = []
    measure = norm_statistics._measure
    monkeypatch.setattr(norm_statistics, "MEASURED_SAMPLES", 100)
    monkeypatch.setattr(norm_statistics, "END_SAMPLES", 200)
    monkeypatch.setattr(norm_statistics, "_measure", lambda *a: counts.append(len(a[3])) or measure(*a))
    d = descent()
    for step in d:
        if step.t in (10, 45):
            d.measure()
            d.measure()  # the same step is not measured twice
    assert counts == [4, 7]  # batches of 32


def test_an_iterable_gives_its_last_batches(monkeypatch):
    """It cannot give one again; its own order is not touched."""
    monkeypatch.setattr(norm_statistics, "MEASURED_SAMPLES", 128)
    read = []

    class Loud(TensorDataset):
        def __getitem__(self, i):
            read.append(i)
            return super().__getitem__(i)

    loader = DataLoader(Loud(*data(480, 0)), batch_size=32, shuffle=True)
    d = descent(a_task(loader), batch_size=None)
    for step in d:
        if step.t % 15 == 0:
            d.measure()
    assert len(read) == 45 * 32
    assert len(d.statistics._recent) == 4
    x, y = d.task.validation
    d.finish()
    assert sd.accuracy(d.model.eval()(x), y) > 0.8
    assert isinstance(AveragedModel(d.model), nn.Module)


def test_what_is_stored_is_what_was_measured(tmp_path):
    """And a longer run goes on from the training's own statistics."""
    choices = {"batch_size": 32, "average": 0.95, "schedule": "constant", "locate": False, "runs": tmp_path}
    run = sd.fit(a_task(), "momentum", 0.05, epochs=3, **choices)
    opened = sd.open(run.id, tmp_path, task=a_task())
    x, y = opened.task.validation
    assert sd.accuracy(opened.model.eval()(x), y) == run.metric
    longer, whole = sd.resume(run, epochs=4), sd.fit(a_task(), "momentum", 0.05, epochs=4, **choices)
    assert {k: v.tolist() for k, v in longer.tensors.items()} == {k: v.tolist() for k, v in whole.tensors.items()}
    assert longer.metric == whole.metric
