"""Runs that an earlier version stored (`tests/runs/stored/make.py`): they open, and interrupted ones are resumed."""

import json
import re
import shutil
import sqlite3
from contextlib import closing

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import steepest as sd
from steepest.cli import app
from steepest.runs.film import SURVEY, stored_surfaces
from steepest.runs.store import Store, versions
from tests.runs.stored import make

EXPECTED = json.loads((make.FOLDER / "expected.json").read_text())
MACHINE = ("torch", "numpy", "numba", "processor")
"""What must be the same for the same bits; the thread count is restored with the run."""
RTOL = 0.02
"""Relative to the loss + 1 or to the largest weight, on another machine. With PyTorch's kernels for another instruction
set (`ATEN_CPU_CAPABILITY=default`) nine in ten runs agree to 1e-7, those after an explosion to 0.006."""
AMPLIFIES = {"guard-watch"}
"""Runs that diverge and are not caught: rounding grows to 0.4 of the loss there."""
INTERRUPTED = [name for name, case in make.CASES.items() if case.stop]


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """The folder of the stored runs, to read."""
    folder = tmp_path_factory.mktemp("stored")
    shutil.unpack_archive(make.FOLDER / "runs.tar.xz", folder, filter="data")
    return folder


@pytest.fixture(scope="module")
def expected():
    with np.load(make.FOLDER / "expected.npz") as arrays:
        return dict(arrays)


def test_all_are_listed(stored):
    records = {record.name: record for record in Store(stored).runs()}
    assert set(records) == {*make.CASES, "searched"}
    for name, case in make.CASES.items():
        assert records[name].status == ("interrupted" if case.stop else "stopped" if "stopped" in name else "done")
    listing = CliRunner().invoke(app, ["runs", "--runs", str(stored)])
    assert listing.exit_code == 0, listing.output
    assert all(record.id in listing.output for record in records.values())


@pytest.mark.parametrize("name", [*make.CASES, "searched"])
def test_each_is_read(name, stored, tmp_path):
    run = sd.open(name, stored)
    assert len(run.losses) > 0
    assert make.CASES.get(name, make.Case()).killed or run.point.isfinite().all()
    shown = CliRunner().invoke(app, ["show", run.id, "--runs", str(stored)])
    assert shown.exit_code == 0, shown.output
    assert run.id in shown.output
    assert sd.diagnose(run).sentence
    film = re.search(r'id="film"[^>]*>(.*?)</script>', run.film(tmp_path / "film.html").read_text(), re.DOTALL)
    assert json.loads(film[1])["members"]["run"]["name"] == name


@pytest.mark.parametrize(
    ("one", "other"), [("adam", "momentum"), ("guard-jump", "guard-watch"), ("finished", "searched")]
)
def test_two_are_compared(one, other, stored):
    comparison = sd.compare(one, other, stored)
    assert "rule" in comparison.differing or "guard" in comparison.differing
    assert comparison.sentence


def test_the_findings_of_a_finished_run(stored, tmp_path):
    run = sd.open("finished", stored)
    assert run.verdict is not None
    assert run.verdict.numbers
    assert run.verdict.kind == run.record.verdict.kind == "DESCENDING"
    assert run.verdict.sentence.startswith("Still descending")
    surfaces = stored_surfaces(Store(stored), run.id)
    assert surfaces is not None
    assert set(surfaces.grids) == {"curvature", "principal", "random"}
    film = run.film(tmp_path / "film.npz", task=make.CASES["finished"].task())
    assert film.stat().st_size > 0
    assert (stored / run.id / SURVEY).exists()


def test_the_search_of_a_run(stored):
    record = sd.open("searched", stored).record
    assert record.search.best == record.config.lr


def resumed(name, stored, folder):
    """A copy of a stored run, resumed to its end."""
    run_id = Store(stored).resolve(name)
    (folder / run_id).mkdir(parents=True)
    shutil.copy(stored / "runs.db", folder)
    shutil.copytree(stored / run_id, folder / run_id, dirs_exist_ok=True)
    case = make.CASES[name]
    return sd.fit(case.task(), make.AGAIN.get(name), resume=run_id, runs=folder, **case.longer)


@pytest.mark.parametrize("name", [*INTERRUPTED, "extended"])
def test_it_goes_on_as_the_earlier_version_would_have(name, stored, expected, tmp_path):
    then = sd.open(name, stored).record.versions
    run = resumed(name, stored, tmp_path)
    losses, point = expected[f"{name}/losses"], expected[f"{name}/point"]
    assert [[e.t, e.kind] for e in run.events] == EXPECTED[name]["events"]
    assert run.status == EXPECTED[name]["status"]
    if all(then[key] == versions()[key] for key in MACHINE):
        assert np.array_equal(run.losses, losses, equal_nan=True)
        assert np.array_equal(run.point.numpy(), point)
        assert run.metric == EXPECTED[name]["metric"]
    elif name not in AMPLIFIES:
        np.testing.assert_allclose(run.losses, losses, RTOL, RTOL)
        np.testing.assert_allclose(run.point.numpy(), point, RTOL, RTOL * np.abs(point).max())


class Scaled(torch.nn.Module):
    """A linear layer with a vector that decays by today's rule and did not by that of Steepest 0.1."""

    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(3, 2)
        self.gamma = torch.nn.Parameter(torch.ones(2))

    def forward(self, x):
        return self.gamma * self.linear(x)


def test_a_run_of_before_keeps_the_weights_that_decay(tmp_path):
    """Its configuration says "norms and biases", which went by dimensions then."""
    x = torch.randn(20, 3, generator=torch.Generator().manual_seed(0))

    def train(steps, no_decay):
        torch.manual_seed(0)
        task = sd.Task(model=Scaled(), loss=torch.nn.functional.mse_loss, data=(x, x[:, :2]))
        options = {"batch_size": 4, "steps": steps, "no_decay": no_decay, "runs": tmp_path, "locate": False}
        return sd.fit(task, sd.adamw(weight_decay=0.9), 0.05, "constant", **options)

    whole = train(12, "fewer than two dimensions").point
    assert not whole.equal(train(12, "norms and biases").point)
    run = train(6, "fewer than two dimensions")
    with closing(sqlite3.connect(tmp_path / "runs.db")) as database, database:
        (text,) = database.execute("select config from runs where id = ?", (run.id,)).fetchone()
        before = json.dumps({**json.loads(text), "no_decay": "norms and biases"})
        database.execute("update runs set config = ? where id = ?", (before, run.id))
    resumed = sd.resume(run, steps=12)
    assert resumed.point.equal(whole)
    assert resumed.record.config.no_decay == "fewer than two dimensions"
