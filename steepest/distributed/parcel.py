"""What is sent to the nodes of a cluster, as bytes: a task, and calls of functions with their arguments.

Functions and classes that a node cannot import, such as a script's own, lambdas and closures, are sent as their code.
"""

import functools
import inspect
import io
from collections.abc import Callable, Collection, Mapping
from types import ModuleType
from typing import Any

import torch

from steepest.errors import InputError, TaskError
from steepest.rules.rule import Rule
from steepest.tasks import registry
from steepest.tasks.task import Task

TASK_PARTS = ("model", "loss", "objective", "data", "validation", "test", "metrics", "augment", "count", "predict")
"""What a user passes to a task, and what may be impossible to send."""
MAX_LEVELS = 8
"""Objects within one another that are searched for what cannot be pickled."""


def pack(value: Any) -> bytes:
    """A value as bytes: tensors by torch, so that views stay views; what nobody can import as its code."""
    file, modules = io.BytesIO(), registry.task_modules()
    from ray import cloudpickle

    for module in modules:
        cloudpickle.register_pickle_by_value(module)
    try:
        torch.save(value, file, pickle_module=_pickle_module({"__main__", *(module.__name__ for module in modules)}))
    finally:
        for module in modules:
            cloudpickle.unregister_pickle_by_value(module)
    return file.getvalue()


def _pickle_module(unknown: Collection[str]) -> ModuleType:
    """Ray's pickler, which sends rules of modules that no node knows by their formula, as a module for torch."""
    from ray import cloudpickle

    class Pickler(cloudpickle.Pickler):
        def reducer_override(self, value: Any) -> Any:
            if isinstance(value, Rule) and value.formula.__module__ in unknown:
                return value.by_formula()
            return super().reducer_override(value)

    module = ModuleType("steepest_pickle")
    module.Pickler = Pickler  # type: ignore[attr-defined]
    return module


def unpack(pickle: bytes) -> Any:
    """A fresh copy of what was packed."""
    return torch.load(io.BytesIO(pickle), map_location="cpu", weights_only=False)


def pack_task(task: Task) -> bytes:
    """A task as bytes.

    Raises:
        TaskError: a part of it cannot be pickled.
    """
    try:
        return pack(task)
    except Exception as error:  # pickling runs the user's code
        whole = error
    for name in TASK_PARTS:
        part = getattr(task, name)
        try:
            pack(part)
        except Exception as error:
            raise TaskError(_refusal(f"Task: {name}", part, error)) from error
    raise TaskError(_refusal("Task", task, whole)) from whole


def pack_call(function: Callable, arguments: tuple) -> bytes:
    """A call as bytes.

    Raises:
        InputError: an argument cannot be pickled, such as an update rule of the user's.
    """
    try:
        return pack((function, arguments))
    except Exception as error:  # pickling runs the user's code
        raise InputError(_refusal("Settings", arguments, error)) from error


def _refusal(name: str, value: Any, error: Exception) -> str:
    """That a value cannot be pickled, which object in it cannot, and what to do."""
    path, culprit = _find_culprit(value)
    where = f", whose {path.lstrip('.')} is {_kind(culprit)}" if path else ""
    return (
        f"{name} must be something that can be pickled, to be sent to a cluster, got {_kind(value)}{where} "
        f"({type(error).__name__}: {error}). Make locks, connections and generators in the function that uses them."
    )


def _find_culprit(value: Any, depth: int = MAX_LEVELS) -> tuple[str, Any]:
    """The innermost object that cannot be pickled, and the way to it."""
    for name, part in _parts(value) if depth else ():
        try:
            pack(part)
        except Exception:  # pickling runs the user's code
            path, culprit = _find_culprit(part, depth - 1)
            return name + path, culprit
    return "", value


def _parts(value: Any) -> list[tuple[str, Any]]:
    """What an object holds, and what a function uses, by the way there."""
    if isinstance(value, Mapping):
        return [(f"[{key!r}]", part) for key, part in value.items()]
    if isinstance(value, list | tuple):
        return [(f"[{i}]", part) for i, part in enumerate(value)]
    if inspect.isfunction(value):
        variables = inspect.getclosurevars(value)
        parts = {**variables.globals, **variables.nonlocals}
    elif isinstance(value, functools.partial):
        parts = {"func": value.func, "args": value.args, "keywords": value.keywords}
    elif inspect.ismethod(value):
        parts = {"__self__": value.__self__}
    else:
        parts = getattr(value, "__dict__", {})
    return [(f".{name}", part) for name, part in parts.items()]


def _kind(value: Any) -> str:
    name = getattr(value, "__qualname__", None)
    return name if isinstance(name, str) else f"a {type(value).__qualname__}"
