"""The loop at K points: descents of one rule that differ in rate, in other hyperparameters, in seed.

for t = 1 … T:
    L, g  = points.gradient(batch)            # [K], [K, …]
    w     ← rule(w, scale · g; rates(t))      # hyperparameters [K]

A member whose loss is not finite three times in a row has failed: it leaves, touches no other, and costs nothing more.
"""

import copy
import functools
import math
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from steepest.descent.loop import EVALUATION_BATCH, Descent
from steepest.descent.optimizer import resolve_rule
from steepest.descent.population.members import Members
from steepest.descent.settings import Settings
from steepest.records.run import Path
from steepest.rules.update import Update
from steepest.seeds import StepRandomness
from steepest.tasks import data
from steepest.tasks.batches import Batches
from steepest.tasks.task import Task

WARM = 3
"""Steps after which it is known what a step takes."""
SPARED, TRACE_S, FIRST_TRACE_S = 0.4, 0.2, 1.2
"""Share of a step's time that a record of it spares; seconds that it takes to make one, and the first in a process."""
PATIENCE = 3
"""Losses in a row that are not finite, after which a member has failed."""


@dataclass
class Member:
    """How one of the descents went.

    Attributes:
        settings: its own.
        losses: of its steps, in order.
        failed: why it left before its end; empty where it did not.
        measured: on the validation split, by step: {"loss": ..., "accuracy": ...}.
        points: on the way, by step: the weights as one vector [N], float32.
        seconds: that it took, as a share of all that went with it.
    """

    settings: Settings
    losses: list[float] = field(default_factory=list)
    failed: str = ""
    measured: dict[int, dict[str, float]] = field(default_factory=dict)
    points: dict[int, np.ndarray] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def value(self) -> float:
        """The last validation loss; infinite where it failed or is not finite."""
        loss = self.measured[max(self.measured)]["loss"] if self.measured and not self.failed else math.inf
        return loss if math.isfinite(loss) else math.inf

    def path(self, name: str) -> Path:
        """Where it went, for a view."""
        ts = sorted(self.points)
        losses = [self.losses[min(t, len(self.losses) - 1)] for t in ts]
        return Path(name, np.array([self.points[t] for t in ts]), np.array(losses), np.array(ts, np.int64))

    def note(self, t: int, loss: float) -> bool:
        """One more step; False where it has failed with it."""
        self.losses.append(loss)
        if len(self.losses) >= PATIENCE and not any(map(math.isfinite, self.losses[-PATIENCE:])):
            self.failed = f"its loss was not finite from step {t - PATIENCE + 1} on"
        return not self.failed


@functools.lru_cache(maxsize=8)
def _spread(steps: int, count: int) -> frozenset[int]:
    """So many steps, evenly from 0 to the last."""
    return frozenset(np.linspace(0, steps, count).round().astype(int).tolist())


@dataclass(frozen=True)
class Plan:
    """What is looked at on the way.

    Attributes:
        measure: steps between measurements on the validation split; None for the end alone.
        points: that are kept of each member, evenly spaced, start and end among them; 0 for none.
        until: called with a member after each measurement; True ends it there.
        stepped: called with those that took a step, after each; they may have ended or failed with it.
    """

    measure: int | None = None
    points: int = 0
    until: Callable[[Member], bool] = lambda member: False
    stepped: Callable[[Sequence[Member]], None] = lambda members: None

    def is_measured(self, t: int, steps: int) -> bool:
        return t == steps or (self.measure is not None and t % self.measure == 0)

    def is_kept(self, t: int, steps: int) -> bool:
        return self.points > 1 and t in _spread(steps, self.points)


