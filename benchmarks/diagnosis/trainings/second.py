"""Waves, shells, counts, thirds of digits: new on 2026-11-25."""

import functools
import math

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, mse_loss, multi_margin_loss, poisson_nll_loss, smooth_l1_loss

import steepest as sd
from benchmarks.diagnosis.trainings.series import (
    CONSTANT,
    EDGE,
    FEW,
    FULL,
    TO_FULL,
    changed,
    dense,
    lowered,
    mislabelled,
    series,
    split,
)
from benchmarks.problems import networks
from benchmarks.problems.problems import COSINE, smoothed
from benchmarks.rates import rate_problems
from steepest.tasks.digits import images

# -- Data --------------------------------------------------------------------------------------------------------------


def _waves(dimensions: int, noise: float, seed: int) -> tuple[Tensor, Tensor]:
    """Two cosines of mixed inputs, multiplied, and a slope, with noise, around 0: x [2500, dimensions], y [2500, 1]."""
    random = torch.Generator().manual_seed(seed)
    x = 2 * torch.rand(2500, dimensions, generator=random) - 1
    mixed = x @ torch.randn(dimensions, 3, generator=random)
    y = 2 * torch.cos(mixed[:, :1]) * torch.cos(mixed[:, 1:2]) + 0.5 * mixed[:, 2:]
    return x, y - y.mean() + noise * torch.randn(y.shape, generator=random)


def _shells(noise: float, seed: int) -> tuple[Tensor, Tensor]:
    """Points of three shells, one within the other, in four dimensions: x [2400, 4], y [2400]."""
    random = torch.Generator().manual_seed(seed)
    y = torch.arange(2400) % 3
    x = torch.randn(2400, 4, generator=random)
    x = x / x.norm(dim=1, keepdim=True) * (1.0 + y[:, None])
    return x + noise * torch.randn(x.shape, generator=random), y


def _counts(columns: int, seed: int) -> tuple[Tensor, Tensor]:
    """Counts whose logarithm is linear: x [2500, columns], y [2500, 1]."""
    random = torch.Generator().manual_seed(seed)
    x = torch.randn(2500, columns, generator=random)
    rates = (0.5 + x @ torch.randn(columns, 1, generator=random) / math.sqrt(2 * columns)).exp()
    return x, torch.poisson(rates, generator=random)


def _thirds() -> tuple[Tensor, Tensor]:
    """Digits and their remainders by three."""
    x, y = images()
    return x, y % 3


def _pictures() -> Tensor:
    return images()[0].reshape(-1, 1, 8, 8)


# -- Networks ----------------------------------------------------------------------------------------------------------


def _layer_normed() -> nn.Module:
    return nn.Sequential(
        nn.Linear(64, 40), nn.LayerNorm(40), nn.Tanh(), nn.Linear(40, 40), nn.LayerNorm(40), nn.Tanh(), nn.Linear(40, 3)
    )


def _pooled() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 10, 3, padding=1), nn.SiLU(), nn.AvgPool2d(2), nn.Conv2d(10, 12, 3), nn.SiLU(), nn.Flatten(),
        nn.Linear(48, 10),
    )  # fmt: skip


# -- Tasks -------------------------------------------------------------------------------------------------------------


def shells() -> sd.Task:
    """Which of three shells, 4-40-40-3, SiLU."""
    return sd.Task(
        dense(widths=(4, 40, 40, 3), activation=nn.SiLU), loss=cross_entropy, **split(*_shells(0.3, 41), 1200, 41)
    )


def waves() -> sd.Task:
    """A product of cosines, 5-48-48-1, ELU."""
    return sd.Task(
        dense(widths=(5, 48, 48, 1), activation=nn.ELU), loss=mse_loss, **split(*_waves(5, 0.3, 42), 1200, 42)
    )


def thirds() -> sd.Task:
    """Digits by three, a perceptron with LayerNorm, smoothed labels."""
    return sd.Task(rate_problems.from_seed(_layer_normed), loss=smoothed, **split(*_thirds(), 1000, 43))


def pooled() -> sd.Task:
    """Digits as pictures, two convolutions and a mean over places."""
    return sd.Task(rate_problems.from_seed(_pooled), loss=cross_entropy, **split(_pictures(), images()[1], 1000, 44))


