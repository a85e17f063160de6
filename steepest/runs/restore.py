"""Where a run ended: weights, buffers and extra state, read from a store and written into a model."""

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import nn

from steepest.descent.loop import Descent
from steepest.errors import InputError, StoreError
from steepest.records.run import Record
from steepest.rules.textbook import RULES
from steepest.runs.config import identity, settings_of
from steepest.runs.continuation import state_of_run
from steepest.runs.store import Store, checkpoints
from steepest.tasks import BUILT_IN, Space, Task, load, module_state
from steepest.tasks.module_state import ModuleState


def end_of(store: Store, record: Record) -> ModuleState:
    """Weights, buffers and extra state where a run ended; of a run of Steepest 0.1 the buffers of its checkpoint.

    Raises:
        StoreError: it has no stored point.
    """
    end = store.load_end(record.id)
    if end is not None:
        return end
    parameters, buffers = store.load_point(record.id), {}
    checkpoint = checkpoints.load(store.folder_of(record.id) / "checkpoints")
    if checkpoint:
        state = checkpoint.state
        with state_of_run():
            best = {} if record.status == "interrupted" else state["best"]["tensors"] or {}
            names = {name: module_state.plain_name(name) for name in state["descent"]["buffers"]}
            buffers = {plain: best.get(name, state["descent"]["buffers"][name]) for name, plain in names.items()}
    return ModuleState(parameters, buffers)


def start_state(start: Any, store: Store) -> ModuleState:
    """The end of the run that another one starts from.

    Args:
        start: a Run, or an id in the store.
        store: of runs that are named.

    Raises:
        StoreError: no such run, or one without a stored point.
    """
    if not isinstance(start, str):
        return end_of(start.store, start.record)
    return end_of(store, store.read(start))


def check_start(start: Any, state: ModuleState, model: nn.Module) -> None:
    """Checks that a model can start at another run's end; writes nothing.

    Raises:
        InputError: the run's weights or buffers are not this model's; says which differ.
    """
    odd = _differences(model, state)
    if odd:
        name = start if isinstance(start, str) else start.id
        raise InputError(f"start={name!r} does not match this model; parameters that differ: {', '.join(odd[:5])}")


def _differences(model: nn.Module, state: ModuleState) -> list[str]:
    """Names of trainable parameters that a state lacks, and of its tensors that the model has not or in other shapes.

    A frozen parameter that the run did not train is not in its state.
    """
    own = {**module_state.parameters_of(model), **module_state.buffers_of(model)}
    absent = set(Space(model).names) - set(state.parameters)
    odd = {name for name, x in state.tensors.items() if name not in own or own[name].shape != x.shape}
    return sorted(absent | odd)


class RunEnd(NamedTuple):
    """A model where a run ended, and its descent with the rule's state; None for a rule that is not built in."""

    model: nn.Module
    descent: Descent | None


def end_model(task: Task, store: Store, record: Record) -> nn.Module:
    """A copy of the task's model with the weights, buffers and extra state of a run's end.

    Raises:
        StoreError: the run has no stored point, or the model has other parameters; says which differ.
    """
    end, model = end_of(store, record), task.copy(record.config.seed)
    odd = _differences(model, end)
    if odd:
        raise StoreError(
            f"Run {record.id} was made with a different model; tensors that differ: {', '.join(odd[:5])}. "
            "Pass its task."
        )
    module_state.write(model, end)
    return model


def restore_end(task: Task, store: Store, record: Record) -> RunEnd:
    """A copy of the task's model at a run's end, and its descent.

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
    if not config.is_watched and all(part.rule in RULES for part in config.stages):
        settings = settings_of(task, config)
        descent = Descent(task, settings, task.copy(settings.seed))
    model = task.copy(config.seed) if descent is None else descent.model
    now = identity(task, model)
    check_identity(record, {"model": now["model"]} if config.is_watched else now)
    checkpoint = checkpoints.load(store.folder_of(record.id) / "checkpoints")
    if checkpoint and descent is not None:
        with state_of_run():
            descent.load(checkpoint.state["descent"])
    with state_of_run():
        module_state.write(model, end_of(store, record))
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


def loop_words(record: Record) -> str:
    """What a watched run lacks, in words."""
    return f"Run {record.id} is of a loop of your own, whose model, loss and data are not recorded"


def built_in_task(record: Record) -> Task:
    """The task of a stored run, if it is a built-in one.

    Raises:
        StoreError: it is not.
    """
    if record.config.is_watched:
        raise StoreError(
            f"{loop_words(record)}. Pass them as a task: sd.Task(model, data, loss), as in "
            f"sd.open({record.id!r}, task=...)."
        )
    if record.config.source not in BUILT_IN:
        raise StoreError(
            f"Run {record.id} was not trained on a built-in task, so its model cannot be built. Pass the task: "
            f"sd.open({record.id!r}, task=...). Or build the model and load `run.tensors`, its weights and buffers, "
            "with load_state_dict(..., strict=False)."
        )
    return load(record.config.source)
