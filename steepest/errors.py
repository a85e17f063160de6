"""Steepest's exceptions. A message has the form "X must be Y, got Z. Do W."

SteepestError
├── InputError (also a ValueError)   an invalid argument
│   ├── TextError                    a text that does not parse, with the position of the mistake
│   │   └── ScheduleError            an invalid schedule
│   ├── UnknownNameError             an unknown name, with the most similar known one
│   └── FormulaError                 an update rule's formula that cannot be compiled, with the line
├── TaskError                        a model, loss, data set or task file that cannot be trained
│   └── TensorError (also an InputError and a RuntimeError, as torch raises either)
│                                    a parameter or gradient that no step can use: of another shape, without memory
├── StoreError                       a runs folder, database or stored run that cannot be used
├── ProcessError                     another process of the same run has failed
└── DivergedError                    weights that are no longer finite

SearchInterrupt (a KeyboardInterrupt)    Ctrl-C during a search, with the results so far
"""

from collections.abc import Iterable, Sequence
from typing import Any


class SteepestError(Exception):
    """Base class of the errors that Steepest raises."""


class InputError(SteepestError, ValueError):
    """An invalid argument."""


class TextError(InputError):
    """A text that does not parse; the message shows the line, with a caret under the mistake.

    Args:
        text: the whole text.
        position: index of the first wrong character, from 0.
        problem: what is wrong there and what would be right.
    """

    kind = "text"
    """What the text should describe."""

    def __init__(self, text: str, position: int, problem: str) -> None:
        line, column = _line(text, position)
        super().__init__(f"Invalid {self.kind} at character {position + 1}: {problem}\n    {line}\n    {' ' * column}^")
        self.text = text
        self.position = position


class ScheduleError(TextError):
    """A schedule that does not parse, or does not fit into the run."""

    kind = "schedule"


def _line(text: str, position: int) -> tuple[str, int]:
    """The line that contains a position, one column per character, and the column.

    The end of a text of several lines is after its last word, not on an empty line.
    """
    if "\n" in text[:position] and not text[position:].strip():
        position = len(text[:position].rstrip())
    begin = text.rfind("\n", 0, position) + 1
    line = text[begin:].partition("\n")[0]
    return "".join(c if c.isprintable() else " " for c in line), position - begin


class UnknownNameError(InputError):
    """An unknown name."""


class FormulaError(InputError):
    """An update rule's formula that cannot be compiled."""


class TaskError(SteepestError):
    """A model, loss, data set or task file that cannot be trained."""


class TensorError(TaskError, InputError, RuntimeError):
    """A parameter or gradient that no step can use, such as one without memory."""


class StoreError(SteepestError):
    """A runs folder, database or stored run that cannot be used."""


class ProcessError(SteepestError):
    """Another process of the same run has failed; says which and why."""


class DivergedError(SteepestError):
    """The weights are no longer finite."""


class SearchInterrupt(KeyboardInterrupt):
    """Ctrl-C during a search. It propagates as Ctrl-C does and carries the results so far.

    Args:
        words: how far the search was.
        table: the completed trials.
    """

    def __init__(self, words: str, table: Sequence[Any]) -> None:
        super().__init__(words)
        self.table = tuple(table)


def nearest(name: str, candidates: Iterable[str], label: str = "Known") -> str:
    """The hint to append to an error about an unknown name: the most similar candidate, and all candidates.

    >>> nearest("adma", ["adam", "lion"])
    "Did you mean 'adam'? Known: adam, lion"
    """
    candidates = sorted(candidates)
    return f"{closest(name, candidates)}{label}: {', '.join(candidates) or 'none'}"


def closest(name: str, candidates: Iterable[str]) -> str:
    """The question whether the most similar candidate is meant, with a space after it; empty where none is similar."""
    close = [other for other in sorted(candidates) if 2 * _edits(name, other) <= max(len(name), len(other))]
    return f"Did you mean '{min(close, key=lambda other: _edits(name, other))}'? " if close else ""


def _edits(a: str, b: str) -> int:
    """The number of insertions, deletions, substitutions and swaps of neighbours that turn a into b.

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


def unknown(kind: str, name: str, candidates: Iterable[str], owner: str = "") -> UnknownNameError:
    """The error for an unknown name.

    Args:
        kind: what the name should name, such as "rule".
        name: the unknown name.
        candidates: the known names.
        owner: whose names these are, such as " of adam".

    >>> print(unknown("rule", "adma", ["adam", "lion"]))
    Unknown rule 'adma'. Did you mean 'adam'? Known rules: adam, lion
    """
    return UnknownNameError(f"Unknown {kind} '{name}'{owner}. {nearest(name, candidates, f'Known {kind}s')}")
