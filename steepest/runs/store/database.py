"""The SQLite file: its schema, and connections to it."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from steepest.errors import StoreError
from steepest.records.run import COLUMNS

VERSION = 1
BUSY_S = 5.0
"""How long another process may hold the database before we say so."""

SCHEMA = """
CREATE TABLE runs (
    id TEXT PRIMARY KEY, name TEXT NOT NULL, status TEXT NOT NULL, started TEXT NOT NULL, seconds REAL NOT NULL,
    seed INTEGER NOT NULL, config TEXT NOT NULL, versions TEXT NOT NULL, notes TEXT NOT NULL,
    host TEXT NOT NULL, pid INTEGER NOT NULL, born TEXT NOT NULL
);
CREATE TABLE chunks (
    run TEXT NOT NULL, attempt INTEGER NOT NULL, t0 INTEGER NOT NULL, n INTEGER NOT NULL,
    t BLOB NOT NULL, epoch BLOB NOT NULL, lr BLOB NOT NULL, loss BLOB NOT NULL, grad_norm BLOB NOT NULL,
    update_norm BLOB NOT NULL, PRIMARY KEY (run, attempt, t0)
) WITHOUT ROWID;
CREATE TABLE measurements (
    run TEXT NOT NULL, attempt INTEGER NOT NULL, t INTEGER NOT NULL, epoch REAL NOT NULL, split TEXT NOT NULL,
    name TEXT NOT NULL, value REAL, PRIMARY KEY (run, attempt, t, split, name)
) WITHOUT ROWID;
CREATE TABLE events (
    run TEXT NOT NULL, attempt INTEGER NOT NULL, n INTEGER NOT NULL, t INTEGER NOT NULL, kind TEXT NOT NULL,
    seen TEXT NOT NULL, done TEXT NOT NULL, after TEXT NOT NULL, PRIMARY KEY (run, attempt, n)
) WITHOUT ROWID;
"""


def connect(path: Path, *, create: bool = False) -> sqlite3.Connection:
    """A connection in WAL mode to a database of our version.

    Raises:
        StoreError: the folder or file cannot be used, or is of a newer version.
    """
    with explained(path):
        if create:
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise StoreError(
                    f"the runs folder {path.parent} cannot be made ({error.strerror}); give another one with runs="
                ) from error
        database = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
        found = database.execute("PRAGMA user_version").fetchone()[0]
        if found > VERSION:
            raise StoreError(f"{path} is of version {found}, this Steepest reads up to {VERSION}; update Steepest")
        if found == 0:
            _create(database)
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("PRAGMA synchronous=NORMAL")
        return database


def _create(database: sqlite3.Connection) -> None:
    """Makes the tables, once, however many processes try."""
    database.execute("BEGIN IMMEDIATE")
    if database.execute("PRAGMA user_version").fetchone()[0] == 0:
        for statement in SCHEMA.split(";"):
            database.execute(statement)
        database.execute(f"PRAGMA user_version={VERSION}")
    database.execute("COMMIT")


def trim(database: sqlite3.Connection, run: str, attempt: int, t: int, events: int) -> None:
    """Drops what a run recorded after step t of an attempt, and after so many events."""
    beyond = "run=? AND (attempt>? OR attempt=? AND {}>?)"
    key = (run, attempt, attempt, t)
    database.execute(f"DELETE FROM chunks WHERE {beyond.format('t0')}", key)
    database.execute(f"DELETE FROM measurements WHERE {beyond.format('t')}", key)
    database.execute("DELETE FROM events WHERE run=? AND n>?", (run, events))
    straddling = database.execute(
        "SELECT t0, n FROM chunks WHERE run=? AND attempt=? AND t0+n-1>?", (run, attempt, t)
    ).fetchall()
    for t0, n in straddling:
        kept = t - t0 + 1
        columns = ", ".join(f"{c}=substr({c}, 1, {8 * kept})" for c in COLUMNS)
        where = "WHERE run=? AND attempt=? AND t0=? AND n=?"
        database.execute(f"UPDATE chunks SET n=?, {columns} {where}", (kept, run, attempt, t0, n))


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """SQLite's errors in words."""
    try:
        yield
    except sqlite3.Error as error:
        raise StoreError(words(path, error)) from error


def words(path: Path, error: Exception) -> str:
    """What went wrong with a database, and what to do."""
    text = str(error)
    hints = {
        "locked": f"another process has held it for {BUSY_S:.0f} s; wait for it or end it, or give another runs folder",
        "full": "the disk is full; free some space, or give another runs folder",
        "I/O error": "the disk cannot be written (is it full?); free some space, or give another runs folder",
        "readonly": "it cannot be written; check its permissions, or give another runs folder",
        "read-only": "it cannot be written; check its permissions, or give another runs folder",
        "unable to open": "it cannot be opened; check that the folder can be written, or give another runs folder",
        "not a database": "it is another kind of file; move it away, or give another runs folder",
        "malformed": "it is damaged; move it away, or restore it from a copy",
    }
    hint = next((h for key, h in hints.items() if key in text), "give another runs folder")
    return f"{path}: {text}: {hint}"
