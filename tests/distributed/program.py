"""What two processes do under torchrun, so that one start serves many tests: `torchrun … program.py FOLDER`.

Each writes what it has seen to FOLDER/RANK.json.
"""

import contextlib
import hashlib
import io
import json
import os
import shutil
import signal
import sys
import time
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn

import steepest as sd
from steepest.runs.store import Store, checkpoints
from steepest.tasks.batches import Batches
from tests.distributed import tasks
from tests.distributed.tasks import tuned


def digest(model):
    tensors = [x.full_tensor() if hasattr(x, "full_tensor") else x for x in model.state_dict().values()]
    state = b"".join(x.detach().numpy().tobytes() for x in tensors)
    return hashlib.sha256(state).hexdigest()[:16]


def result(run):
    return {
        "id": run.id, "status": run.status, "losses": run.losses.tolist(), "weights": digest(run.model),
        "metrics": [[m.t, m.name, m.value] for m in run.metrics], "events": [[e.t, e.kind] for e in run.events],
    }  # fmt: skip


def same(runs):
    return {name: result(sd.fit(make(), **tuned(**more), runs=runs)) for name, (make, more) in tasks.SAME.items()}


def sharded(runs):
    """FSDP2 beside the same model in one piece, and a run of it that is interrupted and goes on here."""
    results = {
        name: [result(sd.fit(make(), **tuned(**more), runs=runs)) for make in (tasks.of_a_sharded_model, tasks.task)]
        for name, more in tasks.SHARDED.items()
    }
    more = {"average": 0.9, "checkpoint_every": 10, "keep": "best"}
    code = None
    try:
        sd.fit(stopping(tasks.of_a_sharded_model(), 15), **tuned(**more), runs=runs, name="stopped")
    except SystemExit as end:
        code = end.code
    dist.barrier()
    if RANK == 0:
        shutil.copytree(runs, FOLDER / "elsewhere")  # for another number of processes
    dist.barrier()
    again = sd.resume("stopped", tasks.of_a_sharded_model(), runs=runs)
    twin = sd.fit(tasks.of_a_sharded_model(), **tuned(**more), runs=runs, name="twin")
    rule = lambda params: torch.optim.SGD(params, lr=0.1)  # noqa: E731
    refusal = message(lambda: sd.fit(tasks.of_a_sharded_model(), **tuned(rule=rule), runs=runs))
    return {**results, "code": code, "again": result(again), "twin": result(twin), "refusal": refusal}


def plain_losses(model, size, steps, lr):
    """The least loop of FSDP2, on the batches of `fit`."""
    optimizer, batches = torch.optim.SGD(model.parameters(), lr=lr), Batches(tasks.data(), size, 0)
    batches.rank, batches.ranks = RANK, 2
    losses = []
    for t in range(1, steps + 1):
        (x, y), = batches(t)  # fmt: skip
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        both = [None, None]
        dist.all_gather_object(both, loss.item())
        losses.append(sum(both) / 2)
    return losses


def policies(runs):
    """FSDP2's policies beside a plain loop with the same, and a model that no process holds whole."""
    from torch.distributed.fsdp import CPUOffloadPolicy, MixedPrecisionPolicy

    each = {
        "none": {},
        "bfloat16": {"mp_policy": MixedPrecisionPolicy(torch.bfloat16, torch.float32)},
        "bfloat16 sums": {"mp_policy": MixedPrecisionPolicy(torch.bfloat16, torch.bfloat16, torch.float32)},
        "offload": {"offload_policy": CPUOffloadPolicy(pin_memory=False)},
        "no reshard": {"reshard_after_forward": False},
    }
    more = tuned(rule="gradient_descent", lr=0.1, schedule="constant", batch_size=32)
    results = {}
    for name, policy in each.items():
        run = sd.fit(tasks.of_a_sharded_model(**policy), **more, runs=runs)
        results[name] = [result(run), plain_losses(tasks.shard(tasks.network(), **policy), 32, 24, 0.1)]
    large = [sd.fit(make(), **more, runs=runs) for make in (tasks.of_a_large_model, tasks.of_a_large_model)]
    half = {"mp_policy": MixedPrecisionPolicy(torch.float16)}
    refusal = message(lambda: sd.fit(tasks.of_a_sharded_model(**half), **more, runs=runs))
    return {**results, "large": [result(run) for run in large], "refusal": refusal}


def full_disk(runs):
    """Runs in which one process cannot write for some steps."""
    return {str(rank): _full_disk(runs, rank, f"full-{rank}") for rank in range(2)}


def _full_disk(runs, rank, name):
    """The run, its complete checkpoints, what was said, and how many files are left."""
    import resource

    calls, (soft, hard) = [], resource.getrlimit(resource.RLIMIT_FSIZE)

    def limit(batch, generator):
        calls.append(1)
        if rank == RANK and len(calls) in (8, 18):
            resource.setrlimit(resource.RLIMIT_FSIZE, (100 if len(calls) == 8 else soft, hard))
        return batch

    said, task = io.StringIO(), tasks.of_a_sharded_model()
    task.augment = limit
    with contextlib.redirect_stderr(said):
        run = sd.fit(task, **tuned(), checkpoint_every=5, runs=runs, name=name)
    folder = Path(runs) / run.id / "checkpoints"
    steps = [checkpoints.verify(path)["t"] for path in checkpoints.folders(folder)]
    return {"run": result(run), "checkpoints": steps, "said": said.getvalue(), "rest": len(list(folder.glob(".*")))}


