"""How often the guard rewinds a run that would have recovered by itself.

Healthy runs of the reported and the spiky problems, over as many seeds as make up the steps asked for. Where the guard
does anything, the unguarded twin (same seed, same batches) is run too; where it does nothing, the twin is the same run.
A rewind at step t was false where the twin's smoothed loss (mean of the last 20 steps), within the next 5 % of the run,
comes back to its best before t; 5 % of that best is allowed, since at the noise floor a best is regained late. Near the
end, where those 5 % are cut short, a rewind counts as false.

    python -m benchmarks.guard.false_rewinds --problems deep-2x --seeds 0 1 2 --out DIR   # a part; adds to what is in
    DIR
    python -m benchmarks.guard.false_rewinds --report DIR [--details]                           # the table of what is
    in DIR
"""

import itertools
import math
import statistics
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.guard import trials
from benchmarks.guard.trials import Kept, Outcome
from benchmarks.problems.problems import GROUPS, Problem, find
from benchmarks.report import met, table

TITLE = "False rewinds"

STEPS = 300_000
QUICK_STEPS = 10_000
PROBLEMS = GROUPS["reported"] + GROUPS["spiky"]
SMOOTHED = 20
"""Losses in the mean that is compared."""
SOON = 0.05
"""Share of the run within which a loss must come back."""
TOLERANCE = 0.05
"""Of the earlier best."""
LIMIT = 1e-5
"""Target for false rewinds in a step."""
KINDS = ("skip", "clip", "lower", "rewind", "stop")
KEY = ("problem", "seed")


# -- Doing -------------------------------------------------------------------------------------------------------------


def work(kept: Kept, problems: Iterable[Problem], seeds: Iterable[int]) -> None:
    """Does the runs that are not there yet."""
    problems = list(problems)
    for seed in seeds:
        for problem in problems:
            trial = {"problem": problem.name, "seed": seed}
            kept.add(trial, lambda p=problem, s=seed: _outcome(p, s))


def _outcome(problem: Problem, seed: int, method: str = "guard") -> dict[str, Any]:
    found = trials.run(problem, method, seed)
    twin = trials.run(problem, "no guard", seed) if found.events else found
    rewinds = [event.t for event in found.events if event.kind == "rewind"]
    return {
        "steps": found.executed,
        "loss": found.loss,
        "twin": twin.loss,
        "events": found.events,
        "false": sum(recovers(twin, t, problem.steps, TOLERANCE) for t in rewinds),
        "false, no tolerance": sum(recovers(twin, t, problem.steps, 0.0) for t in rewinds),
    }


def recovers(twin: Outcome, t: int, steps: int, tolerance: float) -> bool:
    """Whether an unguarded run comes back to its earlier best soon after step t; so it counts too close to the end."""
    end = t + math.ceil(SOON * steps)
    if t <= 1 or end > steps:
        return True
    losses = smoothed([twin.losses[i] for i in range(1, end + 1)])
    best = losses[: t - 1].min()
    return bool(losses[t - 1 :].min() <= best + tolerance * abs(best))


def smoothed(losses: Sequence[float]) -> np.ndarray:
    """Mean of the last 20 losses at each step, or of as many as there are; infinite where one of them is not finite.

    >>> smoothed([4.0, 2.0, float("nan")]).tolist()
    [4.0, 3.0, inf]
    """
    finite = [loss if math.isfinite(loss) else math.inf for loss in losses]
    return np.array([np.mean(finite[max(0, i - SMOOTHED) : i]) for i in range(1, len(finite) + 1)])


# -- The table ---------------------------------------------------------------------------------------------------------


