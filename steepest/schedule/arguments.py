"""The values that schedules take: lengths (steps, epochs or shares of the run) and checked numbers."""

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from numbers import Integral, Real
from typing import Annotated, Any

from steepest.errors import InputError

NUMBER_PATTERN = r"(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?"
LENGTH = re.compile(rf"\s*({NUMBER_PATTERN})\s*(%|epochs?|steps?)?\s*")
UNITS = {"step": "steps", "steps": "steps", "epoch": "epochs", "epochs": "epochs", "%": "%"}
MAX_LENGTH = 10**15  # integers up to here are exact in float64


@dataclass(frozen=True)
class Length:
    """A duration: `Length(500, "steps")`, `Length(30, "epochs")`, `Length(5, "%")`.

    Args:
        value: how many of the unit; above 0, an integer for steps, at most 100 for a share.
        unit: "steps", "epochs" or "%" (of the whole run).

    Raises:
        InputError: the value is out of range, or the unit is unknown.

    >>> print(Length(5, "%"), Length.parse("30 epochs"), Length.parse(500))
    5% 30 epochs 500
    """

    value: float
    unit: str

    def __post_init__(self) -> None:
        if self.unit not in ("steps", "epochs", "%"):
            raise InputError(f"the unit of a length must be 'steps', 'epochs' or '%', got {self.unit!r}")
        if not 0 < self.value < MAX_LENGTH:
            raise InputError(f"a length must be above 0 and below {MAX_LENGTH:g}, got {self}")
        if self.unit == "%" and self.value > 100:
            raise InputError(f"a share of the run must be at most 100%, got {self}")
        if self.unit == "steps" and self.value != int(self.value):
            raise InputError(f"a number of steps must be an integer, got {self}")
        object.__setattr__(self, "value", int(self.value) if self.unit == "steps" else float(self.value))

    @classmethod
    def parse(cls, value: "Extent") -> "Length":
        """The length given as a number of steps, a text or a Length.

        Args:
            value: 500, "500", "500 steps", "30 epochs", "5%", or a Length.

        Raises:
            InputError: the value is not a length.

        >>> Length.parse("5%") == Length(5, "%")
        True
        >>> Length.parse(0.5)
        Traceback (most recent call last):
            ...
        steepest.errors.InputError: a length must look like 500 (steps), '30 epochs' or '5%' (of the run), got 0.5
        """
        if isinstance(value, Length):
            return value
        if isinstance(value, Integral) and not isinstance(value, bool):
            return cls(int(value), "steps")
        match = LENGTH.fullmatch(value) if isinstance(value, str) else None
        if match is None:
            raise InputError(f"a length must look like 500 (steps), '30 epochs' or '5%' (of the run), got {value!r}")
        return cls(float(match[1]), UNITS[match[2] or "steps"])

    def exact(self, T: int, steps_per_epoch: int) -> Fraction:
        """The length in steps before rounding. Decimals are exact, so that 5% + 95% is the whole run.

        >>> Length.parse("5%").exact(T=30, steps_per_epoch=10)
        Fraction(3, 2)
        """
        unit = {"steps": Fraction(1), "epochs": Fraction(steps_per_epoch), "%": Fraction(T, 100)}[self.unit]
        return Fraction(repr(self.value)) * unit

    def resolve(self, T: int, steps_per_epoch: int) -> int:
        """The length in whole steps, rounded up and so at least 1 (as `warmup_ratio` in transformers).

        Args:
            T: steps of the whole run.
            steps_per_epoch: steps of one epoch.

        >>> Length.parse("5%").resolve(T=30, steps_per_epoch=10)
        2
        """
        return math.ceil(self.exact(T, steps_per_epoch))

    def __str__(self) -> str:
        number = number_text(self.value)
        if self.unit == "epochs":
            return f"{number} epoch" if self.value == 1 else f"{number} epochs"
        return f"{number}%" if self.unit == "%" else number


class RunShare(Length):
    """An absolute length as an exact share of the run that it was chosen for, in a run of any number of steps.

    It may be longer than the run: a wave of which a run has only the first half.

    Args:
        length: in a run of T steps.
        T: steps of that run.
        steps_per_epoch: steps of one epoch.

    >>> warmup = RunShare(Length.parse(300), T=900, steps_per_epoch=1)
    >>> print(warmup, warmup.exact(T=90, steps_per_epoch=1))
    33.3333% 30
    """

    def __init__(self, length: Length, T: int, steps_per_epoch: int) -> None:
        object.__setattr__(self, "value", 100 * length.exact(T, steps_per_epoch) / T)
        object.__setattr__(self, "unit", "%")

    def exact(self, T: int, steps_per_epoch: int) -> Fraction:
        return Fraction(self.value) * T / 100

    def __str__(self) -> str:
        return f"{float(self.value):g}%"


