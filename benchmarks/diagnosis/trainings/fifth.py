"""Springs, doses, greatest of numbers, brackets, sums and shifts of digits: new on 2026-11-26, after the fourth."""

import functools
import math

import torch
from torch import Tensor, nn
from torch.nn.functional import (
    binary_cross_entropy_with_logits,
    cross_entropy,
    huber_loss,
    mse_loss,
    smooth_l1_loss,
)

import steepest as sd
from benchmarks.diagnosis.trainings.series import (
    COARSE,
    CONSTANT,
    EDGE,
    FEW,
    FOURS,
    FULL,
    ONES,
    SIXES,
    THREES,
    TWOS,
    changed,
    dense,
    lowered,
    mislabelled,
    series,
    split,
)
from benchmarks.problems.problems import COSINE
from benchmarks.rates import rate_problems
from steepest.tasks.digits import images

# -- Data --------------------------------------------------------------------------------------------------------------


def _springs(places: int, noise: float, seed: int) -> tuple[Tensor, Tensor]:
    """Damped oscillations, and what comes next: x [2400, places, 1], y [2400, 1]."""
    random = torch.Generator().manual_seed(seed)
    rate, phase, damping = torch.rand(3, 2400, 1, generator=random)
    t = torch.arange(places + 1.0)
    heights = torch.exp(-0.15 * damping * t) * torch.sin((0.4 + 1.2 * rate) * t + 6.28 * phase)
    heights = heights + noise * torch.randn(heights.shape, generator=random)
    return heights[:, :-1, None], heights[:, -1:]


def _doses(drugs: int, noise: float, seed: int) -> tuple[Tensor, Tensor]:
    """An effect that saturates with each of several doses, noisier where it is large: x [2400, drugs], y [2400, 1]."""
    random = torch.Generator().manual_seed(seed)
    x = torch.randn(2400, drugs, generator=random)
    steep, strong = 1 + 2 * torch.rand(drugs, generator=random), torch.randn(drugs, generator=random)
    y = (strong * torch.sigmoid(steep * x)).sum(1, keepdim=True)
    return x, y - y.mean() + noise * y.abs() * torch.randn(y.shape, generator=random)


def _greatest(numbers: int, noise: float, seed: int) -> tuple[Tensor, Tensor]:
    """Which of several numbers, of unlike weights, is greatest: x [2400, numbers], y [2400]."""
    random = torch.Generator().manual_seed(seed)
    x = torch.randn(2400, numbers, generator=random)
    y = (x * torch.linspace(0.6, 1.6, numbers)).argmax(1)
    return x, mislabelled(y, noise, numbers, seed)


def _brackets(places: int, seed: int) -> tuple[Tensor, Tensor]:
    """Opening and closing brackets, and how deep it was: x [2400, places, 2], y [2400], at most 4."""
    random = torch.Generator().manual_seed(seed)
    opening = torch.randint(2, (2400, places), generator=random)
    deep = (2 * opening - 1).cumsum(1).amax(1).clamp(0, 4)
    return nn.functional.one_hot(opening, 2).float(), deep


def _slabs(columns: int, noise: float, seed: int) -> tuple[Tensor, Tensor]:
    """Points in every other of parallel slabs, some wrong: x [2400, columns], y [2400, 1]."""
    random = torch.Generator().manual_seed(seed)
    x = torch.randn(2400, columns, generator=random)
    across = x @ torch.randn(columns, generator=random) / math.sqrt(columns)
    return x, mislabelled((1.3 * across).floor().long() % 2, noise, 2, seed)[:, None].float()


def _sums(seed: int) -> tuple[Tensor, Tensor]:
    """Two digits one on top of the other, and their sum: x [1797, 1, 16, 8], y [1797]."""
    x, y = images()
    other = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))
    return torch.cat([x, x[other]], 1).reshape(-1, 1, 16, 8), y + y[other]


def _shifted(seed: int) -> tuple[Tensor, Tensor]:
    """Digits as eight columns that are shifted round, and by how many: x [1797, 8, 8], y [1797]."""
    x, _ = images()
    y = torch.randint(8, (len(x),), generator=torch.Generator().manual_seed(seed))
    columns = [one.reshape(8, 8).roll(int(k), 1) for one, k in zip(x, y, strict=True)]
    return torch.stack(columns), y


def _hidden(seed: int) -> tuple[Tensor, Tensor]:
    """Digits of which half of the pixels are hidden: x [1797, 64], y [1797]."""
    x, y = images()
    return x * (torch.rand(x.shape, generator=torch.Generator().manual_seed(seed)) < 0.5), y


def _ink() -> tuple[Tensor, Tensor]:
    """Digits, and how much ink is in their upper and left halves and on their rims, around 0: y [1797, 3]."""
    x, _ = images()
    pictures = x.reshape(-1, 8, 8)
    rim = pictures.sum((1, 2)) - pictures[:, 2:-2, 2:-2].sum((1, 2))
    y = torch.stack([pictures[:, :4].sum((1, 2)), pictures[:, :, :4].sum((1, 2)), rim], 1)
    return x, (y - y.mean(0)) / y.std(0)


