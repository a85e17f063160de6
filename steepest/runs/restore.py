"""Restores a stored run's weights and buffers into a model."""

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import nn

from steepest.descent.loop import Descent
from steepest.descent.state import restore_tensors
from steepest.errors import InputError, StoreError
from steepest.records.run import Record
from steepest.rules.textbook import RULES
from steepest.runs.config import identity, settings_of
from steepest.runs.store import Store, checkpoints
from steepest.tasks import BUILT_IN, Space, Task, load


def load_start(start: Any, space: Space, store: Store) -> None:
    """Moves a model to another run's end, parameter by parameter.

    Raises:
        StoreError: no such run.
        InputError: its weights are not this model's; says which differ.
    """
    tensors = store.load_point(start) if isinstance(start, str) else start.tensors
    own = dict(space.named())
    if {k: v.shape for k, v in tensors.items()} != {k: v.shape for k, v in own.items()}:
        odd = sorted(set(tensors) ^ set(own)) or [k for k in own if tensors[k].shape != own[k].shape]
        raise InputError(f"start={start!r} does not match this model; parameters that differ: {', '.join(odd[:5])}")
    restore_tensors(tensors, own)


class RunEnd(NamedTuple):
    """A model where a run ended, and its descent with the rule's state; None for a rule that is not built in."""

    model: nn.Module
    descent: Descent | None


def restore_end(task: Task, store: Store, record: Record) -> RunEnd:
    """A copy of the task's model at a run's end, with its buffers.

    Args:
        task: the run's.
        store: that holds the run.
        record: of the run.

    Raises:
        StoreError: the task's data or model are not those of the run; says what differs.
    """
    config = record.config
    if config.device != "cpu" and not torch.cuda.is_available():
        config = dataclasses.replace(config, device="cpu")  # an analysis needs no more
    descent = None
    if all(part.rule in RULES for part in config.stages):
        settings = settings_of(task, config)
        descent = Descent(task, settings, task.copy(settings.seed))
    model = task.copy(config.seed) if descent is None else descent.model
    check_identity(record, identity(task, model))
    checkpoint = checkpoints.load(store.folder / record.id / "checkpoints")
    if checkpoint:
        state = checkpoint.state
        if descent is not None:
            descent.load(state["descent"])
        best = {} if record.status == "interrupted" else state["best"]["tensors"] or {}
        restore_tensors({**state["descent"]["buffers"], **best}, dict(model.named_buffers()))
    restore_tensors(store.load_point(record.id), dict(Space(model).named()))
    return RunEnd(model, descent)


def check_identity(record: Record, now: Mapping[str, str]) -> None:
    """Refuses a task whose model or data, as far as they are given, are not the run's."""
    for what, value in now.items():
        then = getattr(record.config, what)
        if then != value:
            raise StoreError(
                f"Run {record.id} was made with a different task ({what} differs: {then} vs {value}). Pass the "
                f"original task, or start={record.id!r}."
            )


def built_in_task(record: Record) -> Task:
    """The task of a stored run, if it is a built-in one.

    Raises:
        StoreError: it is not.
    """
    if record.config.source not in BUILT_IN:
        raise StoreError(
            f"Run {record.id} was not trained on a built-in task, so its model cannot be built. Pass the task, or "
            "build the model and load `run.tensors` with load_state_dict(..., strict=False)."
        )
    return load(record.config.source)
