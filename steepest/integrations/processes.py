"""The processes that train a watched model: those of its wrapper, or of the default group."""

from datetime import timedelta

import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from steepest.distributed.processes import Processes

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
    processes = Processes(group, next((p.device for p in inner.parameters()), None))
    if group is not None:
        processes.meet("sd.watch", WAIT)
    return inner, processes
