"""`descend` with a record: its loop is `fit`'s, and every way in which a body ends leaves a run that goes on."""

import inspect
import itertools
import signal

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

import steepest as sd
from steepest.descent.settings import DEFAULT_SCHEDULE
from steepest.runs.descend import NEEDS_RECORD


def data(n=96, seed=0):
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 4, generator=g)
    return x, (x @ torch.randn(4, 3, generator=torch.Generator().manual_seed(5))).argmax(1)


def network(seed):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Dropout(0.1), nn.Linear(8, 3))


def a_task(**given):
    chosen = {"loss": cross_entropy, "validation": data(60, 1), "metrics": {"accuracy": sd.accuracy}, **given}
    return sd.Task(network, data(), name="small", **chosen)


CHOICES = {"rule": "adam", "lr": 0.02, "batch_size": 16, "epochs": 5}  # 30 steps


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """What `fit` does without a body."""
    runs = tmp_path_factory.mktemp("whole")
    return sd.fit(a_task(), **CHOICES, schedule="constant", guard=False, locate=False, runs=runs)


def descend(runs, task=None, **given):
    return sd.descend(task or a_task(), **CHOICES, **{"locate": False, **given}, runs=runs)


def assert_same(run, whole):
    assert run.status == "done"
    assert run.losses.tolist() == whole.losses.tolist()
    assert run.metrics == whole.metrics
    assert torch.equal(run.point, whole.point)


def test_all_steps_are_those_of_fit(whole, tmp_path):
    descent = descend(tmp_path)
    steps = [step.loss for step in descent]
    assert steps == whole.losses.tolist()
    assert_same(descent.run, whole)
    assert descent.metrics == whole.metrics
    assert len(descent.path.points) == 31


@pytest.fixture(autouse=True)
def _interrupts_as_in_a_terminal():
    """A process that was started in the background ignores Ctrl-C."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def after_break(runs):
    for step in descend(runs):
        if step.t == 13:
            break


def loop(steps, body):
    for step in steps:
        body(step)


def after_an_error(runs):
    with pytest.raises(ZeroDivisionError):
        loop(descend(runs), lambda step: 1 / (13 - step.t))


def after_ctrl_c_in_the_body(runs):
    with pytest.raises(KeyboardInterrupt):
        loop(descend(runs), lambda step: step.t == 13 and signal.raise_signal(signal.SIGINT))


def after_ctrl_c_in_a_step(runs):
    calls, seen = [], []

    def loss(output, target):
        calls.append(output.requires_grad)
        if sum(calls) == 13 and output.requires_grad:
            signal.raise_signal(signal.SIGINT)
        return cross_entropy(output, target)

    with pytest.raises(KeyboardInterrupt):
        loop(descend(runs, a_task(loss=loss)), lambda step: seen.append(step.t))
    assert seen[-1] == 12  # the 13th is whole and recorded, but its body did not run


def after_close(runs):
    with descend(runs) as descent:
        list(itertools.islice(descent, 13))


@pytest.mark.parametrize(
    "end", [after_break, after_an_error, after_ctrl_c_in_the_body, after_ctrl_c_in_a_step, after_close],
    ids=lambda end: end.__name__,
)  # fmt: skip
def test_a_body_that_ends_early_leaves_a_run_that_goes_on(end, whole, tmp_path):
    before = signal.getsignal(signal.SIGINT)
    end(tmp_path)
    assert signal.getsignal(signal.SIGINT) is before
    run = sd.open("small", tmp_path)
    assert (run.status, len(run.losses)) == ("interrupted", 13)
    assert_same(sd.resume("small", a_task(), runs=tmp_path), whole)


def test_a_run_is_there_after_the_loop_and_within_it(whole, tmp_path):
    descent = descend(tmp_path)
    for step in descent:
        if step.t == 7:
            assert (descent.run.status, len(descent.run.losses)) == ("running", 7)
        if step.t == 13:
            break
    assert descent.run.status == "interrupted"
    assert_same(sd.resume(descent.run, a_task()), whole)


def test_a_resumed_run_has_a_body_too(whole, tmp_path):
    after_break(tmp_path)
    rest = sd.descend(a_task(), resume="small", runs=tmp_path)
    assert [step.t for step in rest] == list(range(14, 31))
    assert_same(rest.run, whole)


def test_a_descent_whose_loop_never_begins_goes_on_from_its_start(whole, tmp_path):
    for end in (lambda descent: descent.close(), lambda descent: None):
        end(descend(tmp_path))
        run = sd.open("small", tmp_path)
        assert (run.status, len(run.losses)) == ("interrupted", 0)
        assert_same(sd.resume("small", a_task(), runs=tmp_path), whole)


def test_a_step_that_fails_is_no_interruption(tmp_path):
    calls = []

    def loss(output, target):
        calls.append(output.requires_grad)
        return cross_entropy(output, target) / (sum(calls) < 5 or 1 / 0)

    with pytest.raises(ZeroDivisionError):
        loop(descend(tmp_path, a_task(loss=loss)), lambda step: None)
    assert sd.open("small", tmp_path).status == "failed"


def test_the_arguments_are_those_of_fit():
    fit, descend = (inspect.signature(f).parameters for f in (sd.fit, sd.descend))
    assert list(fit) == list(descend)
    assert {name: p.default for name, p in descend.items() if p.default != fit[name].default} == {
        "runs": None,
        "guard": False,
    }


def test_a_rate_means_what_it_says():
    """Without a schedule in the recipe it is constant; with one it is the recipe's, as in `fit`."""
    rates = [step.lr for step in sd.descend(a_task(), lr=0.1, steps=20)]
    assert rates == [0.1] * 20
    task = a_task(recipe={"schedule": DEFAULT_SCHEDULE})
    assert [step.lr for step in sd.descend(task, lr=0.1, steps=20)][-1] == 0


# -- Without a record --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "value"), [*zip(NEEDS_RECORD, ("mine", "words", True, 10, "small"), strict=True)])
def test_what_cannot_act_is_refused(name, value):
    with pytest.raises(sd.InputError, match=f"{name} needs a record. Pass runs="):
        sd.descend(a_task(), steps=3, **{name: value})


def test_the_run_of_a_descent_without_a_record():
    descent = sd.descend(a_task(), steps=3)
    with pytest.raises(sd.InputError, match="run needs a record"):
        _ = descent.run
    assert (len(list(descent)), descent.metrics) == (3, ())


def test_nothing_is_written_or_said(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for _ in sd.descend(a_task(), **CHOICES, keep="best", stop_after=9):
        pass
    assert list(tmp_path.iterdir()) == []
    assert capsys.readouterr() == ("", "")


def test_the_best_point_and_patience(tmp_path):
    """Both act without a record as they do with one."""
    choices = {**CHOICES, "lr": 0.5, "epochs": 12, "keep": "best", "stop_after": 2, "measure_every": 4}
    task = a_task()
    run = sd.fit(task, **choices, schedule="constant", guard=False, locate=False, runs=tmp_path)
    descent = sd.descend(a_task(), **choices)
    steps = list(descent)
    assert len(steps) == len(run.losses) < 72
    assert sorted(descent.metrics) == sorted(run.metrics)
    model = descent._trainer.descent.model
    assert torch.equal(torch.cat([p.flatten() for p in model.parameters()]), run.point)


def test_it_goes_on_in_another_loop():
    descent = sd.descend(a_task(), **CHOICES)
    first = [step.t for step in itertools.islice(descent, 4)]
    assert [*first, *(step.t for step in descent)] == list(range(1, 31))
