"""Runs that are killed at random moments and resumed, against the twin that nobody killed: bit for bit."""

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
from collections.abc import Callable
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
from benchmarks.report import table
from steepest.descent.loop import Descent
from steepest.runs.store import checkpoints, weights
from steepest.runs.trainer import Trainer

TITLE = "Killed and resumed"

RUNS = int(os.environ.get("KILLS", "100"))
AGAIN = 1 / 3
"""Probability that a run that goes on is killed again."""
AIMED = 0.2
"""Share of the kills that are aimed into a checkpoint's write, and again so many at the steps after a rewind: a time
drawn at random seldom falls there."""
AT_ONCE, LIMIT_S = 2, 120.0
STEPS, EVERY, SNAPSHOTS, NEAR = 200, 15, 20, 12
NOT_BEGUN, EARLY, WRITING, REWOUND, ELSEWHERE = (
    "before its record began",
    "before the first checkpoint",
    "in a checkpoint's write",
    "in the steps after a rewind",
    "elsewhere",
)


# -- The child ---------------------------------------------------------------------------------------------------------


def network(seed: int) -> nn.Module:
    """Dense, with state beside its weights and randomness in its steps."""
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.1), nn.Linear(16, 3))


def task() -> sd.Task:
    """Three classes that a linear map tells apart."""
    g = torch.Generator().manual_seed(0)
    x = torch.randn(480, 8, generator=g)
    y = (x @ torch.randn(8, 3, generator=g)).argmax(1)
    splits = {"validation": (x[400:440], y[400:440]), "test": (x[440:], y[440:])}
    metrics = {"accuracy": sd.accuracy}
    return sd.Task(network, (x[:400], y[:400]), cross_entropy, metrics=metrics, name="killed", **splits)


def train(runs: str, aim: str, after: int) -> None:
    """Begins the run or goes on with it; says so first; dies where it is aimed at.

    Args:
        runs: the folder.
        aim: "sync", "step" (of those after a rewind), or "" for none.
        after: so many of these.
    """
    if aim == "sync":
        _dies_in(weights, "sync", after)
    elif aim == "step":
        happened = Trainer._happened

        def rewound(training: Trainer, event: Any) -> None:
            happened(training, event)
            if event.kind == "rewind":
                _dies_in(Descent, "step", after)

        Trainer._happened = rewound
    print("begins", flush=True)
    if _run(Path(runs)) is not None:
        sd.fit(task(), resume="killed", runs=runs)
        return
    sd.fit(
        task(), "momentum", 0.02, "step(80, gamma=300)", batch_size=20, steps=STEPS, runs=runs, average=0.9,
        guard=sd.Guard(snapshot_every=SNAPSHOTS), checkpoint_every=EVERY,
    )  # fmt: skip


def _dies_in(owner: Any, name: str, n: int) -> None:
    """Has the n-th call of a function kill the process."""
    function, calls = getattr(owner, name), []

    def counted(*args: Any) -> Any:
        calls.append(1)
        if len(calls) == n:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*args)

    setattr(owner, name, counted)


# -- The parent --------------------------------------------------------------------------------------------------------


