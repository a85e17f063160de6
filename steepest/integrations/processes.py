"""The processes that train a watched model: those of its wrapper, or of the default group."""

from datetime import timedelta
from typing import Any

import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from steepest.distributed.processes import Processes
from steepest.errors import InputError

WAIT = timedelta(seconds=60)
"""For the other processes to call `watch`."""


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
