"""Small real training problems, on which the guard is tried: each takes about a second on one core.

REPORTED are those whose figures are published. TUNING are others, in data, network, size or rule: thresholds may be
chosen on them, and on them only. SPIKY are healthy runs that look ill: the guard must leave them alone; TUNING_SPIKY
are others of the kind, to choose thresholds on.

The data is what packages ship: the digits, 600 of them held out; text of the standard library's help pages, the last
part held out, as one-hot vectors, so that what corrupts numbers can corrupt it too; and functions with noise. The
rates are the best of a half-decade grid, by the validation loss at the end (mean of seeds 0, 1, 2), as
`python -m benchmarks.problems.problems` prints it (* the best):

    dense-momentum      0.03: 0.4264  0.1: 0.3577  0.3: 0.3506*  1: 2.3069
    dense-adam          0.003: 0.3978  0.01: 0.3480  0.03: 0.3336*  0.1: 0.3817  0.3: 1.2834
    dense-lion          0.0003: 0.5732  0.001: 0.3840  0.003: 0.3487*  0.01: 0.3857
    conv-momentum       0.01: 0.3948  0.03: 0.3716  0.1: 0.3701*  0.3: 0.3784  1: 2.3063
    conv-adam           0.003: 0.3785  0.01: 0.3575  0.03: 0.3531*  0.1: 0.3543  0.3: 0.3973
    text-adam           0.001: 2.5832  0.003: 2.4817  0.01: 2.3762*  0.03: 2.5231  0.1: 2.7866
    text-lion           0.0003: 2.7710  0.001: 2.5430  0.003: 2.4695*  0.01: 2.5776  0.03: 2.8846
    rows-adam           0.0003: 0.9167  0.001: 0.4575  0.003: 0.4073*  0.01: 0.4248  0.03: 0.5207
    autoencoder-adam    0.003: 0.0255  0.01: 0.0231  0.03: 0.0220*  0.1: 0.0548  0.3: 0.0736
    regression-nesterov 0.003: 0.8498  0.01: 0.3311  0.03: 0.1803*  0.1: 0.2121  0.3: 1.9522
    letters-rmsprop     0.003: 2.2352  0.01: 1.8881  0.03: 1.8269*  0.1: 2.1382  0.3: 2.7140
    parity-momentum     0.03: 0.1409  0.1: 0.1320  0.3: 0.1318*  1: 0.1342
    high-adamw          0.001: 0.1384  0.003: 0.0649  0.01: 0.0480*  0.03: 0.0529  0.1: 0.0681
    grouped-signum      0.001: 0.4120  0.003: 0.3645  0.01: 0.3489*  0.03: 0.3634
    sharp-momentum      0.01: 0.1921  0.03: 0.1171  0.1: 0.0690*  0.3: 0.6290  1: 2.3074
    sharp-adam          0.003: 0.1096  0.01: 0.0855  0.03: 0.0670*  0.1: 0.1585  0.3: 2.1963
    sharp-lion          0.0001: 1.6512  0.0003: 0.2913  0.001: 0.1455*  0.003: 0.1819  0.01: 0.5581
    deep-momentum       0.01: 0.3085  0.03: 0.1475  0.1: 0.1129*  0.3: 2.3077
    deep-full           0.03: 1.9839  0.1: 0.4183  0.3: 0.1754*  1: 4.2398  3: 67.5272
    squared-full        0.1: 0.0598  0.3: 0.0405  1: 0.0320*  3: inf  10: inf
    density-adam        0.001: -0.1578  0.003: -1.1335  0.01: -1.6054*  0.03: -1.4374  0.1: 0.4662
    steep-momentum      0.01: 0.1477  0.03: 0.0562*  0.1: 0.0676  0.3: 0.6942
    steep-adam          0.001: 0.0741  0.003: 0.0671*  0.01: 0.0756  0.03: 0.0864
    spread-adam         0.003: -0.9073  0.01: -1.1761  0.03: -1.2507*  0.1: -0.2200  0.3: 5.0162
"""

import functools
import math
import statistics
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pydoc_data.topics import topics
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits as bce
from torch.nn.functional import cross_entropy, mse_loss, one_hot

import steepest as sd
from benchmarks.problems import networks
from steepest.descent.loop import Descent
from steepest.descent.settings import resolve
from steepest.tasks.digits import images

HELD_OUT = 600
LETTERS = " etaoinsrlhcdpmufgbyv.w_k,\n()'"
"""Each is one of 32 symbols; whatever is not among these is the last."""
SYMBOLS = 32


