"""The SQLite file: its schema, and connections to it.

The file may be another program's, or somebody else's. Whether it is ours is checked before anything of it is used, on a
connection that cannot write; reading never writes, and needs no permission to.
"""

import os
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path

from steepest.errors import StoreError
from steepest.records.run import COLUMNS

SCHEMA_VERSION = 1
BUSY_S = 5.0
"""Timeout for a database that another process holds."""
SCHEMA = Path(__file__).with_name("schema.sql")
RUN_COLUMNS = (
    "id", "name", "status", "started", "seconds", "seed", "config", "versions", "notes", "host", "pid", "born"
)  # fmt: skip
TABLES = {
    "runs": RUN_COLUMNS,
    "chunks": ("run", "attempt", "t0", "n", *COLUMNS),
    "measurements": ("run", "attempt", "t", "epoch", "split", "name", "value"),
    "events": ("run", "attempt", "n", "t", "kind", "seen", "done", "after"),
}
"""The tables and their columns."""
MAX_VALUE_BYTES = 1 << 28
"""Of one row: the steps of half a second, or of as long as the disk was full, in six columns of eight bytes."""
OPERATIONS, OPERATIONS_PER_BYTE, OPERATION_STEP = 10_000_000, 50, 10_000
"""Operations of SQLite's machine that one connection may take for reading, at least, and for each byte of the file; how
often they are counted. Reading every row takes less than one a byte: more is a file whose pages point at each other."""


class ChangeError(Exception):
    """Another process has begun to write while the file was read without locks."""


