"""Tides, lenses, queues, roots, mirrored and halved digits: new on 2026-11-26, after the fifth."""

import functools

import torch
from torch import Tensor, nn
from torch.nn.functional import (
    binary_cross_entropy_with_logits,
    cross_entropy,
    l1_loss,
    mse_loss,
    multi_margin_loss,
    smooth_l1_loss,
)

import steepest as sd
from benchmarks.diagnosis.trainings.series import (
    COARSE,
    CONSTANT,
    EDGE,
    FIVES,
    FOURS,
    FULL,
    ONES,
    THREES,
    TWOS,
    changed,
    dense,
    mislabelled,
    series,
    split,
)
from benchmarks.problems.problems import COSINE
from benchmarks.rates import rate_problems
from steepest.tasks.digits import images

FEW = (3, 24, "full")

# -- Data --------------------------------------------------------------------------------------------------------------


def _tides(noise: float, seed: int) -> tuple[Tensor, Tensor]:
    """Three tides over two clocks: x [2400, 2], y [2400, 1]."""
    random = torch.Generator().manual_seed(seed)
    x = 4 * torch.rand(2400, 2, generator=random) - 2
    y = torch.sin(2.1 * x[:, :1]) + 0.6 * torch.cos(3.3 * x[:, 1:]) + 0.4 * torch.sin(x.sum(1, keepdim=True))
    return x, y - y.mean() + noise * torch.randn(y.shape, generator=random)


def _lenses(noise: float, seed: int) -> tuple[Tensor, Tensor]:
    """Whether two circles touch, overlap or lie apart, some wrong: x [2400, 6], y [2400]."""
    random = torch.Generator().manual_seed(seed)
    places, radii = torch.randn(2400, 4, generator=random), 0.3 + torch.rand(2400, 2, generator=random)
    apart = (places[:, :2] - places[:, 2:]).norm(dim=1) - radii.sum(1)
    y = (apart > -0.4).long() + (apart > 0.6).long()
    return torch.cat([places, 2 * radii - 1.6], 1), mislabelled(y, noise, 3, seed)


def _queues(places: int, seed: int) -> tuple[Tensor, Tensor]:
    """The longest that a queue has been, as customers come and go: x [2400, places, 1], y [2400, 1], around 0."""
    random = torch.Generator().manual_seed(seed)
    x = torch.randn(2400, places, generator=random)
    length, longest = torch.zeros(2400), torch.zeros(2400)
    for change in x.T:
        length = (length + change).clamp(min=0)
        longest = torch.maximum(longest, length)
    return x[:, :, None], ((longest - longest.mean()) / longest.std())[:, None]


def _roots(noise: float, seed: int) -> tuple[Tensor, Tensor]:
    """Whether a parabola has a root between -1 and 1, some wrong: x [2400, 3], y [2400, 1]."""
    random = torch.Generator().manual_seed(seed)
    x = torch.randn(2400, 3, generator=random)
    at = torch.linspace(-1, 1, 101)
    values = x[:, :1] * at**2 + x[:, 1:2] * at + x[:, 2:]
    y = (values.amin(1) < 0).logical_and(values.amax(1) > 0).long()
    return x, mislabelled(y, noise, 2, seed)[:, None].float()


