"""The learning rate by measurement: two rungs of short runs, each with its own warmup and decay.

1. Half decades around the rule's usual rate, for 5 % of the run; widened while the best is at an end, and again for
   twice as long while nobody has gained 2 % of the loss: then nothing has begun that could be told apart.
2. The best of these and four quarter decades below it, for 20 %; widened downwards while the lowest is best.

The choice is the second rung's best ÷ 1.8: short runs prefer rates that are too large for a long one. All start at one
point and see the same batches. A rate fails where its loss is not finite, or keeps less than half of the best's gain:
a network that has died sits just below the loss it began at.
"""

import dataclasses
import math
import time
from collections.abc import Callable, Sequence

from steepest.descent.loop import Descent
from steepest.descent.population.dispatch import run_descents
from steepest.descent.population.population import Member, Plan
from steepest.descent.settings import DEFAULT_SCHEDULE, Settings
from steepest.errors import InputError, ScheduleError, SearchInterrupt, TaskError
from steepest.records.search import FAILED, TOO_LARGE, TOO_SMALL, WORKS, Search, SearchProgress, Trial
from steepest.schedule import Schedule, as_schedule
from steepest.tasks.task import Task

TIMED = 4
"""Steps by which the time of a run is told."""
LONG_RUN_S, LONG_RUN_SHARE = 600.0, 0.15
"""A run that takes longer than this has a search that takes at most this share of it."""


def looked_at(task: Task, settings: Settings) -> tuple[int, float, float, float]:
    """(steps of the run, validation loss at the start, the rule's usual rate, seconds of a step)."""
    usual = dataclasses.replace(settings, lr=None, guard=None)
    descent = Descent(task, usual, task.copy(settings.seed))
    rate = descent.base_lr
    start = descent.measure()["loss"]
    if not math.isfinite(start):
        raise TaskError(f"the validation loss at the start is {start}; a rate can be found where it is finite")
    descent.model.train()
    step_s = math.inf
    for _ in range(min(TIMED, descent.steps)):
        began = time.perf_counter()
        descent.step()
        step_s = min(step_s, time.perf_counter() - began)
    return descent.steps, start, rate, step_s


def allowed(budget: int | str | None, run_steps: int, step_s: float) -> float:
    """Steps that a search may take in all."""
    if budget is None:
        return math.inf if run_steps * step_s <= LONG_RUN_S else LONG_RUN_SHARE * run_steps
    try:
        given = float(budget.removesuffix("s").strip()) / step_s if isinstance(budget, str) else float(budget)
    except (ValueError, TypeError):
        given = math.nan
    if not given >= 1:
        raise InputError(f"budget={budget!r} is given; expected is a number of steps, or seconds such as '60 s'")
    return given


SHORT, LONG = 0.05, 0.2
"""Lengths of the rungs, as shares of the run."""
LEAST = 20
"""Steps of a short run, where the run itself has as many."""
HALF, QUARTER = 10**0.5, 10**0.25
BELOW, ABOVE, LOWER = 2, 4, 4
"""Half decades around the usual rate; quarter decades below the first rung's best."""
DIVISOR = 1.8
KEPT, GOOD = 0.5, 0.9
"""Shares of the best's gain: with less a rate has failed, with so much it works."""
BEGUN = 0.02
"""Share of the loss at the start that the best must have gained for a rung to tell anything."""
WIDER = 8
"""Times that a rung is widened at most."""
POINTS = 12
"""Of each member's path that are kept, where the model is small."""
SMALL = 1 << 20
"""Weights of a model whose members' paths are kept."""

Wider = Callable[[dict[float, Member]], list[float]]
Watch = Callable[[SearchProgress], None]


def run_search(
    task: Task,
    settings: Settings,
    budget: int | str | None = None,
    between: tuple[float, float] | None = None,
    way: str | None = None,
    watch: Watch | None = None,
) -> Search:
    """The learning rate for a run with these settings.

    Args:
        task: that the run is to train.
        settings: of the run; its rate is not looked at.
        budget: steps in all (500), or seconds as text ("60 s"); None for what a run's length asks for.
        between: the least and the greatest rate to try; None for around the rule's usual one, widened where needed.
        way: "together" or "one after another"; None measures.
        watch: is told after every step how far it is.

    Raises:
        InputError: a range or budget that cannot be meant, or settings that have no one rate.
        TaskError: every rate failed.
        Interrupted: by Ctrl-C.
    """
    searching = _Searching(task, settings, budget, between, way, watch)
    try:
        return searching.run()
    except KeyboardInterrupt:
        raise searching.interrupted() from None


