"""`resume="auto"`: a program that is started again goes on with its run."""

import os
import signal

import pytest
import torch

import steepest as sd
from steepest.runs.store import Store
from tests.distributed import tasks
from tests.distributed.tasks import tuned


def stopping(step, number=signal.SIGTERM):
    """The task, at whose n-th batch a signal comes."""
    calls = []

    def augment(batch, generator):
        calls.append(1)
        if len(calls) == step:
            os.kill(os.getpid(), number)
        return batch

    return tasks.task(augment=augment)


def fit(runs, task=None, **more):
    return sd.fit(task or tasks.task(), **tuned(steps=20, **more), runs=runs, name="again", resume="auto")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2])
def test_a_signal_ends_the_program_and_the_next_one_goes_on(tmp_path, number):
    with pytest.raises(SystemExit) as end:
        fit(tmp_path, stopping(8, number))
    assert end.value.code == 75
    (first,) = Store(tmp_path).runs()
    assert first.status == "interrupted"
    run = fit(tmp_path)
    twin = sd.fit(tasks.task(), **tuned(steps=20), runs=tmp_path)
    assert (run.id, run.status) == (first.id, "done")
    assert run.losses.tolist() == twin.losses.tolist()
    assert signal.getsignal(number) == signal.SIG_DFL


def test_a_run_that_is_done_is_returned_with_its_model(tmp_path):
    first, task = fit(tmp_path), tasks.task()
    again = fit(tmp_path, task)
    assert again.id == first.id
    assert len(Store(tmp_path).runs()) == 1
    assert all(map(torch.equal, task.module.parameters(), first.model.parameters()))


@pytest.mark.parametrize(
    "more", [{"lr": 0.02}, {"rule": "momentum"}, {"batch_size": 30}, {"guard": False}, {"seed": 1}, {"clip": 1.0}]
)
def test_other_settings_begin_another_run(tmp_path, more):
    first = fit(tmp_path)
    assert fit(tmp_path, **more).id != first.id
    assert fit(tmp_path).id == first.id


def test_a_name_is_needed(tmp_path):
    with pytest.raises(sd.InputError, match=r"^resume='auto' needs name=, by which the run is found again, got none\."):
        sd.fit(tasks.task(), **tuned(), runs=tmp_path, resume="auto")
