"""Two processes over gloo: data parallel, sharded and tensor parallel training as with torch's class.

This file is also the program of the two processes: `python -m tests.optim.test_processes RANK FOLDER`.
"""

import functools
import json
import sys
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.checkpoint.state_dict import get_optimizer_state_dict, set_optimizer_state_dict
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FullyShardedDataParallel, fully_shard
from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module
from torch.nn.parallel import DistributedDataParallel

import steepest as sd
from tests.process_group import run_processes

OPTIMIZERS = {
    "SGD": {"lr": 0.05, "momentum": 0.9},
    "AdamW": {"lr": 0.01},
    "NAdam": {"lr": 0.01},
    "Lion": {"lr": 0.01},
    "AdEMAMix": {"lr": 0.01},
    "ScheduleFreeAdamW": {"lr": 0.01},
}
TORCHS, OURS = ("SGD", "AdamW", "NAdam"), ("Lion", "AdEMAMix", "ScheduleFreeAdamW")
STEPS, PROCESSES = 5, 2


def network(width=5):
    """Five rows are not the same for both processes, and of the last layer's one row the second gets nothing."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, width), nn.Tanh(), nn.Linear(width, 6), nn.Tanh(), nn.Linear(6, 1)).double()


def train(model, optimizer, rank=None, clip=None):
    """The losses of the whole batch, of which each process has a half."""
    generator = torch.Generator().manual_seed(1)
    losses = []
    for _ in range(STEPS):
        x = torch.randn(8, 4, generator=generator, dtype=torch.float64)
        y = x.square().sum(1, keepdim=True)
        part = slice(None) if rank is None else slice(4 * rank, 4 * rank + 4)
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(model(x[part]), y[part])
        loss.backward()
        if clip:
            clip(model)
        optimizer.step()
        total = loss.detach().clone()
        if rank is not None:
            dist.all_reduce(total)
        losses.append(total.item() / (1 if rank is None else PROCESSES))
    return losses


def clip_norm(model):
    nn.utils.clip_grad_norm_(model.parameters(), 0.5)


# -- The ways to train with two processes ------------------------------------------------------------------------------


def alone(make, rank):
    model = network()
    optimizer = make(model.parameters())
    return train(model, optimizer) + train(model, optimizer, clip=clip_norm)


def data_parallel(make, rank):
    model = DistributedDataParallel(network())
    return train(model, make(model.parameters()), rank, clip_norm)


def zero(make, rank):
    """Each process has the state of half of the parameters; half way it is gathered and loaded."""
    from torch.distributed.optim import ZeroRedundancyOptimizer  # warns of its own code when it is imported

    model = DistributedDataParallel(network())
    optimizer = ZeroRedundancyOptimizer(model.parameters(), optimizer_class=make.func, **make.keywords)
    losses = train(model, optimizer, rank)
    optimizer.consolidate_state_dict(0)
    if rank == 0:
        optimizer.load_state_dict(optimizer.state_dict())
    return losses + train(model, optimizer, rank)


def train_and_resume(model, make, rank, clip=None):
    """Half way the state goes to a new optimizer by way of torch.distributed.checkpoint's state dicts."""
    optimizer, other = make(model.parameters()), make(model.parameters())
    losses = train(model, optimizer, rank)
    set_optimizer_state_dict(model, other, get_optimizer_state_dict(model, optimizer))
    return losses + train(model, other, rank, clip)


def fully_sharded_1(use_orig_params, make, rank):
    model = FullyShardedDataParallel(network(), use_orig_params=use_orig_params, device_id=torch.device("cpu"))
    return train_and_resume(model, make, rank)


def fully_sharded_2(make, rank):
    model = network()
    for layer in (model[0], model[2], model):
        fully_shard(layer, mesh=init_device_mesh("cpu", (PROCESSES,)))
    return train_and_resume(model, make, rank, clip_norm)


def tensor_parallel(make, rank):
    mesh = init_device_mesh("cpu", (PROCESSES,))
    model = parallelize_module(network(width=6), mesh, {"0": ColwiseParallel(), "2": RowwiseParallel()})
    return train(model, make(model.parameters()))


WAYS = {
    "data parallel": data_parallel,
    "ZeRO": zero,
    "FSDP1": functools.partial(fully_sharded_1, False),
    "FSDP1 with use_orig_params": functools.partial(fully_sharded_1, True),
    "FSDP2": fully_sharded_2,
    "tensor parallel": tensor_parallel,
    "alone": alone,
}


def run(way, library, name, rank):
    make = functools.partial(getattr(library, name), **OPTIMIZERS[name])
    try:
        return WAYS[way](make, rank)
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def process(rank, folder):
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=PROCESSES)
    results = {}
    for way in WAYS:
        for name in OPTIMIZERS:
            for library in (torch.optim, sd.optim) if name in TORCHS else (sd.optim,):
                if library is torch.optim or name in TORCHS or way in ("FSDP2", "alone"):
                    results[f"{way}, {library.__name__}.{name}"] = run(way, library, name, rank)
    Path(folder, f"{rank}.json").write_text(json.dumps(results))
    dist.barrier()
    dist.destroy_process_group()


# -- The tests ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def losses(tmp_path_factory):
    folder = tmp_path_factory.mktemp("processes")
    run_processes("tests.optim.test_processes", folder, PROCESSES)
    first, second = (json.loads((folder / f"{rank}.json").read_text()) for rank in range(PROCESSES))
    assert first == second
    return first


@pytest.mark.slow
@pytest.mark.parametrize("name", TORCHS)
@pytest.mark.parametrize("way", [way for way in WAYS if way != "alone"])
def test_the_losses_are_torchs(losses, way, name):
    expected, actual = losses[f"{way}, torch.optim.{name}"], losses[f"{way}, steepest.optim.{name}"]
    assert not isinstance(expected, str), expected
    assert actual == pytest.approx(expected, rel=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("name", OURS)
def test_rules_of_our_own_train_sharded_as_in_one_process(losses, name):
    expected, actual = losses[f"alone, steepest.optim.{name}"], losses[f"FSDP2, steepest.optim.{name}"]
    assert not isinstance(actual, str), actual
    assert actual == pytest.approx(expected, rel=1e-9)


if __name__ == "__main__":
    process(int(sys.argv[1]), sys.argv[2])
