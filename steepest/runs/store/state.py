"""Nested state as numbers and named tensors, and back."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor


def pack(nested: Any, tensors: dict[str, Tensor], path: str = "") -> Any:
    """The state as JSON; its tensors go into `tensors` under their paths, and are named there by these.

    >>> import torch
    >>> held = {}
    >>> pack({"t": 3, "w": torch.zeros(2)}, held), list(held)
    ({'t': 3, 'w': {'$tensor': 'w'}}, ['w'])
    """
    if isinstance(nested, Tensor):
        tensors[path] = nested
        return {"$tensor": path}
    if isinstance(nested, Mapping):
        if all(isinstance(k, str) for k in nested):
            return {k: pack(v, tensors, _below(path, k)) for k, v in nested.items()}
        return {"$items": [[k, pack(v, tensors, _below(path, f"#{i}"))] for i, (k, v) in enumerate(nested.items())]}
    if isinstance(nested, list | tuple):
        parts = [pack(v, tensors, f"{path}/{i}") for i, v in enumerate(nested)]
        return {"$tuple": parts} if isinstance(nested, tuple) else parts
    if nested is None or isinstance(nested, bool | int | float | str):
        return nested
    raise TypeError(f"{path} is {type(nested).__name__}")


def _below(path: str, key: str) -> str:
    """A key's path; what separates keys is escaped in them, so that no two have one path (as in RFC 6901)."""
    key = key.replace("~", "~0").replace("/", "~1")
    return f"{path}/{key}" if path else key


def unpack(packed: Any, tensors: Mapping[str, Tensor]) -> Any:
    """The state that `pack` took apart."""
    if isinstance(packed, list):
        return [unpack(v, tensors) for v in packed]
    if not isinstance(packed, dict):
        return packed
    if "$tensor" in packed:
        return tensors[packed["$tensor"]]
    if "$items" in packed:
        return {k: unpack(v, tensors) for k, v in packed["$items"]}
    if "$tuple" in packed:
        return tuple(unpack(v, tensors) for v in packed["$tuple"])
    return {k: unpack(v, tensors) for k, v in packed.items()}
