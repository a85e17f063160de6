"""Races: each side at its own best rate, over several seeds, and what may be concluded from them.

A side is a rule, or a batch size. Its rate is searched anew for each seed, from another start, and on data that nobody
is scored by. Then all run, and are measured on the way on the validation split. What is compared, each with its share
of the level: the steps to a target, the loss at the end, the first metric at the end; for batch sizes also the loss
after equal time.

The target, where none is given, is the highest of the sides' median losses at the end, so that half of the runs of
every side reach it.
"""

import dataclasses
import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from steepest import seeds
from steepest.descent.path import MIN_POINTS as FEWEST_POINTS
from steepest.descent.path import PATH_BYTES
from steepest.descent.population.dispatch import run_descents
from steepest.descent.population.population import Member, Plan
from steepest.descent.settings import Settings, horizon
from steepest.errors import InputError, TaskError
from steepest.records.search import Curve, RaceResult
from steepest.search.rungs import run_search
from steepest.search.statistics import Difference, differences
from steepest.tasks import data
from steepest.tasks.batches import Batches
from steepest.tasks.task import Task

HELD_OUT = 0.2
"""Share of the training data by which rates are chosen."""
MEASURED = 40
"""Times that a run is measured on the way."""
POINTS = 48
"""Of each path that are kept, where there is room."""
FEWEST = 30
"""Samples of validation for a loss to be told from chance."""


def run_race(
    task: Task,
    sides: Mapping[str, Settings],
    count: int,
    lrs: str | float | Mapping[str, float],
    target: float | None = None,
    level: float = 0.05,
    by_time: bool = False,
) -> RaceResult:
    """Runs every side with so many seeds, and compares them.

    Args:
        task: that all descend on.
        sides: by name; their seeds are the race's.
        count: of seeds a side.
        lrs: "auto", one rate for all, or rates by side.
        target: loss that is raced to.
        level: chance to claim any difference where there is none.
        by_time: also compare the losses after equal time.

    Raises:
        InputError: too few sides or seeds.
        TaskError: too little validation data, or a side of which nobody ends.
    """
    if len(sides) < 2 or count < 2:
        raise InputError(
            f"a race of {len(sides)} sides with {count} seeds is given; expected are two sides at least, with 2 seeds "
            "(8 for the intervals to mean something)"
        )
    _check(task)
    seeded = {(name, k): dataclasses.replace(s, seed=k) for name, s in sides.items() for k in range(count)}
    steps, chosen = 0, {}
    for (name, k), settings in seeded.items():
        lr, taken = _rate(task, name, settings, lrs)
        chosen[name, k], steps = dataclasses.replace(settings, lr=lr), steps + taken
    members = _run(task, chosen)
    curves = [_curve(task, name, k, m) for (name, k), m in members.items()]
    paths = tuple(m.path(f"{name}, seed {k}") for (name, k), m in members.items() if m.points)
    return dataclasses.replace(concluded(task, curves, target, level, by_time, steps), paths=paths)


def _check(task: Task) -> None:
    samples = None if task.validation is None else data.length(task.validation)
    if samples is not None and samples < FEWEST:
        raise TaskError(f"{samples} validation samples are given; a race is told from chance by {FEWEST} at least")


def _rate(task: Task, name: str, settings: Settings, lrs: str | float | Mapping[str, float]) -> tuple[float, int]:
    """A side's rate for a seed, and the steps it took to find it."""
    if isinstance(lrs, Mapping):
        if name not in lrs:
            raise InputError(f"lrs has rates for {', '.join(lrs)}; expected is one for '{name}' too, or lrs='auto'")
        return float(lrs[name]), 0
    if isinstance(lrs, str) and lrs != "auto":
        raise InputError(f"lrs={lrs!r} is given; expected is 'auto', one rate for all, or rates by side")
    if not isinstance(lrs, str):
        return float(lrs), 0
    other = seeds.mix(settings.seed, "search") % (1 << 31)
    found = run_search(task.apart(HELD_OUT, other), dataclasses.replace(settings, seed=other))
    return found.best, found.steps


