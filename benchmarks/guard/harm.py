"""Whether the guard harms healthy trainings of many kinds: each run has a twin without a guard.

The kinds are in two groups: thresholds are chosen on the one and reported on the other. The guard harms a kind if its
losses at the end are worse than those of the twins: mean of the differences over seeds, paired t, one-sided, Holm over
the kinds of the report at 5 %.
"""

import argparse
import functools
import hashlib
import math
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import Any

import torch
from scipy.special import stdtr
from torch.nn.utils import parameters_to_vector

import steepest as sd
from benchmarks.guard.healthy import changes, data, losses
from benchmarks.guard.healthy.training import CHOICE, KINDS, REPORT
from benchmarks.parts import Options, Outcomes, Study
from benchmarks.report import check, table
from steepest.records.run import STAGE, STOP
from steepest.search.statistics import holm

assert changes  # these modules register their kinds
assert data
assert losses

TITLE = "Healthy trainings of many kinds"
SEEDS = 5
LEVEL = 0.05
EQUAL_SHARE = 0.8
"""Target: at least this share of the runs is equal to their twins bit for bit."""
KEY = ("kind", "guard", "seed")
NOT_THE_GUARDS = (STAGE, "weights")


def _outcome(name: str, guard: bool, seed: int) -> dict[str, Any]:
    training = KINDS[name].make(seed)
    steps = training.settings["steps"]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        descent = sd.descend(training.task, **training.settings, guard=guard, measure_every=steps, seed=seed)
        events, count, last = [], 0, 0
        for step in descent:
            count, last = count + 1, step.t
            if step.event is not None and step.event.kind not in NOT_THE_GUARDS:
                events.append((step.t, step.event.kind))
            training.body(step)
    loss = descent.metrics[-1].value if descent.metrics else math.nan
    weights = parameters_to_vector(training.task.model.parameters()).detach().numpy().tobytes()
    return {
        "loss": loss if math.isfinite(loss) else math.inf,
        "baseline": training.baseline,
        "weights": hashlib.sha256(weights).hexdigest()[:16],
        "count": count,
        "complete": last == steps,
        "events": events,
    }


def lines(outcomes: Iterable[dict[str, Any]], group: str) -> list[str]:
    """Lines of the report."""
    by_kind: dict[str, dict[tuple[bool, int], dict[str, Any]]] = defaultdict(dict)
    for outcome in outcomes:
        by_kind[outcome["kind"]][outcome["guard"], outcome["seed"]] = outcome
    names = [name for name, kind in KINDS.items() if kind.group == group and name in by_kind]
    if not names:
        return ["No outcomes."]
    rows, ps, runs = [], [], []
    for name in names:
        seeds = sorted(s for guard, s in by_kind[name] if guard and (False, s) in by_kind[name])
        pairs = [(by_kind[name][False, s], by_kind[name][True, s]) for s in seeds]
        runs += pairs
        ps.append(p_worse([guarded["loss"] - twin["loss"] for twin, guarded in pairs]))
        rows.append(_row(name, pairs))
    for row, p in zip(rows, holm(ps), strict=True):
        row.append(f"{p:.3f}" + (" worse" if p < LEVEL else ""))
    equal = sum(twin["weights"] == guarded["weights"] for twin, guarded in runs)
    stopped = sum(any(kind == STOP for _, kind in guarded["events"]) for _, guarded in runs)
    worse = sum(p < LEVEL for p in holm(ps))
    how = (
        f"{len(names)} kinds, group {group!r}. Losses on validation data at the end, mean over seeds. p: the guard "
        f"makes it worse (paired t, one-sided, Holm over the {len(names)} kinds)."
    )
    total = (
        f"Worse: {worse} of {len(names)} kinds, target 0: met {check(worse, 0)}. Equal to their twins bit for bit: "
        f"{equal} of {len(runs)} runs, target ≥ {EQUAL_SHARE:.0%}: met {check(-equal / len(runs), -EQUAL_SHARE)}. "
        f"Stopped by the guard: {stopped}, target 0: met {check(stopped, 0)}."
    )
    header = ["kind", "baseline", "unguarded", "guarded", "equal", "events of the guard", "p"]
    return [how, "", *table(header, rows), "", total]


def _row(name: str, pairs: list[tuple[dict[str, Any], dict[str, Any]]]) -> list[str]:
    twins, guarded = ([pair[i]["loss"] for pair in pairs] for i in (0, 1))
    mean = statistics.fmean(twins)
    baseline = pairs[0][0]["baseline"]
    kinds = Counter(kind for _, run in pairs for _, kind in run["events"])
    words = ", ".join(f"{kind} {n}" for kind, n in kinds.items())
    equal = sum(a["weights"] == b["weights"] for a, b in pairs)
    beaten = "" if mean < baseline else " (not beaten)"
    ends = f"{mean:.4g}", f"{statistics.fmean(guarded):.4g}"
    return [name, f"{baseline:g}{beaten}", *ends, f"{equal} / {len(pairs)}", words]


def p_worse(differences: list[float]) -> float:
    """p of differences at least as large on average, if the true mean is 0; 1 where none is positive.

    >>> p_worse([0.0, 0.0, 0.0]), round(p_worse([1.0, 2.0, 3.0]), 4)
    (1.0, 0.0371)
    """
    n = len(differences)
    if n < 2 or not any(d > 0 for d in differences):
        return 1.0
    if not all(map(math.isfinite, differences)):
        return 0.0
    mean, error = statistics.fmean(differences), statistics.stdev(differences) / math.sqrt(n)
    return float(stdtr(n - 1, -mean / error)) if error > 0 else float(mean <= 0)


def _work(outcomes: Outcomes, options: Options) -> None:
    """Runs the missing trials."""
    for seed in options.seeds or range(SEEDS):
        for name, kind in KINDS.items():
            if kind.group == options.group and (not options.problems or name in options.problems):
                for guard in (False, True):
                    outcomes.add((name, guard, seed), functools.partial(_outcome, name, guard, seed))


def _lines(outcomes: Outcomes, options: Options) -> list[str]:
    return lines(outcomes, options.group)


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--group", choices=(CHOICE, REPORT), default=REPORT)


STUDY = Study("harm", KEY, _work, _lines, _add_options)
"""A group takes about a quarter of an hour."""
measure, main = STUDY.measure, STUDY.main
