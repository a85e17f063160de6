"""What is known from the outcomes of learning rate finders: ratios, regrets, costs, and the tables of the report."""

import importlib.util
import math
import statistics
from collections.abc import Iterable, Sequence
from typing import Any

from benchmarks.problems.problems import Problem
from benchmarks.rates.range_tests import PACKAGES, PEERS
from benchmarks.rates.rate_problems import RATE_PROBLEMS
from benchmarks.report import MISSING, table

OURS = "find_lr"
TOGETHER = "together"
"""How our search trains its rates where a population wins."""
GRID, START = "grid", "start"
KEY = ("problem", "seed", "method", "at")
"""`at` is a rate's place on the grid: quarter decades above the default rate."""
SEEDS = (0,)


def installed(name: str) -> bool:
    return name not in PACKAGES or importlib.util.find_spec(PACKAGES[name]) is not None


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
        costs = [o[unit] for o in found if unit in o and way in (None, o["way"])]
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
        "search ÷ a full run of ours, and ÷ a plain loop of torch with DataLoader and Adam, medians, in processor "
        "time. Prodigy's search is its training, in place of the rule's."
    )
    header = ["method", "ratio, median", "ratio ≤ 2", "within 10 % of the gap", "within 20 %", "worst regret"]
    header += ["cost in steps", "in time", "in plain loops"]
    rows = [_row(lab, method) for method in lab.methods]
    rows += [[name, MISSING, *[""] * 7] for name in PEERS if not installed(name)]
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
        _number(lab.cost(method, "plain")),
    ]


def _goals(lab: Lab) -> list[list[str]]:
    ratios, regrets = lab.ratios(OURS), lab.regrets(OURS)
    median = statistics.median(ratios) if ratios else math.nan
    twice = _within(2, ratios) if ratios else math.nan
    tenth, fifth = _within(0.1, regrets), _within(0.2, regrets)
    words = "time ÷ a plain loop's, median of the {} where a population wins"
    steps, together = lab.cost(OURS, "steps"), lab.cost(OURS, "plain", TOGETHER)
    count = sum(lab.found[OURS, case]["way"] == TOGETHER for case in lab.cases(OURS))
    rows = [
        ("ratio, median", f"{median:.3g}", "≤ 1.2", median <= 1.2),
        ("ratio ≤ 2", _share(twice), "90 %", twice >= 0.9),
        ("within 10 % of the gap", _share(tenth), "95 %", tenth >= 0.95),
        ("within 20 % of the gap", _share(fifth), "100 %", fifth == 1),
        ("cost in steps, median", _number(steps), "≤ 1.75", steps <= 1.75),
        (words.format(count), _number(together), "≤ 0.5", together <= 0.5),
    ]
    return [[name, value, target, "yes" if met else "no"] for name, value, target, met in rows]


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
