"""How good the learning rate finders are: each one's rate against a grid of rates, all trained to the end.

For each problem a grid of rates, a quarter of a decade apart around the rule's default rate and three decades to each
side, is trained in full, without a guard; it is widened until its best rate is well inside. Then each method finds its
rate, and the problem is trained in full at that very rate. Loss is the validation loss at the end, infinite where it is
not finite. A method's ratio is its loss ÷ the grid's best, left out where losses fall below 0; its regret is the share
that it lacks of what the best rate gains: (loss − best) ÷ (loss at the start − best). Costs are relative to that full
run, in steps and in processor seconds of one thread; what a method imports and compiles once for a rule is not counted.

    python -m benchmarks.rates --problems dense-adam --methods find_lr --out DIR    # a part; adds to what is in DIR
    python -m benchmarks.rates --report DIR [--details]                             # the tables of what is in DIR
"""

import functools
import importlib.util
import math
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

import steepest as sd
from benchmarks import trials
from benchmarks.problems import Problem, find
from benchmarks.range_tests import PACKAGES, PEERS, Finder, Found
from benchmarks.rate_problems import RATE_PROBLEMS
from benchmarks.report import MISSING, table
from benchmarks.trials import Kept

TITLE = "Learning rates found"

OURS = "find_lr"
TOGETHER = "together"
"""How our search trains its rates where a population wins."""
GRID, START = "grid", "start"
KEY = ("problem", "seed", "method", "at")
"""`at` is a rate's place on the grid: quarter decades above the default rate."""
SEEDS = (0,)
SIDE = 12
"""Quarter decades to each side of the default rate."""
MARGIN, FARTHEST = 2, 20
"""The best rate is so far inside the grid, unless the grid would have to be wider than this."""


def ours(problem: Problem, seed: int) -> Found:
    """Our own search."""
    rates = sd.find_lr(
        problem.descent(seed).task, problem.rule, schedule=problem.schedule, batch_size=problem.batch_size,
        steps=problem.steps, seed=seed,
    )  # fmt: skip
    return Found(replace(problem, lr=rates.best), rates.steps, rates.way)


def _installed(name: str) -> bool:
    return name not in PACKAGES or importlib.util.find_spec(PACKAGES[name]) is not None


OWN: dict[str, Finder] = {OURS: ours} if hasattr(sd, "find_lr") else {}
METHODS = {**OWN, **{name: method for name, method in PEERS.items() if _installed(name)}}


# -- Doing -------------------------------------------------------------------------------------------------------------


def work(kept: Kept, problems: Iterable[Problem], methods: Sequence[str], seeds: Sequence[int]) -> None:
    """Does the runs that are not there yet."""
    for problem in problems:
        for seed in seeds:
            _grid(kept, problem, seed)
            for method in methods:
                trial = _trial(problem, seed, method)
                kept.add(trial, lambda p=problem, s=seed, m=method: _outcome(p, s, m))


def _trial(problem: Problem, seed: int, method: str, at: int | None = None) -> dict[str, Any]:
    return dict(zip(KEY, (problem.name, seed, method, at), strict=True))


def _grid(kept: Kept, problem: Problem, seed: int) -> None:
    """Trains at all rates of the grid, which is widened while its best is near an edge."""
    kept.add(_trial(problem, seed, START), lambda: {"loss": problem.descent(seed).measure()["loss"]})
    low, high = -SIDE, SIDE
    while True:
        for at in range(low, high + 1):
            rate = float(f"{problem.lr * 10 ** (at / 4):.4g}")
            tuned = replace(problem, lr=rate)
            kept.add(_trial(problem, seed, GRID, at), lambda p=tuned: {"rate": p.lr, "loss": _trained(p, seed)})
        losses = Lab(kept).grids[problem.name, seed]
        best = min(losses, key=lambda at: losses[at][1])
        if best < low + MARGIN and low > -FARTHEST:
            low -= 1
        elif best > high - MARGIN and high < FARTHEST:
            high += 1
        else:
            return


def _trained(problem: Problem, seed: int) -> float:
    """Validation loss at the end of a full run."""
    descent = problem.descent(seed, guard=False)
    for _ in descent:
        pass
    loss = descent.measure()["loss"]
    return loss if math.isfinite(loss) else math.inf


