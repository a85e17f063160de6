"""Magnets, recipes, bells, arcs, tolls, weighed, scrambled and masked digits: new on 2026-11-26, after the ninth."""

import functools
import math

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, huber_loss, l1_loss, mse_loss

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


def _magnets(noise: float, seed: int) -> tuple[Tensor, Tensor]:
    """What two poles do to a compass, from where all three are: x [2400, 6], y [2400, 2], scaled."""
    random = torch.Generator().manual_seed(seed)
    x = torch.randn(2400, 6, generator=random)
    one, two = x[:, :2] - x[:, 2:4], x[:, :2] - x[:, 4:]
    field = one / (1 + one.square().sum(1, keepdim=True)) - two / (1 + two.square().sum(1, keepdim=True))
    return x, (field - field.mean(0)) / field.std(0) + noise * torch.randn(field.shape, generator=random)


def _recipes(noise: float, seed: int) -> tuple[Tensor, Tensor]:
    """Shares of six things in a dish, and which of five dishes it is nearest to, some wrong: x [2400, 6], y [2400]."""
    random = torch.Generator().manual_seed(seed)
    shares = torch.softmax(1.5 * torch.randn(2400, 6, generator=random), 1)
    dishes = torch.softmax(1.5 * torch.randn(5, 6, generator=random), 1)
    return 4 * shares - 0.7, mislabelled(torch.cdist(shares, dishes).argmin(1), noise, 5, seed)


def _bells(places: int, noise: float, seed: int) -> tuple[Tensor, Tensor]:
    """Sounds with none to three strokes of a bell, and how many: x [2400, 1, places], y [2400]."""
    random = torch.Generator().manual_seed(seed)
    y, at = torch.randint(4, (2400,), generator=random), torch.arange(places)
    x = noise * torch.randn(2400, places, generator=random)
    for stroke in range(3):
        begins = torch.randint(places - 4, (2400, 1), generator=random)
        sound = torch.exp(-0.8 * (at - begins)) * (at >= begins)
        x = x + sound * (y > stroke)[:, None]
    return x[:, None], y


def _arcs(noise: float, seed: int) -> tuple[Tensor, Tensor]:
    """Points of three arcs around each other: x [2400, 2], y [2400]."""
    random = torch.Generator().manual_seed(seed)
    y = torch.randint(3, (2400,), generator=random)
    far = torch.rand(2400, generator=random)
    angle = 2.5 * far + 2 * math.pi / 3 * y
    x = (0.3 + 1.4 * far)[:, None] * torch.stack([angle.cos(), angle.sin()], 1)
    return x + noise * torch.randn(x.shape, generator=random), y


def _tolls(noise: float, seed: int) -> tuple[Tensor, Tensor]:
    """What a way costs, by its length, weight, hour and day, in steps and slopes: x [2400, 4], y [2400, 1], scaled."""
    random = torch.Generator().manual_seed(seed)
    x = torch.rand(2400, 4, generator=random)
    y = (x[:, :1] - 0.2).clamp(min=0) * (1 + 2 * (x[:, 1:2] > 0.6)) + 0.5 * ((x[:, 2:3] - 0.5).abs() < 0.15)
    y = y * (1 - 0.4 * (x[:, 3:] > 0.7))
    return 2 * x - 1, (y - y.mean()) / y.std() + noise * torch.randn(y.shape, generator=random)


def _weighed(seed: int) -> tuple[Tensor, Tensor]:
    """Digits with noise, and in which quarter most of the ink is: x [1797, 1, 8, 8], y [1797]."""
    pictures = images()[0].reshape(-1, 1, 8, 8)
    y = nn.functional.avg_pool2d(pictures, 4).flatten(1).argmax(1)
    return pictures + 0.15 * torch.randn(pictures.shape, generator=torch.Generator().manual_seed(seed)), y


def _scrambled(seed: int) -> tuple[Tensor, Tensor]:
    """Digits whose pixels are mixed by a random matrix: x [1797, 64], y [1797]."""
    x, y = images()
    random = torch.Generator().manual_seed(seed)
    mixed = (x - x.mean(0)) @ torch.randn(64, 64, generator=random) / 8
    return mixed + 0.2 * torch.randn(x.shape, generator=random), y


def _masked(seed: int) -> tuple[Tensor, Tensor]:
    """Digits of which two in five pixels are missing, and the whole: each [1797, 64]."""
    x, _ = images()
    return x * (torch.rand(x.shape, generator=torch.Generator().manual_seed(seed)) > 0.4), x


