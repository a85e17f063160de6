"""What data can be: tensors in memory, a map-style Dataset, or an iterable that brings its own batches."""

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

HASHED_BYTES = 16 << 20


def is_tensors(data: Any) -> bool:
    """Whether data is in memory."""
    return isinstance(data, Tensor) or (
        isinstance(data, tuple | list) and bool(data) and all(isinstance(x, Tensor) for x in data)
    )


def as_tuple(data: Any) -> tuple[Tensor, ...]:
    """Data in memory as a tuple, the last being the target."""
    return (data,) if isinstance(data, Tensor) else tuple(data)


def is_iterable(data: Any) -> bool:
    """Whether data brings its own batches."""
    if data is None or is_tensors(data):
        return False
    return not isinstance(data, Dataset) or isinstance(data, IterableDataset) or not isinstance(data, Sized)


def length(data: Any) -> int | None:
    """Samples in the data, or None where that is not known."""
    if is_tensors(data):
        return len(as_tuple(data)[0])
    if isinstance(data, DataLoader):
        return known_length(data.dataset)
    return None if is_iterable(data) else known_length(data)


def known_length(data: Any) -> int | None:
    """`len(data)`, or None: a DataLoader has the method even where its dataset has no length."""
    try:
        return len(data)
    except (TypeError, NotImplementedError):
        return None


def take(data: Any, chosen: list[int]) -> Any:
    """Samples of a map-style Dataset as one batch."""
    many = getattr(data, "__getitems__", None)
    batch = default_collate(many(chosen) if many else [data[i] for i in chosen])
    return tuple(batch) if isinstance(batch, list) else batch


def in_batches(data: Any, batch_size: int, device: str | torch.device = "cpu") -> Iterator[Any]:
    """Every sample once, in order, in batches: for measuring."""
    if data is None:
        yield None
    elif is_tensors(data):
        for lo in range(0, len(as_tuple(data)[0]), batch_size):
            yield tuple(x[lo : lo + batch_size].to(device) for x in as_tuple(data))
    elif is_iterable(data):
        for batch in data:
            yield to_device(tuple(batch) if isinstance(batch, list) else batch, torch.device(device))
    else:
        for lo in range(0, len(data), batch_size):
            with seeds.ours(0, "whole", lo):
                chosen = list(range(lo, min(lo + batch_size, len(data))))
                batch = to_device(take(data, chosen), torch.device(device))
            yield batch


def count(batch: Any) -> int:
    """Samples in a batch: the length of its first tensor; 1 where there is none."""
    if isinstance(batch, Tensor):
        return len(batch) if batch.dim() else 1
    if isinstance(batch, dict):
        batch = tuple(batch.values())
    if isinstance(batch, tuple | list):
        return next((count(x) for x in batch if isinstance(x, Tensor | dict | tuple | list)), 1)
    return 1


