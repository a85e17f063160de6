"""The loop at K points: descents of one update rule that differ in learning rate, other hyperparameters or seed.

for t = 1 … T:
    L, g  = points.gradient(batch)            # [K], [K, …]
    w     ← rule(w, scale · g; rates(t))      # hyperparameters [K]

A member whose loss is not finite three times in a row has failed: it is removed, and the others go on unchanged.
"""

import copy
import functools
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from steepest.descent.loop import EVALUATION_BATCH, Descent
from steepest.descent.norm_statistics import NormStatistics
from steepest.descent.optimizer import resolve_rule
from steepest.descent.population.members import Members
from steepest.descent.settings import Settings, make_batches
from steepest.records.run import Path
from steepest.rules.update import Update
from steepest.seeds import StepRandomness
from steepest.tasks import Task, data

TRACE_AFTER = 3
"""Steps after which tracing is considered."""
MIN_TRACE_STEPS = 500
"""Steps that repay tracing, by which a step of 2.5 ms saves 1: a trace takes 0.2 s, the first one of a process 1.2."""
MAX_NON_FINITE = 3
"""Non-finite losses in a row after which a member has failed."""


@dataclass
class Member:
    """The record of one of the descents.

    Attributes:
        settings: of the descent.
        losses: of its steps, in order.
        failure: why it ended early; empty where it did not.
        measurements: on the validation split, by step: {"loss": ..., "accuracy": ...}.
        points: by step: the weights as one vector [N], float32.
        seconds: its share of the time that its batch took.
    """

    settings: Settings
    losses: list[float] = field(default_factory=list)
    failure: str = ""
    measurements: dict[int, dict[str, float]] = field(default_factory=dict)
    points: dict[int, np.ndarray] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def value(self) -> float:
        """The last validation loss; infinite where it failed or is not finite."""
        loss = self.measurements[max(self.measurements)]["loss"] if self.measurements and not self.failure else math.inf
        return loss if math.isfinite(loss) else math.inf

    def path(self, name: str) -> Path:
        """Its recorded points, for a view."""
        ts = sorted(self.points)
        losses = [self.losses[min(t, len(self.losses) - 1)] for t in ts]
        return Path(name, np.array([self.points[t] for t in ts]), np.array(losses), np.array(ts, np.int64))

    def add_step(self, t: int, loss: float) -> bool:
        """Records a step; returns whether the descent continues."""
        self.losses.append(loss)
        if len(self.losses) >= MAX_NON_FINITE and not any(map(math.isfinite, self.losses[-MAX_NON_FINITE:])):
            self.failure = f"non-finite loss from step {t - MAX_NON_FINITE + 1}"
        return not self.failure


@functools.lru_cache(maxsize=8)
def _spread(steps: int, count: int) -> frozenset[int]:
    """`count` steps, evenly spaced from 0 to the last."""
    return frozenset(np.linspace(0, steps, count).round().astype(int).tolist())


@dataclass(frozen=True)
class Plan:
    """What is recorded on the way.

    Attributes:
        interval: steps between measurements on the validation split; None measures only at the end.
        points: recorded of each member, evenly spaced, start and end included; 0 for none.
        on_step: called after each step with the members that took it; they may have ended or failed with it.
    """

    interval: int | None = None
    points: int = 0
    on_step: Callable[[Sequence[Member]], None] = lambda members: None

    def measures(self, t: int, steps: int) -> bool:
        """Whether the validation split is measured after step t."""
        return t == steps or (self.interval is not None and t % self.interval == 0)

    def records_point(self, t: int, steps: int) -> bool:
        """Whether the weights are recorded after step t."""
        return self.points > 1 and t in _spread(steps, self.points)


