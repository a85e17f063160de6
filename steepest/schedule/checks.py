"""What values the arguments of schedules take: each check returns the value as it is kept, or says what is wrong."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Annotated, Any

from steepest.errors import InputError
from steepest.schedule.lengths import Extent, Length, plain


@dataclass(frozen=True)
class Number:
    """The check of a real number: the words for what is expected, and the condition.

    >>> Number("a number above 0", lambda x: x > 0)(-1)
    Traceback (most recent call last):
        ...
    steepest.errors.InputError: -1 is not a number above 0
    """

    words: str
    holds: Callable[[float], bool]

    def __call__(self, given: Any) -> float:
        number = float(given) if isinstance(given, Real) and not isinstance(given, bool) else math.nan
        if not (math.isfinite(number) and self.holds(number)):
            raise InputError(f"{shown(given)} is not {self.words}")
        return number


@dataclass(frozen=True)
class Whole:
    """The check of a whole number: the least that is allowed."""

    least: int

    def __call__(self, given: Any) -> int:
        if not isinstance(given, Integral) or isinstance(given, bool) or int(given) < self.least:
            raise InputError(f"{shown(given)} is not a whole number of at least {self.least}")
        return int(given)


def length_or_rest(given: Extent | None) -> Length | None:
    """The check of a length that may be left out: the part then takes the rest of the run."""
    return None if given is None else Length.parse(given)


Duration = Annotated[Extent, Length.parse]
Rest = Annotated[Extent | None, length_or_rest]
Share = Annotated[float, Number("a number from 0 to 1", lambda x: 0 <= x <= 1)]
BelowOne = Annotated[float, Number("a number from 0 to below 1", lambda x: 0 <= x < 1)]
Inside = Annotated[float, Number("a number above 0 and below 1", lambda x: 0 < x < 1)]
Positive = Annotated[float, Number("a finite number above 0", lambda x: x > 0)]
NotNegative = Annotated[float, Number("a finite number of at least 0", lambda x: x >= 0)]
Count = Annotated[int, Whole(0)]
Multiple = Annotated[int, Whole(1)]


def shown(value: Any) -> str:
    """An argument as its text.

    >>> shown(2.0), shown(Length(5, "%")), shown("x")
    ('2', '5%', "'x'")
    """
    if isinstance(value, Length):
        return str(value)
    number = isinstance(value, Real) and not isinstance(value, bool)
    return plain(float(value)) if number else repr(value)
