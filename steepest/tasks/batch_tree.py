"""A batch is a tree: the functions that count, move, slice, split and join it.

A node is a tuple, list, named tuple, mapping (also a BatchEncoding), dataclass, or what is registered with
`torch.utils._pytree` (transformers' ModelOutput); everything else is a leaf. The samples are the rows of its tensors
and arrays: their first dimension.
"""

import copy
import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence
from torch.utils import _pytree as pytree
from torch.utils.data import default_collate

from steepest.errors import TaskError

TARGET_KEYS = ("labels", "label", "target")
"""Keys of a batch's targets, whose samples are counted."""

Rebuild = Callable[[list[Any]], Any]


class JoinError(TaskError):
    """Batches that cannot be joined, such as sequences of different lengths."""


# -- Nodes -------------------------------------------------------------------------------------------------------------


def children(node: Any) -> tuple[list[Any], Rebuild] | None:
    """A node's children and the function that makes such a node of others; None of a leaf."""
    kind = type(node)
    if kind is tuple or kind is list:
        return list(node), kind
    if kind is dict:
        return list(node.values()), lambda values: dict(zip(node, values, strict=True))
    if isinstance(node, Tensor | np.ndarray | str | bytes | PackedSequence):
        return None
    if isinstance(node, tuple) and hasattr(node, "_fields"):
        return list(node), lambda values: kind(*values)
    if kind in pytree.SUPPORTED_NODES:
        functions = pytree.SUPPORTED_NODES[kind]
        values, context = functions.flatten_fn(node)
        return list(values), lambda values: functions.unflatten_fn(values, context)
    if isinstance(node, Mapping):
        return list(node.values()), lambda values: _mapping_like(node, values)
    if isinstance(node, tuple | list):
        return list(node), kind
    if dataclasses.is_dataclass(node) and not isinstance(node, type):
        names = [field.name for field in dataclasses.fields(node)]
        return [getattr(node, name) for name in names], lambda values: _dataclass_like(node, names, values)
    return None


def _mapping_like(node: Mapping[Any, Any], values: Sequence[Any]) -> Any:
    """A mapping of the same type; a dict where that cannot be written."""
    entries = dict(zip(node, values, strict=True))
    try:
        other = copy.copy(node)
        for key, value in entries.items():
            other[key] = value  # type: ignore[index]
    except TypeError:
        return entries
    return other


def _dataclass_like(node: Any, names: Sequence[str], values: Sequence[Any]) -> Any:
    other = copy.copy(node)
    for name, value in zip(names, values, strict=True):
        object.__setattr__(other, name, value)  # also of a frozen one
    return other


def leaves(batch: Any) -> Iterator[Any]:
    """The leaves in order."""
    parts = children(batch)
    if parts is None:
        yield batch
        return
    for part in parts[0]:
        yield from leaves(part)


def tensors(batch: Any) -> list[Tensor]:
    """The tensors in order; those of a packed sequence are its data."""
    return [
        x.data if isinstance(x, PackedSequence) else x for x in leaves(batch) if isinstance(x, Tensor | PackedSequence)
    ]


def map_leaves(batch: Any, change: Callable[[Any], Any]) -> Any:
    """The batch with `change` applied to every leaf."""
    parts = children(batch)
    if parts is None:
        return change(batch)
    values, rebuild = parts
    return rebuild([map_leaves(x, change) for x in values])


