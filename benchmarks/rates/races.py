"""What a race claims: about equal contenders, and about one at a fifth of its learning rate.

Momentum on digits, each seed with a searched learning rate, data and initial weights of its own. Races are drawn from
these runs, without a common seed, and evaluated as `sd.race` does it.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

import steepest as sd
from benchmarks.problems import problems
from benchmarks.report import check, table
from steepest.descent.settings import Settings, resolve
from steepest.records.search import Curve
from steepest.search import contest

TITLE = "What a race claims"

SEEDS, SIDE, RACES = 64, 8, 1000
STEPS = 300
FIFTH = 0.2


def measure() -> list[str]:
    """Lines of the report."""
    task = problems.shared_task("dense")
    settings = resolve(task, rule="momentum", batch_size=32, steps=STEPS)
    by_seed = {k: dataclasses.replace(settings, seed=k) for k in range(SEEDS)}
    rates = {k: contest.search_lr(task, s)[0] for k, s in by_seed.items()}
    own = _curves(task, {k: dataclasses.replace(s, lr=rates[k]) for k, s in by_seed.items()})
    slow = _curves(task, {k: dataclasses.replace(s, lr=FIFTH * rates[k]) for k, s in by_seed.items()})
    draw = np.random.default_rng(0)
    false = sum(_claims(task, own, own, draw) for _ in range(RACES)) / RACES
    true = sum(_claims(task, own, slow, draw) for _ in range(RACES)) / RACES
    rows = [
        ["against itself", f"{false:.1%}", "≤ 6.5 %", check(false, 0.065)],
        ["against a fifth of its lr", f"{true:.1%}", "≥ 95 %", check(-true, -0.95)],
    ]
    spread = np.log10(list(rates.values()))
    return [
        f"{RACES:,} races of {SIDE} against {SIDE} seeds, drawn from {SEEDS} runs of each kind, searches included: the "
        "share of races that claim a difference. The learning rates that the searches chose have a median of "
        f"{10 ** np.median(spread):.3g} and span {np.ptp(spread):.2f} decades.",
        "",
        *table(["momentum at its own lr", "claims a difference", "target", "met"], rows),
    ]


def _curves(task: sd.Task, settings: dict[int, Settings]) -> list[Curve]:
    members = contest.run_contenders(task, {("side", k): s for k, s in settings.items()})
    return [contest.curve_of(task, "side", k, m) for (_, k), m in members.items()]


def _claims(task: sd.Task, one: Sequence[Curve], other: Sequence[Curve], draw: np.random.Generator) -> bool:
    """Whether a race without a common seed claims a difference."""
    places = draw.permutation(SEEDS)
    sides = [dataclasses.replace(one[k], side="one") for k in places[:SIDE]]
    sides += [dataclasses.replace(other[k], side="other") for k in places[SIDE : 2 * SIDE]]
    return not contest.conclude(task, sides).verdict.startswith("No difference detected")
