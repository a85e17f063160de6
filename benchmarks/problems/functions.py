"""Regression data: functions of random inputs, with noise. Every generator returns x [samples, columns] and y.

`random` is the torch generator of all random numbers of a generator, in the order in which they are drawn.
"""

import math

import torch
from torch import Generator, Tensor

Data = tuple[Tensor, Tensor]


def add_noise(y: Tensor, noise: float, random: Generator) -> Tensor:
    """y with normal noise of this standard deviation."""
    return y + noise * torch.randn(y.shape, generator=random)


def normalize(y: Tensor) -> Tensor:
    """y with mean 0 and standard deviation 1 over all its entries."""
    return (y - y.mean()) / y.std()


def linear(low: float, high: float, columns: int, noise: float, random: Generator) -> Data:
    """A linear function of columns with scales from 10^low to 10^high; each contributes equally: y [3000, 1]."""
    x = torch.randn(3000, columns, generator=random)
    y = x @ torch.randn(columns, 1, generator=random) / math.sqrt(columns)
    return x * torch.logspace(low, high, columns), add_noise(y, noise, random)


def correlation(columns: int, noise: float, random: Generator) -> Data:
    """A linear function of correlated columns: y [2400, 1]."""
    x = torch.randn(2400, columns, generator=random)
    x = x + 0.7 * x.roll(1, 1)
    y = x @ torch.randn(columns, 1, generator=random) / math.sqrt(columns)
    return x, add_noise(y, noise, random)


