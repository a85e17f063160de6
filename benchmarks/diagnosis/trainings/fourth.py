"""Boards, ripples, chains, pairs of digits and turned ones: new on 2026-11-26, after the third."""

import functools
import math

import torch
from torch import Tensor, nn
from torch.nn.functional import (
    binary_cross_entropy_with_logits,
    cross_entropy,
    l1_loss,
    mse_loss,
    multilabel_soft_margin_loss,
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
    TWOS,
    dense,
    lowered,
    mislabelled,
    series,
    split,
    started,
)
from benchmarks.problems.problems import COSINE
from benchmarks.rates import rate_problems
from steepest.tasks.digits import images

FEW = (4, 32, "full")

# -- Data --------------------------------------------------------------------------------------------------------------


def _boards(noise: float, seed: int) -> tuple[Tensor, Tensor]:
    """The colour of a place on a board of three by three, some of them wrong: x [2400, 2], y [2400]."""
    random = torch.Generator().manual_seed(seed)
    x = 3 * torch.rand(2400, 2, generator=random)
    y = x.floor().sum(1).long() % 2
    return x - 1.5, mislabelled(y, noise, 2, seed)


def _ripples(columns: int, noise: float, seed: int) -> tuple[Tensor, Tensor]:
    """Waves around 0 and a slope, with noise: x [2400, columns], y [2400, 1]."""
    random = torch.Generator().manual_seed(seed)
    x = 1.5 * torch.randn(2400, columns, generator=random)
    y = torch.sinc(x.norm(dim=1, keepdim=True) / 2) + 0.3 * x[:, :1]
    return x, y - y.mean() + noise * torch.randn(y.shape, generator=random)


def _mixed(columns: int, noise: float, seed: int) -> tuple[Tensor, Tensor]:
    """A linear function of columns that are mixed, with noise: x [2400, columns], y [2400, 1]."""
    random = torch.Generator().manual_seed(seed)
    x = torch.randn(2400, columns, generator=random)
    x = x + 0.7 * x.roll(1, 1)
    y = x @ torch.randn(columns, 1, generator=random) / math.sqrt(columns)
    return x, y + noise * torch.randn(y.shape, generator=random)


def _chains(places: int, symbols: int, seed: int) -> tuple[Tensor, Tensor]:
    """A chain whose next symbol depends on the last two: x [2500, places, symbols], y [2500]."""
    random = torch.Generator().manual_seed(seed)
    odds = (2 * torch.randn(symbols, symbols, symbols, generator=random)).softmax(2)
    chain = [0, 1]
    for _ in range(2500 + places):
        chain.append(int(torch.multinomial(odds[chain[-2], chain[-1]], 1, generator=random)))
    windows = torch.tensor(chain[2:]).unfold(0, places + 1, 1)[:2500]
    return nn.functional.one_hot(windows[:, :-1], symbols).float(), windows[:, -1]


def _pairs(seed: int) -> tuple[Tensor, Tensor]:
    """Digits side by side, and which is greater: x [1797, 128], y [1797]."""
    x, y = images()
    other = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))
    return torch.cat([x, x[other]], 1), (y > y[other]).long()


def _turned(seed: int) -> tuple[Tensor, Tensor]:
    """Digits as pictures, and by how many right angles each is turned: x [1797, 1, 8, 8], y [1797]."""
    x, _ = images()
    y = torch.randint(4, (len(x),), generator=torch.Generator().manual_seed(seed))
    pictures = [torch.rot90(one.reshape(8, 8), int(k)) for one, k in zip(x, y, strict=True)]
    return torch.stack(pictures)[:, None], y


def _noisy(seed: int) -> tuple[Tensor, Tensor]:
    """Digits with noise, and without: each [1797, 64]."""
    x, _ = images()
    return x + 0.4 * torch.randn(x.shape, generator=torch.Generator().manual_seed(seed)), x


def _kinds() -> tuple[Tensor, Tensor]:
    """Digits, and whether each is even, above four, a multiple of three: y [1797, 3]."""
    x, y = images()
    return x, torch.stack([y % 2 == 0, y > 4, y % 3 == 0], 1).float()


# -- Networks ----------------------------------------------------------------------------------------------------------


def _turning(unit: type[nn.Module]) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 6, 3), unit(), nn.MaxPool2d(2), nn.Conv2d(6, 16, 2), unit(), nn.Flatten(), nn.Linear(64, 4)
    )


def _chained() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(36, 48), nn.LayerNorm(48), nn.Softsign(), nn.Linear(48, 6))


# -- Tasks -------------------------------------------------------------------------------------------------------------


