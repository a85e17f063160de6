"""Result types of an analysis: estimates with intervals, numbers and verdicts.

Like the record of a run, these are numbers and words, and nothing here computes.
"""

import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from steepest.records import card

DESCENDING, NOISE_FLOOR, EDGE_OF_STABILITY = "DESCENDING", "NOISE_FLOOR", "EDGE_OF_STABILITY"
GRADIENT_FLAT, SADDLE, MINIMUM, MAXIMUM = "GRADIENT_FLAT", "SADDLE", "MINIMUM", "MAXIMUM"
UNDECIDED, DIVERGED = "UNDECIDED", "DIVERGED"
VERDICT_HEADLINES = {
    DESCENDING: "Still descending",
    NOISE_FLOOR: "At the noise floor",
    EDGE_OF_STABILITY: "At the edge of stability",
    GRADIENT_FLAT: "Flat region",
    SADDLE: "At a saddle",
    MINIMUM: "At a minimum",
    MAXIMUM: "At a maximum",
    UNDECIDED: "Stationary",
    DIVERGED: "Diverged",
}
"""The first words of a verdict, by its kind."""
DIVERGED_ADVICE = "Restart with a lower lr; `steepest find-lr TASK` measures one."
FACTORS_AFTER_EXPLOSION = (1 / 10, 1 / 30)
"""Factors of the learning rate that are advised after an explosion: the larger, and the smaller."""
NEVER_WAS_FINITE = "Not finite from step 1"
"""Instead of any other headline, where no step had a finite loss and gradient."""
CONVERGED = "Converged"
"""Instead of "Stationary", where the loss fell far and the run's diagnosis finds no problem."""
RUN = "RUN"
"""Stands for the run's id in advice."""

