"""Small real training problems, on which the guard is tried: each takes about a second on one core.

REPORTED are those whose figures are published. TUNING are others, in data, network, size or rule: thresholds may be
chosen on them, and on them only. SPIKY are healthy runs with spikes: the guard must leave them alone; TUNING_SPIKY are
others of the kind, to choose thresholds on.

The data comes with packages: the digits, 600 of them for validation; the standard library's help pages as one-hot
vectors, so that what corrupts numbers can corrupt text too; and functions with noise. The learning rates are the best
of a half-decade grid, by the validation loss at the end (mean of seeds 0, 1, 2), as
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
from pathlib import Path
from typing import Any

import torch

import steepest as sd
from benchmarks.problems import tasks
from steepest.descent.loop import Descent
from steepest.descent.settings import resolve

COSINE = "warmup(5%) >> cosine"
SHARED = tasks.rows(tasks.load(Path(__file__).with_name("tasks.toml")))
"""Rows of the tasks that several benchmarks use. Most have smoothed labels (Szegedy et al. 2016): where a loss falls to
nearly 0, its last value is chance and differs by 20 % between seeds; with smoothed labels it differs by 1 to 3 %."""


@dataclass(frozen=True)
class Problem:
    """A task, and how it is trained.

    Attributes:
        name: what to call it.
        task: makes the task.
        rule: a rule, its name, or stages.
        lr: base learning rate.
        schedule: of the learning rate.
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
        task = _make(self.task)
        settings = resolve(
            task, rule=self.rule, lr=self.lr, schedule=self.schedule, batch_size=self.batch_size, steps=self.steps,
            seed=seed, **choices,
        )  # fmt: skip
        return Descent(task, settings, task.build(seed))


@functools.cache
def _make(make: Callable[[], sd.Task]) -> sd.Task:
    return make()


def shared(name: str) -> sd.Task:
    """A task of SHARED."""
    return tasks.task(SHARED[name])


def problem(task: str, rule: str, lr: float, batch_size: int | str, steps: int, schedule: str = COSINE) -> Problem:
    """A shared task trained by a rule; it is named after both, or after the task and "full" for full batches."""
    name = f"{task}-{'full' if batch_size == 'full' else rule}".replace("_", "-")
    return Problem(name, functools.partial(shared, task), rule, lr, schedule, batch_size, steps)


# -- Problems ----------------------------------------------------------------------------------------------------------

REPORTED = (
    problem("dense", "momentum", 3e-1, 32, 900),
    problem("dense", "adam", 3e-2, 32, 900),
    problem("dense", "lion", 3e-3, 32, 900),
    problem("conv", "momentum", 1e-1, 32, 500),
    problem("conv", "adam", 3e-2, 32, 500),
    problem("text", "adam", 1e-2, 16, 500),
    problem("text", "lion", 3e-3, 16, 500),
    problem("rows", "adam", 3e-3, 16, 800),
)

TUNING = (
    problem("autoencoder", "adam", 3e-2, 48, 1000),
    problem("regression", "nesterov", 3e-2, 32, 1000, "warmup(5%) >> linear"),
    problem("letters", "rmsprop", 3e-2, 16, 400, "warmup(30) >> constant(70%) >> linear"),
    problem("parity", "momentum", 3e-1, 48, 800),
    problem("high", "adamw", 1e-2, 64, 1000, "warmup(5%) >> constant"),
    problem("grouped", "signum", 1e-2, 32, 450),
)

BESTS = (
    problem("sharp", "momentum", 1e-1, 32, 900),
    problem("sharp", "adam", 3e-2, 32, 900),
    problem("sharp", "lion", 1e-3, 32, 900),
    problem("deep", "momentum", 1e-1, 32, 1000),
    problem("deep", "gradient_descent", 3e-1, "full", 400, "constant"),
    problem("squared", "gradient_descent", 1.0, "full", 400, "constant"),
    problem("density", "adam", 1e-2, 32, 1000),
    problem("steep", "momentum", 3e-2, 32, 800),
    problem("steep", "adam", 3e-3, 32, 800),
    problem("spread", "adam", 3e-2, 32, 800),
)
"""The best learning rates of the networks that only spiky problems have."""


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
    by_name = {p.name: p for p in among}
    if unknown := [name for name in names if name not in by_name]:
        sys.exit(f"problem must be one of {', '.join(by_name)}, got {', '.join(unknown)}")
    return [by_name[name] for name in names] if names else list(among)


# -- Learning rates ----------------------------------------------------------------------------------------------------


def final_loss(problem: Problem, seed: int, **choices: Any) -> float:
    """Validation loss at the end; infinite where it is not finite."""
    descent = problem.descent(seed, **choices)
    for _ in descent:
        pass
    loss = descent.measure()["loss"]
    return loss if math.isfinite(loss) else math.inf


def main(names: Sequence[str]) -> None:
    """Prints the validation losses on the half-decade grid around each problem's learning rate."""
    for one in find(names, REPORTED + TUNING + BESTS):
        exponent = round(2 * math.log10(one.lr))
        losses = {}
        for half in range(exponent - 2, exponent + 3):
            rate = float(f"{10 ** (half / 2):.0e}")
            losses[rate] = statistics.mean(final_loss(replace(one, lr=rate), seed) for seed in range(3))
        print(one.name, *(f"{rate:g}: {loss:.4f}" for rate, loss in losses.items()), sep="  ", flush=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(sys.argv[1:])
