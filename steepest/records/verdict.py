"""What questions to a descent are answered with: where a point is, which rate works, which rule is faster.

Like the record of a run, these are numbers and words, and nothing here computes.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple


def digits(x: float) -> str:
    """A number with three significant digits; "—" where it is not finite.

    >>> digits(0.021837), digits(1234.4), digits(float("nan"))
    ('0.0218', '1,234', '—')
    """
    if not math.isfinite(x):
        return "—"
    return f"{x:,.0f}" if 999.5 <= abs(x) < 999_999.5 else f"{x:.3g}"


class Estimate(NamedTuple):
    """A number that was estimated, and the interval that covers it with the stated probability.

    Attributes:
        value: the estimate.
        low, high: ends of the interval; both are the value where it is exact.
    """

    value: float
    low: float
    high: float


class Number(NamedTuple):
    """A measured number of a verdict.

    Attributes:
        name: what it is.
        value: of it.
        low, high: an interval that covers it; both are the value where it is exact.
        reference: what to compare it with; None where there is nothing.
        words: on what it was measured, and how surely.
    """

    name: str
    value: float
    low: float
    high: float
    reference: float | None = None
    words: str = ""

    def __str__(self) -> str:
        found = f"{self.value:.4g}" if math.isfinite(self.value) else "no upper end"
        interval = "" if self.low == self.high else f" ({self.low:.3g} to {self.high:.3g})"
        reference = "" if self.reference is None else f", against {self.reference:.4g}"
        return f"{self.name}: {found}{interval}{reference}{self.words and f'; {self.words}'}"


@dataclass(frozen=True)
class Verdict:
    """Where a point is: words first, numbers with intervals after.

    Attributes:
        kind: one of the names in `steepest.analysis.location.verdict`.
        sentence: the finding, in words.
        advice: what follows from it.
        numbers: that it rests on.
        products: Hessian-vector products that were taken.
    """

    kind: str
    sentence: str
    advice: str
    numbers: tuple[Number, ...] = ()
    products: int = 0

    def __str__(self) -> str:
        return "\n".join([self.sentence, self.advice, *(f"  {number}" for number in self.numbers)])

    def number(self, name: str) -> Number | None:
        """The number of this name, or None."""
        return next((n for n in self.numbers if n.name == name), None)

    def describe(self) -> dict[str, Any]:
        """As JSON."""
        return {**vars(self), "numbers": [list(n) for n in self.numbers]}

    @classmethod
    def of(cls, described: Mapping[str, Any]) -> "Verdict":
        """From what `describe` gave."""
        return cls(**{**described, "numbers": tuple(Number(*n) for n in described["numbers"])})
