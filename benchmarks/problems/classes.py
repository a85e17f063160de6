"""Classification data from formulas: points in regions, and sequences. Every generator returns x and labels y.

`random` is the torch generator of all random numbers of a generator, in the order in which they are drawn.
"""

import math

import torch
from torch import Generator, Tensor, nn

from benchmarks.problems.functions import Data

# -- Points ------------------------------------------------------------------------------------------------------------


def spirals(noise: float, random: Generator) -> Data:
    """Two spirals of one turn: x [2400, 2], y [2400]."""
    y = torch.arange(2400) % 2
    radius = torch.rand(2400, generator=random).sqrt()
    angle = 2 * math.pi * radius + math.pi * y
    x = 2 * radius[:, None] * torch.stack([angle.cos(), angle.sin()], 1)
    return x + noise * torch.randn(x.shape, generator=random), y


def moons(noise: float, random: Generator) -> Data:
    """Two half circles, one inside the other: x [2400, 2], y [2400]."""
    y = torch.arange(2400) % 2
    angle = math.pi * torch.rand(2400, generator=random)
    sign = 1 - 2 * y
    x = torch.stack([angle.cos() + y - 0.5, sign * angle.sin() + 0.4 * y - 0.2], 1)
    return x + noise * torch.randn(x.shape, generator=random), y


def arcs(noise: float, random: Generator) -> Data:
    """Three arcs around each other: x [2400, 2], y [2400]."""
    y = torch.randint(3, (2400,), generator=random)
    radius = torch.rand(2400, generator=random)
    angle = 2.5 * radius + 2 * math.pi / 3 * y
    x = (0.3 + 1.4 * radius)[:, None] * torch.stack([angle.cos(), angle.sin()], 1)
    return x + noise * torch.randn(x.shape, generator=random), y


def shells(noise: float, random: Generator) -> Data:
    """Three concentric shells in four dimensions: x [2400, 4], y [2400]."""
    y = torch.arange(2400) % 3
    x = torch.randn(2400, 4, generator=random)
    x = x / x.norm(dim=1, keepdim=True) * (1.0 + y[:, None])
    return x + noise * torch.randn(x.shape, generator=random), y


def blobs(classes: int, columns: int, spread: float, random: Generator) -> Data:
    """Points around random centres: x [2500, columns], y [2500]."""
    centres = torch.randn(classes, columns, generator=random)
    y = torch.randint(classes, (2500,), generator=random)
    return centres[y] + spread * torch.randn(2500, columns, generator=random), y


def half_spaces(columns: int, random: Generator) -> Data:
    """The side of a plane, drawn at random near it: x [2500, columns], y [2500, 1] of ±1."""
    x = torch.randn(2500, columns, generator=random) * torch.linspace(0.5, 2, columns)
    odds = (2 * x @ torch.randn(columns, 1, generator=random) / math.sqrt(columns)).sigmoid()
    return x, 2 * torch.bernoulli(odds, generator=random) - 1


def slabs(columns: int, random: Generator) -> Data:
    """Every other one of parallel slabs: x [2400, columns], y [2400]."""
    x = torch.randn(2400, columns, generator=random)
    across = x @ torch.randn(columns, generator=random) / math.sqrt(columns)
    return x, (1.3 * across).floor().long() % 2


def chessboard(random: Generator) -> Data:
    """The colour of a place on a board of 3 × 3: x [2400, 2], y [2400]."""
    x = 3 * torch.rand(2400, 2, generator=random)
    return x - 1.5, x.floor().sum(1).long() % 2


def tiles(random: Generator) -> Data:
    """The colour, of four, of a place on a floor of 3 × 3 tiles: x [2400, 2], y [2400]."""
    x = 2 * torch.rand(2400, 2, generator=random) - 1
    cells = ((x + 1) * 1.5).long()
    return 1.5 * x, (cells[:, 0] + 2 * cells[:, 1]) % 4