@contextmanager
def reader(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection that can only read, to a database that was checked to be ours; it writes no file.

    Where no process writes, the file is read as it lies, without locks: those would be files beside it.

    Raises:
        StoreError: the file cannot be read, is another program's, or has a newer version.
        ChangeError: another process has changed the file meanwhile; read again.
    """
    file = check_file(path)
    before = _stamp(file)
    with describe_errors(path), closing(_open_to_read(file, is_immutable=before is not None)) as database:
        try:
            check_ours(database, path)
            yield database
        except (sqlite3.DatabaseError, StoreError) as error:  # perhaps since it was written meanwhile
            if before is not None and _stamp(file) != before:
                raise ChangeError from error
            raise
    if before is not None and _stamp(file) != before:
        raise ChangeError


def _open_to_read(file: Path, *, is_immutable: bool) -> sqlite3.Connection:
    uri = f"{file.as_uri()}?mode=ro{'&immutable=1' if is_immutable else ''}"
    database = sqlite3.connect(uri, uri=True, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
    left = OPERATIONS + OPERATIONS_PER_BYTE * file.stat().st_size

    def count() -> bool:
        nonlocal left
        left -= OPERATION_STEP
        return left < 0

    database.set_progress_handler(count, OPERATION_STEP)
    _distrust(database)
    return database


def _distrust(database: sqlite3.Connection) -> None:
    """Nothing in the file may run functions; bytes that are no UTF-8 become surrogates, which are then refused."""
    database.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MAX_VALUE_BYTES)
    database.execute("PRAGMA trusted_schema=OFF")
    database.execute("PRAGMA cell_size_check=ON")
    database.text_factory = partial(str, encoding="utf-8", errors="surrogateescape")


def _stamp(file: Path) -> tuple[int, ...] | None:
    """What changes when a process writes the file; None where one may be writing, or was killed while it did."""
    if _size(file, "-wal") or _size(file, "-journal"):
        return None
    try:
        now = file.stat()
    except FileNotFoundError:  # it has just been removed
        return None
    return now.st_ino, now.st_size, now.st_mtime_ns


def _size(file: Path, suffix: str) -> int:
    try:
        return file.with_name(file.name + suffix).stat().st_size
    except FileNotFoundError:
        return 0


def check_file(path: Path) -> Path:
    """The file behind a path, which must be one.

    Raises:
        StoreError: it is a folder, a pipe or a device, or cannot be looked at.
    """
    try:
        mode = path.stat().st_mode
        if stat.S_ISREG(mode):
            return path.resolve()
        kind = "a folder" if stat.S_ISDIR(mode) else "a pipe or a device"
    except OSError as error:
        raise StoreError(f"Cannot read {path} ({error.strerror}). Use another runs folder.") from error
    raise StoreError(f"{path} must be a file, but is {kind}. Move it away, or use another runs folder.")


def is_empty(path: Path) -> bool:
    """Whether nothing was stored yet: there is no file, or one without content."""
    try:
        status = path.stat()
        return stat.S_ISREG(status.st_mode) and status.st_size == 0
    except FileNotFoundError:
        return True
    except OSError:
        return False


def check_ours(database: sqlite3.Connection, path: Path) -> None:
    """Checks that a database has our tables, and none that computes or never ends.

    Raises:
        StoreError: it is another program's, or has a newer version.
    """
    version = database.execute("PRAGMA user_version").fetchone()[0]
    kinds = {
        name: "view" if kind == "view" else "table" if kind == "table" and root else "virtual table"
        for name, kind, root in database.execute("SELECT name, type, rootpage FROM sqlite_master WHERE type!='index'")
        if kind in ("table", "view")
    }
    theirs = f"{path} is no database of Steepest's"
    do = "It was left as it is; use another runs folder."
    if kinds and not kinds.keys() >= {"runs", "chunks"}:
        raise StoreError(f"{theirs}: it has other tables. {do}")
    if version > SCHEMA_VERSION:
        raise StoreError(f"{path} has version {version}; this version reads up to {SCHEMA_VERSION}. Update Steepest.")
    if not kinds or version < 1:
        raise StoreError(f"{theirs}: it has no {'version' if kinds else 'tables'}. {do}")
    for table, names in TABLES.items():
        if kinds.get(table) != "table":
            raise StoreError(f"{theirs}: {table} must be a table, got {kinds.get(table, 'none')}. {do}")
        columns = database.execute(f"PRAGMA table_xinfo({table})").fetchall()
        if tuple(column[1] for column in columns) != names or any(column[6] for column in columns):
            raise StoreError(f"{theirs}: table {table} has other columns. {do}")


def connect(path: Path, *, create: bool = False) -> sqlite3.Connection:
    """Connects to a database to write, in WAL mode.

    Raises:
        StoreError: the folder or file cannot be used, is another program's, or has a newer version.
    """
    with describe_errors(path):
        if create:
            _make_folder(path)
        if not is_empty(path):
            _check_before_write(path)
        elif path.is_symlink():
            raise StoreError(f"{path} is a link to no database. Remove it, or use another runs folder.")
        database = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
        _distrust(database)
        if database.execute("PRAGMA user_version").fetchone()[0] == 0:
            _create(database)
        check_ours(database, path)  # another process may have made it meanwhile
        if database.execute("SELECT 1 FROM sqlite_master WHERE type='trigger'").fetchone():
            raise StoreError(
                f"{path} has triggers, which could change other runs, and no database of Steepest's has. Nothing was "
                "written. Drop them, or use another runs folder."
            )
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("PRAGMA synchronous=NORMAL")
        return database


def _check_before_write(path: Path) -> None:
    """Checks a file before it is opened to write, since that alone may change another program's."""
    while True:
        try:
            with reader(path):
                return
        except ChangeError:
            continue


def _make_folder(path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(
            f"Cannot create the runs folder {path.parent} ({error.strerror}). Pass another one with runs=."
        ) from error


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
    except (sqlite3.Error, MemoryError, UnicodeDecodeError) as error:
        raise StoreError(describe_error(path, error)) from error


def describe_error(path: Path, error: Exception) -> str:
    """An error of a database, with advice."""
    text = "malformed names" if isinstance(error, UnicodeDecodeError) else str(error)  # SQLite's words quote them
    if text == "unable to open database file" and _needs_recovery(path):
        return (
            f"{path} was not closed: its last rows are in {path.name}-wal, and reading them needs a file that cannot "
            "be written here. Copy the folder to where you can write, and use the copy."
        )
    hints = {
        "locked": f"Another process has held it for {BUSY_S:.0f} s: wait, stop it, or use another runs folder.",
        "full": "The disk is full: free some space, or use another runs folder.",
        "I/O error": "Cannot write to the disk (is it full?): free some space, or use another runs folder.",
        "readonly": "Check its permissions, or use another runs folder.",
        "read-only": "Check its permissions, or use another runs folder.",
        "unable to open": "Check that the folder is writable, or use another runs folder.",
        "not a database": "Move this file away, or use another runs folder.",
        "malformed": DAMAGE_HINT,
        "interrupted": DAMAGE_HINT,
        "too big": DAMAGE_HINT,
    }
    hint = next((h for key, h in hints.items() if key in text), "Use another runs folder.")
    return f"{path}: {text or type(error).__name__}. {hint}"


DAMAGE_HINT = "The file is damaged: move it away, or restore it from a copy."


def _needs_recovery(path: Path) -> bool:
    """Whether a process was killed before its rows were merged, in a folder that cannot be written."""
    try:
        return _size(path.resolve(), "-wal") > 0 and not os.access(path.resolve().parent, os.W_OK)
    except OSError:
        return False
