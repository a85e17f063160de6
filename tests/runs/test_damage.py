"""What the commands and pages say about runs that are damaged, or that belong to another user."""

import hashlib
import json
import shutil
import sqlite3
from contextlib import closing

import pytest
import torch
from starlette.testclient import TestClient
from typer.testing import CliRunner

import steepest as sd
from steepest.cli import app
from steepest.errors import SteepestError, StoreError
from steepest.runs.server.app import app as server
from steepest.runs.store import Store, checkpoints
from steepest.runs.store.state import pack

X = torch.linspace(-1, 1, 40)[:, None]


def a_task():
    return sd.Task(model=lambda seed: torch.nn.Linear(1, 1), loss=torch.nn.functional.mse_loss, data=(X, 2 * X))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    runs = tmp_path_factory.mktemp("trained") / "runs"
    for name in ("one", "other"):
        sd.fit(a_task(), "adam", 0.1, "constant", 9, steps=20, runs=runs, name=name, locate=False)
    return runs


@pytest.fixture
def runs(trained, tmp_path):
    return shutil.copytree(trained, tmp_path / "runs")


def damage(runs, column, value, name="one"):
    with closing(sqlite3.connect(runs / "runs.db")) as database, database:
        database.execute(f"UPDATE runs SET {column}=? WHERE name=?", (value, name))


def run(*line):
    result = CliRunner().invoke(app, [str(word) for word in line])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def get(runs, path):
    return TestClient(server(Store(runs), lambda: True)).get(path)


@pytest.mark.parametrize(("column", "value"), [("config", "{"), ("seconds", "long"), ("id", "../other")])
def test_one_damaged_run_hides_no_other(column, value, runs):
    one, other = Store(runs).names()
    damage(runs, column, value)
    shown = "damaged:1" if column == "id" else one
    listing = run("runs", "--runs", runs)
    assert listing.exit_code == 0
    assert other in listing.stdout
    words = " ".join(listing.stdout.split())
    assert f"{shown} is damaged: {column} must be" in words
    assert f"steepest rm {shown}" in words
    assert json.loads(run("runs", "--runs", runs, "--json").stdout)
    page = get(runs, "/")
    assert page.status_code == 200
    assert f"/runs/{other}" in page.text
    assert get(runs, f"/runs/{other}").status_code == 200
    assert get(runs, f"/runs/{shown}").status_code in (404, 500)
    assert run("rm", shown, "--runs", runs).exit_code == 0
    assert [r.id for r in Store(runs).runs()] == [other]


@pytest.mark.parametrize(
    "command", [["show", "one"], ["diagnose", "one"], ["compare", "one", "other"], ["film", "one"], ["locate", "one"],
                ["resume", "one", "--steps", "40"]], ids=lambda c: c[0]
)  # fmt: skip
def test_commands_say_what_is_damaged_and_what_to_do(command, runs):
    damage(runs, "config", '{"steps": "many"}')
    result = run(*command, "--runs", runs)
    assert result.exit_code == 1
    one = next(iter(Store(runs).names()))
    assert f"Run {one} is damaged: steps must be of type int, got 'many'." in result.stderr
    assert f"steepest rm {one}" in result.stderr


def test_a_list_lives_with_a_run_whose_steps_are_damaged(runs):
    with closing(sqlite3.connect(runs / "runs.db")) as database, database:
        database.execute("UPDATE chunks SET n=7 WHERE run=(SELECT id FROM runs WHERE name='one')")
    assert get(runs, "/").status_code == 200
    assert get(runs, f"/runs/{Store(runs).resolve('one')}").status_code == 500
    assert get(runs, f"/runs/{Store(runs).resolve('other')}").status_code == 200


def test_a_list_lives_with_a_reason_that_is_no_text(runs):
    with closing(sqlite3.connect(runs / "runs.db")) as database, database:
        database.execute(
            "INSERT INTO events SELECT id, 0, 9, 9, 'failed', CAST(x'fffe41' AS TEXT), '', '' FROM runs "
            "WHERE name='one'"
        )
        database.execute("UPDATE runs SET status='failed' WHERE name='one'")
    assert get(runs, "/").status_code == 200
    assert Store(runs).counts()[Store(runs).resolve("one")].reason == "??A"


# -- Files of a run ----------------------------------------------------------------------------------------------------


def newest(runs):
    return checkpoints.folders(runs / Store(runs).resolve("one") / "checkpoints")[-1]


def rewrite(path, manifest=None, state=None):
    """Changes a checkpoint, and all its hashes with it."""
    tensors = {}
    if state is not None:
        (path / checkpoints.STATE).write_text(json.dumps(pack(state, tensors)))
    content = json.loads((path / checkpoints.MANIFEST).read_text())
    content = {**content, **(manifest or {})}
    content.pop("seal")
    content["files"] = {
        name: {"bytes": (path / name).stat().st_size, "sha256": hashlib.sha256((path / name).read_bytes()).hexdigest()}
        for name in (checkpoints.TENSORS, checkpoints.STATE)
    }
    seal = hashlib.sha256(json.dumps(content).encode()).hexdigest()
    (path / checkpoints.MANIFEST).write_text(json.dumps({**content, "seal": seal}))


