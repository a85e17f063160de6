"""Moons, blobs, products, echoes, the bits of digits: new on 2026-11-26."""

import functools
import math

import torch
from torch import Tensor, nn
from torch.nn.functional import (
    binary_cross_entropy_with_logits,
    cross_entropy,
    huber_loss,
    mse_loss,
    soft_margin_loss,
)

import steepest as sd
from benchmarks.diagnosis.trainings.series import (
    COARSE,
    CONSTANT,
    EDGE,
    FOURS,
    FULL,
    ONES,
    changed,
    dense,
    lowered,
    mislabelled,
    series,
    split,
)
from benchmarks.problems import networks
from benchmarks.problems.problems import COSINE
from benchmarks.rates import rate_problems
from steepest.tasks.digits import images

FEW = (3, 24, "full")

# -- Data --------------------------------------------------------------------------------------------------------------


def _moons(noise: float, seed: int) -> tuple[Tensor, Tensor]:
    """Points of two half circles that hold each other: x [2400, 2], y [2400]."""
    random = torch.Generator().manual_seed(seed)
    y = torch.arange(2400) % 2
    angle = math.pi * torch.rand(2400, generator=random)
    side = 1 - 2 * y
    x = torch.stack([angle.cos() + y - 0.5, side * angle.sin() + 0.4 * y - 0.2], 1)
    return x + noise * torch.randn(x.shape, generator=random), y


def _blobs(classes: int, columns: int, spread: float, seed: int) -> tuple[Tensor, Tensor]:
    """Points around so many centres: x [2500, columns], y [2500]."""
    random = torch.Generator().manual_seed(seed)
    centres = torch.randn(classes, columns, generator=random)
    y = torch.randint(classes, (2500,), generator=random)
    return centres[y] + spread * torch.randn(2500, columns, generator=random), y


def _products(columns: int, noise: float, seed: int) -> tuple[Tensor, Tensor]:
    """Products of neighbours, a square and a slope, around 0: x [2500, columns], y [2500, 1]."""
    random = torch.Generator().manual_seed(seed)
    x = torch.randn(2500, columns, generator=random)
    y = (x[:, :-1] * x[:, 1:]).sum(1) / math.sqrt(columns) + 0.5 * x[:, 0] ** 2 - x[:, 1]
    y = (y - y.mean())[:, None]
    return x, y + noise * torch.randn(y.shape, generator=random)


def _sides(columns: int, seed: int) -> tuple[Tensor, Tensor]:
    """On which side of a plane, ±1, by chance near it: x [2500, columns], y [2500, 1]."""
    random = torch.Generator().manual_seed(seed)
    x = torch.randn(2500, columns, generator=random) * torch.linspace(0.5, 2, columns)
    odds = (2 * x @ torch.randn(columns, 1, generator=random) / math.sqrt(columns)).sigmoid()
    return x, 2 * torch.bernoulli(odds, generator=random) - 1


def _echoes(places: int, noise: float, seed: int) -> tuple[Tensor, Tensor]:
    """The next value of a swinging series from those before it: x [2500, 1, places], y [2500, 1]."""
    random = torch.Generator().manual_seed(seed)
    values, pushes = [0.0, 0.5], noise * torch.randn(2500 + places, generator=random)
    for push in pushes.tolist():
        values.append(1.6 * math.tanh(values[-1]) - 0.9 * values[-2] + push)
    windows = torch.tensor(values[2:-1]).unfold(0, places, 1)
    return windows[:, None], torch.tensor(values[2 + places :])[:, None]


def _bits() -> tuple[Tensor, Tensor]:
    """Digits, and the four bits of each: x [1797, 64], y [1797, 4]."""
    x, y = images()
    return x, torch.stack([(y >> k) & 1 for k in range(4)], 1).float()


def _halves() -> tuple[Tensor, Tensor]:
    """Upper and lower halves of digits, each [1797, 32]."""
    x, _ = images()
    return x[:, :32], x[:, 32:]


# -- Networks ----------------------------------------------------------------------------------------------------------