def sparse(columns: int, noise: float, random: Generator) -> Data:
    """A linear function of three of the columns, with heavy-tailed noise: y [2400, 1]."""
    x = torch.randn(2400, columns, generator=random) * torch.linspace(0.4, 1.6, columns)
    tails = torch.randn(2400, 1, generator=random) / torch.rand(2400, 1, generator=random).clamp(min=0.05).sqrt()
    return x, x[:, :: columns // 3].sum(1, keepdim=True) + noise * tails


def counts(columns: int, random: Generator) -> Data:
    """Poisson counts whose log-rate is linear: y [2500, 1]."""
    x = torch.randn(2500, columns, generator=random)
    rates = (0.5 + x @ torch.randn(columns, 1, generator=random) / math.sqrt(2 * columns)).exp()
    return x, torch.poisson(rates, generator=random)


def bilinear(low: float, high: float, columns: int, noise: float, random: Generator) -> Data:
    """`linear` with products of neighbouring columns added: y [3000, 1]."""
    x = torch.randn(3000, columns, generator=random)
    features = torch.cat([x, x[:, 1:] * x[:, :-1]], 1)
    y = features @ torch.randn(features.shape[1], 1, generator=random) / math.sqrt(features.shape[1])
    return x * torch.logspace(low, high, columns), add_noise(y, noise, random)


def bilinear_student(columns: int, random: Generator) -> Data:
    """`bilinear` with noise of Student's t distribution with two degrees of freedom: y [3000, 1]."""
    x, y = bilinear(0, 0, columns, 0.0, torch.Generator().manual_seed(3))
    normal, square = torch.randn(y.shape, generator=random), torch.randn(len(y), 2, generator=random).square()
    return x, y + 0.2 * normal / square.mean(1, keepdim=True).sqrt()


def products(columns: int, noise: float, random: Generator) -> Data:
    """Products of neighbouring columns, a square and a slope: y [2500, 1], centred."""
    x = torch.randn(2500, columns, generator=random)
    y = (x[:, :-1] * x[:, 1:]).sum(1) / math.sqrt(columns) + 0.5 * x[:, 0] ** 2 - x[:, 1]
    y = (y - y.mean())[:, None]
    return x, add_noise(y, noise, random)


def quadratic(columns: int, noise: float, random: Generator) -> Data:
    """A polynomial of degree 2: y [2400, 1], centred."""
    x = torch.randn(2400, columns, generator=random)
    squares = torch.randn(columns, columns, generator=random) / columns
    y = (x @ squares * x).sum(1, keepdim=True) + x[:, :1]
    return x, add_noise(y - y.mean(), noise, random)


def sines(columns: int, noise: float, random: Generator) -> Data:
    """A sum of sines of four linear functions: y [3000, 1]."""
    x = torch.randn(3000, columns, generator=random)
    inner = x @ torch.randn(columns, 4, generator=random) / math.sqrt(columns)
    return x, add_noise(torch.sin(2 * inner).sum(1, keepdim=True), noise, random)


def cosines(columns: int, noise: float, random: Generator) -> Data:
    """The product of two cosines, and a slope: y [2500, 1], centred."""
    x = 2 * torch.rand(2500, columns, generator=random) - 1
    inner = x @ torch.randn(columns, 3, generator=random)
    y = 2 * torch.cos(inner[:, :1]) * torch.cos(inner[:, 1:2]) + 0.5 * inner[:, 2:]
    return x, add_noise(y - y.mean(), noise, random)


def ripples(columns: int, noise: float, random: Generator) -> Data:
    """Circular waves around 0, and a slope: y [2400, 1], centred."""
    x = 1.5 * torch.randn(2400, columns, generator=random)
    y = torch.sinc(x.norm(dim=1, keepdim=True) / 2) + 0.3 * x[:, :1]
    return x, add_noise(y - y.mean(), noise, random)


def tides(noise: float, random: Generator) -> Data:
    """Three waves of two variables: x [2400, 2], y [2400, 1], centred."""
    x = 4 * torch.rand(2400, 2, generator=random) - 2
    y = torch.sin(2.1 * x[:, :1]) + 0.6 * torch.cos(3.3 * x[:, 1:]) + 0.4 * torch.sin(x.sum(1, keepdim=True))
    return x, add_noise(y - y.mean(), noise, random)


def beats(noise: float, random: Generator) -> Data:
    """The product of two tones: x [2400, 2], y [2400, 1], centred."""
    x = 2 * torch.rand(2400, 2, generator=random) - 1
    y = torch.sin(5 * x[:, :1]) * torch.cos(3 * x[:, :1] * x[:, 1:])
    return x, add_noise(y - y.mean(), noise, random)


def doses(drugs: int, noise: float, random: Generator) -> Data:
    """An effect that saturates in each dose, with noise proportional to it: y [2400, 1], centred."""
    x = torch.randn(2400, drugs, generator=random)
    steepness, strength = 1 + 2 * torch.rand(drugs, generator=random), torch.randn(drugs, generator=random)
    y = (strength * torch.sigmoid(steepness * x)).sum(1, keepdim=True)
    return x, y - y.mean() + noise * y.abs() * torch.randn(y.shape, generator=random)


def orbits(noise: float, random: Generator) -> Data:
    """A planet's position from its sun, distance and angle: x [2400, 4], y [2400, 2]."""
    x = 2 * torch.rand(2400, 4, generator=random) - 1
    angle, radius = math.pi * x[:, 3:], 0.8 + 0.5 * x[:, 2:3]
    return x, add_noise(x[:, :2] + radius * torch.cat([angle.cos(), angle.sin()], 1), noise, random)


def decays(noise: float, random: Generator) -> Data:
    """What remains of two decaying substances: x [2400, 5], y [2400, 1], normalized."""
    x = torch.rand(2400, 5, generator=random)
    y = x[:, :1] * torch.exp(-3 * x[:, 1:2] * x[:, 4:]) + x[:, 2:3] * torch.exp(-x[:, 3:4] * x[:, 4:])
    return 2 * x - 1, add_noise(normalize(y), noise, random)


def boats(noise: float, random: Generator) -> Data:
    """The closest approach of two boats, from positions and velocities: x [2400, 8], y [2400, 1], normalized."""
    x = torch.randn(2400, 8, generator=random)
    apart, velocity = x[:, :2] - x[:, 2:4], x[:, 4:6] - x[:, 6:]
    time = (-(apart * velocity).sum(1, keepdim=True) / velocity.square().sum(1, keepdim=True)).clamp(0, 2)
    return x, add_noise(normalize((apart + time * velocity).norm(dim=1, keepdim=True)), noise, random)


def prices(noise: float, random: Generator) -> Data:
    """A house's price by size, age, rooms and place, 3 % of them outliers: x [2400, 5], y [2400, 1], normalized."""
    x = torch.rand(2400, 5, generator=random)
    place = torch.exp(-4 * ((x[:, 3:4] - 0.3) ** 2 + (x[:, 4:] - 0.6) ** 2))
    y = (0.5 + x[:, :1]) * (1 - 0.5 * x[:, 1:2]) * (0.6 + place) + 0.2 * (x[:, 2:3] > 0.5)
    outliers = (torch.rand(2400, 1, generator=random) < 0.03) * 3 * torch.randn(2400, 1, generator=random)
    return 2 * x - 1, add_noise(normalize(y), noise, random) + outliers


def magnets(noise: float, random: Generator) -> Data:
    """The field of two poles at a compass, from the three positions: x [2400, 6], y [2400, 2], normalized."""
    x = torch.randn(2400, 6, generator=random)
    one, two = x[:, :2] - x[:, 2:4], x[:, :2] - x[:, 4:]
    field = one / (1 + one.square().sum(1, keepdim=True)) - two / (1 + two.square().sum(1, keepdim=True))
    return x, add_noise((field - field.mean(0)) / field.std(0), noise, random)


def tolls(noise: float, random: Generator) -> Data:
    """A road's toll by length, weight, hour and day, with steps and kinks: x [2400, 4], y [2400, 1], normalized."""
    x = torch.rand(2400, 4, generator=random)
    y = (x[:, :1] - 0.2).clamp(min=0) * (1 + 2 * (x[:, 1:2] > 0.6)) + 0.5 * ((x[:, 2:3] - 0.5).abs() < 0.15)
    y = y * (1 - 0.4 * (x[:, 3:] > 0.7))
    return 2 * x - 1, add_noise(normalize(y), noise, random)


def sort(columns: int, random: Generator) -> Data:
    """Numbers, and the same numbers in order: x, y [2400, columns]."""
    x = torch.randn(2400, columns, generator=random)
    return x, x.sort(1).values


def ratings(people: int, things: int, noise: float, rank: int, random: Generator) -> Data:
    """6,000 entries of a matrix of this rank: x [6000, 2] are row and column, y [6000] the values."""
    rows, columns = torch.randn(people, rank, generator=random), torch.randn(things, rank, generator=random)
    entries = torch.randperm(people * things, generator=random)[:6000]
    x = torch.stack([entries // things, entries % things], 1)
    return x, add_noise((rows @ columns.T / math.sqrt(rank)).flatten()[entries], noise, random)


def ratings_corner(people: int, things: int, noise: float, rank: int, random: Generator) -> Data:
    """Those entries of `ratings` in a matrix twice as wide and high that lie in its upper left quarter."""
    x, y = ratings(2 * people, 2 * things, noise, rank, random)
    inside = (x[:, 0] < people) & (x[:, 1] < things)
    return x[inside], y[inside]
