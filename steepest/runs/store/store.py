"""The runs of a folder: begins, lists and reads them."""

import json
import os
import re
import secrets
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from functools import wraps
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from steepest.errors import StoreError, nearest
from steepest.records.run import History, Measurement, Record
from steepest.runs.store import database, end_point, path_file, rows, run_folder, weights
from steepest.runs.store.checks import MAX_NAME, MAX_NOTES, check_new, is_plain_id
from steepest.runs.store.counts import Counts, read_counts
from steepest.runs.store.database import ChangeError, trim
from steepest.runs.store.history import current_steps, find_place, join_attempts, make_history
from steepest.runs.store.liveness import this_process
from steepest.runs.store.rows import RunRow
from steepest.runs.store.writer import Writer
from steepest.tasks.module_state import ModuleState
from steepest.view.plain_text import nearest_ascii

MAX_READINGS = 100
MAX_STEM = 50
"""Characters of an id that come from the run's name: a file's name has 255 bytes at most."""


def _consistent(method: Callable[..., Any]) -> Any:
    """Repeats a reading during which another process began to write."""

    @wraps(method)
    def read(self: "Store", *args: Any, **kwargs: Any) -> Any:
        for _ in range(MAX_READINGS):
            with suppress(ChangeError):
                return method(self, *args, **kwargs)
        raise StoreError(f"{self.folder} is written all the time. Try again later.")

    return read


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
            InputError: name or notes are no text, or too long.
        """
        check_new("name", name, MAX_NAME)
        check_new("notes", notes or "", MAX_NOTES)
        stem = re.sub(r"[^\w.-]+", "-", _in_file_names(name)).strip("-.")[:MAX_STEM] or "run"
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
        own = run_folder.check(self.folder, run)
        with database.describe_errors(self._path), closing(database.connect(self._path)) as connection, connection:
            connection.execute("BEGIN IMMEDIATE")
            check_not_in_use(self._record(connection, run))  # another process may have resumed it
            trim(connection, run, attempt, t, events)
            values = ("running", json.dumps(config), *this_process(), run)
            connection.execute("UPDATE runs SET status=?, config=?, host=?, pid=?, born=? WHERE id=?", values)
        weights.drop_beyond(own / "points", t)
        path_file.trim(own, config.get("weights", 0), attempt, t)
        return Writer(self._path, run, attempt)

    @_consistent
    def runs(self) -> list[Record]:
        """All runs, oldest first, without their steps; a damaged one says so in its `damage`."""
        if database.is_empty(self._path):
            return []
        with self._reader() as connection:
            measurements = rows.all_measurements(connection)
            return [self._entry(row, measurements.get(row.id, ())) for row in rows.run_rows(connection)]

    def _entry(self, row: RunRow, measurements: tuple[Measurement, ...] | StoreError = ()) -> Record:
        """A run's record without its steps, or what can be said of a damaged one."""
        try:
            if isinstance(measurements, StoreError):
                raise measurements
            return rows.record_of(row, self.folder, measurements)
        except StoreError as error:
            return rows.damage_record(row, str(error))

    @_consistent
    def names(self) -> dict[str, str]:
        """The name of each run by its id, oldest first."""
        if database.is_empty(self._path):
            return {}
        with self._reader() as connection:
            return rows.names(connection)

    @_consistent
    def counts(self) -> dict[str, Counts]:
        """How many steps and rewinds each run has; runs without steps are left out."""
        if database.is_empty(self._path):
            return {}
        with self._reader() as connection:
            return read_counts(connection)

    @_consistent
    def losses(self, run: str) -> np.ndarray:
        """Training loss of every current step, without the rest of the run, float64 [steps].

        Raises:
            StoreError: no such run, or a damaged one.
        """
        run = self.resolve(run)
        with self._reader() as connection, _name_run(run):
            return join_attempts(rows.attempts_of(connection, run, ("t", "loss")), 2)[1]

    @_consistent
    def losses_of(self, runs: Sequence[str]) -> dict[str, np.ndarray]:
        """The same of several runs, given by their ids; a damaged one, or one that is gone, has none."""
        losses = dict.fromkeys(runs, np.empty(0))
        with self._reader() as connection:
            for run in runs:
                with suppress(StoreError):
                    losses[run] = join_attempts(rows.attempts_of(connection, run, ("t", "loss")), 2)[1]
        return losses

    @_consistent
    def read(self, run: str) -> Record:
        """The whole record of a run.

        Args:
            run: id, the beginning of an id, or a name (then the newest of that name).

        Raises:
            StoreError: no such run (with the nearest id), or several, or a damaged one.
        """
        run = self.resolve(run)
        with self._reader() as connection, _name_run(run):
            connection.execute("BEGIN")  # one snapshot: a run that ends meanwhile is running, or has all its steps
            record, events = self._record(connection, run), rows.events_of(connection, run)
            return replace(
                record, steps=current_steps(rows.attempts_of(connection, run)),
                measurements=rows.current_measurements(connection, run), events=tuple(event for _, event in events),
            )  # fmt: skip

    @_consistent
    def place(self, run: str, t: int, attempt: int | None = None) -> tuple[int, int, int]:
        """Where a run goes on after step t: the attempt, its last step until then, and the number of events so far.

        Args:
            run: its id.
            t: the step; 0 for the end of the run.
            attempt: of the step; None for the one whose step is current.

        Raises:
            StoreError: as for `read`.
        """
        with self._reader() as connection, _name_run(run):
            attempts, events = rows.attempts_of(connection, run, ("t",)), rows.events_of(connection, run)
        return find_place(attempts, events, t, attempt)

    @_consistent
    def history(self, run: str) -> History:
        """The history of a run: rewound steps included, and its path.

        Raises:
            StoreError: as for `read`.
        """
        run = self.resolve(run)
        with self._reader() as connection, _name_run(run):
            connection.execute("BEGIN")
            record, attempts = self._record(connection, run), rows.attempts_of(connection, run)
            measurements, events = rows.measurements_of(connection, run), rows.events_of(connection, run)
            return make_history(record, attempts, measurements, events, run_folder.check(self.folder, run))

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

    def folder_of(self, run: str) -> Path:
        """The folder of a run, with nothing in it that leads out of the runs folder.

        Raises:
            StoreError: as for `resolve`; a link in it leads out.
        """
        return run_folder.check(self.folder, self.resolve(run))

    def points(self, run: str) -> list[tuple[int, Path]]:
        """(t, file) of a run's stored points, in time order."""
        return weights.list_points(self.folder_of(run) / "points")

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

    def remove(self, run: str) -> str:
        """Deletes a run: its numbers, weights and checkpoints; returns its id. A damaged one is given by its whole id.

        Raises:
            StoreError: it is still running.
        """
        row = self._row_to_remove(run)
        with database.describe_errors(self._path), closing(database.connect(self._path)) as connection, connection:
            connection.execute("BEGIN IMMEDIATE")
            if row not in rows.run_rows(connection):  # its number may be another run's by now
                raise StoreError(f"Run {row.id} has changed meanwhile, and was not removed. Try again.")
            for table in ("chunks", "measurements", "events"):
                connection.execute(f"DELETE FROM {table} WHERE run=(SELECT id FROM runs WHERE rowid=?)", (row.number,))
            connection.execute("DELETE FROM runs WHERE rowid=?", (row.number,))
        if is_plain_id(row.values["id"]):
            run_folder.remove(self.folder, row.id)
        return row.id

    @_consistent
    def _row_to_remove(self, run: str) -> RunRow:
        with self._reader() as connection:
            all_rows = {row.id: row for row in rows.run_rows(connection)}
        row = all_rows.get(run) or all_rows.get(self.resolve(run))
        if row is None:
            raise ChangeError
        check_not_in_use(self._entry(row))
        return row

    def _free_id(self, connection: sqlite3.Connection, stem: str) -> str:
        while True:
            run = f"{stem}-{secrets.token_hex(2)}"
            row = connection.execute("SELECT 1 FROM runs WHERE id=?", (run,)).fetchone()
            if not row and not os.path.lexists(self.folder / run):
                return run

    def _record(self, connection: sqlite3.Connection, run: str) -> Record:
        """The record of a run without its steps, measurements and events."""
        matches = rows.run_rows(connection, run)
        if not matches:
            raise StoreError("It has just been removed")
        return rows.record_of(matches[0], self.folder)

    @contextmanager
    def _reader(self) -> Iterator[sqlite3.Connection]:
        """A connection to read within a `with` block; SQLite's errors become StoreErrors."""
        if database.is_empty(self._path):
            raise StoreError(
                f"There are no runs in {self.folder}. Pass another folder with runs= (--runs), or train one."
            )
        with database.reader(self._path) as connection:
            yield connection


@contextmanager
def _name_run(run: str) -> Iterator[None]:
    """Names the run whose rows are damaged."""
    try:
        yield
    except StoreError as error:
        raise StoreError(
            f"Run {run} is damaged: {str(error).rstrip('.')}. Restore the runs folder from a copy, or remove the run "
            f"with: steepest rm {run}"
        ) from error


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
