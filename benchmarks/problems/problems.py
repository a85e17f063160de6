"""Small real training problems, on which the guard is tried: each takes about a second on one core.

REPORT are those whose figures are published. TUNING are others, in data, network, size or rule: thresholds may be
chosen on them, and on them only. SPIKY are healthy runs with spikes: the guard must leave them alone; TUNING_SPIKY are
others of the kind, to choose thresholds on.

The data comes with packages: the digits, 600 of them for validation; the standard library's help pages as one-hot
vectors, so that what corrupts numbers can corrupt text too; and functions with noise. `problems.toml` has the tables.
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
from torch import nn

import steepest as sd
from benchmarks.problems import tasks
from steepest.descent.loop import Descent
from steepest.descent.settings import resolve
from steepest.distributed.processes import ALONE, Processes

COSINE = "warmup(5%) >> cosine"
TABLE = tasks.load(Path(__file__).with_suffix(".toml"))
TASKS = tasks.rows(TABLE["tasks"])
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

    def descent(
        self, seed: int, processes: Processes = ALONE, spread: Callable[[nn.Module], nn.Module] | None = None,
        **choices: Any,
    ) -> Descent:  # fmt: skip
        """The problem before its first step; `choices` are further settings.

        Args:
            seed: of the network and of the batches.
            processes: that share it.
            spread: what spreads the network over them.
            choices: settings.
        """
        task = _make(self.task)
        settings = resolve(
            task, rule=self.rule, lr=self.lr, schedule=self.schedule, batch_size=self.batch_size, steps=self.steps,
            seed=seed, **choices,
        )  # fmt: skip
        model = task.build(seed)
        return Descent(task, settings, model if spread is None else spread(model), processes)


@functools.cache
def _make(make: Callable[[], sd.Task]) -> sd.Task:
    return make()


def shared_task(name: str) -> sd.Task:
    """A task of TASKS."""
    return tasks.task(TASKS[name])


def problem(task: str, rule: str, lr: float, schedule: str, batch_size: int | str, steps: int) -> Problem:
    """A shared task trained by a rule; it is named after both, or after the task and "full" for full batches."""
    name = f"{task}-{'full' if batch_size == 'full' else rule}".replace("_", "-")
    return Problem(name, functools.partial(shared_task, task), rule, lr, schedule, batch_size, steps)


REPORT, TUNING, BESTS = (
    tuple(problem(*row) for row in TABLE["problems"][group]) for group in ("reported", "tuning", "bests")
)


def _spiky() -> Iterator[Problem]:
    momentum, adam, lion, deep, full, squares, density, *_ = BESTS
    yield replace(deep, name="deep-2x", lr=2 * deep.lr)
    yield replace(deep, name="deep-constant", schedule="constant")
    yield replace(full, name="deep-full-rising", lr=1.5 * full.lr)
    yield replace(squares, name="edge-of-stability")
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

GROUPS = {"reported": REPORT, "spiky": SPIKY, "tuning": TUNING, "tuning-spiky": TUNING_SPIKY}


def find(names: Sequence[str], among: Sequence[Problem]) -> list[Problem]:
    """Problems by name; all of them where no name is given."""
    by_name = {p.name: p for p in among}
    if unknown := [name for name in names if name not in by_name]:
        sys.exit(f"problem must be one of {', '.join(by_name)}, got {', '.join(unknown)}")
    return [by_name[name] for name in names] if names else list(among)


def final_loss(problem: Problem, seed: int, **choices: Any) -> float:
    """Validation loss at the end; infinite where it is not finite."""
    descent = problem.descent(seed, **choices)
    for _ in descent:
        pass
    loss = descent.measure()["loss"]
    return loss if math.isfinite(loss) else math.inf


def main(names: Sequence[str]) -> None:
    """Prints the validation losses on the half-decade grid around each problem's learning rate."""
    for one in find(names, REPORT + TUNING + BESTS):
        exponent = round(2 * math.log10(one.lr))
        losses = {}
        for half in range(exponent - 2, exponent + 3):
            rate = float(f"{10 ** (half / 2):.0e}")
            losses[rate] = statistics.mean(final_loss(replace(one, lr=rate), seed) for seed in range(3))
        print(one.name, *(f"{rate:g}: {loss:.4f}" for rate, loss in losses.items()), sep="  ", flush=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(sys.argv[1:])
