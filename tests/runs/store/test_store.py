"""Runs on disk: what goes in comes out, whatever happens in between."""

import os
import signal
import socket
import sqlite3
import subprocess
import sys
import textwrap
import time
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from steepest.errors import StoreError
from steepest.records.run import Event, Measurement, Step
from steepest.runs.store import Store, liveness, versions


def a_step(t, loss=0.5):
    return Step(t, t / 10, 1e-3, loss, 2.0, 0.01)


def begun(folder, name="digits", config=None):
    return Store(folder).begin(name, config or {"lr": 0.1}, versions(), 0, "a note")


def python(code, *args, wait=True):
    """A real process that runs some code."""
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code), *map(str, args)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    if wait:
        out, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
        return out
    return process


def test_round_trip(tmp_path):
    writer = begun(tmp_path, config={"lr": float("nan"), "rule": "adam"})
    for t in range(1, 1001):
        writer.step(a_step(t, float("inf") if t == 7 else 1 / t))
    writer.measure(Measurement(10, 1.0, "validation", "accuracy", 0.9))
    writer.measure(Measurement(10, 1.0, "validation", "loss", float("nan")))
    writer.event(Event(5, "skip", "seen", "done"))
    path = writer.point(1000, {"a.weight": torch.arange(6.0).view(2, 3).t()})
    writer.close("done", 1.5)
    found = Store(tmp_path).read(writer.id)
    assert (found.status, found.seconds, found.notes, found.name) == ("done", 1.5, "a note", "digits")
    assert found.steps.t.tolist() == list(range(1, 1001))
    assert found.steps.loss[6] == np.inf
    assert found.steps.loss[-1] == 1 / 1000
    assert np.isnan(found.config.lr)
    assert found.last("validation", "accuracy") == 0.9
    assert np.isnan(found.last("validation", "loss"))
    assert found.events == (Event(5, "skip", "seen", "done"),)
    assert Store(tmp_path).points(writer.id) == [(1000, path)]
    assert torch.equal(Store(tmp_path).load_point("digits")["a.weight"], torch.arange(6.0).view(2, 3).t())


def test_a_hundred_thousand_steps(tmp_path):
    writer = begun(tmp_path)
    for t in range(1, 100_001):
        writer.step(a_step(t))
    writer.close("done", 1.0)
    assert len(Store(tmp_path).read(writer.id).steps) == 100_000


WRITE = """
    import sys
    from steepest.runs.store import Store
    from steepest.records.run import Step
    writer = Store(sys.argv[1]).begin("both", {}, {}, 0)
    for t in range(1, 2001):
        writer.step(Step(t, t, 1.0, float(t), 1.0, 1.0))
        if t % 100 == 0:
            writer.flush()
    writer.close("done", 1.0)
"""


@pytest.mark.slow
def test_two_processes_write_at_once(tmp_path):
    processes = [python(WRITE, tmp_path, wait=False) for _ in range(2)]
    errors = [p.communicate(timeout=120)[1] for p in processes]
    assert [p.returncode for p in processes] == [0, 0], errors
    assert [len(Store(tmp_path).read(r.id).steps) for r in Store(tmp_path).runs()] == [2000, 2000]


@pytest.mark.slow
def test_killed_at_once_is_read_as_interrupted(tmp_path):
    process = python(
        """
        import sys, time
        from steepest.runs.store import Store
        from steepest.records.run import Step
        writer = Store(sys.argv[1]).begin("killed", {}, {}, 0)
        for t in range(1, 101):
            writer.step(Step(t, t, 1.0, float(t), 1.0, 1.0))
        writer.flush()
        print("ready", flush=True)
        time.sleep(60)
        """,
        tmp_path,
        wait=False,
    )
    assert process.stdout.readline() == "ready\n"
    store = Store(tmp_path)
    assert store.read("killed").status == "running"
    with pytest.raises(StoreError, match=r"is still running .*Stop it or wait"):
        store.remove("killed")
    process.send_signal(signal.SIGKILL)
    process.communicate()
    found = store.read("killed")
    assert found.status == "interrupted"
    assert found.steps.loss.tolist() == list(range(1, 101))
    with sqlite3.connect(tmp_path / "runs.db") as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    database.close()
    store.remove("killed")
    assert store.runs() == []