def _outcome(problem: Problem, seed: int, method: str) -> dict[str, Any]:
    _used_once(method, problem.rule)
    searched, found = _timed(lambda: METHODS[method](problem, seed))
    trained, loss = _timed(lambda: _trained(found.tuned or problem, seed))
    return {
        "rate": found.tuned and found.tuned.lr,
        "loss": loss if found.tuned else math.inf,
        "steps": found.steps / problem.steps,
        "time": searched / trained,
        "way": found.way,
    }


@functools.cache
def _used_once(method: str, rule: str) -> None:
    """Imports and compiles what a method needs for a rule, on the first problem that has the rule."""
    METHODS[method](next(p for p in RATE_PROBLEMS if p.rule == rule), 0)


def _timed(call: Callable[[], Any]) -> tuple[float, Any]:
    """Processor seconds, which other work on the machine does not lengthen, and what the call gives."""
    began = time.process_time()
    found = call()
    return time.process_time() - began, found


# -- What the outcomes say ---------------------------------------------------------------------------------------------

Case = tuple[str, int]
"""A problem's name and a seed."""


class Lab:
    """What is known from the outcomes in a folder.

    Attributes:
        starts: loss at the start by case.
        grids: by case (rate, loss) by place on the grid.
        found: a method's outcome by (method, case).
    """

    def __init__(self, outcomes: Iterable[dict[str, Any]], problems: Sequence[Problem] = RATE_PROBLEMS) -> None:
        self.starts: dict[Case, float] = {}
        self.grids: dict[Case, dict[int, tuple[float, float]]] = {}
        self.found: dict[tuple[str, Case], dict[str, Any]] = {}
        names = [p.name for p in problems]
        for o in sorted((o for o in outcomes if o["problem"] in names), key=lambda o: names.index(o["problem"])):
            case = o["problem"], o["seed"]
            if o["method"] == START:
                self.starts[case] = o["loss"]
            elif o["method"] == GRID:
                self.grids.setdefault(case, {})[o["at"]] = o["rate"], o["loss"]
            else:
                self.found[o["method"], case] = o
        self.methods = [m for m in (OURS, *PEERS) if any(m == method for method, _ in self.found)]

    def cases(self, method: str) -> list[Case]:
        """Those where a method was tried."""
        return [case for m, case in self.found if m == method]

    def best(self, case: Case) -> tuple[float, float]:
        """Rate and loss."""
        return min(self.grids[case].values(), key=lambda found: found[1])

    def ratios(self, method: str) -> list[float]:
        """Loss ÷ the grid's best, where losses stay above 0."""
        pairs = [(self.found[method, case]["loss"], self.best(case)[1]) for case in self.cases(method)]
        return [loss / best for loss, best in pairs if best > 0]

    def regret(self, method: str, case: Case) -> float:
        """Share of the gap between start and best that a method leaves."""
        _, best = self.best(case)
        return (self.found[method, case]["loss"] - best) / (self.starts[case] - best)

    def regrets(self, method: str) -> list[float]:
        return [self.regret(method, case) for case in self.cases(method)]

    def cost(self, method: str, unit: str, way: str | None = None) -> float:
        """Median of the search's steps or time ÷ those of a full run; NaN where there is none."""
        found = [self.found[method, case] for case in self.cases(method)]
        costs = [o[unit] for o in found if way is None or o["way"] == way]
        return statistics.median(costs) if costs else math.nan


def _within(limit: float, values: Sequence[float]) -> float:
    """Share of values that are at most the limit."""
    return sum(value <= limit for value in values) / len(values)


# -- Report ------------------------------------------------------------------------------------------------------------


def lines(lab: Lab, details: bool = False) -> list[str]:
    """Lines of the report."""
    problems = len({name for name, _ in lab.grids})
    how = (
        f"{problems} problems. *ratio*: validation loss at the end ÷ the best of a quarter-decade grid of rates; "
        "*gap*: from the loss at the start to that best; *regret*: the share of it that is not reached; *cost*: of the "
        "search ÷ a full run, median, in processor time. Prodigy's search is its training, in place of the rule's."
    )
    header = ["method", "ratio, median", "ratio ≤ 2", "within 10 % of the gap", "within 20 %", "worst regret"]
    header += ["cost in steps", "cost in time"]
    rows = [_row(lab, method) for method in lab.methods]
    rows += [[name, MISSING, *[""] * 6] for name in PEERS if not _installed(name)]
    found = [how, "", *table(header, rows)]
    if OURS in lab.methods:
        found += ["", *table(["goal", f"`{OURS}`", "target", "met"], _goals(lab))]
    return found + ["", *_each(lab)] + (["", *_grids(lab)] if details else [])


