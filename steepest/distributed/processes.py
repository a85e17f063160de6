"""Several processes that train one model together: what they tell one another, and how all end when one fails."""

import contextlib
import itertools
import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from steepest.errors import InputError, ProcessError, SteepestError, StoreError

T = TypeVar("T")
AGREEMENT = 1e-4
"""Relative difference of norms that rounding explains where processes run on unlike devices."""
REASON_S = 2.0
"""Seconds to wait for the reason of a process that has failed."""
FAILURE_KEY = "steepest/failure"
"""Where a process leaves the reason of its end for the others."""
GROUP_NUMBERS = itertools.count()
"""Of the groups of this program, which all processes make in the same order."""


class Processes:
    """One process, or several of a process group.

    Attributes:
        rank: the number of this process.
        count: of the processes.

    Args:
        group: of the processes; None for this one alone.
        device: on which they exchange numbers.
    """

    def __init__(self, group: Any = None, device: torch.device | None = None) -> None:
        self._group, self._device = group, device
        self._is_gloo = group is not None and "cpu:gloo" in str(dist.get_backend_config(group))
        self._writers: Any = None
        self._failure_key = (
            ""
            if group is None
            else f"{FAILURE_KEY}/{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}/{next(GROUP_NUMBERS)}"
        )
        self.rank, self.count = (0, 1) if group is None else (dist.get_rank(group), dist.get_world_size(group))

    def writers(self) -> Any:
        """A gloo group for what threads exchange that write in the background; all processes make it together."""
        if self._writers is None:
            self._writers = dist.new_group(backend="gloo")
        return self._writers

    @property
    def are_several(self) -> bool:
        """Whether there are others."""
        return self.count > 1

    @property
    def has_left(self) -> bool:
        """Whether this process has failed and left the others."""
        return self._group is None and self.are_several

    @property
    def is_first(self) -> bool:
        """Whether this is the one that writes and speaks."""
        return self.rank == 0

    def mean(self, value: float) -> float:
        """The mean over the processes, the same bits on each; not finite where one is not."""
        if self._group is None:
            return value
        values = self._gather_numbers(value)
        return math.fsum(values) / len(values) if all(map(math.isfinite, values)) else math.nan

    def least(self, value: float) -> float:
        """The least of the processes' values."""
        return value if self._group is None else min(self._gather_numbers(value))

    def weighted_mean(self, value: float, weight: float) -> float:
        """Σ aᵣ vᵣ / Σ aᵣ, the same bits on each process; a value without weight is left out."""
        pairs = self.gather((value, weight))
        total = math.fsum(a for _, a in pairs)
        return sum(v * a for v, a in pairs if a) / total if total else math.nan

    def agree(self, norm: Callable[[], float]) -> bool:
        """Whether tensors are the same on all processes, by their norm and up to rounding."""
        if self._group is None:
            return True
        return are_alike(self._gather_numbers(norm()))

    def _gather_numbers(self, value: float) -> list[float]:
        """The values of all processes in their order, by one small sum."""
        values = torch.zeros(self.count, dtype=torch.float64, device=self._device)
        values[self.rank] = value
        self.sum(values)
        return values.tolist()

    def sum(self, values: Tensor) -> None:
        """Replaces a tensor by its sum over the processes."""
        if not self.are_several:
            return
        with self._named_failure():
            dist.all_reduce(values, group=self._group)

    def gather(self, what: T) -> list[T]:
        """What each process has, in their order."""
        if self._group is None:
            return [what]
        box: list[Any] = [None] * self.count
        with self._named_failure():
            dist.all_gather_object(box, what, group=self._group)
        return box

    def from_first(self, function: Callable[[], T]) -> T:
        """What a function gives that the first process calls; its error is raised on all."""
        if self._group is None:
            return function()
        box: list[Any] = [None, None]
        if self.is_first:
            try:
                box[0] = function()
            except Exception as error:  # the others wait
                box[1] = error
        with self._named_failure():
            dist.broadcast_object_list(box, dist.get_global_rank(self._group, 0), group=self._group)
        if box[1] is not None:
            raise box[1] if self.is_first else StoreError(str(box[1]))
        return box[0]

    @torch.no_grad()
    def copy_from_first(self, tensors: Sequence[Tensor]) -> None:
        """Gives tensors the values that they have on the first process."""
        if self._group is None:
            return
        source = dist.get_global_rank(self._group, 0)
        with self._named_failure():
            for x in tensors:
                value = x.detach().contiguous()
                dist.broadcast(value, source, group=self._group)
                if value.data_ptr() != x.data_ptr():
                    x.copy_(value)

    def meet(self, function: str, wait: timedelta) -> None:
        """Waits for the others, where the backend can tell that one does not come.

        Raises:
            InputError: one has not called the function in this time.
        """
        if self._group is None or not self._is_gloo:
            return
        try:
            self._group.monitored_barrier(wait)  # torch's function refuses a group that has NCCL besides
        except RuntimeError as error:
            raise InputError(
                f"{function} must be called by all {self.count} processes, got no call of one within "
                f"{wait.total_seconds():.0f} s. Call it on every rank; the first one writes the record."
            ) from error

    # -- failures ------------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def ending_together(self) -> Iterator[None]:
        """If the block fails on one process, it fails on all within seconds, and the others say why."""
        try:
            yield
        except BaseException as error:
            self._leave(error)
            raise

    def close(self) -> None:
        """Closes the connections, once nothing is exchanged any more."""
        group, self._group = self._group, None
        if group is not None and dist.is_initialized():
            with contextlib.suppress(Exception):  # the user may have closed them before
                dist.destroy_process_group(group)

    def _leave(self, error: BaseException) -> None:
        """Tells the others why this process ends, and closes the connections, on which they may be waiting."""
        if self._group is None:
            return
        with contextlib.suppress(Exception):  # nothing may hide the error itself
            if not isinstance(error, ProcessError):
                words = " ".join(f"{type(error).__name__}: {error}".split())
                _store().set(self._failure_key, f"Process {self.rank} of {self.count} failed: {words}")
        self.close()

    @contextlib.contextmanager
    def _named_failure(self) -> Iterator[None]:
        """An error of the connection as the error of the process that has failed."""
        try:
            yield
        except SteepestError:
            raise
        except RuntimeError as error:
            raise ProcessError(_reason(error, self._failure_key)) from error


def are_alike(norms: Sequence[float]) -> bool:
    """Whether norms are the same up to rounding.

    >>> are_alike([3.0, 3.00001]), are_alike([3.0, 4.0]), are_alike([3.0, math.inf])
    (True, False, False)
    """
    if not all(map(math.isfinite, norms)):  # such as a square that is too large
        return all(norm == norms[0] for norm in norms)
    return max(norms) - min(norms) <= AGREEMENT * max(norms)


ALONE = Processes()
"""This process alone."""


def _store() -> Any:
    return dist.distributed_c10d._get_default_store()


def _reason(error: RuntimeError, key: str) -> str:
    """Why the connection to another process has broken, as far as that process could say it."""
    end = time.monotonic() + REASON_S
    while time.monotonic() < end:
        try:
            if _store().check([key]):
                return _store().get(key).decode()
        except RuntimeError:  # the first process, which held it, is gone
            break
        time.sleep(0.05)
    words = str(error).partition("\n")[0]
    return f"The connection to another process of the run broke, as where it was killed ({words})"
