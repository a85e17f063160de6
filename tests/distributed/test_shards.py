"""Shards in a group of one process, which needs no start of others: refusals, checkpoints, and that it trains."""

import contextlib
import resource

import numpy as np
import pytest
import torch
import torch.distributed as dist
from torch.distributed.fsdp import MixedPrecisionPolicy

import steepest as sd
from steepest.distributed.processes import Processes
from steepest.errors import InputError, StoreError
from steepest.runs.store import checkpoints
from tests.distributed import tasks
from tests.distributed.tasks import tuned

IDENTITY = {"t": 3, "attempt": 0, "events": 0, "seconds": 0.0, "model": "m", "data": "d"}


@pytest.fixture(scope="module")
def processes():
    """This process alone, in a group."""
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield Processes(dist.new_group(), torch.device("cpu"))
    dist.destroy_process_group()


def test_shards_on_one_process_train_as_a_whole_model(processes, tmp_path):
    shards = sd.fit(tasks.of_a_sharded_model(), **tuned(clip=0.5, average=0.9), runs=tmp_path)
    whole = sd.fit(tasks.task(), **tuned(clip=0.5, average=0.9), runs=tmp_path)
    np.testing.assert_allclose(shards.losses, whole.losses, rtol=2e-5)
    np.testing.assert_allclose(shards.point.numpy(), whole.point.numpy(), rtol=1e-4, atol=1e-6)


def test_a_precision_without_a_scale_of_the_loss_is_refused(processes, tmp_path):
    policy = MixedPrecisionPolicy(torch.bfloat16, torch.float16)
    with pytest.raises(InputError, match="must have bfloat16 or float32, got float16 for the model"):
        sd.fit(tasks.of_a_sharded_model(mp_policy=policy), **tuned(), runs=tmp_path)


def test_gradients_that_are_no_mean_are_refused(processes, tmp_path):
    task = tasks.of_a_sharded_model()
    task.module[0].set_gradient_divide_factor(1.0)
    with pytest.raises(InputError, match="Gradients must be averaged over the processes, got set_gradient_divide"):
        sd.fit(task, **tuned(), runs=tmp_path)


def state_of(model):
    return {"weights": {name: p._local_tensor for name, p in model.named_parameters()}, "odd": torch.arange(3)}


@contextlib.contextmanager
def full_disk():
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_checkpoint_holds_the_weights_of_when_it_began(processes, tmp_path):
    model = tasks.shard(tasks.network())
    before = [x.clone() for x in state_of(model)["weights"].values()]
    background = checkpoints.begin_together(tmp_path, state_of(model), IDENTITY, processes, model)
    with torch.no_grad():
        for p in model.parameters():
            p._local_tensor.zero_()
    assert background.error() is None
    loaded = checkpoints.load(tmp_path, model)
    assert loaded.manifest["t"] == 3
    assert all(map(torch.equal, loaded.state["weights"].values(), before))
    assert torch.equal(loaded.state["odd"], torch.arange(3))


def test_what_is_being_written_is_read_when_it_is_there(processes, tmp_path):
    model = tasks.shard(tasks.network())
    for t in range(3):
        checkpoints.begin_together(tmp_path, state_of(model), {**IDENTITY, "t": t}, processes, model)
        assert checkpoints.load(tmp_path, model).manifest["t"] == t


def test_a_full_disk_leaves_the_checkpoints_before(processes, tmp_path):
    model = tasks.shard(tasks.network())
    assert checkpoints.begin_together(tmp_path, state_of(model), IDENTITY, processes, model).error() is None
    with full_disk():
        error = checkpoints.begin_together(tmp_path, state_of(model), {**IDENTITY, "t": 9}, processes, model).error()
    assert isinstance(error, StoreError)
    assert "process 0: OSError: [Errno 27] File too large" in str(error)
    assert [path.name for path in tmp_path.iterdir()] == ["00000001"]
    assert checkpoints.load(tmp_path, model).manifest["t"] == 3


def test_a_state_that_cannot_be_stored_is_said_at_once(processes, tmp_path):
    model = tasks.shard(tasks.network())
    with pytest.raises(TypeError):
        checkpoints.begin_together(tmp_path, {"x": object()}, IDENTITY, processes, model)
