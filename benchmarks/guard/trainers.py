"""Faults and healthy trainings in loops that people have: plain PyTorch, Transformers' Trainer, Lightning's.

What a watched loop does was chosen on the group "choice" in the plain loop; the group "report" is what is published.
A fault counts, and a run survives it, as in the guard's other benchmarks; its twin is the same loop or trainer without
a fault and without Steepest. The healthy kinds are those of `harm`, in a plain loop, beside the same in `fit`.
"""

import argparse
import contextlib
import functools
import hashlib
import io
import math
import statistics
import tempfile
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch.nn.utils import parameters_to_vector

from benchmarks.guard import fault_kinds, harm
from benchmarks.guard.faults import FAULTS
from benchmarks.guard.healthy.training import CHOICE, KINDS, REPORT
from benchmarks.guard.loops import TRAINERS, Loop
from benchmarks.guard.survivors import CONTROLS, KEY, ONSET, Survival
from benchmarks.guard.trials import Fault
from benchmarks.parts import Options, Outcomes, Study
from benchmarks.problems.problems import GROUPS, Problem, find
from benchmarks.report import check, table

TITLE = "In loops and trainers that people have"
METHODS = ("no guard", "guard")
SPREAD_SEEDS = range(4)
HEALTHY_SEEDS = (0, 1)
PROBLEMS_OF, SAMPLE = {"plain loop": 2}, 3
"""How many of a group's problems a loop is given; and of its healthy kinds every third is run: a fixed sample, so that
the whole takes about eight minutes."""
SHARE = 0.9
"""Target of the survivors."""


def _kinds(group: str) -> dict[str, Any]:
    return {name: make for name, make in FAULTS.items() if name not in CONTROLS} | fault_kinds.KINDS[group]


def _fault_outcome(problem: Problem, trainer: str, make: Any, method: str, seed: int) -> dict[str, Any]:
    torch.manual_seed(seed)
    loop = Loop(problem.descent(seed, guard=False), problem.rule, problem.lr, make())
    loss, events = _train(loop, trainer, method == "guard")
    return {"loss": loss, "events": events, "onset": math.floor(ONSET * problem.steps) + 1, "stopped": None}


def _train(loop: Loop, trainer: str, is_watched: bool) -> tuple[float, list[Any]]:
    """The loss at the end, infinite where it is not finite, and the events of a loop that is watched."""
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as quiet:
        quiet.enter_context(contextlib.redirect_stderr(io.StringIO()))
        quiet.enter_context(contextlib.redirect_stdout(io.StringIO()))
        quiet.enter_context(warnings.catch_warnings(action="ignore"))
        run = TRAINERS[trainer](loop, Path(folder) if is_watched else None)
        events = [(e.t, e.t, e.kind) for e in run.events] if run else []
    loss = loop.end_loss()
    return loss if math.isfinite(loss) else math.inf, events


def _healthy_outcome(name: str, method: str, seed: int) -> dict[str, Any]:
    """A healthy kind in a plain loop."""
    training = KINDS[name].make(seed)
    settings = {"schedule": "constant", "batch_size": None, **training.settings}
    torch.manual_seed(seed)
    descent = Problem(name, lambda: training.task, **settings).descent(seed, guard=False)
    loop = Loop(descent, settings["rule"], settings["lr"], body=training.body)
    loss, events = _train(loop, "plain loop", method == "guard")
    weights = parameters_to_vector(training.task.model.parameters()).detach().numpy().tobytes()
    return {"loss": loss, "weights": hashlib.sha256(weights).hexdigest()[:16], "events": events}


def _places(options: Options) -> list[tuple[Problem, str]]:
    """Problems and where they are trained: two of them in the plain loop, the first one in the trainers too."""
    group, names = fault_kinds.PROBLEMS[options.group]
    problems = find(options.problems or names, GROUPS[group])
    return [(p, t) for t in options.trainers for p in problems[: PROBLEMS_OF.get(t, 1)]]


def _name(problem: Problem, trainer: str) -> str:
    return f"{problem.name}, {trainer}"


def _work(outcomes: Outcomes, options: Options) -> None:
    """Runs the missing trials, and the runs without a fault that they are compared with."""
    seeds = options.seeds or [0]
    for problem, trainer in _places(options):
        runs = [("nothing", Fault, "no guard", s) for s in sorted({*SPREAD_SEEDS, *seeds})]
        runs += [("nothing", Fault, "guard", s) for s in seeds]
        runs += [(f, make, m, s) for s in seeds for f, make in _kinds(options.group).items() for m in METHODS]
        for fault, make, method, seed in runs:
            run = functools.partial(_fault_outcome, problem, trainer, make, method, seed)
            outcomes.add((_name(problem, trainer), fault, method, seed), run)
    for seed in HEALTHY_SEEDS if options.healthy else ():
        for name in _healthy_kinds(options):
            for method in METHODS:
                loop = functools.partial(_healthy_outcome, name, method, seed)
                fit = functools.partial(harm._outcome, name, method == "guard", seed)
                outcomes.add((name, "in a loop", method, seed), loop)
                outcomes.add((name, "in fit", method, seed), fit)


