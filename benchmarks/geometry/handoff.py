"""Whether it helps to finish with momentum: Adam to the end, or Adam that hands over to momentum after 70 % of the run.

Adam's learning rates are the best of a grid for Adam to the end. The learning rate of the hand-off is derived from
Adam's last steps (`steepest.descent.handoff`); momentum alone has that of `sd.find_lr`. All contenders have the same
seeds, so the same initial weights and batches; the tests take them for independent, and so claim fewer differences.
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch

import steepest as sd
from benchmarks.problems.problems import BESTS, REPORT, TUNING, Problem, find
from benchmarks.report import table
from steepest.search.statistics import differences

TITLE = "Finishing with momentum"

PROBLEMS = (
    "dense-adam", "conv-adam", "text-adam", "rows-adam", "autoencoder-adam", "high-adamw", "sharp-adam", "density-adam",
    "steep-adam", "spread-adam",
)  # fmt: skip
SEEDS = range(5)
LEVEL = 0.05
"""Of all problems of one comparison together."""
ADAM, HANDOFF, DEFAULT, MOMENTUM = (
    "Adam alone",
    "momentum at the derived lr",
    "momentum at lr 0.01",
    "momentum alone",
)
HELPS, HARMS, UNCLEAR = "better on", "worse on", "no difference detected on"

Losses = Mapping[str, Sequence[float]]
Finding = tuple[str, str, str]
"""Better, worse or unclear; the problem; and the difference in words."""


def measure() -> list[str]:
    """Lines of the report. It takes about ten minutes."""
    torch.set_num_threads(1)
    problems = find(PROBLEMS, REPORT + TUNING + BESTS)
    rows = []
    against: dict[str, list[Finding]] = {ADAM: [], DEFAULT: [], MOMENTUM: []}
    for problem in problems:
        losses, rates = _losses(problem)
        for baseline, findings in against.items():
            findings.append(_difference(problem, losses, baseline))
        means = [f"{_mean(values):.4f}" for values in losses.values()]
        rows.append([problem.name, f"{problem.lr:g}", *means, f"{statistics.median(rates):.3g}"])
    return [
        f"Validation loss at the end, mean of {len(SEEDS)} seeds (geometric where no loss is below 0). All have the "
        "problem's schedule; the derived lr is the median over the seeds.",
        "",
        *table(["problem", "lr", ADAM, f"→ {HANDOFF}", f"→ {DEFAULT}", MOMENTUM, "derived lr"], rows),
        *(line for baseline, findings in against.items() for line in _summary(baseline, findings)),
    ]


def _losses(problem: Problem) -> tuple[dict[str, list[float]], list[float]]:
    """Final losses by contender, and the derived learning rates."""
    first = sd.stage(problem.rule, "70%")
    search = sd.find_lr(
        problem.descent(0).task, "momentum", schedule=problem.schedule, batch_size=problem.batch_size,
        steps=problem.steps,
    )  # fmt: skip
    contenders = {
        ADAM: problem,
        HANDOFF: replace(problem, rule=first >> sd.stage("momentum")),
        DEFAULT: replace(problem, rule=first >> sd.stage("momentum", lr=0.01)),
        MOMENTUM: replace(problem, rule="momentum", lr=search.best),
    }
    ends = {name: [_end(p, seed) for seed in SEEDS] for name, p in contenders.items()}
    return {name: [loss for loss, _ in pairs] for name, pairs in ends.items()}, [lr for _, lr in ends[HANDOFF]]


def _end(problem: Problem, seed: int) -> tuple[float, float]:
    """The last validation loss, infinite where it is not finite, and the last stage's base learning rate."""
    descent = problem.descent(seed)
    for _ in descent:
        pass
    loss = descent.measure()["loss"]
    return loss if math.isfinite(loss) else math.inf, descent.base_lr


def _difference(problem: Problem, losses: Losses, baseline: str) -> Finding:
    """How the hand-off at the derived learning rate compares with a baseline."""
    pair = {baseline: losses[baseline], HANDOFF: losses[HANDOFF]}
    scale: Any = "log" if min(map(min, pair.values())) > 0 else "linear"
    (difference,) = differences("validation loss", pair, scale=scale, level=LEVEL / len(PROBLEMS))
    helps = statistics.median(losses[HANDOFF]) < statistics.median(losses[baseline])
    lower = sum(a < b for a, b in zip(losses[HANDOFF], losses[baseline], strict=True))
    words = f"{difference.sentence}; lower with the same seed in {lower} of {len(SEEDS)}"
    return UNCLEAR if not difference.claimed else HELPS if helps else HARMS, problem.name, words


def _summary(baseline: str, findings: Sequence[Finding]) -> list[str]:
    """The problems with each finding, and a sentence for each problem."""
    groups = [
        f"{kind} {', '.join(n for k, n, _ in findings if k == kind) or 'none'}" for kind in (HELPS, HARMS, UNCLEAR)
    ]
    return ["", f"Against {baseline}: {'; '.join(groups)}.", "", *(f"- {name}: {words}" for _, name, words in findings)]


def _mean(losses: Sequence[float]) -> float:
    if min(losses) <= 0 or math.inf in losses:
        return statistics.fmean(losses)
    return statistics.geometric_mean(losses)
