"""Orbits, keys, sorted numbers, walks, terms, thick and framed digits: new on 2026-11-26, after the sixth."""

import functools
import math

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, huber_loss, l1_loss, mse_loss

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


def _orbits(noise: float, seed: int) -> tuple[Tensor, Tensor]:
    """Where a planet is from where its sun, its distance and its angle are: x [2400, 4], y [2400, 2]."""
    random = torch.Generator().manual_seed(seed)
    x = 2 * torch.rand(2400, 4, generator=random) - 1
    angle, far = math.pi * x[:, 3:], 0.8 + 0.5 * x[:, 2:3]
    y = x[:, :2] + far * torch.cat([angle.cos(), angle.sin()], 1)
    return x, y + noise * torch.randn(y.shape, generator=random)


def _keys(places: int, noise: float, seed: int) -> tuple[Tensor, Tensor]:
    """Notes, and which of four chords most of them belong to: x [2400, places, 7], y [2400]."""
    random = torch.Generator().manual_seed(seed)
    y = torch.randint(4, (2400,), generator=random)
    chords = torch.tensor([[0, 2, 4], [3, 5, 0], [4, 6, 1], [5, 0, 2]])
    own = chords[y][torch.arange(2400)[:, None], torch.randint(3, (2400, places), generator=random)]
    other = torch.randint(7, (2400, places), generator=random)
    notes = torch.where(torch.rand(2400, places, generator=random) < noise, other, own)
    return nn.functional.one_hot(notes, 7).float(), y


def _sorted(numbers: int, seed: int) -> tuple[Tensor, Tensor]:
    """Numbers, and the same in order: each [2400, numbers]."""
    x = torch.randn(2400, numbers, generator=torch.Generator().manual_seed(seed))
    return x, x.sort(1).values


def _walks(places: int, noise: float, seed: int) -> tuple[Tensor, Tensor]:
    """Walks along a line, and whether they end far from where they began, some wrong: x [2400, 1, places], y [2400]."""
    random = torch.Generator().manual_seed(seed)
    x = torch.randn(2400, places, generator=random)
    far = x.sum(1).abs() > 0.67 * math.sqrt(places)
    return x[:, None], mislabelled(far.long(), noise, 2, seed)


def _terms(columns: int, noise: float, seed: int) -> tuple[Tensor, Tensor]:
    """A polynomial of second degree: x [2400, columns], y [2400, 1], around 0."""
    random = torch.Generator().manual_seed(seed)
    x = torch.randn(2400, columns, generator=random)
    squares = torch.randn(columns, columns, generator=random) / columns
    y = (x @ squares * x).sum(1, keepdim=True) + x[:, :1]
    return x, y - y.mean() + noise * torch.randn(y.shape, generator=random)


def _thick(seed: int) -> tuple[Tensor, Tensor]:
    """Digits made thick or left thin: x [1797, 1, 8, 8], y [1797]."""
    pictures = images()[0].reshape(-1, 1, 8, 8)
    y = torch.randint(2, (len(pictures),), generator=torch.Generator().manual_seed(seed))
    thick = 0.5 * (pictures + nn.functional.max_pool2d(pictures, 2, 1, 1)[:, :, :8, :8])
    return torch.where(y[:, None, None, None] == 1, thick, pictures), y


def _framed() -> tuple[Tensor, Tensor]:
    """What of a digit is not its middle, and the middle: x [1797, 48], y [1797, 16]."""
    pictures = images()[0].reshape(-1, 8, 8)
    middle = torch.zeros(8, 8, dtype=torch.bool)
    middle[2:6, 2:6] = True
    return pictures[:, ~middle], pictures[:, middle]


def _differences(seed: int) -> tuple[Tensor, Tensor]:
    """The difference of two digits' pictures, and whether they are the same digit: x [1797, 64], y [1797, 1]."""
    x, y = images()
    random = torch.Generator().manual_seed(seed)
    order = y.argsort()
    near = order.roll(1)[order.argsort()]
    other = torch.where(torch.rand(len(x), generator=random) < 0.5, near, torch.randperm(len(x), generator=random))
    return x - x[other], (y == y[other]).float()[:, None]


# -- Networks ----------------------------------------------------------------------------------------------------------