def boards() -> sd.Task:
    """Colours of a board, a tenth wrong, 2-48-48-2, ReLU."""
    return sd.Task(dense(widths=(2, 48, 48, 2)), loss=cross_entropy, **split(*_boards(0.1, 101), 1400, 101))


def ripples() -> sd.Task:
    """Waves around 0, 3-40-40-1, Mish, absolute distance."""
    build = dense(widths=(3, 40, 40, 1), activation=nn.Mish)
    return sd.Task(build, loss=l1_loss, **split(*_ripples(3, 0.1, 102), 1400, 102))


def mixed() -> sd.Task:
    """A linear function of mixed columns, squared distance: convex, ill-conditioned."""
    return sd.Task(dense(widths=(14, 1)), loss=mse_loss, **split(*_mixed(14, 0.5, 103), 1400, 103))


def chains() -> sd.Task:
    """The next symbol of a chain from six before it, LayerNorm and softsign."""
    return sd.Task(rate_problems.from_seed(_chained), loss=cross_entropy, **split(*_chains(6, 6, 104), 1600, 104))


def pairs() -> sd.Task:
    """Which of two digits is greater, 128-48-24-2, CELU."""
    build = dense(widths=(128, 48, 24, 2), activation=nn.CELU)
    return sd.Task(build, loss=cross_entropy, **split(*_pairs(105), 1300, 105))


def turned() -> sd.Task:
    """By how many right angles digits are turned, two convolutions with Hardswish."""
    build = rate_problems.from_seed(lambda: _turning(nn.Hardswish))
    return sd.Task(build, loss=cross_entropy, **split(*_turned(106), 1300, 106))


def cleaned() -> sd.Task:
    """Digits from noisy ones, 64-48-64, ReLU6."""
    build = dense(widths=(64, 48, 64), activation=nn.ReLU6)
    return sd.Task(build, loss=mse_loss, **split(*_noisy(107), 1300, 107))


def kinds() -> sd.Task:
    """Three properties of digits, 64-40-40-3, SiLU."""
    build = dense(widths=(64, 40, 40, 3), activation=nn.SiLU)
    return sd.Task(build, loss=multilabel_soft_margin_loss, **split(*_kinds(), 1300, 108))


def few_pairs() -> sd.Task:
    """150 pairs of digits, 128-64-2, GELU."""
    build = dense(widths=(128, 64, 2), activation=nn.GELU)
    return sd.Task(build, loss=cross_entropy, **split(*_pairs(109), 150, 109))


def few_boards() -> sd.Task:
    """130 places of a board, a fifth wrong, 2-64-64-2, SiLU."""
    build = dense(widths=(2, 64, 64, 2), activation=nn.SiLU)
    return sd.Task(build, loss=cross_entropy, **split(*_boards(0.2, 110), 130, 110))


def few_ripples() -> sd.Task:
    """90 values of waves with much noise, 5-72-72-1, Huber's loss."""
    return sd.Task(dense(widths=(5, 72, 72, 1)), loss=smooth_l1_loss, **split(*_ripples(5, 0.5, 111), 90, 111))


def few_turned() -> sd.Task:
    """160 turned digits, two convolutions, ReLU."""
    build = rate_problems.from_seed(lambda: _turning(nn.ReLU))
    return sd.Task(build, loss=cross_entropy, **split(*_turned(112), 160, 112))


def all_mixed() -> sd.Task:
    """240 values of a linear function of mixed columns: convex, ill-conditioned."""
    return sd.Task(dense(widths=(10, 1)), loss=mse_loss, **split(*_mixed(10, 0.3, 113), 240, 113))


def all_boards() -> sd.Task:
    """260 places of a board, 2-32-32-2, tanh."""
    build = dense(widths=(2, 32, 32, 2), activation=nn.Tanh)
    return sd.Task(build, loss=cross_entropy, **split(*_boards(0.0, 114), 260, 114))


def all_kinds() -> sd.Task:
    """250 digits and three properties, linear: convex."""
    return sd.Task(dense(widths=(64, 3)), loss=binary_cross_entropy_with_logits, **split(*_kinds(), 250, 115))


def all_cleaned() -> sd.Task:
    """220 digits from noisy ones, 64-24-64, ELU."""
    build = dense(widths=(64, 24, 64), activation=nn.ELU)
    return sd.Task(build, loss=mse_loss, **split(*_noisy(116), 220, 116))


def idle(scale: float = 0.01) -> sd.Task:
    """Which of two digits is greater, three layers of SiLU that start near the saddle at 0."""
    build = functools.partial(started, dense(widths=(128, 32, 32, 2), activation=nn.SiLU), lambda p: scale * p)
    return sd.Task(build, loss=cross_entropy, **split(*_pairs(117), 1200, 117))


