"""A run in TensorBoard: `sd.fit(..., trackers=["tensorboard"])`, then `tensorboard --logdir runs`."""

import json
import time
from pathlib import Path
from typing import Any

from steepest.errors import InputError
from steepest.integrations.logs.event_files import EVENT_FILE
from steepest.integrations.versions import require
from steepest.records.run import COLUMNS, Event, Measurement, Step
from steepest.records.tracker import RunStart, Tracker
from steepest.view.format import describe_event

TRAIN_TAGS = tuple(f"train/{name}" for name in COLUMNS)


class TensorBoard(Tracker):
    """Writes a run as an event file: scalars `train/loss`, `train/lr`, `validation/accuracy` …, events as text.

    Attributes:
        path: of the folder, once the run has begun.

    Args:
        path: folder of the event file; None for the run's folder.

    Raises:
        InputError: tensorboard is not installed.
    """

    def __init__(self, path: str | Path | None = None) -> None:
        require("tensorboard", "2.12")
        self.path = None if path is None else Path(path)
        self._writer: Any = None

    def begin(self, run: RunStart) -> None:
        """Opens the event file; what a resumed run has of later steps is hidden.

        Raises:
            InputError: there is no place for it, or it cannot be written.
        """
        self.path = self.path or run.folder
        if self.path is None:
            raise InputError(
                "TensorBoard needs a path where nothing is recorded, got none. Pass one: TensorBoard(path)."
            )
        try:
            self._open(run.t)
        except OSError as error:
            raise InputError(f"path must be a folder that can be written, got {self.path} ({error})") from error
        self._writer.add_text("config", f"    {json.dumps(run.config, indent=1, default=str)}".replace("\n", "\n    "))

    def step(self, step: Step) -> None:
        """Writes a step's numbers."""
        for tag, value in zip(TRAIN_TAGS[1:], step[1 : len(COLUMNS)], strict=True):
            self._writer.add_scalar(tag, value, step.t)

    def measure(self, m: Measurement) -> None:
        """Writes a measurement."""
        self._writer.add_scalar(f"{m.split}/{m.name}", m.value, m.t)

    def event(self, event: Event) -> None:
        """Writes an event in words."""
        self._writer.add_text("event", describe_event(event), event.t)

    def go_back(self, t: int) -> None:
        """Hides the values of later steps: TensorBoard drops them where a file says that it begins again."""
        from tensorboard.compat.proto import event_pb2 as proto  # whose classes are made when it is imported

        session = proto.SessionLog(status=proto.SessionLog.START)  # type: ignore[attr-defined]
        self._writer.file_writer.add_event(proto.Event(step=t + 1, session_log=session))  # type: ignore[attr-defined]

    def end(self, status: str) -> None:
        """Closes the file."""
        self._writer.close()

    def _open(self, t: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        folder = Path(str(self.path))
        while any(folder.glob(f"{EVENT_FILE}.{int(time.time()):010}.*")):
            time.sleep(0.05)  # TensorBoard reads files by name; of those of one second the tenth comes before the ninth
        self._writer = SummaryWriter(str(folder), purge_step=t + 1 if t else None)
