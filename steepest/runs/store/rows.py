"""Rows of the database as records: each is read within bounds, and passes its checks here."""

import math
import sqlite3
from collections import defaultdict
from collections.abc import Sequence
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from steepest.errors import StoreError
from steepest.records.config import Config
from steepest.records.run import COLUMNS, REWIND, STOP, Event, Measurement, Record
from steepest.runs.store.checks import (
    DAMAGE_STATUS,
    MAX_COUNT,
    NO_TIME,
    STAND_IN_ID,
    SURROGATE,
    TEXT_LIMITS,
    check_run,
    is_plain_id,
    shorten,
)
from steepest.runs.store.database import RUN_COLUMNS
from steepest.runs.store.history import Attempt, current_steps
from steepest.runs.store.liveness import BEAT, has_ended

MAX_STEPS, MAX_ATTEMPT = 100_000_000, 2**31
ORDER = "ORDER BY started, rowid"


def _within_limit(column: str) -> str:
    """A column as it is read: an empty blob in place of a longer value than is ever written."""
    limit = TEXT_LIMITS.get(column)
    if limit is None:
        return column
    length = f"length(CAST({column} AS BLOB))"
    return f"CASE WHEN typeof({column}) IN ('text', 'blob') AND {length} > {limit} THEN x'' ELSE {column} END"


SELECT_RUNS = f"SELECT rowid, {', '.join(map(_within_limit, RUN_COLUMNS))} FROM runs"


def _whole(column: str, low: int = 0, high: int = MAX_COUNT) -> str:
    return f"typeof({column})='integer' AND {column} BETWEEN {low} AND {high}"


def _text(column: str, limit: int) -> str:
    return f"typeof({column})='text' AND length(CAST({column} AS BLOB)) <= {4 * limit}"


MAX_WORDS = 100_000
"""Characters of a text in a measurement or an event."""
RIGHT_CHUNK = " AND ".join(
    (
        *(_whole("attempt", 0, MAX_ATTEMPT), _whole("t0", 1), _whole("n", 1, MAX_STEPS)),
        *(f"typeof({column})='blob' AND length({column}) = 8 * n" for column in COLUMNS),
    )
)
RIGHT_MEASUREMENT = " AND ".join(
    (
        *(_whole("attempt", 0, MAX_ATTEMPT), _whole("t"), "typeof(epoch)='real' AND abs(epoch) < 1e15"),
        *(_text("split", MAX_WORDS), _text("name", MAX_WORDS), "typeof(value) IN ('real', 'null')"),
    )
)
RIGHT_EVENT = " AND ".join(
    (
        *(_whole("attempt", 0, MAX_ATTEMPT), _whole("n", 1), _whole("t")),
        *(_text(column, MAX_WORDS) for column in ("kind", "seen", "done", "after")),
    )
)
"""What a row must be, as SQLite checks it before anything of it is read."""


class RunRow(NamedTuple):
    """A row of the table of runs, of any content.

    Attributes:
        number: of the row.
        values: by column.
    """

    number: int
    values: dict[str, Any]

    @property
    def id(self) -> str:
        """Its id; what stands for it where that is none."""
        run = self.values["id"]
        return run if is_plain_id(run) else STAND_IN_ID.format(self.number)


def run_rows(database: sqlite3.Connection, run: str | None = None) -> list[RunRow]:
    """The rows of all runs, oldest first, or of one by its id."""
    if run is None:
        rows = database.execute(f"{SELECT_RUNS} {ORDER}").fetchall()
    else:
        rows = database.execute(f"{SELECT_RUNS} WHERE id=?", (run,)).fetchall()
    return [RunRow(number, dict(zip(RUN_COLUMNS, values, strict=True))) for number, *values in rows]


def names(database: sqlite3.Connection) -> dict[str, str]:
    """The name of each run by its id, oldest first; without rows whose id is none."""
    matches = database.execute(f"SELECT {_within_limit('id')}, {_within_limit('name')} FROM runs {ORDER}")
    return {run: name for run, name in matches if is_plain_id(run) and isinstance(name, str)}


