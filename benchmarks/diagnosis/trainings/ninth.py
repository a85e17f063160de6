"""Boats, prices, words, tiles, votes, rotated, faint and crossed digits: new on 2026-11-26, after the eighth."""

import functools
import math

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, l1_loss, mse_loss, smooth_l1_loss

import steepest as sd
from benchmarks.diagnosis.trainings.series import (
    COARSE,
    CONSTANT,
    EDGE,
    FEW,
    FIVES,
    FOURS,
    FULL,
    ONES,
    SIXES,
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


def _boats(noise: float, seed: int) -> tuple[Tensor, Tensor]:
    """How near two boats come to each other, from where they are and go: x [2400, 8], y [2400, 1], scaled."""
    random = torch.Generator().manual_seed(seed)
    x = torch.randn(2400, 8, generator=random)
    apart, going = x[:, :2] - x[:, 2:4], x[:, 4:6] - x[:, 6:]
    when = (-(apart * going).sum(1, keepdim=True) / going.square().sum(1, keepdim=True)).clamp(0, 2)
    y = (apart + when * going).norm(dim=1, keepdim=True)
    return x, (y - y.mean()) / y.std() + noise * torch.randn(y.shape, generator=random)


def _prices(noise: float, seed: int) -> tuple[Tensor, Tensor]:
    """What a house costs by its size, age, rooms and place, with a few mistakes: x [2400, 5], y [2400, 1], scaled."""
    random = torch.Generator().manual_seed(seed)
    x = torch.rand(2400, 5, generator=random)
    place = torch.exp(-4 * ((x[:, 3:4] - 0.3) ** 2 + (x[:, 4:] - 0.6) ** 2))
    y = (0.5 + x[:, :1]) * (1 - 0.5 * x[:, 1:2]) * (0.6 + place) + 0.2 * (x[:, 2:3] > 0.5)
    wrong = (torch.rand(2400, 1, generator=random) < 0.03) * 3 * torch.randn(2400, 1, generator=random)
    return 2 * x - 1, (y - y.mean()) / y.std() + noise * torch.randn(y.shape, generator=random) + wrong


def _words(places: int, noise: float, seed: int) -> tuple[Tensor, Tensor]:
    """Words, and in which of three languages, by which letter follows which: x [2400, places, 6], y [2400]."""
    random = torch.Generator().manual_seed(seed)
    y = torch.randint(3, (2400,), generator=random)
    after = torch.softmax(1.6 * torch.randn(3, 6, 6, generator=random), -1)
    letters = [torch.randint(6, (2400,), generator=random)]
    for _ in range(places - 1):
        letters.append(torch.multinomial(after[y, letters[-1]], 1, generator=random)[:, 0])
    return nn.functional.one_hot(torch.stack(letters, 1), 6).float(), mislabelled(y, noise, 3, seed)


def _tiles(noise: float, seed: int) -> tuple[Tensor, Tensor]:
    """Places on a floor, and which of four colours the tile there has, some wrong: x [2400, 2], y [2400]."""
    random = torch.Generator().manual_seed(seed)
    x = 2 * torch.rand(2400, 2, generator=random) - 1
    cells = ((x + 1) * 1.5).long()
    return 1.5 * x, mislabelled((cells[:, 0] + 2 * cells[:, 1]) % 4, noise, 4, seed)


def _votes(people: int, noise: float, seed: int) -> tuple[Tensor, Tensor]:
    """Who of some people votes for what, and whether the majority of those that count double does: x, y [2400, 1]."""
    random = torch.Generator().manual_seed(seed)
    x = torch.randn(2400, people, generator=random)
    counts = 1 + (torch.arange(people) % 3 == 0).float()
    y = ((x.sign() * counts).sum(1) > 0).long()
    return x, mislabelled(y, noise, 2, seed)[:, None].float()


def _rotated(seed: int) -> tuple[Tensor, Tensor]:
    """Digits with noise, turned by some angle, and its sine and cosine: x [1797, 1, 8, 8], y [1797, 2]."""
    random = torch.Generator().manual_seed(seed)
    pictures = images()[0].reshape(-1, 1, 8, 8)
    angle = math.pi * (torch.rand(len(pictures), generator=random) - 0.5)
    c, s = angle.cos(), angle.sin()
    turn = torch.stack([torch.stack([c, -s, 0 * c], 1), torch.stack([s, c, 0 * c], 1)], 1)
    grid = nn.functional.affine_grid(turn, list(pictures.shape), align_corners=False)
    x = nn.functional.grid_sample(pictures, grid, align_corners=False)
    return x + 0.1 * torch.randn(x.shape, generator=random), torch.stack([s, c], 1)


def _faint(seed: int) -> tuple[Tensor, Tensor]:
    """Digits of various strength on a background that slopes: x [1797, 64], y [1797]."""
    x, y = images()
    random = torch.Generator().manual_seed(seed)
    strength = 0.3 + 0.7 * torch.rand(len(x), 1, generator=random)
    slope = torch.randn(len(x), 2, generator=random) @ torch.stack(
        [torch.linspace(-1, 1, 8).repeat_interleave(8), torch.linspace(-1, 1, 8).repeat(8)]
    )
    return strength * x + 0.3 * slope, y


def _crossed(seed: int) -> tuple[Tensor, Tensor]:
    """Two digits over each other, and which ten are there: x [1797, 64], y [1797, 10]."""
    x, y = images()
    other = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))
    both = nn.functional.one_hot(y, 10) + nn.functional.one_hot(y[other], 10)
    return torch.maximum(x, x[other]), both.clamp(max=1).float()


