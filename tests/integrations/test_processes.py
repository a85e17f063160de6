"""Two processes over gloo, as under torchrun: a fault on one of them leads to the same action on both.

This file is also the program of the two processes: `python -m tests.integrations.test_processes RANK FOLDER`.
"""

import contextlib
import json
import math
import sys
from datetime import timedelta
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

import steepest as sd
from steepest.integrations import processes
from steepest.runs.store import Store
from tests.process_group import run_processes

STEPS, ONSET, PROCESSES, BATCH = 220, 105, 2, 16


def train(rank, folder, watched=True, parts=1, steps=STEPS, fault=None, resume=None, **choices):
    """The loss of each step on this process, and the weights at the end."""
    torch.manual_seed(0)
    inner = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 3))
    model = DistributedDataParallel(inner)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    t0 = 0
    if resume is not None:
        inner.load_state_dict(resume["model"])
        optimizer.load_state_dict(resume["optimizer"])
        t0 = resume["t"]
    run = sd.watch(model, optimizer, runs=folder / "runs", **choices) if watched else None
    random = torch.Generator().manual_seed(7)
    teacher = torch.randn(8, 3, generator=random)
    events = []
    with run or contextlib.nullcontext():
        for t in range(t0 + 1, steps + 1):
            random = torch.Generator().manual_seed(PROCESSES * t + rank)
            optimizer.zero_grad()
            losses = []
            for part in range(parts):
                x = torch.randn(BATCH, 8, generator=random)
                y = (x @ teacher).argmax(1)
                if fault is not None:
                    x = fault(t, rank, x, inner)
                with contextlib.nullcontext() if part == parts - 1 else model.no_sync():
                    loss = nn.functional.cross_entropy(model(x), y)
                    (loss / parts).backward()
                losses.append(loss.detach())
            if watched:
                event = run.step(losses)
                events += [] if event is None else [[event.t, event.kind, event.done]]
            else:
                optimizer.step()
            if resume is None and watched and t == 60 and rank == 0:
                state = {"model": inner.state_dict(), "optimizer": optimizer.state_dict(), "t": t}
                torch.save(state, folder / f"{choices['name']}.pt")
    return {"weights": [p.tolist() for p in inner.parameters()], "events": events, "id": run and run.id}


def not_a_number(t, rank, x, model):
    return x * math.nan if rank == 1 and t == ONSET else x


def explode(t, rank, x, model):
    return x * 1e4 if rank == 1 and t in (ONSET, ONSET + 1) else x


def always_explode(t, rank, x, model):
    """Data that no step can fit any more, on one process only, for a while."""
    is_bad = rank == 1 and ONSET <= t < ONSET + 12
    return 300 * torch.randn(x.shape, generator=torch.Generator().manual_seed(t)) if is_bad else x


@torch.no_grad()
def enlarge(t, rank, x, model):
    if rank == 1 and t == ONSET:
        model[2].weight.mul_(1000)
    return x


@torch.no_grad()
def spoil(t, rank, x, model):
    if rank == 1 and t == ONSET:
        model[0].weight[0, 0] = math.nan
    return x


@torch.no_grad()
def change_a_little(t, rank, x, model):
    """Too little for the loss to show it."""
    if rank == 1 and t == ONSET:
        model[0].weight[0].mul_(1.05)
    return x


FAULTS = {f.__name__: f for f in (not_a_number, explode, always_explode, enlarge, spoil, change_a_little)}


def go_on(rank, folder):
    """A script that fails on both processes, and is started again."""

    def fail(t, rank, x, model):
        if t == 90:
            raise ValueError("no more data")
        return x

    with contextlib.suppress(ValueError):
        train(rank, folder, name="again", fault=fail)
    dist.barrier()
    return train(rank, folder, name="again", resume=torch.load(folder / "again.pt"))


def watch_alone(rank, monkeypatch):
    """As where a user means that the first process is enough."""
    model = DistributedDataParallel(nn.Linear(2, 1), process_group=dist.new_group())
    monkeypatch.setattr(processes, "WAIT", timedelta(seconds=1))
    if rank:
        return ""
    with pytest.raises(sd.InputError) as error:
        sd.watch(model, torch.optim.SGD(model.parameters(), lr=0.1))
    return str(error.value)


