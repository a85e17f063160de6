"""Runs whose loss is trained too, opened, located and filmed: all at the loss where the run ended."""

import functools

import pytest
import torch
from torch import nn

import steepest as sd
from steepest.tasks.data import disjoint_samples
from tests.runs.test_film import numbers, shown


class Uncertain(nn.Module):
    """Squared errors by a variance that is trained."""

    def __init__(self):
        super().__init__()
        self.log_variance = nn.Parameter(torch.zeros(1))

    def forward(self, output, target, factor=1.0):
        return factor * ((output - target).square() / self.log_variance.exp() + self.log_variance).mean()


class Centred(nn.Module):
    """Errors from a running mean of the targets, which is a buffer."""

    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.zeros(1))

    def weighed(self, output, target):
        if self.training:
            self.mean.lerp_(target.mean(0).detach(), 0.1)
        return (output - target + self.mean).square().mean()


LOSSES = {
    "a module": Uncertain,
    "a partial": lambda: functools.partial(Uncertain(), factor=2.0),
    "a method": lambda: Centred().weighed,
}


def data(n, seed):
    x = torch.randn(n, 4, generator=torch.Generator().manual_seed(seed))
    return x, x[:, :1] + 0.5


def task(loss):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Tanh(), nn.Linear(6, 1))
    return sd.Task(model, data(120, 0), LOSSES[loss](), validation=data(40, 1))


def evaluation_half(task):
    return disjoint_samples(task.data, (60, 60), 120)[1][0]


@pytest.mark.parametrize("loss", LOSSES)
def test_the_loss_is_that_of_the_end_everywhere(loss, tmp_path):
    own = task(loss)
    run = sd.fit(own, "adam", 3e-2, batch_size=20, epochs=4, locate=False, runs=tmp_path)
    assert run.model is own.model
    assert run.loss is own.loss or loss == "a method"  # a method is another object each time
    opened = sd.open(run.id, tmp_path, task=task(loss))
    assert type(opened.model) is nn.Sequential

    opened.model.eval()
    getattr(opened.loss, "__self__", getattr(opened.loss, "func", opened.loss)).eval()
    whole, half = (opened.loss(opened.model(x), y).item() for x, y in (own.data, evaluation_half(own)))
    assert sd.locate(own, opened, products=20).number("training loss").value == pytest.approx(half, rel=1e-5)

    (member,) = shown(opened.film(tmp_path / "film.html", task=own, planes=["random"]))["members"].values()
    assert numbers(member["path"]["loss"])[-1] == pytest.approx(whole, rel=1e-5)
