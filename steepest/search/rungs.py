"""The learning rate by measurement: two rungs of short runs, each with its own warmup and decay.

1. Half decades around the rule's usual learning rate, for 5 % of the run. The grid is widened while the best value is
   at an end. While the best lowers the loss by less than 2 %, nothing can be compared: the rung is repeated for twice
   as many steps.
2. The best of these and four quarter decades below it, for 20 %; widened downwards while the lowest is best.

The choice is the second rung's best ÷ 1.8, as short runs favour values that are too large for a long one. All runs
start at one point and see the same batches. A value fails if its loss is not finite, or if it has less than half of the
best's gain: the loss of a network with dead units is just below its initial loss.

A run of at most 60 steps has no shorter ones to learn from: both rungs are whole runs, and nothing is divided. Where
the rungs have the same length, the second runs only those of its values that the first has not run.

A run of fewer than 400 steps, of which 5 % are fewer than a short run takes, has a second rung of half its length. It
is widened both ways, and its best is divided by 1.3: 20 steps say little about which value is best.

The same seed gives the same learning rate: nothing is decided by a clock, and all random numbers follow from the seed.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from steepest import seeds
from steepest.descent.population.dispatch import run_descents
from steepest.descent.population.population import Member, Plan
from steepest.descent.population.remote import Job, run_jobs
from steepest.descent.settings import Settings
from steepest.descent.stages import Stages
from steepest.distributed.cluster import Cluster
from steepest.errors import InputError, SearchInterrupt, TaskError
from steepest.records.search import FAILED, TOO_LARGE, TOO_SMALL, WORKS, Search, SearchProgress, Trial
from steepest.rules.rule import Rule
from steepest.schedule import Schedule
from steepest.search.baseline import measure_baseline
from steepest.tasks.task import Task

SHORT, LONG = 0.05, 0.2
"""Lengths of the rungs, as shares of the run."""
MIN_SHORT_STEPS = 20
"""Steps of a short run, where the run itself has as many."""
WHOLE_RUN_STEPS = 60
"""Steps of a run up to which the rungs are whole runs. On 7 small tasks with 36 and 60 steps and 2 seeds the choice
then misses 1.6 % of the best gain, not 9.7 %; and more than 10 % of it in 1 of these 28 runs, not in 8."""
BRIEF_RUN_SHARE, BRIEF_RUN_DIVISOR = 0.5, 1.3
"""Length of the second rung, and its divisor, for a run of fewer than 400 steps, of which the first rung's least length
is more than its share: that rung says little, so the second one is widened both ways. Chosen on 10 fine-tunings."""
HALF, QUARTER = 10**0.5, 10**0.25
BELOW, ABOVE, LOWER_STEPS = 2, 4, 4
"""Half decades around the usual learning rate; quarter decades below the first rung's best."""
DIVISOR = 1.8
FAILED_BELOW, WORKS_FROM = 0.5, 0.9
"""Shares of the best's gain: below the first a value has failed, from the second it works."""
MIN_RUNG_GAIN = 0.02
"""Share of the initial loss by which the best must lower it for a rung to count."""
LEAST_GAIN = 1e-6
"""Share of the initial loss: a smaller gain of a long run is rounding."""
MAX_WIDENINGS = 8
SEARCH_PATH_POINTS = 12
"""Recorded points of each run's path, where the model is small."""
PATH_WEIGHTS = 1 << 20
"""Weights of the largest model whose paths are recorded."""

Rung = dict[float, Member]
Widen = Callable[[Rung], list[float]]
Watch = Callable[[SearchProgress], None]