def fingerprint(data: Any) -> str:
    """What data it is: shapes and a hash of evenly spread samples; of what is not in memory, its type and length."""
    if not is_tensors(data):
        return f"{type(data).__name__} of length {length(data)}"
    found = hashlib.sha256()
    for x in as_tuple(data):
        every = max(1, x.nbytes // HASHED_BYTES)
        part = x[::every].detach().cpu().contiguous()
        found.update(f"{tuple(x.shape)} {x.dtype}".encode() + part.view(torch.uint8).numpy().tobytes())
    return f"{len(as_tuple(data)[0])} samples, {found.hexdigest()[:16]}"


def set_aside(data: Any, share: float, seed: int = 0) -> tuple[Any, Any]:
    """Splits tensors or a Dataset at random into (the rest, a share); a function of the seed alone.

    Raises:
        TaskError: too little data to set a share aside.
    """
    n = length(data) or 0
    kept = math.floor(n * share)
    if kept < 1:
        raise TaskError(f"{n} samples are given; too few to set aside a {share:.0%} for validation: give validation=")
    order = torch.randperm(n, generator=seeds.generator(seed, "set aside"))
    rest, aside = order[kept:].sort().values, order[:kept].sort().values
    return _subset(data, rest), _subset(data, aside)


def disjoint(data: Any, sizes: Sequence[int], batch_size: int, seed: int = 0) -> list[list[Any]]:
    """Random samples without a common element, each in batches; of an iterable its first batches, whole.

    Args:
        data: what the samples are from; None gives [None] for each.
        sizes: of the samples.
        batch_size: at most; an iterable brings its own.
        seed: of the choice.

    Raises:
        InputError: there are fewer samples.
    """
    if data is None:
        return [[None] for _ in sizes]
    if is_iterable(data):
        with seeds.ours(seed, "sample"):
            return _first(data, sizes)
    n = length(data) or 0
    if sum(sizes) > n or min(sizes) < 1:
        raise InputError(
            f"samples of {_listed(sizes)} are asked for; expected is 1 or more each, and {n} in all at most"
        )
    order = torch.randperm(n, generator=seeds.generator(seed, "sample"))
    chosen = [some.sort().values for some in order[: sum(sizes)].split(list(sizes))]
    return [list(in_batches(_subset(data, some), batch_size)) for some in chosen]


def _first(data: Iterable[Any], sizes: Sequence[int]) -> list[list[Any]]:
    batches, found = in_batches(data, 0), []
    for size in sizes:
        found.append([])
        while sum(map(count, found[-1])) < size:
            batch = next(batches, None)
            if batch is None:
                given = sum(count(b) for part in found for b in part)
                raise InputError(f"samples of {_listed(sizes)} are asked for; the data's batches have {given} in all")
            found[-1].append(batch)
    return found


def _listed(sizes: Sequence[int]) -> str:
    return " and ".join(map(str, sizes))


def _subset(data: Any, chosen: Tensor) -> Any:
    return tuple(x[chosen] for x in as_tuple(data)) if is_tensors(data) else Subset(data, chosen.tolist())


def check(data: Any, what: str = "data") -> None:
    """Refuses data that cannot be trained on; of a Dataset or an iterable only the type is looked at.

    Raises:
        TaskError: empty, of different lengths, sparse, or with values that are not finite.
    """
    if data is None:
        return
    if is_tensors(data):
        _check_tensors(as_tuple(data), what)
    elif isinstance(data, str | bytes | dict | np.ndarray) or (is_iterable(data) and not isinstance(data, Iterable)):
        raise TaskError(
            f"{what} is {type(data).__name__}; expected is a tuple of tensors (the last is the target), a Dataset or "
            "an iterable of batches"
        )
    elif isinstance(data, tuple | list) and any(isinstance(x, np.ndarray) for x in data):
        kinds = ", ".join(type(x).__name__ for x in data[:5])
        raise TaskError(f"{what} has {kinds}; expected are tensors: torch.from_numpy(array) makes one of an array")
    elif known_length(data) == 0:
        raise TaskError(f"{what} is empty ({type(data).__name__} of length 0); expected is at least one sample")


def _check_tensors(tensors: tuple[Tensor, ...], what: str) -> None:
    for i, x in enumerate(tensors):
        if x.layout is not torch.strided or x.dim() == 0:
            raise TaskError(f"{what}[{i}] is a {x.layout} tensor of shape {tuple(x.shape)}; expected is [samples, ...]")
    lengths = [len(x) for x in tensors]
    if len(set(lengths)) > 1:
        raise TaskError(f"{what} has tensors of different lengths {lengths}; expected is one row per sample in each")
    if lengths[0] == 0:
        raise TaskError(f"{what} is empty (0 samples); expected is at least one sample")
    for i, x in enumerate(tensors):
        if x.is_floating_point() and not torch.isfinite(x.sum()):
            _check_finite(x, f"{what}[{i}]")


def _check_finite(x: Tensor, name: str) -> None:
    bad = ~torch.isfinite(x)
    if bad.any():
        rows = bad.flatten(1).any(1).nonzero().flatten() if x.dim() > 1 else bad.nonzero().flatten()
        first = ", ".join(map(str, rows[:5].tolist()))
        raise TaskError(
            f"{name} has {int(torch.isnan(x).sum())} NaN and {int(torch.isinf(x).sum())} infinite values in "
            f"{len(rows)} of {len(x)} samples (first: {first}); remove or fill them before training"
        )


def to_device(batch: Any, device: torch.device) -> Any:
    """The batch on a device."""
    return map_tensors(batch, lambda x: x.to(device))


def map_tensors(batch: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """The batch with every tensor in it changed."""
    if isinstance(batch, Tensor):
        return change(batch)
    if isinstance(batch, dict):
        return {k: map_tensors(v, change) for k, v in batch.items()}
    if isinstance(batch, tuple) and hasattr(batch, "_fields"):
        return type(batch)(*(map_tensors(x, change) for x in batch))
    if isinstance(batch, tuple | list):
        return type(batch)(map_tensors(x, change) for x in batch)
    return batch
