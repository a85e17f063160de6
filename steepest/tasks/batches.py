"""Which samples step t sees: all of them, one, or a few, as a pure function of (seed, t).

An epoch is one permutation of the data, so every sample is seen once an epoch and the last batch may be short. Tensors
in memory are gathered in windows of several batches, which are then handed out as slices: a step then pays for a view.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from steepest import seeds
from steepest.errors import InputError, TaskError
from steepest.tasks.data import (
    as_tuple,
    check,
    count,
    is_iterable,
    is_tensors,
    known_length,
    length,
    map_tensors,
    take,
    to_device,
)

WINDOW_BYTES = 4 << 20
"""Gathered at once; fits the second-level caches of today's processors."""

Augment = Callable[[Any, torch.Generator], Any]


class Batches:
    """Batches of a source of data; `batches(t)` gives the micro-batches of step t.

    Args:
        data: a tuple of tensors (the last is the target), a map-style Dataset, an iterable of batches, or None for
            objectives that need no data.
        batch_size: samples per step: "full", 1, n; None for an iterable, which brings its own batches.
        seed: of the order and of augmentation.
        accumulate: micro-batches per step.
        augment: `(batch, generator) -> batch`.
        device: where the batches are.

    Attributes:
        samples: in the data, or None where that is not known.
        steps_per_epoch: the last, short batch included; None where that is not known.
        is_iterable: whether the data brings its own batches: they come in its order, whatever t is.
        taken: batches that an iterable has given so far.

    Raises:
        InputError: batch size or accumulation that does not fit the data.
        TaskError: data that cannot be used (see `check`).
    """

    def __init__(
        self,
        data: Any,
        batch_size: int | str | None,
        seed: int = 0,
        *,
        accumulate: int = 1,
        augment: Augment | None = None,
        device: str | torch.device = "cpu",
    ) -> None:
        if isinstance(accumulate, bool) or not isinstance(accumulate, int) or accumulate < 1:
            raise InputError(f"accumulate={accumulate!r} is given; expected is the number of micro-batches, 1 or more")
        self.seed, self.accumulate, self.augment = seed, accumulate, augment
        self.device = torch.device(device)
        check(data)
        self.samples = None if data is None else length(data)
        self.is_iterable, self.taken = is_iterable(data), 0
        if self.is_iterable:
            self._begin_iterable(data, batch_size)
        elif data is None:
            self.steps_per_epoch: int | None = 1
        else:
            self.batch_size = _batch_size(batch_size, self.samples or 0, accumulate)
            self.steps_per_epoch = math.ceil((self.samples or 0) / self.batch_size)
            self._data = tuple(x.to(self.device) for x in as_tuple(data)) if is_tensors(data) else data
            self._epoch = self._window = -1
        self._none = data is None

    def __call__(self, t: int) -> list[Any]:
        """The micro-batches of step t, from 1."""
        if self._none:
            return [None] * self.accumulate
        if self.is_iterable:
            parts = self._next(t)
        else:
            batch = self._tensors(t) if isinstance(self._data, tuple) else self._fetched(t)
            parts = [batch] if self.accumulate == 1 else _split(batch, self.accumulate)
        if self.augment is None:
            return parts
        streams = (seeds.generator(self.seed, "augment", t, i, device=self.device) for i in range(len(parts)))
        return [self.augment(map_tensors(part, Tensor.clone), stream) for part, stream in zip(parts, streams)]

    def place(self) -> dict[str, Any] | None:
        """Where an iterable is, by its own `state_dict`; None where it has none."""
        if not self.is_iterable or not _is_stateful(self._loader):
            return None
        return {"epoch": self._epoch, "begun": self._iterator is not None, "loader": self._loader.state_dict()}

    def skip(self, taken: int, t: int, place: Mapping[str, Any] | None = None) -> None:
        """Brings an iterable to where it was after step t and so many batches: to its `place`, else batch by batch."""
        if not self.is_iterable:
            return
        if place is not None:
            self._loader.load_state_dict(place["loader"])
            self._epoch, self.taken = place["epoch"], taken
            self._iterator = self._restarted() if place["begun"] else None
        while self.taken < taken:
            self._advance(False)
        self._asked = t

    # -- tensors and datasets: any t, in any order ---------------------------------------------------------------------

    def _tensors(self, t: int) -> tuple[Tensor, ...]:
        assert self.samples
        assert self.steps_per_epoch
        if self.batch_size == self.samples:
            return self._data
        epoch, place = divmod(t - 1, self.steps_per_epoch)
        self._permute(epoch)
        window, inside = divmod(place, self._per_window)
        if window != self._window:
            span = self._per_window * self.batch_size
            chosen = self._order[window * span : (window + 1) * span]
            self._gathered = tuple(x.index_select(0, chosen) for x in self._data)
            self._window = window
        lo = inside * self.batch_size
        hi = lo + self.batch_size
        return tuple([x[lo:hi] for x in self._gathered])

    def _permute(self, epoch: int) -> None:
        if epoch == self._epoch:
            return
        assert self.samples
        assert self.steps_per_epoch
        order = torch.randperm(self.samples, generator=seeds.generator(self.seed, "order", epoch))
        self._order = order.to(self.device)
        self._epoch, self._window = epoch, -1
        if isinstance(self._data, tuple):
            sample = sum(x[:1].nbytes for x in self._data)
            fits = WINDOW_BYTES // max(1, sample * self.batch_size)
            self._per_window = min(max(1, fits), self.steps_per_epoch)

    def _fetched(self, t: int) -> Any:
        assert self.samples
        assert self.steps_per_epoch
        epoch, place = divmod(t - 1, self.steps_per_epoch)
        if self.batch_size == self.samples:
            chosen = list(range(self.samples))
        else:
            self._permute(epoch)
            chosen = self._order[place * self.batch_size : (place + 1) * self.batch_size].tolist()
        with seeds.ours(self.seed, "fetch", t):
            return to_device(take(self._data, chosen), self.device)

    # -- iterables: one after another ----------------------------------------------------------------------------------

    def _begin_iterable(self, data: Any, batch_size: int | str | None) -> None:
        if batch_size is not None:
            raise InputError(
                f"batch_size={batch_size!r} is given beside data that brings its own batches ({type(data).__name__}); "
                "leave batch_size out, or give the Dataset itself"
            )
        self._loader, self._asked, self._epoch = data, 0, 0
        self._iterator: Iterator | None = None
        count = known_length(data)
        self.steps_per_epoch = None if count is None else math.ceil(count / self.accumulate)

    def _next(self, t: int) -> list[Any]:
        if t > self._asked + 1:  # an earlier one is asked for after a rewind
            raise InputError(f"step {t} is asked after step {self._asked}; the batches of an iterable come in order")
        self._asked = t
        parts: list[Any] = []
        while len(parts) < self.accumulate:
            batch = self._advance(bool(parts))
            if batch is None:
                break
            parts.append(to_device(batch, self.device))
        return parts

    def _advance(self, begun: bool) -> Any:
        """The iterable's next batch; None at the end of an epoch that leaves this step's micro-batches fewer."""
        for _ in range(2):
            if self._iterator is None:
                self._iterator = self._restarted()
            with seeds.ours(self.seed, "batch", self.taken):
                batch = next(self._iterator, None)
            if batch is not None:
                self.taken += 1
                return tuple(batch) if isinstance(batch, list) else batch
            self._iterator = None
            self._epoch += 1
            if begun:
                return None
        raise TaskError(
            f"data of {type(self._loader).__name__} gave no more batches at step {self._asked}; expected is an "
            "iterable that can be iterated once an epoch, such as a DataLoader or a list; or ask for fewer steps"
        )

    def _restarted(self) -> Iterator:
        sampler = getattr(self._loader, "sampler", None)
        set_epoch = getattr(sampler, "set_epoch", None)
        if set_epoch is not None:
            set_epoch(self._epoch)
        with seeds.ours(self.seed, "epoch", self._epoch):
            return iter(self._loader)