class Population:
    """K batched descents of one update rule.

    Attributes:
        members: the record of each, also of those that were removed.
        places: indices of the members that are still active.
        t, steps: steps taken; steps of the whole descent.

    Args:
        task: that all train.
        settings: of each; they may differ in learning rate, hyperparameters, clipping, guard and seed.
        plan: what is recorded on the way.
    """

    def __init__(self, task: Task, settings: Sequence[Settings], plan: Plan) -> None:
        self.members, self.plan, self._task = [Member(s) for s in settings], plan, task
        first, seeds = settings[0], [s.seed for s in settings]
        models = {seed: task.copy(seed) for seed in dict.fromkeys(seeds)}
        self.reference = Descent(task, first, models[first.seed])  # checks all settings, and evaluates
        self.steps, self.t = self.reference.steps, 0
        self.model, self.space, self.objective = (getattr(self.reference, n) for n in ("model", "space", "objective"))
        device = self.reference.device
        others = {seed: make_batches(task, first, seed, device) for seed in models if seed != first.seed}
        self._batches = {first.seed: self.reference.batches, **others}
        self.points = Members([models[seed].to(device) for seed in seeds], self.objective, self.space)
        rules = [resolve_rule(s.stages.parts[0].rule, s.lr, s) for s in settings]
        self._update = Update(self.points, rules[0][0], len(settings), self.steps)
        self.places = np.arange(len(settings))
        self._rates = np.array([rate for _, rate, _ in rules])
        self._hypers = {name: _array([hypers[name] for _, _, hypers in rules]) for name in rules[0][2] if name != "lr"}
        self._clips = np.array([math.inf if s.clip is None else s.clip for s in settings])
        self._guards = [copy.deepcopy(s.guard) for s in settings]
        self._random = StepRandomness(first.seed, device)
        self._statistics = [NormStatistics(task, s, self.model, device) for s in settings]
        self._trace_at = TRACE_AFTER
        self.model.train()
        self._record_points()

    def run(self) -> list[Member]:
        """Steps to the end; returns all members."""
        while self.t < self.steps and len(self.places):
            self.step()
            if self.t == self._trace_at:
                self._trace()
        return self.members

    def _trace(self) -> None:
        """Traces the step into plain operations where the steps that are left repay it."""
        if self.steps - self.t < MIN_TRACE_STEPS:
            return
        batches, per_member = self._batch(self.t + 1)
        if len(batches) == 1:
            self.points.trace(batches, per_member)

    def step(self) -> None:
        """One step of all active members."""
        start = time.perf_counter()
        self.t += 1
        with self._random.of_step(self.t):
            batches, per_member = self._batch(self.t)
            for k in self.places:
                self._statistics[k].see(batches)
            losses = self.points.gradient(batches, per_member)
        norms = self._update.norm()
        rates = self._rates * self.reference.schedule(self.t)
        scale, is_stopped = self._check_guards(losses, norms, rates)
        self.points.restore(scale == scale)
        self._update.advance({**self._hypers, "lr": rates}, scale)
        members = self._active()
        continues = [m.add_step(self.t, loss) for m, loss in zip(members, losses.tolist(), strict=True)]
        self._record_points()
        self._add_seconds(start)
        if self.plan.measures(self.t, self.steps):
            self._measure()
        self.plan.on_step(members)
        self._remove(~np.array(continues) | is_stopped)

    def _active(self) -> list[Member]:
        return [self.members[k] for k in self.places]

    def _batch(self, t: int) -> tuple[list[Any], bool]:
        """The micro-batches of a step, and whether they differ per member."""
        seeds = [m.settings.seed for m in self._active()]
        if len(set(seeds)) == 1:
            return self._batches[seeds[0]](t), False
        own = {seed: self._batches[seed](t) for seed in dict.fromkeys(seeds)}
        return [data.stack(parts) for parts in zip(*(own[s] for s in seeds), strict=True)], True

    def _check_guards(self, losses: np.ndarray, norms: np.ndarray, rates: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(factor of each gradient, NaN for a skipped step; which members are stopped); guards may lower `rates`."""
        limits, is_stopped = self._clips.copy(), np.zeros(len(losses), bool)
        accepts = np.isfinite(norms)
        for k, (member, guard) in enumerate(zip(self._active(), self._guards, strict=True)):
            if guard is None:
                continue
            call = guard.judge(float(losses[k]), float(norms[k]), float(rates[k]))
            limits[k] = min(limits[k], call.limit)
            accepts[k] &= call.kind not in ("skip", "rewind", "stop")
            rates[k] *= guard.rate
            if call.kind in ("rewind", "stop"):  # members have no snapshots to rewind to
                member.failure, is_stopped[k] = call.seen, True
        with np.errstate(invalid="ignore"):
            scale = np.where(norms <= limits, 1.0, limits / (norms + 1e-6))
        return np.where(accepts, scale, math.nan), is_stopped

    def _record_points(self) -> None:
        if self.plan.records_point(self.t, self.steps):
            for k, member in enumerate(self._active()):
                member.points[self.t] = self.points.point(k).float().cpu().numpy()

    def _measure(self) -> None:
        """Evaluates all active members on the validation split, at the points that the rule reports."""
        start = time.perf_counter()
        weights = self._update.reported_weights({**self._hypers, "lr": self._rates * self.reference.schedule(self.t)})
        for k, member in enumerate(self._active()):
            self.points.write_to(k, self.model, weights)
            if weights is not None:
                self._update_statistics(self.places[k])
            batches = data.in_batches(self._task.validation, EVALUATION_BATCH, self.reference.device)
            member.measurements[self.t] = self.objective.evaluate(batches, self._task.metrics)
        self._add_seconds(start)

    def _update_statistics(self, place: int) -> None:
        """Writes batch norm's statistics at the weights that a member's rule reports, as a single descent does."""
        random = StepRandomness(self.members[place].settings.seed, self.reference.device)
        self._statistics[place].update(
            SimpleNamespace(
                model=self.model, task=self._task, objective=self.objective, random=random, t=self.t, steps=self.steps
            )
        )

    def _add_seconds(self, start: float) -> None:
        share = (time.perf_counter() - start) / max(1, len(self.places))
        for member in self._active():
            member.seconds += share

    def _remove(self, ends: np.ndarray) -> None:
        """Removes the active members that have failed or were stopped."""
        if not ends.any():
            return
        stay = np.flatnonzero(~ends)
        self._trace_at = self.t + TRACE_AFTER
        self.places = self.places[stay]
        if not len(stay):
            return
        self._guards = [self._guards[k] for k in stay]
        self._rates, self._clips = self._rates[stay], self._clips[stay]
        self._hypers = {n: h[stay] if isinstance(h, np.ndarray) else h for n, h in self._hypers.items()}
        state = self._update.state()
        self.points.select(stay)
        self._update = Update(self.points, self._update.rule, len(stay), self.steps)
        self._update.load(_select_state(state, stay))


def _array(values: Sequence[Any]) -> Any:
    """One value where all are equal, else float64 [K]."""
    return values[0] if all(v == values[0] for v in values) else np.array(values, np.float64)


def _select_state(state: Mapping[str, Any], places: np.ndarray) -> dict[str, Any]:
    """An update's state for some of its members."""
    slots = {
        slot: {n: x[torch.from_numpy(places).to(x.device)] for n, x in by.items()}
        for slot, by in state["slots"].items()
    }
    own = {"t": state["t"][places], "scalars": [[s[places] for s in row] for row in state["scalars"]], "slots": slots}
    if "clocks" in state:
        own["clocks"] = [{**c, "lag": np.broadcast_to(c["lag"], state["t"].shape)[places]} for c in state["clocks"]]
        own["clock_of"] = state["clock_of"]
    return own