def _run(task: Task, chosen: Mapping[tuple[str, int], Settings]) -> dict[tuple[str, int], Member]:
    """Every side is measured as often, whatever its steps are."""
    done: dict[tuple[str, int], Member] = {}
    for side in dict.fromkeys(name for name, _ in chosen):
        mine = {key: s for key, s in chosen.items() if key[0] == side}
        steps = _steps(task, next(iter(mine.values())))
        plan = Plan(measure=max(1, steps // MEASURED), points=_points(task, len(chosen)))
        done |= dict(zip(mine, run_descents(task, list(mine.values()), plan).members, strict=True))
    return done


def _points(task: Task, members: int) -> int:
    """Points of each member's path: as many as fit, and none of a large model's."""
    fitting = PATH_BYTES // (4 * members * sum(p.numel() for p in task.copy(0).parameters()))
    return min(POINTS, fitting) if fitting >= FEWEST_POINTS else 0


def _steps(task: Task, settings: Settings) -> int:
    return horizon(_batches(task, settings).steps_per_epoch, settings)[1]


def _batches(task: Task, settings: Settings) -> Batches:
    return Batches(task.data, settings.batch_size, settings.seed, accumulate=settings.accumulate)


def _curve(task: Task, side: str, seed: int, member: Member) -> Curve:
    ts = sorted(member.measured)
    name = next(iter(task.metrics), None)
    loss = np.array([member.measured[t]["loss"] for t in ts])
    metric = np.array([member.measured[t].get(name, math.nan) for t in ts] if name else [])
    lr = member.settings.lr
    assert lr is not None
    step_s, batches = member.seconds / max(1, len(member.losses)), _batches(task, member.settings)
    batch = (batches.samples or math.nan) / (batches.steps_per_epoch or 1)
    return Curve(side, seed, lr, np.array(ts), loss, metric, step_s, member.failed, batch)


# -- What may be concluded ---------------------------------------------------------------------------------------------


def concluded(
    task: Task, curves: Sequence[Curve], target: float | None = None, level: float = 0.05, by_time: bool = False,
    search_steps: int = 0,
) -> RaceResult:  # fmt: skip
    """The comparison of all sides by these curves."""
    sides = {side: [c for c in curves if c.side == side] for side in dict.fromkeys(c.side for c in curves)}
    medians = {side: statistics.median(c.final for c in mine) for side, mine in sides.items()}
    if not any(map(math.isfinite, medians.values())):
        raise TaskError("of no side half of the runs end: their losses are not finite; race with smaller rates")
    derived = target is None
    if target is None:
        target = max(m for m in medians.values() if math.isfinite(m))
    metric = next(iter(task.metrics), "")
    found = _compared(sides, target, metric, task, level, by_time)
    return RaceResult(
        tuple(sides), tuple(curves), target, derived, tuple(d.sentence for d in found), _verdict(found), metric,
        search_steps,
    )  # fmt: skip


def _compared(
    sides: Mapping[str, list[Curve]], target: float, metric: str, task: Task, level: float, by_time: bool
) -> list[Difference]:
    """Each quantity has an equal share of the level, so that of all claims together few are false."""
    values: list[tuple[str, dict[str, list[float]], str]] = []
    if not by_time:  # a step of another batch size is another thing
        values.append(("steps to target", {s: [c.reached(target) for c in mine] for s, mine in sides.items()}, "lower"))
    values.append(("loss at the end", {s: [c.final for c in mine] for s, mine in sides.items()}, "lower"))
    if by_time:
        values.append(("loss after equal time", _after_equal_time(sides), "lower"))
    if metric:
        worst = -math.inf if task.metrics[metric].better == "higher" else math.inf
        last = {s: [float(c.metric[-1]) if not c.failed else worst for c in mine] for s, mine in sides.items()}
        values.append((f"{metric} at the end", last, task.metrics[metric].better))
    found = []
    for quantity, by_side, better in values:
        positive = all(v > 0 for v in (x for mine in by_side.values() for x in mine) if math.isfinite(v))
        scale = "log" if positive and not (metric and quantity.startswith(metric)) else "linear"
        found += differences(quantity, by_side, scale=scale, better=better, level=level / len(values))  # type: ignore[arg-type]
    return found


def _after_equal_time(sides: Mapping[str, list[Curve]]) -> dict[str, list[float]]:
    """Each run's last loss within the time that the quickest side takes in all."""
    budget = min(statistics.median(float(c.t[-1]) * c.step_s for c in mine) for mine in sides.values())
    found: dict[str, list[float]] = {}
    for side, mine in sides.items():
        found[side] = []
        for c in mine:
            within = np.flatnonzero(c.t * c.step_s <= budget * (1 + 1e-9))
            found[side].append(float(c.loss[within[-1]]) if len(within) and not c.failed else math.inf)
    return found


def _verdict(found: Sequence[Difference]) -> str:
    claimed = [d for d in found if d.claimed]
    if not claimed:
        return "No difference seen in " + " or ".join(dict.fromkeys(d.quantity for d in found)) + "."
    rest = [d for d in found if not d.claimed]
    words = "; ".join(d.sentence for d in claimed) + "."
    if rest:
        words += " No difference seen in " + ", ".join(f"{d.quantity} of {d.one} and {d.other}" for d in rest) + "."
    return words


def describe(contest: RaceResult) -> dict[str, Any]:
    """A contest as JSON."""
    curves = [
        {**dataclasses.asdict(c), "t": c.t.tolist(), "loss": c.loss.tolist(), "metric": c.metric.tolist()}
        for c in contest.curves
    ]
    kept = (f.name for f in dataclasses.fields(contest) if f.name != "paths")
    return {**{name: getattr(contest, name) for name in kept}, "curves": curves}
