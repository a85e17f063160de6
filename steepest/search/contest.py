"""Races: contenders at their own best learning rates, over several seeds, and what may be concluded from them.

A contender is an update rule, or a batch size. Its learning rate is searched anew for each seed, from another start and
on data that is not used for scoring. Then all run, and are evaluated on the validation split at equal intervals. What
is compared, each with its share of the significance level: the steps to a target, the final validation loss, the final
value of the first metric; for batch sizes also the loss after equal time, in place of the steps.

The target, where none is given, is the highest of the contenders' median final losses, so that half of the runs of
every contender reach it.
"""

import dataclasses
import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from steepest import seeds
from steepest.descent.path import MIN_POINTS, PATH_BYTES
from steepest.descent.population.dispatch import run_descents
from steepest.descent.population.population import Member, Plan
from steepest.descent.population.remote import Job, run_jobs
from steepest.descent.settings import Settings, horizon
from steepest.distributed.cluster import Cluster, Report
from steepest.errors import InputError, TaskError
from steepest.records.search import Curve, RaceResult
from steepest.search.rungs import run_search
from steepest.search.statistics import RECOMMENDED_SEEDS, Difference
from steepest.search.statistics import differences as compare_groups
from steepest.tasks import data
from steepest.tasks.batches import Batches
from steepest.tasks.task import Task

SEARCH_SHARE = 0.2
"""Share of the training data by which learning rates are chosen."""
EVALUATIONS = 40
"""Evaluations of a run on the validation split."""
RACE_PATH_POINTS = 48
"""Recorded points of each run, where they fit."""
MIN_VALIDATION = 30
"""Validation samples that a race needs."""

Key = tuple[str, int]
"""A contender's name, and a seed."""


def run_race(
    task: Task,
    contenders: Mapping[str, Settings],
    seed_count: int,
    lr: str | float | Mapping[str, float],
    target: float | None = None,
    alpha: float = 0.05,
    by_time: bool = False,
    cluster: Cluster | None = None,
) -> RaceResult:
    """Runs every contender with each seed, and compares them.

    Args:
        task: that all train.
        contenders: settings by name; their seeds are replaced.
        seed_count: seeds of each contender.
        lr: "auto", one learning rate for all, or one by contender.
        target: validation loss to reach.
        alpha: probability of claiming any difference where there is none.
        by_time: also compare the losses after equal time.
        cluster: where all runs are run; None for this process.

    Raises:
        InputError: too few contenders or seeds.
        TaskError: too little validation data, or no contender of which half of the runs end.
    """
    if len(contenders) < 2 or seed_count < 2:
        counts = f"{len(contenders)} and {seed_count}"
        raise InputError(f"A race needs at least 2 contenders and 2 seeds (8 recommended), got {counts}")
    for metric in [*task.metrics][:1]:
        task.direction(metric)  # before anything is run
    samples = None if task.validation is None else data.length(task.validation)
    if samples is not None and samples < MIN_VALIDATION:
        raise TaskError(f"A race needs at least {MIN_VALIDATION} validation samples, got {samples}")
    settings = {
        (name, seed): dataclasses.replace(common, seed=seed, lr=_lr_of(name, common, lr))
        for name, common in contenders.items()
        for seed in range(seed_count)
    }
    search_steps = 0
    if lr == "auto":
        rates = _search_lrs(task, list(settings.values()), cluster)
        settings = {key: dataclasses.replace(s, lr=rate) for (key, s), (rate, _) in zip(settings.items(), rates)}
        search_steps = sum(steps for _, steps in rates)
    members = _run_on(cluster, task, settings, by_time) if cluster else run_contenders(task, settings)
    curves = [curve_of(task, name, seed, m) for (name, seed), m in members.items()]
    paths = tuple(m.path(f"{name}, seed {seed}") for (name, seed), m in members.items() if m.points)
    return dataclasses.replace(conclude(task, curves, target, alpha, by_time, search_steps), paths=paths)