OLD_LABELS = {
    "loss": "training loss",
    "greatest curvature": "largest Hessian eigenvalue",
    "least curvature": "smallest Hessian eigenvalue",
    "least curvature is above": "λ_min lower bound",
    "gain of a step down": "decrease by the best gradient step",
    "gain of an escape": "decrease along λ_min",
    "gain of ten calm steps": "decrease by ten steps at lr / 10",
    "squared norm of the gradient": "‖∇L‖², noise removed",
    "greatest curvature of one layer": "sharpest layer",
}
"""Labels of numbers in stored verdicts and in programs written for version 0.1."""
REFERENCES = {
    "sharpness": "limit",
    "batch sharpness": "limit",
    "noise scale": "your batch:",
    "critical batch size": "your batch:",
}
"""What the reference of a number is."""


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
        value: infinite where only its lower end is known.
        low, high: an interval that covers it; both are the value where it is exact. For `sharpness` it is the error
            bound of the eigensolver, else a 95 % interval.
        reference: what to compare it with; None where there is nothing.
        words: how it was measured.
    """

    name: str
    value: float
    low: float
    high: float
    reference: float | None = None
    words: str = ""

    def __str__(self) -> str:
        value = digits(self.value) if math.isfinite(self.value) else f"≥ {digits(self.low)}"
        details = [self._interval()] if math.isfinite(self.value) else []
        words = self.words
        if self.reference is not None:
            details.append(f"{REFERENCES.get(self.name, 'reference')} {digits(self.reference)}")
            if details[-1].startswith("limit") and words:  # the formula of the limit
                details[-1], words = f"{details[-1]} = {words}", ""
        inside = "; ".join(filter(None, details))
        return f"{self.name} {value}{inside and f' ({inside})'}{words and f'; {words}'}"

    def _interval(self) -> str:
        if self.low == self.high:
            return ""
        if self.name == "sharpness":
            return f"± {digits(self.high - self.value)}, solver"
        if not math.isfinite(self.high):
            return f"at least {digits(self.low)}"
        return f"95 % interval {digits(self.low)} to {digits(self.high)}"


RATE, NOISE, FLATNESS, NOTHING = "rate", "noise", "flatness", "nothing"
"""What holds a run where it ended."""


class Ending(NamedTuple):
    """What a run's end means for its reader: what holds it there, and what would lower the training loss further.

    Attributes:
        holds: rate, noise, flatness or nothing; empty where that cannot be told.
        lower_lr: measured decrease of the training loss by ten steps at a tenth of the learning rate; None if it was
            not measured.
        longer: estimated decrease by as many steps again, from the trend of the loss; None if there is no trend.
        lower_lr_helps, longer_helps: whether that gain is certain and worth advice; None where it cannot be told.
        words: a sentence for each of these that is known.
    """

    holds: str = ""
    lower_lr: Estimate | None = None
    longer: Estimate | None = None
    lower_lr_helps: bool | None = None
    longer_helps: bool | None = None
    words: tuple[str, ...] = ()

    def describe(self) -> dict[str, Any]:
        """As JSON."""
        estimates = {key: None if (x := getattr(self, key)) is None else list(x) for key in ("lower_lr", "longer")}
        return {**self._asdict(), **estimates, "words": list(self.words)}

    @classmethod
    def of(cls, description: Mapping[str, Any] | None) -> "Ending | None":
        """From what `describe` gave."""
        if description is None:
            return None
        lower_lr, longer = (None if (x := description[key]) is None else Estimate(*x) for key in ("lower_lr", "longer"))
        words = tuple(description["words"])
        return cls(**{**description, "lower_lr": lower_lr, "longer": longer, "words": words})


@dataclass(frozen=True)
class Verdict:
    """Where a point is on the loss surface: the conclusion, advice, then numbers with intervals.

    Attributes:
        kind: DESCENDING, NOISE_FLOOR, EDGE_OF_STABILITY, GRADIENT_FLAT, SADDLE, MINIMUM, MAXIMUM, UNDECIDED or
            DIVERGED.
        sentence: the headline and what supports it.
        advice: what to do; empty where there is nothing.
        numbers: that it rests on.
        products: Hessian-vector products that it took.
        messages: what was not measured, or not as usual, in words.
        ending: what holds the run there, and what would lower the loss further; None in verdicts of older versions.
    """

    kind: str
    sentence: str
    advice: str
    numbers: tuple[Number, ...] = ()
    products: int = 0
    messages: tuple[str, ...] = ()
    ending: Ending | None = None

    def __str__(self) -> str:
        numbers = (f"  {number}" for number in self.numbers)
        return "\n".join(filter(None, [self.sentence, self.outlook, self.advice, *numbers, *self.messages]))

    def _repr_html_(self) -> str:
        words, small = f"{self.outlook}\n{self.advice}", "\n".join(self.messages)
        numbers = [(number.name, str(number).removeprefix(number.name)) for number in self.numbers]
        return card.card(self.sentence, card.paragraphs(words), card.table(numbers), card.paragraphs(small, "note"))

    @property
    def outlook(self) -> str:
        """The ending in words; empty without one."""
        return "" if self.ending is None else " ".join(self.ending.words)

    @property
    def headline(self) -> str:
        """The first words, such as "At a saddle"."""
        own = next((words for words in (CONVERGED, NEVER_WAS_FINITE) if self.sentence.startswith(words)), None)
        return own or VERDICT_HEADLINES.get(self.kind, self.kind)

    def number(self, name: str) -> Number | None:
        """The number of this name, or None."""
        if name in OLD_LABELS:
            warnings.warn(f"{name!r} is now called {OLD_LABELS[name]!r}", DeprecationWarning, stacklevel=2)
            name = OLD_LABELS[name]
        return next((n for n in self.numbers if n.name == name), None)

    def describe(self) -> dict[str, Any]:
        """As JSON."""
        optional = {} if self.ending is None else {"ending": self.ending.describe()}
        fields = {key: value for key, value in vars(self).items() if key != "ending"}
        lists = {"numbers": [list(n) for n in self.numbers], "messages": list(self.messages)}
        return {**fields, **lists, **optional}

    @classmethod
    def of(cls, description: Mapping[str, Any]) -> "Verdict":
        """From what `describe` gave, of this version or the one before."""
        numbers = tuple(Number(str(OLD_LABELS.get(n[0], n[0])), *n[1:]) for n in description["numbers"])
        messages = tuple(description.get("messages", ()))
        ending = Ending.of(description.get("ending"))
        return cls(**{**description, "numbers": numbers, "messages": messages, "ending": ending})
