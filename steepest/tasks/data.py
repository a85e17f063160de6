"""Data in memory, a map-style Dataset, or an iterable of batches: their kinds, samples and subsets.

Data in memory is a tree (`batch_tree`) of tensors with one row for each sample: a tuple whose last element is the
target, or a dict. Arrays and what has `to_numpy`, such as a pandas DataFrame, become tensors.
"""

import hashlib
import math
import numbers
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset, Subset

from steepest import seeds
from steepest.errors import InputError, TaskError
from steepest.tasks.batch_tree import (
    children,
    collate,
    count,
    join,
    leaves,
    map_tensors,
    slice,
    split,
    stack,
    to_device,
)

__all__ = [
    "as_tuple",
    "batch_sizes",
    "check",
    "count",
    "disjoint_samples",
    "fingerprint",
    "from_loader",
    "generator_states",
    "in_batches",
    "in_memory",
    "is_in_memory",
    "is_iterable",
    "is_tensors",
    "join",
    "known_length",
    "length",
    "map_tensors",
    "restore_generators",
    "set_aside",
    "single_batch",
    "slice",
    "split",
    "stack",
    "take",
    "to_device",
]

FINGERPRINT_BYTES = 16 << 20
"""Hashed per tensor, at most."""


# -- Kinds of data -----------------------------------------------------------------------------------------------------


def is_tensors(data: Any) -> bool:
    """Whether data is a tensor, or a tuple or list of tensors, in memory."""
    return isinstance(data, Tensor) or (
        isinstance(data, tuple | list) and bool(data) and all(isinstance(x, Tensor) for x in data)
    )


def as_tuple(data: Any) -> tuple[Tensor, ...]:
    """Data in memory as a tuple; the last tensor is the target."""
    return (data,) if isinstance(data, Tensor) else tuple(data)


def is_in_memory(data: Any) -> bool:
    """Whether data is tensors (or arrays or tables) with a row for each sample: one, a tuple, list or dict of them.

    A tuple may have dicts and tuples of tensors before its target. Other lists and tuples are batches.
    """
    if _is_array(data) or (isinstance(data, Mapping) and _is_arrays(data)):
        return True
    if isinstance(data, tuple) and data and _is_array(data[-1]):
        return all(_is_arrays(x) for x in data)
    return isinstance(data, list) and bool(data) and all(map(_is_array, data))


def _is_array(x: Any) -> bool:
    return isinstance(x, Tensor | np.ndarray) or (hasattr(x, "to_numpy") and not isinstance(x, Dataset | type))


def _is_arrays(x: Any) -> bool:
    """Whether x is an array, or a tuple or mapping of arrays."""
    if _is_array(x):
        return True
    parts = children(x) if isinstance(x, tuple | Mapping) else None
    return parts is not None and bool(parts[0]) and all(map(_is_arrays, parts[0]))


def in_memory(data: Any, what: str = "data") -> Any:
    """The data with arrays and tables in memory as tensors, without a copy; other data as it is.

    Raises:
        TaskError: a table or array has values that are no numbers.
    """
    if is_tensors(data) or not is_in_memory(data):
        return data
    return _convert(data, what)


def _convert(data: Any, name: str) -> Any:
    if isinstance(data, Tensor):
        return data
    if _is_array(data):
        return _as_tensor(data, name)
    parts = children(data)
    assert parts is not None
    values, rebuild = parts
    keys = list(map(repr, data)) if isinstance(data, Mapping) else range(len(values))
    return rebuild([_convert(x, f"{name}[{key}]") for key, x in zip(keys, values)])


def _as_tensor(x: Any, name: str) -> Tensor:
    array = x if isinstance(x, np.ndarray) else np.asarray(x.to_numpy())
    if array.dtype.kind not in "biufc":
        kinds = sorted({type(value).__name__ for value in array.flat[:1000]})
        raise TaskError(
            f"{name} must be numbers, got {type(x).__name__} of dtype {array.dtype} ({', '.join(kinds)}). Encode texts "
            "and categories as numbers, and convert columns to one dtype, such as by astype('float32')."
        )
    if any(stride < 0 for stride in array.strides) or not array.dtype.isnative:
        array = np.ascontiguousarray(array, array.dtype.newbyteorder("="))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")  # data is only read
        return torch.from_numpy(array)


def is_iterable(data: Any) -> bool:
    """Whether data is an iterable of batches."""
    if data is None or is_in_memory(data):
        return False
    return not isinstance(data, Dataset) or isinstance(data, IterableDataset) or not isinstance(data, Sized)


def length(data: Any) -> int | None:
    """Number of samples in the data; None if unknown."""
    if is_in_memory(data):
        return len(next(leaves(data)))
    if isinstance(data, DataLoader):
        return known_length(data.dataset)
    return None if is_iterable(data) else known_length(data)


def known_length(data: Any) -> int | None:
    """`len(data)`, or None: a DataLoader has `__len__` even if its dataset has no length."""
    try:
        return len(data)
    except (TypeError, NotImplementedError):
        return None


