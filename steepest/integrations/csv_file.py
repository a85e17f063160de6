"""A run as a CSV file, for spreadsheets and pandas; `steepest diagnose FILE` reads it too.

A step is a row, and so is what was measured after it; a cell is empty where a row has no such number, as in Lightning's
`metrics.csv`. NaN and infinity are written `nan` and `inf`.
"""

import csv
from pathlib import Path
from typing import Any

from steepest.errors import InputError
from steepest.records.run import COLUMNS, Event, Measurement, Step
from steepest.records.tracker import RunStart, Tracker
from steepest.view.format import describe_event

CSV_NAME = "metrics.csv"
"""In the run's folder."""
CSV_COLUMNS = ("step", *COLUMNS[1:], "event")
"""The first columns; those of metrics follow as they are measured (`validation_loss`)."""


class CsvFile(Tracker):
    """Writes a run to a CSV file, row by row.

    Attributes:
        path: of the file, once the run has begun.

    Args:
        path: of the file; None for `metrics.csv` in the run's folder.
    """

    def __init__(self, path: str | Path | None = None) -> None:
        self.path = None if path is None else Path(path)
        self._file: Any = None
        self._columns: list[str] = list(CSV_COLUMNS)

    def begin(self, run: RunStart) -> None:
        """Opens the file; of a resumed run the rows up to its checkpoint stay.

        Raises:
            InputError: there is no place for it, or it cannot be written.
        """
        if self.path is None:
            if run.folder is None:
                raise InputError("CsvFile needs a path where nothing is recorded, got none. Pass one: CsvFile(path).")
            self.path = run.folder / CSV_NAME
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._rewrite(self._rows(run.t) if run.t and self.path.exists() else [])
        except OSError as error:
            raise InputError(f"path must be a file that can be written, got {self.path} ({error})") from error

    def step(self, step: Step) -> None:
        """Writes a step."""
        self._write({"step": step.t, **dict(zip(COLUMNS[1:], step[1 : len(COLUMNS)], strict=True))})

    def measure(self, m: Measurement) -> None:
        """Writes a measurement; a metric's first one makes a column."""
        name = f"{m.split}_{m.name}"
        if name not in self._columns:
            rows = self._rows()
            self._columns.append(name)
            self._rewrite(rows)
        self._write({"step": m.t, "epoch": m.epoch, name: m.value})
        self._file.flush()

    def event(self, event: Event) -> None:
        """Writes an event in words."""
        self._write({"step": event.t, "event": describe_event(event).partition(" · ")[2]})

    def go_back(self, t: int) -> None:
        """Drops the rows of later steps."""
        self._rewrite(self._rows(t))

    def end(self, status: str) -> None:
        """Closes the file."""
        self._file.close()

    def _write(self, row: dict[str, Any]) -> None:
        self._file.writerow(row)

    def _rows(self, t: int | None = None) -> list[dict[str, str]]:
        """The rows of the file, up to step t; their events stay whenever they were."""
        assert self.path is not None
        if self._file is not None:
            self._file.flush()
        with self.path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            rows = list(reader)
            self._columns = list(reader.fieldnames or CSV_COLUMNS)
        return [row for row in rows if t is None or int(row["step"]) <= t or row.get("event")]

    def _rewrite(self, rows: list[dict[str, str]]) -> None:
        assert self.path is not None
        if self._file is not None:
            self._file.close()
        self._file = _Rows(self.path, self._columns)
        for row in rows:
            self._write(row)


class _Rows:
    """A CSV file that is open."""

    def __init__(self, path: Path, columns: list[str]) -> None:
        self._file = path.open("w", encoding="utf-8", newline="")
        self._writer = csv.DictWriter(self._file, columns, restval="")
        self._writer.writeheader()
        self.writerow, self.flush, self.close = self._writer.writerow, self._file.flush, self._file.close
