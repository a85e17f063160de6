"""The SQLite file: its schema, and connections to it."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from steepest.errors import StoreError
from steepest.records.run import COLUMNS

SCHEMA_VERSION = 1
BUSY_S = 5.0
"""Timeout for a database that another process holds."""

SCHEMA = Path(__file__).with_name("schema.sql")


def connect(path: Path, *, create: bool = False) -> sqlite3.Connection:
    """Connects to a database in WAL mode.

    Raises:
        StoreError: the folder or file cannot be used, or has a newer version.
    """
    with describe_errors(path):
        if create:
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise StoreError(
                    f"Cannot create the runs folder {path.parent} ({error.strerror}). Pass another one with runs=."
                ) from error
        database = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
        version = database.execute("PRAGMA user_version").fetchone()[0]
        if version > SCHEMA_VERSION:
            raise StoreError(
                f"{path} has version {version}; this version reads up to {SCHEMA_VERSION}. Update Steepest."
            )
        if version == 0:
            _create(database)
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("PRAGMA synchronous=NORMAL")
        return database


def _create(database: sqlite3.Connection) -> None:
    """Creates the tables, once even if several processes try."""
    with database:  # commits, or rolls back
        database.execute("BEGIN IMMEDIATE")
        if database.execute("PRAGMA user_version").fetchone()[0] == 0:
            for statement in SCHEMA.read_text(encoding="utf-8").split(";"):
                database.execute(statement)
            database.execute(f"PRAGMA user_version={SCHEMA_VERSION}")


def trim(database: sqlite3.Connection, run: str, attempt: int, t: int, events: int) -> None:
    """Deletes what a run recorded after step t of an attempt and after its first `events` events."""
    beyond = "run=? AND (attempt>? OR attempt=? AND {}>?)"
    key = (run, attempt, attempt, t)
    database.execute(f"DELETE FROM chunks WHERE {beyond.format('t0')}", key)
    database.execute(f"DELETE FROM measurements WHERE {beyond.format('t')}", key)
    database.execute("DELETE FROM events WHERE run=? AND n>?", (run, events))
    chunks = database.execute(
        "SELECT t0, n FROM chunks WHERE run=? AND attempt=? AND t0+n-1>?", (run, attempt, t)
    ).fetchall()
    for t0, n in chunks:
        count = t - t0 + 1
        columns = ", ".join(f"{c}=substr({c}, 1, {8 * count})" for c in COLUMNS)
        where = "WHERE run=? AND attempt=? AND t0=? AND n=?"
        database.execute(f"UPDATE chunks SET n=?, {columns} {where}", (count, run, attempt, t0, n))


@contextmanager
def describe_errors(path: Path) -> Iterator[None]:
    """Turns SQLite's errors into StoreErrors with advice."""
    try:
        yield
    except sqlite3.Error as error:
        raise StoreError(describe_error(path, error)) from error


def describe_error(path: Path, error: Exception) -> str:
    """An error of a database, with advice."""
    text = str(error)
    hints = {
        "locked": f"Another process has held it for {BUSY_S:.0f} s: wait, stop it, or use another runs folder.",
        "full": "The disk is full: free some space, or use another runs folder.",
        "I/O error": "Cannot write to the disk (is it full?): free some space, or use another runs folder.",
        "readonly": "Check its permissions, or use another runs folder.",
        "read-only": "Check its permissions, or use another runs folder.",
        "unable to open": "Check that the folder is writable, or use another runs folder.",
        "not a database": "Move this file away, or use another runs folder.",
        "malformed": "The file is damaged: move it away, or restore it from a copy.",
    }
    hint = next((h for key, h in hints.items() if key in text), "Use another runs folder.")
    return f"{path}: {text}. {hint}"
