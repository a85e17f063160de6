"""Checkpoints that were deleted to free the disk: a run is then not begun again over its record."""

import shutil
import sqlite3
from contextlib import closing

import pytest
import torch

import steepest as sd
from steepest.errors import StoreError
from steepest.runs.store import Store, checkpoints

X = torch.linspace(-1, 1, 40)[:, None]


def a_task():
    return sd.Task(model=lambda seed: torch.nn.Linear(1, 1), loss=torch.nn.functional.mse_loss, data=(X, 2 * X))


def fit(runs, stop=None, **given):
    """A run of 20 steps, or one that is left after step `stop`."""
    options = {"rule": "adam", "lr": 0.1, "schedule": "constant", "batch_size": 9, "locate": False, "steps": 20}
    loop = sd.descend(a_task(), runs=runs, **{**options, **given})
    for step in loop:
        if step.t == stop:
            break
    return loop.run


def content(runs):
    """All that the database holds."""
    with closing(sqlite3.connect(runs / "runs.db")) as database:
        return list(database.iterdump())


def recorded_before(runs):
    """Without the step of the last checkpoint, as Steepest 0.1 recorded it."""
    with closing(sqlite3.connect(runs / "runs.db")) as database, database:
        database.execute("UPDATE runs SET config=json_remove(config, '$.last_checkpoint')")


def lose(run, how):
    folder = run.store.folder / run.id
    if how == "all files":
        shutil.rmtree(folder)
    elif how == "the checkpoints":
        shutil.rmtree(folder / "checkpoints")
    else:
        for path in checkpoints.folders(folder / "checkpoints"):
            shutil.rmtree(path)


@pytest.mark.parametrize("is_old", [False, True])
@pytest.mark.parametrize("how", ["all files", "the checkpoints", "what is in their folder"])
@pytest.mark.parametrize("stop", [None, 12])
def test_a_run_whose_checkpoints_are_gone_keeps_its_record(stop, how, is_old, tmp_path):
    run = fit(tmp_path, stop)
    assert run.status == ("done" if stop is None else "interrupted")
    if is_old:
        recorded_before(tmp_path)
    lose(run, how)
    if stop and how == "all files" and is_old:
        return  # nothing says then that there was one
    before = content(tmp_path)
    with pytest.raises(StoreError) as error:
        sd.resume(run.id, a_task(), steps=40, runs=tmp_path)
    assert f"Run {run.id} has no checkpoint any more, so it cannot be continued. Its record of" in str(error.value)
    advice = "Start a new run." if how == "all files" else f"Pass start='{run.id}' (--start) for a new run"
    assert advice in str(error.value)
    assert content(tmp_path) == before
    if how != "all files":
        assert fit(tmp_path, start=run.id).status == "done"


class Stop(Exception):
    pass


def test_a_run_that_never_had_one_begins_again(tmp_path):
    """It failed before its first checkpoint: its steps are repeated bit for bit."""
    twin = fit(tmp_path / "twin")

    def fail(batch, generator):
        calls.append(1)
        if len(calls) == 5:
            raise Stop
        return batch

    calls = []
    task = a_task()
    task.augment = fail
    with pytest.raises(Stop):
        sd.fit(task, "adam", 0.1, "constant", 9, steps=20, locate=False, guard=False, runs=tmp_path / "runs")
    (record,) = Store(tmp_path / "runs").runs()
    assert record.status == "failed"
    assert record.config.last_checkpoint == 0
    run = sd.resume(record.id, a_task(), runs=tmp_path / "runs")
    assert run.losses.tolist() == twin.losses.tolist()
    assert run.record.config.last_checkpoint == 20


def test_the_last_checkpoint_is_recorded(tmp_path):
    run = fit(tmp_path, 12, checkpoint_every=5)
    assert run.record.config.last_checkpoint == 12
    resumed = sd.resume(run.id, a_task(), runs=tmp_path)
    assert resumed.record.config.last_checkpoint == 20
    assert "last_checkpoint" not in sd.compare(run.id, fit(tmp_path).id, tmp_path).differing