# -- Networks ----------------------------------------------------------------------------------------------------------


def _small(unit: type[nn.Module]) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, stride=2), unit(), nn.Conv2d(8, 16, 2), unit(), nn.Flatten(), nn.Linear(64, 4)
    )


def _hearing(unit: type[nn.Module]) -> nn.Module:
    return nn.Sequential(
        nn.Conv1d(1, 12, 5), unit(), nn.MaxPool1d(2), nn.Conv1d(12, 12, 3), unit(), nn.Flatten(), nn.Linear(72, 4)
    )


# -- Tasks -------------------------------------------------------------------------------------------------------------


def magnets() -> sd.Task:
    """Magnets, 6-64-64-2, SiLU, squared distance."""
    build = dense(widths=(6, 64, 64, 2), activation=nn.SiLU)
    return sd.Task(build, loss=mse_loss, **split(*_magnets(0.1, 701), 1500, 701))


def recipes() -> sd.Task:
    """Recipes, a few wrong, 6-48-48-5, ReLU."""
    return sd.Task(dense(widths=(6, 48, 48, 5)), loss=cross_entropy, **split(*_recipes(0.05, 702), 1500, 702))


def bells() -> sd.Task:
    """Strokes of a bell, convolutions along them, ReLU."""
    build = rate_problems.from_seed(lambda: _hearing(nn.ReLU))
    return sd.Task(build, loss=cross_entropy, **split(*_bells(20, 0.2, 703), 1500, 703))


def arcs() -> sd.Task:
    """Arcs, 2-40-40-3, tanh."""
    build = dense(widths=(2, 40, 40, 3), activation=nn.Tanh)
    return sd.Task(build, loss=cross_entropy, **split(*_arcs(0.1, 704), 1500, 704))


def tolls() -> sd.Task:
    """Tolls, 4-56-56-1, ELU, Huber's loss."""
    build = dense(widths=(4, 56, 56, 1), activation=nn.ELU)
    return sd.Task(build, loss=huber_loss, **split(*_tolls(0.1, 705), 1500, 705))


def weighed() -> sd.Task:
    """Where a digit's ink is, convolutions, GELU."""
    build = rate_problems.from_seed(lambda: _small(nn.GELU))
    return sd.Task(build, loss=cross_entropy, **split(*_weighed(706), 1300, 706))


def scrambled() -> sd.Task:
    """Scrambled digits, 64-80-40-10, SELU."""
    build = dense(widths=(64, 80, 40, 10), activation=nn.SELU)
    return sd.Task(build, loss=cross_entropy, **split(*_scrambled(707), 1300, 707))


def masked() -> sd.Task:
    """Digits from what is left of them, 64-40-64, leaky rectifiers, distance."""
    build = dense(widths=(64, 40, 64), activation=nn.LeakyReLU)
    return sd.Task(build, loss=l1_loss, **split(*_masked(708), 1300, 708))


def few_recipes() -> sd.Task:
    """140 recipes, a fifth wrong, 6-80-80-5, GELU."""
    build = dense(widths=(6, 80, 80, 5), activation=nn.GELU)
    return sd.Task(build, loss=cross_entropy, **split(*_recipes(0.2, 709), 140, 709))


def few_bells() -> sd.Task:
    """150 strokes of a bell, flat, 20-72-4, ReLU."""
    x, y = _bells(20, 0.3, 710)
    return sd.Task(dense(widths=(20, 72, 4)), loss=cross_entropy, **split(x.flatten(1), y, 150, 710))


def few_magnets() -> sd.Task:
    """120 magnets with much noise, 6-96-96-2, tanh."""
    build = dense(widths=(6, 96, 96, 2), activation=nn.Tanh)
    return sd.Task(build, loss=mse_loss, **split(*_magnets(0.7, 711), 120, 711))


def few_scrambled() -> sd.Task:
    """180 scrambled digits, 64-96-10, SiLU."""
    build = dense(widths=(64, 96, 10), activation=nn.SiLU)
    return sd.Task(build, loss=cross_entropy, **split(*_scrambled(712), 180, 712))


def all_masked() -> sd.Task:
    """240 digits from what is left of them, linear: convex."""
    return sd.Task(dense(widths=(64, 64)), loss=mse_loss, **split(*_masked(713), 240, 713))


