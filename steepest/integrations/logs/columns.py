"""What the columns of other trainers mean, and the record that they make.

A log is a list of values, each with a name and a step. Names differ between trainers only in separators and prefixes:
`train/loss`, `train_loss_step` and `loss` are one column of ours. What a log lacks is named in the record (`gaps`):
nothing is put in its place.
"""

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from statistics import median
from typing import NamedTuple

import numpy as np

from steepest.errors import InputError
from steepest.records.config import Config
from steepest.records.run import COLUMNS, SIZE_OF_BATCH, SIZE_OF_DATA, SIZE_OF_MODEL, Measurement, Record, Steps
from steepest.tasks.metric import direction_of_name

TRAIN_NAMES = {
    "loss": ("loss", "loss_step", "total_loss", "loss_epoch"),
    "lr": ("lr", "learning_rate"),
    "grad_norm": ("grad_norm", "gradient_norm", "grad_2_0_norm_total", "total_grad_norm", "global_grad_norm"),
    "update_norm": ("update_norm",),
    "epoch": ("epoch",),
}
"""Names of our columns without separators and the prefix "train", the best one first."""
LR_OF_OPTIMIZER = re.compile(r"lr_[a-z].*")
"""Lightning's `lr-AdamW`, and `lr-AdamW/pg2` of a group."""
SPLITS = {"val": "validation", "valid": "validation", "validation": "validation", "eval": "validation",
          "dev": "validation", "test": "test"}  # fmt: skip
TRAIN = "train", "training"
NO_METRICS = frozenset((
    "runtime", "samples_per_second", "steps_per_second", "model_preparation_time", "epoch", "total_flos", "step",
))  # fmt: skip
"""What is logged beside metrics and is none."""


class Value(NamedTuple):
    """A number of a log.

    Attributes:
        step: as the log counts.
        name: of the column, as it is written there.
        value: may be NaN or infinite.
        epoch: where the log says.
    """

    step: int
    name: str
    value: float
    epoch: float = math.nan


def make_record(source: str, values: Sequence[Value], config: Config, status: str = "unknown") -> Record:
    """The record of a log.

    Args:
        source: path of the log.
        values: of it.
        config: what it says of the run's settings.
        status: of the run.

    Raises:
        InputError: there is no training loss among the values; says what there is.
    """
    train, splits = _group(values)
    if "loss" not in train:
        names = ", ".join(sorted({v.name for v in values})) or "none"
        raise InputError(f"{source} must have the training loss, as loss or train_loss, got the columns {names}")
    shift = _shift(sorted(train["loss"]))
    t = sorted(train["loss"])
    columns = {name: np.array([train[name][step] for step in t]) for name in TRAIN_NAMES if _is_whole(train, name)}
    if "lr" in train:  # a schedule is smooth: between two values it is near the last one
        columns["lr"] = _fill(train["lr"], t)
    epochs = {v.step: v.epoch for v in values if not math.isnan(v.epoch)} | train.get("epoch", {})
    columns["epoch"] = _fill(epochs, t)
    empty = np.full(len(t), math.nan)
    steps = Steps(np.array(t, np.float64) + shift, *(columns.get(name, empty) for name in COLUMNS[1:]))
    every = [
        Measurement(step + shift, epochs.get(step, math.nan), split, name, value)
        for (split, name), series in splits.items() for step, value in series.items()
    ]  # fmt: skip
    measurements = tuple(sorted(every, key=lambda m: m.t))
    gaps = [name for name in COLUMNS[1:] if name not in columns and name != "epoch"]
    gaps += [SIZE_OF_DATA, SIZE_OF_MODEL] + [SIZE_OF_BATCH] * (config.batch_size is None)
    config = _complete(config, steps, columns, measurements)
    return Record(source, source, status, "", 0.0, config, {}, steps, measurements, gaps=tuple(gaps))


def _complete(config: Config, steps: Steps, columns: dict, measurements: Iterable[Measurement]) -> Config:
    """The settings, with what the curves say: the largest learning rate, the length, and the metric."""
    lr = columns.get("lr")
    names = dict.fromkeys(m.name for m in measurements if m.split == "validation")
    metric = next((name for name in names if name != "loss" and direction_of_name(name) is not None), "loss")
    return replace(
        config, lr=None if lr is None or not np.isfinite(lr).any() else float(np.nanmax(lr)),
        steps=config.steps or int(steps.t[-1]), metric=metric, better=direction_of_name(metric),
    )  # fmt: skip


# -- Names -------------------------------------------------------------------------------------------------------------

Series = dict[int, float]


def _group(values: Iterable[Value]) -> tuple[dict[str, Series], dict[tuple[str, str], Series]]:
    """The training columns by our names, and what was measured on other splits, by split and name."""
    by_name: dict[str, Series] = {}
    for v in values:
        by_name.setdefault(v.name, {})[v.step] = v.value
    train: dict[str, tuple[int, Series]] = {}
    splits: dict[tuple[str, str], tuple[int, Series]] = {}
    for name, series in by_name.items():
        split, rest = _split(name)
        if split != "train":
            if rest not in NO_METRICS:
                key, rank = (split, re.sub("_(step|epoch)$", "", rest)), 2 * rest.endswith("_step")
                if key not in splits or rank < splits[key][0]:
                    splits[key] = rank, series
            continue
        for column, names in TRAIN_NAMES.items():
            rank = names.index(rest) if rest in names else len(names)
            is_ours = rest in names or (column == "lr" and LR_OF_OPTIMIZER.fullmatch(rest))
            if is_ours and (column not in train or rank < train[column][0]):
                train[column] = rank, series
    return {name: series for name, (_, series) in train.items()}, {key: s for key, (_, s) in splits.items()}


def _split(name: str) -> tuple[str, str]:
    """The split that a name belongs to, and the rest of it.

    >>> _split("train/grad_norm"), _split("eval_loss"), _split("lr-AdamW"), _split("test.accuracy")
    (('train', 'grad_norm'), ('validation', 'loss'), ('train', 'lr_adamw'), ('test', 'accuracy'))
    """
    plain = re.sub(r"[\W_]+", "_", name).strip("_")
    first, _, rest = plain.partition("_")
    if first.lower() in SPLITS and rest:
        return SPLITS[first.lower()], rest.lower()
    return "train", (rest if first.lower() in TRAIN and rest else plain).lower()


# -- Steps -------------------------------------------------------------------------------------------------------------


def _shift(steps: Sequence[int]) -> int:
    """1 where a log counts its steps from 0, as Lightning's do, where step 49 is the fiftieth; else 0.

    >>> _shift([0, 1, 2]), _shift([49, 99, 149]), _shift([10, 20, 30]), _shift([1, 2, 3])
    (1, 1, 0, 0)
    """
    every = round(median(b - a for a, b in zip(steps, steps[1:]))) if len(steps) > 1 else 0
    return int(steps[0] == 0 or (every > 1 and steps[0] % every == every - 1))  # and then nothing is logged before


def _is_whole(train: dict[str, Series], name: str) -> bool:
    """Whether a column has a value wherever the loss has one."""
    return name in train and train[name].keys() >= train["loss"].keys()


def _fill(series: Series, t: Sequence[int]) -> np.ndarray:
    """The values at the steps of the loss, the last one before where there is none; at first the first one."""
    at = sorted(series)
    result, last, k = [], series[at[0]] if at else math.nan, 0
    for step in t:
        while k < len(at) and at[k] <= step:
            last, k = series[at[k]], k + 1
        result.append(last)
    return np.array(result, np.float64)
