"""How often the guard rewinds a run that would have recovered by itself.

Healthy runs of the reported and the spiky problems, over as many seeds as give the required number of steps. Where the
guard acts, the twin without a guard (same seed, same batches) is run too; otherwise the twin is the same run. Near the
end, where the run is too short for the twin to recover, a rewind counts as false.
"""

import argparse
import functools
import itertools
import math
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from benchmarks.guard import trials
from benchmarks.guard.trials import Outcome
from benchmarks.parts import Options, Outcomes, Study
from benchmarks.problems.problems import GROUPS, Problem, find
from benchmarks.report import check, table

TITLE = "False rewinds"

STEPS = 300_000
QUICK_STEPS = 10_000
PROBLEMS = GROUPS["reported"] + GROUPS["spiky"]
WINDOW = 20
"""Losses in the mean that is ratios."""
SOON = 0.05
"""Share of the run within which a loss must return."""
TOLERANCE = 0.05
"""Relative to the earlier best."""
LIMIT = 1e-5
"""Target: false rewinds per step."""
KINDS = ("skip", "clip", "lower", "rewind", "stop")
KEY = ("problem", "seed")


def _outcome(problem: Problem, seed: int) -> dict[str, Any]:
    run = trials.run(problem, "guard", seed)
    twin = trials.run(problem, "no guard", seed) if run.events else run
    rewinds = [event.t for event in run.events if event.kind == "rewind"]
    return {
        "steps": run.count,
        "loss": run.loss,
        "twin": twin.loss,
        "events": run.events,
        "false": sum(recovers(twin, t, problem.steps, TOLERANCE) for t in rewinds),
        "false, no tolerance": sum(recovers(twin, t, problem.steps, 0.0) for t in rewinds),
    }


def recovers(twin: Outcome, t: int, steps: int, tolerance: float) -> bool:
    """Whether a run without a guard returns to its earlier best soon after step t; True too close to the end."""
    end = t + math.ceil(SOON * steps)
    if t <= 1 or end > steps:
        return True
    losses = smooth([twin.losses[i] for i in range(1, end + 1)])
    best = losses[: t - 1].min()
    return bool(losses[t - 1 :].min() <= best + tolerance * abs(best))


def smooth(losses: Sequence[float]) -> np.ndarray:
    """Mean of the last 20 losses at each step, or of as many as there are; infinite where one is not finite.

    >>> smooth([4.0, 2.0, float("nan")]).tolist()
    [4.0, 3.0, inf]
    """
    finite = [loss if math.isfinite(loss) else math.inf for loss in losses]
    return np.array([np.mean(finite[max(0, i - WINDOW) : i]) for i in range(1, len(finite) + 1)])


def bound(events: int, steps: int) -> float:
    """Upper 95 % confidence bound of events per step, one-sided and exact for a Poisson distribution.

    >>> f"{bound(0, 300_000):.2e}"
    '9.99e-06'
    """
    from scipy.stats import chi2

    return float(chi2.ppf(0.95, 2 * events + 2)) / 2 / steps


def lines(outcomes: Iterable[dict[str, Any]], problems: Sequence[Problem], details: bool = False) -> list[str]:
    """Lines of the report."""
    by_problem = defaultdict(list)
    for outcome in outcomes:
        by_problem[outcome["problem"]].append(outcome)
    groups = {p.name: by_problem[p.name] for p in problems if p.name in by_problem}
    runs = [outcome for group in groups.values() for outcome in group]
    if not runs:
        return ["No outcomes."]
    rows = [_row(name, group) for name, group in groups.items()] + [_row("all", runs)]
    steps, false = sum(o["steps"] for o in runs), sum(o["false"] for o in runs)
    strict = sum(o["false, no tolerance"] for o in runs)
    how = (
        f"Healthy runs, {steps:,} steps in all. A rewind is false if the twin without a guard returns to within "
        f"{TOLERANCE:.0%} of its best smoothed loss within {SOON:.0%} of the run. Losses: validation loss at the end, "
        "with the guard ÷ twin. No worse: above the twin's by at most the standard deviation between the twins of all "
        "seeds."
    )
    rate = (
        f"False rewinds: {false} ({strict} without the tolerance), {false / steps:.1e} per step; with 95 % confidence "
        f"at most {bound(false, steps):.1e}. Target ≤ {LIMIT:g}: met {check(bound(false, steps), LIMIT)}."
    )
    header = ["problem", "runs", "steps", *KINDS, "false", "loss, median ratio", "maximum", "no worse"]
    return [how, "", *table(header, rows), "", rate, *(_details(runs) if details else [])]


def _row(name: str, group: list[dict[str, Any]]) -> list[str]:
    counts = Counter(kind for outcome in group for _, _, kind in outcome["events"])
    kinds = [str(counts[kind]) for kind in KINDS]
    ends = ["", "", ""] if name == "all" else _ends(group)
    steps, false = sum(o["steps"] for o in group), sum(o["false"] for o in group)
    return [name, f"{len(group)}", f"{steps:,}", *kinds, f"{false}", *ends]


def _ends(group: list[dict[str, Any]]) -> list[str]:
    """Median and largest ratio of losses (difference where a loss is not above 0), and how many are no worse."""
    signed = any(o["loss"] <= 0 or o["twin"] <= 0 for o in group)
    ratios = [o["loss"] - o["twin"] if signed else o["loss"] / o["twin"] for o in group]
    twins = [o["twin"] for o in group]
    spread = statistics.stdev(twins) if len(twins) > 1 else 0.0
    fine = sum(o["loss"] - o["twin"] <= spread for o in group)
    sign = "+" if signed else ""
    return [f"{statistics.median(ratios):{sign}.3f}", f"{max(ratios):{sign}.3f}", f"{fine} / {len(group)}"]


def _details(runs: list[dict[str, Any]]) -> list[str]:
    """Every run in which the guard acted."""
    rows = [
        [o["problem"], str(o["seed"]), _summary(o["events"]), str(o["false"]), f"{o['loss']:.4f}", f"{o['twin']:.4f}"]
        for o in runs
        if o["events"]
    ]
    return ["", *table(["problem", "seed", "events", "false", "loss", "twin"], rows)]


def _summary(events: Iterable[Sequence[Any]]) -> str:
    """Kinds and steps; consecutive events of one kind are put together."""
    groups = [(kind, [t for _, t, _ in group]) for kind, group in itertools.groupby(events, key=lambda e: e[2])]
    return ", ".join(f"{kind} {ts[0]}" + (f" … {ts[-1]} ({len(ts)})" if len(ts) > 1 else "") for kind, ts in groups)


def _problems(options: Options) -> list[Problem]:
    return find(options.problems, GROUPS[options.group] if options.group else PROBLEMS)


def _work(outcomes: Outcomes, options: Options) -> None:
    """Runs the missing trials."""
    every = GROUPS[options.group] if options.group else PROBLEMS
    steps = QUICK_STEPS if options.quick else options.steps
    for seed in options.seeds or range(math.ceil(steps / sum(p.steps for p in every))):
        for problem in _problems(options):
            outcomes.add((problem.name, seed), functools.partial(_outcome, problem, seed))


def _lines(outcomes: Outcomes, options: Options) -> list[str]:
    return lines(outcomes, _problems(options), options.details)


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--group", choices=GROUPS, help="instead of the reported and the spiky problems")
    parser.add_argument("--steps", type=int, default=STEPS, help="over all problems and seeds")
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_STEPS:,} steps")


STUDY = Study("false_rewinds", KEY, _work, _lines, _add_options)
"""All of it takes about a quarter of an hour."""
measure, main = STUDY.measure, STUDY.main