def record_of(row: RunRow, folder: Path, measurements: Sequence[Measurement] = ()) -> Record:
    """The record of a run without its steps. A running one whose process has ended is interrupted.

    Args:
        row: of the run.
        folder: of all runs.
        measurements: of the run.

    Raises:
        StoreError: the row is damaged; says how, without naming the run.
    """
    (config, search, verdict, versions), v = check_run(row.values), row.values
    environment, status = {**versions, "host": v["host"], "pid": str(v["pid"])}, v["status"]
    if status == "running" and has_ended(v["host"], v["pid"], v["born"], folder / v["id"] / BEAT):
        status = "interrupted"
    return Record(
        v["id"], v["name"], status, v["started"], float(v["seconds"]), config, environment, current_steps([]),
        tuple(measurements), (), v["notes"], search, verdict,
    )  # fmt: skip


def damage_record(row: RunRow, damage: str) -> Record:
    """What can be said about a run whose row, or one of its rows, is damaged."""
    name = row.values["name"]
    name = shorten(name)[1:-1] if isinstance(name, str) else ""
    blank = {"id": row.id, "name": name, "status": DAMAGE_STATUS, "started": NO_TIME, "seconds": 0.0}
    return Record(**blank, config=Config(), versions={}, steps=current_steps([]), damage=damage)


# -- Steps -------------------------------------------------------------------------------------------------------------


