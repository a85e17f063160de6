"""How often the diagnosis is right, on runs whose fault is known by what its remedy gains.

Every series is trained at all learning rates of a grid and at batch sizes that are eight times each other, with the
record that `fit` would write. `known_faults` finds the faults from these runs and a few variants.
"""

import base64
import functools
import math
import zlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from benchmarks.diagnosis.known_faults import DECAY, GUARD, HEALTHY_START, PLAIN, lines
from benchmarks.diagnosis.trainings import CONSTANT, DEVELOPMENT, FRESH, Series
from benchmarks.parts import Options, Outcomes, Study
from benchmarks.problems.problems import Problem
from steepest.descent.loop import EVALUATION_BATCH, Descent
from steepest.records.run import Measurement, Step
from steepest.tasks import data

TITLE = "Diagnoses"

KEY = ("series", "way", "batch", "at", "seed")
SEEDS = 0, 1
DECAY_SCHEDULE = "constant(70%) >> linear"
MIN_DECAY_PLACE = -2
"""In half decades: at smaller learning rates there is no less noise after a decay."""


def _work(outcomes: Outcomes, options: Options) -> None:
    """Trains the missing runs."""
    by_name = {s.problem.name: s for s in FRESH + DEVELOPMENT}
    for series in [by_name[name] for name in options.problems] or FRESH:
        for seed in options.seeds or SEEDS:
            for batch in series.batches:
                for at in series.rates:
                    _train_variants(outcomes, series, batch, at, seed)


def _train_variants(outcomes: Outcomes, series: Series, batch: int | str, at: float, seed: int) -> None:
    problem = series.problem
    problem = replace(problem, batch_size=batch, lr=float(f"{problem.lr * 10 ** (at / 2):.3g}"))
    variants = {PLAIN: problem}
    if problem.schedule == CONSTANT and at >= MIN_DECAY_PLACE and series.healthy is None:
        variants[DECAY] = replace(problem, schedule=DECAY_SCHEDULE)
    if series.healthy is not None:
        variants[HEALTHY_START] = replace(problem, task=series.healthy)
    if at == series.rates[-1]:
        variants[GUARD] = problem
    for variant, one in variants.items():
        identity = problem.name, variant, batch, at, seed
        outcomes.add(identity, functools.partial(train, one, seed, guard=variant == GUARD))


def train(problem: Problem, seed: int, guard: bool) -> dict[str, Any]:
    """A run: its record, and its loss on all training data at the start and at every measurement."""
    descent = problem.descent(seed, guard=guard)
    start = {"train": _train_loss(descent), "validation": descent.measure()["loss"]}
    steps: list[Step] = []
    measurements: list[Measurement] = []
    train_losses: list[float] = []
    for step in descent:
        steps.append(step)
        if step.t == descent.t and (step.t % descent.steps_per_epoch == 0 or step.t == descent.steps):
            value = descent.measure()["loss"]
            measurements.append(Measurement(step.t, step.t / descent.steps_per_epoch, "validation", "loss", value))
            train_losses.append(_train_loss(descent))
    config = {
        **descent.settings.describe().to_json(), "steps": descent.steps, "steps_per_epoch": descent.steps_per_epoch,
        "samples": descent.batches.samples, "weights": descent.space.size,
    }  # fmt: skip
    return {
        "start": start,
        "train": train_losses,
        "config": config,
        "steps": pack(steps),
        "measurements": [list(m) for m in measurements],
        "events": [list(s.event) for s in steps if s.event is not None],
    }


def _train_loss(descent: Descent) -> float:
    with descent.at_reported_point():
        batches = data.in_batches(descent.task.data, EVALUATION_BATCH, descent.device)
        loss = descent.objective.evaluate(batches, {})["loss"]
    return loss if math.isfinite(loss) else math.inf


def pack(steps: Sequence[Step]) -> str:
    """Columns of the steps, as text."""
    with np.errstate(over="ignore"):
        columns = np.array([step[:6] for step in steps], np.float64).T.astype(np.float32)
    return base64.b64encode(zlib.compress(np.ascontiguousarray(columns).tobytes())).decode()


def _lines(outcomes: Outcomes, options: Options) -> list[str]:
    return lines(outcomes, options.details)


STUDY = Study("diagnoses", KEY, _work, _lines)
measure, main = STUDY.measure, STUDY.main