class _Beside(nn.Module):
    """x + what a layer makes of it."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layer = nn.Sequential(nn.Linear(width, width), nn.Mish(), nn.Linear(width, width))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layer(x)


def _residual() -> nn.Module:
    return nn.Sequential(nn.Linear(12, 32), _Beside(32), _Beside(32), nn.Linear(32, 6))


def _listening(unit: type[nn.Module]) -> nn.Module:
    return nn.Sequential(
        nn.Conv1d(1, 8, 5), unit(), nn.Conv1d(8, 8, 5, stride=2), unit(), nn.Flatten(), nn.Linear(32, 1)
    )


def _group_normed() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, stride=2), nn.GroupNorm(2, 8), nn.Hardswish(), nn.Conv2d(8, 16, 3), nn.Hardswish(),
        nn.Flatten(), nn.Linear(16, 10),
    )  # fmt: skip


# -- Tasks -------------------------------------------------------------------------------------------------------------


def moons() -> sd.Task:
    """Which of two half circles, 2-32-32-2, softplus."""
    build = dense(widths=(2, 32, 32, 2), activation=nn.Softplus)
    return sd.Task(build, loss=cross_entropy, **split(*_moons(0.25, 71), 1200, 71))


def blobs() -> sd.Task:
    """Which of six centres, two residual blocks with Mish."""
    return sd.Task(rate_problems.from_seed(_residual), loss=cross_entropy, **split(*_blobs(6, 12, 1.3, 72), 1200, 72))


def products() -> sd.Task:
    """Products of neighbours, 6-64-64-1, GELU, Huber's loss."""
    build = dense(widths=(6, 64, 64, 1), activation=nn.GELU)
    return sd.Task(build, loss=huber_loss, **split(*_products(6, 0.3, 73), 1500, 73))


def echoes() -> sd.Task:
    """The next value of a series from the sixteen before it, two convolutions over time."""
    return sd.Task(
        rate_problems.from_seed(lambda: _listening(nn.Softplus)),
        loss=mse_loss,
        **split(*_echoes(16, 0.3, 74), 1500, 74),
    )


def bits() -> sd.Task:
    """The four bits of digits, 64-36-36-4, tanh."""
    build = dense(widths=(64, 36, 36, 4), activation=nn.Tanh)
    return sd.Task(build, loss=binary_cross_entropy_with_logits, **split(*_bits(), 1200, 75))


def halves() -> sd.Task:
    """The lower half of digits from the upper, 32-64-32, SELU."""
    build = dense(widths=(32, 64, 32), activation=nn.SELU)
    return sd.Task(build, loss=mse_loss, **split(*_halves(), 1200, 76))


def sides() -> sd.Task:
    """On which side of a plane, linear, by soft margins: convex."""
    return sd.Task(dense(widths=(20, 1)), loss=soft_margin_loss, **split(*_sides(20, 77), 1500, 77))


def normed_pictures() -> sd.Task:
    """Digits as pictures, two convolutions with GroupNorm."""
    x, y = images()
    data = split(x.reshape(-1, 1, 8, 8), y, 1200, 78)
    return sd.Task(rate_problems.from_seed(_group_normed), loss=cross_entropy, **data)


def after_four() -> sd.Task:
    """The next of 2,500 characters from the four before it."""
    data = split(*rate_problems._before(4, 4_000), 2_500, seed=79)
    return sd.Task(rate_problems.from_seed(lambda: rate_problems.Neighbours(4, 6)), loss=cross_entropy, **data)


def as_numbers() -> sd.Task:
    """Digits as numbers from 0 to 1, 64-40-1."""
    x, y = images()
    return sd.Task(dense(widths=(64, 40, 1)), loss=mse_loss, **split(x, y[:, None] / 9, 1200, 80))


def as_columns() -> sd.Task:
    """Digits below four as eight columns of pixels, two blocks 16 wide."""
    x, y = images()
    build = functools.partial(networks.transformer, inputs=8, places=8, width=16, outputs=2, causal=False)
    return sd.Task(build, loss=cross_entropy, **split(x.reshape(-1, 8, 8).transpose(1, 2), (y < 4).long(), 900, 81))


def few_blobs() -> sd.Task:
    """100 points around four centres that overlap, 10-80-4, ELU."""
    build = dense(widths=(10, 80, 4), activation=nn.ELU)
    return sd.Task(build, loss=cross_entropy, **split(*_blobs(4, 10, 2.0, 82), 100, 82))


