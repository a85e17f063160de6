"""A run that is killed goes on as if nothing had happened."""

import inspect
import json
import os
import signal
import sqlite3
import textwrap
from contextlib import closing

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset
from torchdata.stateful_dataloader import StatefulDataLoader
from torchdata.stateful_dataloader.sampler import RandomSampler

import steepest as sd
from benchmarks.guard import kills
from steepest.descent.loop import Descent
from steepest.runs.restore import restore_end
from steepest.runs.store import Store, checkpoints
from steepest.tasks import load
from tests import warm

HEADER = """
    import torch
    from torch import nn
    from torch.nn.functional import cross_entropy

    import steepest as sd
"""
CHILD = """
    import os, signal, sys

    import steepest as sd
    from steepest.descent.loop import Descent
    from steepest.runs.store import weights
    from steepest.tasks import load

    def killed_in(owner, name, n):
        calls, function = [], getattr(owner, name)
        def counted(*args):
            calls.append(1)
            if len(calls) == n:
                os.kill(os.getpid(), int(sys.argv[5]))
            return function(*args)
        setattr(owner, name, counted)

    file, runs, what, n = sys.argv[1:5]
    if what != "nothing":
        killed_in(*{"step": (Descent, "measure_step"), "sync": (weights, "sync")}[what], int(n))
    run = sd.fit(
        load(file), "momentum", 0.02, "step(80, gamma=300)", batch_size=20, steps=160,
        guard=sd.Guard(snapshot_every=20), checkpoint_every=15, runs=runs, locate=False,
    )
    print(run.status)
"""
RESUME = "from steepest.cli import app; app()"
MOMENTS = {
    "before the first checkpoint": ("step", 10),
    "in a step": ("step", 52),
    "in a checkpoint's write": ("sync", 7),
    "after a rewind": ("step", 84),
    "late": ("step", 160),
}
"""The guard goes back from step 83 to step 60, so the 84th step that is done is step 61, for the second time."""


def python(code, *args):
    """A real process that runs some code, to its end."""
    return warm.run(textwrap.dedent(code), *map(str, args))


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("task") / "mine.py"
    path.write_text("\n\n".join([textwrap.dedent(HEADER), *map(inspect.getsource, (kills.network, kills.task))]))
    return path


@pytest.fixture(scope="module")
def unkilled(file, tmp_path_factory):
    """The twin that nobody killed."""
    runs = tmp_path_factory.mktemp("unkilled")
    ended = python(CHILD, file, runs, "nothing", 0, 0)
    assert ended.stdout == "done\n", ended.stderr
    run = sd.open("killed", runs)
    assert [(e.t, e.done.split("; ")[0]) for e in run.events if e.kind == "rewind"] == [(83, "rewound to step 60")]
    return run


def assert_same(run, twin):
    """Steps, measurements, events and weights, bit for bit."""
    assert run.status == twin.status
    for name, column in vars(twin.record.steps).items():
        assert np.array_equal(getattr(run.record.steps, name), column, equal_nan=True), name
    assert run.metrics == twin.metrics
    assert run.events == twin.events
    assert {k: v.tolist() for k, v in run.tensors.items()} == {k: v.tolist() for k, v in twin.tensors.items()}


def assert_sound(folder):
    with closing(sqlite3.connect(folder / "runs.db")) as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)


@pytest.mark.slow
@pytest.mark.parametrize("moment", MOMENTS)
def test_killed_and_resumed(moment, file, unkilled, tmp_path):
    ended = python(CHILD, file, tmp_path, *MOMENTS[moment], signal.SIGKILL.value)
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    assert_sound(tmp_path)
    assert sd.open("killed", tmp_path).status == "interrupted"
    if moment in ("in a step", "after a rewind"):
        ended = python(RESUME, "resume", "killed", "--runs", tmp_path)
        assert ended.returncode == 0, ended.stderr
    else:
        sd.fit(load(str(file)), resume="killed", runs=tmp_path)
    assert_same(sd.open("killed", tmp_path), unkilled)
    assert_sound(tmp_path)
    assert list(tmp_path.rglob("*.tmp")) == []


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_asked_to_end_and_resumed(number, file, unkilled, tmp_path):
    ended = python(CHILD, file, tmp_path, "step", 70, number.value)
    assert ended.stdout == "interrupted\n", ended.stderr
    assert "steepest resume killed-" in ended.stderr
    assert len(sd.open("killed", tmp_path).losses) == 70  # nothing is lost
    run = sd.fit(load(str(file)), resume="killed", runs=tmp_path)
    assert_same(run, unkilled)


