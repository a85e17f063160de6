"""Kinds of numbers, and rules that are not ours."""

import torch
import torch.nn.functional as F
from torch import nn

import steepest as sd
from tests.zoo.case import EVERY, Case
from tests.zoo.datasets import classes, series, table
from tests.zoo.plain import cosine
from tests.zoo.tasks_basic import cross_entropy, dense, mse

BFLOAT16 = 2.0**-7
"""Spacing of numbers of bfloat16, which has 8 bits, relative: two ways to the same sum differ by as much."""


def double() -> sd.Task:
    to = lambda data: tuple(part.double() for part in data)  # noqa: E731
    return sd.Task(dense().double(), to(table(320)), F.mse_loss, validation=to(table(80, seed=1)))


def under_autocast() -> sd.Task:
    return sd.Task(dense(outputs=3), classes(320), F.cross_entropy, validation=classes(90, seed=1))


def bfloat16_weights() -> sd.Task:
    to = lambda data: tuple(part.bfloat16() for part in data)  # noqa: E731
    return sd.Task(dense().bfloat16(), to(table(320)), F.mse_loss, validation=to(table(80, seed=1)))


class Spectrum(nn.Module):
    """Complex numbers inside: a filter in the domain of frequencies."""

    def __init__(self):
        super().__init__()
        self.filter, self.out = nn.Parameter(0.3 * torch.randn(7, 2)), nn.Linear(12, 1)

    def forward(self, x):
        spectrum = torch.fft.rfft(x[..., 0], norm="ortho") * torch.view_as_complex(self.filter)
        return self.out(torch.tanh(torch.fft.irfft(spectrum, n=12, norm="ortho")))


def complex_inside() -> sd.Task:
    torch.manual_seed(0)
    return sd.Task(Spectrum(), series(256), F.mse_loss, validation=series(80, seed=1))


class ComplexWeights(nn.Module):
    def __init__(self):
        super().__init__()
        self.filter = nn.Parameter(0.3 * torch.randn(7, dtype=torch.complex64))
        self.out = nn.Linear(12, 1)

    def forward(self, x):
        return self.out(torch.tanh(torch.fft.irfft(torch.fft.rfft(x[..., 0], norm="ortho") * self.filter, n=12)))


def complex_weights() -> sd.Task:
    torch.manual_seed(0)
    return sd.Task(ComplexWeights(), series(256), F.mse_loss, validation=series(80, seed=1))


def nadamw(params):
    return torch.optim.NAdam(params, lr=1e-2, weight_decay=1e-2, decoupled_weight_decay=True)


def with_torch_optimizer() -> sd.Task:
    return sd.Task(dense(), table(320), F.mse_loss, validation=table(80, seed=1), recipe={"rule": nadamw})


def heavy_ball(params):
    return torch.optim.SGD(params, lr=1e-2, momentum=0.9)


STAGES = sd.stage("adam", "50%") >> sd.stage(heavy_ball, "50%", lr=2e-2)


def with_stages() -> sd.Task:
    return sd.Task(dense(), table(320), F.mse_loss, validation=table(80, seed=1), recipe={"rule": STAGES})


class Handover:
    """Adam for 40 steps, then heavy ball at twice the rate, each with the schedule's factor."""

    def __init__(self, params, lr):
        params = list(params)
        self.first, self.then = torch.optim.Adam(params, lr=lr), torch.optim.SGD(params, lr=lr, momentum=0.9)
        self.then.param_groups[0]["lr_scale"] = 2.0
        self.steps = 0

    @property
    def param_groups(self):
        return (self.first if self.steps < 40 else self.then).param_groups

    def zero_grad(self):
        self.first.zero_grad()

    def step(self):
        (self.first if self.steps < 40 else self.then).step()
        self.steps += 1


def own_nadam(params, lr):
    return torch.optim.NAdam(params, lr=lr, weight_decay=1e-2, decoupled_weight_decay=True)


assert cosine(1, 1) == 0.0
CASES = (
    Case("float64", double, mse, tolerance=1e-9),
    Case(
        "bfloat16 autocast", under_autocast, cross_entropy, options={"precision": "bfloat16"}, tolerance=BFLOAT16,
        has_own_noise=True, evaluation_noise=BFLOAT16,  # a verdict is computed without autocast
    ),
    Case(
        "bfloat16 weights", bfloat16_weights, mse, rule="gradient_descent", lr=0.1, tolerance=2 * BFLOAT16,
        races=("gradient_descent", "momentum"), has_own_noise=True,
    ),
    Case("complex numbers inside", complex_inside, mse),
    Case(
        "complex weights", complex_weights, mse, lr=2e-2,
        refuses={EVERY: (r"real floating-point, got torch.complex64\. \w+", "a point is a vector of real numbers")},
    ),
    Case(
        "torch optimizer as rule", with_torch_optimizer, mse, rule=nadamw, optimizer=own_nadam, races=(nadamw, "adam")
    ),
    Case(
        "stages with a torch optimizer", with_stages, mse, rule=STAGES, epochs=8, optimizer=Handover,
        races=("adam", "momentum"),
        refuses={"find_lr": (r"one update rule, got stages", "a rate is searched for one rule")},
    ),
)  # fmt: skip
