"""What a part of a schedule is: a name and checked arguments, which are also its text.

A part is a frozen dataclass named as in the text. Each field says by its annotation which values it takes; Python's
constructor and the parser check against the same annotation.
"""

from abc import ABCMeta
from dataclasses import MISSING, Field, dataclass, fields
from fractions import Fraction
from typing import Any, get_args

from steepest.errors import InputError
from steepest.schedule.algebra import Bare, Schedule, bare
from steepest.schedule.checks import shown
from steepest.schedule.lengths import Length


class PartType(ABCMeta):
    """Lets a part be named without brackets, as in text: `0.9 * cosine`, `cosine >> linear("20%")`."""

    def __rshift__(cls, other: Bare) -> Schedule:
        return bare(cls) >> other

    def __mul__(cls, other: float | Bare) -> Schedule:
        return bare(cls) * other

    def __rmul__(cls, other: float) -> Schedule:
        return other * bare(cls)


@dataclass(frozen=True, repr=False)
class Part(Schedule, metaclass=PartType):
    """A schedule with a name and arguments; one of the arguments is its length."""

    def __post_init__(self) -> None:
        for name in self.parameters():
            object.__setattr__(self, name, self.check(name, vars(self)[name]))

    @classmethod
    def parameters(cls) -> dict[str, Field]:
        """Its arguments by name, in order."""
        return {field.name: field for field in fields(cls)}

    @classmethod
    def check(cls, name: str, value: Any) -> Any:
        """The argument as it is kept.

        Raises:
            InputError: if it cannot be meant.
        """
        _, convert = get_args(cls.parameters()[name].type)
        try:
            return convert(value)
        except InputError as error:
            raise InputError(f"{cls.__name__}, {name}: {error}") from None

    @property
    def takes_rest(self) -> bool:
        return vars(self)["length"] is None

    def extent(self, T: int, steps_per_epoch: int) -> Fraction | None:
        length: Length | None = vars(self)["length"]
        return length and length.exact(T, steps_per_epoch)

    def __str__(self) -> str:
        """Its name, the first argument by position and the others by name; what has its default is left out."""
        first, *_ = self.parameters()
        told = {name: vars(self)[name] for name, field in self.parameters().items() if _told(self, field)}
        arguments = [shown(value) if name == first else f"{name}={shown(value)}" for name, value in told.items()]
        return type(self).__name__ + (f"({', '.join(arguments)})" if arguments else "")


def _told(part: Part, field: Field) -> bool:
    return field.default is MISSING or vars(part)[field.name] != field.default
