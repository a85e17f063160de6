"""What a race claims: of equal sides, and of a side at a fifth of its rate.

Momentum on digits, 64 seeds: for each its own rate is searched on data and on a start of its own, and the run is
trained and measured on the way; then again at a fifth of that rate. Races of 8 against 8 seeds are drawn from these
runs, without a seed in common, and concluded as `sd.race` concludes them.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

import steepest as sd
from benchmarks.problems import problems
from benchmarks.report import met, table
from steepest.descent.settings import Settings, resolve
from steepest.records.search import Curve
from steepest.search import contest

TITLE = "What a race claims"

SEEDS, SIDE, RACES = 64, 8, 1000
STEPS = 300
FIFTH = 0.2


def measure() -> list[str]:
    """Lines of the report."""
    task = problems.dense()
    settings = resolve(task, rule="momentum", batch_size=32, steps=STEPS)
    seeded = {k: dataclasses.replace(settings, seed=k) for k in range(SEEDS)}
    rates = {k: contest.search_lr(task, s)[0] for k, s in seeded.items()}
    own = _curves(task, {k: dataclasses.replace(s, lr=rates[k]) for k, s in seeded.items()})
    slow = _curves(task, {k: dataclasses.replace(s, lr=FIFTH * rates[k]) for k, s in seeded.items()})
    draw = np.random.default_rng(0)
    false = sum(_claims(task, own, own, draw) for _ in range(RACES)) / RACES
    true = sum(_claims(task, own, slow, draw) for _ in range(RACES)) / RACES
    rows = [
        ["against itself", f"{false:.1%}", "≤ 6.5 %", met(false, 0.065)],
        ["against a fifth of its rate", f"{true:.1%}", "≥ 95 %", met(-true, -0.95)],
    ]
    spread = np.log10(list(rates.values()))
    return [
        f"{RACES:,} races of {SIDE} against {SIDE} seeds, drawn from {SEEDS} runs of each kind, searches included: the "
        "share that claims a difference. The rates that were found have a median of "
        f"{10 ** np.median(spread):.3g} and spread over {np.ptp(spread):.2f} decades.",
        "",
        *table(["momentum at its own rates", "claims a difference", "target", "met"], rows),
    ]


def _curves(task: sd.Task, chosen: dict[int, Settings]) -> list[Curve]:
    members = contest.run_contenders(task, {("side", k): s for k, s in chosen.items()})
    return [contest.curve_of(task, "side", k, m) for (_, k), m in members.items()]


def _claims(task: sd.Task, one: Sequence[Curve], other: Sequence[Curve], draw: np.random.Generator) -> bool:
    """Whether a race of other seeds each claims a difference."""
    places = draw.permutation(SEEDS)
    sides = [dataclasses.replace(one[k], side="one") for k in places[:SIDE]]
    sides += [dataclasses.replace(other[k], side="other") for k in places[SIDE : 2 * SIDE]]
    return not contest.conclude(task, sides).verdict.startswith("No difference detected")
