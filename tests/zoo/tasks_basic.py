"""Dense networks: the plainest tasks, and small twists of them."""

import torch
import torch.nn.functional as F
from torch import nn

import steepest as sd
from tests.zoo.case import Case
from tests.zoo.datasets import classes, table


def dense(seed: int = 0, features: int = 6, outputs: int = 1) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(features, 16), nn.Tanh(), nn.Linear(16, outputs))


def mse(model, batch):
    return F.mse_loss(model(batch[0]), batch[1])


def cross_entropy(model, batch):
    return F.cross_entropy(model(batch[0]), batch[1])


def accuracy(model, batches):
    hits = [(model(x).argmax(1) == y).double() for x, y in batches]
    return torch.cat(hits).mean().item()


def regression() -> sd.Task:
    return sd.Task(model=dense(), loss=F.mse_loss, data=table(320), validation=table(80, seed=1))


def classifier() -> sd.Task:
    return sd.Task(
        model=dense(outputs=3),
        loss=F.cross_entropy,
        data=classes(320),
        validation=classes(90, seed=1),
        metrics={"accuracy": sd.accuracy},
    )


def each_seed_its_start() -> sd.Task:
    return sd.Task(model=dense, loss=nn.MSELoss(), data=table(320), validation=table(80, seed=1))


def no_validation() -> sd.Task:
    return sd.Task(model=dense(), loss=F.mse_loss, data=table(360))


def dropout() -> sd.Task:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 32), nn.ReLU(), nn.Dropout(0.2), nn.Linear(32, 3))
    return sd.Task(model=net, loss=nn.CrossEntropyLoss(), data=classes(320), validation=classes(90, seed=1))


class Line(nn.Module):
    def __init__(self):
        super().__init__()
        self.slope = nn.Parameter(torch.zeros(()))

    def forward(self, x):
        return self.slope * x


def one_weight() -> sd.Task:
    x = torch.linspace(-2, 2, 128)[:, None]
    return sd.Task(
        model=Line(),
        loss=F.mse_loss,
        data=(x, 3 * x + 0.2 * torch.cos(9 * x)),
        validation=(x[::3] + 0.01, 3 * x[::3] + 0.03),
    )


class Valley(nn.Module):
    def __init__(self):
        super().__init__()
        self.place = nn.Parameter(torch.tensor([-1.0, 1.5, 0.5]))

    def forward(self):
        a, b, c = self.place
        return (1 - a) ** 2 + 5 * (b - a**2) ** 2 + 0.5 * (c + b) ** 2


def function() -> sd.Task:
    return sd.Task(model=Valley(), objective=lambda model, batch: model())


CASES = (
    Case("dense network", regression, mse),
    Case("classifier with accuracy", classifier, cross_entropy, rule="momentum", lr=3e-2, metric=accuracy),
    Case("a start for each seed", each_seed_its_start, mse, rule="nesterov", lr=2e-2, races=("nesterov", "adam")),
    Case("no validation given", no_validation, mse, batch_size=27),
    Case("dropout", dropout, cross_entropy, has_own_noise=True),
    Case(
        "one weight", one_weight, mse, rule="gradient_descent", lr=0.1, races=("gradient_descent", "adam"),
        curves_only="No (?:principal|random|curvature) plane",
    ),
    Case(
        "a function without data", function, lambda model, batch: model(), rule="gradient_descent", lr=0.02,
        batch_size=None, epochs=None, steps=40, weight=lambda batch: 1.0, races=("gradient_descent", "momentum"),
    ),
)  # fmt: skip
