"""One run on two gloo processes: losses beside one process's, steps beside plain DDP's and FSDP2's, other numbers of
processes, checkpoints in the background, and kills of one process at random.

This file is also what torchrun starts: `… -m benchmarks.speed.processes steps FOLDER`.
"""

import hashlib
import json
import math
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from itertools import chain
from pathlib import Path
from statistics import median

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.functional import cross_entropy
from torch.nn.parallel import DistributedDataParallel

import steepest as sd
from benchmarks.report import table, yes
from steepest.descent.loop import Descent
from steepest.descent.settings import resolve
from steepest.distributed.group import join
from steepest.runs.store import checkpoints

TITLE = "Two processes"
WIDTHS = {"26 thousand": (64, 128, 128), "1 million": (64, 970, 970)}
LARGE = (64, 2800, 2800)
"""Of a network with 8 million weights."""
BATCH, SAMPLES, STEPS, BLOCKS = 64, 4096, 10, 20
ODD_BATCH, COMPARED_STEPS, MOVE_AT = 65, 100, 40
"""A batch that the processes cannot halve, and the step after which a run moves to another number of processes."""
KINDS, DTYPES, COUNTS, WRITES = ("DDP", "FSDP2"), ("float32", "float64"), (1, 4), 5
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


def plain_steps(model, is_sharded, reads_numbers=False):
    """Takes so many steps of the least loop: torch's fastest AdamW, and the loss read at each step.

    With `reads_numbers` it reads what our record has: the loss and the gradient's norm of all processes.
    """
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=not is_sharded, foreach=is_sharded or None)
    (x, y), rank, half = data(), dist.get_rank(), BATCH // 2
    order = iter(torch.randperm(SAMPLES).repeat(1000).split(BATCH))

    def take(steps):
        for _ in range(steps):
            rows = next(order)[rank * half : (rank + 1) * half]
            optimizer.zero_grad()
            loss = cross_entropy(model(x[rows]), y[rows])
            loss.backward()
            if reads_numbers:
                norm = nn.utils.clip_grad_norm_(model.parameters(), math.inf)
                (norm.full_tensor() if is_sharded else norm).item()
                dist.all_reduce(loss.detach_())
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
            takes["with numbers"] = plain_steps(theirs(network(widths)), is_sharded, reads_numbers=True)
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


# -- Losses, and other numbers of processes ----------------------------------------------------------------------------


def fit(kind, runs, dtype=torch.float32, augment=None, **more):
    """The run whose losses are compared; `kind` is "one" for one process without shards."""
    x, y = data()
    model = network(WIDTHS["26 thousand"]).to(dtype)
    task = sd.Task(sharded(model) if kind == "FSDP2" else model, (x.to(dtype), y), cross_entropy, augment=augment)
    more = {"steps": COMPARED_STEPS, "locate": False, **more}
    return sd.fit(task, "adamw", 1e-3, "cosine", ODD_BATCH, **more, runs=runs)


def train_losses(folder):
    """Losses of the same run by kind and dtype."""
    losses = {}
    for kind in KINDS:
        for dtype in DTYPES:
            losses[f"{kind}, {dtype}"] = fit(kind, folder / "runs", getattr(torch, dtype)).losses.tolist()
    if dist.get_rank() == 0:
        (folder / "losses.json").write_text(json.dumps(losses))


def train_and_move(folder):
    """The first part of a run, which a signal ends, or the rest of it; each process writes which samples it saw."""
    rank, seen = int(os.environ["RANK"]), []
    is_rest = (folder / "moves").exists()

    def look(batch, generator):
        seen.append(batch[0].sum(1).tolist())
        if not is_rest and rank == 1 and len(seen) == MOVE_AT:
            os.kill(os.getpid(), signal.SIGTERM)
        return batch

    results = {}
    for kind in KINDS:
        seen.clear()
        own = "one" if os.environ["WORLD_SIZE"] == "1" else kind
        try:
            losses = fit(own, folder / "runs", augment=look, name=kind, resume="auto").losses.tolist()
        except SystemExit:
            losses = []
        results[kind] = {"samples": list(seen), "losses": losses}
    (folder / f"{'rest' if is_rest else 'first'}-{rank}.json").write_text(json.dumps(results))
    if rank == 0:
        (folder / "moves.json").write_text(json.dumps(results))