# -- Every kind of run -------------------------------------------------------------------------------------------------


class Stop(Exception):
    """What interrupts a run in a test."""


def network(seed):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(4, 12), nn.BatchNorm1d(12), nn.ReLU(), nn.Dropout(0.1), nn.Linear(12, 3))


def tensors(n=160):
    g = torch.Generator().manual_seed(0)
    x = torch.randn(n, 4, generator=g)
    return x, (x @ torch.randn(4, 3, generator=g)).argmax(1)


def a_task(data=None, model=network, **given):
    held = tensors(220)
    splits = {"validation": (held[0][160:190], held[1][160:190]), "test": (held[0][190:], held[1][190:])}
    data = tensors() if data is None else data
    metrics = {"accuracy": sd.accuracy} if "objective" not in given else None
    chosen = {"loss": cross_entropy, "metrics": metrics, **splits, **given}
    return sd.Task(model, data, name="small", **chosen)


def loader():
    return DataLoader(TensorDataset(*tensors()), batch_size=16, shuffle=True)


def stateful_loader():
    """Its sampler has a generator; one given to the loader would not come back to where it was after an epoch."""
    data = TensorDataset(*tensors())
    sampler = RandomSampler(data, generator=torch.Generator().manual_seed(5))
    return StatefulDataLoader(data, batch_size=16, sampler=sampler)


def jittered(batch, generator):
    x, y = batch
    return x + 0.1 * torch.randn(x.shape, generator=generator), y


def autoencoder():
    data = tensors(190)[0]
    return sd.Task(
        lambda seed: nn.Linear(4, 4), data[:160], validation=data[160:], name="small",
        objective=lambda model, batch: (model(batch[0]) - batch[0]).square().mean(),
    )  # fmt: skip


def torch_adam(params):
    return torch.optim.AdamW(params, lr=1e-2, betas=(0.8, 0.99))


@sd.rule
def mine(w, g, v=0.0, *, lr=0.02, beta=0.8):
    """A rule of one's own."""
    v = beta * v + (1 - beta) * g
    return w - lr * v, v


STAGES = sd.stage("adam", "50%") >> sd.stage(sd.momentum(), lr=0.02)
HAND_OFF = sd.stage("adam", "50%") >> sd.stage("momentum")
KINDS = {
    "built-in": (lambda: load("digits"), {"steps": 60, "epochs": None, "batch_size": 32}),
    "adam": (a_task, {"clip": 0.5, "groups": {"4.*": {"lr_scale": 0.1}}, "seed": 3}),
    "hyperparameters": (a_task, {"rule": sd.momentum(lr=0.03, beta=sd.linear(end=0.5)), "lr": None}),
    "stages": (a_task, {"rule": STAGES}),
    "a hand-off": (a_task, {"rule": HAND_OFF}),
    "an early hand-off": (a_task, {"rule": sd.stage("rmsprop", "20%") >> sd.stage("nesterov"), "average": 0.9}),
    "hand-offs in groups": (
        a_task,
        {"rule": HAND_OFF >> sd.stage("momentum", 9), "groups": {"4.*": {"lr_scale": 0.1}}},
    ),
    "a DataLoader, a hand-off": (lambda: a_task(loader()), {"batch_size": None, "rule": HAND_OFF}),
    "average": (a_task, {"average": 0.9}),
    "schedule-free": (a_task, {"rule": "schedule_free_adamw"}),
    "plateau": (a_task, {"schedule": "warmup(5) >> plateau(0.5, patience=0)", "lr": 0.1}),
    "no guard": (a_task, {"guard": False}),
    "a guard that reports": (a_task, {"guard": "report"}),
    "best": (a_task, {"keep": "best", "lr": 0.1}),
    "patience": (a_task, {"keep": "best", "stop_after": 1, "lr": 0.3}),
    "full batch": (a_task, {"batch_size": "full", "steps": 60, "epochs": None}),
    "micro-batches": (a_task, {"accumulate": 2}),
    "bfloat16": (a_task, {"precision": "bfloat16"}),
    "augmented": (lambda: a_task(augment=jittered), {}),
    "one tensor": (autoencoder, {}),
    "a module": (lambda: a_task(model=network(0)), {}),
    "a Dataset": (lambda: a_task(TensorDataset(*tensors())), {}),
    "a DataLoader": (lambda: a_task(loader()), {"batch_size": None}),
    "a DataLoader, accumulated": (lambda: a_task(loader()), {"batch_size": None, "accumulate": 3, "epochs": 12}),
    "a StatefulDataLoader": (lambda: a_task(stateful_loader()), {"batch_size": None}),
    "a StatefulDataLoader, accumulated": (
        lambda: a_task(stateful_loader()),
        {"batch_size": None, "accumulate": 3, "epochs": 12},
    ),
    "of torch": (a_task, {"rule": torch_adam, "lr": None}),
    "custom": (a_task, {"rule": mine, "lr": None}),
}
GIVEN_AGAIN = {"of torch": torch_adam, "custom": mine}


