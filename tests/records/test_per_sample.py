"""Losses per sample: a sum's batches and whole splits in one unit."""

import functools

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits, mse_loss

import steepest as sd
from steepest.records.per_sample import is_sum, per_sample


def noisy(n, seed):
    stream = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 6, generator=stream)
    return x, (torch.rand(n, 1, generator=stream) < torch.sigmoid(x.sum(1, keepdim=True))).float()


def run_of(loss, rule="adam", lr=1e-2, batch_size=32, epochs=4):
    torch.manual_seed(0)
    task = sd.Task(nn.Linear(6, 1), noisy(320, 0), loss, validation=noisy(3000, 1))
    return sd.fit(task, rule, lr=lr, batch_size=batch_size, epochs=epochs, locate=False)


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


SUMS = {
    "a module": nn.BCEWithLogitsLoss(reduction="sum"),
    "a partial": functools.partial(mse_loss, reduction="sum"),
    "a function": lambda output, target, reduction="sum": mse_loss(output, target, reduction=reduction),
}
OTHERS = {
    "a mean": mse_loss,
    "a mean by hand": lambda output, target: (output - target).abs().mean(),
    "a norm": lambda output, target: (output - target).norm(),
}


@pytest.mark.parametrize("loss", SUMS.values(), ids=SUMS)
@pytest.mark.parametrize("batch_size", [32, "full"])
def test_losses_of_a_sum_are_divided_by_their_samples(loss, batch_size):
    run = run_of(loss, batch_size=batch_size)
    record, size = per_sample(run.record), 320 if batch_size == "full" else 32
    assert is_sum(run.record)
    np.testing.assert_allclose(size * record.steps.loss, run.losses)
    stored, divided = (one.series("validation", "loss")[0].value for one in (run.record, record))
    assert divided == pytest.approx(stored / 3000)
    assert 0.5 < record.steps.loss[0] / divided < 2
    opened = sd.open(run.id).record.config
    assert (opened.reduction, opened.validation_samples) == ("sum", 3000)


@pytest.mark.parametrize("loss", OTHERS.values(), ids=OTHERS)
def test_other_losses_stay_as_they_are(loss):
    run = run_of(loss, epochs=1)
    assert per_sample(run.record) is run.record
    assert "reduction" not in run.record.config.to_json()


@pytest.mark.parametrize(("rule", "lr", "factor"), [("adam", 0.1, 1), ("gradient_descent", 0.5, 32)])
def test_a_sum_has_the_diagnosis_of_its_mean(rule, lr, factor):
    kinds = []
    for reduction, rate in (("mean", lr), ("sum", lr / factor)):
        loss = functools.partial(binary_cross_entropy_with_logits, reduction=reduction)
        kinds.append(sd.diagnose(run_of(loss, rule, rate, epochs=10)).kinds)
    assert kinds[0] == kinds[1]
    assert not {"exploding", "overfitting"} & set(kinds[1])


def test_figure_and_film_say_so():
    run = run_of(nn.MSELoss(reduction="sum"))
    assert "loss per sample" in run.figure("curves.svg").read_text(encoding="utf-8")
    assert "loss per sample" in run.film("film.html", planes=["random"]).read_text(encoding="utf-8")
