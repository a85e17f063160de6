"""The process group that a run is trained in: found, or begun under torchrun, and checked to be of one mind."""

import atexit
import hashlib
import os
import sys
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous

from steepest.distributed.processes import ALONE, Processes
from steepest.errors import InputError

MEETING_TIME = timedelta(seconds=60)
"""For the other processes to call the same function."""
TORCHRUN_ID = "TORCHELASTIC_RUN_ID"
"""In the environment of what torchrun has started."""

_groups: list[tuple[Any, Processes]] = []
"""The default group and its processes, once they have met."""


def process_count() -> int:
    """The number of processes in the group, or of those that torchrun has started."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_world_size()
    return int(os.environ.get("WORLD_SIZE", "1")) if TORCHRUN_ID in os.environ else 1


def is_first() -> bool:
    """Whether this process is the one of its group that writes and speaks."""
    return not (dist.is_available() and dist.is_initialized()) or dist.get_rank() == 0


def refuse_several(what: str, instead: str) -> None:
    """Refuses what runs in one process.

    Args:
        what: is called.
        instead: what to do.

    Raises:
        InputError: there are several.
    """
    count = process_count()
    if count > 1:
        raise InputError(f"{what} must be called in one process, got a group of {count}. {instead}")


def join(function: str = "sd.fit") -> Processes:
    """The processes that train one run: of the default group, which is begun where torchrun has started them.

    They get a group of their own, so that the user's is left alone, whatever happens.

    Args:
        function: that all of them call.

    Raises:
        InputError: not all of them call it.
    """
    if process_count() == 1:
        return ALONE
    if not dist.is_initialized():
        _begin_group()
    default = dist.group.WORLD
    if _groups and _groups[0][0] is default and not _groups[0][1].has_left:
        processes = _groups[0][1]
    else:
        processes = Processes(dist.new_group(), _device())
        atexit.register(processes.close)
        _groups[:] = [(default, processes)]
    processes.meet(function, MEETING_TIME)
    return processes


def _begin_group() -> None:
    """Begins the default group, as torchrun's environment says.

    After a restart torchrun's store still has the addresses of the processes before, so each restart has its own keys.
    """
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    store, rank, count = next(iter(rendezvous("env://")))
    prefix = f"restart {os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}"
    dist.init_process_group(store=PrefixStore(prefix, store), rank=rank, world_size=count)
    atexit.register(_end_group)


def _end_group() -> None:
    if dist.is_initialized():
        dist.destroy_process_group()


def _device() -> torch.device:
    """On which numbers are exchanged."""
    is_nccl = "nccl" in str(dist.get_backend_config()) and "gloo" not in str(dist.get_backend_config())
    return torch.device("cuda", torch.cuda.current_device()) if is_nccl else torch.device("cpu")


def check_alike(processes: Processes, what: Mapping[str, Any]) -> None:
    """Checks that the processes have the same of each of these; compares hashes.

    Args:
        processes: that train together.
        what: values with a text each, by what they are called.

    Raises:
        InputError: one has another; names it and what differs.
    """
    own = {name: hashlib.sha256(repr(value).encode()).hexdigest() for name, value in what.items()}
    hashes = processes.gather(own)
    odd = {
        rank: [name for name in own if theirs.get(name) != hashes[0].get(name)]
        for rank, theirs in enumerate(hashes)
        if theirs != hashes[0]
    }
    if odd:
        words = "; ".join(f"process {rank} has another {' and '.join(names)}" for rank, names in odd.items())
        raise InputError(
            f"All {processes.count} processes must train the same run, got different ones: {words} than process 0. "
            "Make data and settings in the same way on all of them, from the same files and seeds."
        )


def script_hash() -> str:
    """A hash of the program's file; empty where there is none."""
    path = getattr(sys.modules.get("__main__"), "__file__", None)
    try:
        return hashlib.sha256(Path(path or "").read_bytes()).hexdigest()
    except OSError:
        return ""
