"""Named tensors that lie on several processes, in files of torch.distributed.checkpoint (DCP).

Each process writes its own parts. Plain DCP reads the files, on any number of processes: what is a part of a sharded
parameter's weights or state is stored as a DTensor of its whole shape. Its metadata is a pickle, which runs code when
it is read: read what you trust.
"""

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from steepest.distributed.shards import as_shard, shards_of


def save(path: Path, tensors: Mapping[str, Tensor], model: nn.Module) -> None:
    """Writes tensors; all processes call it.

    Args:
        path: of the folder.
        tensors: by their path in the state, whose last part is a parameter's name where it belongs to that.
        model: that is sharded.

    Raises:
        Exception: of DCP, on all processes, where one cannot write.
    """
    from torch.distributed.checkpoint.state_dict_saver import save as dcp_save

    shards = shards_of(model)
    dcp_save({name: _stored_form(name, x, shards) for name, x in tensors.items()}, checkpoint_id=path)


def _stored_form(name: str, x: Tensor, shards: Mapping[str, Any]) -> Any:
    like = _parameter(name, shards)
    return as_shard(x, like) if like is not None and x.shape == like._local_tensor.shape else x


def _parameter(name: str, shards: Mapping[str, Any]) -> Any:
    """The parameter that a tensor of the state belongs to; None where it belongs to none."""
    return shards.get(name.rpartition("/")[2].replace("~1", "/").replace("~0", "~"))


def load(path: Path) -> dict[str, Tensor]:
    """The whole tensors of a folder, by name, read by this process alone."""
    from torch.distributed.checkpoint.filesystem import FileSystemReader
    from torch.distributed.checkpoint.state_dict_loader import load as dcp_load

    reader = FileSystemReader(path)
    entries = reader.read_metadata().state_dict_metadata
    tensors = {name: torch.empty(x.size, dtype=x.properties.dtype) for name, x in entries.items()}  # type: ignore
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "torch.distributed is disabled", UserWarning)  # as it is meant
        dcp_load(tensors, storage_reader=reader, no_dist=True)
    return tensors


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
