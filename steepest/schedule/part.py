"""What the named parts of schedules have in common.

A part is a frozen dataclass named as in the text. The annotation of a field is the check of its value, which the
constructor and the parser share.
"""

from abc import ABCMeta
from dataclasses import MISSING, Field, dataclass, fields, replace
from fractions import Fraction
from math import log
from typing import Any, ClassVar, get_args

from steepest.errors import InputError, ScheduleError
from steepest.schedule.algebra import Bare, Schedule, bare
from steepest.schedule.arguments import Length, RunShare, argument_text
from steepest.schedule.span import Curve, Span

MAX_EXPONENT = 700.0  # e to this power is still a float64


class PartType(ABCMeta):
    """Operators on parts without parentheses, as in text: `0.9 * cosine`, `cosine >> linear("20%")`."""

    def __rshift__(cls, other: Bare) -> Schedule:
        return bare(cls) >> other

    def __mul__(cls, other: float | Bare) -> Schedule:
        return bare(cls) * other

    __rmul__ = __mul__


@dataclass(frozen=True, repr=False)
class Part(Schedule, metaclass=PartType):
    """A schedule with a name and arguments; one of the arguments is its length."""

    from_zero: ClassVar[bool] = False
    """Whether its first step is evaluated at 0 already, so that `offset` changes nothing."""

    def __post_init__(self) -> None:
        for name in self.parameters():
            object.__setattr__(self, name, self.check(name, vars(self)[name]))
        if self.needs_base and vars(self)[self._least]:
            raise InputError(f"{type(self).__name__} must have either {self._least} or min_lr, got both")

    @classmethod
    def parameters(cls) -> dict[str, Field]:
        """Its arguments by name, in order."""
        return {field.name: field for field in fields(cls)}

    @classmethod
    def check(cls, name: str, value: Any) -> Any:
        """The argument in its canonical type.

        Raises:
            InputError: the value is invalid.
        """
        _, convert = get_args(cls.parameters()[name].type)
        return convert(value, f"{name} of {cls.__name__}")

    @property
    def needs_base(self) -> bool:
        return vars(self).get("min_lr") is not None

    @property
    def _least(self) -> str:
        return "floor" if "floor" in vars(self) else "end"

    def at_base(self, base: float) -> Schedule:
        if not self.needs_base:
            return self
        share = min(1.0, vars(self)["min_lr"] / base) if base > 0 else 1.0
        return replace(self, **{"min_lr": None, self._least: share})

    def in_shares(self, T: int, steps_per_epoch: int) -> Schedule:
        def share(value: Any) -> Any:
            if isinstance(value, tuple):
                return tuple(map(share, value))
            is_absolute = isinstance(value, Length) and value.unit != "%"
            return RunShare(value, T, steps_per_epoch) if is_absolute else value

        return replace(self, **{name: share(value) for name, value in vars(self).items()})

    def extent(self, T: int, steps_per_epoch: int) -> Fraction | None:
        length = vars(self)["length"]
        return length and length.exact(T, steps_per_epoch)

    def curve(self, span: Span) -> Curve:
        factor, watches = self.over(span)
        if not span.offset:
            return Curve(factor, watches)
        if self.from_zero:
            return Curve(lambda s: factor(min(s, span.n)), watches)
        return Curve(lambda s: factor(s - 1), watches)

    def __str__(self) -> str:
        """Its name, the first argument by position and the others by name; defaults are omitted."""
        arguments = []
        for index, (name, field) in enumerate(self.parameters().items()):
            value = vars(self)[name]
            text = value if isinstance(value, str) else argument_text(value)
            if field.default is MISSING or vars(self)[name] != field.default:
                arguments.append(text if index == 0 else f"{name}={text}")
        return type(self).__name__ + (f"({', '.join(arguments)})" if arguments else "")


def check_power(part: Part, gamma: float, exponent: int, span: Span) -> None:
    """Checks that gamma^exponent is a float64.

    Raises:
        ScheduleError: it is not.
    """
    if log(gamma) * exponent > MAX_EXPONENT:
        raise ScheduleError(str(part), 0, f"{part} exceeds the float range in {span.n} steps. Lower gamma.")