def _lr_of(name: str, settings: Settings, lr: str | float | Mapping[str, float]) -> float | None:
    """A contender's learning rate; as its settings have it where it is to be searched."""
    if isinstance(lr, Mapping):
        if name not in lr:
            raise InputError(f"lr must have a value for every contender, got none for {name!r}. Add it, or use 'auto'.")
        return float(lr[name])
    if isinstance(lr, str) and lr != "auto":
        raise InputError(f"lr must be 'auto', a positive number, or numbers by contender, got {lr!r}")
    return settings.lr if isinstance(lr, str) else float(lr)


def _search_lrs(task: Task, settings: Sequence[Settings], cluster: Cluster | None) -> list[tuple[float, int]]:
    if cluster is None:
        return [search_lr(task, own) for own in settings]
    return cluster.run(_search_remotely, task, [(dataclasses.replace(own, device=cluster.device),) for own in settings])


def _search_remotely(task: Task, settings: Settings, report: Report) -> tuple[float, int]:
    return search_lr(task, settings)


def search_lr(task: Task, settings: Settings) -> tuple[float, int]:
    """The learning rate by a search with another seed, on data that is not used for scoring, and its steps."""
    seed = seeds.mix(settings.seed, "search") % (1 << 31)
    search = run_search(task.apart(SEARCH_SHARE, seed), dataclasses.replace(settings, seed=seed))
    return search.best, search.steps


def run_contenders(task: Task, settings: Mapping[Key, Settings]) -> dict[Key, Member]:
    """Runs all; every contender is evaluated as often, whatever its steps are."""
    members: dict[Key, Member] = {}
    for keys, job in _jobs(task, settings):
        members |= zip(keys, run_descents(task, job.settings, job.plan).members, strict=True)
    return members


