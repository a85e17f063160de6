"""Many descents of one task: those that can, go together as a population where that is faster; the others alone.

Which way is faster is measured on a few steps of both, for each kind: members of one kind are alike in all but rate,
other hyperparameters, clipping and seed. What cannot go together is said, with the reason.
"""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import torch

from steepest.descent.loop import Descent
from steepest.descent.optimizer import is_schedule
from steepest.descent.population.members import why_not_batched
from steepest.descent.population.population import Member, Plan, Population
from steepest.descent.settings import Settings
from steepest.records.run import Step
from steepest.rules.rule import Rule
from steepest.tasks import data
from steepest.tasks.task import Task

BATCHED, SEQUENTIAL = "together", "one after another"
TIMED = 4
"""Steps of one descent that are timed, after one that is not."""
AGAIN = 2
"""Steps of all members that are timed, after the first; none after one that has lost."""
ENOUGH_S = 0.2
"""Seconds of timing that tell enough."""
COLD_S, COLD_WEIGHT_S = 0.1, 30e-9
"""Seconds that a first step of all members may take more than the next ones; and for each weight: its memory is new."""
OWN = ("stages", "lr", "clip", "guard", "seed")
"""In what members of one kind may differ."""
MEMORY_SHARE = 0.5
"""Of the memory that is free, for a population."""


@dataclass
class Way:
    """How the members of a kind went, and why.

    Attributes:
        name: "together" or "one after another".
        why: in words.
        members: how many at once.
        together_s, alone_s: a step of one member, as measured; NaN where it was not.
    """

    name: str
    why: str
    members: int
    together_s: float = math.nan
    alone_s: float = math.nan


@dataclass(frozen=True)
class Descents:
    """Many descents, done.

    Attributes:
        members: in the order of their settings.
        ways: how each kind went.
    """

    members: list[Member]
    ways: list[Way]


def run_descents(
    task: Task, settings: Sequence[Settings], plan: Plan | None = None, *, way: str | None = None
) -> Descents:
    """All descents, each from the task's start on a model of its own.

    Args:
        task: that they descend on.
        settings: of each.
        plan: what is looked at on the way.
        way: "together" or "one after another"; None measures which is faster.

    Raises:
        SteepestError: settings, model or data that cannot be used.
    """
    plan = plan or Plan()
    kinds: dict[Any, list[int]] = {}
    for n, one in enumerate(settings):
        kinds.setdefault(_kind(task, one), []).append(n)
    done: dict[int, Member] = {}
    ways = []
    for kind, places in kinds.items():
        mine = [settings[n] for n in places]
        found, how = _alike(task, mine, plan, way, kind[0])
        done |= dict(zip(places, found, strict=True))
        ways.append(how)
    return Descents([done[n] for n in range(len(settings))], ways)


class Alone:
    """One descent on a model of its own.

    Attributes:
        descent, member: it, and what is known of it.
        plan: what is looked at on the way.
    """

    def __init__(self, task: Task, settings: Settings, plan: Plan) -> None:
        began = time.perf_counter()
        self.descent, self.member = Descent(task, settings, task.copy(settings.seed)), Member(settings)
        self.plan, self._goes_on = plan, True
        self.descent.model.train()
        self._keep_point()
        self.member.seconds = time.perf_counter() - began

    def step(self) -> float:
        """A step, and what is looked at after it; the seconds of the step by itself."""
        began = time.perf_counter()
        step = self.descent.step()
        took = time.perf_counter() - began
        if step.t == self.descent.t:  # else it has gone back
            self._note(step)
        self.member.seconds += time.perf_counter() - began
        return took

    def run(self) -> Member:
        """To its end, or its failure."""
        descent = self.descent
        while self._goes_on and descent.t < descent.steps and not descent.is_stopped:
            self.step()
        if descent.is_stopped:
            self.member.failed = "the guard has given it up"
        return self.member

    def _note(self, step: Step) -> None:
        descent, member, plan = self.descent, self.member, self.plan
        self._goes_on = member.note(step.t, step.loss)
        self._keep_point()
        if plan.is_measured(step.t, descent.steps):
            member.measured[step.t] = descent.measure()
            self._goes_on = self._goes_on and not plan.until(member)
        plan.stepped((member,))

    def _keep_point(self) -> None:
        descent = self.descent
        if self.plan.is_kept(descent.t, descent.steps):
            self.member.points[descent.t] = descent.space.gather().float().cpu().numpy()


# -- Which way ---------------------------------------------------------------------------------------------------------


