"""The runs of a folder: begin one, list them, read one whole."""

import json
import math
import re
import secrets
import shutil
import sqlite3
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from steepest.errors import StoreError, nearest
from steepest.records.config import from_json
from steepest.records.run import COLUMNS, Event, History, Measurement, Record, Steps
from steepest.runs.store import database, path_file, weights
from steepest.runs.store.database import trim
from steepest.runs.store.history import Part, join_attempts, parts, standing, told
from steepest.runs.store.liveness import BEAT, is_gone, process
from steepest.runs.store.writer import Writer

FIELDS = "id, name, status, started, seconds, config, versions, notes, host, pid, born"


class Store:
    """The runs in one folder.

    Args:
        runs: the folder; made when a run begins.
    """

    def __init__(self, runs: Path | str = "runs") -> None:
        self.folder = Path(runs)
        self._path = self.folder / "runs.db"

    def begin(
        self, name: str, config: Mapping[str, Any], versions: Mapping[str, str], seed: int, notes: str | None = None
    ) -> Writer:
        """Begins the record of a run; its id is its name and four hexadecimal digits.

        Raises:
            StoreError: the folder or its database cannot be written.
        """
        stem = re.sub(r"[^\w.-]+", "-", name).strip("-.") or "run"
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        with database.explained(self._path):
            connection = database.connect(self._path, create=True)
            run = self._free_id(connection, stem)
            row = (run, name, "running", now, 0.0, seed, json.dumps(config), json.dumps(dict(versions)), notes or "")
            connection.execute(f"INSERT INTO runs VALUES ({','.join('?' * 12)})", (*row, *process()))
            connection.close()
        return Writer(self._path, run)

    def reopen(self, run: str, attempt: int, t: int, events: int, config: Mapping[str, Any]) -> Writer:
        """Goes on recording a run after step t of an attempt; what was recorded beyond is dropped, to be done again.

        Args:
            run: its id.
            attempt, t: where it goes on.
            events: how many it had by then.
            config: its configuration from now on.

        Raises:
            StoreError: it is running.
        """
        with self._connected() as connection:
            connection.execute("BEGIN IMMEDIATE")
            row = self._row(connection, run)
            refuse_running(self._record(row))  # another process may have been quicker
            trim(connection, run, attempt, t, events)
            values = ("running", json.dumps(config), *process(), run)
            connection.execute("UPDATE runs SET status=?, config=?, host=?, pid=?, born=? WHERE id=?", values)
            connection.execute("COMMIT")
        weights.drop_beyond(self.folder / run / "points", t)
        path_file.trim(self.folder / run, config.get("weights", 0), attempt, t)
        return Writer(self._path, run, attempt)

    def runs(self) -> list[Record]:
        """All runs, oldest first, without their steps."""
        if not self._path.exists():
            return []
        with self._connected() as connection:
            rows = connection.execute(f"SELECT {FIELDS} FROM runs ORDER BY started, rowid").fetchall()
            return [self._record(row, measurements=self._measurements(connection, row[0])) for row in rows]

    def names(self) -> dict[str, str]:
        """The name of each run by its id, oldest first."""
        if not self._path.exists():
            return {}
        with self._connected() as connection:
            return dict(connection.execute("SELECT id, name FROM runs ORDER BY started, rowid"))

    def losses(self, run: str) -> np.ndarray:
        """Training loss of every step that stands, without the rest of the run, float64 [steps]."""
        with self._connected() as connection:
            return join_attempts(self._attempts(connection, self.resolve(run), ("t", "loss")), 2)[1]

    def read(self, run: str) -> Record:
        """A run whole.

        Args:
            run: id, the beginning of an id, or a name (then the newest of that name).

        Raises:
            StoreError: no such run (with the nearest id), or several.
        """
        run = self.resolve(run)
        with self._connected() as connection:
            row = self._row(connection, run)
            found = tuple(Event(*e[1:]) for e in self._events(connection, run))
            steps = standing(self._attempts(connection, run))
            return self._record(row, steps, self._measurements(connection, run), found)

    def history(self, run: str) -> History:
        """A run as it happened, with what was rewound, and its points.

        Raises:
            StoreError: as for `read`.
        """
        run = self.resolve(run)
        with self._connected() as connection:
            connection.execute("BEGIN")  # one look: a run that ends meanwhile has either not ended, or all its steps
            done = self._attempts(connection, run)
            measured = connection.execute(
                "SELECT attempt, t, epoch, split, name, value FROM measurements WHERE run=?", (run,)
            ).fetchall()
            record = self._record(self._row(connection, run))
            return told(record, done, measured, self._events(connection, run), self.folder / run)

    def resolve(self, run: str) -> str:
        """The id that is meant."""
        known = self.names()
        if run in known:
            return run
        named = [i for i, name in known.items() if name == run]
        if named:
            return named[-1]
        begun = [i for i in known if run and i.startswith(run)]
        if len(begun) == 1:
            return begun[0]
        if begun:
            raise StoreError(f"'{run}' is the beginning of several runs: {', '.join(begun)}; give more of the id")
        raise StoreError(f"there is no run '{run}' in {self.folder}. {nearest(run, known)}")

    def points(self, run: str) -> list[tuple[int, Path]]:
        """(t, file) of a run's stored points, in time order."""
        return weights.stored(self.folder / self.resolve(run) / "points")

    def load_point(self, run: str, t: int | None = None) -> dict[str, Tensor]:
        """The weights of a run by name: the last stored point, or the one after step t.

        Raises:
            StoreError: there is none.
        """
        found = dict(self.points(run))
        if not found or (t is not None and t not in found):
            there = ", ".join(map(str, found)) or "none"
            raise StoreError(f"run {run} has no point{'' if t is None else f' of step {t}'}; stored: {there}")
        return weights.load(found[max(found) if t is None else t])

    def remove(self, run: str) -> None:
        """Deletes a run, its numbers and its points.

        Raises:
            StoreError: it is still running.
        """
        record = self.read(run)
        refuse_running(record)
        with self._connected() as connection:
            connection.execute("BEGIN IMMEDIATE")
            for table, key in (("runs", "id"), ("chunks", "run"), ("measurements", "run"), ("events", "run")):
                connection.execute(f"DELETE FROM {table} WHERE {key}=?", (record.id,))
            connection.execute("COMMIT")
        shutil.rmtree(self.folder / record.id, ignore_errors=True)

    def _free_id(self, connection: sqlite3.Connection, stem: str) -> str:
        while True:
            run = f"{stem}-{secrets.token_hex(2)}"
            taken = connection.execute("SELECT 1 FROM runs WHERE id=?", (run,)).fetchone()
            if not taken and not (self.folder / run).exists():
                return run

    def _row(self, connection: sqlite3.Connection, run: str) -> tuple:
        return connection.execute(f"SELECT {FIELDS} FROM runs WHERE id=?", (run,)).fetchone()

    def _attempts(self, connection: sqlite3.Connection, run: str, columns: Sequence[str] = COLUMNS) -> list[Part]:
        chosen = f"SELECT attempt, {', '.join(columns)} FROM chunks WHERE run=? ORDER BY attempt, t0"
        return parts(connection.execute(chosen, (run,)).fetchall())

    def _events(self, connection: sqlite3.Connection, run: str) -> list[tuple]:
        return connection.execute(
            "SELECT attempt, t, kind, seen, done, after FROM events WHERE run=? ORDER BY attempt, n", (run,)
        ).fetchall()

    def _measurements(self, connection: sqlite3.Connection, run: str) -> tuple[Measurement, ...]:
        rows = connection.execute(
            "SELECT attempt, t, epoch, split, name, value FROM measurements WHERE run=? ORDER BY attempt, t", (run,)
        ).fetchall()
        begun = dict(connection.execute("SELECT attempt, MIN(t0) FROM chunks WHERE run=? GROUP BY attempt", (run,)))
        gone = {a: min((t0 for b, t0 in begun.items() if b > a), default=math.inf) for a in {r[0] for r in rows}}
        kept = [row[1:] for row in rows if row[1] < gone[row[0]]]
        found = [Measurement(t, epoch, split, name, math.nan if v is None else v) for t, epoch, split, name, v in kept]
        return tuple(sorted(found, key=lambda m: m.t))

    def _record(
        self, row: tuple, steps: Steps | None = None, measurements: tuple = (), events: tuple = ()
    ) -> Record:  # fmt: skip
        run, name, status, started, seconds, config, versions, notes, host, pid, born = row
        if status == "running" and is_gone(host, pid, born, self.folder / run / BEAT):
            status = "interrupted"
        known = {**json.loads(versions), "host": host, "pid": str(pid)}
        choices, search, verdict = from_json(json.loads(config))
        steps = standing([]) if steps is None else steps
        return Record(
            run, name, status, started, seconds, choices, known, steps, measurements, events, notes, search, verdict
        )

    def _connected(self) -> "_Connection":
        return _Connection(self._path)


class _Connection:
    """A connection for as long as a block lasts; SQLite's errors come out in words."""

    def __init__(self, path: Path) -> None:
        self._path = path
        if not path.exists():
            raise StoreError(f"there are no runs in {path.parent}; train something, or give the folder that has them")

    def __enter__(self) -> sqlite3.Connection:
        self._connection = database.connect(self._path)
        return self._connection

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        self._connection.close()
        if isinstance(error, sqlite3.Error):
            raise StoreError(database.words(self._path, error)) from error


def refuse_running(record: Record) -> None:
    """Keeps two processes from one run.

    Raises:
        StoreError: it is running; says where.
    """
    if record.status == "running":
        host, pid = record.versions["host"], record.versions["pid"]
        raise StoreError(f"run {record.id} is still running (process {pid} on {host}); end it, or wait for it")