# -- Decisions ---------------------------------------------------------------------------------------------------------


def largest(columns: int, random: Generator) -> Data:
    """Which of several numbers, each with its weight, is largest: x [2400, columns], y [2400]."""
    x = torch.randn(2400, columns, generator=random)
    return x, (x * torch.linspace(0.6, 1.6, columns)).argmax(1)


def above_mean(columns: int, random: Generator) -> Data:
    """Which numbers of a row, of different scales, are above its mean: x, y [2400, columns]."""
    x = torch.randn(2400, columns, generator=random) * torch.linspace(0.5, 1.5, columns)
    return x, (x > x.mean(1, keepdim=True)).float()


def lenses(random: Generator) -> Data:
    """Whether two circles overlap, touch or lie apart: x [2400, 6], y [2400]."""
    centres, radii = torch.randn(2400, 4, generator=random), 0.3 + torch.rand(2400, 2, generator=random)
    gap = (centres[:, :2] - centres[:, 2:]).norm(dim=1) - radii.sum(1)
    return torch.cat([centres, 2 * radii - 1.6], 1), (gap > -0.4).long() + (gap > 0.6).long()


def roots(random: Generator) -> Data:
    """Whether a parabola has a root between -1 and 1: x [2400, 3], y [2400]."""
    x = torch.randn(2400, 3, generator=random)
    at = torch.linspace(-1, 1, 101)
    values = x[:, :1] * at**2 + x[:, 1:2] * at + x[:, 2:]
    return x, (values.amin(1) < 0).logical_and(values.amax(1) > 0).long()


def levers(random: Generator) -> Data:
    """Whether a beam with four weights tips to the left, stays or tips to the right: x [2400, 8], y [2400]."""
    weights, places = torch.rand(2400, 4, generator=random), 2 * torch.rand(2400, 4, generator=random) - 1
    torque = (weights * places).sum(1)
    return torch.cat([2 * weights - 1, places], 1), (torque > -0.25).long() + (torque > 0.25).long()


def votes(people: int, random: Generator) -> Data:
    """Whether a majority is for it, where every third vote counts double: x [2400, people], y [2400]."""
    x = torch.randn(2400, people, generator=random)
    weights = 1 + (torch.arange(people) % 3 == 0).float()
    return x, ((x.sign() * weights).sum(1) > 0).long()


def recipes(random: Generator) -> Data:
    """The nearest of five mixtures of six ingredients: x [2400, 6], y [2400]."""
    shares = torch.softmax(1.5 * torch.randn(2400, 6, generator=random), 1)
    dishes = torch.softmax(1.5 * torch.randn(5, 6, generator=random), 1)
    return 4 * shares - 0.7, torch.cdist(shares, dishes).argmin(1)


# -- Sequences ---------------------------------------------------------------------------------------------------------


def one_hot(symbols: Tensor, count: int) -> Tensor:
    return nn.functional.one_hot(symbols, count).float()


def oscillator(places: int, noise: float, random: Generator) -> Data:
    """The next value of a nonlinear oscillator: x [2500, 1, places], y [2500, 1]."""
    values, pushes = [0.0, 0.5], noise * torch.randn(2500 + places, generator=random)
    for push in pushes.tolist():
        values.append(1.6 * math.tanh(values[-1]) - 0.9 * values[-2] + push)
    windows = torch.tensor(values[2:-1]).unfold(0, places, 1)
    return windows[:, None], torch.tensor(values[2 + places :])[:, None]


def springs(places: int, noise: float, random: Generator) -> Data:
    """The next value of damped oscillations: x [2400, places, 1], y [2400, 1]."""
    rate, phase, damping = torch.rand(3, 2400, 1, generator=random)
    t = torch.arange(places + 1.0)
    heights = torch.exp(-0.15 * damping * t) * torch.sin((0.4 + 1.2 * rate) * t + 6.28 * phase)
    heights = heights + noise * torch.randn(heights.shape, generator=random)
    return heights[:, :-1, None], heights[:, -1:]