def run_search(
    task: Task,
    settings: Settings,
    budget: int | str | None = None,
    between: tuple[float, float] | None = None,
    way: str | None = None,
    watch: Watch | None = None,
    cluster: Cluster | None = None,
) -> Search:
    """Searches the learning rate for a run with these settings.

    Args:
        task: that the run trains.
        settings: of the run; its learning rate is ignored.
        budget: steps in all (500), or seconds as text ("60 s"); None derives it from the run's length.
        between: smallest and largest value to try; None starts around the rule's usual one, and widens where needed.
        way: "together" (batched) or "one after another" (sequential); None chooses by the work of a step.
        watch: called after every step with the progress; on a cluster now and then.
        cluster: where the short runs are run; None for this process.

    Raises:
        InputError: an invalid range or budget, or settings with several stages.
        TaskError: no learning rate that was tried works.
        SearchInterrupt: Ctrl-C.
    """
    if len(settings.stages.parts) > 1:
        raise InputError("The learning rate is searched for one update rule, got stages. Search for each of them.")
    with seeds.ours(settings.seed, "rates"):  # a loss or model may draw from Python's or numpy's generators
        return _run_search(task, settings, budget, between, way, watch, cluster)


def _run_search(
    task: Task, settings: Settings, budget: int | str | None, between: tuple[float, float] | None, way: str | None,
    watch: Watch | None, cluster: Cluster | None,
) -> Search:  # fmt: skip
    start_time = time.perf_counter()
    if cluster is None:
        base = measure_baseline(task, settings, budget)
    else:
        settings = replace(settings, device=cluster.device)
        (base,) = cluster.run(measure_baseline, task, [(settings, budget)])
    settings = _in_shares(settings, base.steps, base.steps_per_epoch)
    search = _Search(
        task, settings, between, way, watch, cluster, start_time, base.steps, base.loss, base.usual_lr, base.max_steps
    )
    try:
        return search.run()
    except KeyboardInterrupt:
        raise search.interrupt() from None


