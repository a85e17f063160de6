"""What the list is asked for: words, conditions, a status, a rule, an order and a page, all of it in the address."""

import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import isclose
from typing import Any
from urllib.parse import urlencode

from steepest.runs.server.entry import LIST_STATUSES, Entry
from steepest.view.format import number

START = "started"
DEFAULT_ORDER = f"-{START}"
MAX_SELECTION = 6
"""Maximum of runs that are compared: the page has this many distinguishable colours."""
CONDITION = re.compile(r"([^\s<>=!]+?)(>=|<=|!=|=|>|<)(\S+)")
OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    ">": operator.gt, "<": operator.lt, ">=": operator.ge, "<=": operator.le, "=": operator.eq, "!=": operator.ne,
}  # fmt: skip


@dataclass(frozen=True)
class Column:
    """A column by which the list is sorted.

    Attributes:
        heading: of the column.
        value: of an entry; None where it has none, which comes last in either order.
        is_descending: whether the largest value comes first at the first click.
        words: for the two orders, the one of the first click first.
    """

    heading: str
    value: Callable[[Entry], Any]
    is_descending: bool
    words: tuple[str, str]


SORT_COLUMNS = {
    "run": Column("Run", lambda e: e.id.lower(), False, ("run, A to Z", "run, Z to A")),
    "status": Column("Status", lambda e: LIST_STATUSES.index(e.status), False, ("status", "status, done first")),
    "metric": Column("Metric", lambda e: e.rank, True, ("metric, best first", "metric, worst first")),
    "rule": Column("Rule", lambda e: e.rule.lower() or None, False, ("rule, A to Z", "rule, Z to A")),
    "lr": Column("lr", lambda e: e.lr, False, ("lr, lowest first", "lr, highest first")),
    "batch": Column("Batch", lambda e: e.batch_count, False, ("batch, smallest first", "batch, largest first")),
    "seed": Column("Seed", lambda e: e.seed, False, ("seed, lowest first", "seed, highest first")),
    "steps": Column("Steps", lambda e: e.steps, True, ("steps, most first", "steps, fewest first")),
    START: Column("Started", lambda e: e.started, True, ("newest first", "oldest first")),
}  # fmt: skip


@dataclass(frozen=True)
class Query:
    """What is asked for.

    Attributes:
        text: words and conditions.
        status, rule: of the runs; "" for every one.
        sort: a key of `SORT_COLUMNS`, after "-" in descending order.
        page: from 1.
        runs: ids of those that are ticked, in this order, on whatever page they are.
    """

    text: str = ""
    status: str = ""
    rule: str = ""
    sort: str = DEFAULT_ORDER
    page: int = 1
    runs: tuple[str, ...] = ()

    @classmethod
    def of(cls, parameters: Mapping[str, str], runs: Sequence[str]) -> "Query":
        """The query in an address; what it does not know it ignores."""
        sort = parameters.get("sort", DEFAULT_ORDER)
        status = parameters.get("status", "")
        return cls(
            text=parameters.get("q", "").strip(),
            status=status if status in LIST_STATUSES else "",
            rule=parameters.get("rule", ""),
            sort=sort if sort.removeprefix("-") in SORT_COLUMNS else DEFAULT_ORDER,
            page=int(parameters.get("page", "1")),
            runs=tuple(dict.fromkeys(runs))[:MAX_SELECTION],
        )

    def address(self, **changes: Any) -> str:
        """The address of the list with some changes; a change other than of the page leads to the first page."""
        query = replace(self, **{"page": 1, **changes})
        fields = {"q": query.text, "status": query.status, "rule": query.rule}
        pairs = [(name, value) for name, value in fields.items() if value]
        pairs += [("sort", query.sort)] if query.sort != DEFAULT_ORDER else []
        pairs += [("page", str(query.page))] if query.page > 1 else []
        return "/?" + urlencode([*pairs, *(("run", run) for run in query.runs)]) if pairs or query.runs else "/"

    @property
    def column(self) -> Column:
        """By which the list is sorted."""
        return SORT_COLUMNS[self.sort.removeprefix("-")]

    @property
    def is_descending(self) -> bool:
        return self.sort.startswith("-")

    def next_order(self, key: str) -> str:
        """The order that a click on a heading leads to: its own, or the reverse of the present one."""
        if self.sort.removeprefix("-") == key:
            return key if self.is_descending else f"-{key}"
        return f"-{key}" if SORT_COLUMNS[key].is_descending else key

    def order(self, entries: Sequence[Entry]) -> list[Entry]:
        """Entries in this order: those that run first, those without a value last, equal ones by their start."""
        newest = sorted(entries, key=lambda e: e.started, reverse=True)
        key = self.column.value
        there = [e for e in newest if key(e) is not None]
        result = sorted(there, key=key, reverse=self.is_descending) + [e for e in newest if key(e) is None]
        return sorted(result, key=lambda e: e.status != "running")


class Search:
    """Words and conditions such as `lr>0.01`, all of which a run must meet.

    Args:
        text: as it was typed.

    Attributes:
        problem: what cannot be understood, in words; empty if all can. Such a condition is left out.
    """

    def __init__(self, text: str) -> None:
        self.problem = ""
        self._tests: list[Callable[[Entry], bool]] = [self._test(part) for part in _parts(text)]

    def matches(self, entry: Entry) -> bool:
        """Whether a run meets them."""
        return all(test(entry) for test in self._tests)

    def _test(self, part: str) -> Callable[[Entry], bool]:
        condition = CONDITION.fullmatch(part)
        name = condition[1].lower() if condition else ""
        if condition and name in ("rule", "status", "name", "id") and condition[2] in ("=", "!="):
            return lambda e: (condition[3].lower() in str(getattr(e, name)).lower()) == (condition[2] == "=")
        if condition is None or name not in NUMBERS:
            return lambda e: part.lower() in e.words
        digits, is_percent = condition[3].removesuffix("%"), condition[3].endswith("%")
        try:
            value = float(digits.replace(",", "")) / (100 if is_percent else 1)
        except ValueError:
            self.problem = f"{name} must be compared with a number, got {condition[3]!r}."
            return lambda e: True
        return lambda e: _compare(NUMBERS[name](e), condition[2], value)


NUMBERS: dict[str, Callable[[Entry], float | None]] = {
    "lr": lambda e: e.lr, "batch": lambda e: e.batch_count, "seed": lambda e: e.seed, "steps": lambda e: e.steps,
    "metric": lambda e: e.value, "accuracy": lambda e: e.value if "accuracy" in e.metric else None,
    "loss": lambda e: e.value if e.metric == "loss" else None,
}  # fmt: skip
"""Numbers of a run that conditions are about."""


def _parts(text: str) -> list[str]:
    """Words of a search; spaces around an operator belong to it."""
    return re.sub(r"\s*(>=|<=|!=|=|>|<)\s*", r"\1", text).split()


def _compare(value: float | None, sign: str, limit: float) -> bool:
    if value is None:
        return False
    if isclose(value, limit, rel_tol=1e-9) or number(value) == number(limit):  # as it is shown
        return sign in ("=", ">=", "<=")
    return OPERATORS[sign](value, limit)
