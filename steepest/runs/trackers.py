"""Trackers of a run: found by name, told of what is recorded, and kept from harming the training."""

import importlib
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from steepest.errors import InputError, unknown
from steepest.records.run import COLUMNS, Event, Measurement, Record, Step
from steepest.records.tracker import TRACKER_METHODS, RunStart, Tracker

TRACKER_CLASSES = {
    "csv": ("steepest.integrations.csv_file", "CsvFile"),
    "mlflow": ("steepest.integrations.mlflow", "MLflow"),
    "tensorboard": ("steepest.integrations.tensorboard", "TensorBoard"),
}
"""Module and class of a tracker by its name. They are on a floor above, and loaded where they are asked for."""

NEEDS_FOLDER = "csv", "tensorboard"
"""Trackers that write to the run's folder by default."""
Trackers = str | Iterable[Any]


def make_trackers(trackers: Trackers, has_folder: bool = True) -> list[Any]:
    """The trackers that are named, or given as objects.

    Args:
        trackers: names ("csv", "mlflow", "tensorboard"), names with a place ("csv:loss.csv"), objects.
        has_folder: whether the run is recorded, and so has a folder.

    Raises:
        InputError: an unknown name, an object without a tracker's methods, no place to write to, or a missing library;
            says what to install.
    """
    if isinstance(trackers, str):
        trackers = [trackers]
    if not isinstance(trackers, list | tuple):
        raise InputError(f"trackers must be a list of names and trackers, got {type(trackers).__name__}")
    trackers = list(trackers)
    without = [name for name in NEEDS_FOLDER if name in trackers and not has_folder]
    if without:
        raise InputError(f"The tracker {without[0]} needs a place where nothing is recorded. Pass '{without[0]}:PATH'.")
    return [make_tracker(*one.split(":", 1)) if isinstance(one, str) else _check(one) for one in trackers]


def make_tracker(name: str, place: str | Path | None = None) -> Any:
    """A built-in tracker.

    Args:
        name: csv, mlflow or tensorboard.
        place: where it writes to; None for the run's folder, or what the program itself is set to.

    Raises:
        InputError: an unknown name, or a missing library.
    """
    if name not in TRACKER_CLASSES:
        raise unknown("tracker", name, TRACKER_CLASSES)
    module, its_class = TRACKER_CLASSES[name]
    return getattr(importlib.import_module(module), its_class)(place or None)


def _check(tracker: Any) -> Any:
    lacks = [name for name in TRACKER_METHODS if not callable(getattr(tracker, name, None))]
    if lacks or isinstance(tracker, type):
        what = f"the class {tracker.__name__}" if isinstance(tracker, type) else type(tracker).__name__
        without = f" without {', '.join(lacks)}" if lacks else ""
        raise InputError(f"A tracker must be an object with the methods of sd.Tracker, got {what}{without}")
    return tracker


class TrackedRecord:
    """A record whose steps, measurements and events go to trackers too; all else is the record's own.

    Args:
        record: of the run.
        trackers: of it.
        say: shows words to the user.
    """

    def __init__(self, record: Any, trackers: Sequence[Any], say: Callable[[str], None]) -> None:
        self._record, self._trackers, self._say = record, list(trackers), say

    def __getattr__(self, name: str) -> Any:
        return getattr(self._record, name)

    def begin(self, run: RunStart) -> None:
        """Tells the trackers that the run begins."""
        self._tell("begin", run)

    def step(self, step: Step) -> None:
        """Records a step."""
        self._record.step(step)
        self._tell("step", step)

    def measure(self, m: Measurement) -> None:
        """Records a measurement."""
        self._record.measure(m)
        self._tell("measure", m)

    def event(self, e: Event) -> None:
        """Records an event."""
        self._record.event(e)
        self._tell("event", e)

    def go_back(self, t: int) -> None:
        """The steps after step t are undone."""
        self._record.go_back(t)
        self._tell("go_back", t)

    def close(self, status: str, seconds: float) -> None:
        """Ends the record."""
        self._tell("end", status)
        self._record.close(status, seconds)

    def _tell(self, method: str, what: Any) -> None:
        for tracker in tuple(self._trackers):
            try:
                getattr(tracker, method)(what)
            except Exception as error:  # of a program of somebody else's: it must not end the training
                self._trackers.remove(tracker)
                name = type(tracker).__name__
                self._say(f"Warning: the tracker {name} failed in {method} ({type(error).__name__}: {error}). The run "
                          "continues without it; `run.export` writes the whole run afterwards.")  # fmt: skip


def say_on_stderr(words: str) -> None:
    """Shows words where a descent has no terminal of its own."""
    print(f"steepest: {words}", file=sys.stderr)


def track(
    record: Any, trackers: Sequence[Any], config: Mapping[str, Any], name: str, t: int, say: Callable[[str], None]
) -> Any:
    """The record, with trackers that have been told of the run; as it is without any.

    Args:
        record: of the run.
        trackers: from `make_trackers`.
        config: of the run, as JSON.
        name: of the run.
        t: the step that the run goes on from.
        say: shows words to the user.
    """
    if not trackers:
        return record
    result = TrackedRecord(record, trackers, say)
    result.begin(RunStart(record.id, name, config, record.folder, t))
    return result


def replay(record: Record, config: Mapping[str, Any], folder: Path, tracker: Tracker) -> None:
    """Tells a tracker of a run as it is recorded, in the order of its steps.

    Args:
        record: of the run.
        config: of it, as JSON.
        folder: of the run.
        tracker: that is told.
    """
    tracker.begin(RunStart(record.id, record.name, config, folder))
    steps = zip(*(getattr(record.steps, name).tolist() for name in COLUMNS), strict=True)
    parts: list[tuple[int, int, Callable[[Any], None], Any]] = [
        (int(t), 0, tracker.step, Step(int(t), *rest)) for t, *rest in steps
    ]
    parts += [(e.t, 1, tracker.event, e) for e in record.events]
    parts += [(m.t, 2, tracker.measure, m) for m in record.measurements]
    for _, _, tell, what in sorted(parts, key=lambda part: part[:2]):
        tell(what)
    tracker.end(record.status)
