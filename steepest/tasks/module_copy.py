"""Copies of modules, of those too that hold tensors with a graph, as `nn.utils.weight_norm` does after a pass."""

import copy
from collections.abc import Iterator
from typing import Any

from torch import Tensor, nn


def copy_module(module: nn.Module) -> nn.Module:
    """A separate copy of a module; tensors with a graph that it holds are copied without their graph.

    Source: torch refuses to copy a tensor that is not a leaf, https://github.com/pytorch/pytorch/issues/28594.
    """
    values = [x for m in module.modules() for value in vars(m).values() for x in _tensors(value)]
    without_graph = {id(x): x.detach().clone() for x in values if x.grad_fn is not None}
    return copy.deepcopy(module, without_graph)


def _tensors(value: Any) -> Iterator[Tensor]:
    """The tensors of a module's attribute: itself, or what a list, tuple or dict holds."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, list | tuple):
        yield from (x for x in value if isinstance(x, Tensor))
    elif isinstance(value, dict):
        yield from (x for x in value.values() if isinstance(x, Tensor))