def stopping(task, step):
    """The task, at whose n-th batch a signal comes to the second process."""
    calls = []

    def augment(batch, generator):
        calls.append(1)
        if RANK == 1 and len(calls) == step + 1:
            os.kill(os.getpid(), signal.SIGUSR1)
        return batch

    task.augment = augment
    return task


def message(function):
    try:
        function()
    except sd.SteepestError as error:
        return f"{type(error).__name__}: {error}"
    except ValueError as error:
        return f"ValueError: {error}"
    return "no error"


class Spoiled(nn.Module):
    """A model that fails, or gives what is not finite or much too large, on one process at some calls in training."""

    def __init__(self, at, what):
        super().__init__()
        self.inner, self.calls, self.at, self.what = tasks.network(norm=True), 0, at, what

    def forward(self, x):
        self.calls += self.training
        output = self.inner(x)
        if not (self.training and RANK == 1 and self.calls in self.at):
            return output
        if self.what == "error":
            raise ValueError("no more data")
        return output * (float("nan") if self.what == "nan" else 1e4)


def failures(runs):
    """What goes wrong on one process only."""
    fit = lambda task, **more: message(lambda: sd.fit(task, **tuned(**more), runs=runs))  # noqa: E731
    x, y = tasks.data()
    other = (x, y) if RANK == 0 else (x + 1, y)
    place = Path(runs) / "no folder"
    if RANK == 0:
        place.write_text("a file")
    return {
        "raises": fit(tasks.task(model=Spoiled([12], "error")), name="raises"),
        "data": fit(tasks.task(source=other)),
        "settings": fit(tasks.task(), seed=RANK),
        "model": fit(tasks.task(model=nn.Linear(8, 3 + RANK))),
        "code": with_other_code(lambda: fit(tasks.task())),
        "folder": message(lambda: sd.fit(tasks.task(), **tuned(), runs=place)),
        "afterwards": result(sd.fit(tasks.task(), **tuned(), runs=runs)),
    }


def with_other_code(call):
    """The second process runs a program that was changed."""
    program = sys.modules["__main__"]
    own, other = program.__file__, FOLDER / "changed.py"
    if RANK == 1:
        other.write_text("# another program")
        program.__file__ = str(other)
    try:
        return call()
    finally:
        program.__file__ = own


def refusals(runs):
    task = tasks.task()
    return {
        "descend": message(lambda: sd.descend(task, steps=3)),
        "find_lr": message(lambda: sd.find_lr(task, steps=30)),
        "race": message(lambda: sd.race(task, ["adam", "momentum"], steps=30)),
        "lr": message(lambda: sd.fit(task, **tuned(lr="auto"), runs=runs)),
        "batch": message(lambda: sd.fit(task, **tuned(batch_size=1), runs=runs)),
        "name": message(lambda: sd.fit(task, **tuned(), runs=runs, resume="auto")),
    }


def guarded(runs):
    """Faults on one process: both act alike."""
    more = {"steps": 80, "measure_every": 40, "average": 0.9}
    spoiled = {"nan": [60], "large": [60, 61, 62]}
    results = {
        what: result(sd.fit(tasks.task(model=Spoiled(at, what)), **tuned(**more), runs=runs))
        for what, at in spoiled.items()
    }
    results["apart"], results["apart for good"] = (_apart(runs, lasts) for lasts in (False, True))
    torch.manual_seed(RANK)  # dropout draws other numbers on each process
    results["dropout"] = result(sd.fit(tasks.task(model=tasks.network(dropout=0.5)), **tuned(), runs=runs))
    explosion = tuned(rule="momentum", lr=30.0, schedule="warmup(90%)", steps=120, measure_every=60)
    return {**results, "explosion": result(sd.fit(tasks.task(), **explosion, runs=runs))}


def _apart(runs, lasts):
    """The second process changes its weights by a little: once, or at every step from then on."""
    calls, task = [], tasks.task()

    def corrupt(batch, generator):
        calls.append(1)
        if RANK == 1 and (len(calls) >= 20 if lasts else len(calls) == 20):
            with torch.no_grad():
                task.module[0].weight.mul_(1.001)
        return batch

    task.augment = corrupt
    run = sd.fit(task, **tuned(steps=80, measure_every=40, guard=sd.Guard(snapshot_every=25)), runs=runs)
    return {**result(run), "seen": [[e.kind, e.seen] for e in run.events]}


def interrupted(runs):
    """A signal on the second process ends the run on both; the end is an exit with a code of its own."""

    code = None
    try:
        sd.fit(stopping(tasks.task(), 15), **tuned(), runs=runs, name="interrupted")
    except SystemExit as end:
        code = end.code
    record = Store(runs).read("interrupted")
    return {"code": code, "status": record.status, "steps": len(record.steps)}


if __name__ == "__main__":
    RANK, FOLDER = int(os.environ["RANK"]), Path(sys.argv[1])
    parts = (same, sharded, policies, full_disk, failures, refusals, guarded, interrupted)
    seen, seconds = {}, {}
    for part in parts:
        start = time.perf_counter()
        (FOLDER / part.__name__).mkdir(exist_ok=True)
        seen[part.__name__] = part(FOLDER / part.__name__)
        seconds[part.__name__] = time.perf_counter() - start
    (FOLDER / f"{RANK}.json").write_text(json.dumps({**seen, "seconds": seconds}))
