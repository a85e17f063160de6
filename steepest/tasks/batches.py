"""The samples of step t, as a pure function of (seed, t).

An epoch is one permutation of the data: each sample occurs once, and the last batch may be short. Tensors in memory are
gathered for a window of several batches at once; a step then takes a slice, which is a view.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import DistributedSampler

from steepest import seeds
from steepest.errors import InputError, TaskError
from steepest.tasks import batch_tree
from steepest.tasks import data as sources

WINDOW_BYTES = 4 << 20
"""Size of a window; fits a second-level cache."""
SPLIT_LOADERS = ("DataLoaderShard", "DataLoaderDispatcher")
"""Loaders of Accelerate, which give each process its own batches, as a DistributedSampler does."""


class EmptyPart(NamedTuple):
    """The part of a batch that has fewer samples than there are processes, where none is left.

    Attributes:
        like: one sample of that batch.
    """

    like: Any


class Batches:
    """Batches of a source of data; `batches(t)` gives the micro-batches of step t.

    Args:
        data: a tuple of tensors or arrays (the last is the target), a dict of them, a map-style Dataset, an iterable of
            batches, or None for an objective without data.
        batch_size: samples per step: "full", 1 or n; None for an iterable, which already has batches.
        seed: seed of the order and of augmentation.
        accumulate: micro-batches per step.
        augment: `(batch, generator) -> batch`.
        device: device of the batches.

    Attributes:
        samples: number of samples in the data; None if unknown.
        steps_per_epoch: includes the last, short batch; None if unknown.
        is_iterable: whether the data is an iterable of batches: they come in its own order, whatever t is.
        position: number of batches read from an iterable so far.
        loader: the iterable; else None.
        batch_size: samples per step; of a DataLoader its own, None if unknown.
        rank, ranks: this process, and how many share each batch: it then gives this one's parts of the micro-batches.

    Raises:
        InputError: the batch size or the accumulation does not fit the data.
        TaskError: the data cannot be used (see `check`).
    """

    def __init__(
        self, data: Any, batch_size: int | str | None, seed: int = 0, *, accumulate: int = 1,
        augment: Callable[[Any, torch.Generator], Any] | None = None, device: str | torch.device = "cpu",
    ) -> None:  # fmt: skip
        if isinstance(accumulate, bool) or not isinstance(accumulate, int) or accumulate < 1:
            raise InputError(f"accumulate must be an integer ≥ 1, got {accumulate!r}")
        self.seed, self.accumulate, self.augment = seed, accumulate, augment
        self.device, self.rank, self.ranks = torch.device(device), 0, 1
        data = sources.in_memory(data)
        sources.check(data)
        self.samples = None if data is None else sources.length(data)
        self.is_iterable, self.position = sources.is_iterable(data), 0
        self.loader: Any = data if self.is_iterable else None
        self.batch_size: Any = None
        if self.is_iterable:
            self._begin_iterable(data, batch_size)
        elif data is None:
            self.steps_per_epoch: int | None = 1
        else:
            self._rows = self.samples or 0
            self.batch_size = _batch_size(batch_size, self._rows, accumulate)
            self.steps_per_epoch = self._steps = math.ceil(self._rows / self.batch_size)
            self._place(data)
            self._epoch = self._window = -1
        self._none = data is None

    def __call__(self, t: int) -> list[Any]:
        """The micro-batches of step t, from 1."""
        if self._none:
            return [None] * self.accumulate
        if self.is_iterable:
            parts = self._next(t)
        elif self.ranks > 1 and not self._columns:
            parts = self._fetch_parts(t)
        else:
            batch = self._slice(t) if self._columns else self._fetch(self._rows_of(t), t)
            parts = [batch] if self.accumulate == 1 else sources.split(batch, self.accumulate)
        if self.ranks > 1 and self._must_cut:
            parts = [self._own_part(part) for part in parts]
        return parts if self.augment is None else [self._augment(part, t, i) for i, part in enumerate(parts)]

    def _augment(self, part: Any, t: int, i: int) -> Any:
        if self.augment is None or isinstance(part, EmptyPart):
            return part
        stream = seeds.generator(self.seed, "augment", t, i, *self._own, device=self.device)
        return self.augment(sources.map_tensors(part, Tensor.clone), stream)

    # -- Parts of several processes ------------------------------------------------------------------------------------

    @property
    def _own(self) -> tuple[int, ...]:
        """What random numbers of this process depend on besides; nothing for the first."""
        return (self.rank,) if self.rank else ()

    @property
    def _must_cut(self) -> bool:
        """Whether the data gives whole batches on every process."""
        sampler, kind = getattr(self.loader, "sampler", None), type(self.loader).__name__
        is_split = isinstance(sampler, DistributedSampler) or kind in SPLIT_LOADERS
        return bool(self._columns) if not self.is_iterable else not is_split

    def _own_part(self, batch: Any) -> Any:
        n = sources.count(batch)
        low, high = part_of(n, self.rank, self.ranks)
        return sources.slice(batch, low, high) if low < high else EmptyPart(sources.slice(batch, 0, 1))

    def _fetch_parts(self, t: int) -> list[Any]:
        """This process's parts of the micro-batches of step t, of a Dataset, which is asked for these samples alone."""
        rows = self._rows_of(t)
        parts: list[Any] = []
        count = min(self.accumulate, len(rows))
        for low, high in (part_of(len(rows), i, count) for i in range(count)):
            first, last = part_of(high - low, self.rank, self.ranks)
            is_empty = first == last
            part = self._fetch(rows[low : low + 1] if is_empty else rows[low + first : low + last], t)
            parts.append(EmptyPart(part) if is_empty else part)
        return parts

    def smallest(self, steps: int) -> int | None:
        """Samples of the smallest micro-batch in so many steps; None if unknown."""
        if self.is_iterable:
            sizes = sources.batch_sizes(self.loader, steps * self.accumulate)
            return micro_batch_size(min(sizes), self.ranks if self._must_cut else 1) if sizes else None
        if self._none:
            return None
        sizes = {self.batch_size}
        if steps >= self._steps:
            sizes.add(self._rows % self.batch_size or self.batch_size)
        return min(micro_batch_size(micro_batch_size(size, self.accumulate), self.ranks) for size in sizes)

    def single_sample(self) -> Any:
        """A batch of one sample, where `smallest` is 1."""
        one = sources.single_batch(self.loader) if self.is_iterable else sources.take(self._data, [0])
        one = sources.to_device(one, self.device)
        return one if self.augment is None else self.augment(one, seeds.generator(self.seed, "one", device=self.device))

    def loader_state(self) -> dict[str, Any] | None:
        """The state of an iterable that can save and restore it, as torchdata's StatefulDataLoader; None of others."""
        if not self.is_iterable or not all(hasattr(self.loader, name) for name in ("state_dict", "load_state_dict")):
            return None
        return {"epoch": self._epoch, "begun": self._iterator is not None, "loader": self.loader.state_dict()}

    def restore(self, position: int, t: int, loader_state: Mapping[str, Any] | None = None) -> None:
        """Restores the position of an iterable after step t: from its `loader_state`, else by reading and dropping."""
        if not self.is_iterable:
            return
        if loader_state is not None:
            self.loader.load_state_dict(loader_state["loader"])
            self._epoch, self.position = loader_state["epoch"], position
            self._iterator = self._start_epoch() if loader_state["begun"] else None
        while self.position < position:
            self._advance(is_first=True)
        self._last_step = t

    # -- Tensors and datasets: any t, in any order ---------------------------------------------------------------------

    def _place(self, data: Any) -> None:
        """Moves data in memory to the device, as its tensors and the tree that they stand in (a tuple, or `_tree`)."""
        self._data, self._columns, self._tree = data, (), None
        if sources.is_in_memory(data):
            self._columns = tuple(x.to(self.device) for x in batch_tree.leaves(data))
            self._tree = None if sources.is_tensors(data) else data

    def _slice(self, t: int) -> Any:
        columns = self._slice_columns(t)
        return columns if self._tree is None else batch_tree.with_leaves(self._tree, columns)

    def _slice_columns(self, t: int) -> tuple[Tensor, ...]:
        if self.batch_size == self._rows:
            return self._columns
        epoch, place = divmod(t - 1, self._steps)
        self._permute(epoch)
        window, inside = divmod(place, self._per_window)
        if window != self._window:
            span = self._per_window * self.batch_size
            rows = self._order[window * span : (window + 1) * span]
            self._window_data = tuple(x.index_select(0, rows) for x in self._columns)
            self._window = window
        lo = inside * self.batch_size
        hi = lo + self.batch_size
        return tuple([x[lo:hi] for x in self._window_data])

    def _permute(self, epoch: int) -> None:
        if epoch == self._epoch:
            return
        order = torch.randperm(self._rows, generator=seeds.generator(self.seed, "order", epoch))
        self._order = order.to(self.device)
        self._epoch, self._window = epoch, -1
        if self._columns:
            sample = sum(x[:1].nbytes for x in self._columns)
            fits = WINDOW_BYTES // max(1, sample * self.batch_size)
            self._per_window = min(max(1, fits), self._steps)

    def _rows_of(self, t: int) -> list[int]:
        if self.batch_size == self._rows:
            return list(range(self._rows))
        epoch, place = divmod(t - 1, self._steps)
        self._permute(epoch)
        return self._order[place * self.batch_size : (place + 1) * self.batch_size].tolist()

    def _fetch(self, rows: list[int], t: int) -> Any:
        with seeds.ours(self.seed, "fetch", t, *self._own):
            return sources.to_device(sources.take(self._data, rows), self.device)

    # -- Iterables: t in order -----------------------------------------------------------------------------------------

    def _begin_iterable(self, data: Any, batch_size: int | str | None) -> None:
        if batch_size is not None:
            raise InputError(
                f"batch_size cannot be used with a {type(data).__name__}, which already has batches. Drop it, or pass "
                "the Dataset."
            )
        self._last_step, self._epoch = 0, 0
        self.batch_size = getattr(data, "batch_size", None)
        if getattr(data, "persistent_workers", False):
            data._iterator = None  # workers of an earlier run have another random state
        self._iterator: Iterator | None = None
        n = sources.known_length(data)
        self.steps_per_epoch = None if n is None else math.ceil(n / self.accumulate)

    def _next(self, t: int) -> list[Any]:
        if t > self._last_step + 1:  # a smaller t follows a rewind
            raise InputError(
                f"t must be at most {self._last_step + 1}, got {t}: an iterable gives its batches in order"
            )
        self._last_step = t
        parts: list[Any] = []
        while len(parts) < self.accumulate:
            batch = self._advance(is_first=not parts)
            if batch is None:
                break
            parts.append(sources.to_device(batch, self.device))
        return parts

    def _advance(self, is_first: bool) -> Any:
        """The iterable's next batch; None if the epoch ends within a step, which then has fewer micro-batches."""
        for _ in range(2):
            if self._iterator is None:
                self._iterator = self._start_epoch()
            with seeds.ours(self.seed, "batch", self.position):
                batch = next(self._iterator, None)
            if batch is not None:
                self.position += 1
                return sources.from_loader(batch)
            self._iterator = None
            self._epoch += 1
            if not is_first:
                return None
        raise TaskError(
            f"data must be iterable once per epoch, such as a DataLoader or a list; {type(self.loader).__name__} gave "
            f"no more batches at step {self._last_step}. Pass such data, or fewer steps."
        )

    def _start_epoch(self) -> Iterator:
        sampler = getattr(self.loader, "sampler", None)
        set_epoch = getattr(sampler, "set_epoch", None)
        if set_epoch is not None:
            set_epoch(self._epoch)
        with seeds.ours(self.seed, "epoch", self._epoch):
            return iter(self.loader)


def part_of(samples: int, part: int, parts: int) -> tuple[int, int]:
    """First sample and end of one of near-equal parts of a batch; the first ones are longer by one.

    >>> [part_of(10, part, 4) for part in range(4)]
    [(0, 3), (3, 6), (6, 8), (8, 10)]
    """
    size, longer = divmod(samples, parts)
    low = part * size + min(part, longer)
    return low, low + size + (part < longer)


def micro_batch_size(samples: int, parts: int) -> int:
    """Samples of the smallest of near-equal parts of a batch."""
    return samples // min(parts, samples)


def _batch_size(batch_size: int | str | None, samples: int, accumulate: int) -> int:
    n = samples if batch_size == "full" else batch_size
    if isinstance(n, bool) or not isinstance(n, int) or n < 1:
        raise InputError(f"batch_size must be 'full' or an integer ≥ 1, got {n!r}")
    if n > samples:
        raise InputError(f"batch_size must be ≤ {samples} (the number of samples), got {n}. Use 'full' for all.")
    if accumulate > n:
        raise InputError(f"accumulate must be ≤ batch_size ({n}), got {accumulate}")
    return n
