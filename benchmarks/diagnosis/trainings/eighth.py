"""Levers, beats, codes, decays, ranks, wiped and peppered digits: new on 2026-11-26, after the seventh."""

import functools

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, huber_loss, mse_loss, smooth_l1_loss

import steepest as sd
from benchmarks.diagnosis.trainings.series import (
    COARSE,
    CONSTANT,
    EDGE,
    EIGHTS,
    FEW,
    FOURS,
    FULL,
    ONES,
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


def _levers(noise: float, seed: int) -> tuple[Tensor, Tensor]:
    """Four weights on a beam, and whether it tips to the left, hardly or to the right, some wrong: x [2400, 8]."""
    random = torch.Generator().manual_seed(seed)
    weights, places = torch.rand(2400, 4, generator=random), 2 * torch.rand(2400, 4, generator=random) - 1
    torque = (weights * places).sum(1)
    y = (torque > -0.25).long() + (torque > 0.25).long()
    return torch.cat([2 * weights - 1, places], 1), mislabelled(y, noise, 3, seed)


def _beats(noise: float, seed: int) -> tuple[Tensor, Tensor]:
    """Two tones at once, at a time and a distance between them: x [2400, 2], y [2400, 1]."""
    random = torch.Generator().manual_seed(seed)
    x = 2 * torch.rand(2400, 2, generator=random) - 1
    y = torch.sin(5 * x[:, :1]) * torch.cos(3 * x[:, :1] * x[:, 1:])
    return x, y - y.mean() + noise * torch.randn(y.shape, generator=random)


def _codes(places: int, noise: float, seed: int) -> tuple[Tensor, Tensor]:
    """Symbols, and whether most of them are above the one before, some wrong: x [2400, 5, places], y [2400]."""
    random = torch.Generator().manual_seed(seed)
    symbols = torch.randint(5, (2400, places), generator=random)
    up = (symbols.diff(dim=1) > 0).float().mean(1)
    x = nn.functional.one_hot(symbols, 5).float().transpose(1, 2)
    return x, mislabelled((up > up.median()).long(), noise, 2, seed)


def _decays(noise: float, seed: int) -> tuple[Tensor, Tensor]:
    """What is left of two substances after a while: x [2400, 5], y [2400, 1], around 0."""
    random = torch.Generator().manual_seed(seed)
    x = torch.rand(2400, 5, generator=random)
    y = x[:, :1] * torch.exp(-3 * x[:, 1:2] * x[:, 4:]) + x[:, 2:3] * torch.exp(-x[:, 3:4] * x[:, 4:])
    y = (y - y.mean()) / y.std()
    return 2 * x - 1, y + noise * torch.randn(y.shape, generator=random)


def _ranks(numbers: int, seed: int) -> tuple[Tensor, Tensor]:
    """Numbers of various scales, and which of them are above their mean: x, y [2400, numbers]."""
    x = torch.randn(2400, numbers, generator=torch.Generator().manual_seed(seed)) * torch.linspace(0.5, 1.5, numbers)
    return x, (x > x.mean(1, keepdim=True)).float()


def _wiped(seed: int) -> tuple[Tensor, Tensor]:
    """Digits with noise of which a row is missing, and which row: x [1797, 1, 8, 8], y [1797]."""
    random = torch.Generator().manual_seed(seed)
    pictures = images()[0].reshape(-1, 8, 8)
    pictures = pictures + 0.2 * torch.randn(pictures.shape, generator=random)
    y = torch.randint(8, (len(pictures),), generator=random)
    return torch.where(torch.arange(8)[None, :, None] == y[:, None, None], 0.0, pictures)[:, None], y


def _peppered(share: float, seed: int) -> tuple[Tensor, Tensor]:
    """Digits of which a share of the pixels is another digit's: x [1797, 64], y [1797]."""
    x, y = images()
    random = torch.Generator().manual_seed(seed)
    other = x[torch.randperm(len(x), generator=random)]
    return torch.where(torch.rand(x.shape, generator=random) < share, other, x), y


def _middles() -> tuple[Tensor, Tensor]:
    """Digits, and where the middle of their ink is and how far it spreads: x [1797, 64], y [1797, 3], scaled."""
    x, _ = images()
    ink = (x - x.min()).reshape(-1, 8, 8)
    ink = ink / ink.sum((1, 2), keepdim=True)
    at = torch.linspace(-1, 1, 8)
    down, across = (ink.sum(2) * at).sum(1), (ink.sum(1) * at).sum(1)
    spread = (ink * (at[:, None] ** 2 + at**2)).sum((1, 2))
    y = torch.stack([down, across, spread], 1)
    return x, (y - y.mean(0)) / y.std(0)


# -- Networks ----------------------------------------------------------------------------------------------------------


def _pictured(unit: type[nn.Module]) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), unit(), nn.AvgPool2d(2), nn.Conv2d(8, 12, 3), unit(), nn.Flatten(),
        nn.Linear(48, 8),
    )  # fmt: skip