def test_a_run_on_another_host_runs_for_as_long_as_it_beats(tmp_path):
    """Its process cannot be seen from here, so it is a file that tells."""
    store = Store(tmp_path)
    writer = store.begin("mine", {}, {}, 0)
    beat = tmp_path / writer.id / "beat"
    while not beat.exists():
        time.sleep(0.01)
    with closing(sqlite3.connect(tmp_path / "runs.db")) as database, database:
        database.execute("UPDATE runs SET host='another', pid=1")
    assert store.read(writer.id).status == "running"
    os.utime(beat, (time.time() - 61,) * 2)
    assert store.read(writer.id).status == "interrupted"
    writer.close("done", 1.0)
    assert not beat.exists()


def test_where_the_system_cannot_be_asked_a_file_tells(tmp_path, monkeypatch):
    """On Windows `os.kill(pid, 0)` sends Ctrl-C to the process, so that nothing may be sent there."""
    beat = tmp_path / "beat"
    beat.touch()
    monkeypatch.setattr(liveness, "CAN_ASK", False)
    monkeypatch.setattr(os, "kill", lambda *_: pytest.fail("a signal was sent"))
    host, pid, when = liveness.this_process()
    assert not liveness.has_ended(host, pid, when, beat)
    os.utime(beat, (time.time() - 61,) * 2)
    assert liveness.has_ended(host, pid, when, beat)


@pytest.mark.slow
def test_full_disk_keeps_training_and_says_so(tmp_path):
    out = python(
        """
        import resource, signal, sys
        from steepest.errors import StoreError
        from steepest.runs.store import Store
        from steepest.records.run import Step
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        writer = Store(sys.argv[1]).begin("full", {}, {}, 0)
        writer.step(Step(1, 1, 1.0, 1.0, 1.0, 1.0))
        writer.flush()
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, resource.RLIM_INFINITY))
        for t in range(2, 20_001):
            writer.step(Step(t, t, 1.0, 1.0, 1.0, 1.0))
        writer.flush()
        print(writer.trouble)
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        writer.flush()
        print(writer.trouble, len(Store(sys.argv[1]).read("full").steps))
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, resource.RLIM_INFINITY))
        for t in range(20_001, 50_001):
            writer.step(Step(t, t, 1.0, 1.0, 1.0, 1.0))
        try:
            writer.close("done", 1.0)
        except StoreError as error:
            print(error)
        """,
        tmp_path,
    ).splitlines()
    assert "full" in out[0]
    assert out[1] == "None 20000"
    assert "its last 30000 steps were not recorded" in out[2]
    assert "free some space" in out[2]


