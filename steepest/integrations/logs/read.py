"""`read_log`: the log of another trainer as a record."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from steepest.errors import InputError
from steepest.integrations.logs.event_files import EVENT_FILE, event_folders, read_events
from steepest.integrations.logs.metrics_csv import read_csv
from steepest.integrations.logs.trainer_state import newest_state, read_trainer_state
from steepest.records.run import SIZE_OF_BATCH, SIZE_OF_DATA, SIZE_OF_MODEL, Record

SIZES_OF_LOG = {"batch_size": SIZE_OF_BATCH, "samples": SIZE_OF_DATA, "weights": SIZE_OF_MODEL}
"""What a user can tell of a log, and the gap that it fills."""
KNOWN_LOGS = "trainer_state.json (Transformers), metrics.csv (Lightning), or an event file (TensorBoard)"


def read_log(
    path: str | Path, *, batch_size: int | None = None, samples: int | None = None, weights: int | None = None
) -> Record:
    """The log of another trainer as a record, for `sd.diagnose`.

    Columns are found by their names, whatever their prefixes and separators: loss, lr, grad_norm, update_norm of the
    training, losses and metrics of validation (`eval_…`, `val_…`). What a log lacks is NaN, and is named in `gaps`;
    values may be steps apart. No log has the three sizes; a diagnosis that is told them leaves less open.

    Args:
        path: Transformers' `trainer_state.json`, a checkpoint or output folder that has one; Lightning's `metrics.csv`,
            or another CSV with a column `step`; an event file of TensorBoard, or a folder of them.
        batch_size: samples of a step of the optimizer, on all devices and with accumulation; None: not known.
        samples: of the training data.
        weights: of the model that are trained.

    Raises:
        InputError: a size is no positive whole number; or there is no such log, it is damaged, or has no training loss:
            says what is wrong where. Event files need tensorboard: says what to install.

    >>> import steepest as sd, tempfile, pathlib
    >>> file = pathlib.Path(tempfile.mkdtemp()) / "metrics.csv"
    >>> rows = [f"{k},{2.0 ** -k}" for k in range(1, 31)]
    >>> _ = file.write_text("\\n".join(["step,train/loss", *rows]), encoding="utf-8")
    >>> record = sd.read_log(file)
    >>> len(record.steps), record.gaps[:2]
    (30, ('lr', 'grad_norm'))
    >>> sd.diagnose(record).kind
    'healthy'
    """
    values = positive_sizes({"batch_size": batch_size, "samples": samples, "weights": weights})
    path = Path(path)
    if not path.exists():
        raise InputError(f"path must be {KNOWN_LOGS}, got {path}, which does not exist")
    try:
        record = _read_folder(path) if path.is_dir() else _read_file(path)
    except OSError as error:
        raise InputError(f"path must be a log that can be read, got {path} ({error})") from error
    gaps = tuple(gap for gap in record.gaps if gap not in [SIZES_OF_LOG[name] for name in values])
    return replace(record, config=replace(record.config, **values), gaps=gaps)


def positive_sizes(sizes: Mapping[str, Any]) -> dict[str, Any]:
    """Sizes by name, without those that are None.

    Raises:
        InputError: one is no positive whole number.
    """
    for name, size in sizes.items():
        if size is not None and (isinstance(size, bool) or not isinstance(size, int) or size < 1):
            raise InputError(f"{name} must be a positive whole number, or None where it is not known, got {size!r}")
    return {name: size for name, size in sizes.items() if size is not None}


def is_log_name(path: Path) -> bool:
    """Whether a path is named as a log is, and not as a run."""
    return path.suffix.lower() in (".json", ".csv") or EVENT_FILE in path.name


def _read_file(path: Path) -> Record:
    if EVENT_FILE in path.name:
        return read_events(path)
    if path.suffix.lower() == ".json":
        return read_trainer_state(path)
    if path.suffix.lower() == ".csv":
        return read_csv(path)
    raise InputError(f"path must be {KNOWN_LOGS}, got {path}")


def _read_folder(folder: Path) -> Record:
    logs = _logs(folder)
    if not logs:
        raise InputError(f"path must be {KNOWN_LOGS}, or a folder with one, got {folder} without any")
    first = logs[0]
    if len(logs) > 1:
        names = ", ".join(str(log) for log in logs[:5])
        raise InputError(f"path must be the log of one run, got {folder} with {len(logs)}. Pass one of them: {names}")
    return read_events(first) if first.is_dir() else _read_file(first)


def _logs(folder: Path) -> list[Path]:
    """The logs of a folder: its Trainer's state, else its CSVs, else the folders of its event files."""
    state = newest_state(folder)
    if state is not None:
        return [state]
    tables = sorted(folder.rglob("metrics.csv"))
    return tables or event_folders(folder)
