"""The task file of a stored run is code: it is named before it is run, and only where it is plainly the user's own."""

import json
import os
import py_compile
import shutil
import sqlite3
import textwrap
from contextlib import closing

import pytest
from typer.testing import CliRunner

import steepest as sd
from steepest.cli import app
from steepest.runs.task_file import file_hash, why_not_run
from steepest.tasks import load

TASK = """
    import pathlib
    import torch
    import steepest as sd

    pathlib.Path(__file__).with_name("ran").write_text("here")


    def task():
        x = torch.linspace(-1, 1, 40)[:, None]
        return sd.Task(model=torch.nn.Linear(1, 1), loss=torch.nn.functional.mse_loss, data=(x, 2 * x))
"""
COMMANDS = {
    "locate": ["--products", "10"],
    "film": ["-o", "film.html", "--planes", "random"],
    "resume": ["--steps", "8"],
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A file, and a runs folder with a run that was trained on it."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "line.py").write_text(textwrap.dedent(TASK))
    options = {"rule": "adam", "lr": 0.1, "schedule": "constant", "batch_size": 10, "guard": False, "locate": False}
    sd.fit(load(str(folder / "line.py")), steps=6, runs=folder / "runs", **options)
    return folder


@pytest.fixture
def place(trained, tmp_path, monkeypatch):
    """A copy of the two, whose run names the copied file; nothing has run there."""
    shutil.copy(trained / "line.py", tmp_path)
    shutil.copytree(trained / "runs", tmp_path / "runs")
    monkeypatch.chdir(tmp_path)
    record(tmp_path, source=str((tmp_path / "line.py").resolve()))
    return tmp_path


def record(place, **changes):
    """Changes the configuration that is recorded."""
    with closing(sqlite3.connect(place / "runs" / "runs.db")) as database, database:
        config = json.loads(database.execute("SELECT config FROM runs").fetchone()[0]) | changes
        database.execute("UPDATE runs SET config=?", (json.dumps(config),))


def run(*line):
    result = CliRunner().invoke(app, [*line])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def test_the_hash_of_the_file_is_recorded(trained):
    config = sd.open("line", trained / "runs").record.config
    assert config.source_hash == file_hash(trained / "line.py") == load(config.source).source_hash
    assert load("digits").source_hash is None


@pytest.mark.parametrize("command", COMMANDS)
def test_the_users_own_file_is_named_and_run(command, place):
    result = run(command, "line", *COMMANDS[command])
    assert result.exit_code == 0, result.output
    assert f"Running the task file {place / 'line.py'}" in result.stderr
    assert "Running" not in result.stdout
    assert (place / "ran").exists()


def in_the_runs_folder(place, monkeypatch):
    file = place / "runs" / "line.py"
    shutil.copy(place / "line.py", file)
    record(place, source=str(file))


def by_a_link_into_the_runs_folder(place, monkeypatch):
    shutil.move(place / "line.py", place / "runs" / "line.py")
    (place / "line.py").symlink_to(place / "runs" / "line.py")


def by_a_link_in_the_runs_folder(place, monkeypatch):
    (place / "runs" / "link.py").symlink_to(place / "line.py")
    record(place, source=str(place / "runs" / "link.py"))


def by_dots_into_the_runs_folder(place, monkeypatch):
    shutil.copy(place / "line.py", place / "runs")
    record(place, source=str(place / "elsewhere" / ".." / "runs" / "line.py"))


def without_its_folder(place, monkeypatch):
    record(place, source="line.py")


def of_another_user(place, monkeypatch):
    monkeypatch.setattr(os, "getuid", lambda: (place / "line.py").stat().st_uid + 1)


def changed_since(place, monkeypatch):
    with (place / "line.py").open("a") as file:
        file.write("# another line\n")


def without_a_hash(place, monkeypatch):
    record(place, source_hash=None)


def with_another_hash(place, monkeypatch):
    record(place, source_hash="0" * 64)


REASONS = {
    in_the_runs_folder: "lies in the runs folder",
    by_a_link_into_the_runs_folder: "lies in the runs folder",
    by_a_link_in_the_runs_folder: "lies in the runs folder",
    by_dots_into_the_runs_folder: "lies in the runs folder",
    without_its_folder: "is named without its folder",
    of_another_user: "belongs to another user",
    changed_since: "has changed since the run began",
    without_a_hash: "has no recorded hash",
    with_another_hash: "has changed since the run began",
}


CASES = [(command, change) for change in REASONS for command in COMMANDS
         if command == "locate" or change in (in_the_runs_folder, changed_since)]  # fmt: skip


@pytest.mark.parametrize(("command", "change"), CASES, ids=lambda x: getattr(x, "__name__", x))
def test_another_file_is_run_only_if_it_is_asked_for(command, change, place, monkeypatch):
    change(place, monkeypatch)
    run_id = sd.open("line", "runs").id
    result = run(command, "line", *COMMANDS[command])
    assert f"This file {REASONS[change]}, so it is not run unless you ask for it." in result.stderr
    assert f"then run: steepest {command} {run_id} --task " in result.stderr
    assert result.exit_code == (0 if command == "film" else 1)  # a film then has the curves
    assert list(place.rglob("ran")) == []
    asked = run(command, "line", "--task", "line.py", *COMMANDS[command])
    assert asked.exit_code == 0, asked.output
    assert len(list(place.rglob("ran"))) == 1


def test_the_command_that_is_advised_can_be_pasted(place):
    """With another folder of runs, and a file whose name a shell would split."""
    (place / "my file.py").write_text((place / "line.py").read_text())
    (place / "my runs").mkdir()
    for entry in (place / "runs").iterdir():
        entry.rename(place / "my runs" / entry.name)
    with closing(sqlite3.connect(place / "my runs" / "runs.db")) as database, database:
        database.execute("UPDATE runs SET config=json_set(config, '$.source', ?)", (str(place / "my file.py"),))
        database.execute("UPDATE runs SET config=json_remove(config, '$.source_hash')")
    result = run("locate", "line", "--runs", "my runs")
    run_id = sd.open("line", "my runs").id
    assert f"steepest locate {run_id} --runs 'my runs' --task '{place / 'my file.py'}'" in result.stderr


@pytest.mark.parametrize("command", ["runs", "show", "diagnose", "compare"])
def test_commands_that_need_no_model_run_no_file(command, place):
    names = {"runs": [], "compare": ["line", "line"]}.get(command, ["line"])
    assert run(command, *names).exit_code == 0
    assert not (place / "ran").exists()


@pytest.mark.parametrize("source", ["\0.py", "/dev/null", "/proc/self/mem", "x" * 5000 + ".py", "/" + "a/" * 3000, "."])
def test_names_that_are_no_files(source, tmp_path):
    assert why_not_run(source, "0" * 64, tmp_path / "runs") or not os.path.exists(source)


def test_a_compiled_file_beside_it_is_not_run_in_its_place(place):
    """Python takes the compiled file for the text where size and time agree, and these can be set."""
    text = (place / "line.py").read_text()
    evil = place / "evil.py"
    evil.write_text(text.replace('"ran"', '"bad"'))
    assert len(evil.read_text()) == len(text)
    status = (place / "line.py").stat()
    os.utime(evil, ns=(status.st_atime_ns, status.st_mtime_ns))
    (place / "__pycache__").mkdir()
    from importlib.util import cache_from_source

    py_compile.compile(str(evil), cache_from_source(str(place / "line.py")), doraise=True)
    evil.unlink()
    assert run("locate", "line", "--products", "10").exit_code == 0
    assert (place / "ran").exists()
    assert not (place / "bad").exists()