Extent = Length | int | str
"""The types accepted as a length."""


def number_text(number: float) -> str:
    """A number as text that reads back as the same number.

    >>> number_text(0.1), number_text(2.0), number_text(1e-05)
    ('0.1', '2', '1e-05')
    """
    return repr(number).removesuffix(".0")


def argument_text(value: Any) -> str:
    """An argument as its text in a schedule; of a text, its representation.

    >>> argument_text(2.0), argument_text(Length(5, "%")), argument_text((2, Length(5, "%"))), argument_text("x")
    ('2', '5%', '[2, 5%]', "'x'")
    """
    if isinstance(value, tuple | list):
        return f"[{', '.join(map(argument_text, value))}]"
    if isinstance(value, Length):
        return str(value)
    return number_text(float(value)) if isinstance(value, Real) and not isinstance(value, bool) else repr(value)


# -- Checks: each takes a value and its name, and returns the value in its canonical type ------------------------------


def real(words: str, is_valid: Callable[[float], bool]) -> Callable[[Any, str], float]:
    """A check for finite real numbers with a condition.

    >>> real("above 0", lambda x: x > 0)(-1, "gamma")
    Traceback (most recent call last):
        ...
    steepest.errors.InputError: gamma must be above 0, got -1
    """

    def check(value: Any, name: str) -> float:
        number = float(value) if isinstance(value, Real) and not isinstance(value, bool) else math.nan
        if not (math.isfinite(number) and is_valid(number)):
            raise InputError(f"{name} must be {words}, got {argument_text(value)}")
        return number

    return check


def integer(low: int) -> Callable[[Any, str], int]:
    """A check for integers of at least `low`."""

    def check(value: Any, name: str) -> int:
        if not isinstance(value, Integral) or isinstance(value, bool) or int(value) < low:
            raise InputError(f"{name} must be an integer ≥ {low}, got {argument_text(value)}")
        return int(value)

    return check


def _length(value: Extent, name: str) -> Length:
    try:
        return Length.parse(value)
    except InputError as error:
        raise InputError(f"{name}: {error}") from None


def _lengths(value: Any, name: str) -> tuple[Length, ...]:
    values = value if isinstance(value, list | tuple) else [value]
    if not values:
        raise InputError(f"{name} must have at least one length, got {value!r}")
    return tuple(_length(each, name) for each in values)


def optional(check: Callable[[Any, str], Any]) -> Callable[[Any, str], Any]:
    """A check that lets None pass."""
    return lambda value, name: None if value is None else check(value, name)


@dataclass(frozen=True)
class OneOf:
    """A check for one of a few words, which stand in a text without quotes."""

    words: tuple[str, ...]

    def __call__(self, value: Any, name: str) -> str:
        if value not in self.words:
            raise InputError(f"{name} must be {' or '.join(self.words)}, got {argument_text(value)}")
        return value


def _function(value: Any, name: str) -> Any:
    if not callable(value) or isinstance(value, type):
        raise InputError(f"{name} must be a function (t, T) → factor, got {value!r}")
    return value


Duration = Annotated[Extent, _length]
Durations = Annotated[Sequence[Extent], _lengths]
Rest = Annotated[Extent | None, optional(_length)]
Share = Annotated[float, real("between 0 and 1", lambda x: 0 <= x <= 1)]
BelowOne = Annotated[float, real("at least 0 and below 1", lambda x: 0 <= x < 1)]
Inside = Annotated[float, real("above 0 and below 1", lambda x: 0 < x < 1)]
Positive = Annotated[float, real("finite and above 0", lambda x: x > 0)]
check_factor = real("finite and at least 0", lambda x: x >= 0)
NotNegative = Annotated[float, check_factor]
Count = Annotated[int, integer(0)]
Multiple = Annotated[int, integer(1)]
Limit = Annotated[int | None, optional(integer(1))]
Phases = Annotated[int, integer(2)]
Decay = Annotated[float, real("above 0 and at most 1", lambda x: 0 < x <= 1)]
LeastRate = Annotated[float | None, optional(real("finite and above 0", lambda x: x > 0))]
Anneal = Annotated[str, OneOf(("cos", "linear"))]
Function = Annotated[Callable[[int, int], float], _function]