def few_products() -> sd.Task:
    """90 products with much noise, 5-80-80-1, SiLU."""
    build = dense(widths=(5, 80, 80, 1), activation=nn.SiLU)
    return sd.Task(build, loss=mse_loss, **split(*_products(5, 1.0, 83), 90, 83))


def few_bits() -> sd.Task:
    """120 digits and their bits, 64-96-4."""
    return sd.Task(dense(widths=(64, 96, 4)), loss=binary_cross_entropy_with_logits, **split(*_bits(), 120, 84))


def few_moons() -> sd.Task:
    """140 points of half circles, a quarter with wrong labels, 2-64-64-64-2, tanh."""
    x, y = _moons(0.2, 85)
    build = dense(widths=(2, 64, 64, 64, 2), activation=nn.Tanh)
    return sd.Task(build, loss=cross_entropy, **split(x, mislabelled(y, 0.25, 2, seed=6), 140, 85))


def all_sides() -> sd.Task:
    """240 points on either side of a plane, linear, by soft margins: convex."""
    return sd.Task(dense(widths=(12, 1)), loss=soft_margin_loss, **split(*_sides(12, 86), 240, 86))


def all_products() -> sd.Task:
    """220 products with little noise, 4-28-28-1, tanh."""
    build = dense(widths=(4, 28, 28, 1), activation=nn.Tanh)
    return sd.Task(build, loss=mse_loss, **split(*_products(4, 0.05, 87), 220, 87))


def all_moons() -> sd.Task:
    """260 points of half circles, 2-24-24-2."""
    return sd.Task(dense(widths=(2, 24, 24, 2)), loss=cross_entropy, **split(*_moons(0.15, 88), 260, 88))


def all_halves() -> sd.Task:
    """200 lower halves from upper ones, linear: convex, steep along few directions."""
    return sd.Task(dense(widths=(32, 32)), loss=mse_loss, **split(*_halves(), 200, 89))


def all_bits() -> sd.Task:
    """250 digits and their bits, 64-24-4, sigmoids."""
    build = dense(widths=(64, 24, 4), activation=nn.Sigmoid)
    return sd.Task(build, loss=binary_cross_entropy_with_logits, **split(*_bits(), 250, 90))


def quiet(scale: float = 0.02) -> sd.Task:
    """The bits of digits, four layers of tanh that start near the saddle at 0."""
    build = dense(widths=(64, 28, 28, 28, 4), activation=nn.Tanh)
    data = split(*_bits(), 1000, 91)
    return sd.Task(changed(build, lambda p: scale * p), loss=binary_cross_entropy_with_logits, **data)


def deaf(shift: float = 4.0) -> sd.Task:
    """The next value of a series, convolutions of which hardly any unit is ever on."""
    build = rate_problems.from_seed(lambda: _listening(nn.ReLU))
    return sd.Task(changed(build, lambda p: lowered(p, shift)), loss=mse_loss, **split(*_echoes(16, 0.3, 92), 1000, 92))


def clamped(scale: float = 1.0) -> sd.Task:
    """Which of six centres, five layers of sigmoids: the gradient vanishes on the way down; at 6 × the weights not."""
    build = dense(widths=(12, 24, 24, 24, 24, 6), activation=nn.Sigmoid)
    return sd.Task(changed(build, lambda p: scale * p), loss=cross_entropy, **split(*_blobs(6, 12, 0.8, 93), 1000, 93))


def level(scale: float = 0.0) -> sd.Task:
    """Products, three layers of SiLU whose weights are all 0: the saddle itself."""
    build = dense(widths=(4, 32, 32, 1), activation=nn.SiLU)
    return sd.Task(changed(build, lambda p: scale * p), loss=huber_loss, **split(*_products(4, 0.2, 94), 1000, 94))


def unlit_digits(shift: float = 3.0) -> sd.Task:
    """Digits as numbers, rectified units whose biases are so far below 0 that hardly any is ever on."""
    x, y = images()
    build = dense(widths=(64, 40, 40, 1))
    return sd.Task(changed(build, lambda p: lowered(p, shift)), loss=mse_loss, **split(x, y[:, None] / 9, 1000, 95))


