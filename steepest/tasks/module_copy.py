"""Copies of modules, of those too that hold tensors with a graph, as `nn.utils.weight_norm` does after a pass."""

import copy
from collections import deque
from collections.abc import Iterator
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

Value = TypeVar("Value")


def copy_module(module: nn.Module) -> nn.Module:
    """A separate copy of a module; tensors with a graph that it holds are copied without their graph.

    What cannot be copied at all, such as a lock or an open file, both have.

    Sources: torch refuses to copy a tensor that is not a leaf, https://github.com/pytorch/pytorch/issues/28594, or that
    is sparse by rows or columns; it copies the parameters of a scripted module with a graph, unless gradients are off.
    """
    own = copy_with_module(module, module)
    require_grad_as(module, own)
    return own


def copy_with_module(value: Value, module: nn.Module) -> Value:
    """The same of what holds a module, such as a partial or a method of it."""
    copies: dict[int, Any] = {}
    for m in module.modules():
        for x in _tensors(list(vars(m).values()), set()):
            if x.grad_fn is not None or x.layout not in (torch.strided, torch.sparse_coo):
                copies[id(x)] = x.detach().clone()
    with torch.no_grad():
        try:
            return copy.deepcopy(value, dict(copies))
        except Exception:  # deepcopy runs the user's code
            return copy.deepcopy(value, copies | _without_copy(module, copies))


def _without_copy(module: nn.Module, copies: dict[int, Any]) -> dict[int, Any]:
    """What modules hold that cannot be copied, by id: locks, open files, connections. The copy has the same."""
    own = {}
    for m in module.modules():
        for x in (x for name, x in vars(m).items() if name not in ("_parameters", "_buffers", "_modules")):
            try:
                copy.deepcopy(x, dict(copies))
            except Exception:  # of the user's code
                own[id(x)] = x
    return own


def require_grad_as(module: nn.Module, other: nn.Module) -> None:
    """Lets the parameters of another module require gradients as those of the first do."""
    for p, q in zip(module.parameters(), other.parameters(), strict=True):
        if q.requires_grad != p.requires_grad:
            q.requires_grad_(p.requires_grad)


def _tensors(value: Any, memo: set[int]) -> Iterator[Tensor]:
    """The tensors of a module's attribute: itself, or what lists, tuples, sets and dicts hold, also nested ones."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, list | tuple | set | deque | dict) and id(value) not in memo:
        memo.add(id(value))
        for x in value.values() if isinstance(value, dict) else value:
            yield from _tensors(x, memo)
