"""Trackers: what they are told while a run trains and afterwards, and that none of them can harm it."""

import csv
import math
import warnings
from importlib.metadata import PackageNotFoundError

import numpy as np
import pytest
import torch
from torch import nn

import steepest as sd
from steepest.integrations import versions
from steepest.integrations.csv_file import CsvFile
from steepest.integrations.tensorboard import TensorBoard
from steepest.integrations.trainer import TrainerRun
from steepest.records.run import Step
from steepest.records.tracker import TRACKER_METHODS, RunStart

EPOCHS, BATCH = 6, 20


def task(seed=0):
    random = torch.Generator().manual_seed(seed)
    x = torch.randn(200, 8, generator=random)
    torch.manual_seed(seed)
    net = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2))
    return sd.Task(net, (x[40:], (x.sum(1) > 0).long()[40:]), nn.functional.cross_entropy,
                   validation=(x[:40], (x.sum(1) > 0).long()[:40]), metrics={"accuracy": sd.accuracy})  # fmt: skip


def fit(folder, trackers=(), **choices):
    choices = {"rule": "adam", "lr": 1e-2, "epochs": EPOCHS, "batch_size": BATCH, **choices}
    return sd.fit(task(), runs=folder, trackers=trackers, locate=False, **choices)


class Log(sd.Tracker):
    """Remembers what it is told, in order."""

    def __init__(self):
        self.calls = []

    def of(self, method):
        return [what for name, what in self.calls if name == method]


for name in TRACKER_METHODS:
    setattr(Log, name, lambda self, what, name=name: self.calls.append((name, what)))


def rows_of(path):
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def column(rows, name):
    return [float(row[name]) for row in rows if row[name]]


def test_a_tracker_is_told_what_the_record_holds(tmp_path):
    log = Log()
    run = fit(tmp_path, [log])
    names = [name for name, _ in log.calls]
    assert (names[0], names[-1], names.count("begin"), names.count("end")) == ("begin", "end", 1, 1)
    start = log.of("begin")[0]
    assert (start.id, start.folder, start.t, start.config["lr"]) == (run.id, tmp_path / run.id, 0, 1e-2)
    assert [step.loss for step in log.of("step")] == run.losses.tolist()
    assert sorted(log.of("measure")) == sorted(run.metrics)
    assert log.of("end") == ["done"]


def test_undone_steps_are_told(tmp_path):
    """An exploding run: after each rewind the tracker that drops what is undone has what the record has."""
    log = Log()
    run = fit(tmp_path, [log, "csv"], rule="momentum", lr=10.0, schedule="warmup(90%)", epochs=40)
    backs = log.of("go_back")
    assert backs
    steps = {}
    for method, what in log.calls:
        if method == "go_back":
            steps = {t: loss for t, loss in steps.items() if t <= what}
        elif method == "step":
            steps[what.t] = what.loss
    np.testing.assert_array_equal(list(steps.values()), run.losses)
    rows = rows_of(tmp_path / run.id / "metrics.csv")
    np.testing.assert_array_equal(column(rows, "loss"), run.losses)
    assert [row["event"] for row in rows if row["event"]]
    assert [e.kind for e in log.of("event")] == [e.kind for e in run.events]


def test_the_csv_has_every_number(tmp_path):
    run = fit(tmp_path, "csv")
    rows = rows_of(tmp_path / run.id / "metrics.csv")
    for name in ("lr", "loss", "grad_norm", "update_norm"):
        np.testing.assert_array_equal(column(rows, name), getattr(run.record.steps, name))
    for name in ("loss", "accuracy"):
        values = [m.value for m in run.record.series("validation", name)]
        assert column(rows, f"validation_{name}") == values
    path = run.export("csv", tmp_path / "deep" / "export.csv")
    assert path == tmp_path / "deep" / "export.csv"
    live, later = (
        [tuple(sorted(row.items())) for row in rows_of(p)] for p in (tmp_path / run.id / "metrics.csv", path)
    )
    assert sorted(live) == sorted(later)


