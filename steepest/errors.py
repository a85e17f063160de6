"""Our few exceptions: each says what was given, what was expected and what to do.

SteepestError
├── InputError (also a ValueError)   an argument that cannot be meant
│   ├── ScheduleError                a schedule's text, with the position of the mistake
│   ├── UnknownNameError             a name nobody has, with the nearest one
│   └── FormulaError                 a formula that cannot be lowered, at the user's line
├── TaskError                        a model, loss, data or task file that cannot be trained
├── StoreError                       a runs folder, database or stored run that cannot be used
└── DivergedError                    weights that are no longer finite
"""

import difflib
from collections.abc import Iterable


class SteepestError(Exception):
    """Base of everything Steepest raises on purpose."""


class InputError(SteepestError, ValueError):
    """An argument that cannot be meant."""


class ScheduleError(InputError):
    """A schedule's text that does not parse; the message points at the position.

    Args:
        text: the whole text as given.
        position: index of the offending character, from 0.
        problem: what is wrong there and what would be right.
    """

    def __init__(self, text: str, position: int, problem: str) -> None:
        super().__init__(f"schedule, character {position + 1}: {problem}\n    {text}\n    {' ' * position}^")
        self.text = text
        self.position = position


class UnknownNameError(InputError):
    """A name nobody has."""


class FormulaError(InputError):
    """A formula that cannot be lowered."""


class TaskError(SteepestError):
    """A model, loss, data or task file that cannot be trained."""


class StoreError(SteepestError):
    """A runs folder, database or stored run that cannot be used."""


class DivergedError(SteepestError):
    """The weights are no longer finite."""


def nearest(given: str, known: Iterable[str]) -> str:
    """The hint that belongs behind an unknown name: the nearest known one, and all of them.

    >>> nearest("adma", ["adam", "lion"])
    "did you mean 'adam'? Known: adam, lion"
    """
    known = sorted(known)
    close = difflib.get_close_matches(given, known, n=1)
    hint = f"did you mean '{close[0]}'? " if close else ""
    return f"{hint}Known: {', '.join(known) or 'none'}"


def unknown(kind: str, given: str, known: Iterable[str]) -> UnknownNameError:
    """The error for a name nobody has.

    >>> print(unknown("rule", "adma", ["adam", "lion"]))
    there is no rule 'adma'; did you mean 'adam'? Known: adam, lion
    """
    return UnknownNameError(f"there is no {kind} '{given}'; {nearest(given, known)}")
