"""FSDP2 with weights offloaded to the CPU, two processes over gloo: what a kernel steps are local parts of DTensors.

This file is also the program of the two processes: `python -m tests.optim.test_offload RANK FOLDER`. There is no GPU,
so the policy has nothing to move; weights, gradients and state are of the kinds that it leaves to the optimizer.
"""

import json
import sys
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch import nn
from torch.distributed.checkpoint.state_dict import get_optimizer_state_dict, set_optimizer_state_dict
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import CPUOffloadPolicy, fully_shard

import steepest as sd
from tests.process_group import run_processes

PROCESSES = 2
OPTIMIZERS = {"SGD": {"lr": 0.05, "momentum": 0.9}, "AdamW": {"lr": 0.01}, "Lion": {"lr": 0.01}}


def network(dtype):
    """Five rows are not the same for both processes."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 1)).to(dtype)


def offload(model):
    mesh = init_device_mesh("cpu", (PROCESSES,))
    for layer in (model[0], model[2], model):
        fully_shard(layer, mesh=mesh, offload_policy=CPUOffloadPolicy(pin_memory=False))
    return model


def backward(model, t, rank):
    """The gradients of a batch of which each process has a half; the loss of all of it."""
    dtype = next(model.parameters()).dtype
    x = torch.randn(8, 4, generator=torch.Generator().manual_seed(t)).to(dtype)
    x = x if rank is None else x[4 * rank : 4 * rank + 4]
    model.zero_grad()
    loss = nn.functional.mse_loss(model(x), x.square().sum(1, keepdim=True))
    loss.backward()
    loss = loss.detach().double()
    if rank is not None:
        dist.all_reduce(loss)
        loss /= PROCESSES
    return loss.item()


def train_in_float64(library, name, rank):
    """The losses; by parts offloaded to the CPU, or alone where `rank` is None."""
    model = network(torch.float64)
    model = model if rank is None else offload(model)
    optimizer = getattr(library, name)(model.parameters(), **OPTIMIZERS[name])
    losses = []
    for t in range(5):
        losses.append(backward(model, t, rank))
        optimizer.step()
    return losses


def train_with_masters(name, options, rank, folder):
    """Whether masters are those of float32, kernels step all parts, and a checkpoint goes on bit for bit."""
    model = offload(network(torch.bfloat16))
    params = list(model.parameters())
    parts = [nn.Parameter(p.detach().to_local().float()) for p in params]
    optimizer = getattr(sd.optim, name)(params, **OPTIMIZERS[name], **options)
    other = getattr(sd.optim, name)(parts, **OPTIMIZERS[name])

    def step(t, own=optimizer):
        backward(model, t, rank)
        for p, part in zip(params, parts, strict=True):
            part.grad = p.grad.to_local().float()
        own.step()

    for t in range(3):
        step(t), other.step()
    masters = [optimizer.state[p]["master_weight"].to_local() for p in params]
    equal = all(torch.equal(m, part.detach()) for m, part in zip(masters, parts, strict=True))
    if len(options) == 1:
        equal &= all(torch.equal(p.to_local(), m.bfloat16()) for p, m in zip(params, masters, strict=True))
    stepped = sum(len(batch.members) for batch in optimizer._kernels._plans[0]._batches)

    dcp.save({"optimizer": get_optimizer_state_dict(model, optimizer)}, checkpoint_id=folder)
    before = [p.detach().to_local().clone() for p in params]
    step(3)
    first = [p.detach().to_local().clone() for p in params]
    model.zero_grad()  # torch makes the state of a new optimizer only where there are no gradients
    again = getattr(sd.optim, name)(params, **OPTIMIZERS[name], **options)
    loaded = {"optimizer": get_optimizer_state_dict(model, again)}
    for p, x in zip(params, before, strict=True):
        p.detach().to_local().copy_(x)
    dcp.load(loaded, checkpoint_id=folder)
    set_optimizer_state_dict(model, again, loaded["optimizer"])
    step(3, again)
    goes_on = all(torch.equal(p.detach().to_local(), x) for p, x in zip(params, first, strict=True))
    return {"equal": equal, "stepped": stepped == sum(x.numel() > 0 for x in before), "goes on": goes_on}


def process(rank, folder):
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=PROCESSES)
    results = {}
    for name in OPTIMIZERS:
        libraries = (torch.optim, sd.optim) if hasattr(torch.optim, name) else (sd.optim,)
        for library in libraries:
            results[f"{library.__name__}.{name}"] = train_in_float64(library, name, rank)
        for options in ({"master_weights": True}, {"master_weights": True, "stochastic_rounding": True}):
            key = f"{name}, {len(options)} options"
            results[key] = train_with_masters(name, options, rank, f"{folder}/{key}")
    Path(folder, f"{rank}.json").write_text(json.dumps(results))
    dist.barrier()
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("offload")
    run_processes("tests.optim.test_offload", folder, PROCESSES)
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(PROCESSES)]


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_losses_are_those_of_one_process(results, name):
    for own in results:
        if f"torch.optim.{name}" in own:
            assert own[f"steepest.optim.{name}"] == pytest.approx(own[f"torch.optim.{name}"], rel=1e-9)
        assert own[f"steepest.optim.{name}"] == pytest.approx(train_in_float64(sd.optim, name, None), rel=1e-9)


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_master_weights_of_parts(results, name, count):
    for own in results:
        assert own[f"{name}, {count} options"] == {"equal": True, "stepped": True, "goes on": True}


if __name__ == "__main__":
    process(int(sys.argv[1]), sys.argv[2])
