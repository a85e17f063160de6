"""Hugging Face's `trainer_state.json`: beside each checkpoint, and in the output folder.

Its loss is the mean over the steps since the value before. `logging_nan_inf_filter`, on by default, hides a loss that
is NaN: it is then 0 beside a gradient norm that is NaN, and is read as NaN.
"""

import json
import math
from pathlib import Path
from typing import Any

from steepest.errors import InputError
from steepest.integrations.logs.columns import Value, make_record
from steepest.records.config import Config
from steepest.records.run import Record

STATE_NAME = "trainer_state.json"
END_ENTRY = "train_runtime"
"""The last entry, with means over the whole run."""


def read_trainer_state(path: Path) -> Record:
    """The record of a Trainer's run.

    Raises:
        InputError: the file is damaged, or is no trainer_state.json; says where.
    """
    try:
        state = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, UnicodeDecodeError) as error:
        raise InputError(f"{path} must be JSON, got a file that is cut off or damaged: {error}") from error
    entries = state.get("log_history") if isinstance(state, dict) else None
    if not isinstance(entries, list):
        raise InputError(f"{path} must be a Trainer's state with log_history, got JSON without it")
    values = [value for n, entry in enumerate(entries, 1) for value in _values(path, n, entry)]
    steps, epochs = (state.get(name) for name in ("max_steps", "num_train_epochs"))
    config = Config(
        steps=steps if isinstance(steps, int) and steps > 0 else 0,
        epochs=epochs if isinstance(epochs, int) and epochs > 0 else None,
    )
    is_done = bool(config.steps) and state.get("global_step") == config.steps
    return make_record(str(path), values, config, "done" if is_done else "unknown")


def newest_state(folder: Path) -> Path | None:
    """The state in a folder, or in the newest of its checkpoints; None without one."""
    checkpoints = sorted(folder.glob(f"checkpoint-*/{STATE_NAME}"), key=lambda path: _number(path.parent.name))
    own = folder / STATE_NAME
    return own if own.is_file() else checkpoints[-1] if checkpoints else None


def _values(path: Path, n: int, entry: Any) -> list[Value]:
    if not isinstance(entry, dict) or not isinstance(entry.get("step"), int):
        raise InputError(f"{path} must have a step in each entry of log_history, got none in entry {n}")
    if END_ENTRY in entry:
        return []
    numbers = {name: float(x) for name, x in entry.items() if isinstance(x, int | float) and not isinstance(x, bool)}
    if numbers.get("loss") == 0 and not math.isfinite(numbers.get("grad_norm", 0.0)):
        numbers["loss"] = math.nan
    epoch = numbers.get("epoch", math.nan)
    return [Value(entry["step"], name, x, epoch) for name, x in numbers.items() if name not in ("step", "epoch")]


def _number(name: str) -> int:
    digits = name.rpartition("-")[2]
    return int(digits) if digits.isdigit() else -1
