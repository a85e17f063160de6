"""How long something lasts: steps, epochs or a share of the run, which become steps once the run is known."""

import math
import re
from dataclasses import dataclass
from fractions import Fraction
from numbers import Integral

from steepest.errors import InputError

NUMBER = r"(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?"
LITERAL = re.compile(rf"\s*({NUMBER})\s*(%|epochs?|steps?)?\s*")
UNITS = {"step": "steps", "steps": "steps", "epoch": "epochs", "epochs": "epochs", "%": "%"}
BEYOND = 10**15  # whole numbers up to here are exact in float64
EXPECTED = "steps (500), epochs (30 epochs) or a share of the run (5%)"


@dataclass(frozen=True)
class Length:
    """A length in time: `Length(500, "steps")`, `Length(30, "epochs")`, `Length(5, "%")`.

    Args:
        value: how many of the unit; above 0, whole for steps, at most 100 for a share.
        unit: "steps", "epochs" or "%" (of the whole run).

    Raises:
        InputError: if the value is out of range or the unit unknown.

    >>> print(Length(5, "%"), Length.parse("30 epochs"), Length.parse(500))
    5% 30 epochs 500
    """

    value: float
    unit: str

    def __post_init__(self) -> None:
        if self.unit not in ("steps", "epochs", "%"):
            raise InputError(f"{self.unit!r} is no unit of length: expected 'steps', 'epochs' or '%'")
        if not 0 < self.value < BEYOND:
            raise InputError(f"{self} is no length: it must be above 0 and below {BEYOND:g}")
        if self.unit == "%" and self.value > 100:
            raise InputError(f"{self} is no share of a run: it must be at most 100%")
        if self.unit == "steps" and self.value != int(self.value):
            raise InputError(f"{self} is no number of steps: it must be whole")
        object.__setattr__(self, "value", int(self.value) if self.unit == "steps" else float(self.value))

    @classmethod
    def parse(cls, given: "Extent") -> "Length":
        """The length that is meant by a number of steps, a text, or a length.

        Args:
            given: 500, "500", "500 steps", "30 epochs", "5%", or a Length.

        Raises:
            InputError: if it cannot be meant as a length.

        >>> Length.parse("5%") == Length(5, "%")
        True
        >>> Length.parse(0.05)
        Traceback (most recent call last):
            ...
        steepest.errors.InputError: 0.05 is no length: write steps (500), epochs (30 epochs) or a share of the run (5%)
        """
        if isinstance(given, Length):
            return given
        if isinstance(given, Integral) and not isinstance(given, bool):
            return cls(int(given), "steps")
        found = LITERAL.fullmatch(given) if isinstance(given, str) else None
        if found is None:
            raise InputError(f"{given!r} is no length: write {EXPECTED}")
        return cls(float(found[1]), UNITS[found[2] or "steps"])

    def exact(self, T: int, steps_per_epoch: int) -> Fraction:
        """The length in steps before rounding; a decimal is taken as written, so that 5% + 95% is the whole.

        >>> Length.parse("5%").exact(T=30, steps_per_epoch=10)
        Fraction(3, 2)
        """
        unit = {"steps": Fraction(1), "epochs": Fraction(steps_per_epoch), "%": Fraction(T, 100)}[self.unit]
        return Fraction(repr(self.value)) * unit

    def resolve(self, T: int, steps_per_epoch: int) -> int:
        """The length in whole steps, rounded up, hence at least 1 (as `warmup_ratio` in transformers).

        Args:
            T: steps of the whole run.
            steps_per_epoch: steps of one epoch.

        >>> Length.parse("5%").resolve(T=30, steps_per_epoch=10)
        2
        """
        return math.ceil(self.exact(T, steps_per_epoch))

    def __str__(self) -> str:
        number = plain(self.value)
        if self.unit == "epochs":
            return f"{number} epoch" if self.value == 1 else f"{number} epochs"
        return f"{number}%" if self.unit == "%" else number


Extent = Length | int | str
"""What may be given where a length is wanted."""


def plain(number: float) -> str:
    """A number as text that reads back as the same number.

    >>> plain(0.1), plain(2.0), plain(1e-05)
    ('0.1', '2', '1e-05')
    """
    return repr(number).removesuffix(".0")