class Population:
    """K descents of one rule, step by step together.

    Attributes:
        members: how each goes, also those that have left.
        places: which of them are still there.
        t, steps: the last step done; of the whole descent.

    Args:
        task: that all descend on.
        settings: of each; alike in all but rate, hyperparameters, clipping and seed (`kind`).
        plan: what is looked at on the way.
    """

    def __init__(self, task: Task, settings: Sequence[Settings], plan: Plan) -> None:
        self.members, self.plan, self._task = [Member(s) for s in settings], plan, task
        first, seeds = settings[0], [s.seed for s in settings]
        models = {seed: task.copy(seed) for seed in dict.fromkeys(seeds)}
        self.reference = Descent(task, first, models[first.seed])  # checks everything, and measures
        self.steps, self.t = self.reference.steps, 0
        self.model, self.space, self.objective = (getattr(self.reference, n) for n in ("model", "space", "objective"))
        device = self.reference.device
        self._batches = {first.seed: self.reference.batches}
        for seed in models:
            if seed not in self._batches:
                self._batches[seed] = Batches(
                    task.data, first.batch_size, seed, accumulate=first.accumulate, augment=task.augment, device=device
                )
        self.points = Members([models[seed].to(device) for seed in seeds], self.objective, self.space)
        begins = [resolve_rule(s.stages.parts[0].rule, s.lr, s) for s in settings]
        self._update = Update(self.points, begins[0][0], members=len(settings))
        self.places = np.arange(len(settings))
        self._rates = np.array([rate for _, rate, _ in begins])
        self._hypers = {
            name: _array([hypers[name] for _, _, hypers in begins]) for name in begins[0][2] if name != "lr"
        }
        self._clips = np.array([math.inf if s.clip is None else s.clip for s in settings])
        self._guards = [copy.deepcopy(s.guard) for s in settings]
        self._random = StepRandomness(first.seed, device)
        self._step_s, self._consider = math.inf, WARM
        self.model.train()
        self._keep_points()

    def run(self) -> list[Member]:
        """All members, at their ends."""
        while self.t < self.steps and len(self.places):
            self.step()
            if self.t == self._consider:
                self._quicken()
        return self.members

    def _quicken(self) -> None:
        """Records the step as plain operations where that spares more time than it takes, and where it is faster."""
        known = "torch.fx.experimental.proxy_tensor" in sys.modules
        usual = self._step_s
        if SPARED * usual * (self.steps - self.t) < (TRACE_S if known else FIRST_TRACE_S):
            return
        batches, apart = self._given(self.t + 1)
        if len(batches) > 1 or not self.points.trace(batches, apart):
            return
        for _ in range(min(2, self.steps - self.t)):
            if len(self.places):
                self.step()
        if self._step_s > usual:
            self.points.untrace()

    def step(self) -> None:
        """One step of all that are there."""
        began = time.perf_counter()
        self.t += 1
        self._random.begin(self.t)
        try:
            batches, apart = self._given(self.t)
            losses = self.points.gradient(batches, apart)
        finally:
            self._random.end()
        norms = self._update.norm()
        rates = self._rates * self.reference.schedule(self.t)
        scale, leave = self._judged(losses, norms, rates)
        self.points.restore(scale == scale)
        self._update.advance({**self._hypers, "lr": rates}, scale)
        going = [m.note(self.t, loss) for m, loss in zip(self._there(), losses.tolist(), strict=True)]
        self._keep_points()
        self._step_s = time.perf_counter() - began
        self._spend(began)
        if self.plan.is_measured(self.t, self.steps):
            going = [g and not over for g, over in zip(going, self._measured(), strict=True)]
        self.plan.stepped(self._there())
        self._leave(np.array(going) & ~leave)

    def _there(self) -> list[Member]:
        return [self.members[k] for k in self.places]

    def _given(self, t: int) -> tuple[list[Any], bool]:
        """The micro-batches of a step, and whether members see different ones."""
        seeds = [m.settings.seed for m in self._there()]
        if len(set(seeds)) == 1:
            return self._batches[seeds[0]](t), False
        own = {seed: self._batches[seed](t) for seed in dict.fromkeys(seeds)}
        return [tuple(map(torch.stack, zip(*parts))) for parts in zip(*(own[s] for s in seeds), strict=True)], True

    def _judged(self, losses: np.ndarray, norms: np.ndarray, rates: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Factor of each gradient, NaN where the step is not taken, and who has to leave; rates that a guard lowers."""
        limits, leave = self._clips.copy(), np.zeros(len(losses), bool)
        taken = np.isfinite(norms)
        for k, (member, guard) in enumerate(zip(self._there(), self._guards, strict=True)):
            if guard is None:
                continue
            call = guard.judge(float(losses[k]), float(norms[k]), float(rates[k]))
            limits[k] = min(limits[k], call.limit)
            taken[k] &= call.kind not in ("skip", "rewind", "stop")
            rates[k] *= guard.rate
            if call.kind in ("rewind", "stop"):  # there are no snapshots of a member
                member.failed, leave[k] = call.seen, True
        with np.errstate(invalid="ignore"):
            scale = np.where(norms <= limits, 1.0, limits / (norms + 1e-6))
        return np.where(taken, scale, math.nan), leave

    def _keep_points(self) -> None:
        if self.plan.is_kept(self.t, self.steps):
            for k, member in enumerate(self._there()):
                member.points[self.t] = self.points.point(k).float().cpu().numpy()

    def _measured(self) -> list[bool]:
        """Measures all that are there, at the points that the rule reports; whether the plan ends each of them."""
        began = time.perf_counter()
        weights = self._update.reported({**self._hypers, "lr": self._rates * self.reference.schedule(self.t)})
        for k, member in enumerate(self._there()):
            self.points.put(k, self.model, weights)
            held = data.in_batches(self._task.validation, EVALUATION_BATCH, self.reference.device)
            member.measured[self.t] = self.objective.evaluate(held, self._task.metrics)
        self._spend(began)
        return [self.plan.until(member) for member in self._there()]

    def _spend(self, began: float) -> None:
        share = (time.perf_counter() - began) / max(1, len(self.places))
        for member in self._there():
            member.seconds += share

    def _leave(self, going: np.ndarray) -> None:
        """Goes on without those that have failed or are done."""
        if going.all():
            return
        stay = np.flatnonzero(going)
        self._consider = self.t + WARM
        self.places = self.places[stay]
        if not len(stay):
            return
        self._guards = [self._guards[k] for k in stay]
        self._rates, self._clips = self._rates[stay], self._clips[stay]
        self._hypers = {n: h[stay] if isinstance(h, np.ndarray) else h for n, h in self._hypers.items()}
        state = self._update.state()
        self.points.keep(stay)
        self._update = Update(self.points, self._update.rule, members=len(stay))
        self._update.load(_chosen(state, stay))


def _array(values: Sequence[Any]) -> Any:
    """One value where all are equal, else float64 [K]."""
    return values[0] if all(v == values[0] for v in values) else np.array(values, np.float64)


def _chosen(state: Mapping[str, Any], chosen: np.ndarray) -> dict[str, Any]:
    """An update's state for some of its members."""
    slots = {
        slot: {n: x[torch.from_numpy(chosen).to(x.device)] for n, x in by.items()}
        for slot, by in state["slots"].items()
    }
    return {"t": state["t"][chosen], "scalars": [[s[chosen] for s in row] for row in state["scalars"]], "slots": slots}
