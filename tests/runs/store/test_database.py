"""The database file: another program's is left alone, and reading writes nothing."""

import os
import shutil
import sqlite3
import subprocess
import sys
import textwrap
from contextlib import closing

import numpy as np
import pytest

from steepest.errors import SteepestError, StoreError
from steepest.records.run import Step
from steepest.runs.store import Store, database, versions
from tests.runs.store.conftest import CONFIG

OTHER_TABLES = "CREATE TABLE orders (id, total); INSERT INTO orders VALUES (1, 2);"
MLFLOW = "CREATE TABLE runs (run_uuid, name); INSERT INTO runs VALUES (1, 2); CREATE TABLE metrics (key);"
SCHEMA = database.SCHEMA.read_text()
RUNS = SCHEMA.partition(";")[0]
ENDLESS = """CREATE VIEW runs AS WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n+1 FROM r)
    SELECT 'x'||n id, 'n' name, 'done' status, '2026-01-01' started, 0.0 seconds, 0 seed, '{}' config, '{}' versions,
    '' notes, 'h' host, 1 pid, '' born FROM r;"""
COMPUTED = RUNS.replace("born TEXT NOT NULL", "born TEXT GENERATED ALWAYS AS (hex(zeroblob(90000000)))")
STRANGERS = {
    "other tables": OTHER_TABLES,
    "other tables with a version of their own": f"{OTHER_TABLES} PRAGMA user_version=1;",
    "a newer version of another program": f"{OTHER_TABLES} PRAGMA user_version=7;",
    "other runs": f"{MLFLOW} PRAGMA user_version=1;",
    "no version": SCHEMA,
    "runs with other columns": f"{SCHEMA.replace('born TEXT', 'died TEXT')} PRAGMA user_version=1;",
    "runs with one column more": f"{SCHEMA.replace('born TEXT', 'born TEXT, more TEXT')} PRAGMA user_version=1;",
    "a table is missing": f"{SCHEMA.replace('CREATE TABLE events', 'CREATE TABLE old')} PRAGMA user_version=1;",
    "an endless view": f"{SCHEMA.replace(RUNS + ';', ENDLESS)} PRAGMA user_version=1;",
    "a computed column": f"{SCHEMA.replace(RUNS, COMPUTED)} PRAGMA user_version=1;",
    "a virtual table": f"{SCHEMA.replace(RUNS, 'CREATE VIRTUAL TABLE runs USING fts5(id)')} PRAGMA user_version=1;",
    "ours, but newer": f"{SCHEMA} PRAGMA user_version=99;",
    "in WAL mode": f"PRAGMA journal_mode=WAL; {OTHER_TABLES}",
}


def make(path, script):
    path.parent.mkdir(exist_ok=True)
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(script)
    return path


def snapshot(folder):
    """Each entry of a folder: bytes, and when it was written."""
    return {
        p.name: (os.readlink(p) if p.is_symlink() else p.read_bytes() if p.is_file() else "", p.lstat().st_mtime_ns)
        for p in folder.iterdir()
    }


ACTS = {
    "runs": Store.runs,
    "names": Store.names,
    "read": lambda store: store.read("x"),
    "remove": lambda store: store.remove("x"),
    "begin": lambda store: store.begin("x", {}, {}, 0),
}


def assert_left_alone(path, match):
    before = snapshot(path.parent)
    for act in ACTS.values():
        with pytest.raises(StoreError, match=match):
            act(Store(path.parent))
        assert snapshot(path.parent) == before


@pytest.mark.parametrize("kind", STRANGERS)
def test_another_programs_database_is_left_alone(kind, tmp_path):
    path = make(tmp_path / "runs" / "runs.db", STRANGERS[kind])
    newer = r"has version 99; .*Update Steepest\."
    theirs = r"is no database of Steepest's: .*It was left as it is; use another runs folder\."
    assert_left_alone(path, newer if "ours" in kind else theirs)