# -- Networks ----------------------------------------------------------------------------------------------------------


def _pooled(unit: type[nn.Module]) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 10, 3), unit(), nn.Conv2d(10, 10, 3), unit(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(40, 2)
    )


class Recalling(nn.Module):
    """An LSTM over a sequence, then a layer on its last state."""

    def __init__(self, inputs: int, width: int, outputs: int) -> None:
        super().__init__()
        self.over, self.out = nn.LSTM(inputs, width, batch_first=True), nn.Linear(width, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Outputs [B, outputs] of sequences [B, places, inputs]."""
        return self.out(self.over(x)[0][:, -1])


def _normed() -> nn.Module:
    return nn.Sequential(
        nn.Linear(64, 64),
        nn.LayerNorm(64),
        nn.ReLU(),
        nn.Linear(64, 32),
        nn.LayerNorm(32),
        nn.ReLU(),
        nn.Linear(32, 10),
    )


# -- Tasks -------------------------------------------------------------------------------------------------------------


def boats() -> sd.Task:
    """Boats, 8-64-64-1, ReLU, squared distance."""
    return sd.Task(dense(widths=(8, 64, 64, 1)), loss=mse_loss, **split(*_boats(0.1, 601), 1500, 601))


def prices() -> sd.Task:
    """Prices with mistakes, 5-48-48-1, SiLU, distance."""
    build = dense(widths=(5, 48, 48, 1), activation=nn.SiLU)
    return sd.Task(build, loss=l1_loss, **split(*_prices(0.1, 602), 1500, 602))


def words() -> sd.Task:
    """Words of three languages, an LSTM 16 wide."""
    build = rate_problems.from_seed(lambda: Recalling(6, 16, 3))
    return sd.Task(build, loss=cross_entropy, **split(*_words(8, 0.03, 603), 1500, 603))


def tiles() -> sd.Task:
    """Tiles, a few wrong, 2-56-56-4, GELU."""
    build = dense(widths=(2, 56, 56, 4), activation=nn.GELU)
    return sd.Task(build, loss=cross_entropy, **split(*_tiles(0.04, 604), 1500, 604))


def votes() -> sd.Task:
    """Votes, some wrong, 9-40-40-1, ELU."""
    build = dense(widths=(9, 40, 40, 1), activation=nn.ELU)
    return sd.Task(build, loss=binary_cross_entropy_with_logits, **split(*_votes(9, 0.08, 605), 1500, 605))


def rotated() -> sd.Task:
    """By how much a digit is turned, convolutions, tanh, smooth distance."""
    build = rate_problems.from_seed(lambda: _pooled(nn.Tanh))
    return sd.Task(build, loss=smooth_l1_loss, **split(*_rotated(606), 1300, 606))


def faint() -> sd.Task:
    """Faint digits, 64-64-32-10, ReLU and layer norm."""
    build = rate_problems.from_seed(_normed)
    return sd.Task(build, loss=cross_entropy, **split(*_faint(607), 1300, 607))


def crossed() -> sd.Task:
    """Which digits are over each other, 64-72-10, leaky rectifiers."""
    build = dense(widths=(64, 72, 10), activation=nn.LeakyReLU)
    return sd.Task(build, loss=binary_cross_entropy_with_logits, **split(*_crossed(608), 1300, 608))


def few_boats() -> sd.Task:
    """120 boats with much noise, 8-80-80-1, tanh."""
    build = dense(widths=(8, 80, 80, 1), activation=nn.Tanh)
    return sd.Task(build, loss=mse_loss, **split(*_boats(0.6, 609), 120, 609))


def few_words() -> sd.Task:
    """150 words, flat, a tenth wrong, 48-64-3, ReLU."""
    x, y = _words(8, 0.1, 610)
    return sd.Task(dense(widths=(48, 64, 3)), loss=cross_entropy, **split(x.flatten(1), y, 150, 610))


def few_faint() -> sd.Task:
    """170 faint digits, 64-96-10, SiLU."""
    build = dense(widths=(64, 96, 10), activation=nn.SiLU)
    return sd.Task(build, loss=cross_entropy, **split(*_faint(611), 170, 611))


def few_votes() -> sd.Task:
    """130 votes, a sixth wrong, 9-64-64-1, GELU."""
    build = dense(widths=(9, 64, 64, 1), activation=nn.GELU)
    return sd.Task(build, loss=binary_cross_entropy_with_logits, **split(*_votes(9, 0.16, 612), 130, 612))


def all_crossed() -> sd.Task:
    """240 digits over each other, linear: convex."""
    return sd.Task(dense(widths=(64, 10)), loss=binary_cross_entropy_with_logits, **split(*_crossed(613), 240, 613))


def all_prices() -> sd.Task:
    """250 prices, 5-32-1, tanh, squared distance."""
    build = dense(widths=(5, 32, 1), activation=nn.Tanh)
    return sd.Task(build, loss=mse_loss, **split(*_prices(0.1, 614), 250, 614))


def all_words() -> sd.Task:
    """260 words, flat, linear: convex."""
    x, y = _words(8, 0.05, 615)
    return sd.Task(dense(widths=(48, 3)), loss=cross_entropy, **split(x.flatten(1), y, 260, 615))


def dozing(scale: float = 0.01) -> sd.Task:
    """Tiles, three layers of SiLU that start near the saddle at 0."""
    build = changed(dense(widths=(2, 32, 32, 32, 4), activation=nn.SiLU), lambda p: scale * p)
    return sd.Task(build, loss=cross_entropy, **split(*_tiles(0.04, 616), 1200, 616))


def unheard(shift: float = 3.0) -> sd.Task:
    """Digits over each other, rectified units whose biases are so far below 0 that hardly any is ever on."""
    build = changed(dense(widths=(64, 48, 48, 10)), lambda p: lowered(p, shift))
    return sd.Task(build, loss=binary_cross_entropy_with_logits, **split(*_crossed(617), 1200, 617))


# -- Series ------------------------------------------------------------------------------------------------------------

SERIES = (
    series(boats, "adam", 1e-2, COSINE, 200, TWOS, rates=COARSE),
    series(boats, "nesterov", 3e-2, CONSTANT, 200, FOURS, rates=COARSE),
    series(prices, "momentum", 3e-2, COSINE, 200, FOURS, rates=COARSE),
    series(prices, "adamax", 1e-2, CONSTANT, 200, TWOS, rates=COARSE),
    series(words, "adamw", 1e-2, COSINE, 200, FOURS, rates=COARSE),
    series(words, "rmsprop", 3e-3, CONSTANT, 200, SIXES, rates=COARSE),
    series(tiles, "nadam", 1e-2, CONSTANT, 200, FOURS, rates=COARSE),
    series(tiles, "gradient_descent", 3e-1, COSINE, 200, TWOS, rates=COARSE),
    series(votes, "lion", 1e-3, COSINE, 200, FOURS, rates=COARSE),
    series(votes, "momentum", 3e-2, CONSTANT, 200, ONES, rates=COARSE),
    series(rotated, "amsgrad", 1e-2, CONSTANT, 200, FOURS, rates=COARSE),
    series(rotated, "nesterov", 3e-2, COSINE, 200, FIVES, rates=COARSE),
    series(faint, "adam", 1e-2, CONSTANT, 200, TWOS, rates=COARSE),
    series(faint, "signum", 1e-3, CONSTANT, 200, FOURS, rates=COARSE),
    series(crossed, "adagrad", 3e-2, CONSTANT, 200, FOURS, rates=COARSE),
    series(crossed, "gradient_descent", 3e-1, CONSTANT, 200, FOURS, rates=COARSE),
    series(few_boats, "adam", 3e-3, CONSTANT, 300, FEW, rates=COARSE),
    series(few_words, "nadam", 3e-3, CONSTANT, 300, FEW, rates=COARSE),
    series(few_faint, "momentum", 1e-2, CONSTANT, 300, FEW, rates=COARSE),
    series(few_votes, "adamw", 1e-2, COSINE, 250, FEW, rates=COARSE),
    series(all_crossed, "momentum", 1.0, CONSTANT, 150, FULL, rates=EDGE),
    series(all_crossed, "rmsprop", 1e-2, CONSTANT, 150, FULL, rates=EDGE),
    series(all_prices, "gradient_descent", 1e-1, CONSTANT, 200, FULL, rates=EDGE),
    series(all_prices, "adam", 1e-2, CONSTANT, 200, FULL, rates=EDGE),
    series(all_words, "nesterov", 1.0, CONSTANT, 150, FULL, rates=EDGE),
    series(all_words, "lion", 1e-2, CONSTANT, 150, FULL, rates=EDGE),
    series(dozing, "adam", 1e-3, CONSTANT, 200, FOURS, functools.partial(dozing, 1.0), COARSE),
    series(unheard, "momentum", 3e-2, CONSTANT, 200, FOURS, functools.partial(unheard, 0.0), COARSE),
)
