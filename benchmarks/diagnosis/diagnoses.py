"""How often the diagnosis is right, on runs whose fault is known by what mending it gains.

Every series is trained at all rates of a grid and at batch sizes that are eight times each other, with a
record of what `fit` would record. A run's faults are then measured (`known_faults`): by the best rate of the grid, by
the batch eight times as large, by a rate that falls at the end, by another start, by stopping early.

    python -m benchmarks.diagnosis.diagnoses --problems high-adamw-constant --out DIR     # a part; adds to what is in
    DIR
    python -m benchmarks.diagnosis.diagnoses --report DIR [--details]                     # the tables of what is in DIR
"""

import base64
import math
import tempfile
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.diagnosis.known_faults import AS_IT_IS, FALLING, GUARDED, STARTED, lines
from benchmarks.diagnosis.trainings import REPORTED, SPENT
from benchmarks.diagnosis.trainings.series import CONSTANT, Series
from benchmarks.guard import trials
from benchmarks.guard.trials import Kept
from benchmarks.problems.problems import Problem
from steepest.descent.loop import EVALUATION_BATCH, Descent
from steepest.records.run import Measurement, Step
from steepest.tasks import data

TITLE = "Diagnoses"

KEY = ("series", "way", "batch", "at", "seed")
SEEDS = 0, 1
CUT = "constant(70%) >> linear"
CUT_FROM = -2
"""The rate is made to fall at the end from here upwards: smaller ones are no noisier."""


def work(kept: Kept, series: Iterable[Series], seeds: Sequence[int]) -> None:
    """Does the runs that are not there yet."""
    for one in series:
        for seed in seeds:
            for batch in one.batches:
                for at in one.rates:
                    _runs(kept, one, batch, at, seed)


def _runs(kept: Kept, series: Series, batch: int | str, at: float, seed: int) -> None:
    problem = series.problem
    problem = replace(problem, batch_size=batch, lr=float(f"{problem.lr * 10 ** (at / 2):.3g}"))
    ways: dict[str, tuple[Problem, bool]] = {AS_IT_IS: (problem, False)}
    if problem.schedule == CONSTANT and at >= CUT_FROM and series.start is None:
        ways[FALLING] = replace(problem, schedule=CUT), False
    if series.start is not None:
        ways[STARTED] = replace(problem, task=series.start), False
    for way, (changed, guard) in ways.items():
        trial = dict(zip(KEY, (problem.name, way, batch, at, seed), strict=True))
        kept.add(trial, lambda p=changed, g=guard: trained(p, seed, g))
    explodes = dict(zip(KEY, (problem.name, GUARDED, batch, at, seed), strict=True))
    if at == series.rates[-1]:
        kept.add(explodes, lambda: trained(problem, seed, True))


def trained(problem: Problem, seed: int, guard: bool) -> dict[str, Any]:
    """A run: its record, packed, and its losses on all the training data, at the start and where it was measured."""
    descent = problem.descent(seed, guard=guard)
    start = {"train": _train_loss(descent), "validation": descent.measure()["loss"]}
    steps: list[Step] = []
    measured: list[Measurement] = []
    train: list[float] = []
    for step in descent:
        steps.append(step)
        if step.t == descent.t and (step.t % descent.steps_per_epoch == 0 or step.t == descent.steps):
            value = descent.measure()["loss"]
            measured.append(Measurement(step.t, step.t / descent.steps_per_epoch, "validation", "loss", value))
            train.append(_train_loss(descent))
    config = {
        **descent.settings.describe().to_json(), "steps": descent.steps, "steps_per_epoch": descent.steps_per_epoch,
        "samples": descent.batches.samples, "weights": descent.space.size,
    }  # fmt: skip
    return {
        "start": start,
        "train": train,
        "config": config,
        "steps": packed(steps),
        "measurements": [list(m) for m in measured],
        "events": [list(s.event) for s in steps if s.event is not None],
    }


def _train_loss(descent: Descent) -> float:
    with descent.at_reported_point():
        batches = data.in_batches(descent.task.data, EVALUATION_BATCH, descent.device)
        loss = descent.objective.evaluate(batches, {})["loss"]
    return loss if math.isfinite(loss) else math.inf


def packed(steps: Sequence[Step]) -> str:
    """Columns of the steps, as text."""
    with np.errstate(over="ignore"):
        columns = np.array([step[:6] for step in steps], np.float64).T.astype(np.float32)
    return base64.b64encode(zlib.compress(np.ascontiguousarray(columns).tobytes())).decode()


def measure() -> list[str]:
    """Lines of the report: all of it, from nothing."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        kept = Kept(Path(folder), *KEY)
        work(kept, REPORTED, SEEDS)
        return lines(list(kept))


def main() -> None:
    """The command line."""
    given = trials.parser(__doc__).parse_args()
    known = {s.problem.name: s for s in REPORTED + SPENT}
    series = [known[name] for name in given.problems] if given.problems else REPORTED
    kept = trials.kept(given, KEY)
    if given.report is None:
        work(kept, series, given.seeds or SEEDS)
    trials.told(given, "diagnoses", lines(list(kept), given.details), kept)


if __name__ == "__main__":
    main()
