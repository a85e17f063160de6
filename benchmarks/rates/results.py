"""Ratios, regrets and costs of learning-rate searches, and the tables of the report."""

import importlib.util
import math
import statistics
from collections.abc import Iterable, Sequence
from typing import Any

from benchmarks.problems.problems import Problem
from benchmarks.rates.range_tests import PACKAGES, PEERS
from benchmarks.rates.rate_problems import RATE_PROBLEMS
from benchmarks.report import ABSENT, table, yes

OURS = "find_lr"
BATCH_WAY = "together"
"""`SearchResult.way` where the members of our search are batched."""
GRID, START = "grid", "start"
KEY = ("problem", "seed", "method", "at")
"""`at` is a learning rate's place on the grid: quarter decades above the default one."""
SEEDS = (0,)


def is_installed(name: str) -> bool:
    return name not in PACKAGES or importlib.util.find_spec(PACKAGES[name]) is not None


Case = tuple[str, int]
"""A problem's name and a seed."""


class Results:
    """Outcomes, by case.

    Attributes:
        starts: loss at the start by case.
        grids: by case, (learning rate, loss) by place on the grid.
        outcomes: a method's outcome by (method, case).
    """

    def __init__(self, outcomes: Iterable[dict[str, Any]], problems: Sequence[Problem] = RATE_PROBLEMS) -> None:
        self.starts: dict[Case, float] = {}
        self.grids: dict[Case, dict[int, tuple[float, float]]] = {}
        self.outcomes: dict[tuple[str, Case], dict[str, Any]] = {}
        names = [p.name for p in problems]
        for o in sorted((o for o in outcomes if o["problem"] in names), key=lambda o: names.index(o["problem"])):
            case = o["problem"], o["seed"]
            if o["method"] == START:
                self.starts[case] = o["loss"]
            elif o["method"] == GRID:
                self.grids.setdefault(case, {})[o["at"]] = o["rate"], o["loss"]
            else:
                self.outcomes[o["method"], case] = o
        self.methods = [m for m in (OURS, *PEERS) if any(m == method for method, _ in self.outcomes)]

    def cases(self, method: str) -> list[Case]:
        """The cases that a method was tried on."""
        return [case for m, case in self.outcomes if m == method]

    def best(self, case: Case) -> tuple[float, float]:
        """Learning rate and loss."""
        return min(self.grids[case].values(), key=lambda pair: pair[1])

    def ratios(self, method: str) -> list[float]:
        """Loss ÷ the grid's best, where losses stay above 0."""
        pairs = [(self.outcomes[method, case]["loss"], self.best(case)[1]) for case in self.cases(method)]
        return [loss / best for loss, best in pairs if best > 0]

    def regret(self, method: str, case: Case) -> float:
        """Share of the gap between start and best loss that a method leaves."""
        _, best = self.best(case)
        return (self.outcomes[method, case]["loss"] - best) / (self.starts[case] - best)

    def regrets(self, method: str) -> list[float]:
        return [self.regret(method, case) for case in self.cases(method)]

    def cost(self, method: str, unit: str, way: str | None = None) -> float:
        """Median of the search's cost ÷ that of a full run; NaN where there is none."""
        outcomes = [self.outcomes[method, case] for case in self.cases(method)]
        costs = [o[unit] for o in outcomes if unit in o and way in (None, o["way"])]
        return statistics.median(costs) if costs else math.nan


def _within(limit: float, values: Sequence[float]) -> float:
    """Share of values that are at most the limit."""
    return sum(value <= limit for value in values) / len(values)


