"""Named tensors that lie on several processes, in files of torch.distributed.checkpoint (DCP).

Each process writes its own parts. Plain DCP reads the files, on any number of processes: what is a part of a sharded
parameter's weights or state is stored as a DTensor of its whole shape. Its metadata is a pickle, which runs code when
it is read: read what you trust.
"""

import warnings
from collections.abc import Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from steepest.distributed.processes import Processes
from steepest.distributed.shards import as_shard, shards_of
from steepest.tasks.space import local


def begin_save(path: Path, tensors: Mapping[str, Tensor], model: nn.Module, processes: Processes) -> Future[Any]:
    """Copies tensors, and begins to write the copies in a thread; all processes call it.

    Args:
        path: of the folder.
        tensors: by their path in the state, whose last part is a parameter's name where it belongs to that.
        model: that is sharded.
        processes: that it lies on.

    Returns:
        what `finish_save` waits for.
    """
    from torch.distributed.checkpoint.state_dict_saver import async_save

    shards = shards_of(model)
    copies = {name: _stored_form(name, x.detach().to("cpu", copy=True), shards) for name, x in tensors.items()}
    future = async_save(copies, checkpoint_id=path, process_group=processes.writers(), async_stager=_Copies())  # type: ignore[arg-type]
    assert isinstance(future, Future)
    return future


def finish_save(future: Future[Any]) -> None:
    """Waits until all processes have written.

    Raises:
        OSError: one could not; names it.
    """
    from torch.distributed.checkpoint.api import CheckpointException

    try:
        future.result()
    except CheckpointException as error:  # which is no Exception
        rank, (cause, _) = next(iter(error.failures.items()))
        raise OSError(f"process {rank}: {type(cause).__name__}: {cause}") from error


class _Copies:
    """DCP's stager for tensors that are copies already: its own one copies each DTensor's description too, slowly."""

    should_synchronize_after_execute = False

    def stage(self, state_dict: dict[str, Any]) -> dict[str, Any]:
        return state_dict

    def close(self) -> None:
        """Nothing is held."""


def _stored_form(name: str, x: Tensor, shards: Mapping[str, Any]) -> Any:
    like = _parameter(name, shards)
    return as_shard(x, like) if like is not None and x.shape == like._local_tensor.shape else x


def _parameter(name: str, shards: Mapping[str, Any]) -> Any:
    """The parameter that a tensor of the state belongs to; None where it belongs to none."""
    return shards.get(name.rpartition("/")[2].replace("~1", "/").replace("~0", "~"))


def load(path: Path, model: nn.Module | None = None) -> dict[str, Tensor]:
    """The tensors of a folder, by name, read by this process alone.

    Args:
        path: of the folder.
        model: that goes on; where it is sharded, only this process's parts are read of what belongs to its parameters.
    """
    from torch.distributed.checkpoint.filesystem import FileSystemReader
    from torch.distributed.checkpoint.state_dict_loader import load as dcp_load

    reader = FileSystemReader(path)
    entries = reader.read_metadata().state_dict_metadata
    shards = {} if model is None else shards_of(model)
    tensors = {name: _empty(x, _parameter(name, shards)) for name, x in entries.items()}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "torch.distributed is disabled", UserWarning)  # as it is meant
        dcp_load(tensors, storage_reader=reader, no_dist=True)
    return {name: local(x) for name, x in tensors.items()}


def _empty(entry: Any, like: Any) -> Any:
    """Room for a stored tensor, or for a part of it that is laid out as that of a parameter."""
    if like is None or entry.size != like.shape:
        return torch.empty(entry.size, dtype=entry.properties.dtype)
    return as_shard(torch.empty(like._local_tensor.shape, dtype=entry.properties.dtype), like)


def parts_of(tensors: Mapping[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """Of whole tensors, by their path in a state, the parts of this process; all of them of a model in one piece."""
    from torch.distributed.tensor import distribute_tensor

    shards, parts = shards_of(model), dict(tensors)
    for name, x in tensors.items():
        like = _parameter(name, shards)
        if like is not None and x.shape == like.shape:
            part = distribute_tensor(x, like.device_mesh, like.placements, src_data_rank=None)
            parts[name] = part.to_local().clone()
    return parts