def after_three() -> sd.Task:
    """The next of 3,000 characters from the three before it."""
    data = split(*rate_problems._before(3, 5_000), 3_000, seed=45)
    return sd.Task(rate_problems.from_seed(lambda: rate_problems.Neighbours(3, 10)), loss=cross_entropy, **data)


def counts() -> sd.Task:
    """Counts of 15 columns by their likelihood: convex, and steep on one side."""
    return sd.Task(dense(widths=(15, 1)), loss=poisson_nll_loss, **split(*_counts(15, 46), 1200, 46))


def squeezed() -> sd.Task:
    """Digits through twelve numbers, 64-12-64, ELU."""
    x, _ = images()
    return sd.Task(dense(widths=(64, 12, 64), activation=nn.ELU), loss=mse_loss, **split(x, x, 1000, 47))


def leaky() -> sd.Task:
    """Digits above six or not, 64-24-24-24-2, LeakyReLU."""
    x, y = images()
    data = split(x, (y > 6).long(), 1000, 48)
    return sd.Task(dense(widths=(64, 24, 24, 24, 2), activation=nn.LeakyReLU), loss=cross_entropy, **data)


def attended() -> sd.Task:
    """Digits by three as eight rows of eight pixels, two blocks 12 wide."""
    x, y = _thirds()
    build = functools.partial(networks.transformer, inputs=8, places=8, width=12, outputs=3, causal=False)
    return sd.Task(build, loss=cross_entropy, **split(x.reshape(-1, 8, 8), y, 1000, 49))


def few_thirds() -> sd.Task:
    """120 digits by three, a fifth with wrong labels, 64-72-3, SiLU."""
    x, y = _thirds()
    data = split(x, mislabelled(y, 0.2, 3, seed=4), 120, 50)
    return sd.Task(dense(widths=(64, 72, 3), activation=nn.SiLU), loss=cross_entropy, **data)


def few_waves() -> sd.Task:
    """100 values of a product of cosines with much noise, 6-64-64-1, GELU."""
    return sd.Task(
        dense(widths=(6, 64, 64, 1), activation=nn.GELU), loss=mse_loss, **split(*_waves(6, 0.8, 51), 100, 51)
    )


def few_shells() -> sd.Task:
    """150 points of shells that overlap, 4-64-64-3."""
    return sd.Task(dense(widths=(4, 64, 64, 3)), loss=cross_entropy, **split(*_shells(0.6, 52), 150, 52))


def kinked() -> sd.Task:
    """300 values of a linear function of eight columns with noise, Huber's loss: convex, its slope bounded."""
    x, y = _waves(8, 0.5, 53)
    return sd.Task(dense(widths=(8, 1)), loss=functools.partial(smooth_l1_loss, beta=0.1), **split(x, y, 300, 53))


def margins() -> sd.Task:
    """300 digits, 64-10, by margins: convex, with kinks."""
    return sd.Task(dense(widths=(64, 10)), loss=multi_margin_loss, **split(*images(), 300, 54))


def one_wave() -> sd.Task:
    """250 values of a product of cosines with little noise, 3-24-24-1, tanh."""
    data = split(*_waves(3, 0.05, 55), 250, 55)
    return sd.Task(dense(widths=(3, 24, 24, 1), activation=nn.Tanh), loss=mse_loss, **data)


def all_shells() -> sd.Task:
    """240 points of three shells, 4-24-24-3."""
    return sd.Task(dense(widths=(4, 24, 24, 3)), loss=cross_entropy, **split(*_shells(0.2, 56), 240, 56))


def log_counts() -> sd.Task:
    """250 counts of six columns, 6-16-1, tanh."""
    data = split(*_counts(6, 57), 250, 57)
    return sd.Task(dense(widths=(6, 16, 1), activation=nn.Tanh), loss=poisson_nll_loss, **data)


def squashed(scale: float = 1.0) -> sd.Task:
    """Digits by three, six layers of sigmoids: the gradient vanishes on the way down; at 6 × the weights not."""
    build = dense(widths=(64, 24, 24, 24, 24, 24, 3), activation=nn.Sigmoid)
    return sd.Task(changed(build, lambda p: scale * p), loss=cross_entropy, **split(*_thirds(), 1000, 58))


