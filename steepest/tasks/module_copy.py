"""Copies of modules, of those too that hold tensors with a graph, as `nn.utils.weight_norm` does after a pass."""

import copy
from collections import deque
from collections.abc import Iterator
from typing import Any, TypeVar

from torch import Tensor, nn

Value = TypeVar("Value")


def copy_module(module: nn.Module) -> nn.Module:
    """A separate copy of a module; tensors with a graph that it holds are copied without their graph.

    Source: torch refuses to copy a tensor that is not a leaf, https://github.com/pytorch/pytorch/issues/28594.
    """
    return copy_with_module(module, module)


def copy_with_module(value: Value, module: nn.Module) -> Value:
    """The same of what holds a module, such as a partial or a method of it."""
    without_graph: dict[int, Any] = {}
    for m in module.modules():
        for x in _tensors(list(vars(m).values()), set()):
            if x.grad_fn is not None:
                without_graph[id(x)] = x.detach().clone()
    return copy.deepcopy(value, without_graph)


def _tensors(value: Any, seen: set[int]) -> Iterator[Tensor]:
    """The tensors of a module's attribute: itself, or what lists, tuples, sets and dicts hold, also nested ones."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, list | tuple | set | deque | dict) and id(value) not in seen:
        seen.add(id(value))
        for x in value.values() if isinstance(value, dict) else value:
            yield from _tensors(x, seen)