def _read(unit: type[nn.Module]) -> nn.Module:
    return nn.Sequential(nn.Conv1d(5, 12, 2), unit(), nn.Conv1d(12, 8, 3), unit(), nn.Flatten(), nn.Linear(72, 2))


def _dropping() -> nn.Module:
    return nn.Sequential(nn.Linear(64, 72), nn.ReLU(), nn.Dropout(0.1), nn.Linear(72, 36), nn.ReLU(), nn.Linear(36, 10))


# -- Tasks -------------------------------------------------------------------------------------------------------------


def levers() -> sd.Task:
    """Levers, some wrong, 8-40-40-3, leaky rectifiers."""
    build = dense(widths=(8, 40, 40, 3), activation=nn.LeakyReLU)
    return sd.Task(build, loss=cross_entropy, **split(*_levers(0.08, 501), 1500, 501))


def beats() -> sd.Task:
    """Two tones, 2-48-48-1, tanh, squared distance."""
    build = dense(widths=(2, 48, 48, 1), activation=nn.Tanh)
    return sd.Task(build, loss=mse_loss, **split(*_beats(0.15, 502), 1500, 502))


def codes() -> sd.Task:
    """Codes that rise, convolutions along them, GELU."""
    build = rate_problems.from_seed(lambda: _read(nn.GELU))
    return sd.Task(build, loss=cross_entropy, **split(*_codes(12, 0.06, 503), 1500, 503))


def decays() -> sd.Task:
    """What is left of two substances, 5-40-40-1, ELU, Huber's loss."""
    build = dense(widths=(5, 40, 40, 1), activation=nn.ELU)
    return sd.Task(build, loss=huber_loss, **split(*_decays(0.15, 504), 1500, 504))


def ranks() -> sd.Task:
    """Which numbers are above their mean, 7-56-56-7, SiLU."""
    build = dense(widths=(7, 56, 56, 7), activation=nn.SiLU)
    return sd.Task(build, loss=binary_cross_entropy_with_logits, **split(*_ranks(7, 505), 1500, 505))


def wiped() -> sd.Task:
    """Which row of a digit is missing, convolutions, SiLU."""
    build = rate_problems.from_seed(lambda: _pictured(nn.SiLU))
    return sd.Task(build, loss=cross_entropy, **split(*_wiped(506), 1300, 506))


def peppered() -> sd.Task:
    """Digits with other digits' pixels, 64-72-36-10, ReLU and dropout."""
    build = rate_problems.from_seed(_dropping)
    return sd.Task(build, loss=cross_entropy, **split(*_peppered(0.25, 507), 1300, 507))


def middles() -> sd.Task:
    """Where a digit's middle is, 64-40-3, softplus, smooth distance."""
    build = dense(widths=(64, 40, 3), activation=nn.Softplus)
    return sd.Task(build, loss=smooth_l1_loss, **split(*_middles(), 1300, 508))


def few_levers() -> sd.Task:
    """130 levers, a fifth wrong, 8-96-96-3, ReLU."""
    return sd.Task(dense(widths=(8, 96, 96, 3)), loss=cross_entropy, **split(*_levers(0.2, 509), 130, 509))


def few_wiped() -> sd.Task:
    """160 digits of which a row is missing, flat, 64-80-8, tanh."""
    x, y = _wiped(510)
    build = dense(widths=(64, 80, 8), activation=nn.Tanh)
    return sd.Task(build, loss=cross_entropy, **split(x.flatten(1), y, 160, 510))


def few_codes() -> sd.Task:
    """140 codes, flat, 60-64-2, GELU."""
    x, y = _codes(12, 0.1, 511)
    build = dense(widths=(60, 64, 2), activation=nn.GELU)
    return sd.Task(build, loss=cross_entropy, **split(x.flatten(1), y, 140, 511))


def few_decays() -> sd.Task:
    """110 decays with much noise, 5-96-96-1, SiLU."""
    build = dense(widths=(5, 96, 96, 1), activation=nn.SiLU)
    return sd.Task(build, loss=mse_loss, **split(*_decays(0.8, 512), 110, 512))


