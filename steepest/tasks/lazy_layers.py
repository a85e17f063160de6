"""Lazy layers: their weights get shape and values in the model's first pass, which a task makes before all else."""

from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.lazy import LazyModuleMixin
from torch.nn.parameter import is_lazy

from steepest import seeds
from steepest.errors import TaskError
from steepest.tasks import data as sources
from steepest.tasks import module_state
from steepest.tasks.module_state import PLAIN

FIRST_BATCH = 32
"""Samples of the first pass, at most, where the data do not bring their own batches."""


def lazy_names(module: nn.Module) -> list[str]:
    """The names of the parameters and buffers without a shape."""
    return [name for name, x in (*module.named_parameters(), *module.named_buffers()) if is_lazy(x)]


def initialise(module: nn.Module, run: Callable[[nn.Module, Any], Any], *splits: Any) -> str:
    """Gives lazy layers their weights by one pass, without gradients, in the mode that the module has.

    The weights are drawn from torch's random state as the module's own first pass draws them. Other buffers, extra
    state, attributes and the generators of a loader stay as they were; a lazy batch norm has its initial statistics.

    Args:
        module: with or without such layers.
        run: `(module, batch)`, a pass.
        splits: of data; the batch is the first one of the first split that can be read again.

    Returns:
        Why there are still weights without a shape; empty if there are none.
    """
    if not lazy_names(module):
        return ""
    try:
        batch = _first_batch(module, splits)
        with torch.no_grad(), _FirstPass(module):
            run(module, batch)
    except Exception as error:  # any error of the user's code
        words = f"{type(error).__name__}: {error}".partition("\n")[0]
        return f"the model's first pass failed ({words})" if lazy_names(module) else ""
    return "the model's first pass did not reach it" if lazy_names(module) else ""


def check_shapes(module: nn.Module, why: str) -> None:
    """Checks that every tensor has a shape.

    Raises:
        TaskError: one has none; says why.
    """
    names = lazy_names(module)
    if names:
        raise TaskError(
            f"{type(module).__name__}: parameter {names[0]} must have a shape, but is lazy, and {why}. Run the model "
            "once on a batch to initialise lazy modules, before the Task is made."
        )


def _first_batch(module: nn.Module, splits: tuple[Any, ...]) -> Any:
    device = next((x.device for x in module.parameters()), torch.device("cpu"))
    again = [split for split in splits if split is not None and not _is_read_once(split)]
    if not again:
        if any(split is not None for split in splits):
            raise TaskError("data and validation can be read only once")
        return None
    states = sources.generator_states(again[0])
    try:
        with seeds.ours(0, "first pass"):
            return next(sources.in_batches(again[0], FIRST_BATCH, device))
    finally:
        sources.restore_generators(states)


def _is_read_once(split: Any) -> bool:
    return sources.is_iterable(split) and isinstance(split, Iterator)


class _FirstPass:
    """A block with a first pass, which changes of a module only what is lazy."""

    def __init__(self, module: nn.Module) -> None:
        self._module, self._extra = module, module_state.read_extra(module)[0]
        lazy = [m for m in module.modules() if isinstance(m, LazyModuleMixin) and lazy_names(m)]
        others = [m for m in module.modules() if not any(m is one for one in lazy)]
        self._buffers = [_copies(m) for m in others]
        self._attributes = [(m, {k: (v, _shallow(v)) for k, v in vars(m).items() if _is_plain(k, v)}) for m in others]
        self._hooks = [m.register_forward_pre_hook(self._after_initialisation) for m in lazy]

    def _after_initialisation(self, module: nn.Module, inputs: Any) -> None:
        self._buffers.append(_copies(module))

    def __enter__(self) -> None:
        pass

    def __exit__(self, *error: Any) -> None:
        for hook in self._hooks:
            hook.remove()
        for holder, copies in self._buffers:
            for key, (b, values) in copies.items():
                holder[key] = b.copy_(values)
        for module, attributes in self._attributes:
            for key in [k for k, v in vars(module).items() if _is_plain(k, v) and k not in attributes]:
                del vars(module)[key]
            for key, (value, content) in attributes.items():
                vars(module)[key] = _refill(value, content)
        module_state.write_extra(self._module, self._extra)


def _copies(module: nn.Module) -> tuple[dict[str, Any], dict[str, tuple[Tensor, Tensor]]]:
    own = module._buffers
    return own, {key: (b, b.detach().clone()) for key, b in own.items() if b is not None and not is_lazy(b)}


def _is_plain(key: str, value: Any) -> bool:
    return key not in module_state.TORCHS and isinstance(value, PLAIN)


CONTAINERS = (list, dict, set, deque)


def _shallow(value: Any) -> Any:
    return value.copy() if type(value) in CONTAINERS else None


def _refill(value: Any, content: Any) -> Any:
    """The same object with its former content."""
    if type(value) in CONTAINERS:
        value.clear()
        (value.update if isinstance(value, dict | set) else value.extend)(content)
    return value