# -- Batches of data ---------------------------------------------------------------------------------------------------


def from_loader(batch: Any) -> Any:
    """A batch as data gives it, with a list, which `default_collate` makes of a tuple, as a tuple."""
    return tuple(batch) if isinstance(batch, list) else batch


def batch_sizes(data: Any, batches: int) -> set[int]:
    """Samples of the first so many batches of an iterable, as far as that is known without reading it."""
    if isinstance(data, tuple | list):
        try:
            return {count(from_loader(batch)) for batch in data[:batches]}
        except TaskError:
            return set()
    size = getattr(data, "batch_size", None)
    samples = known_length(getattr(data, "sampler", None))
    is_stream = isinstance(getattr(data, "dataset", None), IterableDataset)
    if not isinstance(data, DataLoader) or size is None or samples is None or is_stream:
        return set()
    is_last_short = not data.drop_last and samples % size and batches >= math.ceil(samples / size)
    return {size, samples % size} if is_last_short else {size}


def single_batch(data: Any) -> Any:
    """A batch of one sample of an iterable whose `batch_sizes` are known."""
    if isinstance(data, DataLoader):
        return from_loader(data.collate_fn([data.dataset[0]]))
    return next(batch for batch in map(from_loader, data) if count(batch) == 1)


def take(data: Any, indices: Sequence[int]) -> Any:
    """Samples of data in memory or of a map-style Dataset as one batch."""
    if is_in_memory(data):
        return _rows(data, torch.as_tensor(indices))
    get_many = getattr(data, "__getitems__", None)
    return collate(get_many(indices) if get_many else [data[i] for i in indices])


def in_batches(data: Any, batch_size: int, device: str | torch.device = "cpu") -> Iterator[Any]:
    """Every sample once, in order, in batches: for evaluation."""
    if data is None:
        yield None
    elif is_in_memory(data):
        data = as_tuple(data) if is_tensors(data) else data
        for lo in range(0, length(data) or 0, batch_size):
            yield map_tensors(data, lambda x, lo=lo: x[lo : lo + batch_size].to(device))
    elif is_iterable(data):
        for batch in data:
            yield to_device(from_loader(batch), device)
    else:
        for lo in range(0, len(data), batch_size):
            with seeds.ours(0, "whole", lo):
                batch = to_device(take(data, list(range(lo, min(lo + batch_size, len(data))))), device)
            yield batch


# -- Subsets -----------------------------------------------------------------------------------------------------------