def test_what_is_no_database(tmp_path):
    folder = tmp_path / "folder" / "runs.db"
    folder.mkdir(parents=True)
    assert_left_alone(folder, "must be a file, but is a folder")
    text = tmp_path / "text" / "runs.db"
    text.parent.mkdir()
    text.write_text("hello" * 1000)
    assert_left_alone(text, "not a database. Move this file away")
    pipe = tmp_path / "pipe" / "runs.db"
    pipe.parent.mkdir()
    os.mkfifo(pipe)
    for act in (Store.runs, lambda store: store.read("x")):  # a pipe would be waited for without end
        with pytest.raises(StoreError, match=r"must be a file, but is a pipe or a device"):
            act(Store(pipe.parent))


def test_an_empty_file_has_no_runs_and_takes_one(tmp_path):
    (tmp_path / "runs.db").write_bytes(b"")
    assert Store(tmp_path).runs() == []
    assert Store(tmp_path).names() == {}
    assert (tmp_path / "runs.db").read_bytes() == b""
    Store(tmp_path).begin("x", {}, {}, 0).close("done", 1.0)
    assert len(Store(tmp_path).runs()) == 1


def test_a_link_to_another_programs_database(tmp_path):
    theirs = make(tmp_path / "theirs" / "secret.db", OTHER_TABLES)
    before = snapshot(theirs.parent)
    link = tmp_path / "runs" / "runs.db"
    link.parent.mkdir()
    link.symlink_to(theirs)
    assert_left_alone(link, "it has other tables")
    assert snapshot(theirs.parent) == before


def test_a_link_to_nothing_makes_no_file_elsewhere(tmp_path):
    link = tmp_path / "runs" / "runs.db"
    link.parent.mkdir()
    link.symlink_to(tmp_path / "made.db")
    assert Store(link.parent).runs() == []
    with pytest.raises(StoreError, match="is a link to no database"):
        Store(link.parent).begin("x", {}, {}, 0)
    assert not (tmp_path / "made.db").exists()


@pytest.mark.parametrize("event", ["AFTER DELETE ON runs", "BEFORE DELETE ON events", "AFTER UPDATE ON runs"])
def test_a_trigger_cannot_delete_other_runs(event, folder):
    folder.execute(f"CREATE TRIGGER z {event} BEGIN DELETE FROM runs; END")
    with pytest.raises(StoreError, match=r"has triggers, which could change other runs.*Nothing was written"):
        folder.store.remove(folder.run)
    with pytest.raises(StoreError, match="has triggers"):
        folder.store.begin("x", {}, {}, 0)
    assert [r.damage for r in folder.store.runs()] == ["", ""]
    assert (folder.path / folder.run / "points").exists()


# -- Reading -----------------------------------------------------------------------------------------------------------


def read_all(folder):
    store = folder.store
    store.points(folder.run), store.load_point(folder.run), store.history(folder.run)
    return [r.id for r in store.runs()], store.names(), store.losses(folder.run).tolist(), len(store.read("one").steps)


def test_reading_writes_nothing(folder):
    before = folder.snapshot()
    entries = sorted(p.name for p in folder.path.iterdir())
    times = {p: p.stat().st_mtime_ns for p in (folder.path, folder.path / folder.run)}
    ids, names, losses, count = read_all(folder)
    assert ids == list(names) == [folder.run, folder.other]
    assert losses == [1 / t for t in range(1, 21)]
    assert count == 20
    assert folder.snapshot() == before
    assert sorted(p.name for p in folder.path.iterdir()) == entries
    assert {p: p.stat().st_mtime_ns for p in times} == times


@pytest.mark.parametrize("name", ["a?b#c", "100%41", "mode=rw&x", "ü 日本", "a\nb", "'\"", "\udcff"], ids=ascii)
def test_folders_with_odd_names(name, folder):
    odd = folder.path.rename(folder.path.with_name(name))
    assert [r.id for r in Store(odd).runs()] == [folder.run, folder.other]
    assert len(Store(odd).read(folder.run).steps) == 20
    Store(odd).remove(folder.run)
    assert [r.id for r in Store(odd).runs()] == [folder.other]


