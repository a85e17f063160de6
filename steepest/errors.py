"""Our few exceptions: each says what was given, what was expected and what to do.

SteepestError
├── InputError (also a ValueError)   an argument that cannot be meant
│   ├── TextError                    a text that does not parse, with the position of the mistake
│   │   └── ScheduleError            a schedule's
│   ├── UnknownNameError             a name nobody has, with the nearest one
│   └── FormulaError                 a formula that cannot be lowered, at the user's line
├── TaskError                        a model, loss, data or task file that cannot be trained
├── StoreError                       a runs folder, database or stored run that cannot be used
└── DivergedError                    weights that are no longer finite

Interrupted (a KeyboardInterrupt)    Ctrl-C in a search, with what was measured until then
"""

from collections.abc import Iterable, Sequence
from typing import Any


class SteepestError(Exception):
    """Base of everything Steepest raises on purpose."""


class InputError(SteepestError, ValueError):
    """An argument that cannot be meant."""


class TextError(InputError):
    """A text that does not parse; the message points at the position, in the line where it is.

    Args:
        text: the whole text as given.
        position: index of the offending character, from 0.
        problem: what is wrong there and what would be right.
    """

    kind = "text"
    """What the text is to be."""

    def __init__(self, text: str, position: int, problem: str) -> None:
        line, column = _line(text, position)
        super().__init__(f"{self.kind}, character {position + 1}: {problem}\n    {line}\n    {' ' * column}^")
        self.text = text
        self.position = position


class ScheduleError(TextError):
    """A schedule's text that does not parse."""

    kind = "schedule"


def _line(text: str, position: int) -> tuple[str, int]:
    """The line of a text that a position is in, each character one column wide, and the column.

    The end of a text of several lines is behind its last word, not on an empty line.
    """
    if "\n" in text[:position] and not text[position:].strip():
        position = len(text[:position].rstrip())
    begin = text.rfind("\n", 0, position) + 1
    line = text[begin:].partition("\n")[0]
    return "".join(c if c.isprintable() else " " for c in line), position - begin


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


class SearchInterrupt(KeyboardInterrupt):
    """Ctrl-C in a search: it ends whatever called the search, as Ctrl-C does, and nothing that was measured is lost.

    Args:
        words: how far the search was.
        table: what was tried to its end.
    """

    def __init__(self, words: str, table: Sequence[Any]) -> None:
        super().__init__(words)
        self.table = tuple(table)


def nearest(given: str, known: Iterable[str]) -> str:
    """The hint that belongs behind an unknown name: the nearest known one, and all of them.

    >>> nearest("adma", ["adam", "lion"])
    "did you mean 'adam'? Known: adam, lion"
    """
    known = sorted(known)
    close = [name for name in known if 2 * _edits(given, name) <= max(len(given), len(name))]
    hint = f"did you mean '{min(close, key=lambda name: _edits(given, name))}'? " if close else ""
    return f"{hint}Known: {', '.join(known) or 'none'}"


def _edits(a: str, b: str) -> int:
    """How many insertions, deletions, substitutions and swaps of neighbours lead from a to b.

    Source: Damerau 1964, doi:10.1145/363958.363994, in the restricted form.
    """
    rows = [list(range(len(b) + 1))]
    for i, x in enumerate(a, 1):
        row = [i]
        for j, y in enumerate(b, 1):
            row.append(min(rows[-1][j] + 1, row[-1] + 1, rows[-1][j - 1] + (x != y)))
            if i > 1 and j > 1 and x == b[j - 2] and a[i - 2] == y:
                row[j] = min(row[j], rows[-2][j - 2] + 1)
        rows.append(row)
    return rows[-1][-1]


def unknown(kind: str, given: str, known: Iterable[str]) -> UnknownNameError:
    """The error for a name nobody has.

    >>> print(unknown("rule", "adma", ["adam", "lion"]))
    there is no rule 'adma'; did you mean 'adam'? Known: adam, lion
    """
    return UnknownNameError(f"there is no {kind} '{given}'; {nearest(given, known)}")