def queues(places: int, random: Generator) -> Data:
    """The greatest length of a queue over time: x [2400, places, 1], y [2400, 1], normalized."""
    x = torch.randn(2400, places, generator=random)
    length, longest = torch.zeros(2400), torch.zeros(2400)
    for change in x.T:
        length = (length + change).clamp(min=0)
        longest = torch.maximum(longest, length)
    return x[:, :, None], ((longest - longest.mean()) / longest.std())[:, None]


def chains(places: int, symbols: int, random: Generator) -> Data:
    """The next symbol of a Markov chain of order 2: x [2500, places, symbols], y [2500]."""
    odds = (2 * torch.randn(symbols, symbols, symbols, generator=random)).softmax(2)
    chain = [0, 1]
    for _ in range(2500 + places):
        chain.append(int(torch.multinomial(odds[chain[-2], chain[-1]], 1, generator=random)))
    windows = torch.tensor(chain[2:]).unfold(0, places + 1, 1)[:2500]
    return one_hot(windows[:, :-1], symbols), windows[:, -1]


def languages(places: int, random: Generator) -> Data:
    """Which of three Markov chains of six letters a word is from: x [2400, places, 6], y [2400]."""
    y = torch.randint(3, (2400,), generator=random)
    odds = torch.softmax(1.6 * torch.randn(3, 6, 6, generator=random), -1)
    letters = [torch.randint(6, (2400,), generator=random)]
    for _ in range(places - 1):
        letters.append(torch.multinomial(odds[y, letters[-1]], 1, generator=random)[:, 0])
    return one_hot(torch.stack(letters, 1), 6), y


def brackets(places: int, random: Generator) -> Data:
    """The greatest depth, at most 4, of a sequence of brackets: x [2400, places, 2], y [2400]."""
    brackets = torch.randint(2, (2400, places), generator=random)
    return one_hot(brackets, 2), (2 * brackets - 1).cumsum(1).amax(1).clamp(0, 4)


def chords(places: int, noise: float, random: Generator) -> Data:
    """Which of four chords most of the notes belong to: x [2400, places, 7], y [2400]."""
    y = torch.randint(4, (2400,), generator=random)
    chords = torch.tensor([[0, 2, 4], [3, 5, 0], [4, 6, 1], [5, 0, 2]])
    own = chords[y][torch.arange(2400)[:, None], torch.randint(3, (2400, places), generator=random)]
    other = torch.randint(7, (2400, places), generator=random)
    notes = torch.where(torch.rand(2400, places, generator=random) < noise, other, own)
    return one_hot(notes, 7), y


def rises(places: int, random: Generator) -> Data:
    """Whether a sequence of five symbols rises more often than most do: x [2400, 5, places], y [2400]."""
    symbols = torch.randint(5, (2400, places), generator=random)
    share = (symbols.diff(dim=1) > 0).float().mean(1)
    return one_hot(symbols, 5).transpose(1, 2), (share > share.median()).long()


def walks(places: int, random: Generator) -> Data:
    """Whether a random walk ends far from its start: x [2400, 1, places], y [2400]."""
    x = torch.randn(2400, places, generator=random)
    return x[:, None], (x.sum(1).abs() > 0.67 * math.sqrt(places)).long()


def bells(places: int, noise: float, random: Generator) -> Data:
    """How often, up to three times, a bell rings in a sound: x [2400, 1, places], y [2400]."""
    y, at = torch.randint(4, (2400,), generator=random), torch.arange(places)
    x = noise * torch.randn(2400, places, generator=random)
    for stroke in range(3):
        onset = torch.randint(places - 4, (2400, 1), generator=random)
        sound = torch.exp(-0.8 * (at - onset)) * (at >= onset)
        x = x + sound * (y > stroke)[:, None]
    return x[:, None], y
