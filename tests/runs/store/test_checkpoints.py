"""Checkpoints: whole or not at all, and never taken for what they are not."""

import json
import math
import os
import shutil
import time

import pytest
import torch

import steepest as sd
from steepest.errors import StoreError
from steepest.records.run import Step
from steepest.runs.store import Store, checkpoints, path_file, weights
from steepest.runs.store.state import pack, unpack

NAMES = (checkpoints.TENSORS, checkpoints.STATE, checkpoints.MANIFEST)
STATE = {
    "t": 7,
    "nothing": None,
    "is": True,
    "words": 'é "\n',
    "floats": [math.inf, -math.inf, 0.1, 5e-324, -0.0],
    "pair": (1, (2.5, None)),
    "by number": {0: {"step": torch.tensor(3.0)}, 1: {"step": torch.tensor(4.0)}},
    "empty": {},
    "tensors": {"a.weight": torch.arange(6.0).view(2, 3).t(), "count": torch.tensor(5), "none": torch.empty(0)},
}
IDENTITY = {"t": 7, "attempt": 0, "events": 1, "model": "5 weights", "data": "3 samples"}


def save(folder, t=7):
    return checkpoints.save(folder, {**STATE, "t": t}, {**IDENTITY, "t": t})


@pytest.fixture
def two(tmp_path):
    """A folder with two checkpoints: of step 7 and of step 14."""
    save(tmp_path), save(tmp_path, 14)
    return tmp_path


def same(a, b):
    if isinstance(a, torch.Tensor):
        return a.dtype == b.dtype and a.shape == b.shape and torch.equal(a, b)
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple):
        return type(a) is type(b) and len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and repr(a) == repr(b)


def test_round_trip(tmp_path):
    path = save(tmp_path)
    manifest, state, said = checkpoints.load(tmp_path)
    assert path == tmp_path / "00000001"
    assert said == []
    assert {k: manifest[k] for k in IDENTITY} == IDENTITY
    assert same(state, STATE)


def test_not_a_number_and_tensors_that_are_not_numbers(tmp_path):
    odd = torch.tensor([math.nan, math.inf, -0.0], dtype=torch.bfloat16)
    checkpoints.save(tmp_path, {"x": math.nan, "odd": odd, "part": torch.ones(9)[3:5]}, IDENTITY)
    _, found, _ = checkpoints.load(tmp_path)
    assert math.isnan(found["x"])
    assert torch.equal(found["odd"].view(torch.int16), odd.view(torch.int16))
    assert found["part"].tolist() == [1.0, 1.0]


def test_keys_that_look_like_paths_keep_their_own_tensors():
    one, two, three, four = (torch.full((1,), float(n)) for n in range(4))
    nested = {"a": {"b": one}, "a/b": two, "c": {1: three, "1": four}, "a~1b": one}
    held = {}
    packed = json.loads(json.dumps(pack(nested, held)))
    assert same(unpack(packed, held), nested)
    assert len(held) == 5


def test_what_is_not_numbers_is_refused():
    with pytest.raises(TypeError, match="a/0 is set"):
        pack({"a": [{1}]}, {})


def test_there_is_none(tmp_path):
    assert checkpoints.load(tmp_path / "nowhere") is None


def assert_noticed(folder, path):
    """The newest is named, and the one before it used; alone it is refused."""
    manifest, _, said = checkpoints.load(folder)
    assert manifest["t"] == 7, path
    assert len(said) == 1
    assert str(folder / "00000002") in said[0]
    assert said[0].endswith("Using the one before it.")