def _row(lab: Lab, method: str) -> list[str]:
    ratios, regrets = lab.ratios(method), lab.regrets(method)
    return [
        method,
        f"{statistics.median(ratios):.3g}" if ratios else "",
        _share(_within(2, ratios)) if ratios else "",
        _share(_within(0.1, regrets)),
        _share(_within(0.2, regrets)),
        _percent(max(regrets)),
        _number(lab.cost(method, "steps")),
        _number(lab.cost(method, "time")),
    ]


def _goals(lab: Lab) -> list[list[str]]:
    ratios, regrets = lab.ratios(OURS), lab.regrets(OURS)
    median = statistics.median(ratios) if ratios else math.nan
    twice = _within(2, ratios) if ratios else math.nan
    tenth, fifth = _within(0.1, regrets), _within(0.2, regrets)
    steps, together = lab.cost(OURS, "steps"), lab.cost(OURS, "time", TOGETHER)
    count = sum(lab.found[OURS, case]["way"] == TOGETHER for case in lab.cases(OURS))
    rows = [
        ("ratio, median", f"{median:.3g}", "≤ 1.2", median <= 1.2),
        ("ratio ≤ 2", _share(twice), "90 %", twice >= 0.9),
        ("within 10 % of the gap", _share(tenth), "95 %", tenth >= 0.95),
        ("within 20 % of the gap", _share(fifth), "100 %", fifth == 1),
        ("cost in steps, median", _number(steps), "≤ 1.75", steps <= 1.75),
        (f"cost in time, median of the {count} where a population wins", _number(together), "≤ 0.5", together <= 0.5),
    ]
    return [[words, value, target, "yes" if met else "no"] for words, value, target, met in rows]


def _each(lab: Lab) -> list[str]:
    rows = []
    for case in lab.grids:
        rate, loss = lab.best(case)
        rows.append([_named(case), f"{rate:.2g}", f"{loss:.4g}", *(_cell(lab, m, case) for m in lab.methods)])
    how = "Each method's rate and, in brackets, its regret in per cent."
    return [how, "", *table(["problem", "best rate", "loss", *lab.methods], rows)]


def _cell(lab: Lab, method: str, case: Case) -> str:
    if (method, case) not in lab.found:
        return ""
    rate = lab.found[method, case]["rate"]
    return "none" if rate is None else f"{rate:.2g} ({_percent(lab.regret(method, case)).removesuffix(' %')})"


def _grids(lab: Lab) -> list[str]:
    """Every problem's losses on the grid."""
    rows = []
    for case, grid in lab.grids.items():
        shown = (f"{rate:.2g}: {loss:.4g}" for rate, loss in (grid[at] for at in sorted(grid)))
        rows.append([_named(case), f"{lab.starts[case]:.4g}", ", ".join(shown)])
    return table(["problem", "loss at the start", "losses by rate"], rows)


def _named(case: Case) -> str:
    name, seed = case
    return name if seed == SEEDS[0] else f"{name}, seed {seed}"


def _share(share: float) -> str:
    return f"{100 * share:.0f} %"


def _percent(regret: float) -> str:
    return "fails" if math.isinf(regret) else f"{100 * regret:.3g} %" if regret < 10 else f"{100 * regret:.1e} %"


def _number(cost: float) -> str:
    return "" if math.isnan(cost) else f"{cost:.2f}"


# -- Commands ----------------------------------------------------------------------------------------------------------


def measure() -> list[str]:
    """Lines of the report: all of it, from nothing. It takes about twenty minutes."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        kept = Kept(Path(folder), *KEY)
        work(kept, RATE_PROBLEMS, list(METHODS), SEEDS)
        return lines(Lab(kept))


def main() -> None:
    """The command line."""
    parser = trials.parser(__doc__)
    parser.add_argument("--methods", nargs="*", default=list(METHODS), choices=list(METHODS))
    given = parser.parse_args()
    problems, kept = find(given.problems, RATE_PROBLEMS), trials.kept(given, KEY)
    if given.report is None:
        work(kept, problems, given.methods, SEEDS if given.seeds is None else given.seeds)
    trials.told(given, "rates", lines(Lab(kept, problems), given.details), kept)


if __name__ == "__main__":
    main()