def _jobs(task: Task, settings: Mapping[Key, Settings]) -> list[tuple[list[Key], Job]]:
    """Each contender's runs, and their keys."""
    size = 4 * len(settings) * sum(p.numel() for p in task.copy(0).parameters())
    points = min(RACE_PATH_POINTS, PATH_BYTES // size)
    jobs = []
    for name in dict.fromkeys(name for name, _ in settings):
        group = {key: s for key, s in settings.items() if key[0] == name}
        first = next(iter(group.values()))
        _, steps = horizon(_batches(task, first).steps_per_epoch, first)
        plan = Plan(max(1, steps // EVALUATIONS), points if points >= MIN_POINTS else 0)
        jobs.append(([*group], Job([*group.values()], plan)))
    return jobs


def _run_on(cluster: Cluster, task: Task, settings: Mapping[Key, Settings], by_time: bool) -> dict[Key, Member]:
    """The same on a cluster. Runs that are compared by time are all run on one node, one after another."""
    if by_time:
        own = {key: dataclasses.replace(s, device=cluster.device) for key, s in settings.items()}
        (members,) = cluster.run(_run_remotely, task, [(own,)])
        return members
    keys, jobs = zip(*_jobs(task, settings), strict=True)
    descents = run_jobs(cluster, task, jobs)
    return {key: member for own, result in zip(keys, descents) for key, member in zip(own, result.members, strict=True)}


def _run_remotely(task: Task, settings: Mapping[Key, Settings], report: Report) -> dict[Key, Member]:
    return run_contenders(task, settings)


def _batches(task: Task, settings: Settings) -> Batches:
    return Batches(task.data, settings.batch_size, settings.seed, accumulate=settings.accumulate)


def curve_of(task: Task, name: str, seed: int, member: Member) -> Curve:
    """The curve of one run.

    Args:
        task: that was trained.
        name: of the contender.
        seed: of the run.
        member: its record.
    """
    ts = sorted(member.measurements)
    metric = next(iter(task.metrics), None)
    losses = np.array([member.measurements[t]["loss"] for t in ts])
    values = np.array([member.measurements[t].get(metric, math.nan) for t in ts] if metric else [])
    lr = member.settings.lr
    assert lr is not None
    step_s, batches = member.seconds / max(1, len(member.losses)), _batches(task, member.settings)
    batch = (batches.samples or math.nan) / (batches.steps_per_epoch or 1)
    return Curve(name, seed, lr, np.array(ts), losses, values, step_s, member.failure, batch)


# -- Conclusions -------------------------------------------------------------------------------------------------------


def conclude(
    task: Task, curves: Sequence[Curve], target: float | None = None, alpha: float = 0.05, by_time: bool = False,
    search_steps: int = 0,
) -> RaceResult:  # fmt: skip
    """The comparison of all contenders by their curves; the arguments are those of `run_race`."""
    groups = {name: [c for c in curves if c.side == name] for name in dict.fromkeys(c.side for c in curves)}
    medians = [statistics.median(c.final for c in group) for group in groups.values()]
    if not any(map(math.isfinite, medians)):
        raise TaskError("More than half of the runs of every contender diverged. Race with lower learning rates.")
    goal = max(m for m in medians if math.isfinite(m)) if target is None else target
    metric = next(iter(task.metrics), "")
    claims = _compare(groups, goal, metric, task, alpha, by_time)
    return RaceResult(
        tuple(groups), tuple(curves), goal, target is None, tuple(f"{d.sentence}." for d in claims),
        _verdict(claims, min(map(len, groups.values()))), metric, search_steps,
    )  # fmt: skip


def _compare(
    groups: Mapping[str, list[Curve]], target: float, metric: str, task: Task, alpha: float, by_time: bool
) -> list[Difference]:
    """Differences in each quantity, which has an equal share of alpha, so that of all claims together few are false."""
    quantities: list[tuple[str, Callable[[Curve], float], str]] = []
    if not by_time:  # steps of different batch sizes cannot be compared
        quantities.append(("steps to target", lambda c: c.reached(target), "lower"))
    quantities.append(("final validation loss", lambda c: c.final, "lower"))
    if by_time:
        budget = min(statistics.median(float(c.t[-1]) * c.step_s for c in group) for group in groups.values())
        quantities.append(("validation loss after equal time", lambda c: loss_within(c, budget), "lower"))
    if metric:
        better = task.direction(metric)
        worst = -math.inf if better == "higher" else math.inf
        quantities.append((f"final {metric}", lambda c: worst if c.failed else float(c.metric[-1]), better))
    differences: list[Difference] = []
    for quantity, value, better in quantities:
        values = {name: [value(c) for c in group] for name, group in groups.items()}
        is_positive = all(x > 0 for group in values.values() for x in group if math.isfinite(x))
        scale = "log" if is_positive and quantity != f"final {metric}" else "linear"
        differences += compare_groups(quantity, values, scale=scale, better=better, level=alpha / len(quantities))  # type: ignore[arg-type]
    return differences


def loss_within(curve: Curve, seconds: float) -> float:
    """A run's last loss within a time; infinite where it has none."""
    within = np.flatnonzero(curve.t * curve.step_s <= seconds * (1 + 1e-9))
    return float(curve.loss[within[-1]]) if len(within) and not curve.failed else math.inf


def _verdict(differences: Sequence[Difference], seed_count: int) -> str:
    claims = " ".join(f"{d.sentence}." for d in differences if d.claimed)
    if claims:
        others = [f"{d.quantity} of {d.one} and {d.other}" for d in differences if not d.claimed]
        return f"{claims} No difference detected in {_join(others)}." if others else claims
    quantities = _join(list(dict.fromkeys(d.quantity for d in differences)))
    words = f"No difference detected in {quantities} ({seed_count} seeds each)."
    few = f" With so few seeds only large differences show; use {RECOMMENDED_SEEDS}."
    return words + few if seed_count < RECOMMENDED_SEEDS else words


def _join(parts: list[str]) -> str:
    """Parts with commas, and "or" before the last."""
    return " or ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)


def describe(result: RaceResult) -> dict[str, Any]:
    """A race's result as JSON, without the paths."""
    curves = [{k: v.tolist() if isinstance(v, np.ndarray) else v for k, v in vars(c).items()} for c in result.curves]
    return {name: value for name, value in vars(result).items() if name != "paths"} | {"curves": curves}