MANIFESTS = [{"t": "x"}, {"t": -1}, {"t": 2**70}, {"attempt": None}, {"events": 1.5}, {"seconds": "x"}, {"model": 7}]


@pytest.mark.parametrize("manifest", MANIFESTS, ids=str)
def test_a_manifest_that_was_forged(manifest, runs):
    """The hashes are right, since whoever writes a checkpoint can compute them."""
    before = Store(runs).read("one").steps.loss.tolist()
    for path in checkpoints.folders(newest(runs).parent):
        rewrite(path, manifest)
    with pytest.raises(StoreError, match=r"manifest\.json has values of other types"):
        sd.resume("one", a_task(), steps=40, runs=runs)
    assert Store(runs).read("one").steps.loss.tolist() == before


STATES = {
    "nothing": {},
    "a list": [],
    "no descent": {"descent": None, "place": None, "best": {}, "stopped": False, "recovery": None},
    "an empty descent": {"descent": {}, "place": None, "best": {}, "stopped": False, "recovery": None},
}


@pytest.mark.parametrize("state", STATES)
def test_a_state_that_was_forged(state, runs):
    before, model = Store(runs).read("one").steps.loss.tolist(), torch.nn.Linear(1, 1)
    weights = model.weight.item()
    task = sd.Task(model=model, loss=torch.nn.functional.mse_loss, data=(X, 2 * X))
    for path in checkpoints.folders(newest(runs).parent):
        rewrite(path, state=STATES[state])
    for act in (lambda: sd.resume("one", task, steps=40, runs=runs), lambda: sd.open("one", runs).at_end(task)):
        with pytest.raises(StoreError, match="The checkpoint's state does not fit the run"):
            act()
    assert Store(runs).read("one").steps.loss.tolist() == before
    assert model.weight.item() == weights


@pytest.mark.parametrize("is_whole", [False, pytest.param(True, marks=pytest.mark.slow)])
@pytest.mark.parametrize("kind", ["point", "path", *(checkpoints.TENSORS, checkpoints.STATE, checkpoints.MANIFEST)])
def test_bytes_of_a_file_are_flipped(kind, is_whole, runs):
    """Each gives the run, or words: what reads it raises no other error; of every byte, what reads the file."""
    folder = runs / Store(runs).resolve("one")
    path = {"point": folder / "points" / "20.safetensors", "path": folder / "path.bin"}.get(kind, newest(runs) / kind)
    data, errors = path.read_bytes(), 0
    acts = (
        lambda: sd.open("one", runs, task=a_task()).model,
        lambda: sd.open("one", runs).point,
        lambda: sd.open("one", runs).at_end(a_task()),
        lambda: checkpoints.load(folder / "checkpoints"),
        lambda: Store(runs).history("one"),
    )
    readers = {"point": acts[:2], "path": acts[4:]}.get(kind, acts[3:4])
    for position in range(0, len(data), 1 if is_whole else max(1, len(data) // 12)):
        changed = bytearray(data)
        changed[position] ^= 0xFF
        path.write_bytes(changed)
        for act in readers if is_whole else acts:
            try:
                act()
            except SteepestError:
                errors += 1
    path.write_bytes(data)
    for act in acts:
        act()
    assert errors > 0


def test_weights_that_are_whole_numbers_or_have_other_names(runs):
    path = runs / Store(runs).resolve("one") / "points" / "20.safetensors"
    data = path.read_bytes()
    path.write_bytes(data.replace(b'"F32"', b'"I32"'))
    with pytest.raises(StoreError, match="must be floating-point numbers"):
        sd.open("one", runs).point  # noqa: B018
    path.write_bytes(data.replace(b'"weight"', b'"mass-e"'))
    with pytest.raises(StoreError, match="The stored weights have no weight, so they are damaged"):
        sd.open("one", runs).point  # noqa: B018
    with pytest.raises(StoreError, match="different model"):
        sd.open("one", runs, task=a_task()).model  # noqa: B018


def test_a_film_in_a_folder_that_cannot_be_written(runs, tmp_path, monkeypatch, capsys):
    """It is made elsewhere, with its surfaces; a folder that takes no film is said before minutes of measuring."""
    from steepest.runs import film as filming

    def refuse(path, surfaces):
        raise StoreError(f"Cannot write the surfaces to {path} (Permission denied).")

    monkeypatch.setattr(filming.npz, "save", refuse)
    out = sd.open("one", runs).film(tmp_path / "film.html", task=a_task(), planes=["principal"])
    assert '"principal"' in out.read_text()
    said = capsys.readouterr().err
    assert "The surfaces are not stored with the run, so the next film measures them again. Cannot write" in said
    monkeypatch.setattr("os.access", lambda path, mode: False)
    with pytest.raises(SteepestError, match=r"out must be in a folder that can be written, got .*Pass another one"):
        sd.open("one", runs).film(tmp_path / "film.html", task=a_task())