def bound(events: int, steps: int) -> float:
    """Upper 95 % bound of a rate, by Poisson's distribution (one-sided, exact).

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
    everything = [outcome for group in groups.values() for outcome in group]
    if not everything:
        return ["No outcomes."]
    rows = [_row(name, group) for name, group in groups.items()] + [_row("all", everything)]
    steps, false = sum(o["steps"] for o in everything), sum(o["false"] for o in everything)
    strict = sum(o["false, no tolerance"] for o in everything)
    how = (
        f"Healthy runs, {steps:,} steps in all. False: the unguarded twin comes back to within {TOLERANCE:.0%} of its "
        f"best smoothed loss within {SOON:.0%} of the run. Losses are those of validation at the end, guarded ÷ twin; "
        "no worse: at most the standard deviation between the twins of all seeds."
    )
    rate = (
        f"False rewinds: {false} ({strict} where no tolerance is allowed), {false / steps:.1e} a step; with 95 % "
        f"confidence at most {bound(false, steps):.1e}. Target ≤ {LIMIT:g}: met {met(bound(false, steps), LIMIT)}."
    )
    header = ["problem", "runs", "steps", *KINDS, "false", "loss, median ratio", "greatest", "no worse"]
    return [how, "", *table(header, rows), "", rate, *(_details(everything) if details else [])]


def _row(name: str, group: list[dict[str, Any]]) -> list[str]:
    counted = Counter(kind for outcome in group for _, _, kind in outcome["events"])
    kinds = [str(counted[kind]) for kind in KINDS]
    ends = ["", "", ""] if name == "all" else _ends(group)
    steps, false = sum(o["steps"] for o in group), sum(o["false"] for o in group)
    return [name, f"{len(group)}", f"{steps:,}", *kinds, f"{false}", *ends]


def _ends(group: list[dict[str, Any]]) -> list[str]:
    """Median and greatest ratio of losses at the end (difference where a loss is not above 0), and those no worse."""
    signed = any(o["loss"] <= 0 or o["twin"] <= 0 for o in group)
    compared = [o["loss"] - o["twin"] if signed else o["loss"] / o["twin"] for o in group]
    twins = [o["twin"] for o in group]
    spread = statistics.stdev(twins) if len(twins) > 1 else 0.0
    fine = sum(o["loss"] - o["twin"] <= spread for o in group)
    sign = "+" if signed else ""
    return [f"{statistics.median(compared):{sign}.3f}", f"{max(compared):{sign}.3f}", f"{fine} / {len(group)}"]


def _details(everything: list[dict[str, Any]]) -> list[str]:
    """Every run in which the guard did something."""
    found = [o for o in everything if o["events"]]
    rows = [
        [o["problem"], str(o["seed"]), _told(o["events"]), str(o["false"]),
         f"{o['loss']:.4f}", f"{o['twin']:.4f}"]
        for o in found
    ]  # fmt: skip
    return ["", *table(["problem", "seed", "events", "false", "loss", "twin"], rows)]


def _told(events: Iterable[Sequence[Any]]) -> str:
    """Kinds and steps, those of a kind that follow one another together."""
    runs = [(kind, [t for _, t, _ in group]) for kind, group in itertools.groupby(events, key=lambda event: event[2])]
    return ", ".join(f"{kind} {ts[0]}" + (f" … {ts[-1]} ({len(ts)})" if len(ts) > 1 else "") for kind, ts in runs)


def seeds_for(steps: int, problems: Sequence[Problem]) -> range:
    """As many seeds as make up so many steps."""
    return range(math.ceil(steps / sum(p.steps for p in problems)))


def measure() -> list[str]:
    """Lines of the report: all of it, from nothing. It takes about a quarter of an hour."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        kept = Kept(Path(folder), *KEY)
        work(kept, PROBLEMS, seeds_for(STEPS, PROBLEMS))
        return lines(kept, PROBLEMS)


def main() -> None:
    """The command line."""
    parser = trials.parser(__doc__)
    parser.add_argument("--group", choices=GROUPS, help="instead of the reported and the spiky")
    parser.add_argument("--steps", type=int, default=STEPS, help="to be reached over all problems and seeds")
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_STEPS:,} steps")
    given = parser.parse_args()
    among = GROUPS[given.group] if given.group else PROBLEMS
    problems, kept = find(given.problems, among), trials.kept(given, KEY)
    if given.report is None:
        steps = QUICK_STEPS if given.quick else given.steps
        work(kept, problems, given.seeds or seeds_for(steps, among))
    trials.told(given, "false_rewinds", lines(kept, problems, given.details), kept)


if __name__ == "__main__":
    main()
