"""Runs that are killed at random moments and resumed, compared bit for bit with a run that was not killed."""

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy

import steepest as sd
from benchmarks.report import table, yes
from steepest.descent.loop import Descent
from steepest.runs.store import checkpoints, weights
from steepest.runs.trainer import Trainer

TITLE = "Killed and resumed"

RUNS = int(os.environ.get("KILLS", "100"))
AGAIN = 1 / 3
"""Probability that a resumed run is killed again."""
AIM_SHARE = 0.2
"""Share of the kills that are aimed at a checkpoint's write, and as many at the steps after a rewind: a random time
seldom falls there."""
AT_ONCE, LIMIT_S = 2, 120.0
STEPS, EVERY, SNAPSHOTS, NEAR = 200, 15, 20, 12
NO_RECORD, NO_CHECKPOINT, CHECKPOINT, REWIND, ELSEWHERE = PLACES = (
    "before the run's record",
    "before the first checkpoint",
    "in a checkpoint's write",
    "in the steps after a rewind",
    "elsewhere",
)


# -- The child ---------------------------------------------------------------------------------------------------------


def network(seed: int) -> nn.Module:
    """Dense, with BatchNorm's buffers and random dropout."""
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.1), nn.Linear(16, 3))


def task() -> sd.Task:
    """Three linearly separable classes."""
    g = torch.Generator().manual_seed(0)
    x = torch.randn(480, 8, generator=g)
    y = (x @ torch.randn(8, 3, generator=g)).argmax(1)
    splits = {"validation": (x[400:440], y[400:440]), "test": (x[440:], y[440:])}
    metrics = {"accuracy": sd.accuracy}
    return sd.Task(network, (x[:400], y[:400]), cross_entropy, metrics=metrics, name="killed", **splits)


def train(runs: str, aim: str, after: int) -> None:
    """Prints a line, then starts or resumes the run; kills itself at the n-th call of a function if asked to.

    Args:
        runs: the folder.
        aim: "sync" (a file is flushed to disk), "step" (a step after a rewind), or "" for none.
        after: n.
    """
    if aim == "sync":
        _kill_in(weights, "sync", after)
    elif aim == "step":
        on_event = Trainer._on_event

        def kill_after_rewind(training: Trainer, event: Any) -> None:
            on_event(training, event)
            if event.kind == "rewind":
                _kill_in(Descent, "measure_step", after)

        Trainer._on_event = kill_after_rewind
    print("begins", flush=True)
    if _run(Path(runs)) is not None:
        sd.fit(task(), resume="killed", runs=runs)
        return
    sd.fit(
        task(), "momentum", 0.02, "step(80, gamma=300)", batch_size=20, steps=STEPS, runs=runs, average=0.9,
        guard=sd.Guard(snapshot_every=SNAPSHOTS), checkpoint_every=EVERY,
    )  # fmt: skip


def _kill_in(owner: Any, name: str, n: int) -> None:
    """Makes the n-th call of a function kill the process."""
    function, calls = getattr(owner, name), []

    def count(*args: Any) -> Any:
        calls.append(1)
        if len(calls) == n:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*args)

    setattr(owner, name, count)


# -- The parent --------------------------------------------------------------------------------------------------------


class Case(NamedTuple):
    """One run: where it was killed, what differs from the twin, and whether its database is sound."""

    kills: list[str]
    differs: list[str]
    sound: bool


def measure() -> list[str]:
    """Lines of the report."""
    with tempfile.TemporaryDirectory() as folder:
        twin_at = Path(folder, "twin")
        seconds = _child(twin_at)
        twin = sd.open("killed", twin_at)
        with ThreadPoolExecutor(AT_ONCE) as pool:
            cases = list(pool.map(partial(_case, Path(folder), seconds, twin), range(RUNS)))
    rewinds = sum(e.kind == "rewind" for e in twin.events)
    equal = sum(not case.differs for case in cases)
    where = Counter(kill for case in cases for kill in case.kills)
    often = Counter(len(case.kills) for case in cases)
    differences = Counter(what for case in cases for what in case.differs)
    how = (
        f"{RUNS} runs of {STEPS} steps (dense network with BatchNorm and dropout, running average, lr × 300 from step "
        f"81, {rewinds} rewind; a checkpoint every {EVERY} steps, a snapshot every {SNAPSHOTS}). Each is killed by "
        f"SIGKILL at a uniformly random time of the {seconds:.1f} s that it trains; {AIM_SHARE:.0%} of the kills are "
        f"aimed at a checkpoint's write and {AIM_SHARE:.0%} at the {NEAR} steps after a rewind. It is resumed, killed "
        "again with probability 1/3, and so on. Weights, all columns of all steps, measurements and events are "
        "compared bit for bit with those of a twin that was not killed."
    )
    sound = sum(case.sound for case in cases)
    counts = {"equal to the twin": equal, "databases sound (`PRAGMA integrity_check`)": sound}
    rows = [[what, f"{n} of {RUNS}", f"{RUNS} of {RUNS}", yes(n == RUNS)] for what, n in counts.items()]
    fell = ", ".join(f"{name} {where[name]}" for name in PLACES)
    times = ", ".join(f"{n} {'time' if n == 1 else 'times'}: {often[n]}" for n in sorted(often))
    lines = [how, "", *table(("what", "runs", "target", "met"), rows), ""]
    lines += [f"Where the {sum(where.values())} kills fell: {fell}. Runs killed {times}."]
    if differences:
        lines.append("Differences: " + ", ".join(f"{what} in {n}" for what, n in differences.items()) + ".")
    return lines