class Attentive(nn.Module):
    """Attention of one head over a sequence, then a layer."""

    def __init__(self, inputs: int, width: int, outputs: int) -> None:
        super().__init__()
        self.into, self.out = nn.Linear(inputs, width), nn.Linear(width, outputs)
        self.attention = nn.MultiheadAttention(width, 1, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        """Outputs [B, outputs] of sequences [B, places, inputs]."""
        h = self.into(x)
        return self.out((h + self.attention(h, h, h, need_weights=False)[0]).relu().mean(1))


def _striding(unit: type[nn.Module]) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 12, 4, stride=2), unit(), nn.Conv2d(12, 16, 2), unit(), nn.Flatten(), nn.Linear(64, 2)
    )


def _walking(unit: type[nn.Module]) -> nn.Module:
    return nn.Sequential(
        nn.Conv1d(1, 10, 4, stride=2), unit(), nn.Conv1d(10, 10, 3), unit(), nn.Flatten(), nn.Linear(50, 2)
    )


# -- Tasks -------------------------------------------------------------------------------------------------------------


def orbits() -> sd.Task:
    """Orbits, 4-56-56-2, SiLU, squared distance."""
    build = dense(widths=(4, 56, 56, 2), activation=nn.SiLU)
    return sd.Task(build, loss=mse_loss, **split(*_orbits(0.1, 401), 1500, 401))


def keys() -> sd.Task:
    """Chords of notes, attention 16 wide."""
    build = rate_problems.from_seed(lambda: Attentive(7, 16, 4))
    return sd.Task(build, loss=cross_entropy, **split(*_keys(9, 0.55, 402), 1500, 402))


def ordered() -> sd.Task:
    """Five numbers in order, 5-64-64-5, ReLU, distance."""
    return sd.Task(dense(widths=(5, 64, 64, 5)), loss=l1_loss, **split(*_sorted(5, 403), 1500, 403))


def walks() -> sd.Task:
    """Walks that end far off, a tenth wrong, convolutions along them, tanh."""
    build = rate_problems.from_seed(lambda: _walking(nn.Tanh))
    return sd.Task(build, loss=cross_entropy, **split(*_walks(16, 0.1, 404), 1500, 404))


def terms() -> sd.Task:
    """A polynomial, 5-48-48-1, GELU, Huber's loss."""
    build = dense(widths=(5, 48, 48, 1), activation=nn.GELU)
    return sd.Task(build, loss=huber_loss, **split(*_terms(5, 0.2, 405), 1500, 405))


def thick() -> sd.Task:
    """Thick digits and thin ones, convolutions, ELU."""
    build = rate_problems.from_seed(lambda: _striding(nn.ELU))
    return sd.Task(build, loss=cross_entropy, **split(*_thick(406), 1300, 406))


def framed() -> sd.Task:
    """The middle of digits from around it, 48-64-16, tanh."""
    build = dense(widths=(48, 64, 16), activation=nn.Tanh)
    return sd.Task(build, loss=mse_loss, **split(*_framed(), 1300, 407))


def differences() -> sd.Task:
    """Whether two digits are the same, 64-96-32-1, SELU."""
    build = dense(widths=(64, 96, 32, 1), activation=nn.SELU)
    return sd.Task(build, loss=binary_cross_entropy_with_logits, **split(*_differences(408), 1300, 408))


def few_keys() -> sd.Task:
    """130 chords, flat, 63-64-4, ReLU."""
    x, y = _keys(9, 0.65, 409)
    return sd.Task(dense(widths=(63, 64, 4)), loss=cross_entropy, **split(x.flatten(1), y, 130, 409))


def few_terms() -> sd.Task:
    """120 values of a polynomial with much noise, 6-96-96-1, SiLU."""
    build = dense(widths=(6, 96, 96, 1), activation=nn.SiLU)
    return sd.Task(build, loss=mse_loss, **split(*_terms(6, 0.7, 410), 120, 410))


def few_differences() -> sd.Task:
    """180 differences of digits, 64-64-1, tanh."""
    build = dense(widths=(64, 64, 1), activation=nn.Tanh)
    return sd.Task(build, loss=binary_cross_entropy_with_logits, **split(*_differences(411), 180, 411))


def few_walks() -> sd.Task:
    """140 walks, a fifth wrong, 16-64-64-2, ReLU."""
    x, y = _walks(16, 0.2, 412)
    return sd.Task(dense(widths=(16, 64, 64, 2)), loss=cross_entropy, **split(x.flatten(1), y, 140, 412))


def all_framed() -> sd.Task:
    """230 digits, the middle from around it, linear: convex."""
    return sd.Task(dense(widths=(48, 16)), loss=mse_loss, **split(*_framed(), 230, 413))


