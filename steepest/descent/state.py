"""State of a descent: copied and restored."""

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

IMMUTABLE = frozenset((int, float, bool, str, type(None)))
"""Types that need no copy."""


def copy_state(nested: Any) -> Any:
    """A deep copy; tensors keep their memory layout."""
    if isinstance(nested, Tensor):
        return nested.detach().clone()
    if isinstance(nested, Mapping):
        return {k: copy_state(v) for k, v in nested.items()}
    if isinstance(nested, list | tuple):
        is_immutable = IMMUTABLE.issuperset(map(type, nested))  # a guard's windows: hundreds of numbers
        return type(nested)(nested if is_immutable else [copy_state(v) for v in nested])
    return nested if type(nested) in IMMUTABLE else copy.deepcopy(nested)


@torch.no_grad()
def copy_tensors(source: Sequence[Tensor], target: Sequence[Tensor]) -> None:
    """Copies tensors into others, one by one."""
    for a, b in zip(source, target, strict=True):
        b.copy_(a)


@torch.no_grad()
def restore_tensors(source: Mapping[str, Tensor], target: Mapping[str, Tensor]) -> None:
    """Copies tensors into the target tensors of the same names."""
    for name, x in target.items():
        x.copy_(source[name])


def get_fields(owner: object, fields: Mapping[str, str]) -> dict[str, Any]:
    """The values of attributes under the keys that they are stored by: `fields` maps key to attribute."""
    return {key: getattr(owner, name) for key, name in fields.items()}


def set_fields(owner: object, fields: Mapping[str, str], state: Mapping[str, Any]) -> None:
    """Restores the result of `get_fields`."""
    for key, name in fields.items():
        setattr(owner, name, state[key])