def _case(folder: Path, seconds: float, twin: sd.Run, number: int) -> Case:
    """Kills and resumes a run, and compares it with the twin."""
    runs, draw, kills = folder / str(number), random.Random(number), []
    while not kills or draw.random() < AGAIN:
        aim = _kill(runs, seconds, draw)
        if _is_done(runs):  # before the kill
            break
        kills.append(REWIND if aim == "step" else _where(runs))
    if not kills:  # another run takes its place
        return _case(folder, seconds, twin, number + RUNS)
    if not _is_done(runs):
        _child(runs)
    with closing(sqlite3.connect(runs / "runs.db")) as database:
        sound = database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    return Case(kills, differences(sd.open("killed", runs), twin), sound)


def _kill(runs: Path, seconds: float, draw: random.Random) -> str:
    """Trains and kills once; returns what the kill was aimed at."""
    kind = draw.random()
    if kind < AIM_SHARE:
        aim, after = "sync", draw.randint(1, 60)
    elif kind < 2 * AIM_SHARE:
        aim, after = "step", draw.randint(1, NEAR)
    else:
        aim, after = "", 0
    with _start(runs, aim, after) as process:
        wait = LIMIT_S if aim else draw.uniform(0, seconds)
        try:
            process.wait(wait)
        except subprocess.TimeoutExpired:
            process.kill()
        _, errors = process.communicate()
    if process.returncode not in (0, -signal.SIGKILL):
        raise RuntimeError(errors)
    return aim


def _child(runs: Path) -> float:
    """Trains to the end; returns the seconds that it took."""
    with _start(runs, "", 0) as process:
        start = time.perf_counter()
        _, errors = process.communicate(timeout=LIMIT_S)
    if process.returncode:
        raise RuntimeError(errors)
    return time.perf_counter() - start


def _start(runs: Path, aim: str, after: int) -> subprocess.Popen:
    """A child that is about to train."""
    code = f"from benchmarks.guard.kills import train; train({str(runs)!r}, {aim!r}, {after})"
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert process.stdout is not None
    process.stdout.readline()
    return process


def _run(runs: Path) -> sd.Run | None:
    try:
        return sd.open("killed", runs)
    except sd.StoreError:
        return None


def _is_done(runs: Path) -> bool:
    run = _run(runs)
    return run is not None and run.status == "done"


def _where(runs: Path) -> str:
    """Where a kill fell, by the files it left; a rewind of the last half second is not on disk yet."""
    run = _run(runs)
    if run is None:
        return NO_RECORD
    folder = runs / run.id / "checkpoints"
    if list(folder.glob(".*.tmp")):
        return CHECKPOINT
    complete = checkpoints.folders(folder)
    if not complete:
        return NO_CHECKPOINT
    with closing(sqlite3.connect(runs / "runs.db")) as database:
        (rewinds,) = database.execute("SELECT COUNT(*) FROM events WHERE kind='rewind'").fetchone()
    attempt = json.loads((complete[-1] / checkpoints.MANIFEST).read_text(encoding="utf-8"))["attempt"]
    return REWIND if rewinds > attempt else ELSEWHERE


def differences(run: sd.Run, twin: sd.Run, more: Mapping[str, Callable[[], bool]] | None = None) -> list[str]:
    """Parts of two runs that are not the same bit for bit.

    Args:
        run, twin: that are compared.
        more: whether further parts are the same, or these ones by another measure, by name.
    """
    own, its = vars(run.record.steps), vars(twin.record.steps)
    same: dict[str, Callable[[], bool]] = {
        "status": lambda: run.status == twin.status,
        "weights": lambda: run.point.numpy().tobytes() == twin.point.numpy().tobytes(),
        "steps": lambda: all(np.array_equal(own[k], its[k], equal_nan=True) for k in its),
        "measurements": lambda: run.metrics == twin.metrics,
        "events": lambda: run.events == twin.events,
        **(more or {}),
    }
    return [what for what, is_same in same.items() if not is_same()]
