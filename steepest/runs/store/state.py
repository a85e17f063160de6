"""Converts a nested state to JSON and named tensors, and back."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor


def pack(nested: Any, tensors: dict[str, Tensor], path: str = "") -> Any:
    """The state as JSON; adds its tensors to `tensors` by path, and refers to them by it.

    >>> import torch
    >>> tensors = {}
    >>> pack({"t": 3, "w": torch.zeros(2)}, tensors), list(tensors)
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
    """The path of a key; separators in keys are escaped, so that paths are unique (as in RFC 6901)."""
    key = key.replace("~", "~0").replace("/", "~1")
    return f"{path}/{key}" if path else key


def unpack(plain: Any, tensors: Mapping[str, Tensor]) -> Any:
    """The state that was given to `pack`."""
    if isinstance(plain, list):
        return [unpack(v, tensors) for v in plain]
    if not isinstance(plain, dict):
        return plain
    if "$tensor" in plain:
        return tensors[plain["$tensor"]]
    if "$items" in plain:
        return {k: unpack(v, tensors) for k, v in plain["$items"]}
    if "$tuple" in plain:
        return tuple(unpack(v, tensors) for v in plain["$tuple"])
    return {k: unpack(v, tensors) for k, v in plain.items()}
