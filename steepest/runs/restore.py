"""Restores a stored run's weights and buffers into a model."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from steepest.descent.loop import Descent
from steepest.descent.state import restore_tensors
from steepest.errors import InputError, StoreError
from steepest.records.run import Record
from steepest.rules.textbook import RULES
from steepest.runs.config import identity, settings_of
from steepest.runs.store import Store, checkpoints
from steepest.runs.store.state import unpack
from steepest.tasks.space import Space
from steepest.tasks.task import Task


@torch.no_grad()
def load_start(start: Any, space: Space, store: Store) -> None:
    """Puts a model at another run's end, parameter by parameter.

    Raises:
        StoreError: no such run.
        InputError: its weights are not this model's; says which differ.
    """
    stored = store.load_point(start) if isinstance(start, str) else start.tensors
    own = dict(space.named())
    if {k: v.shape for k, v in stored.items()} != {k: v.shape for k, v in own.items()}:
        odd = sorted(set(stored) ^ set(own)) or [k for k in own if stored[k].shape != own[k].shape]
        raise InputError(
            f"start={start!r}: its weights are not those of this model; they differ in {', '.join(odd[:5])}"
        )
    for name, p in own.items():
        p.copy_(stored[name])


def restore_end(task: Task, store: Store, record: Record) -> tuple[nn.Module, Descent | None]:
    """A copy of a task's model where a run of it has ended, with the buffers it had there.

    Args:
        task: the run's.
        store: where it is kept.
        record: of the run.

    Returns:
        (the model, the descent that it belongs to, with what its rule remembered; None where that is not one of ours).

    Raises:
        StoreError: the task's data or model are not those of the run; says what differs.
    """
    config = dict(record.config)
    if config["device"] != "cpu" and not torch.cuda.is_available():
        config["device"] = "cpu"  # looking needs no more
    descent = None
    if all(part["rule"] in RULES for part in config["stages"]):
        settings = settings_of(task, config, None, None, None, "auto")
        descent = Descent(task, settings, task.copy(settings.seed))
    model = task.copy(config["seed"]) if descent is None else descent.model
    check_identity(record, {k: config[k] for k in ("model", "data")}, identity(task, model))
    found = checkpoints.load(store.folder / record.id / "checkpoints")
    if found:
        held = unpack(found[1], found[2])
        if descent is not None:
            descent.load(held["descent"])
        best = {} if record.status == "interrupted" else held["best"]["tensors"] or {}
        restore_tensors({**held["descent"]["buffers"], **best}, dict(model.named_buffers()))
    restore_tensors(store.load_point(record.id), dict(Space(model).named()))
    return model, descent


def check_identity(record: Record, recorded: Mapping[str, str], now: Mapping[str, str]) -> None:
    """Refuses a task that is not the run's: its model or its data differ."""
    for what, value in recorded.items():
        if now[what] != value:
            raise StoreError(
                f"run {record.id} is of another task: its {what} is another one (then: {value}; now: {now[what]}); "
                "give the task it was begun with; a run of this task can begin where that one ended, with start="
            )