def samples(folder, part, count, kind):
    """The samples of each step, in the order of the processes."""
    ranks = [json.loads((folder / f"{part}-{rank}.json").read_text())[kind]["samples"] for rank in range(count)]
    return [list(chain(*parts)) for parts in zip(*ranks, strict=True)]


def order(steps):
    return hashlib.sha256(repr(steps).encode()).hexdigest()[:12]


def move(folder):
    """Rows: for each kind and number of processes the order of samples, and the largest difference of losses."""
    first = folder / "first"
    first.mkdir()
    torchrun("moves", first)
    seen = []
    twin = fit("one", folder / "one", augment=lambda batch, g: (seen.append(batch[0].sum(1).tolist()), batch)[1])
    rows = []
    for count in COUNTS:
        place = folder / f"to {count}"
        shutil.copytree(first, place)
        (place / "moves").touch()
        rest = torchrun("moves", place, processes=count)
        for kind in KINDS:
            steps = samples(place, "first", 2, kind) + samples(place, "rest", count, kind)
            gap = difference(rest[kind]["losses"], twin.losses.tolist())
            rows.append([f"2 → {count}, {kind}", yes(order(steps) == order(seen)), f"{gap:.0e}"])
    return rows


def difference(losses, others):
    """The largest relative difference."""
    return max(abs(a - b) / abs(b) for a, b in zip(losses, others, strict=True))


# -- Checkpoints -------------------------------------------------------------------------------------------------------


def measure_checkpoints(folder):
    """How long a step waits for a checkpoint of shards, how long it is written, and how slow steps are meanwhile."""
    processes = join()
    rows = [
        [size, *checkpoint_times(folder / size, w, processes)] for size, w in {**WIDTHS, "8 million": LARGE}.items()
    ]
    if processes.is_first:
        (folder / "checkpoints.json").write_text(json.dumps(rows))


def checkpoint_times(folder, widths, processes):
    """Medians in ms: a checkpoint that all wait for, what a step waits for one in the background, and so on; its MB."""
    task = sd.Task(sharded(network(widths)), data(), cross_entropy)
    settings = resolve(task, "constant", rule="adamw", lr=1e-3, batch_size=BATCH, steps=10**6, guard=True)
    descent = Descent(task, settings, task.build(0), processes)
    steps, identity = iter(descent), {"t": 0, "attempt": 0, "events": 0, "model": "", "data": ""}

    def step():
        return timed(lambda: next(steps))

    def begin():
        recovery = descent.recovery
        state = {"descent": descent.state(), "recovery": recovery and recovery.state()}
        return checkpoints.begin_together(folder, state, identity, processes, descent.model)

    usual = [step() for _ in range(30)][10:]
    at_once, waits, writes, meanwhile = [], [], [], []
    for _ in range(WRITES):
        dist.barrier()
        at_once.append(timed(lambda: begin().error()))
        dist.barrier()
        start = time.perf_counter()
        background = begin()
        waits.append(time.perf_counter() - start)
        while not processes.least(float(background.is_done)):
            meanwhile.append(step())
        writes.append(time.perf_counter() - start)
    dist.barrier()
    size = sum(f.stat().st_size for f in checkpoints.folders(folder)[-1].rglob("*") if f.is_file())
    return [*(1e3 * median(x) for x in (at_once, waits, writes, usual, meanwhile or usual)), size / 1e6]


def timed(call):
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


# -- Kills -------------------------------------------------------------------------------------------------------------


def train_until_killed(folder, kind="DDP"):
    """The run that torchrun starts again after each kill, and at the end one that nobody killed."""
    rank, restart = int(os.environ["RANK"]), int(os.environ["TORCHELASTIC_RESTART_COUNT"])
    chance, calls = random.Random(restart), []
    own, last = chance.randrange(2), chance.randint(1, MAX_STEPS_TO_KILL) if restart < KILLS else None
    join()

    def kill(batch, generator):
        calls.append(1)
        if rank == own and len(calls) == last:
            os.kill(os.getpid(), signal.SIGKILL)
        return batch

    def train(name, augment=None, resume=None):
        model = network((64, 128), 0.2)
        model = sharded(model) if kind == "FSDP2" else model
        task = sd.Task(model, data(), cross_entropy, augment=augment or (lambda batch, g: batch))
        more = {"steps": 400, "checkpoint_every": 5, "measure_every": 100, "average": 0.9, "locate": False}
        return sd.fit(task, "adamw", 1e-3, "cosine", BATCH, **more, runs=folder / "runs", name=name, resume=resume)

    run, twin = train("killed", kill, "auto"), train("twin")
    weights = [[whole(x) for x in r.model.state_dict().values()] for r in (run, twin)]
    same = all(map(torch.equal, *weights)) and run.losses.tolist() == twin.losses.tolist()
    if rank == 0:
        (folder / "kills.json").write_text(json.dumps({"kills": restart, "same": same, "steps": len(run.losses)}))