def all_middles() -> sd.Task:
    """240 digits and their middles, linear: convex."""
    return sd.Task(dense(widths=(64, 3)), loss=mse_loss, **split(*_middles(), 240, 513))


def all_levers() -> sd.Task:
    """250 levers, 8-32-3, tanh."""
    build = dense(widths=(8, 32, 3), activation=nn.Tanh)
    return sd.Task(build, loss=cross_entropy, **split(*_levers(0.0, 514), 250, 514))


def all_ranks() -> sd.Task:
    """260 rows of numbers and which are above their mean, linear: convex."""
    return sd.Task(dense(widths=(7, 7)), loss=binary_cross_entropy_with_logits, **split(*_ranks(7, 515), 260, 515))


def hushed(scale: float = 0.01) -> sd.Task:
    """Beats, three layers of tanh that start near the saddle at 0."""
    build = changed(dense(widths=(2, 32, 32, 32, 1), activation=nn.Tanh), lambda p: scale * p)
    return sd.Task(build, loss=mse_loss, **split(*_beats(0.15, 516), 1200, 516))


def swamped(shift: float = 3.0) -> sd.Task:
    """Digits with other digits' pixels, rectified units whose biases are so far below 0 that hardly any is ever on."""
    build = changed(dense(widths=(64, 48, 48, 10)), lambda p: lowered(p, shift))
    return sd.Task(build, loss=cross_entropy, **split(*_peppered(0.2, 517), 1200, 517))


# -- Series ------------------------------------------------------------------------------------------------------------

SERIES = (
    series(levers, "adam", 1e-2, CONSTANT, 200, TWOS, rates=COARSE),
    series(levers, "momentum", 3e-2, COSINE, 200, FOURS, rates=COARSE),
    series(beats, "nadam", 1e-2, COSINE, 200, FOURS, rates=COARSE),
    series(beats, "nesterov", 3e-2, CONSTANT, 200, TWOS, rates=COARSE),
    series(codes, "adamax", 1e-2, CONSTANT, 200, THREES, rates=COARSE),
    series(codes, "gradient_descent", 1e-1, COSINE, 200, FOURS, rates=COARSE),
    series(decays, "adagrad", 3e-2, COSINE, 200, TWOS, rates=COARSE),
    series(decays, "lion", 1e-3, CONSTANT, 200, FOURS, rates=COARSE),
    series(ranks, "rmsprop", 3e-3, CONSTANT, 200, FOURS, rates=COARSE),
    series(ranks, "signum", 1e-3, COSINE, 200, ONES, rates=COARSE),
    series(wiped, "adamw", 1e-2, CONSTANT, 200, FOURS, rates=COARSE),
    series(wiped, "nesterov", 3e-2, COSINE, 200, EIGHTS, rates=COARSE),
    series(peppered, "amsgrad", 1e-2, CONSTANT, 200, TWOS, rates=COARSE),
    series(peppered, "gradient_descent", 1e-1, CONSTANT, 200, THREES, rates=COARSE),
    series(middles, "momentum", 3e-2, CONSTANT, 200, FOURS, rates=COARSE),
    series(middles, "adam", 1e-2, COSINE, 200, FOURS, rates=COARSE),
    series(few_levers, "adamw", 1e-2, CONSTANT, 250, FEW, rates=COARSE),
    series(few_wiped, "adam", 3e-3, CONSTANT, 300, FEW, rates=COARSE),
    series(few_codes, "nadam", 3e-3, COSINE, 300, FEW, rates=COARSE),
    series(few_decays, "momentum", 1e-2, COSINE, 300, FEW, rates=COARSE),
    series(all_middles, "nesterov", 1e-2, CONSTANT, 150, FULL, rates=EDGE),
    series(all_middles, "lion", 1e-2, CONSTANT, 150, FULL, rates=EDGE),
    series(all_levers, "gradient_descent", 1.0, CONSTANT, 200, FULL, rates=EDGE),
    series(all_levers, "rmsprop", 1e-2, CONSTANT, 200, FULL, rates=EDGE),
    series(all_ranks, "momentum", 1.0, CONSTANT, 150, FULL, rates=EDGE),
    series(all_ranks, "adam", 1e-1, CONSTANT, 150, FULL, rates=EDGE),
    series(hushed, "adam", 1e-3, CONSTANT, 200, FOURS, functools.partial(hushed, 1.0), COARSE),
    series(swamped, "momentum", 3e-2, CONSTANT, 200, FOURS, functools.partial(swamped, 0.0), COARSE),
)
