"""Verdicts on models and losses that are built in unusual ways."""

import threading

import torch
import torch.nn.functional as F
from torch import nn
from torch.func import functional_call

import steepest as sd
from steepest.analysis.diagnosis.diagnose import diagnose_record

X = torch.randn(200, 8, generator=torch.Generator().manual_seed(0))
Y = (X[:, 0] > 0).long()


class WithLock(nn.Module):
    """Its lock cannot be copied."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layer, self.lock = nn.Linear(8, 2), threading.Lock()

    def forward(self, x):
        with self.lock:
            return self.layer(x)


def after_a_step(model, batch):
    """The loss after one gradient step of the model's own."""
    x, y = batch
    weights = dict(model.named_parameters())
    loss = F.mse_loss(functional_call(model, weights, (x,)), y)
    steps = torch.autograd.grad(loss, list(weights.values()), create_graph=True)
    moved = {name: w - 0.1 * g for (name, w), g in zip(weights.items(), steps)}
    return F.mse_loss(functional_call(model, moved, (x,)), y)


def fit(task, tmp_path, **choices):
    return sd.fit(task, **{"rule": "adam", "lr": 1e-2, "epochs": 3, "batch_size": 32, "runs": tmp_path, **choices})


def test_a_model_that_holds_a_lock(tmp_path):
    model = WithLock()
    run = fit(sd.Task(model, loss=F.cross_entropy, data=(X, Y), validation=(X, Y)), tmp_path)
    assert run.verdict.kind == "DESCENDING"
    assert not model.lock.locked()


def test_an_objective_that_differentiates_by_the_weights(tmp_path):
    torch.manual_seed(0)
    model, y = nn.Linear(8, 1), X[:, :1].clone()
    run = fit(sd.Task(model, objective=after_a_step, data=(X, y), validation=(X, y)), tmp_path)
    loss = run.verdict.number("training loss")
    assert loss.low <= float(after_a_step(run.model, (X, y)).detach()) <= loss.high
    assert all(p.requires_grad for p in model.parameters())


def test_targets_far_away_are_no_stationary_point(tmp_path):
    for seed in range(3):
        torch.manual_seed(seed)
        model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 1))
        run = fit(sd.Task(model, loss=F.mse_loss, data=(X, X[:, :1] * 1e6), validation=(X, X[:, :1] * 1e6)), tmp_path)
        assert run.verdict.kind == "DESCENDING"
        assert run.verdict.number("training loss").value > 1e11


def test_an_update_that_is_not_finite_is_named(tmp_path):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 3)).half()
    task = sd.Task(model, loss=lambda p, y: F.cross_entropy(p.float(), y), data=(X.half(), Y), validation=(X.half(), Y))
    found = diagnose_record(fit(task, tmp_path).record)
    assert found.kind == "not finite"
    assert "the weights after it, with a gradient of norm" in found.sentence
    assert "model.float()" in found.advice
