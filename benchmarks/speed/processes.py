"""One run on two gloo processes: a step beside plain DDP's and plain FSDP2's, and kills of one process at random.

This file is also what torchrun starts: `… processes.py steps FOLDER` and `… processes.py kills FOLDER`.
"""

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.functional import cross_entropy
from torch.nn.parallel import DistributedDataParallel

import steepest as sd
from benchmarks.report import table
from steepest.descent.loop import Descent
from steepest.descent.settings import resolve
from steepest.distributed.group import join

TITLE = "Two processes"
WIDTHS = {"26 thousand": (64, 128, 128), "1 million": (64, 970, 970)}
BATCH, SAMPLES, STEPS, BLOCKS = 64, 4096, 10, 20
KILLS, MAX_STEPS_TO_KILL = int(os.environ.get("KILLS", "50")), 12


def network(widths, dropout=0.0):
    torch.manual_seed(0)
    layers = [layer for a, b in zip(widths, widths[1:]) for layer in (nn.Linear(a, b), nn.ReLU(), nn.Dropout(dropout))]
    return nn.Sequential(*layers, nn.Linear(widths[-1], 10))


def data():
    torch.manual_seed(1)
    x = torch.randn(SAMPLES, 64)
    return x, (x @ torch.randn(64, 10)).argmax(1)


def sharded(model):
    from torch.distributed.fsdp import fully_shard

    for layer in model:
        if isinstance(layer, nn.Linear):
            fully_shard(layer)
    return fully_shard(model)


def plain_steps(model, is_sharded):
    """Takes so many steps of the least loop: torch's fastest AdamW, and the loss read at each step."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=not is_sharded, foreach=is_sharded or None)
    (x, y), rank, half = data(), dist.get_rank(), BATCH // 2
    order = iter(torch.randperm(SAMPLES).repeat(1000).split(BATCH))

    def take(steps):
        for _ in range(steps):
            rows = next(order)[rank * half : (rank + 1) * half]
            optimizer.zero_grad()
            loss = cross_entropy(model(x[rows]), y[rows])
            loss.backward()
            optimizer.step()
            loss.item()

    return take


def our_steps(model, processes):
    """Takes so many steps of `fit`'s loop with its guard, without a record."""
    task = sd.Task(model, data(), cross_entropy, validation=tuple(x[:64] for x in data()))
    settings = resolve(task, "constant", rule="adamw", lr=1e-3, batch_size=BATCH, steps=10**6, guard=True)
    steps = iter(Descent(task, settings, task.build(0), processes))
    return lambda count: [next(steps) for _ in range(count)]


def measure_steps(folder):
    """The time of a step in blocks that take turns, in µs: processor time of this process, and by the clock."""
    processes, results = join(), {}
    for size, widths in WIDTHS.items():
        for kind in ("DDP", "FSDP2"):
            is_sharded = kind == "FSDP2"
            theirs, ours = (sharded, sharded) if is_sharded else (DistributedDataParallel, lambda model: model)
            takes = {"theirs": plain_steps(theirs(network(widths)), is_sharded)}
            takes["ours"] = our_steps(ours(network(widths)), processes)
            times = {name: [] for name in takes}
            for block in range(BLOCKS):
                for name, take in takes.items():
                    dist.barrier()
                    start = time.process_time(), time.perf_counter()
                    take(STEPS)
                    used = time.process_time() - start[0], time.perf_counter() - start[1]
                    times[name] += [[1e6 * s / STEPS for s in used]] if block > 2 else []
            results[f"{kind}, {size}"] = times
    if processes.is_first:
        (folder / "steps.json").write_text(json.dumps(results))


def train_until_killed(folder):
    """The run that torchrun starts again after each kill, and at the end one that nobody killed."""
    rank, restart = int(os.environ["RANK"]), int(os.environ["TORCHELASTIC_RESTART_COUNT"])
    chance, calls = random.Random(restart), []
    own, last = chance.randrange(2), chance.randint(1, MAX_STEPS_TO_KILL) if restart < KILLS else None

    def kill(batch, generator):
        calls.append(1)
        if rank == own and len(calls) == last:
            os.kill(os.getpid(), signal.SIGKILL)
        return batch

    def fit(name, augment=None, resume=None):
        task = sd.Task(network((64, 128), 0.2), data(), cross_entropy, augment=augment or (lambda batch, g: batch))
        more = {"steps": 400, "checkpoint_every": 5, "measure_every": 100, "average": 0.9, "locate": False}
        return sd.fit(task, "adamw", 1e-3, "cosine", BATCH, **more, runs=folder / "runs", name=name, resume=resume)

    run, twin = fit("killed", kill, "auto"), fit("twin")
    weights = [list(r.model.state_dict().values()) for r in (run, twin)]
    same = all(map(torch.equal, *weights)) and run.losses.tolist() == twin.losses.tolist()
    if rank == 0:
        (folder / "kills.json").write_text(json.dumps({"kills": restart, "same": same, "steps": len(run.losses)}))


def torchrun(what, folder, restarts=0):
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--max-restarts", str(restarts)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.getcwd()}
    command += ["--module", "benchmarks.speed.processes", what, folder]
    subprocess.run(command, env=environment, stderr=subprocess.DEVNULL, check=True)
    return json.loads((Path(folder) / f"{what}.json").read_text())


def measure():
    with tempfile.TemporaryDirectory() as folder:
        results, kills = torchrun("steps", folder), torchrun("kills", folder, KILLS)
    rows = []
    for kind, times in results.items():
        theirs, ours = ([median(column) for column in zip(*times[name])] for name in ("theirs", "ours"))
        pairs = [(f"{a:,.0f}", f"{b:,.0f}", f"{b / a:.2f}") for a, b in zip(theirs, ours)]
        rows.append([kind, *pairs[0], *pairs[1]])
    head = ["model", "plain, CPU µs", "ours", "ratio", "plain, µs by the clock", "ours", "ratio"]
    words = f"the run was {'' if kills['same'] else 'not '}bit-equal to one that nobody killed"
    return [*table(head, rows), "", f"After {kills['kills']} kills of one process at random {words}."]


if __name__ == "__main__":
    {"steps": measure_steps, "kills": train_until_killed}[sys.argv[1]](Path(sys.argv[2]))