def map_tensors(batch: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """The batch with `change` applied to every tensor in it."""

    def change_leaf(x: Any) -> Any:
        if isinstance(x, Tensor):
            return change(x)
        if isinstance(x, PackedSequence):
            return x._replace(data=change(x.data))
        return x

    return map_leaves(batch, change_leaf)


def with_leaves(batch: Any, values: Iterable[Any]) -> Any:
    """The batch with other leaves, in order."""
    rest = iter(values)
    return map_leaves(batch, lambda _: next(rest))


def to_device(batch: Any, device: str | torch.device) -> Any:
    """The batch on a device: its tensors, and leaves with a method `to`, such as a packed sequence or a graph."""
    return map_leaves(batch, lambda x: x.to(device) if hasattr(x, "to") else x)


# -- Samples -----------------------------------------------------------------------------------------------------------


def count(batch: Any) -> int:
    """Samples in a batch: the rows of its last element that has some, or of its key labels, label or target.

    Without such a key, the rows that all its tensors have. A list of mappings, or of tensors of different lengths, is a
    list of samples. No data (None) and a single number count 1.

    Raises:
        TaskError: the batch has no such samples; `count=` has to say what it counts.

    >>> count((torch.zeros(40), torch.zeros(8), torch.zeros(8)))  # words, offsets, labels
    8
    """
    if batch is None or (isinstance(batch, tuple | list) and not batch):
        return 1
    if isinstance(batch, Tensor) and not batch.dim():
        return 1
    n = _samples(batch, is_batch=True)
    if n is None:
        raise TaskError(
            f"The samples of a batch cannot be counted: {describe(batch)}. Pass Task(count=batch -> number of samples "
            "or tokens that the batch's loss is a mean over)."
        )
    return n


def samples(part: Any) -> int | None:
    """Samples in a part of a batch, such as its target, which may be a list of samples; None if it has none."""
    return _samples(part)


def _samples(node: Any, is_batch: bool = False) -> int | None:
    """Samples in a part of a batch; None if it has none, or if its parts disagree."""
    if isinstance(node, Tensor | np.ndarray):
        return node.shape[0] if node.ndim and not _is_nested(node) else _nested_rows(node)
    if isinstance(node, PackedSequence):
        return int(node.batch_sizes[0])
    if isinstance(node, tuple | list) and not hasattr(node, "_fields"):
        return _samples_of_sequence(node, is_batch)
    keys, parts = _entries(node), children(node)
    if parts is None:
        return None
    for key, part in zip(keys, parts[0]):
        if key in TARGET_KEYS and _samples(part) is not None:
            return _samples(part)
    rows = {n for n in map(_samples, parts[0]) if n is not None}
    return rows.pop() if len(rows) == 1 else None


def _samples_of_sequence(node: Sequence[Any], is_batch: bool) -> int | None:
    if not is_batch and node and all(isinstance(x, Mapping) for x in node):
        return len(node)
    rows = [n for n in map(_samples, node) if n is not None]
    if not is_batch and len(set(rows)) > 1 and all(isinstance(x, Tensor | np.ndarray) for x in node):
        return len(node)
    return rows[-1] if rows else None


def _entries(node: Any) -> list[Any]:
    """Names of a node's children, where they have some."""
    if isinstance(node, Mapping):
        return list(node)
    if hasattr(node, "_fields"):
        return list(node._fields)
    return [field.name for field in dataclasses.fields(node)] if dataclasses.is_dataclass(node) else []


def _is_nested(x: Any) -> bool:
    return isinstance(x, Tensor) and x.is_nested


def _nested_rows(x: Any) -> int | None:
    return x.size(0) if _is_nested(x) else None


def describe(batch: Any) -> str:
    """The kind of a batch in words, with the shapes of its tensors.

    >>> describe({"x": torch.zeros(3, 2), "text": "a"})
    'dict with x: Tensor [3, 2], text: str'
    """
    parts = children(batch)
    if parts is None:
        return _describe_leaf(batch)
    names = _entries(batch) or range(len(parts[0]))
    words = [f"{name}: {_describe_leaf(x)}" for name, x in zip(names, parts[0])]
    return f"{type(batch).__name__} with {', '.join(words[:6])}{', …' if len(words) > 6 else ''}"


def _describe_leaf(x: Any) -> str:
    return f"{type(x).__name__} {list(x.shape)}" if isinstance(x, Tensor | np.ndarray) else type(x).__name__


# -- Rows --------------------------------------------------------------------------------------------------------------


def has_rows(x: Any, n: int) -> bool:
    """Whether a leaf has a row for each of n samples."""
    if isinstance(x, Tensor):
        return x.layout is torch.strided and not x.is_nested and x.dim() > 0 and x.shape[0] == n
    return isinstance(x, np.ndarray) and x.ndim > 0 and x.shape[0] == n


def rows_per_sample(x: Any, n: int) -> int:
    """Rows that a leaf has for each of n samples, such as one for each of their tokens; 0 if they do not divide."""
    if not isinstance(x, Tensor | np.ndarray) or not has_rows(x, x.shape[0] if x.ndim else 0) or not n:
        return 0
    rows, rest = divmod(x.shape[0], n)
    return 0 if rest else rows


def slice(batch: Any, low: int, high: int) -> Any:
    """The samples low … high − 1 of a batch; single numbers stay, and so do texts and other objects.

    Raises:
        TaskError: a tensor has not one row for each sample.
    """
    n = count(batch)

    def cut(x: Any) -> Any:
        if has_rows(x, n):
            return x[low:high]
        if isinstance(x, PackedSequence) or (isinstance(x, Tensor | np.ndarray) and x.ndim):
            raise TaskError(
                f"A batch can be split only if every tensor has one row for each of its {n} samples, got "
                f"{describe(batch)}. Use accumulate=1, or a DataLoader with smaller batches."
            )
        return x

    return map_rows(batch, n, cut, lambda x: x[low:high])


def map_rows(batch: Any, n: int, cut: Callable[[Any], Any], cut_list: Callable[[Any], Any]) -> Any:
    """Applies `cut` to the leaves, and `cut_list` to lists of n samples, such as texts."""
    parts = children(batch)
    if parts is None:
        return cut(batch)
    if _is_list_of_samples(batch, n):
        return cut_list(batch)
    values, rebuild = parts
    return rebuild([map_rows(x, n, cut, cut_list) for x in values])


def _is_list_of_samples(node: Any, n: int) -> bool:
    """Whether a tuple or list has an entry for each of n samples, in place of tensors with rows."""
    return type(node) in (tuple, list) and len(node) == n and not any(has_rows(x, n) for x in leaves(node))


def split(batch: Any, parts: int) -> list[Any]:
    """Near-equal micro-batches, none empty: a batch of fewer samples than parts gives fewer micro-batches."""
    n = count(batch)
    parts = min(parts, n)
    size, longer = divmod(n, parts)
    starts = [i * size + min(i, longer) for i in range(parts + 1)]
    return [slice(batch, low, high) for low, high in zip(starts[:-1], starts[1:])]


def join(batches: Sequence[Any], counts: Sequence[int] | None = None) -> Any:
    """Several batches as one: rows one after another. What has no row for each sample comes as a list of all.

    Args:
        batches: of one structure.
        counts: samples of each; counted where they are not given.

    Raises:
        JoinError: the batches have different structures, or rows of different shapes.
        TaskError: the samples cannot be counted.

    >>> join([(torch.zeros(2, 3), torch.zeros(2)), (torch.ones(1, 3), torch.ones(1))])[1]
    tensor([0., 0., 1.])
    """
    if len(batches) == 1:
        return batches[0]
    return _join(batches, list(map(count, batches)) if counts is None else counts)


def _join(batches: Sequence[Any], counts: Sequence[int]) -> Any:
    first, parts = batches[0], [children(batch) for batch in batches]
    if parts[0] is None:
        return _join_leaves(batches, counts)
    if all(_is_list_of_samples(batch, n) for batch, n in zip(batches, counts, strict=True)):
        return type(first)(x for batch in batches for x in batch)
    values, rebuild = parts[0]
    if any(p is None or type(b) is not type(first) or len(p[0]) != len(values) for b, p in zip(batches, parts)):
        raise JoinError(f"batches to join must have one structure, got {describe(first)} and {describe(batches[-1])}")
    columns = zip(*(p[0] for p in parts if p is not None), strict=True)
    return rebuild([_join(column, counts) for column in columns])


def _join_leaves(parts: Sequence[Any], counts: Sequence[int]) -> Any:
    rows = {rows_per_sample(x, n) for x, n in zip(parts, counts, strict=True)}
    if len(rows) > 1 or 0 in rows:
        return parts[0] if all(x is parts[0] for x in parts[1:]) else list(parts)
    if len({x.shape[1:] for x in parts}) > 1:
        shapes = ", ".join(str(list(x.shape)) for x in parts[:4])
        raise JoinError(f"rows to join must have one shape, got {shapes}")
    return torch.cat(list(parts)) if isinstance(parts[0], Tensor) else np.concatenate(parts)


def stack(batches: Sequence[Any]) -> Any:
    """Batches of equal shapes with a new first dimension."""
    parts = children(batches[0])
    if parts is None:
        return torch.stack(list(batches)) if isinstance(batches[0], Tensor) else batches[0]
    columns = zip(*((children(b) or ([], None))[0] for b in batches), strict=True)
    return parts[1]([stack(column) for column in columns])


def collate(rows: Sequence[Any]) -> Any:
    """Rows of a Dataset as one batch, as torch's `default_collate`; rows may also be dataclasses.

    Raises:
        TaskError: the rows cannot be stacked.
    """
    first = rows[0]
    if dataclasses.is_dataclass(first) and not isinstance(first, Mapping | tuple):
        names = [field.name for field in dataclasses.fields(first)]
        return _dataclass_like(first, names, [collate([getattr(row, name) for row in rows]) for name in names])
    try:
        batch = default_collate(list(rows))
    except (TypeError, RuntimeError) as error:
        raise TaskError(
            f"The rows of the Dataset cannot be made a batch ({str(error).partition(chr(10))[0]}): {describe(first)}. "
            "Rows must be tensors of one shape, arrays or numbers, or tuples and dicts of these. Else pass a "
            "DataLoader with its own collate_fn."
        ) from error
    return tuple(batch) if isinstance(batch, list) else batch
