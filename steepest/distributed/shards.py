"""Models whose weights are spread over the processes (FSDP2's `fully_shard`): each process updates its own shards.

A step, a snapshot and the guard see the shards of this process alone, since rules are element-wise; norms are summed.
What is stored of a run's end is whole.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from steepest.distributed.processes import Processes
from steepest.errors import InputError
from steepest.tasks.module_state import ModuleState, plain_name


def shards_of(model: nn.Module) -> dict[str, Any]:
    """The trained parameters by name, as DTensors; empty where the model is not sharded."""
    return {
        plain_name(name): p for name, p in model.named_parameters() if p.requires_grad and hasattr(p, "_local_tensor")
    }


def check_layout(model: nn.Module, processes: Processes) -> None:
    """Refuses a model that is spread in another way than over these processes alone.

    Raises:
        InputError: it is; says what works.
    """
    shards = shards_of(model)
    if not shards:
        return
    names = [name for name, p in model.named_parameters() if p.requires_grad]
    whole = [name for name in names if plain_name(name) not in shards]
    if whole:
        raise InputError(
            f"Either all trained parameters must be sharded or none, got {whole[0]} whole. Call fully_shard on the "
            "whole model."
        )
    odd = [name for name, p in shards.items() if p.device_mesh.ndim != 1 or p.device_mesh.size() != processes.count]
    if odd:
        mesh = shards[odd[0]].device_mesh
        raise InputError(
            f"The model must be sharded over all {processes.count} processes of the run in one dimension, got a mesh "
            f"of shape {tuple(mesh.shape)} for {odd[0]}. Start the run under torchrun with as many processes."
        )


def reshard(model: nn.Module) -> None:
    """After a forward pass without a backward pass: gives up the whole weights that FSDP keeps for it."""
    for module in model.modules():
        if hasattr(module, "reshard") and hasattr(module, "set_reshard_after_forward"):
            module.reshard()  # type: ignore[operator]


def as_whole(x: Tensor, like: Any) -> Tensor:
    """The whole of a tensor whose parts lie on the processes as those of a parameter; all of them call it."""
    return as_shard(x, like).full_tensor()


def as_shard(x: Tensor, like: Any) -> Any:
    """A tensor of this process as its part of a DTensor that is laid out as a parameter."""
    from torch.distributed.tensor import DTensor

    return DTensor.from_local(
        x, like.device_mesh, like.placements, run_check=False, shape=like.shape, stride=like.stride()
    )


@torch.no_grad()
def whole_tensors(model: nn.Module, tensors: Sequence[Tensor]) -> list[Tensor]:
    """Tensors of this process, one for each trained parameter, as whole ones; as they are where nothing is sharded."""
    shards = shards_of(model)
    return [as_whole(x, p) for x, p in zip(tensors, shards.values(), strict=True)] if shards else list(tensors)


@torch.no_grad()
def whole_state(model: nn.Module, state: ModuleState) -> ModuleState:
    """A state with whole parameters; as it is where nothing is sharded."""
    shards = shards_of(model)
    if not shards:
        return state
    parameters = {name: as_whole(x, shards[name]) if name in shards else x for name, x in state.parameters.items()}
    return dataclasses.replace(state, parameters=parameters)
