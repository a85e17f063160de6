"""Who survives: what the outcomes of faulted runs say, as tables."""

import math
import statistics
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from benchmarks.guard.trials import METHODS
from benchmarks.report import table

TOLERANCE = 0.05
UNGUARDED = ("no guard", "plain loop")
ALARMS = ("lower", "rewind", "stop")
"""Kinds of events that say that the run diverges."""
CONTROLS = ("nothing", "a step at rate 0")
"""No faults: how many survive them says what survival can mean. They always count."""
KEY = ("problem", "fault", "method", "seed")
BEGIN = 0.4
"""Share of the run that is done when a fault begins."""


class Lab:
    """What is known from the outcomes in a folder.

    Attributes:
        losses: validation loss at the end by (problem, fault, method, seed).
        found: everything, likewise.
        methods, faults: those that occur, in order.
        spread: standard deviation of the unfaulted losses between seeds, by problem.
    """

    def __init__(self, outcomes: Iterable[dict[str, Any]], problems: Sequence[str], faults: Sequence[str]) -> None:
        self.found = {tuple(o[name] for name in KEY): o for o in outcomes if o["problem"] in problems}
        self.losses = {key: o["loss"] for key, o in self.found.items()}
        self.methods = [m for m in METHODS if any(key[2] == m for key in self.found)]
        self.faults = [f for f in faults if any(key[1] == f for key in self.found)]
        by_problem = defaultdict(list)
        for (problem, fault, method, _), loss in self.losses.items():
            if (fault, method) == ("nothing", "no guard"):
                by_problem[problem].append(loss)
        self.spread = {problem: statistics.stdev(values) for problem, values in by_problem.items()}

    def trials(self, fault: str) -> list[tuple[str, int]]:
        """(problem, seed) of which there are faulted runs."""
        asked = {(p, s) for p, f, m, s in self.losses if f == fault and (f != "nothing" or m != "no guard")}
        return sorted(asked)

    def unfaulted(self, problem: str, seed: int) -> float:
        return self.losses[problem, "nothing", "no guard", seed]

    def harmed(self, problem: str, fault: str, method: str, seed: int) -> bool:
        """Whether the fault makes a method's end worse by more than the spread between seeds."""
        loss = self.losses.get((problem, fault, method, seed), -math.inf)
        return loss - self.unfaulted(problem, seed) > self.spread[problem]

    def counts(self, fault: str, unguarded: Sequence[str] = UNGUARDED) -> list[tuple[str, int]]:
        """(problem, seed) where one of the unguarded runs is harmed; all of them for controls."""
        pairs = self.trials(fault)
        return [(p, s) for p, s in pairs if fault in CONTROLS or any(self.harmed(p, fault, m, s) for m in unguarded)]

    def survived(self, problem: str, fault: str, method: str, seed: int) -> bool:
        base = self.unfaulted(problem, seed)
        allowed = base + max(TOLERANCE * abs(base), self.spread[problem])
        return self.losses[problem, fault, method, seed] <= allowed

    def share(self, faults: Iterable[str], method: str, unguarded: Sequence[str] = UNGUARDED) -> str:
        """Survivors / counted."""
        keys = [(p, f, method, s) for f in faults for p, s in self.counts(f, unguarded)]
        done = [key for key in keys if key in self.losses]
        return f"{sum(self.survived(*key) for key in done)} / {len(done)}" if done else ""

    def delays(self, fault: str) -> list[float]:
        """Steps from the first faulty one (it is 1) to the guard's first alarm; infinite where there is none."""
        found = [self.found.get((p, fault, "guard", s)) for p, s in self.counts(fault)]
        return [_delay(o) for o in found if o is not None]


def _delay(outcome: dict[str, Any]) -> float:
    onset = outcome["onset"]
    alarms = (at - onset + 1 for at, _, kind in outcome["events"] if kind in ALARMS and at >= onset)
    return next(alarms, math.inf)


def lines(lab: Lab, details: bool = False) -> list[str]:
    """Lines of the report."""
    faults = [f for f in lab.faults if f not in CONTROLS]
    rows = [[fault, *(lab.share([fault], m) for m in lab.methods)] for fault in lab.faults]
    seen = [f for f in faults if not f.startswith("unseen")]
    rows += [["all but the unseen", *(lab.share(seen, m) for m in lab.methods)]]
    rows += [["all faults", *(lab.share(faults, m) for m in lab.methods)]]
    skipped = [lab.share(faults, m, ("no guard",)) for m in lab.methods]
    rows += [["those that harm without a guard though non-finite steps are skipped", *skipped]]
    how = (
        f"Survivors / runs that count, over {', '.join(sorted(lab.spread))}. A fault begins at {BEGIN:.0%} of the run; "
        "it counts where it makes an unguarded run (plain loop, or no guard but non-finite steps skipped) end worse by "
        "more than the standard deviation between seeds. Survived: the validation loss at the end is within "
        f"max({TOLERANCE:.0%}, that deviation) of the unfaulted run's. *nothing* and *a step at rate 0* are no "
        "faults: what does not survive them is the method's own doing, or chance."
    )
    found = [how, "", *table(["fault", *lab.methods], rows)]
    if "guard" in lab.methods:
        found += ["", "Steps to the guard's first alarm (lower, rewind or stop), where the fault counts.", ""]
        found += table(["fault", "median", "greatest", "runs"], [_delays(lab, f) for f in faults])
    return found + (["", *_details(lab)] if details else [])


def _delays(lab: Lab, fault: str) -> list[str]:
    delays = lab.delays(fault)
    return [fault, f"{statistics.median(delays):g}" if delays else "", f"{max(delays, default=0):g}", f"{len(delays)}"]


def _details(lab: Lab) -> list[str]:
    """Every faulted run: loss at the end ÷ the unfaulted one's, in brackets where the fault does not count."""
    rows = []
    for fault in lab.faults:
        counted = set(lab.counts(fault))
        for p, s in lab.trials(fault):
            cells = [_cell(lab, (p, fault, m, s), (p, s) in counted) for m in lab.methods]
            rows.append([fault, p, str(s), *cells])
    spreads = (f"{p} {lab.unfaulted(p, 0):.4f} ± {d:.4f}" for p, d in lab.spread.items())
    how = "Loss at the end ÷ unfaulted (! did not survive; in brackets: does not count); events of the guard by kind."
    header = ["fault", "problem", "seed", *lab.methods]
    return [f"Unfaulted, seed 0 ± deviation between seeds: {'; '.join(spreads)}.", "", how, "", *table(header, rows)]


def _cell(lab: Lab, key: tuple[str, str, str, int], counts: bool) -> str:
    if key not in lab.losses:
        return ""
    ratio = f"{lab.losses[key] / lab.unfaulted(key[0], key[3]):.3g}" + ("" if lab.survived(*key) else " !")
    kinds = [kind for _, _, kind in lab.found[key]["events"]] if key[2] == "guard" else []
    seen = "".join(f" {kind} {kinds.count(kind)}" for kind in dict.fromkeys(kinds))
    stop = lab.found[key]["stopped"]
    text = ratio + seen + (f" stopped at {stop}" if stop else "")
    return text if counts else f"({text})"