def test_a_resumed_run_goes_on_in_its_file(tmp_path):
    run = fit(tmp_path, ["csv"])
    log = Log()
    longer = sd.resume(run.id, task(), epochs=EPOCHS + 2, runs=tmp_path, trackers=["csv", log])
    rows = [row for row in rows_of(tmp_path / run.id / "metrics.csv") if row["loss"]]
    assert [int(row["step"]) for row in rows] == list(range(1, len(longer.losses) + 1))
    assert [float(row["loss"]) for row in rows] == longer.losses.tolist()
    assert log.of("begin")[0].t == len(run.losses)


class Broken(sd.Tracker):
    """Raises in one method."""

    def __init__(self, method):
        self.calls = 0

        def fail(what):
            self.calls += 1
            raise RuntimeError("the server is gone")

        setattr(self, method, fail)


@pytest.mark.parametrize("method", [name for name in TRACKER_METHODS if name != "go_back"])
def test_a_tracker_that_fails_does_no_harm(tmp_path, capsys, method):
    choices = {"rule": "momentum", "lr": 1.0, "schedule": "warmup(90%)", "epochs": 40} if method == "event" else {}
    alone, broken, log = fit(tmp_path / "alone", **choices), Broken(method), Log()
    run = fit(tmp_path / "with", [broken, log], **choices)
    assert torch.equal(alone.point, run.point)
    np.testing.assert_array_equal(alone.losses, run.losses)
    assert broken.calls == 1
    assert log.of("end") == ["done"]
    words = capsys.readouterr().err
    assert words.count("the tracker Broken failed") == 1
    assert f"failed in {method} (RuntimeError: the server is gone)" in words


def test_in_a_loop_of_ones_own_and_without_a_record(tmp_path, capsys):
    log = Log()
    steps = list(sd.descend(task(), "adam", 1e-2, batch_size=BATCH, steps=10, trackers=[log, Broken("step")]))
    assert [s.loss for s in log.of("step")] == [s.loss for s in steps]
    assert "Broken failed" in capsys.readouterr().err
    log, model = Log(), task().model
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with sd.watch(model, optimizer, runs=tmp_path, trackers=[log]) as run:
        for _ in range(5):
            optimizer.zero_grad()
            loss = model(torch.ones(4, 8)).square().mean()
            loss.backward()
            run.step(loss)
        run.measure({"accuracy": 0.5})
        run.note("a note")
    assert [s.loss for s in log.of("step")] == run.losses.tolist()
    assert [m.value for m in log.of("measure")] == [0.5]
    assert log.of("event")[0].seen == "a note"
    callback = TrainerRun(runs=tmp_path, trackers=[tracker := Log()])
    callback.begin(model, [torch.optim.SGD(model.parameters(), lr=0.1)], [], 0)
    callback.end()
    assert tracker.of("end") == ["done"]


@pytest.mark.parametrize(
    ("trackers", "words"),
    [
        (["tensorbord"], "Unknown tracker 'tensorbord'. Did you mean 'tensorboard'? Known trackers: csv, mlflow, tens"),
        ([Log], "A tracker must be an object with the methods of sd.Tracker, got the class Log"),
        ([3], "got int without begin, step, measure, event, go_back, end"),
        (3, "trackers must be a list of names and trackers, got int"),
    ],
)
def test_what_is_no_tracker_is_refused_before_the_first_step(tmp_path, trackers, words):
    with pytest.raises(sd.InputError, match=words[:40]) as error:
        fit(tmp_path, trackers)
    assert words in str(error.value)
    assert not (tmp_path / "runs.db").exists()


def test_a_file_is_needed_where_nothing_is_recorded(tmp_path):
    with pytest.raises(sd.InputError, match="The tracker csv needs a place"):
        sd.descend(task(), "adam", 1e-2, steps=3, trackers=["csv"])
    list(sd.descend(task(), "adam", 1e-2, steps=3, trackers=[f"csv:{tmp_path / 'loss.csv'}"]))
    assert len(column(rows_of(tmp_path / "loss.csv"), "loss")) == 3


def test_an_export_that_cannot_be_written_is_refused(tmp_path):
    run = fit(tmp_path, epochs=1)
    (tmp_path / "file").write_text("")
    with pytest.raises(sd.InputError, match="path must be a file that can be written"):
        run.export("csv", tmp_path / "file" / "metrics.csv")


