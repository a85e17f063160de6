"""The problems that learning rate finders are tried on: small real trainings of many kinds, a second or two each.

Nothing about a finder may be chosen on them. Some tasks are those of `problems`, others are only here. `lr` is the
rule's default rate; the best one lies between a tenth of it and a hundred times it. All have "warmup(5%) >> cosine" and
end in a loss that does not fall to nearly nothing, so that its last value is more than chance.
"""

import functools
import itertools
import math
from collections.abc import Callable
from pydoc_data.topics import topics
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, mse_loss, one_hot, smooth_l1_loss

import steepest as sd
from benchmarks.problems import networks, problems
from benchmarks.problems.problems import COSINE, HELD_OUT, LETTERS, SYMBOLS, Problem, smoothed
from steepest.rules.textbook import find_rule
from steepest.tasks.digits import images

# -- Data --------------------------------------------------------------------------------------------------------------


def _held_out(x: Tensor, y: Tensor) -> dict[str, Any]:
    """Data and validation of a Task, in an order of its own: other samples are held out than in `problems`."""
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(6))
    train, validation = order[HELD_OUT:], order[:HELD_OUT]
    return {"data": (x[train], y[train]), "validation": (x[validation], y[validation])}


def _linear(scales: Tensor, noise: float) -> tuple[Tensor, Tensor]:
    """A linear function in which every column matters alike, whatever its scale: x [3000, columns], y [3000, 1]."""
    random = torch.Generator().manual_seed(2)
    x = torch.randn(3000, len(scales), generator=random)
    y = x @ torch.randn(len(scales), 1, generator=random) / math.sqrt(len(scales))
    return x * scales, y + noise * torch.randn(y.shape, generator=random)


def _bent(scales: Tensor, noise: float) -> tuple[Tensor, Tensor]:
    """The same, where products of neighbouring columns count too."""
    random = torch.Generator().manual_seed(3)
    x = torch.randn(3000, len(scales), generator=random)
    features = torch.cat([x, x[:, 1:] * x[:, :-1]], 1)
    y = features @ torch.randn(features.shape[1], 1, generator=random) / math.sqrt(features.shape[1])
    return x * scales, y + noise * torch.randn(y.shape, generator=random)


def _two_spirals(noise: float) -> tuple[Tensor, Tensor]:
    """Points of two spirals, one turn each: x [2400, 2], y [2400]."""
    random = torch.Generator().manual_seed(4)
    y = torch.arange(2400) % 2
    radius = torch.rand(2400, generator=random).sqrt()
    angle = 2 * math.pi * radius + math.pi * y
    x = 2 * radius[:, None] * torch.stack([angle.cos(), angle.sin()], 1)
    return x + noise * torch.randn(x.shape, generator=random), y


def _symbols(start: int, count: int) -> Tensor:
    """A stretch of text."""
    index = {letter: i for i, letter in enumerate(LETTERS)}
    letters = "".join(topics[name] for name in sorted(topics)).lower()[start : start + count]
    return torch.tensor([index.get(c, SYMBOLS - 1) for c in letters])


def _before(places: int, samples: int) -> tuple[Tensor, Tensor]:
    """The symbols before each, and itself: x [samples, places], y [samples]."""
    symbols = _symbols(400_000, samples + places)
    return symbols.unfold(0, places, 1)[:samples], symbols[places:]


def _phrases(places: int, samples: int) -> tuple[Tensor, Tensor]:
    """Stretches of text as one-hot vectors, and the symbol after each: x [samples, places, symbols], y [samples]."""
    symbols = _symbols(300_000, samples * places + 1)
    return one_hot(symbols[:-1], SYMBOLS).float().reshape(-1, places, SYMBOLS), symbols[places::places]


