"""Many descents of one task, batched where that is possible and usually faster, else sequential.

Descents that differ only in learning rate, other hyperparameters, clipping and seed form a group. The strategy of each
group follows from the work of a step, which is counted, and the kind of its layers. Where batching is impossible, the
strategy says why, also where that shows only during the descent.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import nn
from torch.nn.modules.conv import _ConvNd

from steepest import seeds
from steepest.curvature.work import without_compiler
from steepest.descent.loop import Descent
from steepest.descent.optimizer import is_schedule
from steepest.descent.population.members import first_line, why_not_batched
from steepest.descent.population.population import Member, Plan, Population
from steepest.descent.population.work import CALL_WORK, step_work
from steepest.descent.settings import Settings
from steepest.errors import SteepestError
from steepest.rules.rule import Rule
from steepest.tasks import Task, data
from steepest.tasks.module_state import PlainAttributes

BATCHED, SEQUENTIAL = "together", "one after another"
MAX_DENSE_WORK, MAX_CONVOLUTION_WORK = 2.0, 6.0
"""Work of a step, in calls (`CALL_WORK`), up to which eight batched descents take less time than one after another. At
1.2 calls they took 0.4 to 0.7 of it, at 2.0 (dense) and 7.0 (convolutions) 0.7 to 1.1, from 4 on (dense) 1.2 to 2.1
(one core of a shared Intel Xeon, torch 2.13)."""
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
    """

    name: str
    reason: str
    size: int = 1


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
        strategy: BATCHED or SEQUENTIAL; None chooses by the work of a step.

    Raises:
        SteepestError: settings, model or data that cannot be used.
    """
    plan = plan or Plan()
    members: dict[int, Member] = {}
    strategies = []
    for obstacle, places in groups_of(task, settings):
        group = [settings[n] for n in places]
        choice, start = choose_strategy(task, group, plan, strategy, obstacle)
        try:
            own = run(task, group, plan, choice, start)
        except UnbatchableError as error:
            choice = unbatchable(error)
            own = run(task, group, plan, choice)
        members |= dict(zip(places, own, strict=True))
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


class UnbatchableError(Exception):
    """A step of many models at once failed, as it may where random numbers or data decide what a model does."""


def run(
    task: Task, settings: Sequence[Settings], plan: Plan, strategy: Strategy, start: Population | None = None
) -> list[Member]:
    """Runs a group of descents by its strategy.

    Args:
        task: that they train.
        settings: of the group.
        plan: what is recorded on the way.
        strategy: from `choose_strategy`.
        start: the first batch, before its first step.

    Raises:
        UnbatchableError: batched steps failed.
    """
    members = []
    for batch in batches_of(settings, strategy):
        members += run_batch(task, batch, plan, strategy.name, start)
        start = None
    return members


def batches_of(settings: Sequence[Settings], strategy: Strategy) -> list[Sequence[Settings]]:
    """The descents of a group in parts, each of which is run at once."""
    return [settings[lo : lo + strategy.size] for lo in range(0, len(settings), strategy.size)]


def run_batch(
    task: Task, settings: Sequence[Settings], plan: Plan, strategy: str, start: Population | None = None
) -> list[Member]:
    """Runs one part of a group: a population, or a single descent.

    What its members do follows from these arguments alone: the code of a model or of data may draw from Python's,
    numpy's and torch's own generators, which begin anew.

    Args:
        task: that they train.
        settings: of the part.
        plan: what is recorded on the way.
        strategy: BATCHED or SEQUENTIAL.
        start: the population, before its first step.

    Raises:
        UnbatchableError: batched steps failed.
    """
    with seeds.ours(settings[0].seed, "descents"):
        if strategy == SEQUENTIAL:
            return SequentialDescent(task, settings, plan).run()
        population = start or Population(task, settings, plan)
        try:
            return population.run()
        except SteepestError:
            raise
        except Exception as error:  # any error of torch or the model under vmap
            raise UnbatchableError(first_line(error)) from error


# -- The choice --------------------------------------------------------------------------------------------------------


def groups_of(task: Task, settings: Sequence[Settings]) -> list[tuple[str, list[int]]]:
    """The groups in which descents can be batched: (why they must run sequentially, or ""; their places)."""
    groups: dict[Any, list[int]] = {}
    for n, one in enumerate(settings):
        groups.setdefault(_group(task, one), []).append(n)
    return [(obstacle, places) for (obstacle, _), places in groups.items()]


def unbatchable(error: object) -> Strategy:
    """The strategy of a group whose batched steps failed."""
    return Strategy(SEQUENTIAL, f"torch.func cannot batch this model ({error})")


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
) -> tuple[Strategy, Population | None]:
    """The strategy of a group, and the first batch where it is batched.

    Args:
        task: that they train.
        settings: of the group.
        plan: what is recorded on the way.
        request: BATCHED or SEQUENTIAL; None chooses by the work of a step.
        obstacle: why the group must run sequentially; empty where it need not.
    """
    if reason := why_sequential(settings, request, obstacle):
        return Strategy(SEQUENTIAL, reason), None
    with seeds.ours(settings[0].seed, "strategy"):  # a model may draw from Python's or numpy's generators
        return _choose(task, settings, plan, request)


def _choose(
    task: Task, settings: Sequence[Settings], plan: Plan, request: str | None
) -> tuple[Strategy, Population | None]:
    first = Descent(task, settings[0], task.copy(settings[0].seed))
    if first.schedule.watches:
        return Strategy(SEQUENTIAL, "the schedule depends on the loss"), None
    if first.schedule.base is not None:
        return Strategy(SEQUENTIAL, "the schedule depends on the learning rate"), None
    reason = "requested"
    if request is None:
        is_small, reason = _compare_work(first)
        if not is_small:
            return Strategy(SEQUENTIAL, reason), None
    obstacle = why_not_batched(first.model, first.objective, first.space, first.batches(1), settings[0].seed)
    obstacle = obstacle or _why_starts_differ(task, settings, first.model)
    if obstacle:
        return unbatchable(obstacle), None
    population = Population(task, settings[: _max_batch(first)], plan)
    return Strategy(BATCHED, reason, len(population.members)), population


def why_sequential(settings: Sequence[Settings], request: str | None, obstacle: str) -> str:
    """Why a group is run sequentially, as far as that follows without its model; empty where it does not."""
    if len(settings) == 1 and not obstacle:
        return "there is only one run"
    return obstacle or ("requested" if request == SEQUENTIAL else "")


def _why_starts_differ(task: Task, settings: Sequence[Settings], model: nn.Module) -> str:
    """What models of different seeds have of their own besides weights and buffers, in words; empty for nothing."""
    seeds = dict.fromkeys(s.seed for s in settings[1:] if s.seed != settings[0].seed)
    if isinstance(task.model, nn.Module) or not seeds:
        return ""
    own = PlainAttributes.of(model, has_extra=True)
    others = (PlainAttributes.of(task.copy(seed), has_extra=True) for seed in seeds)
    names = next(filter(None, map(own.differences, others)), [])
    return f"models of different seeds differ in {', '.join(names[:3])}" if names else ""


def _compare_work(one: Descent) -> tuple[bool, str]:
    """Whether a step is small enough for batching to save time, and why, in words."""
    if one.device.type != "cpu":
        return True, "a step of one model leaves the device idle"
    has_convolution = any(isinstance(m, _ConvNd) for m in one.model.modules())
    limit = (MAX_CONVOLUTION_WORK if has_convolution else MAX_DENSE_WORK) * CALL_WORK
    work = step_work(one)
    size = f"({work:.1e} operations)"
    if work <= limit:
        return True, f"a step is small {size}"
    return False, f"a step is large {size}, so that batching saves nothing"


# -- Memory ------------------------------------------------------------------------------------------------------------


def _max_batch(one: Descent) -> int:
    """How many descents fit in memory: each has weights, gradient, slots, and what the backward pass saves."""
    weights = sum(p.nbytes for p in one.space.tensors())
    slots = sum(x.nbytes for by in getattr(one.update, "slots", {}).values() for x in by.values())
    sizes: dict[int, int] = {}

    def pack(x: torch.Tensor) -> torch.Tensor:
        if x.layout is torch.strided:
            sizes[x.data_ptr()] = x.nbytes
        else:
            sizes[id(x)] = _sparse_bytes(x)
        return x

    with without_compiler(), torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
        one.objective.gradient(one.batches(1)[:1], one.space.tensors())
    size = 3 * weights + slots + 2 * sum(sizes.values())
    return max(1, int(MEMORY_SHARE * free_memory(one.device) / max(1, size)))


def _sparse_bytes(x: torch.Tensor) -> int:
    """Of a sparse tensor's values and their places."""
    values = x._values() if x.layout is torch.sparse_coo else x.values()
    return values.nbytes + values.numel() * x.dim() * torch.int64.itemsize


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
