"""What stands in for the record and the terminal where a descent is not recorded, or another process does that: they
take everything and keep nothing but the measurements."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from steepest.records.run import Event, Measurement, Step
from steepest.tasks.module_state import ModuleState


class NoRecord:
    """In place of a `Writer`.

    Attributes:
        id: of no run.
        folder: None; nothing is written.
        trouble: None.
        measurements: so far.
    """

    id = ""
    folder: Path | None = None
    trouble: str | None = None

    def __init__(self) -> None:
        self.measurements: list[Measurement] = []

    def step(self, step: Step) -> None:
        """Takes a step."""

    def measure(self, m: Measurement) -> None:
        """Takes a measurement."""
        self.measurements.append(m)

    def event(self, e: Event) -> None:
        """Takes an event."""

    def after(self, n: int, words: str) -> None:
        """Takes the outcome of an event."""

    def go_back(self, t: int) -> None:
        """Drops the measurements after step t."""
        self.measurements = [m for m in self.measurements if m.t <= t]

    def configure(self, config: Mapping[str, Any]) -> None:
        """Takes the configuration."""

    def end_point(self, t: int, state: ModuleState) -> None:
        """Takes the end."""

    def keep(self, t: int, tensors: Iterable[Tensor]) -> None:
        """Takes a point of the path."""

    def restart_path(self) -> None:
        """Begins another path."""

    def flush(self) -> None:
        """Writes nothing."""

    def close(self, status: str, seconds: float) -> None:
        """Ends nothing."""


class OtherRecord(NoRecord):
    """In place of a `Writer` on a process that is not the first one of a run: that one writes.

    Args:
        run: the id.
        folder: of the run.
    """

    def __init__(self, run: str, folder: Path) -> None:
        super().__init__()
        self.id, self.folder = run, folder


class NoProgress:
    """In place of a `Progress`."""

    def step(self, step: Step) -> None:
        """Takes a step."""

    def measure(self, m: Measurement) -> None:
        """Takes a measurement."""

    def end(self, m: Measurement) -> None:
        """Takes the measurement of the end."""

    def event(self, event: Event) -> None:
        """Takes an event."""

    def say(self, words: str) -> None:
        """Takes words."""

    def stop(self) -> None:
        """Ends nothing."""
