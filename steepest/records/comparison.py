"""Runs, or groups of runs that differ only in their seeds, compared by their metric at the end."""

from dataclasses import dataclass
from typing import NamedTuple

TIE, ENDS_HIGHER, ENDS_LOWER, NO_INTERVAL = "tie", "higher", "lower", "unknown"
"""Results of a pair: no difference is certain; the one's value is certainly higher or lower; there is no interval."""


class GroupEnd(NamedTuple):
    """How a group ended.

    Attributes:
        label: what distinguishes it from the others, such as its rule.
        runs: ids of its runs.
        value: the metric; the mean over seeds. Not finite where it diverged, None where it was not measured.
        low, high: ends of its own interval; None where it has none.
        text: the value as it is written.
    """

    label: str
    runs: tuple[str, ...]
    value: float | None
    low: float | None
    high: float | None
    text: str


class Pair(NamedTuple):
    """The difference of two groups.

    Attributes:
        one, other: places of the groups.
        value: one − other; on a logarithmic scale one / other. None where one of them has no finite value.
        low, high: ends of its joint interval: all pairs' intervals hold at once. None where it has none.
        result: TIE, ENDS_HIGHER, ENDS_LOWER or NO_INTERVAL, of the one.
        text, interval: value and interval as they are written.
    """

    one: int
    other: int
    value: float | None
    low: float | None
    high: float | None
    result: str
    text: str = ""
    interval: str = ""


@dataclass(frozen=True)
class EndComparison:
    """How several groups of runs ended, and whether they differ.

    Attributes:
        metric, unit, better: name of the validation metric ("" where they have none in common), "%" for a share, and
            its better direction: "higher", "lower" or "".
        samples: that the metric is a share of; None otherwise.
        basis: of the intervals: "seeds", "samples" or "" where there are none.
        scale: "linear", or "log" where differences are ratios.
        groups: in the order given.
        pairs: of them all.
        tiers: places of the groups, from best to worst (highest to lowest where nobody said which is better): groups of
            one tier tie, and those of two tiers differ; empty where the pairs leave no such order.
        headline: the conclusion in words.
        note: what the intervals are, and what they leave out.
        advice, command: what would settle it, and a command that does; "" where nothing is open.
        differing: settings in which the groups differ: (name, one text per group).
        same: the others, in one sentence.
        is_live: whether a run still goes on.
    """

    metric: str
    unit: str
    better: str
    samples: int | None
    basis: str
    scale: str
    groups: tuple[GroupEnd, ...]
    pairs: tuple[Pair, ...]
    tiers: tuple[tuple[int, ...], ...] = ()
    headline: str = ""
    note: str = ""
    advice: str = ""
    command: str = ""
    differing: tuple[tuple[str, tuple[str, ...]], ...] = ()
    same: str = ""
    is_live: bool = False

    @property
    def sentence(self) -> str:
        """Headline, note and advice."""
        advice = f"{self.advice} {self.command}".strip() if self.command else self.advice
        return " ".join(filter(None, (self.headline, self.note, advice)))