def fit(task, runs, **given):
    defaults = {"rule": "adam", "lr": 1e-2, "epochs": 6, "batch_size": 16, "checkpoint_every": 7}
    return sd.fit(task, **{"locate": False, **defaults, "guard": sd.Guard(snapshot_every=10), "runs": runs, **given})


def interrupted(monkeypatch, n, go):
    """Calls `go`, and has it fail in the n-th step."""
    calls, step = [], Descent.measure_step

    def raising(descent, t):
        calls.append(1)
        if len(calls) == n:
            raise Stop
        return step(descent, t)

    with monkeypatch.context() as patched:
        patched.setattr(Descent, "measure_step", raising)
        with pytest.raises(Stop):
            go()


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_run(kind, tmp_path, monkeypatch):
    make, given = KINDS[kind]
    given = {"epochs": 4, **given}
    name, rule = make().name, GIVEN_AGAIN.get(kind)
    twin = fit(make(), tmp_path / "twin", **given)
    runs = tmp_path / "runs"
    first = min(25, len(twin.losses) - 3)
    interrupted(monkeypatch, first, lambda: fit(make(), runs, **given))
    again = min(10, len(twin.losses) - first)
    interrupted(monkeypatch, again, lambda: sd.fit(make(), rule, resume=name, runs=runs))
    run = sd.fit(make(), rule, resume=name, runs=runs)
    assert_same(run, twin)
    assert run.test == twin.test
    found, expected = run.model.state_dict(), twin.model.state_dict()
    assert all(torch.equal(found[k], expected[k]) for k in expected)


def test_skipped_batches_of_an_iterable_are_said(tmp_path, monkeypatch, capsys):
    interrupted(monkeypatch, 25, lambda: fit(a_task(loader()), tmp_path, batch_size=None))
    capsys.readouterr()
    sd.fit(a_task(loader()), resume="small", runs=tmp_path)
    assert "Skipping 21 batches of the DataLoader that were used before." in capsys.readouterr().err


def test_a_loader_that_knows_where_it_is_goes_there(tmp_path, monkeypatch, capsys):
    """Nothing is passed over, and nothing is loaded twice."""
    fetched = []

    class Watched(TensorDataset):
        def __getitem__(self, i):
            fetched.append(i)
            return super().__getitem__(i)

    def task():
        return a_task(StatefulDataLoader(Watched(*tensors()), batch_size=16, shuffle=True))

    interrupted(monkeypatch, 25, lambda: fit(task(), tmp_path, batch_size=None, locate=False))
    capsys.readouterr()
    fetched.clear()
    sd.fit(task(), resume="small", runs=tmp_path)
    assert "Skipping" not in capsys.readouterr().err
    assert len(fetched) == 16 * (60 - 21)


def test_a_loader_that_says_where_it_is_in_what_cannot_be_written_is_passed_over(tmp_path, monkeypatch, capsys):
    class Odd(DataLoader):
        def state_dict(self):
            return {"at": object()}

        def load_state_dict(self, state):
            raise AssertionError("nothing was written")

    def task():
        return a_task(Odd(TensorDataset(*tensors()), batch_size=16, shuffle=True))

    interrupted(monkeypatch, 25, lambda: fit(task(), tmp_path, batch_size=None))
    sd.fit(task(), resume="small", runs=tmp_path)
    assert "Skipping 21 batches of the Odd that were used before." in capsys.readouterr().err


