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


def check_policies(model: nn.Module) -> None:
    """Refuses what FSDP2 was told about a model with which the gradients, or where they lie, would be wrong.

    Raises:
        InputError: says what works.
    """
    for name, module in model.named_modules():
        if hasattr(module, "_get_fsdp_state"):
            _check_state(name or "the model", module._get_fsdp_state())  # type: ignore[operator]


def _check_state(name: str, state: Any) -> None:
    """The same of one module; FSDP2 has no public way to ask."""
    policy, groups = state._mp_policy, state._fsdp_param_groups
    if torch.float16 in (policy.param_dtype, policy.reduce_dtype):
        raise InputError(
            f"MixedPrecisionPolicy must have bfloat16 or float32, got float16 for {name}. float16 needs a loss scale, "
            "which sd.fit has not; pass torch.bfloat16."
        )
    if any(group.gradient_divide_factor is not None for group in groups):
        raise InputError(
            f"Gradients must be averaged over the processes, got set_gradient_divide_factor on {name}. Leave it out: "
            "sd.fit weighs the parts of a batch itself."
        )
    if state._device.type != "cpu" and any(p.offload_to_cpu for group in groups for p in group.fsdp_params):
        raise InputError(
            f"sd.fit needs weights where the model computes, got CPUOffloadPolicy on {state._device.type} for {name}. "
            "Leave the policy out, or use sd.optim with sd.watch in a loop of your own."
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
def whole_state(model: nn.Module, state: ModuleState, keeps: bool) -> ModuleState:
    """A state with whole parameters; as it is where nothing is sharded.

    Args:
        model: the state's.
        state: of this process.
        keeps: whether this process gets the whole; another one holds one whole parameter at a time.
    """
    shards = shards_of(model)
    if not shards:
        return state
    parameters = {}
    for name, x in state.parameters.items():
        whole = as_whole(x, shards[name]) if name in shards else x
        parameters[name] = whole.cpu() if keeps else x
    return dataclasses.replace(state, parameters=parameters)