def test_database_held_by_another_process(tmp_path):
    writer = begun(tmp_path)
    holder = sqlite3.connect(tmp_path / "runs.db", isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    writer._database.execute("PRAGMA busy_timeout=50")
    writer.step(a_step(1))
    writer.flush()
    assert "Another process has held it" in writer.trouble
    holder.execute("COMMIT")
    holder.close()
    writer.flush()
    assert writer.trouble is None
    writer.close("done", 1.0)
    assert len(Store(tmp_path).read(writer.id).steps) == 1


def test_places_that_cannot_be_used(tmp_path):
    (tmp_path / "file").write_text("I am a file")
    with pytest.raises(StoreError, match=r"Cannot create the runs folder .*Pass another one"):
        begun(tmp_path / "file")
    other = tmp_path / "other"
    other.mkdir()
    (other / "runs.db").write_text("I am not a database, but I am long enough to be looked at " * 50)
    with pytest.raises(StoreError, match=r"not a database\. Move this file away"):
        begun(other)
    newer = tmp_path / "newer"
    newer.mkdir()
    with sqlite3.connect(newer / "runs.db") as database:
        database.execute("PRAGMA user_version=99")
    database.close()
    with pytest.raises(StoreError, match="has version 99"):
        begun(newer)


def test_names(tmp_path):
    ids = [begun(tmp_path, name) for name in ("a b/c", "../up", "ü", "digits", "digits")]
    for writer in ids:
        writer.close("done", 1.0)
    store = Store(tmp_path)
    assert all((tmp_path / w.id).resolve().parent == tmp_path.resolve() for w in ids)
    assert store.resolve("digits") == ids[4].id  # the newest of that name
    assert store.resolve(ids[3].id) == ids[3].id
    assert store.resolve("a b/c") == ids[0].id
    assert store.names() == {w.id: name for w, name in zip(ids, ("a b/c", "../up", "ü", "digits", "digits"))}
    assert Store(tmp_path / "nowhere").names() == {}
    with pytest.raises(StoreError, match="Did you mean"):
        store.resolve(ids[3].id[:-1] + "zz")
    with pytest.raises(StoreError, match="matches several runs"):
        store.resolve("digit")
    with pytest.raises(StoreError, match="no run 'x'"):
        Store(tmp_path / "nowhere").read("x")


def test_a_forked_worker_leaves_the_record_alone(tmp_path):
    writer = begun(tmp_path)
    writer.step(a_step(1))
    loader = DataLoader(list(range(8)), batch_size=2, num_workers=2, multiprocessing_context="fork")
    assert sum(len(batch) for batch in loader) == 8
    writer.step(a_step(2))
    writer.close("done", 1.0)
    assert Store(tmp_path).read(writer.id).steps.t.tolist() == [1, 2]


def test_repeated_steps_count_once_and_the_newest_attempt_wins(tmp_path):
    writer = begun(tmp_path)
    for t in (1, 2, 3):
        writer.step(a_step(t, 1.0))
    writer.flush()
    writer._attempt = 1
    for t in (2, 3, 4):
        writer.step(a_step(t, 2.0))
    writer.close("done", 1.0)
    steps = Store(tmp_path).read(writer.id).steps
    assert steps.t.tolist() == [1, 2, 3, 4]
    assert steps.loss.tolist() == Store(tmp_path).losses(writer.id).tolist() == [1, 2, 2, 2]


def test_a_damaged_point_is_said(tmp_path):
    writer = begun(tmp_path)
    path = writer.point(3, {"w": torch.ones(4)})
    writer.close("done", 1.0)
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(StoreError, match="Cannot read weights from"):
        Store(tmp_path).load_point(writer.id)
    with pytest.raises(StoreError, match="no saved weights at step 9"):
        Store(tmp_path).load_point(writer.id, 9)


def test_a_row_that_is_another_runs_by_now_is_not_removed(tmp_path, monkeypatch):
    """SQLite gives the number of a deleted row to the next one."""
    first = begun(tmp_path)
    first.close("done", 1.0)
    store, other = Store(tmp_path), Store(tmp_path)
    row = store._row_to_remove(first.id)
    other.remove(first.id)
    second = begun(tmp_path, "second")
    path = second.point(3, {"w": torch.ones(4)})
    second.close("done", 1.0)
    assert store._row_to_remove(second.id).number == row.number
    monkeypatch.setattr(store, "_row_to_remove", lambda run: row)
    with pytest.raises(StoreError, match=r"has changed meanwhile, and was not removed\. Try again\."):
        store.remove(first.id)
    assert [r.id for r in store.runs()] == [second.id]
    assert path.exists()


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="the kernel tells the state of a process in /proc")
def test_a_process_that_was_killed_has_ended_though_its_parent_has_not_noticed(tmp_path):
    process = subprocess.Popen(["sleep", "60"])
    started = liveness.start_time(process.pid)
    here = socket.gethostname()
    assert not liveness.has_ended(here, process.pid, started, tmp_path / "beat")
    os.kill(process.pid, signal.SIGKILL)
    deadline = time.monotonic() + 10
    while not liveness.has_ended(here, process.pid, started, tmp_path / "beat") and time.monotonic() < deadline:
        time.sleep(0.01)
    assert liveness.has_ended(here, process.pid, started, tmp_path / "beat")
    process.wait()
