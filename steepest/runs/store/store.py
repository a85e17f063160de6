"""The runs of a folder: begins, lists and reads them."""

import json
import math
import os
import re
import secrets
import shutil
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from steepest.errors import StoreError, nearest
from steepest.records.config import from_json
from steepest.records.run import COLUMNS, Event, History, Measurement, Record, Steps
from steepest.runs.store import database, end_point, path_file, weights
from steepest.runs.store.counts import Counts, read_counts
from steepest.runs.store.database import trim
from steepest.runs.store.history import Attempt, current_steps, join_attempts, make_history, split_attempts
from steepest.runs.store.liveness import BEAT, has_ended, this_process
from steepest.runs.store.writer import Writer
from steepest.tasks.module_state import ModuleState
from steepest.view.plain_text import nearest_ascii

RUN_COLUMNS = "id, name, status, started, seconds, config, versions, notes, host, pid, born"


class Store:
    """The runs in one folder.

    Args:
        runs: the folder; created when a run begins.
    """

    def __init__(self, runs: Path | str = "runs") -> None:
        self.folder = Path(runs)
        self._path = self.folder / "runs.db"

    def begin(
        self, name: str, config: Mapping[str, Any], versions: Mapping[str, str], seed: int, notes: str | None = None
    ) -> Writer:
        """Begins the record of a run. Its id is its name and four hexadecimal digits.

        Raises:
            StoreError: the folder or its database cannot be written.
        """
        stem = re.sub(r"[^\w.-]+", "-", _in_file_names(name)).strip("-.") or "run"
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        with database.describe_errors(self._path):
            connection = database.connect(self._path, create=True)
            run = self._free_id(connection, stem)
            row = (run, name, "running", now, 0.0, seed, json.dumps(config), json.dumps(dict(versions)), notes or "")
            connection.execute(f"INSERT INTO runs VALUES ({','.join('?' * 12)})", (*row, *this_process()))
            connection.close()
        return Writer(self._path, run)

    def reopen(self, run: str, attempt: int, t: int, events: int, config: Mapping[str, Any]) -> Writer:
        """Continues the record of a run after step t of an attempt; deletes what was recorded after it.

        Args:
            run: its id.
            attempt, t: where it continues.
            events: number of events until then.
            config: its configuration from now on.

        Raises:
            StoreError: it is running.
        """
        with self._connect() as connection, connection:  # commits, or rolls back
            connection.execute("BEGIN IMMEDIATE")
            row = self._row(connection, run)
            check_not_in_use(self._record(row))  # another process may have resumed it
            trim(connection, run, attempt, t, events)
            values = ("running", json.dumps(config), *this_process(), run)
            connection.execute("UPDATE runs SET status=?, config=?, host=?, pid=?, born=? WHERE id=?", values)
        weights.drop_beyond(self.folder / run / "points", t)
        path_file.trim(self.folder / run, config.get("weights", 0), attempt, t)
        return Writer(self._path, run, attempt)

    def runs(self) -> list[Record]:
        """All runs, oldest first, without their steps."""
        if not self._path.exists():
            return []
        with self._connect() as connection:
            rows = connection.execute(f"SELECT {RUN_COLUMNS} FROM runs ORDER BY started, rowid").fetchall()
            return [self._record(row, measurements=self._current_measurements(connection, row[0])) for row in rows]

    def names(self) -> dict[str, str]:
        """The name of each run by its id, oldest first."""
        if not self._path.exists():
            return {}
        with self._connect() as connection:
            return dict(connection.execute("SELECT id, name FROM runs ORDER BY started, rowid"))

    def counts(self) -> dict[str, Counts]:
        """How many steps and rewinds each run has; runs without steps are left out."""
        if not self._path.exists():
            return {}
        with self._connect() as connection:
            return read_counts(connection)

    def losses(self, run: str) -> np.ndarray:
        """Training loss of every current step, without the rest of the run, float64 [steps]."""
        with self._connect() as connection:
            return join_attempts(self._attempts(connection, self.resolve(run), ("t", "loss")), 2)[1]

    def read(self, run: str) -> Record:
        """The whole record of a run.

        Args:
            run: id, the beginning of an id, or a name (then the newest of that name).

        Raises:
            StoreError: no such run (with the nearest id), or several.
        """
        run = self.resolve(run)
        with self._connect() as connection:
            row = self._row(connection, run)
            events = tuple(event for _, event in self._events(connection, run))
            steps = current_steps(self._attempts(connection, run))
            return self._record(row, steps, self._current_measurements(connection, run), events)

    def history(self, run: str) -> History:
        """The history of a run: rewound steps included, and its path.

        Raises:
            StoreError: as for `read`.
        """
        run = self.resolve(run)
        with self._connect() as connection:
            connection.execute("BEGIN")  # one snapshot: a run that ends meanwhile is running, or has all its steps
            attempts, events = self._attempts(connection, run), self._events(connection, run)
            record, measurements = self._record(self._row(connection, run)), self._measurements(connection, run)
            return make_history(record, attempts, measurements, events, self.folder / run)

    def resolve(self, run: str) -> str:
        """The id of a run: given its id, the beginning of it, or its name (then the newest of that name)."""
        names = self.names()
        if run in names:
            return run
        same_name = [i for i, name in names.items() if name == run]
        if same_name:
            return same_name[-1]
        matches = [i for i in names if run and i.startswith(run)]
        if len(matches) == 1:
            return matches[0]
        if matches:
            raise StoreError(f"{run!r} matches several runs: {', '.join(matches)}. Use a longer prefix.")
        hint = nearest(run, names)
        raise StoreError(f"There is no run {run!r} in {self.folder}. {hint[:1].upper()}{hint[1:]}.")

    def points(self, run: str) -> list[tuple[int, Path]]:
        """(t, file) of a run's stored points, in time order."""
        return weights.list_points(self.folder / self.resolve(run) / "points")

    def load_point(self, run: str, t: int | None = None) -> dict[str, Tensor]:
        """The weights of a run by name: the last stored point, or the one after step t; with the buffers at its end.

        Raises:
            StoreError: there is none.
        """
        path = self._point_path(run, t)
        state = end_point.load(path)
        return weights.load(path) if state is None else end_point.state_dict(state)

    def load_end(self, run: str) -> ModuleState | None:
        """Weights, buffers and extra state at a run's end; None for a run of Steepest 0.1, which has weights alone.

        Raises:
            StoreError: it has no stored point.
        """
        return end_point.load(self._point_path(run, None))

    def _point_path(self, run: str, t: int | None) -> Path:
        points = dict(self.points(run))
        if not points or (t is not None and t not in points):
            steps = ", ".join(map(str, points)) or "none"
            raise StoreError(
                f"Run {run} has no saved weights{'' if t is None else f' at step {t}'}. Saved steps: {steps}."
            )
        return points[max(points) if t is None else t]

    def remove(self, run: str) -> None:
        """Deletes a run: its numbers, weights and checkpoints.

        Raises:
            StoreError: it is still running.
        """
        record = self.read(run)
        check_not_in_use(record)
        with self._connect() as connection, connection:  # commits, or rolls back
            connection.execute("BEGIN IMMEDIATE")
            for table, key in (("runs", "id"), ("chunks", "run"), ("measurements", "run"), ("events", "run")):
                connection.execute(f"DELETE FROM {table} WHERE {key}=?", (record.id,))
        shutil.rmtree(self.folder / record.id, ignore_errors=True)

    def _free_id(self, connection: sqlite3.Connection, stem: str) -> str:
        while True:
            run = f"{stem}-{secrets.token_hex(2)}"
            row = connection.execute("SELECT 1 FROM runs WHERE id=?", (run,)).fetchone()
            if not row and not (self.folder / run).exists():
                return run

    def _row(self, connection: sqlite3.Connection, run: str) -> tuple:
        return connection.execute(f"SELECT {RUN_COLUMNS} FROM runs WHERE id=?", (run,)).fetchone()

    def _attempts(self, connection: sqlite3.Connection, run: str, columns: Sequence[str] = COLUMNS) -> list[Attempt]:
        query = f"SELECT attempt, {', '.join(columns)} FROM chunks WHERE run=? ORDER BY attempt, t0"
        return split_attempts(connection.execute(query, (run,)).fetchall())

    def _events(self, connection: sqlite3.Connection, run: str) -> list[tuple[int, Event]]:
        """All events, with their attempts."""
        query = "SELECT attempt, t, kind, seen, done, after FROM events WHERE run=? ORDER BY attempt, n"
        return [(attempt, Event(*row)) for attempt, *row in connection.execute(query, (run,))]

    def _measurements(self, connection: sqlite3.Connection, run: str) -> list[tuple[int, Measurement]]:
        """All measurements, with their attempts; NaN is stored as NULL."""
        query = "SELECT attempt, t, epoch, split, name, value FROM measurements WHERE run=? ORDER BY attempt, t"
        rows = connection.execute(query, (run,))
        return [(a, Measurement._make((*row, math.nan if value is None else value))) for a, *row, value in rows]

    def _current_measurements(self, connection: sqlite3.Connection, run: str) -> tuple[Measurement, ...]:
        """Those that no later attempt has repeated."""
        query = "SELECT attempt, MIN(t0) FROM chunks WHERE run=? GROUP BY attempt"
        starts = connection.execute(query, (run,)).fetchall()
        current = [m for attempt, m in self._measurements(connection, run)
                   if all(m.t < t0 for later, t0 in starts if later > attempt)]  # fmt: skip
        return tuple(sorted(current, key=lambda m: m.t))

    def _record(
        self, row: tuple, steps: Steps | None = None, measurements: tuple = (), events: tuple = ()
    ) -> Record:  # fmt: skip
        run, name, status, start, seconds, config, versions, notes, host, pid, born = row
        if status == "running" and has_ended(host, pid, born, self.folder / run / BEAT):
            status = "interrupted"
        environment = {**json.loads(versions), "host": host, "pid": str(pid)}
        choices, search, verdict = from_json(json.loads(config))
        steps = current_steps([]) if steps is None else steps
        return Record(
            run, name, status, start, seconds, choices, environment, steps, measurements, events, notes, search, verdict
        )

    @contextmanager
    def _connect(self) -> Iterator[sqlite3.Connection]:
        """A connection within a `with` block; SQLite's errors become StoreErrors."""
        if not self._path.exists():
            raise StoreError(
                f"There are no runs in {self.folder}. Pass another folder with runs= (--runs), or train one."
            )
        with database.describe_errors(self._path), closing(database.connect(self._path)) as connection:
            yield connection


def check_not_in_use(record: Record) -> None:
    """Refuses a run that a process is still training.

    Raises:
        StoreError: it is running; says where.
    """
    if record.status == "running":
        host, pid = record.versions["host"], record.versions["pid"]
        raise StoreError(f"Run {record.id} is still running (pid {pid} on {host}). Stop it or wait.")


def _in_file_names(name: str) -> str:
    """A name as this system's file names can hold it: under a POSIX locale they are ASCII."""
    try:
        os.fsencode(name)
    except UnicodeEncodeError:
        return nearest_ascii(name)
    return name