def _looped() -> tuple[Tensor, Tensor]:
    """Digits, and whether they have a loop: y [1797]."""
    x, y = images()
    return x, torch.isin(y, torch.tensor([0, 6, 8, 9])).long()


# -- Networks ----------------------------------------------------------------------------------------------------------


class Recurrent(nn.Module):
    """What an LSTM has seen by the end of a sequence."""

    def __init__(self, inputs: int, width: int, outputs: int) -> None:
        super().__init__()
        self.cell, self.out = nn.LSTM(inputs, width, batch_first=True), nn.Linear(width, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Outputs [B, outputs] of sequences [B, places, inputs]."""
        return self.out(self.cell(x)[0][:, -1])


def _stacked(unit: type[nn.Module]) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 8, (3, 3), stride=(2, 1)), unit(), nn.Conv2d(8, 12, 3, stride=2), unit(), nn.Flatten(),
        nn.Linear(72, 19),
    )  # fmt: skip


def _along(unit: type[nn.Module]) -> nn.Module:
    return nn.Sequential(
        nn.Conv1d(8, 16, 3, padding=1), nn.BatchNorm1d(16), unit(), nn.Conv1d(16, 8, 3, padding=1), unit(),
        nn.Flatten(), nn.Linear(64, 8),
    )  # fmt: skip


# -- Tasks -------------------------------------------------------------------------------------------------------------


def springs() -> sd.Task:
    """What comes next of damped oscillations, an LSTM of 16, squared distance."""
    build = rate_problems.from_seed(lambda: Recurrent(1, 16, 1))
    return sd.Task(build, loss=mse_loss, **split(*_springs(12, 0.05, 201), 1400, 201))


def doses() -> sd.Task:
    """Effects of six doses, 6-48-24-1, softplus, Huber's loss."""
    build = dense(widths=(6, 48, 24, 1), activation=nn.Softplus)
    return sd.Task(build, loss=huber_loss, **split(*_doses(6, 0.2, 202), 1400, 202))


def greatest() -> sd.Task:
    """The greatest of eight numbers, a twelfth wrong, 8-40-40-8, leaky ReLU."""
    build = dense(widths=(8, 40, 40, 8), activation=nn.LeakyReLU)
    return sd.Task(build, loss=cross_entropy, **split(*_greatest(8, 0.08, 203), 1500, 203))


def brackets() -> sd.Task:
    """How deep brackets were, an LSTM of 20."""
    build = rate_problems.from_seed(lambda: Recurrent(2, 20, 5))
    return sd.Task(build, loss=cross_entropy, **split(*_brackets(10, 204), 1500, 204))


def slabs() -> sd.Task:
    """Parallel slabs, a tenth wrong, 6-64-32-1, GELU."""
    build = dense(widths=(6, 64, 32, 1), activation=nn.GELU)
    return sd.Task(build, loss=binary_cross_entropy_with_logits, **split(*_slabs(6, 0.1, 205), 1400, 205))


def sums() -> sd.Task:
    """The sum of two digits, two convolutions with SELU."""
    build = rate_problems.from_seed(lambda: _stacked(nn.SELU))
    return sd.Task(build, loss=cross_entropy, **split(*_sums(206), 1300, 206))


def shifted() -> sd.Task:
    """By how much digits are shifted, convolutions along columns, batch norm."""
    build = rate_problems.from_seed(lambda: _along(nn.ReLU))
    return sd.Task(build, loss=cross_entropy, **split(*_shifted(207), 1300, 207))


def hidden() -> sd.Task:
    """Digits half hidden, 64-80-40-10, tanh."""
    build = dense(widths=(64, 80, 40, 10), activation=nn.Tanh)
    return sd.Task(build, loss=cross_entropy, **split(*_hidden(208), 1300, 208))


def ink() -> sd.Task:
    """How much ink is where, 64-32-3, ELU."""
    build = dense(widths=(64, 32, 3), activation=nn.ELU)
    return sd.Task(build, loss=smooth_l1_loss, **split(*_ink(), 1300, 209))


def few_looped() -> sd.Task:
    """140 digits with loops or without, a sixth wrong, 64-80-2, SiLU."""
    x, y = _looped()
    build = dense(widths=(64, 80, 2), activation=nn.SiLU)
    return sd.Task(build, loss=cross_entropy, **split(x, mislabelled(y, 0.33, 2, 210), 140, 210))


def few_doses() -> sd.Task:
    """110 effects of five doses, 5-96-48-1, tanh."""
    build = dense(widths=(5, 96, 48, 1), activation=nn.Tanh)
    return sd.Task(build, loss=mse_loss, **split(*_doses(5, 0.6, 211), 110, 211))


def few_hidden() -> sd.Task:
    """180 digits half hidden, 64-72-72-10, ReLU."""
    return sd.Task(dense(widths=(64, 72, 72, 10)), loss=cross_entropy, **split(*_hidden(212), 180, 212))


def few_greatest() -> sd.Task:
    """150 times the greatest of six numbers, a fifth wrong, 6-64-6, GELU."""
    build = dense(widths=(6, 64, 6), activation=nn.GELU)
    return sd.Task(build, loss=cross_entropy, **split(*_greatest(6, 0.2, 213), 150, 213))


def all_ink() -> sd.Task:
    """240 digits and how much ink is where, linear: convex."""
    return sd.Task(dense(widths=(64, 3)), loss=mse_loss, **split(*_ink(), 240, 214))


def all_looped() -> sd.Task:
    """250 digits with loops or without, 64-32-2, softplus."""
    build = dense(widths=(64, 32, 2), activation=nn.Softplus)
    return sd.Task(build, loss=cross_entropy, **split(*_looped(), 250, 215))


def all_springs() -> sd.Task:
    """230 damped oscillations, 10-40-1, tanh."""
    x, y = _springs(10, 0.02, 216)
    build = dense(widths=(10, 40, 1), activation=nn.Tanh)
    return sd.Task(build, loss=mse_loss, **split(x.flatten(1), y, 230, 216))


def numb(scale: float = 0.01) -> sd.Task:
    """The greatest of eight numbers, four layers of tanh that start near the saddle at 0."""
    build = changed(dense(widths=(8, 32, 32, 32, 8), activation=nn.Tanh), lambda p: scale * p)
    return sd.Task(build, loss=cross_entropy, **split(*_greatest(8, 0.0, 217), 1200, 217))


def dark(shift: float = 3.5) -> sd.Task:
    """Digits half hidden, rectified units whose biases are so far below 0 that hardly any is ever on."""
    build = changed(dense(widths=(64, 64, 32, 10)), lambda p: lowered(p, shift))
    return sd.Task(build, loss=cross_entropy, **split(*_hidden(218), 1200, 218))


# -- Series ------------------------------------------------------------------------------------------------------------

SERIES = (
    series(springs, "adam", 1e-2, CONSTANT, 200, FOURS, rates=COARSE),
    series(springs, "momentum", 3e-2, COSINE, 200, TWOS, rates=COARSE),
    series(doses, "gradient_descent", 1e-1, CONSTANT, 200, THREES, rates=COARSE),
    series(doses, "adamw", 1e-2, COSINE, 200, SIXES, rates=COARSE),
    series(greatest, "nesterov", 1e-1, CONSTANT, 200, FOURS, rates=COARSE),
    series(greatest, "nadam", 1e-2, COSINE, 200, ONES, rates=COARSE),
    series(brackets, "rmsprop", 1e-2, CONSTANT, 200, FOURS, rates=COARSE),
    series(brackets, "lion", 1e-3, COSINE, 200, TWOS, rates=COARSE),
    series(slabs, "adagrad", 3e-2, CONSTANT, 200, THREES, rates=COARSE),
    series(slabs, "adam", 1e-2, COSINE, 200, FOURS, rates=COARSE),
    series(sums, "momentum", 3e-2, COSINE, 200, FOURS, rates=COARSE),
    series(sums, "amsgrad", 3e-3, CONSTANT, 200, SIXES, rates=COARSE),
    series(shifted, "gradient_descent", 1e-1, CONSTANT, 200, FOURS, rates=COARSE),
    series(shifted, "signum", 1e-3, COSINE, 200, SIXES, rates=COARSE),
    series(hidden, "adamax", 1e-2, CONSTANT, 200, TWOS, rates=COARSE),
    series(hidden, "nesterov", 3e-2, COSINE, 200, THREES, rates=COARSE),
    series(ink, "adam", 3e-3, CONSTANT, 200, TWOS, rates=COARSE),
    series(ink, "momentum", 3e-2, CONSTANT, 200, FOURS, rates=COARSE),
    series(few_looped, "adam", 3e-3, COSINE, 300, FEW, rates=COARSE),
    series(few_doses, "nadam", 1e-2, CONSTANT, 250, FEW, rates=COARSE),
    series(few_hidden, "momentum", 3e-2, CONSTANT, 300, FEW, rates=COARSE),
    series(few_greatest, "adamw", 1e-2, COSINE, 300, FEW, rates=COARSE),
    series(all_ink, "momentum", 3e-1, CONSTANT, 150, FULL, rates=EDGE),
    series(all_ink, "adam", 3e-2, CONSTANT, 150, FULL, rates=EDGE),
    series(all_looped, "gradient_descent", 3e-1, CONSTANT, 200, FULL, rates=EDGE),
    series(all_looped, "lion", 3e-3, CONSTANT, 200, FULL, rates=EDGE),
    series(all_springs, "nesterov", 1e-1, CONSTANT, 200, FULL, rates=EDGE),
    series(all_springs, "rmsprop", 1e-2, CONSTANT, 200, FULL, rates=EDGE),
    series(numb, "momentum", 3e-2, CONSTANT, 200, FOURS, functools.partial(numb, 1.0), COARSE),
    series(dark, "adam", 1e-3, CONSTANT, 200, FOURS, functools.partial(dark, 0.0), COARSE),
)