def _ratings(people: int, things: int, noise: float, rank: int = 3, seed: int = 5) -> tuple[Tensor, Tensor]:
    """Entries of a matrix that somebody has seen: x [6000, 2] of row and column, y [6000] of their values."""
    random = torch.Generator().manual_seed(seed)
    rows, columns = torch.randn(people, rank, generator=random), torch.randn(things, rank, generator=random)
    seen = torch.randperm(people * things, generator=random)[:6000]
    x = torch.stack([seen // things, seen % things], 1)
    y = (rows @ columns.T / math.sqrt(rank)).flatten()[seen]
    return x, y + noise * torch.randn(len(y), generator=random)


# -- Networks ----------------------------------------------------------------------------------------------------------


class Factors(nn.Module):
    """A matrix as the product of two thin ones, looked up by (row, column)."""

    def __init__(self, people: int, things: int, rank: int) -> None:
        super().__init__()
        self.rows = nn.Parameter(0.3 * torch.randn(people, rank))
        self.columns = nn.Parameter(0.3 * torch.randn(things, rank))

    def forward(self, pairs: Tensor) -> Tensor:
        return (self.rows[pairs[:, 0]] * self.columns[pairs[:, 1]]).sum(1)


class Neighbours(nn.Module):
    """The next symbol from a few before it, each a vector that is learned (Bengio et al. 2003)."""

    def __init__(self, count: int, width: int) -> None:
        super().__init__()
        self.vectors = nn.Parameter(torch.randn(SYMBOLS, width))
        self.think = nn.Sequential(nn.Linear(count * width, 64), nn.Tanh(), nn.Linear(64, SYMBOLS))

    def forward(self, symbols: Tensor) -> Tensor:
        return self.think(self.vectors[symbols].flatten(1))


class Residual(nn.Module):
    """x plus a perceptron of it, after a LayerNorm."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.think = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.GELU(), nn.Linear(width, width))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.think(x)


def _seeded(make: Callable[[], nn.Module], seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return make()


def from_seed(make: Callable[[], nn.Module]) -> Callable[[int], nn.Module]:
    """Builds what `make` makes, from a seed."""
    return functools.partial(_seeded, make)


# -- Tasks -------------------------------------------------------------------------------------------------------------


def softmax() -> sd.Task:
    """Digits, 64-10: convex."""
    return sd.Task(lambda seed: networks.dense(seed, (64, 10)), loss=cross_entropy, **_held_out(*images()))


def ravine() -> sd.Task:
    """A linear function of 20 columns whose scales span three and a half decades: convex, its condition 10⁷."""
    data = _linear(torch.logspace(-2.5, 1, 20), noise=0.3)
    return sd.Task(lambda seed: networks.dense(seed, (20, 1)), loss=mse_loss, **_held_out(*data))


def scaled() -> sd.Task:
    """A function of 12 columns whose scales span three decades, 12-64-64-1."""
    data = _bent(torch.logspace(-2, 1, 12), noise=0.3)
    return sd.Task(lambda seed: networks.dense(seed, (12, 64, 64, 1)), loss=mse_loss, **_held_out(*data))


def outliers() -> sd.Task:
    """A bent function whose noise is Student's of two degrees, 8-64-64-1, tanh, Huber's loss."""
    x, y = _bent(torch.ones(8), noise=0.0)
    random = torch.Generator().manual_seed(7)
    normal, square = torch.randn(y.shape, generator=random), torch.randn(len(y), 2, generator=random).square()
    y = y + 0.2 * normal / square.mean(1, keepdim=True).sqrt()
    return sd.Task(lambda seed: networks.dense(seed, (8, 64, 64, 1), nn.Tanh), loss=smooth_l1_loss, **_held_out(x, y))


def spirals() -> sd.Task:
    """Which of two spirals, 2-48-48-48-2, tanh."""
    build = functools.partial(networks.dense, widths=(2, 48, 48, 48, 2), activation=nn.Tanh)
    return sd.Task(build, loss=cross_entropy, **_held_out(*_two_spirals(0.25)))


def neighbours() -> sd.Task:
    """The next character from the five before it, each a vector of eight numbers."""
    return sd.Task(from_seed(lambda: Neighbours(5, 8)), loss=cross_entropy, **_held_out(*_before(5, 20_000)))


def phrases() -> sd.Task:
    """The next character after eight, two blocks 16 wide over one-hot vectors."""
    build = functools.partial(networks.transformer, inputs=SYMBOLS, places=8, width=16, outputs=SYMBOLS, causal=False)
    return sd.Task(build, loss=cross_entropy, **_held_out(*_phrases(8, 12_000)))


def factors() -> sd.Task:
    """A matrix of rank 3, 120 × 100, of which half is seen, with noise; as factors of rank 4."""
    data = _ratings(120, 100, noise=0.5)
    return sd.Task(from_seed(lambda: Factors(120, 100, rank=4)), loss=mse_loss, **_held_out(*data))


def matrix() -> sd.Task:
    """A matrix of rank 2, 90 × 110, of which 6,000 entries are seen, with less noise; as factors of rank 2."""
    data = _ratings(90, 110, noise=0.2, rank=2, seed=7)
    return sd.Task(from_seed(lambda: Factors(90, 110, rank=2)), loss=mse_loss, **_held_out(*data))


def linear_layers() -> sd.Task:
    """Digits as squared distance to one-hot vectors, five linear layers: a saddle at the start, as factors have."""
    x, y = images()
    widths = (64, 32, 32, 32, 32, 10)

    def make() -> nn.Module:
        return nn.Sequential(*(nn.Linear(a, b, bias=False) for a, b in itertools.pairwise(widths)))

    return sd.Task(from_seed(make), loss=mse_loss, **_held_out(x, one_hot(y, 10).float()))


def residual() -> sd.Task:
    """Digits, two residual blocks 48 wide with LayerNorm, smoothed labels."""

    def make() -> nn.Module:
        return nn.Sequential(nn.Linear(64, 48), Residual(48), Residual(48), nn.LayerNorm(48), nn.Linear(48, 10))

    return sd.Task(from_seed(make), loss=smoothed, **_held_out(*images()))


def pictures() -> sd.Task:
    """Digits as pictures, two convolutions without a norm, smoothed labels."""

    def make() -> nn.Module:
        return nn.Sequential(
            nn.Conv2d(1, 8, 3, stride=2, padding=1), nn.ReLU(), nn.Conv2d(8, 16, 3, padding=1), nn.ReLU(),
            nn.Flatten(), nn.Linear(256, 10),
        )  # fmt: skip

    x, y = images()
    return sd.Task(from_seed(make), loss=smoothed, **_held_out(x.reshape(-1, 1, 8, 8), y))


# -- Problems ----------------------------------------------------------------------------------------------------------


def _problem(task: Callable[[], sd.Task], rule: str, batch_size: int, steps: int) -> Problem:
    """A task trained by a rule, from the rule's default rate."""
    name = f"{task.__name__}-{rule}".replace("_", "-")
    return Problem(name, task, rule, find_rule(rule).hypers["lr"], COSINE, batch_size, steps)


RATE_PROBLEMS = (
    _problem(softmax, "gradient_descent", 32, 800),
    _problem(problems.dense, "gradient_descent", 32, 900),
    _problem(ravine, "gradient_descent", 64, 1000),
    _problem(problems.conv, "gradient_descent", 32, 500),
    _problem(problems.autoencoder, "gradient_descent", 48, 1000),
    _problem(matrix, "gradient_descent", 64, 1000),
    _problem(problems.dense, "momentum", 64, 900),
    _problem(problems.conv, "momentum", 32, 500),
    _problem(pictures, "momentum", 32, 700),
    _problem(residual, "momentum", 32, 600),
    _problem(spirals, "momentum", 48, 1000),
    _problem(matrix, "momentum", 48, 1000),
    _problem(scaled, "momentum", 32, 1000),
    _problem(problems.dense, "adam", 32, 900),
    _problem(problems.conv, "adam", 48, 500),
    _problem(problems.rows, "adam", 32, 500),
    _problem(phrases, "adam", 32, 500),
    _problem(neighbours, "adam", 64, 1000),
    _problem(scaled, "adam", 32, 1000),
    _problem(matrix, "adam", 64, 1000),
    _problem(problems.density, "adam", 32, 1000),
    _problem(linear_layers, "adam", 32, 800),
    _problem(softmax, "lion", 32, 800),
    _problem(pictures, "lion", 32, 700),
    _problem(neighbours, "lion", 64, 1000),
    _problem(phrases, "lion", 32, 500),
    _problem(outliers, "lion", 32, 1000),
    _problem(matrix, "lion", 64, 1000),
)

MENDED_ON = tuple(_problem(factors, rule, 64, 1000) for rule in ("gradient_descent", "adam", "lion"))
"""Showed that a first rung in which nobody has begun to learn tells nothing; so they are not reported."""
