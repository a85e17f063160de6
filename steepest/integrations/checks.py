"""What `watch` accepts, and what it refuses in words."""

import functools
import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from weakref import ref

from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from steepest.errors import InputError
from steepest.integrations.logs.columns import SPLITS
from steepest.records.arguments import check_arguments

OF_VALIDATION = re.compile(
    rf"(?:{'|'.join(word for word, split in SPLITS.items() if split == 'validation')})[_/.-]+(.+)", re.IGNORECASE
)


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


def by_name(values: Any, split: str, better: Any = None) -> Mapping[str, Any]:
    """Measured values, if they have names; those of the validation split without its name in theirs.

    >>> by_name({"val_loss": 0.5, "valid/acc": 0.9, "value": 1}, "validation")
    {'loss': 0.5, 'acc': 0.9, 'value': 1}

    Raises:
        InputError: they have none, or better is no direction.
    """
    if not isinstance(values, Mapping):
        raise InputError(f"run.measure needs numbers by name, got {type(values).__name__}. Pass {{name: value}}.")
    if better not in (None, "higher", "lower"):
        raise InputError(f"better must be 'higher' or 'lower', got {better!r}")
    if split != "validation":
        return values
    short = {name: without_split(str(name)) or name for name in values}
    return {short[name] if short[name] not in values else name: value for name, value in values.items()}


def without_split(name: str) -> str | None:
    """A metric's name without the words for the validation split before it; None where there are none.

    >>> [without_split(name) for name in ("val_loss", "Valid/acc", "eval-f1", "loss", "value_loss")]
    ['loss', 'acc', 'f1', None, None]
    """
    match = OF_VALIDATION.match(name)
    return match[1] if match else None


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
