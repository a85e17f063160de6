"""What `watch` accepts, and what it refuses in words."""

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from weakref import ref

from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from steepest.errors import InputError
from steepest.records.arguments import check_arguments


def as_list(value: Any) -> list[Any]:
    """One or several of a kind as a list; none for None."""
    return [] if value is None else list(value) if isinstance(value, list | tuple) else [value]


def check_model(model: Any) -> None:
    """Raises an InputError unless it is a module with data."""
    if not isinstance(model, nn.Module):
        raise InputError(f"model must be a torch.nn.Module, got {type(model).__name__}")
    if absent := [name for name, p in model.named_parameters() if p.is_meta]:
        raise InputError(
            f"model must have data, got parameter {absent[0]} on device 'meta'. Load the weights before sd.watch."
        )


def check_optimizers(model: nn.Module, optimizers: Sequence[Any], runs: Mapping[Optimizer, ref[Any]]) -> None:
    """Checks the optimizers of a model.

    Args:
        model: that they train.
        optimizers: as they were given.
        runs: those that watch an optimizer now.

    Raises:
        InputError: there is none, one is no optimizer, occurs twice, is watched, or has no parameter of the model.
    """
    own = {id(p) for p in model.parameters()}
    if not optimizers:
        raise InputError("optimizer must be a torch optimizer or a list of them, got none")
    for k, o in enumerate(optimizers):
        if not isinstance(o, Optimizer):
            raise InputError(f"optimizer must be a torch optimizer, got {type(o).__name__}")
        if any(o is other for other in optimizers[:k]):
            raise InputError(f"optimizer must be a list of different ones, got the same {type(o).__name__} twice")
        if not any(id(p) in own for group in o.param_groups for p in group["params"]):
            raise InputError(
                f"optimizer must have parameters of the model, got {type(o).__name__} with none of them. "
                "Make it from this model's parameters, after the model is on its device."
            )
        if (run := runs.get(o)) and (other := run()):
            raise InputError(f"The optimizer is watched already, as run {other.id}. Close that run first: run.close().")


def check_others(optimizers: Sequence[Optimizer], schedulers: Sequence[Any], scaler: Any) -> None:
    """Checks what goes back beside the model.

    Raises:
        InputError: a scheduler has no state, or is of another optimizer; the scaler is none.
    """
    for scheduler in schedulers:
        if not (hasattr(scheduler, "state_dict") and hasattr(scheduler, "load_state_dict")):
            raise InputError(f"scheduler must have state_dict and load_state_dict, got {type(scheduler).__name__}")
        owner = scheduler.optimizer if isinstance(scheduler, LRScheduler) else optimizers[0]
        if isinstance(owner, Optimizer) and not any(
            o in (owner, getattr(owner, "optimizer", None)) for o in optimizers
        ):
            raise InputError(
                f"scheduler must be of the optimizer that is watched, got a {type(scheduler).__name__} of another one"
            )
    if scaler is not None and not hasattr(scaler, "unscale_"):
        raise InputError(f"scaler must be a torch.amp.GradScaler, got {type(scaler).__name__}")


def check_step(step: Any, name: Any) -> int | None:
    """The steps that the loop has taken before, as they are given.

    Raises:
        InputError: that is no number of steps, or the name of the run is no text.
    """
    step = check_arguments({"step": step, "name": name})["step"]
    if step is not None and (not isinstance(step, int) or step < 0):
        raise InputError(f"step must be the number of steps taken before, 0 or more, got {step!r}")
    return step


def by_name(values: Any) -> Mapping[str, Any]:
    """Measured values, if they have names.

    Raises:
        InputError: they have none.
    """
    if not isinstance(values, Mapping):
        raise InputError(f"run.measure needs numbers by name, got {type(values).__name__}. Pass {{name: value}}.")
    return values


def needs_closure(optimizer: Optimizer) -> bool:
    """Whether an optimizer computes the loss itself, as LBFGS does.

    >>> import torch
    >>> needs_closure(torch.optim.LBFGS([torch.zeros(1)])), needs_closure(torch.optim.Adam([torch.zeros(1)]))
    (True, False)
    """
    return _must_have_closure(type(optimizer))


@functools.cache
def _must_have_closure(kind: type[Optimizer]) -> bool:
    closure = inspect.signature(kind.step).parameters.get("closure")
    return closure is not None and closure.default is inspect.Parameter.empty


def closure_from(closure: Callable[[], Any], loss: Any) -> Callable[[], Any]:
    """The closure, whose first call has been made: it gave this loss."""
    first = [loss]
    return lambda: first.pop() if first else closure()