@dataclass
class _Search:
    task: Task
    settings: Settings
    between: tuple[float, float] | None
    way: str | None
    watch: Watch | None
    cluster: Cluster | None
    start_time: float
    run_steps: int
    start: float
    usual_lr: float
    max_steps: float
    members: dict[tuple[int, float], Member] = field(default_factory=dict)
    """By steps and learning rate."""
    steps: int = 0
    expected_steps: int = 0
    later_steps: int = 0
    reason: str = ""

    def run(self) -> Search:
        rates = self._grid()
        short, long = self._lengths(len(rates))
        self.later_steps = (LOWER_STEPS + 1) * long
        first = self._run_rung(rates, short, self._widen, reserve=(LOWER_STEPS + 1) * short)
        if not self._winner(first):
            raise self._failure(first, short)
        short, first = self._lengthen(first, short)
        best, long = self._winner(first), max(short, long)
        if self.max_steps < math.inf:
            long = min(long, int(self.max_steps - self.steps) // (LOWER_STEPS + 1))
        self.later_steps = 0
        lower = [best / QUARTER**k for k in range(LOWER_STEPS + 1)]
        widen = self._widen_quarters if self._is_brief() else self._widen_down
        second = self._run_rung([rate for rate in lower if self._is_between(rate)], long, widen)
        winner = self._winner(second)
        if not winner or self.start - second[winner].value <= LEAST_GAIN * abs(self.start):
            raise self._failure(second, long)
        return self._result(winner, short, long)

    # -- Rungs ---------------------------------------------------------------------------------------------------------

    def _grid(self) -> list[float]:
        if self.between is None:
            return [self.usual_lr * HALF**k for k in range(-BELOW, ABOVE + 1)]
        low, high = self.between
        if not 0 < low < high < math.inf:
            raise InputError(f"between must be (low, high) with 0 < low < high, got {self.between}")
        count = math.floor(math.log(high / low) / math.log(HALF) + 1e-9)
        if count < 1:
            wider = f"({low:.3g}, {low * 10:.3g})"
            raise InputError(f"between must span half a decade or more, got {self.between}. Try {wider}.")
        return [low * HALF**k for k in range(count + 1)]

    def _lengths(self, count: int) -> tuple[int, int]:
        """Steps of the runs of both rungs, as the budget allows."""
        if self.run_steps <= WHOLE_RUN_STEPS and (count + LOWER_STEPS + 1) * self.run_steps <= self.max_steps:
            return self.run_steps, self.run_steps
        usual, run_steps = count * SHORT + (LOWER_STEPS + 1) * self._long_share(), self.run_steps
        share = min(1.0, self.max_steps / (usual * run_steps))
        least = min(MIN_SHORT_STEPS, run_steps) if share == 1.0 else 2
        short, long = (max(least, int(part * share * run_steps + 1e-9)) for part in (SHORT, self._long_share()))
        if count * short + (LOWER_STEPS + 1) * long > self.max_steps:
            raise InputError(
                f"budget must allow {count + LOWER_STEPS + 1} short runs of 2 steps, got {self.max_steps:.0f} steps. "
                f"The usual search takes {usual * run_steps:.0f} steps."
            )
        return short, max(short, long)

    def _run_rung(self, rates: Sequence[float], steps: int, widen: Widen, reserve: int = 0) -> Rung:
        """Short runs at these values, and at more while the best is at an end; leaves `reserve` steps of the budget."""
        rung: Rung = {}
        for _ in range(MAX_WIDENINGS):
            self._run_short(rates, steps, rung)
            rates = [rate for rate in widen(rung) if self._is_between(rate)]
            count = sum(self._key(steps, rate) not in self.members for rate in rates)
            if not rates or self.steps + count * steps + reserve > self.max_steps:
                break
        return rung

    def _lengthen(self, first: Rung, short: int) -> tuple[int, Rung]:
        """The first rung, with the values around its best, at lengths that double until the loss falls measurably.

        Near a saddle the loss hardly falls at first, and a value that looks too large there may be the best.
        """
        start = self.start
        while start - first[self._winner(first)].value < MIN_RUNG_GAIN * abs(start):
            best, length = self._winner(first), 2 * short
            rates = [r for r in (best / HALF, best, best * HALF, best * HALF**2) if self._is_between(r)]
            reserve = (LOWER_STEPS + 1) * length
            if 2 * length > self.run_steps or self.steps + len(rates) * length + reserve > self.max_steps:
                break
            again = self._run_rung(rates, length, self._widen, reserve)
            if not self._winner(again):
                break
            short, first = length, again
        return short, first

    def _run_short(self, rates: Sequence[float], steps: int, rung: Rung) -> None:
        """Adds runs at these values to the rung; those that an equally long rung has run are taken from there."""
        keys = [self._key(steps, rate) for rate in rates]
        rung |= {key[1]: self.members[key] for key in keys if key in self.members}
        rates = [rate for rate, key in zip(rates, keys, strict=True) if key not in self.members]
        if not rates:
            return
        self.expected_steps = self.steps + len(rates) * steps + self.later_steps
        common = replace(self.settings, epochs=None, steps=steps, guard=None)
        settings = [replace(common, lr=rate) for rate in rates]
        is_small = sum(p.numel() for p in self.task.copy(0).parameters()) <= PATH_WEIGHTS
        plan = Plan(
            points=SEARCH_PATH_POINTS if is_small else 0, on_step=lambda own: self._on_step(len(own), own, steps)
        )
        if self.cluster is None:
            descents = run_descents(self.task, settings, plan, strategy=self.way)
        else:
            job = Job(settings, plan, self.way)
            (descents,) = run_jobs(self.cluster, self.task, [job], lambda count, own: self._on_step(count, own, steps))
        self.way, self.reason = self.way or descents.strategies[0].name, self.reason or descents.strategies[0].reason
        for rate, member in zip(rates, descents.members, strict=True):
            self.members.pop((steps, rate), None)  # in the order of the rates, whichever ended first
            rung[rate] = self.members[steps, rate] = member
        if self.watch is not None:
            self.watch(self._progress(is_rung=True))

    def _on_step(self, count: int, members: Sequence[Member], steps: int) -> None:
        """Counts steps, and keeps runs as soon as they end: an interruption may come before the others do."""
        self.steps += count
        self.members |= {(steps, m.settings.lr or 0.0): m for m in members if m.measurements or m.failure}
        if self.watch is not None:
            self.watch(self._progress())

    def _key(self, steps: int, rate: float) -> tuple[int, float]:
        """The key of an equal run, where there is one: both rungs may have the same length and share values."""
        return next((k for k in self.members if k[0] == steps and math.isclose(k[1], rate)), (steps, rate))

    def _is_between(self, rate: float) -> bool:
        return self.between is None or self.between[0] * 0.999 <= rate <= self.between[1] * 1.001

    def _widen(self, rung: Rung) -> list[float]:
        best = self._winner(rung) or min(rung)
        if best == min(rung):
            return [best / HALF, best / HALF**2]
        return [best * HALF, best * HALF**2] if best == max(rung) else []

    def _widen_down(self, rung: Rung) -> list[float]:
        best = self._winner(rung) or min(rung)
        return [best / QUARTER, best / QUARTER**2] if best == min(rung) else []

    def _widen_quarters(self, rung: Rung) -> list[float]:
        best = self._winner(rung) or min(rung)
        return [best * QUARTER, best * QUARTER**2] if best == max(rung) else self._widen_down(rung)

    def _is_brief(self) -> bool:
        return self.max_steps == math.inf and SHORT * self.run_steps < MIN_SHORT_STEPS

    def _long_share(self) -> float:
        return BRIEF_RUN_SHARE if self._is_brief() else LONG

    def _winner(self, rung: Rung) -> float:
        """The learning rate with the lowest loss; 0 where none is below the initial loss."""
        best = min(rung, key=lambda rate: rung[rate].value)
        return best if rung[best].value < self.start else 0.0

    def _failure(self, rung: Rung, steps: int) -> TaskError:
        """That no value of a rung works: what was tried, what was seen, what to check."""
        low, high = min(rung), max(rung)
        words = f"No learning rate that was tried works: {len(rung)} from {low:.3g} to {high:.3g}, "
        words += f"in runs of {steps} steps."
        if failures := [rate for rate in rung if rung[rate].failure]:
            lowest = min(failures)
            words += f" {len(failures)} of them diverged (lr = {lowest:.3g}: {rung[lowest].failure})."
        best = min(rung, key=lambda rate: rung[rate].value)
        if math.isfinite(loss := rung[best].value):
            words += f" The lowest validation loss, {loss:.4g} at lr = {best:.3g}, "
            words += f"is not below the initial {self.start:.4g}."
        if earlier := [key for key, m in self.members.items() if key[0] < steps and m.value < self.start]:
            shorter = max(length for length, _ in earlier)
            words += f" Runs of {shorter} steps lowered it: what fails comes later in the run."
        advice = " Check that loss, data and gradients are finite and that the weights are not at a minimum already"
        lower = f"between=({low / 1000:.1g}, {low:.1g})"
        return TaskError(f"{words}{advice}, or pass lower values: {lower}.")

    # -- The result ----------------------------------------------------------------------------------------------------

    def _result(self, winner: float, short: int, long: int) -> Search:
        """The choice, and the range that works by the rungs in which the loss fell measurably."""
        table = self._table()
        rows = [row for row in table if row.steps >= short]
        failure = min((row for row in rows if row.region == FAILED), key=lambda row: row.lr, default=None)
        works = [row for row in rows if row.region == WORKS]
        low = min((row.lr for row in works if row.steps == long), default=winner)
        high = max([winner, *(row.lr for row in works if failure is None or row.lr < failure.lr)])
        paths = tuple(m.path(f"{rate:.3g}") for (_, rate), m in self.members.items() if m.points)
        return Search(
            winner / self._divisor(long), low, high, failure.lr if failure else None, tuple(table), self.start,
            self.steps, self.run_steps, time.perf_counter() - self.start_time, self.way or "", self.reason,
            self.settings.rule_name, self._sentence(winner, low, high, failure, long), paths,
        )  # fmt: skip

    def _sentence(self, winner: float, low: float, high: float, failure: Trial | None, long: int) -> str:
        rule, tail = self.settings.rule_name, f"{low:.3g} to {high:.3g} worked" if low < high else f"{low:.3g} worked"
        divisor = self._divisor(long)
        words = f"Use lr = {winner / divisor:.3g} with {rule}"
        if divisor == 1.0:
            words += f", the best of runs of all {long} steps. {tail}"
        else:
            words += f". Best short run: {winner:.3g}; divided by {divisor} because short runs favour high values. "
            words += tail
        words += f"; {failure.lr:.3g} failed ({failure.how})." if failure else ". No value tried failed."
        usual = self._long_share() * self.run_steps
        if long < 0.9 * min(usual, self.run_steps):
            doubt = "the best value for the whole run may be lower"
            words += f" The budget allowed runs of {long} steps instead of {usual:.0f}: {doubt}."
        return words

    def _divisor(self, long: int) -> float:
        if long >= self.run_steps:
            return 1.0
        return BRIEF_RUN_DIVISOR if self._is_brief() and 2 * long >= self.run_steps - 1 else DIVISOR

    def interrupt(self) -> SearchInterrupt:
        """The interruption, with all runs that have ended."""
        at = self._progress()
        words = f"Search interrupted after {at.steps} of about {at.expected} steps. No learning rate was chosen; "
        words += "no short run has ended." if at.best is None else f"the best so far is {at.best:.3g}."
        return SearchInterrupt(words, self._table())

    def _progress(self, is_rung: bool = False) -> SearchProgress:
        longest = max((steps for steps, _ in self.members), default=0)
        ends = [(m.value, rate) for (steps, rate), m in self.members.items() if steps == longest]
        loss, best = min(ends, default=(math.inf, None))
        best = best if math.isfinite(loss) else None
        total = max(self.steps, self.expected_steps)
        return SearchProgress(self.steps, total, len(self.members), best, loss, is_rung)

    def _table(self) -> list[Trial]:
        lengths = sorted({steps for steps, _ in self.members})
        return [row for steps in lengths for row in self._rows(steps)]

    def _rows(self, steps: int) -> list[Trial]:
        rung = {rate: member for (length, rate), member in self.members.items() if length == steps}
        best, start = self._winner(rung) or min(rung), self.start
        gain = start - rung[best].value
        rows = []
        for rate, member in sorted(rung.items(), key=lambda item: item[0]):
            share = (start - member.value) / gain if gain > 0 else -math.inf
            how = member.failure or (f"{100 * max(share, 0.0):.0f} % of the best gain" if share < FAILED_BELOW else "")
            region = WORKS if share >= WORKS_FROM else TOO_SMALL if rate < best else FAILED if how else TOO_LARGE
            rows.append(Trial(rate, steps, member.value, share, region, how if region == FAILED else ""))
        return rows


def _in_shares(settings: Settings, steps: int, steps_per_epoch: int) -> Settings:
    """The settings of a run of so many steps, of which a shorter one keeps the shape: lengths are shares of the run."""
    assert settings.schedule is not None
    parts = []
    for part in settings.stages.parts:
        hypers = part.rule.hypers if isinstance(part.rule, Rule) else {}
        own = {k: v.in_shares(steps, steps_per_epoch) for k, v in hypers.items() if isinstance(v, Schedule)}
        parts.append(replace(part, rule=part.rule(**own)) if own else part)
    schedule = settings.schedule.in_shares(steps, steps_per_epoch)
    return replace(settings, stages=Stages(tuple(parts)), schedule=schedule)