def all_tolls() -> sd.Task:
    """250 tolls, 4-32-1, tanh, squared distance."""
    build = dense(widths=(4, 32, 1), activation=nn.Tanh)
    return sd.Task(build, loss=mse_loss, **split(*_tolls(0.05, 714), 250, 714))


def all_weighed() -> sd.Task:
    """260 digits and where their ink is, flat, linear: convex."""
    x, y = _weighed(715)
    return sd.Task(dense(widths=(64, 4)), loss=cross_entropy, **split(x.flatten(1), y, 260, 715))


def resting(scale: float = 0.01) -> sd.Task:
    """Magnets, three layers of GELU that start near the saddle at 0."""
    build = changed(dense(widths=(6, 32, 32, 32, 2), activation=nn.GELU), lambda p: scale * p)
    return sd.Task(build, loss=mse_loss, **split(*_magnets(0.1, 716), 1200, 716))


def sunken(shift: float = 3.0) -> sd.Task:
    """Where a digit's ink is, rectified units whose biases are so far below 0 that hardly any is ever on."""
    x, y = _weighed(717)
    build = changed(dense(widths=(64, 48, 48, 4)), lambda p: lowered(p, shift))
    return sd.Task(build, loss=cross_entropy, **split(x.flatten(1), y, 1200, 717))


# -- Series ------------------------------------------------------------------------------------------------------------

SERIES = (
    series(magnets, "adam", 1e-2, CONSTANT, 200, FOURS, rates=COARSE),
    series(magnets, "gradient_descent", 1e-1, COSINE, 200, TWOS, rates=COARSE),
    series(recipes, "momentum", 3e-2, CONSTANT, 200, FOURS, rates=COARSE),
    series(recipes, "nadam", 1e-2, COSINE, 200, TWOS, rates=COARSE),
    series(bells, "adamw", 1e-2, CONSTANT, 200, THREES, rates=COARSE),
    series(bells, "nesterov", 3e-2, COSINE, 200, FOURS, rates=COARSE),
    series(arcs, "adagrad", 3e-2, CONSTANT, 200, TWOS, rates=COARSE),
    series(arcs, "rmsprop", 3e-3, COSINE, 200, FOURS, rates=COARSE),
    series(tolls, "lion", 1e-3, CONSTANT, 200, FOURS, rates=COARSE),
    series(tolls, "momentum", 3e-2, COSINE, 200, ONES, rates=COARSE),
    series(weighed, "adam", 1e-2, COSINE, 200, FOURS, rates=COARSE),
    series(weighed, "signum", 1e-3, CONSTANT, 200, TWOS, rates=COARSE),
    series(scrambled, "amsgrad", 1e-2, COSINE, 200, FOURS, rates=COARSE),
    series(scrambled, "nesterov", 3e-2, CONSTANT, 200, SIXES, rates=COARSE),
    series(masked, "adamax", 1e-2, CONSTANT, 200, FOURS, rates=COARSE),
    series(masked, "gradient_descent", 1.0, CONSTANT, 200, TWOS, rates=COARSE),
    series(few_recipes, "adam", 3e-3, COSINE, 300, FEW, rates=COARSE),
    series(few_bells, "adamw", 3e-3, CONSTANT, 300, FEW, rates=COARSE),
    series(few_magnets, "nadam", 3e-3, CONSTANT, 300, FEW, rates=COARSE),
    series(few_scrambled, "momentum", 1e-2, CONSTANT, 250, FEW, rates=COARSE),
    series(all_masked, "nesterov", 3e-1, CONSTANT, 150, FULL, rates=EDGE),
    series(all_masked, "adam", 1e-2, CONSTANT, 150, FULL, rates=EDGE),
    series(all_tolls, "momentum", 3e-2, CONSTANT, 200, FULL, rates=EDGE),
    series(all_tolls, "rmsprop", 1e-2, CONSTANT, 200, FULL, rates=EDGE),
    series(all_weighed, "gradient_descent", 1.0, CONSTANT, 150, FULL, rates=EDGE),
    series(all_weighed, "lion", 1e-2, CONSTANT, 150, FULL, rates=EDGE),
    series(resting, "adam", 1e-3, CONSTANT, 200, FOURS, functools.partial(resting, 1.0), COARSE),
    series(sunken, "momentum", 3e-2, CONSTANT, 200, FOURS, functools.partial(sunken, 0.0), COARSE),
)