class _Searching:
    def __init__(
        self,
        task: Task,
        settings: Settings,
        budget: int | str | None,
        between: tuple[float, float] | None,
        way: str | None,
        watch: Watch | None,
    ) -> None:
        self.began, self.watch = time.perf_counter(), watch
        self.task, self.settings, self.between, self.way = task, settings, between, way
        if len(settings.stages.parts) > 1:
            raise InputError("a rate is searched for one rule at a time, and stages are given; search for each of them")
        self.rule = settings.rule_name
        self.run_steps, self.start, self.usual, step_s = looked_at(task, settings)
        self.allowed = allowed(budget, self.run_steps, step_s)
        self.steps, self.members = 0, dict[tuple[int, float], Member]()
        self.taken, self.expected, self.later = 0, 0, 0
        self.why = ""

    def run(self) -> Search:
        rates = self._grid()
        short, long = self._lengths(len(rates))
        self.later = (LOWER + 1) * long
        first = self._rung(rates, short, self._wider_both, reserve=(LOWER + 1) * short)
        if not self._winner(first):
            raise TaskError(
                f"every learning rate failed, down to {min(first):.3g} ({first[min(first)].failed or 'no gain'}): "
                "is there a mistake in the loss or the data? Else give between= with smaller rates"
            )
        short, first = self._begun(first, short)
        best, long = self._winner(first), max(short, long)
        if self.allowed < math.inf:
            long = min(long, int(self.allowed - self.steps) // (LOWER + 1))
        self.later = 0
        lower = [best / QUARTER**k for k in range(LOWER + 1)]
        second = self._rung([rate for rate in lower if self._is_between(rate)], long, self._wider_down)
        return self._told(self._winner(second) or min(second), short, long)

    # -- rungs ---------------------------------------------------------------------------------------------------------

    def _grid(self) -> list[float]:
        if self.between is None:
            return [self.usual * HALF**k for k in range(-BELOW, ABOVE + 1)]
        low, high = _checked(self.between)
        count = math.floor(math.log(high / low) / math.log(HALF) + 1e-9)
        if count < 1:
            raise InputError(
                f"between={self.between} leaves one rate to try; give a range of half a decade at least, such as "
                f"({low:.3g}, {low * 10:.3g})"
            )
        return [low * HALF**k for k in range(count + 1)]

    def _lengths(self, count: int) -> tuple[int, int]:
        """Steps of the runs of both rungs, as the budget allows."""
        usual = count * SHORT + (LOWER + 1) * LONG
        share = min(1.0, self.allowed / (usual * self.run_steps))
        least = min(LEAST, self.run_steps) if share == 1.0 else 2
        short, long = (max(least, int(part * share * self.run_steps + 1e-9)) for part in (SHORT, LONG))
        if count * short + (LOWER + 1) * long > self.allowed:
            raise InputError(
                f"a budget of {self.allowed:.0f} steps is given; a search takes at least {count + LOWER + 1} short "
                f"runs of 2 steps, and {usual * self.run_steps:.0f} steps to be as good as it can be"
            )
        return short, max(short, long)

    def _rung(self, rates: Sequence[float], steps: int, wider: Wider, reserve: int = 0) -> dict[float, Member]:
        """Short runs at these rates, and at more where the best is at an end; so many steps of the budget are left."""
        done: dict[float, Member] = {}
        for _ in range(WIDER):
            self._tried(rates, steps, done)
            rates = [rate for rate in wider(done) if self._is_between(rate)]
            if not rates or self.steps + len(rates) * steps + reserve > self.allowed:
                break
        return done

    def _begun(self, first: dict[float, Member], short: int) -> tuple[int, dict[float, Member]]:
        """The first rung, with the rates around its best, at lengths that double until somebody has begun to learn.

        Near a saddle the loss hardly falls at first, and a rate that looks too large there may be the best.
        """
        while self.start - first[self._winner(first)].value < BEGUN * abs(self.start):
            best, length = self._winner(first), 2 * short
            rates = [r for r in (best / HALF, best, best * HALF, best * HALF**2) if self._is_between(r)]
            reserve = (LOWER + 1) * length
            if 2 * length > self.run_steps or self.steps + len(rates) * length + reserve > self.allowed:
                break
            again = self._rung(rates, length, self._wider_both, reserve)
            if not self._winner(again):
                break
            short, first = length, again
        return short, first

    def _tried(self, rates: Sequence[float], steps: int, done: dict[float, Member]) -> None:
        self.expected = self.taken + len(rates) * steps + self.later
        each = [self._short(rate, steps) for rate in rates]
        plan = Plan(points=points_of(self.task), stepped=lambda members: self._stepped(members, steps))
        found = run_descents(self.task, each, plan, way=self.way)
        self.way, self.why = self.way or found.ways[0].name, self.why or found.ways[0].why
        for rate, member in zip(rates, found.members, strict=True):
            done[rate] = self.members[steps, rate] = member
            self.steps += len(member.losses)
        if self.watch is not None:
            self.watch(self._so_far(is_rung=True))

    def _stepped(self, members: Sequence[Member], steps: int) -> None:
        """Those that are at their ends are kept at once: an interruption may come before the others are."""
        self.taken += len(members)
        self.members |= {(steps, m.settings.lr or 0.0): m for m in members if m.measured or m.failed}
        if self.watch is not None:
            self.watch(self._so_far())

    def _short(self, rate: float, steps: int) -> Settings:
        return dataclasses.replace(
            self.settings, lr=rate, epochs=None, steps=steps, guard=None, schedule=_scaled(self.settings, steps)
        )

    def _is_between(self, rate: float) -> bool:
        return self.between is None or self.between[0] * 0.999 <= rate <= self.between[1] * 1.001

    def _wider_both(self, done: dict[float, Member]) -> list[float]:
        best = self._winner(done) or min(done)
        if best == min(done):
            return [best / HALF, best / HALF**2]
        return [best * HALF, best * HALF**2] if best == max(done) else []

    def _wider_down(self, done: dict[float, Member]) -> list[float]:
        best = self._winner(done) or min(done)
        return [best / QUARTER, best / QUARTER**2] if best == min(done) else []

    def _winner(self, done: dict[float, Member]) -> float:
        """The rate with the least loss; 0 where none is below the start."""
        best = min(done, key=lambda rate: done[rate].value)
        return best if done[best].value < self.start else 0.0

    # -- what it says --------------------------------------------------------------------------------------------------

    def _told(self, winner: float, short: int, long: int) -> Search:
        """Everything that was tried; what works and what fails is told by the rungs that told something."""
        table = self._table()
        told = [row for row in table if row.steps >= short]
        best = winner / DIVISOR
        fails = min((row for row in told if row.region == FAILED), key=lambda row: row.lr, default=None)
        works = [row.lr for row in told if row.region == WORKS and (fails is None or row.lr < fails.lr)]
        low = min([best, *(row.lr for row in told if row.region == WORKS and row.steps == long)])
        high = max([winner, *works])
        words = [f"Train {self.rule} at {best:.3g}: rates from {low:.3g} to {high:.3g} work"]
        words.append(f", {fails.lr:.3g} fails ({fails.how})." if fails else ", and none of those tried failed.")
        usual = LONG * self.run_steps
        if long < 0.9 * min(usual, self.run_steps):
            words.append(
                f" The budget allowed runs of {long} steps instead of {usual:.0f}: the best rate for the whole run may "
                "be lower than this."
            )
        paths = tuple(m.path(f"{rate:.3g}") for (_, rate), m in self.members.items() if m.points)
        return Search(
            best, low, high, fails.lr if fails else None, tuple(table), self.start, self.steps, self.run_steps,
            time.perf_counter() - self.began, self.way or "", self.why, self.rule, "".join(words), paths,
        )  # fmt: skip

    def interrupted(self) -> SearchInterrupt:
        """What is said of a search that does not come to its end."""
        at = self._so_far()
        words = f"interrupted after {at.steps} of some {at.expected} steps; no rate is chosen, and "
        none = "none was tried to its end"
        words += none if at.best is None else f"of those that were tried to their ends {at.best:.3g} is the best"
        return SearchInterrupt(words, self._table())

    def _so_far(self, is_rung: bool = False) -> SearchProgress:
        longest = max((steps for steps, _ in self.members), default=0)
        ends = [(m.value, rate) for (steps, rate), m in self.members.items() if steps == longest]
        loss, best = min(ends, default=(math.inf, None))
        best = best if math.isfinite(loss) else None
        return SearchProgress(self.taken, max(self.taken, self.expected), len(self.members), best, loss, is_rung)

    def _table(self) -> list[Trial]:
        lengths = sorted({steps for steps, _ in self.members})
        tried = {n: {rate: m for (steps, rate), m in self.members.items() if steps == n} for n in lengths}
        return [row for steps in lengths for row in self._rows(tried[steps], steps)]

    def _rows(self, done: dict[float, Member], steps: int) -> list[Trial]:
        best = self._winner(done) or min(done)
        gain = self.start - done[best].value
        rows = []
        for rate in sorted(done):
            member = done[rate]
            share = (self.start - member.value) / gain if gain > 0 else -math.inf
            how = member.failed or (f"it keeps {max(share, 0.0):.0%} of the best's gain" if share < KEPT else "")
            region = WORKS if share >= GOOD else TOO_SMALL if rate < best else FAILED if how else TOO_LARGE
            rows.append(Trial(rate, steps, member.value, share, region, how if region == FAILED else ""))
        return rows


def points_of(task: Task) -> int:
    """Points of each member's path that are kept: none of a large model's."""
    return POINTS if sum(p.numel() for p in task.copy(0).parameters()) <= SMALL else 0


def _checked(between: tuple[float, float]) -> tuple[float, float]:
    low, high = between
    if not 0 < low < high < math.inf:
        raise InputError(f"between={between} is given; expected is (least, greatest) with 0 < least < greatest")
    return low, high


def _scaled(settings: Settings, steps: int) -> Schedule:
    """The schedule, if a run of so few steps can follow it, else the usual one: lengths in steps do not shrink."""
    schedule = settings.schedule or as_schedule(DEFAULT_SCHEDULE)
    try:
        schedule.bind(steps, steps)
    except ScheduleError:
        return as_schedule(DEFAULT_SCHEDULE)
    return schedule
