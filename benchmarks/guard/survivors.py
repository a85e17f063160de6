"""Tables of which methods survive which faults."""

import math
import statistics
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from benchmarks.guard.trials import METHODS
from benchmarks.report import table

TOLERANCE = 0.05
BASELINES = ("no guard", "plain loop")
ALARMS = ("lower", "rewind", "stop")
"""Kinds of events by which the guard reports divergence."""
CONTROLS = ("nothing", "a step with lr 0")
"""No faults: how many runs survive them shows how far survival depends on chance. They always count."""
KEY = ("problem", "fault", "method", "seed")
ONSET = 0.4
"""Share of the run before a fault begins."""


class Survival:
    """Outcomes, by (problem, fault, method, seed).

    Attributes:
        outcomes: as they were stored.
        losses: validation loss at the end.
        methods, faults: those that occur, in order.
        spread: standard deviation between seeds of the losses without a fault, by problem.
    """

    def __init__(self, outcomes: Iterable[dict[str, Any]], problems: Sequence[str], faults: Sequence[str]) -> None:
        self.outcomes = {tuple(o[name] for name in KEY): o for o in outcomes if o["problem"] in problems}
        self.losses = {key: o["loss"] for key, o in self.outcomes.items()}
        self.methods = [m for m in METHODS if any(key[2] == m for key in self.outcomes)]
        self.faults = [f for f in faults if any(key[1] == f for key in self.outcomes)]
        by_problem = defaultdict(list)
        for (problem, fault, method, _), loss in self.losses.items():
            if (fault, method) == ("nothing", "no guard"):
                by_problem[problem].append(loss)
        self.spread = {problem: statistics.stdev(values) for problem, values in by_problem.items()}

    def trials(self, fault: str) -> list[tuple[str, int]]:
        """(problem, seed) of the runs with a fault."""
        return sorted({(p, s) for p, f, m, s in self.losses if f == fault and (f != "nothing" or m != "no guard")})

    def healthy_loss(self, problem: str, seed: int) -> float:
        """Without a fault and without a guard."""
        return self.losses[problem, "nothing", "no guard", seed]

    def harms(self, problem: str, fault: str, method: str, seed: int) -> bool:
        """Whether the fault worsens a method's loss at the end by more than the spread between seeds."""
        loss = self.losses.get((problem, fault, method, seed), -math.inf)
        return loss - self.healthy_loss(problem, seed) > self.spread[problem]

    def counts(self, fault: str, baselines: Sequence[str] = BASELINES) -> list[tuple[str, int]]:
        """(problem, seed) where the fault harms one of the unguarded runs; all of them for controls."""
        pairs = self.trials(fault)
        return [(p, s) for p, s in pairs if fault in CONTROLS or any(self.harms(p, fault, m, s) for m in baselines)]

    def survives(self, problem: str, fault: str, method: str, seed: int) -> bool:
        base = self.healthy_loss(problem, seed)
        return self.losses[problem, fault, method, seed] <= base + max(TOLERANCE * abs(base), self.spread[problem])

    def share(self, faults: Iterable[str], method: str, baselines: Sequence[str] = BASELINES) -> str:
        """Survivors / runs that count."""
        keys = [(p, f, method, s) for f in faults for p, s in self.counts(f, baselines)]
        keys = [key for key in keys if key in self.losses]
        return f"{sum(self.survives(*key) for key in keys)} / {len(keys)}" if keys else ""

    def delays(self, fault: str) -> list[float]:
        """Steps from the fault's first one, which is 1, to the guard's first alarm; infinite where there is none."""
        outcomes = [self.outcomes.get((p, fault, "guard", s)) for p, s in self.counts(fault)]
        return [_delay(o) for o in outcomes if o is not None]


def _delay(outcome: dict[str, Any]) -> float:
    onset = outcome["onset"]
    alarms = (at - onset + 1 for at, _, kind in outcome["events"] if kind in ALARMS and at >= onset)
    return next(alarms, math.inf)


def lines(survival: Survival, details: bool = False) -> list[str]:
    """Lines of the report."""
    faults = [f for f in survival.faults if f not in CONTROLS]
    visible = [f for f in faults if not f.startswith("hidden")]
    rows = [[fault, *(survival.share([fault], m) for m in survival.methods)] for fault in survival.faults]
    rows += [["all but the hidden", *(survival.share(visible, m) for m in survival.methods)]]
    rows += [["all faults", *(survival.share(faults, m) for m in survival.methods)]]
    only_finite = [survival.share(faults, m, ("no guard",)) for m in survival.methods]
    rows += [["those that also harm a run that skips non-finite steps", *only_finite]]
    how = (
        f"Survivors / runs that count, over {', '.join(sorted(survival.spread))}. A fault begins after {ONSET:.0%} of "
        "the run. It counts if an unguarded run (plain loop, or no guard but non-finite steps skipped) ends worse by "
        "more than the standard deviation between seeds. A run survives if its validation loss at the end is within "
        f"max({TOLERANCE:.0%}, that deviation) of the run without a fault. *nothing* and *a step with lr 0* are no "
        "faults: a run that does not survive them was harmed by the method itself, or by chance."
    )
    text = [how, "", *table(["fault", *survival.methods], rows)]
    if "guard" in survival.methods:
        text += ["", "Steps to the guard's first alarm (lower, rewind or stop), where the fault counts.", ""]
        text += table(["fault", "median", "maximum", "runs"], [_delays(survival, f) for f in faults])
    return text + (["", *_details(survival)] if details else [])


def _delays(survival: Survival, fault: str) -> list[str]:
    delays = survival.delays(fault)
    return [fault, f"{statistics.median(delays):g}" if delays else "", f"{max(delays, default=0):g}", f"{len(delays)}"]


def _details(survival: Survival) -> list[str]:
    """Every run with a fault: its loss at the end ÷ that without, in brackets where the fault does not count."""
    rows = []
    for fault in survival.faults:
        pairs = set(survival.counts(fault))
        for p, s in survival.trials(fault):
            cells = [_cell(survival, (p, fault, m, s), (p, s) in pairs) for m in survival.methods]
            rows.append([fault, p, str(s), *cells])
    spreads = (f"{p} {survival.healthy_loss(p, 0):.4f} ± {d:.4f}" for p, d in survival.spread.items())
    how = "Loss at the end ÷ without a fault (! did not survive; in brackets: does not count); guard events by kind."
    header = ["fault", "problem", "seed", *survival.methods]
    return [
        f"Without a fault, seed 0 ± deviation between seeds: {'; '.join(spreads)}.",
        "",
        how,
        "",
        *table(header, rows),
    ]


def _cell(survival: Survival, key: tuple[str, str, str, int], counts: bool) -> str:
    if key not in survival.losses:
        return ""
    ratio = f"{survival.losses[key] / survival.healthy_loss(key[0], key[3]):.3g}" + (
        "" if survival.survives(*key) else " !"
    )
    kinds = [kind for _, _, kind in survival.outcomes[key]["events"]] if key[2] == "guard" else []
    counts_by_kind = "".join(f" {kind} {kinds.count(kind)}" for kind in dict.fromkeys(kinds))
    stop = survival.outcomes[key]["stopped"]
    text = ratio + counts_by_kind + (f" stopped at {stop}" if stop else "")
    return text if counts else f"({text})"
