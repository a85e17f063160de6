"""Many descents of one task on a cluster, packed as `run_descents` packs them in one process.

What goes to a node is one population, or one descent where these run one after another. The packing follows from task
and settings, not from the number of nodes, so that rounding and dropout masks, which depend on it, are those of one
process.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from steepest.descent.population.dispatch import (
    SEQUENTIAL,
    Descents,
    Strategy,
    UnbatchableError,
    batches_of,
    choose_strategy,
    groups_of,
    run_batch,
    unbatchable,
    why_sequential,
)
from steepest.descent.population.population import Member, Plan
from steepest.descent.settings import Settings
from steepest.distributed.cluster import Cluster, Report
from steepest.tasks import Task

OnMembers = Callable[[int, Sequence[Member]], None]
"""Called with steps that members have taken since the last time, and with members that have ended."""


class Job(NamedTuple):
    """Descents of which the records are alike.

    Attributes:
        settings: of each.
        plan: what is recorded; its `on_step` is not called.
        strategy: BATCHED or SEQUENTIAL; None chooses by the work of a step.
    """

    settings: Sequence[Settings]
    plan: Plan
    strategy: str | None = None


@dataclass
class _Group:
    """Descents that can be batched with one another: those at `places` of a job, and what becomes of them."""

    job: Job
    places: list[int]
    obstacle: str
    strategy: Strategy = field(default_factory=lambda: Strategy(SEQUENTIAL, ""))
    members: list[Member] = field(default_factory=list)

    @property
    def settings(self) -> list[Settings]:
        return [self.job.settings[n] for n in self.places]


def run_jobs(
    cluster: Cluster, task: Task, jobs: Sequence[Job], on_members: OnMembers = lambda steps, members: None
) -> list[Descents]:
    """Runs all descents of all jobs on a cluster; each begins at the task's start.

    Args:
        cluster: where.
        task: that they train.
        jobs: the descents.
        on_members: called when descents report steps, or end.

    Returns:
        What `run_descents` returns for each job.

    Raises:
        SteepestError: settings, model or data that cannot be used, or cannot be sent.
    """
    groups = [[_Group(job, places, obstacle) for obstacle, places in groups_of(task, job.settings)] for job in jobs]
    every = [group for own in groups for group in own]
    _choose(cluster, task, every)
    again = _run(cluster, task, every, on_members)
    if again:
        _run(cluster, task, again, on_members)
    return [_descents(own) for own in groups]


def _descents(groups: Sequence[_Group]) -> Descents:
    """A job's descents, in the order of its settings."""
    by_place = {n: member for group in groups for n, member in zip(group.places, group.members, strict=True)}
    return Descents([by_place[n] for n in sorted(by_place)], [group.strategy for group in groups])


def _choose(cluster: Cluster, task: Task, groups: Sequence[_Group]) -> None:
    """Gives each group its strategy; a node finds it where that takes the model."""
    unclear = []
    for group in groups:
        reason = why_sequential(group.settings, group.job.strategy, group.obstacle)
        group.strategy = Strategy(SEQUENTIAL, reason)
        unclear += [] if reason else [group]
    questions = [(_on(cluster, group.settings), group.job.strategy) for group in unclear]
    for group, strategy in zip(unclear, cluster.run(_find_strategy, task, questions), strict=True):
        group.strategy = strategy


def _run(cluster: Cluster, task: Task, groups: Sequence[_Group], on_members: OnMembers) -> list[_Group]:
    """Runs the groups by their strategies; returns those whose batched steps failed, for another one."""
    batches = [(group, batch) for group in groups for batch in batches_of(group.settings, group.strategy)]
    calls = []
    for group, settings in batches:
        plan = group.job.plan
        calls.append((_on(cluster, settings), plan.interval, plan.points, group.strategy.name))

    def on_result(place: int, members: list[Member] | str) -> None:
        if not isinstance(members, str):
            for member, own in zip(members, batches[place][1], strict=True):
                member.settings = own
            on_members(0, members)

    results = cluster.run(_run_batch, task, calls, lambda steps: on_members(steps, ()), on_result)
    errors: dict[int, str] = {}
    for (group, _), members in zip(batches, results, strict=True):
        if isinstance(members, str):
            errors[id(group)] = members
        else:
            group.members += members
    again = [group for group in groups if id(group) in errors]
    for group in again:
        group.strategy, group.members = unbatchable(errors[id(group)]), []
    return again


def _on(cluster: Cluster, settings: Sequence[Settings]) -> list[Settings]:
    return [replace(own, device=cluster.device) for own in settings]


# -- On a node ---------------------------------------------------------------------------------------------------------


def _find_strategy(task: Task, settings: Sequence[Settings], request: str | None, report: Report) -> Strategy:
    return choose_strategy(task, settings, Plan(), request)[0]


def _run_batch(
    task: Task, settings: Sequence[Settings], interval: int | None, points: int, strategy: str, report: Report
) -> list[Member] | str:
    """The members of a batch, or why its steps failed as batched ones."""
    plan = Plan(interval, points, lambda members: report(len(members)))
    try:
        return run_batch(task, settings, plan, strategy)
    except UnbatchableError as error:
        return str(error)