def _kind(task: Task, settings: Settings) -> tuple[str, Any]:
    """(why it goes alone, or ""; what those that go together have in common)."""
    first, *later = settings.stages.parts
    rule = first.rule
    why = ""
    if later:
        why = "its rule changes on the way"
    elif not isinstance(rule, Rule):
        why = "its optimizer is torch's"
    elif any(is_schedule(value) for value in rule.hypers.values()):
        why = "a hyperparameter follows a schedule"
    common: list[Any] = [repr(getattr(settings, f.name)) for f in fields(settings) if f.name not in OWN]
    if not (task.data is None or data.is_tensors(task.data)):
        common.append(settings.seed)  # its batches cannot be laid beside others
    return why, (id(settings) if why else (rule.program.text, rule.name, *common))  # type: ignore[union-attr]


def _alike(
    task: Task, settings: list[Settings], plan: Plan, way: str | None, why: str
) -> tuple[list[Member], Way]:  # fmt: skip
    """The descents of one kind, and how they went."""

    def alone(among: Sequence[Settings]) -> list[Member]:
        return [Alone(task, s, plan).run() for s in among]

    if way == SEQUENTIAL or why or len(settings) == 1:
        said = why or ("there is one of its kind" if len(settings) == 1 else "as asked")
        return alone(settings), Way(SEQUENTIAL, said, 1)
    first = Descent(task, settings[0], task.copy(settings[0].seed))
    if first.schedule.watches:
        return alone(settings), Way(SEQUENTIAL, "its schedule looks at the loss", 1)
    why = why_not_batched(first.model, first.objective, first.space, first.batches(1), settings[0].seed)
    if why:
        return alone(settings), Way(SEQUENTIAL, f"torch.func cannot batch this model ({why})", 1)
    room = _room(first)
    parts = [settings[lo : lo + room] for lo in range(0, len(settings), room)]
    tried = replace(plan, stepped=lambda members: None)  # of two ways that are tried, the steps of one count
    population = Population(task, parts[0], tried)
    how = Way(BATCHED, "as asked", len(parts[0]))
    if way != BATCHED:
        one = Alone(task, settings[0], tried)
        how = _timed(population, one)
        if how.name == SEQUENTIAL:
            one.plan = plan
            for _ in range(len(one.member.losses)):
                plan.stepped((one.member,))
            return [one.run(), *alone(settings[1:])], how
    population.plan = plan
    for _ in range(population.t):
        plan.stepped(population.members)
    found = population.run()
    for part in parts[1:]:
        found += Population(task, part, plan).run()
    return found, how


def _timed(population: Population, one: Alone) -> Way:
    """Takes a few steps of both; those of the way that is chosen count."""
    taken: list[float] = []
    while len(taken) < min(1 + TIMED, one.descent.steps) and (len(taken) < 3 or sum(taken) < ENOUGH_S):
        taken.append(one.step())
    alone_s, members = min(taken), len(population.members)
    together_s = _seconds(population.step) / members
    least = together_s - COLD_S / members - COLD_WEIGHT_S * population.space.size
    for _ in range(min(AGAIN, population.steps - 1)):
        if least > alone_s or not len(population.places):
            break
        least = _seconds(population.step) / members
        together_s = min(together_s, least)
    name = BATCHED if together_s <= alone_s else SEQUENTIAL
    why = f"a step takes {1e6 * together_s:.0f} µs a member together and {1e6 * alone_s:.0f} µs alone"
    return Way(name, why, members if name == BATCHED else 1, together_s, alone_s)


def _seconds(step: Any) -> float:
    began = time.perf_counter()
    step()
    return time.perf_counter() - began


# -- Memory ------------------------------------------------------------------------------------------------------------


def _room(one: Descent) -> int:
    """How many members fit: each has weights, gradient, slots, and what the backward pass needs of its batch."""
    weights = sum(p.nbytes for p in one.space.tensors())
    slots = sum(x.nbytes for by in getattr(one.update, "slots", {}).values() for x in by.values())
    kept: dict[int, int] = {}

    def keep(x: torch.Tensor) -> torch.Tensor:
        kept[x.data_ptr()] = x.nbytes
        return x

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
        one.objective.gradient(one.batches(1)[:1], one.space.tensors())
    member = 3 * weights + slots + 2 * sum(kept.values())
    return max(1, int(MEMORY_SHARE * free_memory(one.device) / max(1, member)))


def free_memory(device: torch.device) -> int:
    """Bytes that are free on a device; of the processor's, those that the kernel says can be had."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    try:
        with open("/proc/meminfo") as file:
            found: Mapping[str, str] = dict(line.split(":", 1) for line in file)
        return int(found["MemAvailable"].split()[0]) << 10
    except (OSError, KeyError):
        return 4 << 30