def fail_on_one(t, rank, x, model):
    if rank == 1 and t == 50:
        raise ValueError("no more data")
    return x


def process(rank, folder):
    # no backend is named: a group has gloo for the CPU then, and NCCL besides where there is a GPU
    dist.init_process_group(init_method=f"file://{folder}/meeting", rank=rank, world_size=PROCESSES)
    results = {"again": go_on(rank, folder)}
    for parts in (1, 2):
        results[f"plain {parts}"] = train(rank, folder, watched=False, parts=parts)
        results[f"healthy {parts}"] = train(rank, folder, parts=parts, name=f"healthy{parts}")
    for name, fault in FAULTS.items():
        results[name] = train(rank, folder, fault=fault, name=name)
    with pytest.MonkeyPatch.context() as monkeypatch:
        results["alone"] = watch_alone(rank, monkeypatch)
    Path(folder, f"{rank}.json").write_text(json.dumps(results))
    with contextlib.suppress(ValueError, RuntimeError):  # gloo's error where the other process has gone
        train(rank, folder, name="fails", fault=fail_on_one)


# -- The tests ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("processes")
    run_processes("tests.integrations.test_processes", folder, PROCESSES)
    return folder


def results(folder, name):
    return [json.loads((folder / f"{rank}.json").read_text())[name] for rank in range(PROCESSES)]


@pytest.mark.slow
@pytest.mark.parametrize("parts", [1, 2])
def test_without_a_fault_it_is_the_loop_alone(folder, parts):
    """With accumulation, as under `no_sync`, too."""
    plain, watched = results(folder, f"plain {parts}"), results(folder, f"healthy {parts}")
    assert plain[0]["weights"] == plain[1]["weights"] == watched[0]["weights"] == watched[1]["weights"]
    assert watched[0]["events"] == []
    run = sd.open(f"healthy{parts}", folder / "runs")
    assert (run.status, len(run.losses)) == ("done", STEPS)


@pytest.mark.slow
def test_one_process_writes_the_record(folder):
    names = list(Store(folder / "runs").names().values())
    assert sorted(names) == sorted({*FAULTS, "healthy1", "healthy2", "again", "fails"})
    run = sd.open("healthy1", folder / "runs")
    assert sorted(run.tensors) == ["0.bias", "0.weight", "2.bias", "2.weight"]
    assert results(folder, "healthy 1")[0]["id"] == results(folder, "healthy 1")[1]["id"] == run.id


@pytest.mark.slow
def test_all_processes_must_watch(folder):
    assert "must be called by all 2 processes" in results(folder, "alone")[0]


@pytest.mark.slow
def test_a_process_that_fails_ends_the_run(folder):
    run = sd.open("fails", folder / "runs")
    assert (run.status, len(run.losses)) == ("failed", 49)


@pytest.mark.slow
@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_on_one_process_is_undone_on_both(folder, name):
    first, second = results(folder, name)
    healthy = sd.open("healthy1", folder / "runs").losses
    usual = healthy[ONSET - 20 : ONSET] if name == "always_explode" else healthy[-20:]  # there the rate is lowered
    run = sd.open(name, folder / "runs")
    assert first["events"] == second["events"] != []
    assert first["weights"] == second["weights"]
    assert run.losses[-20:].mean() < 1.5 * usual.mean()
    assert [e for e in ([e.t, e.kind, e.done] for e in run.events) if e in first["events"]] == first["events"]


@pytest.mark.slow
def test_weights_that_differ_are_noticed_without_the_loss(folder):
    (event, *_), _ = (r["events"] for r in results(folder, "change_a_little"))
    assert event[1] == "rewind"
    assert "lr unchanged" in event[2]


@pytest.mark.slow
def test_a_record_goes_on_in_two_processes(folder):
    run = sd.open("again", folder / "runs")
    assert (run.status, run.losses.tolist()) == ("done", sd.open("healthy1", folder / "runs").losses.tolist())
    assert results(folder, "again")[0]["weights"] == results(folder, "healthy 1")[0]["weights"]


if __name__ == "__main__":
    process(int(sys.argv[1]), Path(sys.argv[2]))