class Case(NamedTuple):
    """What became of one run."""

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
    differing = Counter(what for case in cases for what in case.differs)
    how = (
        f"{RUNS} runs of {STEPS} steps (dense network with BatchNorm and dropout, running average, a rate × 300 at "
        f"step 81, {rewinds} rewind; a checkpoint every {EVERY} steps, a snapshot every {SNAPSHOTS}), each killed by "
        f"SIGKILL at a time uniform over the {seconds:.1f} s that it trains; {AIMED:.0%} of the kills are aimed at a "
        f"checkpoint's write and {AIMED:.0%} at the {NEAR} steps after a rewind. Resumed; killed again with "
        "probability 1/3, and so on. Weights, all columns of all steps, measurements and events are compared with "
        "those of the twin that nobody killed, bit for bit."
    )
    rows = [
        ["equal to the twin", f"{equal} of {RUNS}", f"{RUNS} of {RUNS}", "yes" if equal == RUNS else "no"],
        ["databases sound (`PRAGMA integrity_check`)", f"{sum(c.sound for c in cases)} of {RUNS}", f"{RUNS} of {RUNS}",
         "yes" if all(c.sound for c in cases) else "no"],
    ]  # fmt: skip
    fell = ", ".join(f"{name} {where[name]}" for name in (NOT_BEGUN, EARLY, WRITING, REWOUND, ELSEWHERE))
    times = ", ".join(f"{n} {'time' if n == 1 else 'times'}: {often[n]}" for n in sorted(often))
    lines = [how, "", *table(("what", "found", "target", "met"), rows), ""]
    lines += [f"Where the {sum(where.values())} kills fell: {fell}. Runs that were killed {times}."]
    if differing:
        lines.append("What differed: " + ", ".join(f"{what} in {n}" for what, n in differing.items()) + ".")
    return lines


def _case(folder: Path, seconds: float, twin: sd.Run, number: int) -> Case:
    """Kills, goes on, and compares."""
    runs, draw, kills = folder / str(number), random.Random(number), []
    while not kills or draw.random() < AGAIN:
        aim = _killed(runs, seconds, draw)
        if _is_done(runs):  # before its time came
            break
        kills.append(REWOUND if aim == "step" else _where(runs))
    if not kills:
        return _case_again(folder, seconds, twin, number)
    if not _is_done(runs):
        _child(runs)
    with closing(sqlite3.connect(runs / "runs.db")) as database:
        sound = database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    return Case(kills, _differing(sd.open("killed", runs), twin), sound)


def _case_again(folder: Path, seconds: float, twin: sd.Run, number: int) -> Case:
    """A run that ended before its time came is another one's turn."""
    return _case(folder, seconds, twin, number + RUNS)


def _killed(runs: Path, seconds: float, draw: random.Random) -> str:
    """Trains and kills once; gives what the kill was aimed at."""
    kind = draw.random()
    if kind < AIMED:
        aim, after = "sync", draw.randint(1, 60)
    elif kind < 2 * AIMED:
        aim, after = "step", draw.randint(1, NEAR)
    else:
        aim, after = "", 0
    with _started(runs, aim, after) as process:
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
    """Trains to the end; seconds from its beginning."""
    with _started(runs, "", 0) as process:
        began = time.perf_counter()
        _, errors = process.communicate(timeout=LIMIT_S)
    if process.returncode:
        raise RuntimeError(errors)
    return time.perf_counter() - began


def _started(runs: Path, aim: str, after: int) -> subprocess.Popen:
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
    """Where a kill fell, by what it has left; a rewind of the last half second is not on disk yet."""
    run = _run(runs)
    if run is None:
        return NOT_BEGUN
    folder = runs / run.id / "checkpoints"
    if list(folder.glob(".*.tmp")):
        return WRITING
    stored = checkpoints.folders(folder)
    if not stored:
        return EARLY
    with closing(sqlite3.connect(runs / "runs.db")) as database:
        recorded = database.execute("SELECT COUNT(*) FROM events WHERE kind='rewind'").fetchone()[0]
    attempt = json.loads((stored[-1] / checkpoints.MANIFEST).read_text())["attempt"]
    return REWOUND if recorded > attempt else ELSEWHERE


def _differing(run: sd.Run, twin: sd.Run) -> list[str]:
    """What of two runs is not the same, bit for bit."""
    own, its = vars(run.record.steps), vars(twin.record.steps)
    same: dict[str, Callable[[], bool]] = {
        "status": lambda: run.status == twin.status,
        "weights": lambda: run.point.numpy().tobytes() == twin.point.numpy().tobytes(),
        "steps": lambda: all(np.array_equal(own[k], its[k], equal_nan=True) for k in its),
        "measurements": lambda: run.metrics == twin.metrics,
        "events": lambda: run.events == twin.events,
    }
    return [what for what, is_same in same.items() if not is_same()]