def test_a_custom_rule_is_asked_for(tmp_path, monkeypatch):
    interrupted(monkeypatch, 25, lambda: fit(a_task(), tmp_path, rule=mine, lr=None))
    with pytest.raises(sd.InputError, match=r"The run's rule mine is not built in. Pass it again: resume"):
        sd.fit(a_task(), resume="small", runs=tmp_path)
    with pytest.raises(sd.InputError, match="rule must be the run's: mine with lr"):
        sd.fit(a_task(), "lion", resume="small", runs=tmp_path)


def test_a_rewind_twice_to_one_snapshot_after_a_resume(tmp_path, monkeypatch):
    """What a checkpoint held as a snapshot is not written over by going on from it."""
    given = {
        "rule": "momentum", "lr": 0.02, "schedule": "step(50, gamma=400)", "epochs": None, "steps": 140,
        "guard": sd.Guard(snapshot_every=20, recovery_steps=5, rewarmup_steps=2), "batch_size": 20,
    }  # fmt: skip
    twin = fit(a_task(), tmp_path / "twin", **given)
    assert [e.kind for e in twin.events].count("rewind") >= 2
    interrupted(monkeypatch, 45, lambda: fit(a_task(), tmp_path, **given))
    assert_same(sd.fit(a_task(), resume="small", runs=tmp_path), twin)


def test_start_may_be_gone_once_there_is_a_checkpoint(tmp_path, monkeypatch):
    begun = fit(a_task(), tmp_path, name="begun", steps=10, epochs=None)
    twin = fit(a_task(), tmp_path, name="twin", start=begun)
    interrupted(monkeypatch, 25, lambda: fit(a_task(), tmp_path, start=begun))
    Store(tmp_path).remove(begun.id)
    assert_same(sd.fit(a_task(), resume="small", runs=tmp_path), twin)


# -- Longer ------------------------------------------------------------------------------------------------------------


def test_more_epochs_stretch_the_schedule(tmp_path):
    first = fit(a_task(), tmp_path)
    run = sd.fit(a_task(), resume=first.id, epochs=9, runs=tmp_path)
    config = run.record.config
    assert (run.id, run.status, len(run.losses), config.epochs, config.steps) == (first.id, "done", 90, 9, 90)
    assert config.stretched == ("from 60 to 90 steps, the schedule with it",)
    assert run.losses[:60].tolist() == first.losses.tolist()
    assert run.record.steps.lr[60] > first.record.steps.lr[-1]
    assert "seconds" not in config.to_json()


def test_a_stretched_run_is_resumed_at_its_new_length(tmp_path, monkeypatch):
    fit(a_task(), tmp_path)
    interrupted(monkeypatch, 10, lambda: sd.fit(a_task(), resume="small", steps=85, runs=tmp_path))
    run = sd.fit(a_task(), resume="small", runs=tmp_path)
    assert (len(run.losses), run.record.config.steps) == (85, 85)


def test_a_stopped_run_goes_on_when_more_is_asked_for(tmp_path):
    first = fit(a_task(), tmp_path, stop_after=1, lr=0.3)
    assert first.status == "stopped"
    run = sd.fit(a_task(), resume=first.id, epochs=20, runs=tmp_path)
    assert len(run.losses) > len(first.losses)


def test_a_run_with_stages_is_not_stretched_across_a_hand_off(tmp_path):
    first = fit(a_task(), tmp_path, rule=STAGES)
    words = refusal(tmp_path, kind=sd.InputError, epochs=60)
    assert "must leave step 60 in stage 2, whose rule has its state, got 600 steps, which move it to stage 1." in words
    assert sd.open(first.id, tmp_path).status == "done"
    assert len(sd.fit(a_task(), resume=first.id, epochs=8, runs=tmp_path).losses) == 80


def test_the_seconds_of_a_killed_run_count(tmp_path, monkeypatch):
    interrupted(monkeypatch, 25, lambda: fit(a_task(), tmp_path))
    with closing(sqlite3.connect(tmp_path / "runs.db")) as database, database:
        database.execute("UPDATE runs SET status='running', seconds=0, pid=0, born='gone'")  # as a kill leaves it
    path = checkpoints.folders(tmp_path / Store(tmp_path).resolve("small") / "checkpoints")[-1]
    before = checkpoints.verify(path)["seconds"]
    assert before > 0
    assert sd.fit(a_task(), resume="small", runs=tmp_path).record.seconds > before


