"""Data as tensors in memory, a map-style Dataset, or an iterable of batches; and the operations on batches."""

import hashlib
import math
from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset, Subset, default_collate

from steepest import seeds
from steepest.errors import InputError, TaskError

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


def is_iterable(data: Any) -> bool:
    """Whether data is an iterable of batches."""
    if data is None or is_tensors(data):
        return False
    return not isinstance(data, Dataset) or isinstance(data, IterableDataset) or not isinstance(data, Sized)


def length(data: Any) -> int | None:
    """Number of samples in the data; None if unknown."""
    if is_tensors(data):
        return len(as_tuple(data)[0])
    if isinstance(data, DataLoader):
        return known_length(data.dataset)
    return None if is_iterable(data) else known_length(data)


def known_length(data: Any) -> int | None:
    """`len(data)`, or None: a DataLoader has `__len__` even if its dataset has no length."""
    try:
        return len(data)
    except (TypeError, NotImplementedError):
        return None


# -- Batches -----------------------------------------------------------------------------------------------------------


def count(batch: Any) -> int:
    """Samples in a batch: the length of its first tensor; 1 without a tensor."""
    if isinstance(batch, Tensor):
        return len(batch) if batch.dim() else 1
    if isinstance(batch, dict):
        batch = tuple(batch.values())
    if isinstance(batch, tuple | list):
        return next((count(x) for x in batch if isinstance(x, Tensor | dict | tuple | list)), 1)
    return 1


def map_tensors(batch: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """The batch with `change` applied to every tensor in it."""
    if isinstance(batch, Tensor):
        return change(batch)
    if isinstance(batch, dict):
        return {k: map_tensors(v, change) for k, v in batch.items()}
    if isinstance(batch, tuple) and hasattr(batch, "_fields"):
        return type(batch)(*(map_tensors(x, change) for x in batch))
    if isinstance(batch, tuple | list):
        return type(batch)(map_tensors(x, change) for x in batch)
    return batch


def to_device(batch: Any, device: str | torch.device) -> Any:
    """The batch on a device."""
    return map_tensors(batch, lambda x: x.to(device))


def from_loader(batch: Any) -> Any:
    """A batch as data gives it, with a list, which `default_collate` makes of a tuple, as a tuple."""
    return tuple(batch) if isinstance(batch, list) else batch


def split(batch: Any, parts: int) -> list[Any]:
    """Near-equal micro-batches, none empty: a batch of fewer samples than parts gives fewer micro-batches."""
    parts = min(parts, count(batch))
    if isinstance(batch, Tensor):
        return list(batch.tensor_split(parts))
    if isinstance(batch, dict):
        columns = {k: split(v, parts) for k, v in batch.items()}
        return [{k: v[i] for k, v in columns.items()} for i in range(parts)]
    return list(zip(*(split(x, parts) for x in batch), strict=True))


def take(data: Any, indices: list[int]) -> Any:
    """Samples of a map-style Dataset as one batch."""
    get_many = getattr(data, "__getitems__", None)
    return from_loader(default_collate(get_many(indices) if get_many else [data[i] for i in indices]))


def in_batches(data: Any, batch_size: int, device: str | torch.device = "cpu") -> Iterator[Any]:
    """Every sample once, in order, in batches: for evaluation."""
    if data is None:
        yield None
    elif is_tensors(data):
        for lo in range(0, len(as_tuple(data)[0]), batch_size):
            yield tuple(x[lo : lo + batch_size].to(device) for x in as_tuple(data))
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
    if not is_tensors(data):
        return f"{type(data).__name__} of length {length(data)}"
    digest = hashlib.sha256()
    for x in as_tuple(data):
        every = max(1, x.nbytes // FINGERPRINT_BYTES)
        part = x[::every].detach().cpu().contiguous()
        digest.update(f"{tuple(x.shape)} {x.dtype}".encode() + part.view(torch.uint8).numpy().tobytes())
    return f"{len(as_tuple(data)[0])} samples, {digest.hexdigest()[:16]}"


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
    return tuple(x[rows] for x in as_tuple(data)) if is_tensors(data) else Subset(data, rows.tolist())


# -- Validity ----------------------------------------------------------------------------------------------------------


def check(data: Any, what: str = "data") -> None:
    """Checks that data can be trained on; of a Dataset or an iterable only the type.

    Raises:
        TaskError: data is empty, has tensors of different lengths, sparse tensors, or values that are not finite.
    """
    if data is None:
        return
    if is_tensors(data):
        _check_tensors(as_tuple(data), what)
    elif isinstance(data, str | bytes | dict | np.ndarray) or (is_iterable(data) and not isinstance(data, Iterable)):
        raise TaskError(
            f"{what} must be a tuple of tensors (the last is the target), a Dataset or an iterable of batches, "
            f"got {type(data).__name__}"
        )
    elif isinstance(data, tuple | list) and any(isinstance(x, np.ndarray) for x in data):
        kinds = ", ".join(type(x).__name__ for x in data[:5])
        raise TaskError(f"{what} must contain tensors, got {kinds}. Convert with torch.from_numpy.")
    elif known_length(data) == 0:
        raise TaskError(f"{what} must have at least one sample, got an empty {type(data).__name__}")


def _check_tensors(tensors: tuple[Tensor, ...], what: str) -> None:
    for i, x in enumerate(tensors):
        if x.layout is not torch.strided or x.dim() == 0:
            raise TaskError(
                f"{what}[{i}] must be a dense tensor of shape [samples, ...], got {x.layout} of shape {tuple(x.shape)}"
            )
    lengths = [len(x) for x in tensors]
    if len(set(lengths)) > 1:
        raise TaskError(f"{what} tensors must have the same length, got {lengths}")
    if lengths[0] == 0:
        raise TaskError(f"{what} must have at least one sample, got 0")
    for i, x in enumerate(tensors):
        if x.is_floating_point() and not torch.isfinite(x.sum()):
            _check_finite(x, f"{what}[{i}]")


def _check_finite(x: Tensor, name: str) -> None:
    bad = ~torch.isfinite(x)
    if bad.any():
        rows = bad.flatten(1).any(1).nonzero().flatten() if x.dim() > 1 else bad.nonzero().flatten()
        first = ", ".join(map(str, rows[:5].tolist()))
        raise TaskError(
            f"{name} must be finite, got {int(torch.isnan(x).sum())} NaN and {int(torch.isinf(x).sum())} infinite "
            f"values in {len(rows)} of {len(x)} samples (first: {first}). Remove or fill them."
        )
