"""Several processes that train one model together: what the guard sees is the same on all of them, so they act alike."""

import math
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from steepest.errors import SteepestError, StoreError

T = TypeVar("T")


class Processes:
    """One process, or several of a process group.

    Attributes:
        is_first: whether this one writes the record.

    Args:
        group: of the processes; None for this one alone.
    """

    def __init__(self, group: Any = None) -> None:
        self._group = group
        self.is_first = group is None or dist.get_rank(group) == 0

    def mean(self, value: float, device: torch.device) -> float:
        """The mean over the processes, the same bits on each; not finite where one is not."""
        if self._group is None:
            return value
        total = torch.tensor([value], dtype=torch.float64, device=device)
        dist.all_reduce(total, group=self._group)
        return total.item() / dist.get_world_size(self._group)

    def gather(self, value: float, device: torch.device) -> list[float]:
        """The values of all processes, in their order."""
        if self._group is None:
            return [value]
        values = torch.zeros(dist.get_world_size(self._group), dtype=torch.float64, device=device)
        values[dist.get_rank(self._group)] = value
        dist.all_reduce(values, group=self._group)
        return values.tolist()

    def from_first(self, function: Callable[[], T]) -> T:
        """What a function gives that the first process calls; its error is raised on all."""
        if self._group is None:
            return function()
        box: list[Any] = [None, None]
        if self.is_first:
            try:
                box[0] = function()
            except SteepestError as error:
                box[1] = error
        dist.broadcast_object_list(box, dist.get_global_rank(self._group, 0), group=self._group)
        if box[1] is not None:
            raise box[1] if self.is_first else StoreError(str(box[1]))
        return box[0]


ALONE = Processes()
"""This process alone."""


def find_processes(model: nn.Module) -> tuple[nn.Module, Processes]:
    """A model without its wrapper, and the processes that train it: those of the wrapper, else of the default group."""
    group = None
    if dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
        group = model.process_group if isinstance(model, DistributedDataParallel) else dist.group.WORLD
    return (model.module if isinstance(model, DistributedDataParallel) else model), Processes(group)
