"""Several processes that train one model together: the guard sees the same on all of them, so they act alike."""

import math
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from steepest.errors import InputError, StoreError
from steepest.integrations.loop_state import norm_of

T = TypeVar("T")
WAIT = timedelta(seconds=60)
"""For the other processes to call `watch`."""
AGREEMENT = 1e-4
"""Relative difference of norms that rounding explains where processes run on unlike devices."""


class Processes:
    """One process, or several of a process group.

    Args:
        group: of the processes; None for this one alone.
        device: on which they exchange numbers.
    """

    def __init__(self, group: Any = None, device: torch.device | None = None) -> None:
        self._group, self._device = group, device

    def mean(self, value: float) -> float:
        """The mean over the processes, the same bits on each; not finite where one is not."""
        if self._group is None:
            return value
        values = self._gather(value)
        return math.fsum(values) / len(values) if all(map(math.isfinite, values)) else math.nan

    def least(self, value: float) -> float:
        """The least of the processes' values."""
        return value if self._group is None else min(self._gather(value))

    def agree(self, tensors: Sequence[Tensor]) -> bool:
        """Whether these tensors are the same on all processes, by their norms and up to rounding."""
        if self._group is None:
            return True
        norms = self._gather(norm_of(tensors))
        return max(norms) - min(norms) <= AGREEMENT * max(norms)

    def _gather(self, value: float) -> list[float]:
        """The values of all processes in their order, by one small sum."""
        values = torch.zeros(dist.get_world_size(self._group), dtype=torch.float64, device=self._device)
        values[dist.get_rank(self._group)] = value
        dist.all_reduce(values, group=self._group)
        return values.tolist()

    def from_first(self, function: Callable[[], T]) -> T:
        """What a function gives that the first process calls; its error is raised on all."""
        if self._group is None:
            return function()
        box: list[Any] = [None, None]
        is_first = dist.get_rank(self._group) == 0
        if is_first:
            try:
                box[0] = function()
            except Exception as error:  # the others wait
                box[1] = error
        dist.broadcast_object_list(box, dist.get_global_rank(self._group, 0), group=self._group)
        if box[1] is not None:
            raise box[1] if is_first else StoreError(str(box[1]))
        return box[0]


ALONE = Processes()
"""This process alone."""


def find_processes(model: nn.Module) -> tuple[nn.Module, Processes]:
    """A model without its wrapper, and the processes that train it: those of the wrapper, else of the default group.

    Raises:
        InputError: not all of these processes watch it.
    """
    inner = model.module if isinstance(model, DistributedDataParallel) else model
    group = None
    if dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
        group = model.process_group if isinstance(model, DistributedDataParallel) else dist.group.WORLD
        _meet(group)
    return inner, Processes(group, next((p.device for p in inner.parameters()), None))


def _meet(group: Any) -> None:
    """Waits for the other processes, where the backend can tell that one does not come."""
    if dist.get_backend(group) != "gloo":
        return
    try:
        dist.monitored_barrier(group, WAIT)
    except RuntimeError as error:
        raise InputError(
            f"sd.watch must be called by all {dist.get_world_size(group)} processes, got no call of one within "
            f"{WAIT.total_seconds():.0f} s. Call it on every rank; the first one writes the record."
        ) from error
