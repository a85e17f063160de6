"""What is sent to the nodes of a cluster, as bytes: a task, and calls of functions with their arguments.

Functions and classes that a node cannot import, such as a script's own, lambdas and closures, are sent as their code.
"""

import io
from collections.abc import Callable, Collection
from types import ModuleType
from typing import Any

import torch

from steepest.errors import InputError, TaskError
from steepest.rules.rule import Rule
from steepest.tasks import registry
from steepest.tasks.task import Task

TASK_PARTS = ("model", "loss", "objective", "data", "validation", "test", "metrics", "augment", "count", "predict")
"""What a user passes to a task, and what may be impossible to send."""


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
    """Ray's pickler, which sends rules of modules that the nodes do not know by their formula, as a module for torch."""
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
            raise TaskError(_why_not_sent(f"Task: {name}", part, error)) from error
    raise TaskError(_why_not_sent("Task", task, whole)) from whole


def pack_call(function: Callable, arguments: tuple) -> bytes:
    """A call as bytes.

    Raises:
        InputError: an argument cannot be pickled, such as an update rule of the user's.
    """
    try:
        return pack((function, arguments))
    except Exception as error:  # pickling runs the user's code
        raise InputError(_why_not_sent("rule", arguments, error)) from error


def _why_not_sent(name: str, value: Any, error: Exception) -> str:
    """That a value cannot be pickled, which object in it cannot, and what to do."""
    from ray.util import inspect_serializability

    try:
        _, failures = inspect_serializability(value, name, print_file=io.StringIO())  # type: ignore[arg-type]
        culprits = {f"'{f.name}', {_kind(f.obj)}" for f in failures if f.obj is not value}
    except Exception:  # it looks at every attribute, which runs the user's code
        culprits = set()
    parts = f" with {'; '.join(sorted(culprits)[:3])}" if culprits else ""
    return (
        f"{name} must be something that can be pickled, to be sent to the nodes of a cluster, got {_kind(value)}{parts} "
        f"({type(error).__name__}: {error}). Open files, locks, connections and generators cannot: make them in the "
        "function that uses them, or in __setstate__."
    )


def _kind(value: Any) -> str:
    return getattr(value, "__qualname__", None) or type(value).__qualname__