AS_NOBODY = """
    import os, sys
    from pathlib import Path
    from steepest.errors import StoreError
    from steepest.runs.store import Store
    folder, run = sys.argv[1:]
    if os.getuid() == 0:
        os.setgroups([]), os.setgid(65534), os.setuid(65534)
    assert not os.access(folder, os.W_OK)
    store = Store(folder)
    print([r.damage for r in store.runs()], len(store.read(run).steps), len(store.history(run).path.points))
    for act in (lambda: store.begin("x", {}, {}, 0), lambda: store.remove(run)):
        try:
            act()
        except StoreError as error:
            print(error)
"""


def as_nobody(folder, *args):
    """A real process that may read the folder, but not write."""
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)
    for path in list(folder.parents)[:-2]:
        path.chmod(path.stat().st_mode | 0o055)
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(AS_NOBODY), folder, *args], capture_output=True, text=True, timeout=120
    )


@pytest.mark.slow
def test_another_users_folder_is_read(folder):
    before = folder.snapshot()
    done = as_nobody(folder.path, folder.run)
    assert done.returncode == 0, done.stderr
    first, *errors = done.stdout.splitlines()
    assert first == "['', ''] 20 20"
    assert len(errors) == 2
    assert all("readonly" in error or "unable to open" in error for error in errors)
    assert folder.snapshot() == before


def not_closed(folder):
    """A copy of the folder of a run while it is recorded: its last rows are in the write-ahead log."""
    writer = folder.store.begin("begun", CONFIG, versions(), 0)
    for t in range(1, 6):
        writer.step(Step(t, t / 10, 0.1, float(t), 1.0, 0.1))
    writer.flush()
    copy = folder.path.with_name("copy")
    shutil.copytree(folder.path, copy, ignore=shutil.ignore_patterns("*-shm"))
    writer.close("done", 1.0)
    assert (copy / "runs.db-wal").stat().st_size > 0
    return copy, writer.id


def test_rows_that_were_not_merged_are_read(folder):
    copy, run = not_closed(folder)
    before = {name: value for name, value in snapshot(copy).items() if "runs.db" in name}
    assert Store(copy).losses(run).tolist() == [1, 2, 3, 4, 5]
    assert {name: value for name, value in snapshot(copy).items() if name in before} == before


def test_rows_are_merged_though_somebody_reads(folder, tmp_path):
    """Whoever copies the database alone then has them all."""
    writer = folder.store.begin("begun", CONFIG, versions(), 0)
    writer.step(Step(1, 0.1, 0.1, 7.0, 1.0, 0.1))
    writer.flush()
    with database.reader(folder.path / "runs.db") as connection:
        connection.execute("SELECT count(*) FROM runs").fetchone()
        writer.close("done", 1.0)
    shutil.copy(folder.path / "runs.db", tmp_path)
    assert Store(tmp_path).losses(writer.id).tolist() == [7.0]
    assert Store(tmp_path).read(writer.id).status == "done"


@pytest.mark.slow
def test_rows_that_were_not_merged_in_another_users_folder(folder):
    """Correct, or said in words; never the rows before."""
    copy, run = not_closed(folder)
    done = as_nobody(copy, run)
    assert done.returncode == 1
    assert "runs.db was not closed: its last rows are in runs.db-wal" in done.stderr
    assert "Copy the folder to where you can write" in done.stderr


def test_what_is_written_while_it_is_read_is_read_again(folder, monkeypatch):
    """Without locks, since they would be files: a change is noticed by the file's time and size."""
    calls, check = [], database.check_ours

    def check_and_write(connection, path):
        check(connection, path)
        calls.append(path)
        if len(calls) == 1:
            folder.execute("UPDATE runs SET notes='new'")

    monkeypatch.setattr(database, "check_ours", check_and_write)
    assert [r.notes for r in folder.store.runs()] == ["new", "new"]
    assert len(calls) == 2


def test_a_folder_that_is_removed_while_it_is_read(folder, monkeypatch):
    check = database.check_ours

    def check_and_remove(connection, path):
        check(connection, path)
        shutil.rmtree(folder.path)

    monkeypatch.setattr(database, "check_ours", check_and_remove)
    assert folder.store.runs() == []