def all_orbits() -> sd.Task:
    """240 orbits, 4-32-2, tanh."""
    build = dense(widths=(4, 32, 2), activation=nn.Tanh)
    return sd.Task(build, loss=mse_loss, **split(*_orbits(0.02, 414), 240, 414))


def all_keys() -> sd.Task:
    """260 chords, flat, linear: convex."""
    x, y = _keys(9, 0.55, 415)
    return sd.Task(dense(widths=(63, 4)), loss=cross_entropy, **split(x.flatten(1), y, 260, 415))


def quelled(scale: float = 0.01) -> sd.Task:
    """Orbits, three layers of GELU that start near the saddle at 0."""
    build = changed(dense(widths=(4, 32, 32, 32, 2), activation=nn.GELU), lambda p: scale * p)
    return sd.Task(build, loss=mse_loss, **split(*_orbits(0.1, 417), 1200, 417))


def drowned(shift: float = 3.0) -> sd.Task:
    """Thick digits and thin ones, flat, rectified units whose biases are so far below 0 that hardly any is ever on."""
    x, y = _thick(418)
    build = changed(dense(widths=(64, 48, 48, 2)), lambda p: lowered(p, shift))
    return sd.Task(build, loss=cross_entropy, **split(x.flatten(1), y, 1200, 418))


# -- Series ------------------------------------------------------------------------------------------------------------

SERIES = (
    series(orbits, "adam", 1e-2, COSINE, 200, FOURS, rates=COARSE),
    series(orbits, "gradient_descent", 1e-1, CONSTANT, 200, TWOS, rates=COARSE),
    series(keys, "adamw", 1e-2, CONSTANT, 200, FOURS, rates=COARSE),
    series(keys, "momentum", 3e-2, COSINE, 200, THREES, rates=COARSE),
    series(ordered, "nadam", 1e-2, CONSTANT, 200, TWOS, rates=COARSE),
    series(ordered, "adagrad", 3e-2, CONSTANT, 200, FOURS, rates=COARSE),
    series(walks, "adamax", 1e-2, COSINE, 200, FOURS, rates=COARSE),
    series(walks, "nesterov", 3e-2, CONSTANT, 200, EIGHTS, rates=COARSE),
    series(terms, "rmsprop", 3e-3, COSINE, 200, FOURS, rates=COARSE),
    series(terms, "momentum", 3e-2, CONSTANT, 200, ONES, rates=COARSE),
    series(thick, "adam", 1e-2, CONSTANT, 200, TWOS, rates=COARSE),
    series(thick, "lion", 1e-3, CONSTANT, 200, FOURS, rates=COARSE),
    series(framed, "signum", 1e-3, CONSTANT, 200, FOURS, rates=COARSE),
    series(framed, "amsgrad", 1e-2, COSINE, 200, THREES, rates=COARSE),
    series(differences, "nesterov", 3e-2, COSINE, 200, TWOS, rates=COARSE),
    series(differences, "gradient_descent", 1e-1, CONSTANT, 200, FOURS, rates=COARSE),
    series(few_keys, "adam", 3e-3, CONSTANT, 300, FEW, rates=COARSE),
    series(few_terms, "momentum", 1e-2, COSINE, 300, FEW, rates=COARSE),
    series(few_differences, "nadam", 3e-3, COSINE, 300, FEW, rates=COARSE),
    series(few_walks, "adamw", 1e-2, CONSTANT, 250, FEW, rates=COARSE),
    series(all_framed, "adam", 1e-2, CONSTANT, 150, FULL, rates=EDGE),
    series(all_framed, "nesterov", 3e-1, CONSTANT, 150, FULL, rates=EDGE),
    series(all_orbits, "momentum", 1e-1, CONSTANT, 200, FULL, rates=EDGE),
    series(all_orbits, "rmsprop", 1e-2, CONSTANT, 200, FULL, rates=EDGE),
    series(all_keys, "gradient_descent", 3.0, CONSTANT, 150, FULL, rates=EDGE),
    series(all_keys, "lion", 1e-2, CONSTANT, 150, FULL, rates=EDGE),
    series(quelled, "adam", 1e-3, CONSTANT, 200, FOURS, functools.partial(quelled, 1.0), COARSE),
    series(drowned, "momentum", 3e-2, CONSTANT, 200, FOURS, functools.partial(drowned, 0.0), COARSE),
)