def lines(results: Results, details: bool = False) -> list[str]:
    """Lines of the report."""
    problems = len({name for name, _ in results.grids})
    how = (
        f"{problems} problems. *ratio*: validation loss at the end ÷ the best of a quarter-decade grid of learning "
        "rates; *gap*: from the loss at the start to that best; *regret*: the share of the gap that is not reached; "
        "*cost*: of the search ÷ a full run of ours, and ÷ a plain loop of torch with DataLoader and Adam, medians, in "
        "processor time. Prodigy needs no search: it trains in place of the rule."
    )
    header = ["method", "ratio, median", "ratio ≤ 2", "within 10 % of the gap", "within 20 %", "worst regret"]
    header += ["cost in steps", "in time", "in plain loops"]
    rows = [_row(results, method) for method in results.methods]
    rows += [[name, ABSENT, *[""] * 7] for name in PEERS if not is_installed(name)]
    text = [how, "", *table(header, rows)]
    if OURS in results.methods:
        text += ["", *table(["goal", f"`{OURS}`", "target", "met"], _goals(results))]
    return text + ["", *_each(results)] + (["", *_grids(results)] if details else [])


def _row(results: Results, method: str) -> list[str]:
    ratios, regrets = results.ratios(method), results.regrets(method)
    return [
        method,
        f"{statistics.median(ratios):.3g}" if ratios else "",
        _share(_within(2, ratios)) if ratios else "",
        _share(_within(0.1, regrets)),
        _share(_within(0.2, regrets)),
        _percent(max(regrets)),
        _number(results.cost(method, "steps")),
        _number(results.cost(method, "time")),
        _number(results.cost(method, "plain")),
    ]


def _goals(results: Results) -> list[list[str]]:
    ratios, regrets = results.ratios(OURS), results.regrets(OURS)
    median = statistics.median(ratios) if ratios else math.nan
    twice = _within(2, ratios) if ratios else math.nan
    tenth, fifth = _within(0.1, regrets), _within(0.2, regrets)
    words = "time ÷ a plain loop's, median of the {} with batched members"
    steps, plain = results.cost(OURS, "steps"), results.cost(OURS, "plain", BATCH_WAY)
    count = sum(results.outcomes[OURS, case]["way"] == BATCH_WAY for case in results.cases(OURS))
    rows = [
        ("ratio, median", f"{median:.3g}", "≤ 1.2", median <= 1.2),
        ("ratio ≤ 2", _share(twice), "90 %", twice >= 0.9),
        ("within 10 % of the gap", _share(tenth), "95 %", tenth >= 0.95),
        ("within 20 % of the gap", _share(fifth), "100 %", fifth == 1),
        ("cost in steps, median", _number(steps), "≤ 1.75", steps <= 1.75),
        (words.format(count), _number(plain), "≤ 0.5", plain <= 0.5),
    ]
    return [[name, value, target, yes(success)] for name, value, target, success in rows]


def _each(results: Results) -> list[str]:
    rows = []
    for case in results.grids:
        rate, loss = results.best(case)
        rows.append([_label(case), f"{rate:.2g}", f"{loss:.4g}", *(_cell(results, m, case) for m in results.methods)])
    how = "Each method's learning rate and, in brackets, its regret in percent."
    return [how, "", *table(["problem", "best lr", "loss", *results.methods], rows)]


def _cell(results: Results, method: str, case: Case) -> str:
    if (method, case) not in results.outcomes:
        return ""
    rate = results.outcomes[method, case]["rate"]
    return "none" if rate is None else f"{rate:.2g} ({_percent(results.regret(method, case)).removesuffix(' %')})"


def _grids(results: Results) -> list[str]:
    """Every problem's losses on the grid."""
    rows = []
    for case, grid in results.grids.items():
        cells = (f"{rate:.2g}: {loss:.4g}" for rate, loss in (grid[at] for at in sorted(grid)))
        rows.append([_label(case), f"{results.starts[case]:.4g}", ", ".join(cells)])
    return table(["problem", "loss at the start", "losses by lr"], rows)


def _label(case: Case) -> str:
    name, seed = case
    return name if seed == SEEDS[0] else f"{name}, seed {seed}"


def _share(share: float) -> str:
    return f"{100 * share:.0f} %"


def _percent(regret: float) -> str:
    return "fails" if math.isinf(regret) else f"{100 * regret:.3g} %" if regret < 10 else f"{100 * regret:.1e} %"


def _number(cost: float) -> str:
    return "" if math.isnan(cost) else f"{cost:.2f}"