@dataclass(frozen=True)
class Problem:
    """A task, and how it is trained.

    Attributes:
        name: what to call it.
        task: makes the task.
        rule: a rule, its name, or stages.
        lr: base rate.
        schedule: of the rate.
        batch_size: samples per step.
        steps: of the whole run.
    """

    name: str
    task: Callable[[], sd.Task]
    rule: Any
    lr: float
    schedule: str
    batch_size: int | str
    steps: int

    def descent(self, seed: int, **choices: Any) -> Descent:
        """The problem before its first step; `choices` are further settings."""
        task = _made(self.task)
        settings = resolve(
            task, rule=self.rule, lr=self.lr, schedule=self.schedule, batch_size=self.batch_size, steps=self.steps,
            seed=seed, **choices,
        )  # fmt: skip
        return Descent(task, settings, task.build(seed))


@functools.cache
def _made(make: Callable[[], sd.Task]) -> sd.Task:
    return make()


# -- Data --------------------------------------------------------------------------------------------------------------


def _held_out(x: Tensor, y: Tensor, seed: int = 0) -> dict[str, Any]:
    """Data and validation of a Task."""
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))
    train, validation = order[HELD_OUT:], order[:HELD_OUT]
    return {"data": (x[train], y[train]), "validation": (x[validation], y[validation])}


def _text(start: int, places: int, sequences: int) -> dict[str, Any]:
    """Stretches of text as one-hot vectors, and at each place the symbol that follows; the last ones are held out."""
    index = {letter: i for i, letter in enumerate(LETTERS)}
    letters = "".join(topics[name] for name in sorted(topics)).lower()[start:]
    symbols = torch.tensor([index.get(c, SYMBOLS - 1) for c in letters[: (sequences + HELD_OUT) * places + 1]])
    x = one_hot(symbols[:-1], SYMBOLS).float().reshape(-1, places, SYMBOLS)
    y = symbols[1:].reshape(-1, places)
    return {"data": (x[:sequences], y[:sequences]), "validation": (x[sequences:], y[sequences:])}


def _sines(dimensions: int, noise: float) -> tuple[Tensor, Tensor]:
    """A sum of sines of mixed inputs, with noise: x [3000, dimensions], y [3000, 1]."""
    random = torch.Generator().manual_seed(1)
    x = torch.randn(3000, dimensions, generator=random)
    mixed = x @ torch.randn(dimensions, 4, generator=random) / math.sqrt(dimensions)
    y = torch.sin(2 * mixed).sum(1, keepdim=True)
    return x, y + noise * torch.randn(len(x), 1, generator=random)


def _at_each_place(output: Tensor, target: Tensor) -> Tensor:
    return cross_entropy(output.flatten(0, 1), target.flatten())


smoothed = functools.partial(cross_entropy, label_smoothing=0.05)
"""Where a loss falls to nearly nothing, its last value is chance: it differs by 20 % between seeds, and as much where a
single step is left out. Smoothed labels (Szegedy et al. 2016) leave 0.28 of it for ten classes; the differences are
then 1 to 3 %."""


def _binary(output: Tensor, target: Tensor) -> Tensor:
    return bce(output.squeeze(1), target)


def _gaussian(output: Tensor, target: Tensor) -> Tensor:
    """−log density of the target under the predicted mean and log deviation; it falls below 0 where it fits well."""
    mean, log_deviation = output.unbind(1)
    return (0.5 * ((target[:, 0] - mean) / log_deviation.exp()).square() + log_deviation).mean()


# -- Tasks -------------------------------------------------------------------------------------------------------------


def dense() -> sd.Task:
    """Digits, 64-64-64-10, smoothed labels."""
    return sd.Task(lambda seed: networks.dense(seed, (64, 64, 64, 10)), loss=smoothed, **_held_out(*images()))


def conv() -> sd.Task:
    """Digits as pictures, two convolutions with BatchNorm, smoothed labels."""
    x, y = images()
    return sd.Task(networks.convolution, loss=smoothed, **_held_out(x.reshape(-1, 1, 8, 8), y))


def text() -> sd.Task:
    """The next of 16 characters, two causal blocks 24 wide."""
    build = functools.partial(networks.transformer, inputs=SYMBOLS, places=16, width=24, outputs=SYMBOLS, causal=True)
    return sd.Task(build, loss=_at_each_place, **_text(0, places=16, sequences=8000))


def rows() -> sd.Task:
    """Digits as eight rows of eight pixels, two blocks 24 wide, smoothed labels."""
    x, y = images()
    build = functools.partial(networks.transformer, inputs=8, places=8, width=24, outputs=10, causal=False)
    return sd.Task(build, loss=smoothed, **_held_out(x.reshape(-1, 8, 8), y))


