"""Whether it helps to finish with momentum: Adam to the end, or Adam that hands over to momentum at 70 % of the run.

Problems and Adam's rates are those of `benchmarks.problems.problems`, the best of a grid for Adam to the end. The
hand-off's
rate follows from Adam's last steps (`steepest.descent.handoff`); beside it stand momentum's default rate in its
place, and
momentum from the start at the rate that `sd.find_lr` finds for it. The sides have the same seeds, so the same starts
and batches; the tests take them for independent, and so claim less often than they might.
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch

import steepest as sd
from benchmarks.problems.problems import BESTS, REPORTED, TUNING, Problem, find
from benchmarks.report import table
from steepest.search.statistics import differences

TITLE = "Finishing with momentum"

PROBLEMS = (
    "dense-adam", "conv-adam", "text-adam", "rows-adam", "autoencoder-adam", "high-adamw", "sharp-adam", "density-adam",
    "steep-adam", "spread-adam",
)  # fmt: skip
SEEDS = range(5)
LEVEL = 0.05
"""For all problems of one comparison together."""
ALONE, FOLLOWED, DEFAULT, MOMENTUM = (
    "Adam alone",
    "momentum at the rate that follows",
    "momentum at 0.01",
    "momentum alone",
)
HELPS, HARMS, UNCLEAR = "it helps on", "it harms on", "no difference is seen on"

Losses = Mapping[str, Sequence[float]]
Found = tuple[str, str, str]


def measure() -> list[str]:
    """Lines of the report. It takes about ten minutes."""
    torch.set_num_threads(1)
    problems = find(PROBLEMS, REPORTED + TUNING + BESTS)
    rows = []
    against: dict[str, list[Found]] = {ALONE: [], DEFAULT: [], MOMENTUM: []}
    for problem in problems:
        losses, rates = _losses(problem)
        for one, found in against.items():
            found.append(_difference(problem, losses, one))
        shown = [f"{_middle(values):.4f}" for values in losses.values()]
        rows.append([problem.name, f"{problem.lr:g}", *shown, f"{statistics.median(rates):.3g}"])
    return [
        f"Validation loss at the end, mean of {len(SEEDS)} seeds (geometric where no loss is below 0); all have the "
        "problem's schedule, and the rate that follows is its median.",
        "",
        *table(["problem", "rate", ALONE, f"→ {FOLLOWED}", f"→ {DEFAULT}", MOMENTUM, "the rate that follows"], rows),
        *(line for one, found in against.items() for line in _told(one, found)),
    ]


def _losses(problem: Problem) -> tuple[dict[str, list[float]], list[float]]:
    """Of every side its final losses, and the rates that followed."""
    first = sd.stage(problem.rule, "70%")
    searched = sd.find_lr(
        problem.descent(0).task, "momentum", schedule=problem.schedule, batch_size=problem.batch_size,
        steps=problem.steps,
    )  # fmt: skip
    sides = {
        ALONE: problem,
        FOLLOWED: replace(problem, rule=first >> sd.stage("momentum")),
        DEFAULT: replace(problem, rule=first >> sd.stage("momentum", lr=0.01)),
        MOMENTUM: replace(problem, rule="momentum", lr=searched.best),
    }
    ends = {side: [_end(p, seed) for seed in SEEDS] for side, p in sides.items()}
    return {side: [loss for loss, _ in found] for side, found in ends.items()}, [rate for _, rate in ends[FOLLOWED]]


def _end(problem: Problem, seed: int) -> tuple[float, float]:
    """The last validation loss, infinite where it is no number, and the last stage's base rate."""
    descent = problem.descent(seed)
    for _ in descent:
        pass
    loss = descent.measure()["loss"]
    return loss if math.isfinite(loss) else math.inf, descent.base_lr


def _difference(problem: Problem, losses: Losses, one: str) -> Found:
    """What the hand-off at the rate that follows does to a problem, its name, and the difference in words."""
    chosen = {one: losses[one], FOLLOWED: losses[FOLLOWED]}
    scale: Any = "log" if min(map(min, chosen.values())) > 0 else "linear"
    (found,) = differences("validation loss", chosen, scale=scale, level=LEVEL / len(PROBLEMS))
    helps = statistics.median(losses[FOLLOWED]) < statistics.median(losses[one])
    lower = sum(a < b for a, b in zip(losses[FOLLOWED], losses[one], strict=True))
    words = f"{found.sentence}; of the same seed it is lower in {lower} of {len(SEEDS)}"
    return UNCLEAR if not found.claimed else HELPS if helps else HARMS, problem.name, words


def _told(one: str, found: Sequence[Found]) -> list[str]:
    """On which problems it helps and on which not, and the sentence of each."""
    said = [f"{kind} {', '.join(n for k, n, _ in found if k == kind) or 'none'}" for kind in (HELPS, HARMS, UNCLEAR)]
    return ["", f"Against {one}: {'; '.join(said)}.", "", *(f"- {name}: {words}" for _, name, words in found)]


def _middle(losses: Sequence[float]) -> float:
    if min(losses) <= 0 or math.inf in losses:
        return statistics.fmean(losses)
    return statistics.geometric_mean(losses)
