"""The store's door: whatever stands in a row, it is said in words, and the other runs live."""

import dataclasses
import json
import sqlite3

import numpy as np
import pytest

import steepest as sd
from steepest.errors import InputError, StoreError
from steepest.records.config import Config
from steepest.runs.store import Store, versions
from steepest.runs.store.checks import is_plain_id
from tests.runs.store.conftest import CONFIG

INVALID = b"\xff\xfe"
"""No UTF-8, which SQLite stores as text where it is told to."""


def configured(**changes):
    return json.dumps({**CONFIG, **changes})


def nested(name, **changes):
    return configured(**{name: {**CONFIG[name], **changes}})


RUN_ROWS = {
    "name": [b"x", INVALID, "x" * 9000],
    "status": ["", "hacked", b"done", 7],
    "started": ["", "yesterday", "0001-01-01", "9999-12-31T23:59:59+00:00", b"x", 7],
    "seconds": ["long", -1.0, 9e999, b"x"],
    "seed": ["x", b"x"],
    "notes": [b"x", INVALID],
    "host": [b"x", "x" * 9000],
    "pid": ["x", -1, 2**40, b"x"],
    "born": [b"x", "x" * 900],
    "versions": ["", "{", "[]", "null", '{"threads": 7}', '{"threads": "999999999"}', '{"torch": null}'],
    "config": [
        "", "{", "[]", "null", '"x"', "[" * 100_000, '{"steps": ' + "9" * 5000 + "}", b"{}",
        configured(steps="x"), configured(steps=-1), configured(steps=True), configured(steps=2**70),
        configured(lr="fast"), configured(weights=-3), configured(batch_size="x"), configured(better="bigger"),
        configured(parameters=7), configured(parameters=[7]), configured(task=None), configured(metric="\ud800"),
        configured(guard=[]), configured(guard={"watch": {}}), configured(groups={"a": 7}), configured(stages=[7]),
        configured(stages=[{"rule": 7}]), configured(stages=[{"odd": 7}]), configured(search=[]),
        configured(verdict={}), configured(parameters={"a": 1}),
        nested("search", best="x"), nested("search", table=[[1]]), nested("verdict", numbers=[["x"]]),
        nested("verdict", numbers=[["x", "y", 1, 2]]), nested("verdict", products="many"), nested("verdict", odd=1),
    ],
}  # fmt: skip
OTHER_ROWS = {
    ("chunks", "attempt"): ["x", -1, 2**40],
    ("chunks", "t0"): ["x", -1, 0, 7, 2**60],
    ("chunks", "n"): ["x", -1, 0, 7, 2**40],
    ("chunks", "t"): [b"", "x", b"x" * 160, b"x" * 8, 7],
    ("chunks", "epoch"): [b"", np.full(20, np.nan).tobytes()],
    ("chunks", "lr"): [b"x", "x"],
    ("chunks", "loss"): [b"", "x", 7],
    ("chunks", "grad_norm"): [b"x"],
    ("chunks", "update_norm"): ["x"],
    ("measurements", "attempt"): ["x", -1],
    ("measurements", "t"): ["x", -1, 2**60],
    ("measurements", "epoch"): ["x", 9e999, b"x"],
    ("measurements", "split"): [b"x", INVALID, "x" * 500_000],
    ("measurements", "name"): [b"x", INVALID],
    ("measurements", "value"): ["x", b"x"],
    ("events", "attempt"): ["x", -1],
    ("events", "n"): ["x", 0, -1],
    ("events", "t"): ["x", -1, 2**60],
    ("events", "kind"): [b"x", INVALID],
    ("events", "seen"): [b"x", "x" * 500_000],
    ("events", "done"): [b"x"],
    ("events", "after"): [INVALID],
}


def changed(folder, table, column, value):
    """Writes a value into the rows of the first run."""
    key = "id" if table == "runs" else "run"
    cast = "CAST(? AS TEXT)" if value is INVALID else "?"
    folder.execute(f"UPDATE OR REPLACE {table} SET {column}={cast} WHERE {key}=?", (value, folder.run))


def assert_only_this_suffers(folder, run, before):
    """The run is refused in words, and removed; the other, and all outside, are as they were."""
    other = folder.store.read(folder.other)
    for read in (folder.store.read, folder.store.history):
        with pytest.raises(StoreError) as error:
            read(run)
        assert "\n" not in str(error.value)
        assert len(str(error.value)) < 1000
    assert folder.store.remove(run) == run
    assert [r.id for r in folder.store.runs()] == [folder.other]
    assert np.array_equal(folder.store.read(folder.other).steps.loss, other.steps.loss)
    after = folder.snapshot()
    untouched = {k: v for k, v in before.items() if f"/{folder.run}/" not in k and "runs.db" not in k}
    assert {k: v for k, v in after.items() if k in untouched} == untouched


