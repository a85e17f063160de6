"""Records a run: the training thread appends to lists, another thread writes them to the database.

Every half second the writer thread commits what is in the lists in one transaction. If that fails (a full disk, a
database that another process holds), the rows stay in memory for the next attempt, and `trouble` says why.
"""

import contextlib
import json
import math
import os
import sqlite3
import threading
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from steepest.errors import StoreError
from steepest.records.run import COLUMNS, Event, Measurement, Step
from steepest.runs.store import database, end_point, weights
from steepest.runs.store.liveness import BEAT, BEAT_S
from steepest.runs.store.path_file import PathFile
from steepest.tasks.module_state import ModuleState

WRITE_INTERVAL_S = 0.5


class Writer:
    """Records one run. Made by `Store.begin`.

    Attributes:
        id: of the run.
        folder: of its points and checkpoints.
        trouble: why rows could not be written, in words; None if they were.
    """

    def __init__(self, path: Path, run: str, attempt: int = 0) -> None:
        self.id, self.folder = run, path.parent / run
        self.trouble: str | None = None
        self._path, self._process = path, os.getpid()
        self._steps: list[Step] = []
        self._others: list[tuple[str, tuple]] = []
        self._attempt = attempt
        self._set_aside: list[tuple[int, list[Step]]] = []  # with their attempts, not yet written
        self._lock, self._wake, self._is_closed = threading.Lock(), threading.Event(), False
        self._database, self._trail = database.connect(path), PathFile(self.folder)
        self._thread = threading.Thread(target=self._write_on, name=f"steepest-{run}", daemon=True)
        self._thread.start()
        self.step = self._steps.append  # the hot path: only an append

    def measure(self, m: Measurement) -> None:
        """Records a measurement."""
        row = (self.id, self._attempt, m.t, m.epoch, m.split, m.name, m.value)
        self._others.append(("INSERT OR REPLACE INTO measurements VALUES (?,?,?,?,?,?,?)", row))

    def event(self, e: Event) -> None:
        """Records an event; its number is one more than the run's last."""
        number = "(SELECT COALESCE(MAX(n), 0) + 1 FROM events WHERE run=?)"
        row = (self.id, self._attempt, self.id, *e)
        self._others.append((f"INSERT INTO events VALUES (?,?,{number},?,?,?,?,?)", row))

    def after(self, n: int, words: str) -> None:
        """Records the outcome of the n-th event, from 1."""
        self._others.append(("UPDATE events SET after=? WHERE run=? AND n=?", (words, self.id, n)))

    def go_back(self, t: int) -> None:
        """Begins another attempt, whose steps repeat those after step t; deletes the points after it."""
        weights.drop_beyond(self.folder / "points", t)
        with self._lock:
            self._put_aside()
            self._attempt += 1

    def configure(self, config: Mapping[str, Any]) -> None:
        """Replaces the run's configuration."""
        self._others.append(("UPDATE runs SET config=? WHERE id=?", (json.dumps(config), self.id)))

    def point(self, t: int, tensors: Mapping[str, Tensor]) -> Path:
        """Writes the weights after step t."""
        return weights.save(self.folder / "points", t, tensors)

    def end_point(self, t: int, state: ModuleState) -> Path:
        """Writes weights, buffers and extra state after step t."""
        return end_point.save(self.folder / "points", t, state)

    def keep(self, t: int, tensors: Iterable[Tensor]) -> None:
        """Adds the weights after step t to the run's path.

        Raises:
            StoreError: they cannot be written.
        """
        try:
            self._trail.append(self._attempt, t, tensors)
        except OSError as error:
            raise StoreError(f"Cannot write a point of the path to {self.folder} ({error}).") from error

    def restart_path(self) -> None:
        """Begins another path, of points with another number of weights.

        Raises:
            StoreError: the file cannot be written.
        """
        try:
            self._trail.restart()
        except OSError as error:
            raise StoreError(f"Cannot write the path to {self.folder} ({error}).") from error

    def flush(self) -> None:
        """Writes all rows; afterwards they are on disk, or `trouble` says why not."""
        if os.getpid() == self._process:
            self._write()

    def close(self, status: str, seconds: float) -> None:
        """Ends the record, once.

        Raises:
            StoreError: the last steps could not be written; says how many.
        """
        if os.getpid() != self._process or self._is_closed:
            return
        self._others.append(("UPDATE runs SET status=?, seconds=? WHERE id=?", (status, seconds, self.id)))
        self._is_closed = True
        self._wake.set()
        self._thread.join()
        self._write()
        with contextlib.suppress(sqlite3.Error):  # a reader may keep SQLite from merging the rows when this is closed
            self._database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self._database.close()
        self._trail.close()
        with contextlib.suppress(OSError):
            (self.folder / BEAT).unlink(missing_ok=True)
        if self.trouble:
            steps = sum(len(chunk) for _, chunk in self._set_aside)
            what = f"its last {steps} steps were" if steps else "how it ended was"
            raise StoreError(f"Run {self.id} is trained, but {what} not recorded. {self.trouble}")

    def _write_on(self) -> None:
        last_beat = -math.inf
        while not self._is_closed:
            if time.monotonic() - last_beat >= BEAT_S:
                last_beat = time.monotonic()
                with contextlib.suppress(OSError):
                    self.folder.mkdir(exist_ok=True)
                    (self.folder / BEAT).touch()
            self._wake.wait(WRITE_INTERVAL_S)
            self._write()

    def _put_aside(self) -> None:
        """Moves the waiting steps to `_set_aside`, with their attempt."""
        n = len(self._steps)
        if n:
            self._set_aside.append((self._attempt, self._steps[:n]))
            del self._steps[:n]

    def _write(self) -> None:
        """Commits the waiting rows; keeps them if that fails."""
        with self._lock:
            self._put_aside()
            m = len(self._others)
            if not self._set_aside and not m:
                return
            try:
                self._commit(self._set_aside, self._others[:m])
                self._set_aside, self.trouble = [], None
                del self._others[:m]
            except (sqlite3.Error, OSError) as error:
                self.trouble = database.describe_error(self._path, error)

    def _commit(self, chunks: list[tuple[int, list[Step]]], others: list[tuple[str, tuple]]) -> None:
        run = self._database.execute
        with self._database:  # commits, or rolls back
            run("BEGIN IMMEDIATE")
            for attempt, steps in chunks:
                columns = np.array([s[: len(COLUMNS)] for s in steps], "<f8").T
                blobs = [np.ascontiguousarray(c).tobytes() for c in columns]
                row = (self.id, attempt, steps[0].t, len(steps), *blobs)
                run("INSERT OR REPLACE INTO chunks VALUES (?,?,?,?,?,?,?,?,?,?)", row)
            for statement, row in others:
                run(statement, row)
