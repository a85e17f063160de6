"""Where a run ended, in one safetensors file: weights, buffers and extra state.

Weights and buffers have their own names, so that the file loads as a state dict. The header says which are buffers and
has the rest of the extra state as JSON, whose tensors are stored under names that begin with `$extra/`. A file of
Steepest 0.1 has the weights alone, and no such header.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from steepest.errors import StoreError
from steepest.runs.store import weights
from steepest.runs.store.state import pack, unpack
from steepest.tasks.module_state import ModuleState

EXTRA_PREFIX, HEADER_KEY = "$extra", "steepest"


def save(folder: Path, t: int, state: ModuleState) -> Path:
    """Writes the state after step t.

    Raises:
        StoreError: it cannot be written; nothing half-written is left.
        TypeError: an extra state has something else than numbers, texts and tensors.
    """
    tensors: dict[str, Any] = {}
    extra = pack(dict(state.extra), tensors, EXTRA_PREFIX)
    header = {"buffers": list(state.buffers), "transient": sorted(state.transient), "extra": extra}
    return weights.save(folder, t, {**state.tensors, **tensors}, {HEADER_KEY: json.dumps(header)})


def load(path: Path) -> ModuleState | None:
    """The state of a file; None for one of Steepest 0.1, which has the weights alone.

    Raises:
        StoreError: no such file, or a damaged one.
    """
    text = weights.header(path).get(HEADER_KEY)
    if text is None:
        return None
    tensors = weights.load(path)
    try:
        header = json.loads(text)
        buffers = {name: tensors[name] for name in header["buffers"]}
        parameters = {k: v for k, v in tensors.items() if k not in buffers and not k.startswith(f"{EXTRA_PREFIX}/")}
        extra, transient = dict(unpack(header["extra"], tensors)), frozenset(header["transient"])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise StoreError(f"Cannot read weights from {path}: its header is damaged ({error}).") from error
    if not all(x.is_floating_point() or x.is_complex() for x in parameters.values()):
        raise StoreError(f"Cannot read weights from {path}: they must be floating-point numbers.")
    return ModuleState(parameters, buffers, extra, transient=transient)


def state_dict(state: ModuleState) -> dict[str, Tensor]:
    """The weights and those buffers that a module's `state_dict` has."""
    return {name: x for name, x in state.tensors.items() if name not in state.transient}


def vector(tensors: Mapping[str, Tensor], names: Sequence[str]) -> Tensor:
    """The weights of these names as one vector [N].

    Raises:
        StoreError: one is missing.
    """
    absent = [name for name in names if name not in tensors]
    if absent or not names:
        raise StoreError(f"The stored weights have no {', '.join(absent[:5]) or 'names'}, so they are damaged.")
    return torch.cat([tensors[name].reshape(-1) for name in names])