def buried(shift: float = 2.5) -> sd.Task:
    """A product of cosines by rectified units whose biases are so far below 0 that none is ever on."""
    build = dense(widths=(5, 40, 40, 1))
    return sd.Task(changed(build, lambda p: lowered(p, shift)), loss=mse_loss, **split(*_waves(5, 0.2, 59), 1000, 59))


def blank(scale: float = 0.0) -> sd.Task:
    """Even or odd digits, three layers of GELU whose weights are all 0: the saddle itself."""
    x, y = images()
    build = dense(widths=(64, 32, 32, 2), activation=nn.GELU)
    return sd.Task(changed(build, lambda p: scale * p), loss=cross_entropy, **split(x, y % 2, 1000, 60))


def still(scale: float = 0.01) -> sd.Task:
    """Shells, four layers of ELU that start near the saddle at 0."""
    build = dense(widths=(4, 32, 32, 32, 3), activation=nn.ELU)
    return sd.Task(changed(build, lambda p: scale * p), loss=cross_entropy, **split(*_shells(0.3, 61), 1000, 61))


# -- Series ------------------------------------------------------------------------------------------------------------

SERIES = (
    series(shells, "adam", 1e-2, COSINE, 300),
    series(shells, "gradient_descent", 1e-1, CONSTANT, 300),
    series(waves, "nesterov", 1e-2, CONSTANT, 300),
    series(waves, "amsgrad", 1e-2, COSINE, 300),
    series(thirds, "signum", 3e-3, COSINE, 250),
    series(thirds, "momentum", 3e-2, CONSTANT, 250),
    series(pooled, "momentum", 3e-2, CONSTANT, 200),
    series(pooled, "adam", 3e-3, COSINE, 200),
    series(after_three, "rmsprop", 3e-3, CONSTANT, 300),
    series(after_three, "adamax", 1e-2, COSINE, 300),
    series(counts, "gradient_descent", 3e-2, COSINE, 300, TO_FULL),
    series(counts, "adagrad", 1e-1, CONSTANT, 300),
    series(squeezed, "momentum", 1.0, COSINE, 300),
    series(squeezed, "adam", 3e-3, CONSTANT, 300),
    series(leaky, "adamw", 1e-2, CONSTANT, 300),
    series(attended, "nadam", 3e-3, COSINE, 120),
    series(few_thirds, "nadam", 1e-2, CONSTANT, 300, FEW),
    series(few_waves, "momentum", 3e-2, COSINE, 400, FEW),
    series(few_shells, "adam", 1e-2, COSINE, 400, FEW),
    series(kinked, "momentum", 1e-1, CONSTANT, 150, FULL, rates=EDGE),
    series(kinked, "adam", 3e-2, CONSTANT, 150, FULL, rates=EDGE),
    series(margins, "nesterov", 3.0, CONSTANT, 150, FULL, rates=EDGE),
    series(margins, "signum", 1e-2, CONSTANT, 150, FULL, rates=EDGE),
    series(one_wave, "lion", 1e-2, CONSTANT, 200, FULL, rates=EDGE),
    series(one_wave, "momentum", 3e-2, CONSTANT, 200, FULL, rates=EDGE),
    series(all_shells, "momentum", 1e-1, CONSTANT, 200, FULL, rates=EDGE),
    series(all_shells, "lion", 3e-3, CONSTANT, 200, FULL, rates=EDGE),
    series(log_counts, "signum", 3e-3, CONSTANT, 150, FULL, rates=EDGE),
    series(squashed, "momentum", 1e-1, COSINE, 200, start=functools.partial(squashed, 6.0)),
    series(buried, "nesterov", 1e-2, CONSTANT, 200, start=functools.partial(buried, 0.0)),
    series(blank, "gradient_descent", 1e-1, COSINE, 200, start=functools.partial(blank, 1.0)),
    series(still, "nesterov", 3e-2, CONSTANT, 200, start=functools.partial(still, 1.0)),
)