def _sparse(columns: int, noise: float, seed: int) -> tuple[Tensor, Tensor]:
    """A linear function of three of the columns, with heavy-tailed noise: x [2400, columns], y [2400, 1]."""
    random = torch.Generator().manual_seed(seed)
    x = torch.randn(2400, columns, generator=random) * torch.linspace(0.4, 1.6, columns)
    chance = torch.randn(2400, 1, generator=random) / torch.rand(2400, 1, generator=random).clamp(min=0.05).sqrt()
    return x, x[:, :: columns // 3].sum(1, keepdim=True) + noise * chance


def _mirrored(seed: int) -> tuple[Tensor, Tensor]:
    """Digits, mirrored or not: x [1797, 1, 8, 8], y [1797]."""
    pictures = images()[0].reshape(-1, 8, 8)
    y = torch.randint(2, (len(pictures),), generator=torch.Generator().manual_seed(seed))
    return torch.where(y[:, None, None] == 1, pictures.flip(2), pictures)[:, None], y


def _blurred(seed: int) -> tuple[Tensor, Tensor]:
    """Blurred digits with noise: x [1797, 64], y [1797]."""
    x, y = images()
    soft = nn.functional.avg_pool2d(x.reshape(-1, 1, 8, 8), 3, 1, 1).flatten(1)
    return 2 * soft + 0.3 * torch.randn(x.shape, generator=torch.Generator().manual_seed(seed)), y


def _smallest(seed: int) -> tuple[Tensor, Tensor]:
    """Three digits side by side, and which is smallest: x [1797, 192], y [1797]."""
    x, y = images()
    random = torch.Generator().manual_seed(seed)
    one, two = torch.randperm(len(x), generator=random), torch.randperm(len(x), generator=random)
    return torch.cat([x, x[one], x[two]], 1), torch.stack([y, y[one], y[two]], 1).argmin(1)


def _halved() -> tuple[Tensor, Tensor]:
    """The upper halves of digits, and the lower ones: each [1797, 32]."""
    x, _ = images()
    return x[:, :32], x[:, 32:]


# -- Networks ----------------------------------------------------------------------------------------------------------


class Gated(nn.Module):
    """What a GRU has seen on average over a sequence."""

    def __init__(self, inputs: int, width: int, outputs: int) -> None:
        super().__init__()
        self.cell, self.out = nn.GRU(inputs, width, batch_first=True), nn.Linear(width, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Outputs [B, outputs] of sequences [B, places, inputs]."""
        return self.out(self.cell(x)[0].mean(1))


def _looking(unit: type[nn.Module], outputs: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 10, 3, padding=1), unit(), nn.AvgPool2d(2), nn.Conv2d(10, 10, 3), unit(), nn.Flatten(),
        nn.Linear(40, outputs),
    )  # fmt: skip


def _normed(unit: type[nn.Module]) -> nn.Module:
    return nn.Sequential(
        nn.Linear(64, 48), nn.BatchNorm1d(48), unit(), nn.Linear(48, 32), nn.BatchNorm1d(32), unit(), nn.Linear(32, 10)
    )


# -- Tasks -------------------------------------------------------------------------------------------------------------


def tides() -> sd.Task:
    """Tides, 2-64-64-1, tanh, squared distance."""
    build = dense(widths=(2, 64, 64, 1), activation=nn.Tanh)
    return sd.Task(build, loss=mse_loss, **split(*_tides(0.1, 301), 1500, 301))


def lenses() -> sd.Task:
    """Two circles, a twentieth wrong, 6-48-48-3, ReLU."""
    return sd.Task(dense(widths=(6, 48, 48, 3)), loss=cross_entropy, **split(*_lenses(0.05, 302), 1500, 302))


def queues() -> sd.Task:
    """The longest a queue has been, a GRU of 12, Huber's loss."""
    build = rate_problems.from_seed(lambda: Gated(1, 12, 1))
    return sd.Task(build, loss=smooth_l1_loss, **split(*_queues(12, 303), 1400, 303))


def roots() -> sd.Task:
    """Roots of parabolas, a tenth wrong, 3-40-40-1, SiLU."""
    build = dense(widths=(3, 40, 40, 1), activation=nn.SiLU)
    return sd.Task(build, loss=binary_cross_entropy_with_logits, **split(*_roots(0.1, 304), 1400, 304))


def sparse() -> sd.Task:
    """A linear function of few columns, absolute distance: convex, heavy tails."""
    return sd.Task(dense(widths=(12, 1)), loss=l1_loss, **split(*_sparse(12, 0.2, 305), 1500, 305))


def mirrored() -> sd.Task:
    """Mirrored digits, two convolutions, GELU."""
    build = rate_problems.from_seed(lambda: _looking(nn.GELU, 2))
    return sd.Task(build, loss=cross_entropy, **split(*_mirrored(306), 1300, 306))


def blurred() -> sd.Task:
    """Blurred digits, batch norm, ReLU."""
    build = rate_problems.from_seed(lambda: _normed(nn.ReLU))
    return sd.Task(build, loss=cross_entropy, **split(*_blurred(307), 1300, 307))


def smallest() -> sd.Task:
    """The smallest of three digits, 192-64-32-3, tanh, a margin."""
    build = dense(widths=(192, 64, 32, 3), activation=nn.Tanh)
    return sd.Task(build, loss=multi_margin_loss, **split(*_smallest(308), 1300, 308))


def halved() -> sd.Task:
    """The lower half of digits from the upper, 32-64-32, leaky ReLU."""
    build = dense(widths=(32, 64, 32), activation=nn.LeakyReLU)
    return sd.Task(build, loss=mse_loss, **split(*_halved(), 1300, 309))


def few_lenses() -> sd.Task:
    """140 pairs of circles, a fifth wrong, 6-80-80-3, GELU."""
    build = dense(widths=(6, 80, 80, 3), activation=nn.GELU)
    return sd.Task(build, loss=cross_entropy, **split(*_lenses(0.2, 310), 140, 310))


def few_tides() -> sd.Task:
    """100 heights of tides with much noise, 2-96-96-1."""
    return sd.Task(dense(widths=(2, 96, 96, 1)), loss=mse_loss, **split(*_tides(0.6, 311), 100, 311))


def few_blurred() -> sd.Task:
    """160 blurred digits, a fifth wrong, 64-96-10, SiLU."""
    x, y = _blurred(312)
    build = dense(widths=(64, 96, 10), activation=nn.SiLU)
    return sd.Task(build, loss=cross_entropy, **split(x, mislabelled(y, 0.2, 10, 312), 160, 312))


def few_mirrored() -> sd.Task:
    """150 digits, mirrored or not, two convolutions, ReLU."""
    build = rate_problems.from_seed(lambda: _looking(nn.ReLU, 2))
    return sd.Task(build, loss=cross_entropy, **split(*_mirrored(313), 150, 313))


def all_halved() -> sd.Task:
    """220 digits, the lower half from the upper, linear: convex."""
    return sd.Task(dense(widths=(32, 32)), loss=mse_loss, **split(*_halved(), 220, 314))


def all_roots() -> sd.Task:
    """260 parabolas, 3-32-1, tanh."""
    build = dense(widths=(3, 32, 1), activation=nn.Tanh)
    return sd.Task(build, loss=binary_cross_entropy_with_logits, **split(*_roots(0.0, 315), 260, 315))


def all_smallest() -> sd.Task:
    """250 times the smallest of three digits, 192-24-3, ELU."""
    build = dense(widths=(192, 24, 3), activation=nn.ELU)
    return sd.Task(build, loss=cross_entropy, **split(*_smallest(316), 250, 316))


def mute(scale: float = 0.02) -> sd.Task:
    """Roots of parabolas, three layers of SiLU that start near the saddle at 0."""
    build = changed(dense(widths=(3, 32, 32, 32, 1), activation=nn.SiLU), lambda p: scale * p)
    return sd.Task(build, loss=binary_cross_entropy_with_logits, **split(*_roots(0.0, 317), 1200, 317))


def stuck(scale: float = 25.0) -> sd.Task:
    """Blurred digits, tanh whose weights are so large that every unit is at -1 or 1."""
    build = changed(dense(widths=(64, 48, 32, 10), activation=nn.Tanh), lambda p: scale * p)
    return sd.Task(build, loss=cross_entropy, **split(*_blurred(318), 1200, 318))


# -- Series ------------------------------------------------------------------------------------------------------------

SERIES = (
    series(tides, "adam", 1e-2, CONSTANT, 200, FOURS, rates=COARSE),
    series(tides, "momentum", 3e-2, COSINE, 200, TWOS, rates=COARSE),
    series(lenses, "gradient_descent", 3e-1, CONSTANT, 200, FOURS, rates=COARSE),
    series(lenses, "lion", 1e-3, COSINE, 200, THREES, rates=COARSE),
    series(queues, "adamw", 1e-2, CONSTANT, 200, FIVES, rates=COARSE),
    series(queues, "nesterov", 3e-2, COSINE, 200, FOURS, rates=COARSE),
    series(roots, "nadam", 1e-2, COSINE, 200, ONES, rates=COARSE),
    series(roots, "adagrad", 3e-2, CONSTANT, 200, FOURS, rates=COARSE),
    series(sparse, "momentum", 1e-2, CONSTANT, 200, THREES, rates=COARSE),
    series(sparse, "adam", 3e-2, COSINE, 200, FOURS, rates=COARSE),
    series(mirrored, "rmsprop", 3e-3, CONSTANT, 200, FOURS, rates=COARSE),
    series(mirrored, "momentum", 3e-2, COSINE, 200, TWOS, rates=COARSE),
    series(blurred, "gradient_descent", 1e-1, CONSTANT, 200, FIVES, rates=COARSE),
    series(blurred, "amsgrad", 3e-3, COSINE, 200, FOURS, rates=COARSE),
    series(smallest, "adamax", 1e-2, CONSTANT, 200, FOURS, rates=COARSE),
    series(smallest, "nesterov", 3e-2, CONSTANT, 200, TWOS, rates=COARSE),
    series(halved, "adam", 3e-3, CONSTANT, 200, TWOS, rates=COARSE),
    series(halved, "signum", 1e-3, COSINE, 200, FIVES, rates=COARSE),
    series(few_lenses, "adam", 3e-3, CONSTANT, 300, FEW, rates=COARSE),
    series(few_tides, "adamw", 1e-2, COSINE, 250, FEW, rates=COARSE),
    series(few_blurred, "nadam", 3e-3, COSINE, 300, FEW, rates=COARSE),
    series(few_mirrored, "momentum", 3e-2, CONSTANT, 300, FEW, rates=COARSE),
    series(all_halved, "momentum", 1.0, CONSTANT, 150, FULL, rates=EDGE),
    series(all_halved, "adam", 1e-2, CONSTANT, 150, FULL, rates=EDGE),
    series(all_roots, "gradient_descent", 1.0, CONSTANT, 200, FULL, rates=EDGE),
    series(all_roots, "lion", 1e-2, CONSTANT, 200, FULL, rates=EDGE),
    series(all_smallest, "nesterov", 1e-1, CONSTANT, 200, FULL, rates=EDGE),
    series(all_smallest, "adam", 3e-3, CONSTANT, 200, FULL, rates=EDGE),
    series(mute, "momentum", 3e-2, CONSTANT, 200, FOURS, functools.partial(mute, 1.0), COARSE),
    series(stuck, "adam", 3e-3, CONSTANT, 200, FOURS, functools.partial(stuck, 1.0), COARSE),
)