def _healthy_kinds(options: Options) -> list[str]:
    return [name for name, kind in KINDS.items() if kind.group == options.group][::SAMPLE]


def _lines(outcomes: Outcomes, options: Options) -> list[str]:
    healthy = [o for o in outcomes if o["fault"] in ("in a loop", "in fit")]
    return [*_fault_lines(outcomes, options), *(_healthy_lines(healthy) if healthy else [])]


def _fault_lines(outcomes: Iterable[dict[str, Any]], options: Options) -> list[str]:
    outcomes, places = list(outcomes), _places(options)
    survivals = {
        t: Survival(outcomes, [_name(p, own) for p, own in places if own == t], ["nothing", *_kinds(options.group)])
        for t in dict.fromkeys(t for _, t in places)
    }
    kinds = list(_kinds(options.group))
    rows = [[f, *(s.share([f], m) for s in survivals.values() for m in METHODS)] for f in ["nothing", *kinds]]
    rows += [["all faults", *(s.share(kinds, m) for s in survivals.values() for m in METHODS)]]
    shares = {t: _fraction(s.share(kinds, "guard")) for t, s in survivals.items()}
    goals = (f"{t} {share:.0%}, met {check(-share, -SHARE)}" for t, share in shares.items())
    header = [cell for t in survivals for cell in (f"{t} alone", f"{t} with Steepest")]
    how = (
        f"Survivors / runs that count, group {options.group!r}, seeds {', '.join(map(str, options.seeds or [0]))}: "
        f"{'; '.join(f'{p.name} in {t}' for p, t in places)}. A fault begins after {ONSET:.0%} of the run, counts if "
        "it harms the loop alone, and is survived, as in *Surviving faults*; the loader goes on after a rewind."
    )
    return [how, "", *table(["fault", *header], rows), "", f"Survived, target ≥ {SHARE:.0%}: {'; '.join(goals)}."]


def _fraction(share: str) -> float:
    survivors, _, runs = share.partition("/")
    return int(survivors) / int(runs) if runs else 1.0


def _healthy_lines(outcomes: list[dict[str, Any]]) -> list[str]:
    by_key = {tuple(o[name] for name in KEY): o for o in outcomes}
    rows, equal, worse, counts = [], {}, {}, {}
    for place in ("in a loop", "in fit"):
        names = list(dict.fromkeys(name for name, where, *_ in by_key if where == place))
        for name in names:
            seeds = [s for s in HEALTHY_SEEDS if (name, place, "guard", s) in by_key]
            pairs = [tuple(by_key[name, place, m, s] for m in METHODS) for s in seeds]
            ends = [statistics.fmean(pair[i]["loss"] for pair in pairs) for i in (0, 1)]
            same = sum(a["weights"] == b["weights"] for a, b in pairs)
            is_worse = all(b["loss"] > a["loss"] + 0.05 * abs(a["loss"]) for a, b in pairs)
            equal[place] = equal.get(place, 0) + same
            worse[place] = worse.get(place, 0) + is_worse
            counts[place] = counts.get(place, 0) + len(pairs)
            kinds = ", ".join(sorted({e[-1] for _, b in pairs for e in b["events"]}))
            if same < len(pairs):
                rows.append([name, place, f"{ends[0]:.4g}", f"{ends[1]:.4g}", f"{same} / {len(pairs)}", kinds])
    total = "; ".join(
        f"{place}: equal bit for bit {equal[place]} of {counts[place]}, worse by more than 5 % with every seed "
        f"{worse[place]} kinds" for place in counts
    )  # fmt: skip
    how = (
        f"Every third kind of *Healthy trainings of many kinds*, seeds {', '.join(map(str, HEALTHY_SEEDS))}: "
        f"{total}. Those that are not all equal:"
    )
    return ["", how, "", *table(["kind", "where", "unguarded", "guarded", "equal", "events"], rows)]


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--group", choices=(CHOICE, REPORT), default=REPORT)
    parser.add_argument("--trainers", nargs="*", default=list(TRAINERS), choices=list(TRAINERS))
    parser.add_argument("--no-healthy", dest="healthy", action="store_false")


STUDY = Study("trainers", KEY, _work, _lines, _add_options)
measure, main = STUDY.measure, STUDY.main