def test_a_file_that_is_written_all_the_time(folder, monkeypatch):
    check = database.check_ours

    def check_and_write(connection, path):
        check(connection, path)
        folder.execute("UPDATE runs SET notes=notes || 'x'")

    monkeypatch.setattr(database, "check_ours", check_and_write)
    with pytest.raises(StoreError, match=r"is written all the time\. Try again later"):
        folder.store.runs()


def test_reading_ends(folder, monkeypatch):
    """Pages that point at each other would be read forever."""
    monkeypatch.setattr(database, "OPERATION_STEP", 1)
    for name in ("OPERATIONS", "OPERATIONS_PER_BYTE"):
        monkeypatch.setattr(database, name, 0)
    with pytest.raises(StoreError, match=r"interrupted\. The file is damaged"):
        folder.store.runs()


def test_no_row_takes_more_operations_than_are_allowed(folder, monkeypatch):
    """The bound is far from what reading every row takes."""
    monkeypatch.setattr(database, "OPERATIONS", 0)
    monkeypatch.setattr(database, "OPERATION_STEP", 100)
    writer = folder.store.begin("long", CONFIG, versions(), 0)
    for t in range(1, 2001):
        writer.step(Step(t, t / 10, 0.1, 1.0, 1.0, 0.1))
        writer.flush() if t % 50 == 0 else None
    writer.close("done", 1.0)
    assert len(folder.store.history(writer.id).record.steps) == 2000
    assert len(folder.store.runs()) == 3


# -- Damage ------------------------------------------------------------------------------------------------------------


def assert_words(act):
    """An answer, or an error of ours."""
    try:
        act()
    except SteepestError:
        return 1
    return 0


def flip(folder, positions, masks=(0xFF,)):
    """Reads the folder with one byte of the database changed at a time; the number of errors."""
    path = folder.path / "runs.db"
    data, errors = path.read_bytes(), 0
    changed = bytearray(data)
    with path.open("r+b", buffering=0) as file:  # the byte alone is written: the whole file takes as long as reading it
        for position in positions:
            for mask in masks:
                changed[position] = data[position] ^ mask
                os.pwrite(file.fileno(), changed[position : position + 1], position)
                errors += assert_words(folder.store.runs)
                errors += assert_words(lambda: folder.store.history(folder.run))
                assert path.read_bytes() == changed
            changed[position] = data[position]
            os.pwrite(file.fileno(), data[position : position + 1], position)
    path.write_bytes(data)
    assert sorted(p.name for p in folder.path.iterdir()) == sorted(["runs.db", folder.run, folder.other])
    return errors


def test_some_bytes_of_a_database_are_flipped(folder):
    size = (folder.path / "runs.db").stat().st_size
    assert flip(folder, [*range(100), *range(100, size, 131)]) > 20


@pytest.mark.slow
@pytest.mark.long
def test_every_byte_of_a_database_that_holds_anything_is_flipped(folder):
    data = np.frombuffer((folder.path / "runs.db").read_bytes(), np.uint8)
    assert flip(folder, np.flatnonzero(data).tolist()) > 200


def test_bytes_are_flipped_before_runs_are_removed(folder):
    """Whatever is removed, nothing outside of the runs folder is, and not the other's folder."""
    path, before = folder.path / "runs.db", folder.snapshot()
    data = path.read_bytes()
    for position in range(100, len(data), 997):
        changed = bytearray(data)
        changed[position] ^= 0xFF
        path.write_bytes(changed)
        assert_words(lambda: folder.store.remove(folder.run))
        outside = {k: v for k, v in folder.snapshot().items() if f"/{folder.run}/" not in k and "runs.db" not in k}
        assert outside == {k: v for k, v in before.items() if k in outside}
        assert len(outside) == len([k for k in before if f"/{folder.run}/" not in k and "runs.db" not in k])
        for side in path.parent.glob("runs.db-*"):
            side.unlink()