def fingerprint(data: Any) -> str:
    """A text that identifies data: shapes and a hash of evenly spaced samples; outside memory, type and length."""
    if not is_in_memory(data):
        return f"{type(data).__name__} of length {length(data)}"
    digest = hashlib.sha256()
    for x in leaves(data):
        every = max(1, x.nbytes // FINGERPRINT_BYTES)
        part = x[::every].detach().cpu().contiguous()
        digest.update(f"{tuple(x.shape)} {x.dtype}".encode() + part.view(torch.uint8).numpy().tobytes())
    return f"{length(data)} samples, {digest.hexdigest()[:16]}"


def set_aside(data: Any, share: float, seed: int = 0) -> tuple[Any, Any]:
    """Splits tensors or a Dataset at random into (the rest, a share); a function of the seed alone.

    Raises:
        TaskError: too few samples for one validation sample.
    """
    n = length(data) or 0
    size = math.floor(n * share)
    if size < 1:
        raise TaskError(f"data must have at least {math.ceil(1 / share)} samples for a {share:.0%} validation split, "
                        f"got {n}. Pass validation=.")  # fmt: skip
    order = torch.randperm(n, generator=seeds.generator(seed, "set aside"))
    rest, validation = order[size:].sort().values, order[:size].sort().values
    return _subset(data, rest), _subset(data, validation)


def disjoint_samples(data: Any, sizes: Sequence[int], batch_size: int, seed: int = 0) -> list[list[Any]]:
    """Disjoint random samples, each as a list of batches; from an iterable, its first batches, whole.

    Args:
        data: where the samples come from; None gives [None] for each.
        sizes: number of samples in each.
        batch_size: at most; an iterable has its own.
        seed: seed of the choice.

    Raises:
        InputError: the data has too few samples.
    """
    if data is None:
        return [[None] for _ in sizes]
    if is_iterable(data):
        with seeds.ours(seed, "sample"):
            return _first_batches(data, sizes)
    n = length(data) or 0
    if sum(sizes) > n or min(sizes) < 1:
        raise InputError(f"sample sizes must be positive and add up to at most {n}, got {_sum(sizes)}")
    order = torch.randperm(n, generator=seeds.generator(seed, "sample"))
    rows = [part.sort().values for part in order[: sum(sizes)].split(list(sizes))]
    return [list(in_batches(_subset(data, part), batch_size)) for part in rows]


def _first_batches(data: Iterable[Any], sizes: Sequence[int]) -> list[list[Any]]:
    batches, samples = in_batches(data, 0), []
    for size in sizes:
        samples.append([])
        while sum(map(count, samples[-1])) < size:
            batch = next(batches, None)
            if batch is None:
                total = sum(count(b) for part in samples for b in part)
                raise InputError(f"sample sizes must add up to at most {total}, the samples in the data's batches, "
                                 f"got {_sum(sizes)}")  # fmt: skip
            samples[-1].append(batch)
    return samples


def _sum(sizes: Sequence[int]) -> str:
    return " + ".join(map(str, sizes))


def _subset(data: Any, rows: Tensor) -> Any:
    return _rows(data, rows) if is_in_memory(data) else Subset(data, rows.tolist())


def _rows(data: Any, rows: Tensor) -> Any:
    """Rows of data in memory; one tensor becomes a tuple."""
    return map_tensors(as_tuple(data) if is_tensors(data) else data, lambda x: x[rows])


# -- Generators of a loader's samplers ---------------------------------------------------------------------------------


def generator_states(data: Any) -> list[tuple[torch.Generator, Tensor]]:
    """The random generators that a DataLoader was given, for itself or its samplers, with their states."""
    sampler, batch_sampler = getattr(data, "sampler", None), getattr(data, "batch_sampler", None)
    holders = (data, sampler, batch_sampler, getattr(batch_sampler, "sampler", None))
    own = {id(g): g for g in (getattr(x, "generator", None) for x in holders) if isinstance(g, torch.Generator)}
    return [(g, g.get_state()) for g in own.values()]


def restore_generators(states: Sequence[tuple[torch.Generator, Tensor]]) -> None:
    """Restores what `generator_states` gave, so that each run reads a loader in the same order."""
    for generator, state in states:
        generator.set_state(state)


# -- Validity ----------------------------------------------------------------------------------------------------------


def check(data: Any, what: str = "data") -> None:
    """Checks that data can be trained on; of a Dataset or an iterable only the type.

    Raises:
        TaskError: data is empty, has tensors of different lengths, sparse tensors, or values that are not finite.
    """
    if data is None:
        return
    if is_in_memory(data):
        _check_tensors(dict(_names(data, what)), what)
    elif isinstance(data, str | bytes | Mapping) or (is_iterable(data) and not isinstance(data, Iterable)):
        raise TaskError(
            f"{what} must be a tuple of tensors (the last is the target), a dict of tensors, a Dataset or an iterable "
            f"of batches, got {type(data).__name__}"
        )
    elif known_length(data) == 0:
        raise TaskError(f"{what} must have at least one sample, got an empty {type(data).__name__}")
    elif isinstance(data, tuple | list):
        _check_batches(data, what)


def _check_batches(data: Sequence[Any], what: str) -> None:
    first = data[0]
    last = first[-1] if isinstance(first, tuple | list) and first else first
    if isinstance(last, numbers.Number) or (isinstance(last, Tensor | np.ndarray) and last.ndim == 0):
        kind = f"{type(data).__name__} of {type(first).__name__}"
        raise TaskError(
            f"{what} must be an iterable of batches, got a {kind} whose targets are single numbers, as of samples. "
            "Pass a DataLoader of it, which makes batches, or tensors of all samples."
        )


def _names(data: Any, name: str) -> Iterator[tuple[str, Tensor]]:
    """The tensors of data in memory with their places, such as data[0] and data['x']."""
    if isinstance(data, Tensor):
        yield (name if "[" in name else f"{name}[0]"), data
        return
    parts = children(data)
    assert parts is not None
    keys = list(map(repr, data)) if isinstance(data, Mapping) else range(len(parts[0]))
    for key, x in zip(keys, parts[0]):
        yield from _names(x, f"{name}[{key}]")


def _check_tensors(tensors: Mapping[str, Tensor], what: str) -> None:
    for name, x in tensors.items():
        if x.layout is not torch.strided or x.dim() == 0 or x.is_nested:
            kind = "a nested tensor" if x.is_nested else f"{x.layout} of shape {tuple(x.shape)}"
            raise TaskError(
                f"{name} must be a dense tensor of shape [samples, ...], got {kind}. A constant, such as a graph's "
                "matrix, belongs into the model, as a buffer."
            )
    lengths = [len(x) for x in tensors.values()]
    if len(set(lengths)) > 1:
        raise TaskError(f"{what} tensors must have the same length, got {lengths}")
    if lengths[0] == 0:
        raise TaskError(f"{what} must have at least one sample, got 0")
    for name, x in tensors.items():
        if x.is_floating_point() and not torch.isfinite(x.sum()):
            _check_finite(x, name)


def _check_finite(x: Tensor, name: str) -> None:
    bad = ~torch.isfinite(x)
    if bad.any():
        rows = bad.flatten(1).any(1).nonzero().flatten() if x.dim() > 1 else bad.nonzero().flatten()
        first = ", ".join(map(str, rows[:5].tolist()))
        raise TaskError(
            f"{name} must be finite, got {int(torch.isnan(x).sum())} NaN and {int(torch.isinf(x).sum())} infinite "
            f"values in {len(rows)} of {len(x)} samples (first: {first}). Remove or fill them."
        )