def autoencoder() -> sd.Task:
    """Digits through eight numbers, 64-48-8-48-64."""
    x, _ = images()
    widths = (64, 48, 8, 48, 64)
    return sd.Task(lambda seed: networks.dense(seed, widths, nn.Tanh), loss=mse_loss, **_held_out(x, x, seed=1))


def regression() -> sd.Task:
    """A sum of sines, 8-80-80-1."""
    return sd.Task(lambda seed: networks.dense(seed, (8, 80, 80, 1)), loss=mse_loss, **_held_out(*_sines(8, 0.3)))


def letters() -> sd.Task:
    """The next of 12 characters of other text, a GRU 40 wide."""
    build = functools.partial(networks.recurrent, inputs=SYMBOLS, width=40)
    return sd.Task(build, loss=_at_each_place, **_text(250_000, places=12, sequences=6000))


def parity() -> sd.Task:
    """Even or odd digits, a perceptron with BatchNorm and dropout, smoothed labels."""
    x, y = images()
    return sd.Task(networks.normed, loss=smoothed, **_held_out(x, y % 2, seed=2))


def high() -> sd.Task:
    """Digits above four, 64-96-1, GELU."""
    x, y = images()
    build = functools.partial(networks.dense, widths=(64, 96, 1), activation=nn.GELU)
    return sd.Task(build, loss=_binary, **_held_out(x, (y > 4).float(), seed=3))


def grouped() -> sd.Task:
    """Digits as pictures, two convolutions with GroupNorm, smoothed labels."""
    x, y = images()
    return sd.Task(networks.grouped, loss=smoothed, **_held_out(x.reshape(-1, 1, 8, 8), y, seed=4))


def sharp() -> sd.Task:
    """Digits, 64-64-64-10; the loss falls to nearly nothing, so that every bad batch is a spike."""
    return sd.Task(lambda seed: networks.dense(seed, (64, 64, 64, 10)), loss=cross_entropy, **_held_out(*images()))


def deep() -> sd.Task:
    """Digits, six layers of tanh."""
    widths = (64, *[48] * 5, 10)
    return sd.Task(lambda seed: networks.dense(seed, widths, nn.Tanh), loss=cross_entropy, **_held_out(*images()))


def squared() -> sd.Task:
    """Digits as squared distance to one-hot vectors, 64-32-32-10, tanh."""
    x, y = images()
    build = functools.partial(networks.dense, widths=(64, 32, 32, 10), activation=nn.Tanh)
    return sd.Task(build, loss=mse_loss, **_held_out(x, one_hot(y, 10).float()))


def steep() -> sd.Task:
    """Even or odd digits, five layers of ReLU; the loss falls to nearly nothing."""
    x, y = images()
    widths = (64, *[32] * 4, 2)
    return sd.Task(lambda seed: networks.dense(seed, widths), loss=cross_entropy, **_held_out(x, y % 2, seed=5))


def density() -> sd.Task:
    """Mean and deviation of a sum of sines with little noise, 4-64-64-2."""
    return sd.Task(lambda seed: networks.dense(seed, (4, 64, 64, 2)), loss=_gaussian, **_held_out(*_sines(4, 0.05)))


def spread() -> sd.Task:
    """The same of two numbers with other noise, 2-40-40-2, tanh."""
    build = functools.partial(networks.dense, widths=(2, 40, 40, 2), activation=nn.Tanh)
    return sd.Task(build, loss=_gaussian, **_held_out(*_sines(2, 0.1)))


# -- Problems ----------------------------------------------------------------------------------------------------------

COSINE = "warmup(5%) >> cosine"

REPORTED = (
    Problem("dense-momentum", dense, "momentum", 3e-1, COSINE, 32, 900),
    Problem("dense-adam", dense, "adam", 3e-2, COSINE, 32, 900),
    Problem("dense-lion", dense, "lion", 3e-3, COSINE, 32, 900),
    Problem("conv-momentum", conv, "momentum", 1e-1, COSINE, 32, 500),
    Problem("conv-adam", conv, "adam", 3e-2, COSINE, 32, 500),
    Problem("text-adam", text, "adam", 1e-2, COSINE, 16, 500),
    Problem("text-lion", text, "lion", 3e-3, COSINE, 16, 500),
    Problem("rows-adam", rows, "adam", 3e-3, COSINE, 16, 800),
)

