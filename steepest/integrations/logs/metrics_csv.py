"""A CSV of metrics: Lightning's `metrics.csv`, `run.export("csv")`, and others that have a column `step`.

A cell that is empty is no value; NaN is `nan`, infinity `inf`. Rows of one step may come apart.
"""

import csv
import math
from pathlib import Path

from steepest.errors import InputError
from steepest.integrations.logs.columns import Value, make_record
from steepest.records.config import Config
from steepest.records.run import Record

STEP_COLUMNS = ("step", "global_step", "iteration", "iter")
TEXT_COLUMNS = ("event", "time", "date", "timestamp", "name")
"""Columns that are no numbers."""


def read_csv(path: Path) -> Record:
    """The record of a CSV.

    Raises:
        InputError: there is no step or training loss, or a cell is no number; says in which line.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            names = [name for name in reader.fieldnames or () if name]
            steps = [name for name in names if name.strip().lower() in STEP_COLUMNS]
            if not steps:
                raise InputError(f"{path} must have a column step, got {', '.join(names) or 'an empty file'}")
            values = [value for row in reader for value in _values(path, reader.line_num, row, steps[0], names)]
    except (csv.Error, UnicodeDecodeError) as error:
        raise InputError(f"{path} must be a CSV in UTF-8, got a file that is none: {error}") from error
    return make_record(str(path), values, Config())


def _values(path: Path, line: int, row: dict, step: str, names: list[str]) -> list[Value]:
    cells = {name: _number(path, line, name, row[name]) for name in names if row[name] and not _is_text(name)}
    t = cells.pop(step, math.nan)
    if not cells:
        return []
    if not (math.isfinite(t) and t >= 0 and t == int(t)):
        raise InputError(f"{path} must have a step in each row, got {row[step] or 'none'} in line {line}")
    epoch = cells.pop("epoch", math.nan)
    return [Value(int(t), name, value, epoch) for name, value in cells.items()]


def _is_text(name: str) -> bool:
    return name.strip().lower() in TEXT_COLUMNS


def _number(path: Path, line: int, name: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise InputError(f"{path} must have numbers, got {text[:40]!r} as {name} in line {line}") from None
