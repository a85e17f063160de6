"""The first trainings, on which the thresholds of the diagnosis were chosen from the beginning."""

import functools
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, l1_loss, mse_loss

import steepest as sd
from benchmarks.diagnosis.trainings.series import (
    CONSTANT,
    EDGE,
    FEW,
    TO_FULL,
    lowered,
    mislabelled,
    series,
    split,
    started,
)
from benchmarks.problems import networks, problems
from benchmarks.problems.problems import COSINE, smoothed
from benchmarks.rates import rate_problems
from steepest.tasks.digits import images

# -- Tasks -------------------------------------------------------------------------------------------------------------


def absolute() -> sd.Task:
    """250 values of a linear function of ten columns of different scales, absolute distance: convex, with a kink."""
    data = split(*rate_problems._linear(torch.logspace(-1, 0.5, 10), noise=0.3), 250, seed=31)
    return sd.Task(lambda seed: networks.dense(seed, (10, 1)), loss=l1_loss, **data)


def bent_sines() -> sd.Task:
    """250 values of a sum of sines with little noise, 4-32-32-1."""
    data = split(*problems._sines(4, 0.05), 250, seed=32)
    return sd.Task(lambda seed: networks.dense(seed, (4, 32, 32, 1), nn.Tanh), loss=mse_loss, **data)


def few_digits() -> sd.Task:
    """200 digits, a fifth of them with wrong labels, 64-96-10."""
    x, y = images()
    data = split(x, mislabelled(y, 0.2, 10, seed=1), 200, seed=11)
    return sd.Task(lambda seed: networks.dense(seed, (64, 96, 10)), loss=cross_entropy, **data)


def few_sines() -> sd.Task:
    """100 values of a sum of sines with much noise, 8-80-80-1."""
    data = split(*problems._sines(8, 0.5), 100, seed=12)
    return sd.Task(lambda seed: networks.dense(seed, (8, 80, 80, 1), nn.Tanh), loss=mse_loss, **data)


def few_parities() -> sd.Task:
    """150 even or odd digits, a quarter of them with wrong labels, 64-64-64-2, GELU."""
    x, y = images()
    data = split(x, mislabelled(y % 2, 0.25, 2, seed=2), 150, seed=13)
    return sd.Task(lambda seed: networks.dense(seed, (64, 64, 64, 2), nn.GELU), loss=cross_entropy, **data)


def few_ratings() -> sd.Task:
    """900 entries of a noisy matrix of rank 3, 60 × 50, as factors of rank 12."""
    x, y = rate_problems._ratings(120, 100, noise=0.7, seed=8)
    near = (x[:, 0] < 60) & (x[:, 1] < 50)
    make = rate_problems.from_seed(lambda: rate_problems.Factors(60, 50, rank=12))
    return sd.Task(make, loss=mse_loss, **split(x[near], y[near], 900, seed=14))


def few_neighbours() -> sd.Task:
    """The next of 600 characters from the five before it."""
    data = split(*rate_problems._before(5, 2_000), 600, seed=15)
    return sd.Task(rate_problems.from_seed(lambda: rate_problems.Neighbours(5, 8)), loss=cross_entropy, **data)


def few_pictures() -> sd.Task:
    """150 digits above four or not, a fifth with wrong labels, two convolutions."""
    x, y = images()
    data = split(x.reshape(-1, 1, 8, 8), mislabelled((y > 4).long(), 0.2, 2, seed=3), 150, seed=16)
    return sd.Task(rate_problems.from_seed(_small_convolution), loss=cross_entropy, **data)


def _small_convolution() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, stride=2, padding=1), nn.ReLU(), nn.Conv2d(8, 16, 3, padding=1), nn.ReLU(),
        nn.Flatten(), nn.Linear(256, 2),
    )  # fmt: skip


def some_neighbours() -> sd.Task:
    """The next of 4,000 characters from the five before it."""
    data = split(*rate_problems._before(5, 6_000), 4_000, seed=17)
    return sd.Task(rate_problems.from_seed(lambda: rate_problems.Neighbours(5, 8)), loss=cross_entropy, **data)