# -- Refused in words --------------------------------------------------------------------------------------------------


@pytest.fixture
def broken(tmp_path, monkeypatch):
    """A folder with a run that failed in step 25."""
    interrupted(monkeypatch, 25, lambda: fit(a_task(), tmp_path))
    return tmp_path


def refusal(runs, kind=sd.StoreError, task=None, run="small", **given):
    with pytest.raises(kind) as caught:
        sd.fit(task or a_task(), resume=run, runs=runs, **given)
    return str(caught.value)


def test_still_running(tmp_path):
    config, versions = {"lr": 0.1}, {"threads": "1"}
    writer = Store(tmp_path).begin("small", config, versions, 0)
    words = refusal(tmp_path)
    assert f"is still running (pid {os.getpid()} on {os.uname().nodename})" in words
    writer.close("done", 1.0)


@pytest.mark.slow
def test_of_two_that_go_on_with_a_run_one_is_refused(broken):
    store = Store(broken)
    record = store.read("small")
    writer = store.reopen(record.id, 0, 21, 0, record.config.to_json())
    with pytest.raises(sd.StoreError, match="is still running"):
        store.reopen(record.id, 0, 21, 0, record.config.to_json())
    writer.close("interrupted", 1.0)


def test_there_is_no_such_run(broken):
    assert "There is no run 'smal-x'" in refusal(broken, run="smal-x")
    assert Store(broken).resolve("small") in refusal(broken, run="smal-x")


def test_other_data_and_another_model(broken):
    x, y = tensors()
    assert "made with a different task (data differs: " in refusal(broken, task=a_task((x + 1, y)))
    assert "made with a different task (data differs: " in refusal(broken, task=a_task((x[:8], y[:8])))
    wider = nn.Sequential(nn.Linear(4, 13), nn.ReLU(), nn.Linear(13, 3))
    assert "made with a different task (model differs: " in refusal(broken, task=a_task(model=wider))
    assert sd.open("small", broken).status == "failed"  # and nothing has been changed
    assert len(sd.fit(a_task(), resume="small", runs=broken).losses) == 60


def test_done_and_nothing_more_asked(tmp_path):
    fit(a_task(), tmp_path)
    assert "is already finished. Pass more epochs or steps to extend it, or start=" in refusal(tmp_path)
    words = refusal(tmp_path, kind=sd.InputError, steps=20)
    assert words.startswith("steps must extend run small-")
    assert words.endswith("beyond step 60, got 20")


@pytest.mark.parametrize(
    "given", [{"lr": 0.1}, {"seed": 1}, {"keep": "best"}, {"accumulate": 2}, {"guard": False}, {"checkpoint_every": 3}]
)
def test_settings_given_again(given, broken):
    words = refusal(broken, kind=sd.InputError, **given)
    assert words == f"resume cannot change {next(iter(given))}. Drop it, or start a new run with start='small'."


def test_a_checkpoint_of_another_format(broken, monkeypatch):
    monkeypatch.setattr(checkpoints, "CHECKPOINT_FORMAT", 3)
    assert "has format 2; this version reads format 3. Use the version that wrote it." in refusal(broken)


def test_a_damaged_checkpoint_is_said_and_the_one_before_it_used(broken, tmp_path_factory, capsys):
    twin = fit(a_task(), tmp_path_factory.mktemp("twin"))
    newest = checkpoints.folders(broken / Store(broken).resolve("small") / "checkpoints")[-1]
    (newest / "state.json").write_text(json.dumps({}))
    run = sd.fit(a_task(), resume="small", runs=broken)
    said = capsys.readouterr().err
    assert f"{newest} is damaged: state.json does not match its hash. Using the one before it." in said
    assert "after step 14." in said
    assert newest.with_name(f"{newest.name}.damaged").is_dir()  # beside those that are kept
    assert_same(run, twin)


# -- Where a run has ended ---------------------------------------------------------------------------------------------


def normed(seed):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(4, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 3))