def _is_stateful(loader: Any) -> bool:
    """Whether it can say where it is and go there, as torchdata's StatefulDataLoader can."""
    return all(callable(getattr(loader, name, None)) for name in ("state_dict", "load_state_dict"))


def _batch_size(given: int | str | None, samples: int, accumulate: int) -> int:
    if given == "full":
        given = samples
    if isinstance(given, bool) or not isinstance(given, int) or given < 1:
        raise InputError(f"batch_size={given!r} is given; expected is 'full', 1, or a number of samples")
    if given > samples:
        raise InputError(f"batch_size={given} is given and the data has {samples} samples; use 'full' or a smaller one")
    if accumulate > given:
        raise InputError(f"accumulate={accumulate} is given with batches of {given}; a micro-batch needs a sample")
    return given


def _split(batch: Any, parts: int) -> list[Any]:
    """Near-equal micro-batches, none empty: a short last batch may give fewer."""
    parts = min(parts, count(batch))
    if isinstance(batch, Tensor):
        return list(batch.tensor_split(parts))
    if isinstance(batch, dict):
        split = {k: _split(v, parts) for k, v in batch.items()}
        return [{k: v[i] for k, v in split.items()} for i in range(parts)]
    return list(zip(*(_split(x, parts) for x in batch), strict=True))
