"""Why a run did not reach its end is recorded with it."""

import signal

import pytest
import torch
from typer.testing import CliRunner

import steepest as sd
from steepest.cli import app
from steepest.runs.store import Store

X = torch.linspace(-1, 1, 40)[:, None]
OPTIONS = {"rule": "adam", "lr": 0.1, "schedule": "constant", "batch_size": 9, "steps": 20}


def a_task(**given):
    return sd.Task(
        **{"model": torch.nn.Linear(1, 1), "loss": torch.nn.functional.mse_loss, "data": (X, 2 * X), **given}
    )


def test_an_exception_is_recorded_with_the_line_that_raised_it(tmp_path):
    def loss(output, target):
        calls.append(1)
        if len(calls) == 9:
            raise RuntimeError("no more\nof these")
        return torch.nn.functional.mse_loss(output, target)

    calls = []
    with pytest.raises(RuntimeError, match="no more"):
        sd.fit(a_task(loss=loss), runs=tmp_path, guard=False, locate=False, **OPTIONS)
    (record,) = Store(tmp_path).runs()
    *_, event = sd.open(record.id, tmp_path).events
    assert (record.status, event.kind, event.done) == ("failed", "failed", "the run failed")
    assert event.seen.startswith("RuntimeError: no more of these (")
    assert f"{__file__}, line " in event.seen
    shown = CliRunner().invoke(app, ["show", record.id, "--runs", str(tmp_path)])
    assert "the run failed: RuntimeError: no more of these" in " ".join(shown.stdout.split())
    resumed = sd.resume(record.id, a_task(), runs=tmp_path)
    assert [e.kind for e in resumed.events] == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal(number, tmp_path):
    def augment(batch, generator):
        calls.append(1)
        if len(calls) == 5:
            signal.raise_signal(number)
        return batch

    calls = []
    run = sd.fit(a_task(augment=augment), runs=tmp_path, locate=False, **OPTIONS)
    reason = "Ctrl-C" if number == signal.SIGINT else "SIGTERM"
    assert run.status == "interrupted"
    assert run.events[-1][:4] == (len(run.losses), "interrupted", reason, "the run was interrupted")
    assert sd.resume(run, a_task()).events == ()


def test_a_loop_that_was_left(tmp_path):
    loop = sd.descend(a_task(), runs=tmp_path, locate=False, **OPTIONS)
    for step in loop:
        if step.t == 3:
            break
    assert [e[:4] for e in loop.run.events] == [(3, "interrupted", "the loop was left", "the run was interrupted")]


def test_a_measurement_at_the_end_that_fails(tmp_path):
    """The last step is taken and stored, but the test split cannot be measured."""
    task = a_task(validation=(X, X), test=(X, X.repeat(1, 2)))
    with pytest.raises(Exception, match="size"):
        sd.fit(task, runs=tmp_path, locate=False, **OPTIONS)
    (record,) = Store(tmp_path).runs()
    run = sd.open(record.id, tmp_path)
    assert len(run.losses) == 20
    assert run.events[-1].kind == "failed"
    assert run.point.isfinite().all()