def stopped(shift: float = 4.0) -> sd.Task:
    """Turned digits, convolutions of which hardly any unit is ever on."""
    make = rate_problems.from_seed(lambda: _turning(nn.ReLU))
    build = functools.partial(started, make, lambda p: lowered(p, shift) if len(p) > 4 else p)
    return sd.Task(build, loss=cross_entropy, **split(*_turned(118), 1200, 118))


def choked(scale: float = 1.0) -> sd.Task:
    """Chains, five layers of sigmoids: the gradient vanishes on the way down; at 6 × the weights not."""
    x, y = _chains(6, 6, 119)
    make = dense(widths=(36, 24, 24, 24, 24, 6), activation=nn.Sigmoid)
    build = functools.partial(started, make, lambda p: scale * p)
    return sd.Task(build, loss=cross_entropy, **split(x.flatten(1), y, 1400, 119))


def sunk(shift: float = 3.0) -> sd.Task:
    """Waves around 0 by rectified units whose biases are so far below 0 that hardly any is ever on."""
    build = functools.partial(started, dense(widths=(3, 48, 1)), lambda p: lowered(p, shift))
    return sd.Task(build, loss=mse_loss, **split(*_ripples(3, 0.1, 120), 1200, 120))


# -- Series ------------------------------------------------------------------------------------------------------------

SERIES = (
    series(boards, "adam", 1e-2, CONSTANT, 200, FOURS, rates=COARSE),
    series(boards, "nesterov", 3e-2, COSINE, 200, TWOS, rates=COARSE),
    series(ripples, "adamw", 1e-2, COSINE, 200, TWOS, rates=COARSE),
    series(ripples, "gradient_descent", 1e-1, CONSTANT, 200, FIVES, rates=COARSE),
    series(mixed, "adam", 1e-1, CONSTANT, 200, FOURS, rates=COARSE),
    series(mixed, "momentum", 1e-2, COSINE, 200, TWOS, rates=COARSE),
    series(chains, "adagrad", 3e-2, CONSTANT, 200, FIVES, rates=COARSE),
    series(chains, "nadam", 3e-3, COSINE, 200, FOURS, rates=COARSE),
    series(pairs, "momentum", 3e-2, CONSTANT, 200, FOURS, rates=COARSE),
    series(pairs, "lion", 1e-3, CONSTANT, 200, TWOS, rates=COARSE),
    series(turned, "rmsprop", 3e-3, CONSTANT, 200, FIVES, rates=COARSE),
    series(cleaned, "adamax", 1e-2, COSINE, 200, FOURS, rates=COARSE),
    series(kinds, "signum", 1e-3, COSINE, 200, FIVES, rates=COARSE),
    series(kinds, "amsgrad", 3e-3, CONSTANT, 200, TWOS, rates=COARSE),
    series(few_pairs, "adamw", 3e-3, CONSTANT, 250, FEW, rates=COARSE),
    series(few_boards, "momentum", 1e-1, CONSTANT, 300, FEW, rates=COARSE),
    series(few_ripples, "nadam", 1e-2, COSINE, 250, FEW, rates=COARSE),
    series(few_turned, "adam", 3e-3, COSINE, 250, FEW, rates=COARSE),
    series(all_mixed, "gradient_descent", 1e-1, CONSTANT, 150, FULL, rates=EDGE),
    series(all_mixed, "adam", 1e-1, CONSTANT, 150, FULL, rates=EDGE),
    series(all_boards, "momentum", 1e-1, CONSTANT, 200, FULL, rates=EDGE),
    series(all_boards, "signum", 1e-2, CONSTANT, 200, FULL, rates=EDGE),
    series(all_kinds, "nesterov", 1.0, CONSTANT, 150, FULL, rates=EDGE),
    series(all_kinds, "lion", 1e-2, CONSTANT, 150, FULL, rates=EDGE),
    series(all_cleaned, "momentum", 3.0, CONSTANT, 200, FULL, rates=EDGE),
    series(all_cleaned, "signum", 3e-3, CONSTANT, 200, FULL, rates=EDGE),
    series(idle, "nesterov", 3e-2, CONSTANT, 200, FOURS, functools.partial(idle, 1.0), COARSE),
    series(stopped, "momentum", 3e-2, COSINE, 200, FIVES, functools.partial(stopped, 0.0), COARSE),
    series(choked, "adam", 1e-3, CONSTANT, 200, FOURS, functools.partial(choked, 6.0), COARSE),
    series(sunk, "gradient_descent", 1e-1, COSINE, 200, FOURS, functools.partial(sunk, 0.0), COARSE),
)
