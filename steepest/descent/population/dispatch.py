"""Many descents of one task, batched where that is possible and faster, else sequential.

Descents that differ only in learning rate, other hyperparameters, clipping and seed form a group. The strategy of each
group is measured on a few steps of both. Where batching is impossible, the strategy says why.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import torch

from steepest.descent.loop import Descent
from steepest.descent.optimizer import is_schedule
from steepest.descent.population.members import why_not_batched
from steepest.descent.population.population import Member, Plan, Population
from steepest.descent.settings import Settings
from steepest.rules.rule import Rule
from steepest.tasks import Task, data

BATCHED, SEQUENTIAL = "together", "one after another"
SEQUENTIAL_STEPS = 4
"""Steps of one sequential descent that are timed, after one that is not."""
MORE_BATCHED_STEPS = 2
"""Batched steps that are timed after the first; none once batching has lost."""
MAX_TIMING_S = 0.2
"""Seconds after which no further sequential step is timed."""
COLD_S, COLD_WEIGHT_S = 0.1, 30e-9
"""Seconds by which a first batched step may exceed the next ones; and for each weight, as its memory is new."""
FREE_SETTINGS = ("stages", "lr", "clip", "guard", "seed")
"""Settings in which the descents of a group may differ."""
MEMORY_SHARE = 0.5
"""Share of the free memory that a population may take."""


@dataclass(frozen=True)
class Strategy:
    """How a group of descents is run, and why.

    Attributes:
        name: BATCHED or SEQUENTIAL.
        reason: why, in words.
        size: descents in one batch.
        batched_s, sequential_s: measured seconds per step and descent; NaN where not measured.
    """

    name: str
    reason: str
    size: int = 1
    batched_s: float = math.nan
    sequential_s: float = math.nan


@dataclass(frozen=True)
class Descents:
    """Many finished descents.

    Attributes:
        members: in the order of their settings.
        strategies: of each group.
    """

    members: list[Member]
    strategies: list[Strategy]


def run_descents(
    task: Task, settings: Sequence[Settings], plan: Plan | None = None, *, strategy: str | None = None
) -> Descents:
    """Runs all descents, each from the task's start on a model of its own.

    Args:
        task: that they train.
        settings: of each.
        plan: what is recorded on the way.
        strategy: BATCHED or SEQUENTIAL; None measures which is faster.

    Raises:
        SteepestError: settings, model or data that cannot be used.
    """
    plan = plan or Plan()
    groups: dict[Any, list[int]] = {}
    for n, one in enumerate(settings):
        groups.setdefault(_group(task, one), []).append(n)
    members: dict[int, Member] = {}
    strategies = []
    for (obstacle, _), places in groups.items():
        group = [settings[n] for n in places]
        choice, start = choose_strategy(task, group, plan, strategy, obstacle)
        members |= dict(zip(places, run(task, group, plan, choice, start), strict=True))
        strategies.append(choice)
    return Descents([members[n] for n in range(len(settings))], strategies)


class SequentialDescent:
    """One descent on a model of its own.

    Attributes:
        descent: the descent.
        members: its one member.
        plan: what is recorded on the way.
    """

    def __init__(self, task: Task, settings: Sequence[Settings], plan: Plan) -> None:
        start, (own,) = time.perf_counter(), settings
        self.descent, self.members = Descent(task, own, task.copy(own.seed)), [Member(own)]
        self.plan, self._continues = plan, True
        self.descent.model.train()
        self._record_point()
        self.members[0].seconds = time.perf_counter() - start

    @property
    def t(self) -> int:
        """Steps taken."""
        return len(self.members[0].losses)

    def step(self) -> float:
        """Takes and records a step; returns the seconds of the step alone."""
        start = time.perf_counter()
        step = self.descent.step()
        seconds = time.perf_counter() - start
        (member,) = self.members
        if step.t == self.descent.t:  # else the guard has rewound
            self._continues = member.add_step(step.t, step.loss)
            self._record_point()
            if self.plan.measures(step.t, self.descent.steps):
                member.measurements[step.t] = self.descent.measure()
            self.plan.on_step(self.members)
        member.seconds += time.perf_counter() - start
        return seconds

    def run(self) -> list[Member]:
        """Steps to the end, or to the failure."""
        descent = self.descent
        while self._continues and descent.t < descent.steps and not descent.is_stopped:
            self.step()
        if descent.is_stopped:
            self.members[0].failure = "stopped by the guard"
        return self.members

    def _record_point(self) -> None:
        descent = self.descent
        if self.plan.records_point(descent.t, descent.steps):
            self.members[0].points[descent.t] = descent.space.gather().float().cpu().numpy()


Runner = Population | SequentialDescent


def run(
    task: Task, settings: Sequence[Settings], plan: Plan, strategy: Strategy, start: Runner | None = None
) -> list[Member]:
    """Runs a group of descents by its strategy.

    Args:
        task: that they train.
        settings: of the group.
        plan: what is recorded on the way.
        strategy: from `choose_strategy`.
        start: the first batch, or the first descent, where it was started to measure its speed; its steps count.
    """
    members = []
    for lo in range(0, len(settings), strategy.size):
        if start is None:
            batch = settings[lo : lo + strategy.size]
            runner = (Population if strategy.name == BATCHED else SequentialDescent)(task, batch, plan)
        else:
            runner, start, steps = start, None, start.t
            runner.plan = plan
            for _ in range(steps):
                plan.on_step(runner.members)
        members += runner.run()
    return members


# -- The choice --------------------------------------------------------------------------------------------------------


def _group(task: Task, settings: Settings) -> tuple[str, Any]:
    """(why a descent must run sequentially, or ""; what it has in common with those that it can be batched with)."""
    first, *later = settings.stages.parts
    rule = first.rule
    obstacle = ""
    if later:
        obstacle = "the update rule changes during the run"
    elif not isinstance(rule, Rule):
        obstacle = "the optimizer is a torch.optim.Optimizer"
    elif any(is_schedule(value) for value in rule.hypers.values()):
        obstacle = "a hyperparameter follows a schedule"
    common: list[Any] = [repr(getattr(settings, f.name)) for f in fields(settings) if f.name not in FREE_SETTINGS]
    if not (task.data is None or data.is_tensors(task.data)):
        common.append(settings.seed)  # batches of different seeds cannot be stacked
    return obstacle, (id(settings) if obstacle else (rule.program.text, rule.name, *common))  # type: ignore[union-attr]


def choose_strategy(
    task: Task, settings: Sequence[Settings], plan: Plan, request: str | None, obstacle: str = ""
) -> tuple[Strategy, Runner | None]:
    """The strategy of a group, and what was started to measure it.

    Args:
        task: that they train.
        settings: of the group.
        plan: what is recorded on the way.
        request: BATCHED or SEQUENTIAL; None measures which is faster.
        obstacle: why the group must run sequentially; empty where it need not.
    """
    if obstacle or request == SEQUENTIAL or len(settings) == 1:
        reason = obstacle or ("there is only one run" if len(settings) == 1 else "requested")
        return Strategy(SEQUENTIAL, reason), None
    first = Descent(task, settings[0], task.copy(settings[0].seed))
    if first.schedule.watches:
        return Strategy(SEQUENTIAL, "the schedule depends on the loss"), None
    if first.schedule.base is not None:
        return Strategy(SEQUENTIAL, "the schedule depends on the learning rate"), None
    obstacle = why_not_batched(first.model, first.objective, first.space, first.batches(1), settings[0].seed)
    if obstacle:
        return Strategy(SEQUENTIAL, f"torch.func cannot batch this model ({obstacle})"), None
    silent = replace(plan, on_step=lambda members: None)  # only the steps of the chosen one are reported
    population = Population(task, settings[: _max_batch(first)], silent)
    if request == BATCHED:
        return Strategy(BATCHED, "requested", len(population.members)), population
    one = SequentialDescent(task, settings[:1], silent)
    strategy = _compare_speed(population, one)
    return strategy, population if strategy.name == BATCHED else one


def _compare_speed(population: Population, one: SequentialDescent) -> Strategy:
    """The faster one, by a few steps of both."""
    times: list[float] = []
    while len(times) < min(1 + SEQUENTIAL_STEPS, one.descent.steps) and (len(times) < 3 or sum(times) < MAX_TIMING_S):
        times.append(one.step())
    sequential_s, size = min(times), len(population.members)
    batched_s = _seconds(population.step) / size
    least_s = batched_s - COLD_S / size - COLD_WEIGHT_S * population.space.size
    for _ in range(min(MORE_BATCHED_STEPS, population.steps - 1)):
        if least_s > sequential_s or not len(population.places):
            break
        least_s = _seconds(population.step) / size
        batched_s = min(batched_s, least_s)
    is_batched = batched_s <= sequential_s
    words = "batching was faster" if is_batched else "batching was not faster"
    reason = f"{words} ({1e6 * batched_s:,.0f} vs {1e6 * sequential_s:,.0f} µs per step and run)"
    return Strategy(BATCHED if is_batched else SEQUENTIAL, reason, size if is_batched else 1, batched_s, sequential_s)


def _seconds(step: Callable[[], Any]) -> float:
    start = time.perf_counter()
    step()
    return time.perf_counter() - start


# -- Memory ------------------------------------------------------------------------------------------------------------


def _max_batch(one: Descent) -> int:
    """How many descents fit in memory: each has weights, gradient, slots, and what the backward pass saves."""
    weights = sum(p.nbytes for p in one.space.tensors())
    slots = sum(x.nbytes for by in getattr(one.update, "slots", {}).values() for x in by.values())
    sizes: dict[int, int] = {}

    def pack(x: torch.Tensor) -> torch.Tensor:
        sizes[x.data_ptr()] = x.nbytes
        return x

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
        one.objective.gradient(one.batches(1)[:1], one.space.tensors())
    size = 3 * weights + slots + 2 * sum(sizes.values())
    return max(1, int(MEMORY_SHARE * free_memory(one.device) / max(1, size)))


def free_memory(device: torch.device) -> int:
    """Free bytes of a device; for the CPU, what the kernel reports as available."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    try:
        with open("/proc/meminfo", encoding="utf-8") as file:
            sizes = dict(line.split(":", 1) for line in file)
        return int(sizes["MemAvailable"].split()[0]) << 10
    except (OSError, KeyError):
        return 4 << 30