def some_rows() -> sd.Task:
    """Digits as eight rows of eight pixels, two blocks 16 wide, smoothed labels."""
    x, y = images()
    build = functools.partial(networks.transformer, inputs=8, places=8, width=16, outputs=10, causal=False)
    return sd.Task(build, loss=smoothed, **split(x.reshape(-1, 8, 8), y, 1000, seed=18))


def some_columns() -> sd.Task:
    """Even or odd digits as eight columns of eight pixels, two blocks 12 wide."""
    x, y = images()
    build = functools.partial(networks.transformer, inputs=8, places=8, width=12, outputs=2, causal=False)
    return sd.Task(build, loss=cross_entropy, **split(x.reshape(-1, 8, 8).transpose(1, 2), y % 2, 1000, seed=19))


def _digits(build: Callable[[int], nn.Module], target: Callable[[Tensor], Tensor], seed: int) -> sd.Task:
    x, y = images()
    return sd.Task(build, loss=cross_entropy, **split(x, target(y), 1000, seed))


_SIGMOIDS = functools.partial(networks.dense, widths=(64, 32, 32, 32, 32, 10), activation=nn.Sigmoid)
_TANHS = functools.partial(networks.dense, widths=(64, 32, 32, 2), activation=nn.Tanh)
_RECTIFIED = functools.partial(networks.dense, widths=(64, 48, 48, 10))
_SOFTENED = functools.partial(networks.dense, widths=(64, 40, 40, 40, 2), activation=nn.GELU)


def sigmoids(scale: float = 1.0) -> sd.Task:
    """Digits, five layers of sigmoids: at torch's start the gradient vanishes on the way down; at 5 × it does not."""
    return _digits(functools.partial(started, _SIGMOIDS, lambda p: scale * p), lambda y: y, seed=20)


def dead(shift: float = 3.0) -> sd.Task:
    """Digits, rectified units whose biases are so far below 0 that none is ever on."""
    return _digits(
        functools.partial(started, _RECTIFIED, lambda p: p - shift if p.dim() == 1 else p), lambda y: y, seed=21
    )


def tiny(scale: float = 0.01) -> sd.Task:
    """Even or odd digits, three layers of tanh that start near the saddle at 0."""
    return _digits(functools.partial(started, _TANHS, lambda p: scale * p), lambda y: y % 2, seed=22)


def faint(scale: float = 0.02) -> sd.Task:
    """Digits above four, four layers of GELU that start near the saddle at 0."""
    return _digits(functools.partial(started, _SOFTENED, lambda p: scale * p), lambda y: (y > 4).long(), seed=23)


def asleep(shift: float = 4.0) -> sd.Task:
    """Digits above four as pictures, convolutions of which hardly any unit is ever on."""
    x, y = images()
    build = functools.partial(started, rate_problems.from_seed(_small_convolution), lambda p: lowered(p, shift))
    return sd.Task(build, loss=cross_entropy, **split(x.reshape(-1, 1, 8, 8), (y > 4).long(), 1000, seed=24))


def saturated(scale: float = 30.0) -> sd.Task:
    """Digits above four, three layers of tanh whose weights are so large that every unit is at ±1."""
    build = functools.partial(started, _TANHS, lambda p: scale * p)
    return _digits(build, lambda y: (y > 4).long(), seed=26)


def shut(shift: float = 2.0) -> sd.Task:
    """A sum of sines by rectified units whose biases are so far below 0 that hardly any is ever on."""
    build = functools.partial(networks.dense, widths=(8, 40, 40, 1))
    start = functools.partial(started, build, lambda p: lowered(p, shift))
    return sd.Task(start, loss=mse_loss, **split(*problems._sines(8, 0.2), 1000, seed=27))


def unlit(scale: float = 1e-3) -> sd.Task:
    """A matrix as factors that start near the saddle at 0."""
    x, y = rate_problems._ratings(70, 80, noise=0.2, rank=2, seed=9)
    make = rate_problems.from_seed(lambda: rate_problems.Factors(70, 80, rank=2))
    return sd.Task(functools.partial(started, make, lambda p: scale * p), loss=mse_loss, **split(x, y, 3000, seed=25))


# -- Series ------------------------------------------------------------------------------------------------------------