@pytest.mark.parametrize(("column", "value"), [(c, v) for c, values in RUN_ROWS.items() for v in values],
                         ids=lambda x: repr(x)[:20])  # fmt: skip
def test_a_damaged_row_of_a_run(column, value, folder):
    before = folder.snapshot()
    changed(folder, "runs", column, value)
    damaged, other = sorted(folder.store.runs(), key=lambda r: r.id == folder.other)
    assert (damaged.id, damaged.status, other.status) == (folder.run, "damaged", "done")
    assert damaged.damage
    assert damaged.damage.isprintable()
    assert_only_this_suffers(folder, folder.run, before)
    assert not (folder.path / folder.run).exists()


@pytest.mark.parametrize(("place", "value"), [(p, v) for p, values in OTHER_ROWS.items() for v in values],
                         ids=lambda x: repr(x)[:20])  # fmt: skip
def test_a_damaged_row_of_steps_measurements_or_events(place, value, folder):
    before = folder.snapshot()
    changed(folder, *place, value)
    records = {record.id: record for record in folder.store.runs()}
    assert records[folder.other].damage == ""
    assert records[folder.run].damage or place[0] != "measurements"  # of the others the list reads little
    assert_only_this_suffers(folder, folder.run, before)


def test_a_missing_chunk_and_one_too_many(folder):
    writer = folder.store.begin("long", CONFIG, versions(), 0)
    for first in (1, 11, 21):
        for t in range(first, first + 10):
            writer.step(sd.Step(t, t / 10, 0.1, 1.0, 1.0, 0.1))
        writer.flush()
    writer.close("done", 1.0)
    assert len(folder.store.read(writer.id).steps) == 30
    folder.execute("DELETE FROM chunks WHERE run=? AND t0=11", (writer.id,))
    with pytest.raises(StoreError, match="steps must follow each other, got step 21 after step 10"):
        folder.store.read(writer.id)


def test_every_field_of_a_configuration_has_its_type(folder):
    """One value of each field that can be none of its values."""
    for field in dataclasses.fields(Config):
        if field.name == "no_decay":
            continue
        odd = {"deep": {"deeper": [1]}} if "str" in str(field.type) and "Mapping" not in str(field.type) else "\ud800"
        changed(folder, "runs", "config", configured(**{field.name: odd}))
        (damaged,) = (r for r in folder.store.runs() if r.id == folder.run)
        assert damaged.damage, field.name


def test_what_a_later_version_adds_to_a_configuration_is_passed_over(folder):
    changed(folder, "runs", "config", configured(colour="blue"))
    assert [r.damage for r in folder.store.runs()] == ["", ""]


def test_a_bomb_of_zeros_is_refused_before_it_is_read(folder):
    """Zeros cost nothing in an archive, and decompress to as many steps as somebody likes."""
    columns = ("t", "epoch", "lr", "loss", "grad_norm", "update_norm")
    folder.execute(f"UPDATE chunks SET {', '.join(f'{c}=zeroblob(800000)' for c in columns)}")
    with pytest.raises(StoreError, match="does not have the size that it states"):
        folder.store.read(folder.run)
    folder.execute("UPDATE chunks SET n=100000")
    with pytest.raises(StoreError, match="steps must be numbered one after another"):
        folder.store.losses(folder.run)
    folder.execute("UPDATE chunks SET n=9000000000000")
    with pytest.raises(StoreError, match="is damaged"):
        folder.store.losses(folder.run)


# -- Ids ---------------------------------------------------------------------------------------------------------------

PARTS = ["..", ".", "", "../victim", "a/b", "a\\b", "C:", "~", "x\0y", "\n", "\x1b[2J", " ", "-rf", ".hidden"]
HOSTILE_IDS = list(
    dict.fromkeys(
        [
            *PARTS, *(f"{a}/{b}" for a in PARTS for b in PARTS[:11]), *(f"/{part}" for part in PARTS), "x" * 256,
            "con", "NUL", "aux.txt", "com1", "LPT9", "prn", "runs.db", "runs.db-wal", "runs.db-shm", "end.", "$HOME",
            "%2e%2e", "..%2fvictim", "\u2024\u2024", "\uff0e\uff0e", "\u202eslidd", "a\u200bb", "a\u0301", "*", "?",
            "<b>", "a|b", "a;b", "a&b", "a'b", 'a"b', "a`b", "{x}", "[x]", "//host/share", "\\\\host\\share",
            "file:///x",
            "victim/", "./victim", "../..", "../runs", "a//b", "a/..", "...", "a:stream", "\u2028", "\x7f",
            "é/..", b"blob", b"", INVALID,
        ]
    )
)  # fmt: skip