# -- Series ------------------------------------------------------------------------------------------------------------

SERIES = (
    series(moons, "nadam", 1e-2, CONSTANT, 200, ONES, rates=COARSE),
    series(moons, "momentum", 3e-2, COSINE, 200, FOURS, rates=COARSE),
    series(blobs, "adam", 3e-3, CONSTANT, 200, ONES, rates=COARSE),
    series(blobs, "gradient_descent", 1e-1, COSINE, 200, FOURS, rates=COARSE),
    series(products, "rmsprop", 3e-3, COSINE, 200, FOURS, rates=COARSE),
    series(products, "adamw", 1e-2, CONSTANT, 200, FOURS, rates=COARSE),
    series(echoes, "amsgrad", 1e-2, CONSTANT, 200, ONES, rates=COARSE),
    series(echoes, "momentum", 1e-2, COSINE, 200, FOURS, rates=COARSE),
    series(bits, "nesterov", 1e-1, CONSTANT, 200, ONES, rates=COARSE),
    series(bits, "lion", 1e-3, COSINE, 200, FOURS, rates=COARSE),
    series(halves, "adam", 3e-3, COSINE, 200, ONES, rates=COARSE),
    series(halves, "gradient_descent", 1.0, CONSTANT, 200, FOURS, rates=COARSE),
    series(sides, "adagrad", 1e-1, COSINE, 200, FOURS, rates=COARSE),
    series(sides, "momentum", 3e-2, CONSTANT, 200, ONES, rates=COARSE),
    series(normed_pictures, "adamax", 1e-2, CONSTANT, 200, FOURS, rates=COARSE),
    series(after_four, "momentum", 1e-1, CONSTANT, 200, ONES, rates=COARSE),
    series(as_numbers, "signum", 1e-3, CONSTANT, 200, FOURS, rates=COARSE),
    series(as_columns, "adam", 3e-3, COSINE, 120, FOURS, rates=COARSE),
    series(few_blobs, "momentum", 3e-2, CONSTANT, 300, FEW, rates=COARSE),
    series(few_products, "adam", 1e-2, CONSTANT, 300, FEW, rates=COARSE),
    series(few_bits, "rmsprop", 3e-3, COSINE, 300, FEW, rates=COARSE),
    series(few_moons, "adam", 1e-2, COSINE, 300, FEW, rates=COARSE),
    series(all_sides, "momentum", 1.0, CONSTANT, 150, FULL, rates=EDGE),
    series(all_sides, "lion", 3e-2, CONSTANT, 150, FULL, rates=EDGE),
    series(all_products, "nesterov", 3e-2, CONSTANT, 200, FULL, rates=EDGE),
    series(all_products, "signum", 1e-2, CONSTANT, 200, FULL, rates=EDGE),
    series(all_moons, "gradient_descent", 1.0, CONSTANT, 200, FULL, rates=EDGE),
    series(all_moons, "adam", 3e-2, CONSTANT, 200, FULL, rates=EDGE),
    series(all_halves, "momentum", 1.0, CONSTANT, 150, FULL, rates=EDGE),
    series(all_halves, "lion", 3e-3, CONSTANT, 150, FULL, rates=EDGE),
    series(all_bits, "signum", 1e-2, CONSTANT, 200, FULL, rates=EDGE),
    series(all_bits, "nadam", 3e-2, CONSTANT, 200, FULL, rates=EDGE),
    series(quiet, "momentum", 3e-2, COSINE, 200, FOURS, functools.partial(quiet, 1.0), COARSE),
    series(deaf, "adam", 3e-3, CONSTANT, 200, FOURS, functools.partial(deaf, 0.0), COARSE),
    series(clamped, "momentum", 1e-1, CONSTANT, 200, ONES, functools.partial(clamped, 6.0), COARSE),
    series(level, "gradient_descent", 1e-1, COSINE, 200, FOURS, functools.partial(level, 1.0), COARSE),
    series(unlit_digits, "nesterov", 3e-3, CONSTANT, 200, FOURS, functools.partial(unlit_digits, 0.0), COARSE),
)