SERIES = (
    series(saturated, "momentum", 3e-2, CONSTANT, 250, start=functools.partial(saturated, 1.0)),
    series(shut, "adam", 3e-3, CONSTANT, 250, start=functools.partial(shut, 0.0)),
    series(rate_problems.outliers, "rmsprop", 1e-2, CONSTANT, 300),
    series(rate_problems.softmax, "adagrad", 1e-1, CONSTANT, 300),
    series(rate_problems.matrix, "nadam", 1e-2, COSINE, 400),
    series(problems.regression, "gradient_descent", 3e-2, CONSTANT, 300),
    series(absolute, "momentum", 1e-1, CONSTANT, 200, ("full",), rates=EDGE),
    series(absolute, "signum", 1e-2, CONSTANT, 200, ("full",), rates=EDGE),
    series(bent_sines, "gradient_descent", 1e-1, CONSTANT, 200, ("full",), rates=EDGE),
    series(bent_sines, "lion", 3e-3, CONSTANT, 200, ("full",), rates=EDGE),
    series(bent_sines, "adam", 1e-2, CONSTANT, 200, ("full",), rates=EDGE),
    series(problems.dense, "momentum", 3e-2, CONSTANT, 400, TO_FULL),
    series(problems.dense, "adam", 3e-3, COSINE, 400),
    series(rate_problems.softmax, "gradient_descent", 1.0, CONSTANT, 400, TO_FULL),
    series(rate_problems.softmax, "lion", 3e-3, COSINE, 400, TO_FULL),
    series(problems.autoencoder, "adam", 3e-3, CONSTANT, 400),
    series(rate_problems.spirals, "momentum", 3e-2, COSINE, 600),
    series(rate_problems.factors, "gradient_descent", 1.0, CONSTANT, 600),
    series(rate_problems.factors, "adam", 3e-2, COSINE, 500),
    series(rate_problems.scaled, "momentum", 1e-3, CONSTANT, 500),
    series(problems.parity, "adamw", 1e-2, CONSTANT, 300),
    series(some_columns, "adam", 3e-3, COSINE, 200),
    series(few_digits, "adam", 3e-3, CONSTANT, 600, FEW),
    series(few_digits, "momentum", 3e-2, COSINE, 600, FEW),
    series(few_sines, "adam", 3e-3, COSINE, 600, FEW),
    series(sigmoids, "momentum", 1e-1, CONSTANT, 400, start=functools.partial(sigmoids, 5.0)),
    series(dead, "adam", 1e-3, COSINE, 400, start=functools.partial(dead, 0.0)),
    series(tiny, "gradient_descent", 1e-1, CONSTANT, 400, start=functools.partial(tiny, 1.0)),
    series(problems.high, "adamw", 1e-2, CONSTANT, 400, TO_FULL),
    series(problems.regression, "nesterov", 1e-2, COSINE, 400),
    series(problems.regression, "adam", 3e-3, CONSTANT, 400),
    series(rate_problems.matrix, "momentum", 1e-1, CONSTANT, 600),
    series(rate_problems.matrix, "lion", 1e-2, COSINE, 600),
    series(some_neighbours, "adam", 1e-2, COSINE, 500),
    series(some_neighbours, "gradient_descent", 3e-1, CONSTANT, 500),
    series(rate_problems.outliers, "momentum", 3e-2, CONSTANT, 500),
    series(rate_problems.pictures, "momentum", 3e-2, COSINE, 300),
    series(some_rows, "adam", 3e-3, CONSTANT, 200),
    series(rate_problems.residual, "gradient_descent", 1e-1, COSINE, 300),
    series(rate_problems.ravine, "adam", 1e-1, COSINE, 500),
    series(few_parities, "adam", 3e-3, CONSTANT, 600, FEW),
    series(few_ratings, "momentum", 1e-1, CONSTANT, 800, FEW),
    series(few_neighbours, "adam", 1e-2, COSINE, 600, FEW),
    series(few_pictures, "momentum", 3e-2, CONSTANT, 500),
    series(asleep, "momentum", 3e-2, CONSTANT, 300, start=functools.partial(asleep, 0.0)),
    series(faint, "momentum", 3e-2, COSINE, 400, start=functools.partial(faint, 1.0)),
    series(unlit, "gradient_descent", 3e-1, CONSTANT, 500, start=functools.partial(unlit, 1.0)),
)
