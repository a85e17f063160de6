"""TensorBoard's event files, read by TensorBoard itself."""

import logging
from pathlib import Path

from steepest.errors import InputError
from steepest.integrations.logs.columns import Value, make_record
from steepest.integrations.versions import require
from steepest.records.config import Config
from steepest.records.run import Record

EVENT_FILE = "events.out.tfevents"
ALL_VALUES = {"scalars": 0, "tensors": 0}
"""Of each tag TensorBoard keeps all values, not a sample."""


def event_folders(folder: Path) -> list[Path]:
    """The folders with event files in a folder and below it."""
    return sorted({path.parent for path in folder.rglob(f"{EVENT_FILE}*")})


def read_events(path: Path) -> Record:
    """The record of an event file, or of all those in a folder.

    Raises:
        InputError: tensorboard is not installed, or there are no scalars in the file; it may be damaged.
    """
    require("tensorboard", "2.12")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    logging.getLogger("tensorboard").setLevel(logging.ERROR)
    events = EventAccumulator(str(path), ALL_VALUES)
    try:
        events.Reload()
    except Exception as error:  # of a damaged file: whatever its parsers raise
        raise InputError(f"{path} must be an event file of TensorBoard, got one that is damaged: {error}") from error
    values = [Value(e.step, tag, e.value) for tag in events.Tags()["scalars"] for e in events.Scalars(tag)]
    values += _of_tensors(events)
    if not values:
        raise InputError(f"{path} must have scalars, got none: it holds other data, or is damaged from its start on")
    return make_record(str(path), values, Config())


def _of_tensors(events: object) -> list[Value]:
    """Scalars that TensorFlow 2 wrote as tensors."""
    from tensorboard.util.tensor_util import make_ndarray

    result = []
    for tag in events.Tags()["tensors"]:  # type: ignore[attr-defined]
        for e in events.Tensors(tag):  # type: ignore[attr-defined]
            if not e.tensor_proto.tensor_shape.dim and not e.tensor_proto.string_val:
                result.append(Value(e.step, tag, float(make_ndarray(e.tensor_proto))))
    return result
