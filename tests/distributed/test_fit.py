"""One run on two processes under torchrun: started once, and asked many things.

What torchrun runs stands in `program` and `restart`.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed.checkpoint as dcp

import steepest as sd
from steepest.runs.store import Store, checkpoints
from tests.distributed import restart, tasks
from tests.distributed.tasks import tuned

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
BFLOAT16 = 2**-7
"""Two units in the last place."""
CALM_STEPS = 8
"""Of a run whose rate grows until its loss explodes."""


def torchrun(folder, module, *options):
    """What each of the two processes has written."""
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", *options, "--module", module]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [*command, str(folder)], cwd=folder, env=environment, capture_output=True, encoding="utf-8", timeout=240,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(2)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("two")


@pytest.fixture(scope="module")
def two(folder):
    return torchrun(folder, "tests.distributed.program")


@pytest.mark.parametrize("name", tasks.SAME)
def test_losses_and_metrics_are_those_of_one_process(two, name, tmp_path):
    make, more = tasks.SAME[name]
    one = sd.fit(make(), **tuned(**more), runs=tmp_path)
    first, second = (seen["same"][name] for seen in two)
    np.testing.assert_allclose(first["losses"], one.losses, rtol=2e-5)
    measured = [[m.t, m.name, m.value] for m in one.metrics]
    assert [m[:2] for m in first["metrics"]] == [m[:2] for m in measured]
    np.testing.assert_allclose([m[2] for m in first["metrics"]], [m[2] for m in measured], rtol=2e-5)
    assert first == second  # the same record and the same weights, bit for bit


@pytest.mark.parametrize("name", tasks.SHARDED)
def test_a_sharded_model_trains_as_one_in_one_piece(two, name):
    assert two[0]["sharded"][name] == two[1]["sharded"][name]  # losses, weights and what the guard did, bit for bit
    shards, whole = two[0]["sharded"][name]
    steps = CALM_STEPS if name == "explosion" else None  # later ones amplify rounding
    np.testing.assert_allclose(shards["losses"][:steps], whole["losses"][:steps], rtol=2e-5)
    if name == "explosion":
        assert "rewind" in {kind for _, kind in shards["events"]}
    else:
        np.testing.assert_allclose([m[2] for m in shards["metrics"]], [m[2] for m in whole["metrics"]], rtol=2e-5)
        assert shards["events"] == whole["events"] == []


def test_a_sharded_run_goes_on_bit_for_bit(two):
    seen = two[0]["sharded"]
    assert two[1]["sharded"] == seen
    assert seen["code"] == 75
    assert {**seen["again"], "id": "", "events": []} == {**seen["twin"], "id": "", "events": []}
    assert seen["refusal"].startswith("InputError: A sharded model needs a rule of Steepest, got a torch optimizer.")


def test_a_sharded_run_goes_on_in_one_process(two, folder):
    rest = sd.resume("stopped", tasks.task(), runs=folder / "elsewhere")
    assert rest.status == "done"
    np.testing.assert_allclose(rest.losses, two[0]["sharded"]["twin"]["losses"], rtol=2e-5)


def test_plain_dcp_reads_the_checkpoint_of_a_sharded_run(two, folder):
    """The weights after the last step, whole, under the names of the model."""
    run = Store(folder / "sharded").read("twin")
    path = checkpoints.folders(folder / "sharded" / run.id / "checkpoints")[-1] / checkpoints.SHARDS
    names = [name for name, _ in tasks.network().named_parameters()]
    shapes = [p.shape for p in tasks.network().parameters()]
    weights = {f"descent/weights/{name}": torch.zeros(shape) for name, shape in zip(names, shapes, strict=True)}
    with pytest.warns(UserWarning, match="torch.distributed is disabled"):
        dcp.load(weights, checkpoint_id=path, no_dist=True)
    slots = {f"descent/update/slots/m/{name}": torch.zeros(shape) for name, shape in zip(names, shapes, strict=True)}
    assert slots.keys() <= dcp.FileSystemReader(path).read_metadata().state_dict_metadata.keys()
    assert all(x.isfinite().all() and x.abs().sum() > 0 for x in weights.values())


@pytest.mark.parametrize("name", ["none", "offload", "no reshard", "bfloat16", "bfloat16 sums"])
def test_policies_of_fsdp2_train_as_in_a_plain_loop(two, name):
    """In bfloat16 to its own rounding, to which the weights' rounding in float32 leads at later steps."""
    assert two[0]["policies"] == two[1]["policies"]
    run, plain = two[0]["policies"][name]
    np.testing.assert_allclose(run["losses"], plain, rtol=2e-5 if "bfloat16" not in name else BFLOAT16)
    np.testing.assert_allclose(run["losses"][0], plain[0], rtol=1e-7)
    assert run["events"] == []


def test_another_precision_gives_other_losses(two):
    seen = two[0]["policies"]
    assert abs(seen["bfloat16 sums"][0]["losses"][0] - seen["none"][0]["losses"][0]) > 1e-5


def test_float16_is_refused(two):
    assert "MixedPrecisionPolicy must have bfloat16 or float32, got float16" in two[0]["policies"]["refusal"]


def test_a_model_that_no_process_holds_whole(two):
    first, second = two[0]["policies"]["large"]
    assert {**first, "id": ""} == {**second, "id": ""}  # of the seed
    assert first["losses"][-1] < first["losses"][0]