@pytest.mark.parametrize("keep", ["last", "best"])
@pytest.mark.parametrize("rule", ["momentum", torch_adam], ids=["ours", "of torch"])
def test_a_run_has_ended_with_its_weights_and_buffers(rule, keep, tmp_path):
    run = fit(a_task(model=normed), tmp_path, rule=rule, lr=None, schedule="constant", keep=keep)
    model, descent = restore_end(a_task(model=normed), run.store, sd.open(run.id, tmp_path).record)
    state = run.model.state_dict()
    state.pop("1.num_batches_tracked")
    found = model.state_dict()
    assert all(torch.equal(found[name], x) for name, x in state.items())
    assert (descent is None) == (rule is torch_adam)
    if descent is not None:
        assert descent.model is model
        assert int(descent.update.t) == len(run.losses)


def test_a_frozen_weight_is_where_the_task_has_it(tmp_path):
    def frozen(seed):
        model = normed(seed)
        model[0].weight.requires_grad_(False)
        return model

    run = fit(a_task(model=frozen), tmp_path)
    model, _ = restore_end(a_task(model=frozen), run.store, run.record)
    assert all(torch.equal(p, q) for p, q in zip(model.parameters(), run.model.parameters(), strict=True))


def test_another_model_is_refused_whatever_the_rule(tmp_path):
    for rule in ("adam", torch_adam):
        run = fit(a_task(), tmp_path, rule=rule, lr=None)
        with pytest.raises(sd.StoreError, match="model differs"):
            restore_end(a_task(model=normed), run.store, run.record)


# -- The function ------------------------------------------------------------------------------------------------------


def test_resume_is_what_fit_does_with_it(tmp_path, monkeypatch):
    twin = fit(a_task(), tmp_path / "twin")
    interrupted(monkeypatch, 25, lambda: fit(a_task(), tmp_path))
    run = sd.resume("small", a_task(), runs=tmp_path)
    assert_same(run, twin)
    longer = sd.resume(run, epochs=8)  # its own task
    assert (longer.id, len(longer.losses)) == (run.id, 80)


def test_resume_knows_built_in_tasks_and_asks_for_others(tmp_path, monkeypatch):
    given = {"steps": 30, "epochs": None, "batch_size": 32}
    twin = fit(load("digits"), tmp_path / "twin", **given)
    interrupted(monkeypatch, 20, lambda: fit(load("digits"), tmp_path, **given))
    assert_same(sd.resume("digits", runs=tmp_path), twin)
    interrupted(monkeypatch, 20, lambda: fit(a_task(), tmp_path))
    with pytest.raises(sd.StoreError, match=r"was not trained on a built-in task.* Pass the task"):
        sd.resume("small", runs=tmp_path)


@pytest.mark.parametrize(
    ("rule", "again"),
    [
        (sd.stage("adam", "50%", lr=0.03) >> sd.stage(sd.momentum(), lr=0.02), None),
        (sd.stage(mine, lr=0.03), sd.stage(mine, lr=0.03)),
        (sd.stage(mine, lr=0.03), mine),
    ],
    ids=["built-in", "custom", "custom, without its lr"],
)
def test_a_first_stages_lr_is_that_of_the_resumed_run(rule, again, tmp_path, monkeypatch):
    twin = fit(a_task(), tmp_path / "twin", rule=rule, lr=None)
    interrupted(monkeypatch, 25, lambda: fit(a_task(), tmp_path, rule=rule, lr=None))
    run = sd.resume("small", a_task(), runs=tmp_path, rule=again)
    assert_same(run, twin)
    assert run.record.config.lr == 0.03


def test_a_first_stages_lr_as_it_was_recorded_before(tmp_path, monkeypatch):
    """Then the stage's own learning rate, which was used, stood with the stage, and another one as the run's."""
    rule = sd.stage("adam", lr=0.03)
    twin = fit(a_task(), tmp_path / "twin", rule=rule, lr=None)
    interrupted(monkeypatch, 25, lambda: fit(a_task(), tmp_path, rule=rule, lr=None))
    with closing(sqlite3.connect(tmp_path / "runs.db")) as database, database:
        database.execute("UPDATE runs SET config=json_set(config, '$.lr', 0.001, '$.stages[0].lr', 0.03)")
    assert sd.open("small", tmp_path).record.config.lr == 0.03
    assert_same(sd.resume("small", a_task(), runs=tmp_path), twin)