@pytest.mark.parametrize("name", ["tensorboard", "mlflow"])
def test_a_missing_library_says_what_to_install(tmp_path, monkeypatch, name):
    def version(library):
        raise PackageNotFoundError(library)

    monkeypatch.setattr(versions, "version", version)
    with pytest.raises(sd.InputError, match=f"{name} is not installed. Install it: pip install 'steepest\\[{name}\\]'"):
        fit(tmp_path, [name])
    assert not (tmp_path / "runs.db").exists()


def test_numbers_that_are_not_finite_are_written(tmp_path):
    tracker = CsvFile(tmp_path / "loss.csv")
    tracker.begin(RunStart("", "name", {}, None))
    tracker.step(sd.Step(1, 0.1, 0.1, math.nan, math.inf, 0.0))
    tracker.end("failed")
    (row,) = rows_of(tmp_path / "loss.csv")
    assert (row["loss"], row["grad_norm"]) == ("nan", "inf")


# -- The real libraries ------------------------------------------------------------------------------------------------


@pytest.fixture
def quiet():
    """What the libraries warn of is not ours."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def scalars(folder):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder), {"scalars": 0})
    events.Reload()
    return {tag: [(e.step, e.value) for e in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def test_tensorboard_shows_the_run(tmp_path, quiet):
    pytest.importorskip("tensorboard", reason="tensorboard is not installed")
    run = fit(tmp_path, ["tensorboard"])
    for folder in (tmp_path / run.id, run.export("tensorboard", tmp_path / "export")):
        tags = scalars(folder)
        np.testing.assert_array_equal([x for _, x in tags["train/loss"]], run.losses.astype(np.float32))
        assert [t for t, _ in tags["train/loss"]] == list(range(1, len(run.losses) + 1))
        assert len(tags["validation/accuracy"]) == EPOCHS + 1


def test_tensorboard_drops_undone_steps(tmp_path, quiet):
    pytest.importorskip("tensorboard", reason="tensorboard is not installed")
    run = fit(tmp_path, ["tensorboard"], rule="momentum", lr=10.0, schedule="warmup(90%)", epochs=40)
    losses = scalars(tmp_path / run.id)["train/loss"]
    assert [t for t, _ in losses] == list(range(1, len(run.losses) + 1))
    np.testing.assert_array_equal([x for _, x in losses], run.losses.astype(np.float32))


def test_tensorboard_reads_what_follows_one_another_in_one_second(tmp_path, monkeypatch):
    """Files are read by name, which ends with their number in the program: "10" would come before "9"."""
    pytest.importorskip("tensorboard", reason="tensorboard is not installed")
    from tensorboard.summary.writer.event_file_writer import _global_uid

    monkeypatch.setattr(_global_uid, "_value", 9)
    expected = {}
    for part in range(3):  # a run that is resumed at steps 6 and 12, and each time goes back at its end
        board = TensorBoard(tmp_path)
        board.begin(RunStart("digits-1", "digits", {}, tmp_path, 6 * part))
        for t in range(6 * part + 1, 6 * part + 10):
            board.step(Step(t, 0.0, 0.1, 10.0 * part, 1.0, 1.0))
        board.go_back(6 * part + 6)
        board.step(Step(6 * part + 7, 0.0, 0.1, 10.0 * part + 1, 1.0, 1.0))
        board.end("interrupted")
        expected = {t: loss for t, loss in expected.items() if t <= 6 * part}
        expected |= {**dict.fromkeys(range(6 * part + 1, 6 * part + 7), 10.0 * part), 6 * part + 7: 10.0 * part + 1}
    assert dict(scalars(tmp_path)["train/loss"]) == expected


@pytest.mark.slow
def test_mlflow_has_the_run(tmp_path, quiet):
    mlflow = pytest.importorskip("mlflow", reason="mlflow is not installed")
    pytest.importorskip("alembic", reason="mlflow's database is not installed")
    run = fit(tmp_path, [f"mlflow:{tmp_path / 'live'}"])
    for place in (f"sqlite:///{tmp_path / 'live'}/mlflow.db", run.export("mlflow", tmp_path / "export")):
        client = mlflow.MlflowClient(place)
        (found,) = client.search_runs(["0"])
        history = client.get_metric_history(found.info.run_id, "train/loss")
        assert [m.value for m in sorted(history, key=lambda m: m.step)] == run.losses.tolist()
        assert found.info.status == "FINISHED"
        assert found.data.params["lr"] == "0.01"