def test_no_hostile_id_leads_out_of_the_folder(folder):
    """Each is listed by what stands for it, and removed without a look at its folder."""
    assert len(HOSTILE_IDS) >= 200
    before = folder.snapshot()
    columns = "name, status, started, seconds, seed, config, versions, notes, host, pid, born"
    for run in HOSTILE_IDS:
        cast = "CAST(? AS TEXT)" if run is INVALID else "?"
        folder.execute(f"INSERT INTO runs SELECT {cast}, {columns} FROM runs WHERE id=?", (run, folder.run))
        folder.execute(f"INSERT INTO events VALUES ({cast}, 0, 1, 1, 'skip', '', '', '')", (run,))
    names = folder.store.names()
    assert set(names) == {folder.run, folder.other}
    damaged = [record for record in folder.store.runs() if record.damage]
    assert len(damaged) == len(HOSTILE_IDS)
    for record in damaged:
        assert record.damage.startswith("id must be a plain name")
        assert record.damage.isprintable()
        assert record.id.startswith("damaged:")
    for record in damaged[::10]:
        with pytest.raises(StoreError, match="There is no run"):
            folder.store.read(record.id)
        folder.store.remove(record.id)
    rest = folder.store.runs()
    assert set(folder.store.names()) == {folder.run, folder.other}
    assert [r.id for r in rest if r.damage] == [r.id for n, r in enumerate(damaged) if n % 10]
    assert len(folder.store.read(folder.run).events) == 1
    with sqlite3.connect(folder.path / "runs.db") as database:
        assert database.execute("SELECT count(*) FROM events").fetchone() == (len(rest),)
    database.close()
    after = folder.snapshot()
    assert {k: v for k, v in after.items() if "runs.db" not in k} == {
        k: v for k, v in before.items() if "runs.db" not in k
    }


@pytest.mark.parametrize("run", [run for run in HOSTILE_IDS if isinstance(run, str)], ids=ascii)
def test_a_hostile_id_that_is_asked_for_is_none(run, folder):
    before = folder.snapshot()
    for act in (folder.store.read, folder.store.remove, folder.store.points, folder.store.folder_of):
        with pytest.raises(StoreError):
            act(run)
    assert folder.snapshot() == before
    assert not is_plain_id(run)


HOSTILE_NAMES = [
    "..", ".", "/etc/passwd", "a/b", "C:\\x", "nul", "-rf", "~", "", " ", "a\0b", "\n", "\x1b[31m", "\u202e",
    "x" * 2000, "é" * 500, "日本", "🤷", "<script>", "[red]", "%s", "$(touch x)", "'; DROP TABLE runs; --",
]  # fmt: skip


def test_hostile_names_are_names(folder):
    assert len(HOSTILE_NAMES) == 23
    for name in HOSTILE_NAMES:
        writer = folder.store.begin(name, CONFIG, versions(), 0, name)
        writer.close("done", 1.0)
        assert is_plain_id(writer.id)
        assert writer.folder.parent == folder.path
        record = folder.store.read(writer.id)
        assert (record.name, record.notes, record.damage) == (name, name, "")


@pytest.mark.parametrize("name", ["x" * 2001, "\udc80", 7, b"x"], ids=ascii)
def test_a_name_that_cannot_be_stored_is_refused_before_anything_is_written(name, tmp_path):
    with pytest.raises(InputError, match="name must be text of at most 2,000 characters"):
        Store(tmp_path / "runs").begin(name, {}, {}, 0)
    assert not (tmp_path / "runs").exists()


def test_thousands_of_steps_under_two_attempts_are_still_read(folder):
    """What the door lets in: a rewind repeats steps, and the newest attempt counts."""
    writer = folder.store.begin("rewound", CONFIG, versions(), 0)
    for t in range(1, 2001):
        writer.step(sd.Step(t, t / 10, 0.1, 1.0, 1.0, 0.1))
    writer.measure(sd.Measurement(2000, 200.0, "validation", "accuracy", 0.1))
    writer.go_back(1000)
    for t in range(1001, 3001):
        writer.step(sd.Step(t, t / 10, 0.1, float("nan"), float("inf"), 0.1))
    writer.measure(sd.Measurement(3000, 300.0, "validation", "accuracy", 0.2))
    writer.close("done", 1.0)
    (record,) = (r for r in folder.store.runs() if r.id == writer.id)
    assert [m.value for m in record.measurements] == [0.2]
    assert [m.value for m in folder.store.read(writer.id).measurements] == [0.2]
    assert len(folder.store.read(writer.id).steps) == 3000
    assert len(folder.store.history(writer.id).record.steps) == 4000