def whole(x):
    return x.full_tensor() if hasattr(x, "full_tensor") else x


# -- The parent --------------------------------------------------------------------------------------------------------


def torchrun(what, folder, restarts=0, processes=2, kind="DDP"):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.getcwd()}
    command += ["--max-restarts", str(restarts), "--module", "benchmarks.speed.processes", what, str(folder), kind]
    subprocess.run(command, env=environment, stderr=subprocess.DEVNULL, check=True)
    return json.loads((Path(folder) / f"{what}.json").read_text())


def loss_lines(folder):
    together = torchrun("losses", folder)
    alone = {d: fit("one", folder / "alone", getattr(torch, d)).losses.tolist() for d in DTYPES}
    rows = [[name, f"{difference(losses, alone[name.partition(', ')[2]]):.0e}"] for name, losses in together.items()]
    words = f"Losses of {COMPARED_STEPS} steps beside those of one process, batches of {ODD_BATCH} (33 and 32)."
    return [words, "", *table(["two processes", "largest relative difference"], rows), ""]


def step_lines(folder):
    rows = []
    for kind, times in torchrun("steps", folder).items():
        theirs, reads, ours = (
            [median(column) for column in zip(*times[name])] for name in ("theirs", "with numbers", "ours")
        )
        pairs = [(f"{a:,.0f}", f"{b:,.0f}", f"{b / a:.2f}") for a, b in zip(theirs, ours)]
        rows.append([kind, *pairs[0], *pairs[1], f"{ours[1] / reads[1]:.2f}"])
    head = ["model", "plain, CPU µs", "ours", "ratio", "plain, µs by the clock", "ours", "ratio", "ratio to the second"]
    words = (
        f"A step, medians of {BLOCKS - 3} blocks that take turns; goal 1.03 ×. The second plain loop reads what a "
        "record has: the loss and the gradient's norm of all processes."
    )
    return [words, "", *table(head, rows), ""]


def checkpoint_lines(folder):
    rows = [
        [size, f"{mb:,.1f}", *(f"{x:,.1f}" for x in figures)]
        for size, *figures, mb in torchrun("checkpoints", folder)
    ]  # fmt: skip
    head = [
        "FSDP2, weights", "MB", "written at once, ms", "a step waits, ms", "written in the background, ms",
        "a step, ms", "meanwhile",
    ]  # fmt: skip
    return [f"Checkpoints, medians of {WRITES}.", "", *table(head, rows), ""]


def kill_lines(folder):
    lines = []
    for kind in KINDS:
        place = folder / kind
        place.mkdir()
        seen = torchrun("kills", place, KILLS, kind=kind)
        words = f"the run was {'' if seen['same'] else 'not '}bit-equal to one that nobody killed"
        lines.append(f"{kind}: after {seen['kills']} kills of one process at random {words}.")
    return lines


def measure():
    torch.set_num_threads(1)
    lines = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        lines += [*loss_lines(folder), *step_lines(folder)]
        head = ["a run that moves", "same samples in the same order", "largest relative difference of losses"]
        lines += [*table(head, move(folder)), "", *checkpoint_lines(folder), *kill_lines(folder)]
    return lines


PARTS = {
    "steps": measure_steps, "losses": train_losses, "moves": train_and_move, "checkpoints": measure_checkpoints,
    "kills": train_until_killed,
}  # fmt: skip

if __name__ == "__main__":
    what, place, kind = sys.argv[1:]
    PARTS[what](*(Path(place), kind)[: 2 if what == "kills" else 1])