@pytest.mark.parametrize("rank", ["0", "1"])
def test_a_full_disk_on_one_process_costs_checkpoints_only(two, rank):
    first, second = (seen["full_disk"][rank] for seen in two)
    assert first["run"] == second["run"]
    assert (first["run"]["status"], len(first["run"]["losses"])) == ("done", 24)
    assert first["checkpoints"] == [20, 24]  # without those of steps 10 and 15
    assert first["rest"] == 0
    assert "File too large" in first["said"]


def test_a_damaged_file_of_a_sharded_checkpoint_is_named(two, folder):
    run = Store(folder / "sharded").read("twin")
    path = checkpoints.folders(folder / "sharded" / run.id / "checkpoints")[-1]
    file = next((path / checkpoints.SHARDS).glob("*.distcp"))
    content = file.read_bytes()
    file.write_bytes(content[:-1] + b"?")
    try:
        with pytest.raises(sd.StoreError, match=rf"tensors/{file.name} does not match its hash"):
            checkpoints.verify(path)
    finally:
        file.write_bytes(content)


@pytest.mark.parametrize("fault", ["nan", "large", "explosion", "dropout"])
def test_the_guard_acts_alike_on_all_processes(two, fault):
    first, second = (seen["guarded"][fault] for seen in two)
    assert first == second
    kinds = {kind for _, kind in first["events"]}
    assert {"nan": {"skip"}, "large": {"skip"}, "dropout": set()}.get(fault, kinds) == kinds
    assert "rewind" in kinds or fault != "explosion"


@pytest.mark.parametrize(("fault", "kinds"), [("apart", ["rewind"]), ("apart for good", [*["rewind"] * 3, "stop"])])
def test_weights_that_differ_between_processes_go_back_together(two, fault, kinds):
    first, second = (seen["guarded"][fault] for seen in two)
    assert first == second  # the weights too
    assert first["seen"] == [[kind, "the weights differ between the processes"] for kind in kinds]
    assert first["status"] == ("stopped" if "stop" in kinds else "done")


def test_a_process_that_raises_ends_all_by_name(two, folder):
    first, second = (seen["failures"]["raises"] for seen in two)
    assert first == "ProcessError: Process 1 of 2 failed: ValueError: no more data"
    assert second == "ValueError: no more data"
    record = Store(folder / "failures").read("raises")
    assert record.status == "failed"
    assert "Process 1 of 2 failed" in record.events[-1].seen


@pytest.mark.parametrize("what", ["data", "settings", "model", "code"])
def test_a_process_with_something_else_is_named(two, what):
    for seen in two:
        assert f"process 1 has another {what} than process 0" in seen["failures"][what]


def test_what_the_first_process_cannot_write_ends_all(two):
    assert all(seen["failures"]["folder"].startswith("StoreError: Cannot create the runs folder") for seen in two)


def test_after_failures_the_processes_train_on(two):
    assert [seen["failures"]["afterwards"]["status"] for seen in two] == ["done", "done"]
    assert two[0]["failures"]["afterwards"]["losses"] == two[0]["same"]["labels"]["losses"]


def test_what_one_process_does_alone_is_refused_in_words(two):
    words = {
        "descend": "sd.descend must be called in one process, got a group of 2. Use sd.fit",
        "find_lr": "sd.find_lr must be called in one process, got a group of 2.",
        "race": "sd.race must be called in one process, got a group of 2.",
        "lr": "lr='auto' must be called in one process, got a group of 2. Search the rate before",
        "batch": "batch_size / accumulate must be at least 2, the number of processes, got 1 / 1.",
        "name": "resume='auto' needs name=",
    }
    for seen in two:
        assert {name: words[name] in text for name, text in seen["refusals"].items()} == dict.fromkeys(words, True)


def test_a_signal_on_one_process_ends_all_with_a_checkpoint(two, folder, tmp_path):
    first, second = (seen["interrupted"] for seen in two)
    assert first == second == {"code": 75, "status": "interrupted", "steps": 16}
    rest = sd.resume("interrupted", tasks.task(), runs=folder / "interrupted")
    one = sd.fit(tasks.task(), **tuned(), runs=tmp_path)
    assert rest.status == "done"
    np.testing.assert_allclose(rest.losses, one.losses, rtol=2e-5)  # on another number of processes


def test_torchrun_starts_a_killed_run_again(tmp_path):
    first, second = torchrun(tmp_path, "tests.distributed.restart", "--max-restarts", str(len(restart.FAULTS)))
    assert first == second
    again, twin = first["again"], first["twin"]
    assert first["restart"] == len(restart.FAULTS)
    assert len(again["losses"]) == restart.STEPS
    assert {**again, "id": ""} == {**twin, "id": ""}  # bit for bit
    assert first["once more"] == again  # a run that is done is returned


@pytest.mark.long
def test_accelerate_launch_starts_the_same_run(two, tmp_path):
    """Its launcher of several processes on one machine, whatever the name of its option; its Accelerator is on CPUs."""
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [*launch, "--main_process_port", "0", "--module", "tests.distributed.launched", str(tmp_path)],
        cwd=tmp_path, env=environment, capture_output=True, encoding="utf-8", timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    for rank in range(2):
        seen = json.loads((tmp_path / f"{rank}.json").read_text())
        assert seen["count"] == 2
        assert {**seen["run"], "id": ""} == {**two[rank]["same"]["labels"], "id": ""}