def attempts_of(database: sqlite3.Connection, run: str, columns: Sequence[str] = COLUMNS) -> list[Attempt]:
    """The steps of a run by attempt.

    Args:
        database: that holds it.
        run: its id.
        columns: of the steps; the first is t.

    Raises:
        StoreError: they are damaged.
    """
    heads = database.execute(
        f"SELECT attempt, t0, n, {RIGHT_CHUNK} FROM chunks WHERE run=? ORDER BY attempt, t0", (run,)
    ).fetchall()
    _check_heads(heads)
    for t0, blob in database.execute("SELECT t0, t FROM chunks WHERE run=?", (run,)):  # before more of it is read
        if not np.array_equal(np.frombuffer(blob, "<f8"), np.arange(t0, t0 + len(blob) // 8)):
            raise StoreError(f"steps must be numbered one after another, got others from step {t0:,}")
    query = f"SELECT attempt, {', '.join(columns)} FROM chunks WHERE run=? ORDER BY attempt, t0"
    parts: dict[int, list[np.ndarray]] = defaultdict(list)
    for attempt, *blobs in database.execute(query, (run,)):
        parts[attempt].append(np.stack([np.frombuffer(blob, "<f8") for blob in blobs]))
    attempts, count = [], 0
    for attempt, own in parts.items():
        attempts.append(Attempt(attempt, int(own[0][0, 0]), count, np.concatenate(own, axis=1)))
        count += attempts[-1].columns.shape[1]
    if "epoch" in columns and not all(np.isfinite(a.columns[columns.index("epoch")]).all() for a in attempts):
        raise StoreError("epochs must be finite numbers")
    return attempts


def _check_heads(heads: Sequence[tuple]) -> None:
    """Checks the sizes of the chunks before any is read, and that steps follow each other."""
    if not all(head[3] for head in heads):
        raise StoreError("a chunk of steps does not have the size that it states")
    total = sum(head[2] for head in heads)
    if total > MAX_STEPS:
        raise StoreError(f"a run must have at most {MAX_STEPS:,} steps, got {total:,}")
    for (attempt, t0, n, _), (later, start, *_) in zip(heads, heads[1:]):
        if attempt == later and t0 + n != start:
            raise StoreError(f"steps must follow each other, got step {start:,} after step {t0 + n - 1:,}")


# -- Measurements ------------------------------------------------------------------------------------------------------


def measurements_of(database: sqlite3.Connection, run: str) -> list[tuple[int, Measurement]]:
    """All measurements of a run, with their attempts; NaN is stored as NULL.

    Raises:
        StoreError: one is damaged.
    """
    _check_all(database, "measurements", RIGHT_MEASUREMENT, run)
    query = "SELECT attempt, t, epoch, split, name, value FROM measurements WHERE run=? ORDER BY attempt, t"
    return _measurements(database.execute(query, (run,)).fetchall())


def _measurements(rows: Sequence[tuple]) -> list[tuple[int, Measurement]]:
    """Measurements with their attempts, from rows that begin with the attempt."""
    for name in {name for row in rows for name in row[3:5]}:
        _check_text(name)
    return [(row[0], Measurement._make((*row[1:5], math.nan if row[5] is None else row[5]))) for row in rows]


def current_measurements(database: sqlite3.Connection, run: str) -> tuple[Measurement, ...]:
    """Those that no later attempt has repeated.

    Raises:
        StoreError: one is damaged.
    """
    return _current(measurements_of(database, run), _attempt_starts(database, run))


def _attempt_starts(database: sqlite3.Connection, run: str) -> list[tuple[int, int]]:
    """Each attempt and its first step."""
    query = "SELECT attempt, MIN(t0) FROM chunks WHERE run=? GROUP BY attempt"
    starts = database.execute(query, (run,)).fetchall()
    if not all(type(x) is int for start in starts for x in start):
        raise StoreError("the number of a step must be a whole number")
    return starts


def _current(measurements: Sequence[tuple[int, Measurement]], starts: Sequence[tuple]) -> tuple[Measurement, ...]:
    latest = max((attempt for attempt, _ in starts), default=0)
    if not latest:  # in the order of the steps already
        return tuple(m for _, m in measurements)
    current = [m for attempt, m in measurements if attempt >= latest
               or all(m.t < t0 for later, t0 in starts if later > attempt)]  # fmt: skip
    return tuple(sorted(current, key=lambda m: m.t))


def all_measurements(database: sqlite3.Connection) -> dict[str, tuple[Measurement, ...] | StoreError]:
    """The current measurements of every run, or what is wrong with them; a few queries for all."""
    wrong = database.execute(f"SELECT DISTINCT run FROM measurements WHERE NOT ({RIGHT_MEASUREMENT})").fetchall()
    rewinds = {
        run for (run,) in database.execute("SELECT DISTINCT run FROM events WHERE kind IN (?, ?)", (REWIND, STOP))
    }
    query = "SELECT attempt, t, epoch, split, name, value, run FROM measurements ORDER BY run, attempt, t"
    result: dict[str, tuple[Measurement, ...] | StoreError] = {
        run: StoreError(WRONG["measurements"]) for (run,) in wrong
    }
    for run, own in groupby(database.execute(query), key=itemgetter(6)):
        if run in result:
            continue
        try:
            measurements = _measurements(list(own))
            is_repeated = run in rewinds or measurements[-1][0] > 0  # chunks are large: a look at each costs the most
            result[run] = _current(measurements, _attempt_starts(database, run) if is_repeated else [])
        except StoreError as error:
            result[run] = error
    return result


# -- Events ------------------------------------------------------------------------------------------------------------


def events_of(database: sqlite3.Connection, run: str) -> list[tuple[int, Event]]:
    """All events of a run, with their attempts.

    Raises:
        StoreError: one is damaged.
    """
    _check_all(database, "events", RIGHT_EVENT, run)
    query = "SELECT attempt, t, kind, seen, done, after FROM events WHERE run=? ORDER BY attempt, n"
    rows = database.execute(query, (run,)).fetchall()
    for row in rows:
        for text in row[2:]:
            _check_text(text)
    return [(attempt, Event(*row)) for attempt, *row in rows]


WRONG = {"measurements": "a measurement is not one that is written", "events": "an event is not one that is written"}


def _check_all(database: sqlite3.Connection, table: str, right: str, run: str) -> None:
    if database.execute(f"SELECT 1 FROM {table} WHERE run=? AND NOT ({right})", (run,)).fetchone():
        raise StoreError(WRONG[table])


def _check_text(text: str) -> None:
    if SURROGATE.search(text):
        raise StoreError(f"a text must be UTF-8, got {shorten(text)}")