TUNING = (
    Problem("autoencoder-adam", autoencoder, "adam", 3e-2, COSINE, 48, 1000),
    Problem("regression-nesterov", regression, "nesterov", 3e-2, "warmup(5%) >> linear", 32, 1000),
    Problem("letters-rmsprop", letters, "rmsprop", 3e-2, "warmup(30) >> constant(70%) >> linear", 16, 400),
    Problem("parity-momentum", parity, "momentum", 3e-1, COSINE, 48, 800),
    Problem("high-adamw", high, "adamw", 1e-2, "warmup(5%) >> constant", 64, 1000),
    Problem("grouped-signum", grouped, "signum", 1e-2, COSINE, 32, 450),
)

BESTS = (
    Problem("sharp-momentum", sharp, "momentum", 1e-1, COSINE, 32, 900),
    Problem("sharp-adam", sharp, "adam", 3e-2, COSINE, 32, 900),
    Problem("sharp-lion", sharp, "lion", 1e-3, COSINE, 32, 900),
    Problem("deep-momentum", deep, "momentum", 1e-1, COSINE, 32, 1000),
    Problem("deep-full", deep, "gradient_descent", 3e-1, "constant", "full", 400),
    Problem("squared-full", squared, "gradient_descent", 1.0, "constant", "full", 400),
    Problem("density-adam", density, "adam", 1e-2, COSINE, 32, 1000),
    Problem("steep-momentum", steep, "momentum", 3e-2, COSINE, 32, 800),
    Problem("steep-adam", steep, "adam", 3e-3, COSINE, 32, 800),
    Problem("spread-adam", spread, "adam", 3e-2, COSINE, 32, 800),
)
"""The best rates of the networks that spiky problems have and others do not."""


def _spiky() -> Iterator[Problem]:
    momentum, adam, lion, deep, full, squared, density, *_ = BESTS
    yield replace(deep, name="deep-2x", lr=2 * deep.lr)
    yield replace(deep, name="deep-constant", schedule="constant")
    yield replace(full, name="deep-full-rising", lr=1.5 * full.lr)
    yield replace(squared, name="edge-of-stability")
    yield replace(lion, name="lion-3x", lr=3 * lion.lr, schedule="constant")
    yield replace(adam, name="sharp-warmup", schedule="warmup(5) >> constant")
    hand_off = sd.stage("adam", "70%") >> sd.stage("momentum", lr=momentum.lr)
    yield replace(adam, name="hand-off", rule=hand_off, schedule="warmup(5%) >> constant")
    yield replace(density, name="below-zero")


def _tuning_spiky() -> Iterator[Problem]:
    *_, momentum, adam, spread = BESTS
    autoencoder, regression, letters, _, high, _ = TUNING
    yield replace(momentum, name="steep-2x", lr=2 * momentum.lr)
    yield replace(adam, name="steep-warmup", schedule="warmup(5) >> constant")
    yield replace(high, name="high-2x", lr=2 * high.lr)
    yield replace(autoencoder, name="autoencoder-2x", lr=2 * autoencoder.lr, schedule="constant")
    yield replace(letters, name="letters-2x", lr=2 * letters.lr)
    hand_off = sd.stage("nesterov", "40%") >> sd.stage("adam", lr=3e-3)
    yield replace(regression, name="regression-hand-off", rule=hand_off)
    yield replace(spread, name="spread-below-zero")


SPIKY = tuple(_spiky())
TUNING_SPIKY = tuple(_tuning_spiky())

GROUPS = {"reported": REPORTED, "spiky": SPIKY, "tuning": TUNING, "tuning-spiky": TUNING_SPIKY}


def find(names: Sequence[str], among: Sequence[Problem]) -> list[Problem]:
    """Problems by name; all of them where no name is given."""
    known = {p.name: p for p in among}
    if unknown := [name for name in names if name not in known]:
        sys.exit(f"no problem {', '.join(unknown)}; there are {', '.join(known)}")
    return [known[name] for name in names] if names else list(among)


# -- Rates -------------------------------------------------------------------------------------------------------------


def final(problem: Problem, seed: int, **choices: Any) -> float:
    """Validation loss at the end."""
    descent = problem.descent(seed, **choices)
    for _ in descent:
        pass
    return descent.measure()["loss"]


def main(names: Sequence[str]) -> None:
    """Prints the validation losses on the half-decade grid around each problem's rate."""
    for problem in find(names, REPORTED + TUNING + BESTS):
        exponent = round(2 * math.log10(problem.lr))
        losses = {}
        for half in range(exponent - 2, exponent + 3):
            rate = float(f"{10 ** (half / 2):.0e}")
            losses[rate] = statistics.mean(final(replace(problem, lr=rate), seed) for seed in range(3))
        print(problem.name, *(f"{rate:g}: {loss:.4f}" for rate, loss in losses.items()), sep="  ", flush=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(sys.argv[1:])