@pytest.mark.parametrize("name", NAMES)
def test_truncated_at_any_byte(name, two):
    path = two / "00000002" / name
    whole = path.read_bytes()
    for n in {*range(0, len(whole), max(1, len(whole) // 100)), 1, len(whole) - 1}:
        path.write_bytes(whole[:n])
        assert_noticed(two, path)
    path.write_bytes(whole + b" ")
    assert_noticed(two, path)
    path.write_bytes(whole)
    assert checkpoints.load(two)[0]["t"] == 14


@pytest.mark.parametrize("name", NAMES)
def test_edited_at_any_byte(name, two):
    path = two / "00000002" / name
    whole = bytearray(path.read_bytes())
    for n in {*range(0, len(whole), max(1, len(whole) // 150)), len(whole) - 1}:
        for change in (1, 0x80):
            edited = whole.copy()
            edited[n] ^= change
            path.write_bytes(edited)
            assert_noticed(two, path)


@pytest.mark.parametrize("text", ["[]", '"x"', "null", "{}", '{"files": 3}', "[" * 100_000, '{"files": {}, "seal": 1}'])
def test_another_manifest(text, two):
    (two / "00000002" / checkpoints.MANIFEST).write_text(text)
    assert_noticed(two, text)


@pytest.mark.parametrize("name", NAMES)
def test_a_missing_file(name, two):
    (two / "00000002" / name).unlink()
    assert_noticed(two, name)


def test_none_is_sound(two):
    for number in ("00000001", "00000002"):
        (two / number / checkpoints.STATE).write_text("{}")
    with pytest.raises(StoreError, match=r"No usable checkpoint in .*00000002 is damaged: state.json does not match"):
        checkpoints.load(two)


@pytest.mark.parametrize(("number", "do"), [(3, "Update Steepest"), (1, "Use the version that wrote it")])
def test_another_format(number, do, two, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(checkpoints, "CHECKPOINT_FORMAT", number)
        save(two, 21)
    with pytest.raises(StoreError, match=rf"00000003 has format {number}; this version reads format 2\. {do}\.$"):
        checkpoints.load(two)
    checkpoints.set_damage_aside(two)
    assert (two / "00000003").exists()


def test_what_a_killed_writer_left_is_ignored_and_cleaned(two):
    left = two / ".00000003.12345.tmp"
    shutil.copytree(two / "00000002", left)
    assert checkpoints.load(two)[0]["t"] == 14
    save(two, 21)
    assert not left.exists()
    assert checkpoints.load(two)[0]["t"] == 21


def test_kept_by_count(tmp_path):
    for t in range(5):
        save(tmp_path, t)
    assert [p.name for p in checkpoints.folders(tmp_path)] == ["00000004", "00000005"]


def test_kept_by_hour(tmp_path, monkeypatch):
    """The newest of each hour that is past stays, beside the newest two."""
    now = (time.time() // 3600 + 0.5) * 3600
    monkeypatch.setattr(checkpoints.time, "time", lambda: now)
    ages = (2.3, 2.1, 1.2, 0.2, 0.1, 0.05, 0.0)  # hours, on either side of whole ones
    for k, age in enumerate(ages):
        monkeypatch.setattr(checkpoints, "MAX_NEWEST", 100 if k < len(ages) - 1 else 2)
        path = save(tmp_path, k)
        if k < len(ages) - 1:
            os.utime(path, (now - 3600 * age,) * 2)
    assert [int(p.name) - 1 for p in checkpoints.folders(tmp_path)] == [1, 2, 5, 6]


# -- What cannot be written --------------------------------------------------------------------------------------------


def small(tmp_path, **given):
    g = torch.Generator().manual_seed(0)
    x = torch.randn(60, 4, generator=g)
    task = sd.Task(lambda seed: torch.nn.Linear(4, 1), (x, x[:, :1]), torch.nn.functional.mse_loss, name="small",
                   validation=(x, x[:, :1]))  # fmt: skip
    return sd.fit(task, "adam", 1e-2, batch_size=10, steps=60, checkpoint_every=5, runs=tmp_path, locate=False, **given)


def test_a_full_disk_keeps_the_old_one(two, monkeypatch):
    def full(*args):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(weights, "write", full)
        with pytest.raises(StoreError, match=r"No space left on device.*The run continues; earlier checkpoints stay"):
            save(two, 21)
    assert [p.name for p in checkpoints.folders(two)] == ["00000001", "00000002"]
    assert list(two.glob(".*")) == []
    assert checkpoints.load(two)[0]["t"] == 14


def test_a_run_on_a_full_disk_goes_on_and_says_so_once(tmp_path, monkeypatch, capsys):
    write, append, calls, kept = weights.write, path_file.PathFile.append, [], []

    def full(path, *args):
        calls.append(path)
        if 4 <= len(calls) <= 8:
            raise OSError(28, "No space left on device")
        write(path, *args)

    def no_point(self, attempt, t, tensors):
        if 20 <= t <= 40:
            raise OSError(28, "No space left on device")
        kept.append(t)
        append(self, attempt, t, tensors)

    monkeypatch.setattr(weights, "write", full)
    monkeypatch.setattr(path_file.PathFile, "append", no_point)
    run = small(tmp_path)
    said = capsys.readouterr().err
    assert len(calls) > 8
    assert Store(tmp_path).history(run.id).path.t.tolist() == kept == [*range(20), *range(41, 61)]
    assert (run.status, len(run.losses)) == ("done", 60)
    assert said.count("No space left on device") == 1
    assert "The run continues" in said
    assert checkpoints.load(tmp_path / run.id / "checkpoints")[0]["t"] == 60


@pytest.mark.skipif(os.getuid() == 0, reason="nothing is read-only to root")
def test_a_read_only_folder(two):
    two.chmod(0o500)
    try:
        with pytest.raises(StoreError, match="Cannot write a checkpoint to"):
            save(two, 21)
        assert checkpoints.load(two)[0]["t"] == 14
    finally:
        two.chmod(0o700)


def test_a_folder_that_cannot_be_made(tmp_path, monkeypatch, capsys):
    begin = Store.begin

    def blocked(self, *args):
        writer = begin(self, *args)
        writer.folder.mkdir(exist_ok=True)
        (writer.folder / "checkpoints").write_text("a file, where the folder should be")
        return writer

    monkeypatch.setattr(Store, "begin", blocked)
    run = small(tmp_path)
    said = capsys.readouterr().err
    assert run.status == "done"
    assert said.count("Cannot write a checkpoint to") >= 1


def test_no_checkpoint_is_ahead_of_its_record(tmp_path, monkeypatch, capsys):
    """Steps that are only in memory would be lost to a run that went on after them."""
    from steepest.runs.store import Writer

    def locked(self, chunks, others):
        raise OSError("the database is locked")

    with monkeypatch.context() as patched:
        patched.setattr(Writer, "_commit", locked)
        with pytest.raises(StoreError, match="its last 60 steps were not recorded"):
            small(tmp_path)
    said = capsys.readouterr().err
    assert said.count("No checkpoint is written while the record cannot be") == 1
    assert list(tmp_path.rglob(checkpoints.MANIFEST)) == []
    assert json.dumps(Store(tmp_path).read("small").config.to_json())


def test_where_only_the_end_could_not_be_written_no_step_is_said_to_be_lost(tmp_path, monkeypatch):
    writer = Store(tmp_path).begin("ends", {}, {}, 0)
    writer.step(Step(1, 1.0, 0.1, 1.0, 1.0, 0.1))
    writer.flush()

    def locked(self, chunks, others):
        raise OSError("the database is locked")

    monkeypatch.setattr(type(writer), "_commit", locked)
    with pytest.raises(StoreError, match=r"but how it ended was not recorded. .*locked"):
        writer.close("done", 1.0)
