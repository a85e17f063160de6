"""Watched loops whose scripts are killed at random moments and started again, compared with one that was not killed."""

import multiprocessing
import os
import random
import signal
import sqlite3
import tempfile
import time
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy

import steepest as sd
from benchmarks.guard.kills import differences
from benchmarks.report import table, yes
from steepest.integrations.loop_record import NOTE
from steepest.runs.store import Store

TITLE = "Watched loops, killed and started again"

RUNS = int(os.environ.get("KILLS", "50"))
STEPS, EVERY, MEASURE = 600, 45, 50
BAD = (37, 211, 402, 403)
"""Batches with a NaN, whose steps the guard skips."""
AGAIN = 0.5
"""Probability that a script that was started again is killed again."""
BEFORE, AFTER, WRITE = AIMS = ("before a step", "after a step", "while the script writes its checkpoint")
TIME = "at a random time"


# -- The script --------------------------------------------------------------------------------------------------------


def script(folder: Path, aim: str = "", at: int = 0) -> None:
    """Trains, saves its own state every 45 steps, and restores it where there is one; `sd.watch` is all that is ours.

    Args:
        folder: of the runs, and of the script's checkpoint.
        aim: where it kills itself; empty for nowhere.
        at: the step at which it does.
    """
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 3))
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
    parts, file, first = {"model": model, "optimizer": optimizer, "scheduler": scheduler}, folder / "mine.pt", 1
    if file.exists():
        state = torch.load(file)
        first = state.pop("t") + 1
        for name, part in parts.items():
            part.load_state_dict(state[name])
    teacher = torch.randn(8, 3, generator=torch.Generator().manual_seed(1))
    with sd.watch(model, optimizer, scheduler=scheduler, runs=folder / "runs", name="killed") as run:
        for t in range(first, STEPS + 1):
            x = torch.randn(32, 8, generator=torch.Generator().manual_seed(t))
            optimizer.zero_grad()
            loss = cross_entropy(model(x * np.nan if t in BAD else x), (x @ teacher).argmax(1))
            loss.backward()
            _die_if(aim == BEFORE and t == at)
            run.step(loss)
            scheduler.step()
            _die_if(aim == AFTER and t == at)
            if t % MEASURE == 0:
                run.measure({"accuracy": float(loss.detach())})
            if t % EVERY == 0:
                torch.save({"t": t} | {name: part.state_dict() for name, part in parts.items()}, folder / "new.pt")
                _die_if(aim == WRITE and t >= at)
                (folder / "new.pt").replace(file)


def _die_if(is_time: bool) -> None:
    if is_time:
        os.kill(os.getpid(), signal.SIGKILL)


# -- The parent --------------------------------------------------------------------------------------------------------


class Case(NamedTuple):
    """One script: where it was killed, what differs from the twin, and the runs in its store."""

    kills: list[str]
    differs: list[str]
    runs: int
    is_sound: bool


def measure() -> list[str]:
    """Lines of the report."""
    with tempfile.TemporaryDirectory() as folder:
        script(Path(folder))  # imports what each process would import
        twin_at = Path(folder, "twin")
        seconds = _start(twin_at)
        twin = sd.open("killed", twin_at / "runs")
        cases = [_case(Path(folder, str(number)), seconds, twin, number) for number in range(RUNS)]
    counts = {
        "one run in the store": sum(case.runs == 1 for case in cases),
        "nothing twice, nothing lost, equal to the twin": sum(not case.differs for case in cases),
        "databases sound (`PRAGMA integrity_check`)": sum(case.is_sound for case in cases),
    }
    rows = [[what, f"{n} of {RUNS}", f"{RUNS} of {RUNS}", yes(n == RUNS)] for what, n in counts.items()]
    kills = Counter(kill for case in cases for kill in case.kills)
    often = Counter(len(case.kills) for case in cases)
    how = (
        f"{RUNS} scripts with a plain loop of {STEPS} steps under `sd.watch(..., name=…)` (BatchNorm, AdamW, cosine; "
        f"{len(BAD)} batches have a NaN), which save their state every {EVERY} steps and restore it. Each is killed by "
        f"SIGKILL, started again, killed again with probability {AGAIN:g}, and so on. Weights, all columns of all "
        "steps, measurements, events and the path are compared bit for bit with those of a twin that was not killed; "
        "where the script began at step 1 again, with what it did since."
    )
    fell = ", ".join(f"{place} {kills[place]}" for place in (TIME, *AIMS))
    times = ", ".join(f"{n} {'time' if n == 1 else 'times'}: {often[n]}" for n in sorted(often))
    lines = [how, "", *table(("what", "scripts", "target", "met"), rows), ""]
    lines += [f"The {sum(kills.values())} kills: {fell}. Scripts killed {times}."]
    differences = Counter(what for case in cases for what in case.differs)
    if differences:
        lines.append("Differences: " + ", ".join(f"{what} in {n}" for what, n in differences.items()) + ".")
    return lines


def _start(folder: Path, aim: str = "", at: int = 0, kill_after: float | None = None) -> float:
    """Runs the script in a process of its own; returns the seconds that it took.

    Raises:
        RuntimeError: it neither ended nor was killed.
    """
    folder.mkdir(exist_ok=True)
    start = time.perf_counter()
    process = multiprocessing.get_context("fork").Process(target=_child, args=(folder, aim, at))
    process.start()
    process.join(kill_after)
    process.kill()
    process.join()
    if process.exitcode not in (0, -signal.SIGKILL):
        raise RuntimeError(f"The script failed in {folder}.")
    return time.perf_counter() - start


def _child(folder: Path, aim: str, at: int) -> None:
    """The script, which tells what it does to a file."""
    with (folder / "log").open("a") as log:
        os.dup2(log.fileno(), 2)
        script(folder, aim, at)


def _case(folder: Path, seconds: float, twin: sd.Run, number: int) -> Case:
    """Kills a script and starts it again, and compares its run with the twin."""
    draw, kills = random.Random(number), []
    while not kills or draw.random() < AGAIN:
        aim = draw.choice((TIME, TIME, *AIMS))
        last = STEPS - STEPS % EVERY if aim == WRITE else STEPS
        if aim == TIME:
            _start(folder, kill_after=draw.uniform(0, seconds))
        else:
            _start(folder, aim, draw.randint(1, last))
        if _is_done(folder):
            break
        kills.append(aim)
    if not _is_done(folder):
        _start(folder)
    with closing(sqlite3.connect(folder / "runs" / "runs.db")) as database:
        is_sound = database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    run = sd.open("killed", folder / "runs")
    more = {
        "events": lambda: _current_events(run) == _current_events(twin),
        "path": lambda: _path(run) == _path(twin),
    }
    return Case(kills, differences(run, twin, more), len(Store(folder / "runs").runs()), is_sound)


def _is_done(folder: Path) -> bool:
    return any(record.status == "done" for record in Store(folder / "runs").runs())


def _current_events(run: sd.Run) -> list[sd.Event]:
    """The events since the script last began at step 1."""
    begins = [n for n, event in enumerate(run.events) if event.kind == NOTE]
    return list(run.events[begins[-1] + 1 :] if begins else run.events)


def _path(run: sd.Run) -> list[bytes]:
    """The points of the path since the script last began at step 1."""
    history = run.store.history(run.id)
    begins = [count for count, to in history.back.items() if to == 0]
    t, points = history.path.t, history.path.points
    return [w.tobytes() for at, w in zip(t, points, strict=True) if at >= (begins[-1] if begins else 0)]
