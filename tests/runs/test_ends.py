"""Where a run ended: weights, buffers and extra state, in every place where it is opened, begun or resumed."""

import shutil
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

import steepest as sd
from steepest.runs.store import Store, checkpoints
from steepest.tasks import module_state
from tests.runs.stored import make


class Scaled(nn.Module):
    """A loss with a parameter and a buffer."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.zeros(3))
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, output, target):
        self.calls += self.training
        return cross_entropy(output * self.scale.exp(), target) + 0.01 * self.scale.square().sum()


def data(n=160, seed=0):
    g = torch.Generator().manual_seed(seed)
    x = 4 * torch.randn(n, 5, generator=g) + 2
    return x, (x @ torch.randn(5, 3, generator=torch.Generator().manual_seed(9))).argmax(1)


class Teacher(nn.Module):
    """A weight of the loss that follows a plain counter, and a running mean of its own."""

    def __init__(self):
        super().__init__()
        self.layer, self.calls = nn.Linear(5, 3), 0
        self.register_buffer("mean", torch.zeros(5))
        self.register_buffer("scratch", torch.zeros(5), persistent=False)

    def forward(self, x):
        if self.training:
            self.calls += 1
            self.mean.lerp_(x.mean(0), 0.1)
            self.scratch += 1
        return self.layer(x - self.mean) * (1 + 1 / (1 + self.calls))

    def get_extra_state(self):
        return {"calls": self.calls, "log": [torch.ones(2), "text"]}

    def set_extra_state(self, state):
        self.calls = state["calls"]


MODELS = {
    "batch norm": lambda: nn.Sequential(nn.Linear(5, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 3)),
    "extra state": Teacher,
    "spectral norm": lambda: nn.Sequential(nn.utils.parametrizations.spectral_norm(nn.Linear(5, 8)), nn.Linear(8, 3)),
    "a loss with weights": lambda: nn.Linear(5, 3),
    "nothing": lambda: nn.Linear(5, 3),
}


def a_task(kind="batch norm", **given):
    torch.manual_seed(0)
    loss = Scaled() if kind == "a loss with weights" else cross_entropy
    return sd.Task(MODELS[kind](), data(), loss, validation=data(80, 1), name="small",
                   metrics={"accuracy": sd.accuracy}, **given)  # fmt: skip


def fit(task, runs, **given):
    return sd.fit(
        task, **{"rule": "adam", "lr": 0.01, "batch_size": 16, "epochs": 3, "locate": False, **given}, runs=runs
    )


def snapshot(model):
    return module_state.read(model)


def assert_equal(one, other):
    assert {k: v.tolist() for k, v in one.tensors.items()} == {k: v.tolist() for k, v in other.tensors.items()}
    assert repr(one.extra) == repr(other.extra)


# -- Opened ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", MODELS)
def test_a_run_is_opened_with_its_task(kind, tmp_path):
    task = a_task(kind)
    run = fit(task, tmp_path)
    end = snapshot(run.model)
    other = a_task(kind)
    before = snapshot(other.model)
    opened = sd.open(run.id, tmp_path, task=other)
    assert_equal(snapshot(opened.model), end)
    assert_equal(snapshot(other.model), before)  # the caller's stays as it is
    assert opened.model is not other.model
    x, y = task.validation
    assert sd.accuracy(opened.model.eval()(x), y) == run.metric
    whole = snapshot(task.module)  # with the loss, where that was trained
    assert_equal(snapshot(opened.at_end(other).model), whole)
    assert (opened.loss is None) == (kind != "a loss with weights")
    if opened.loss is not None:
        assert torch.equal(opened.loss.scale, task.loss.scale)
        assert not torch.equal(opened.loss.scale, torch.zeros(3))


@pytest.mark.parametrize("kind", MODELS)
def test_the_tensors_of_a_run_are_a_state_dict(kind, tmp_path):
    """As the error says to do; only extra state is then missing, which is no tensor."""
    run = fit(a_task(kind), tmp_path)
    with pytest.raises(sd.StoreError, match=rf"sd\.open\('{run.id}', task=\.\.\.\).* its weights and buffers"):
        _ = sd.open(run.id, tmp_path).model
    model = MODELS[kind]()
    keys = model.load_state_dict(sd.open(run.id, tmp_path).tensors, strict=False)
    assert all(key.startswith("loss.") for key in keys.unexpected_keys)
    assert [key for key in keys.missing_keys if "_extra_state" not in key] == []
    assert len(run.point) == run.record.config.weights


def test_another_model_is_refused(tmp_path):
    run = fit(a_task("batch norm"), tmp_path)
    with pytest.raises(sd.StoreError, match=r"another|different model; tensors that differ: .*running_mean"):
        _ = sd.open(run.id, tmp_path, task=a_task("nothing")).model


# -- Begun -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", MODELS)
def test_a_run_starts_at_the_whole_end_of_another(kind, tmp_path):
    first = fit(a_task(kind), tmp_path, schedule="constant")
    end = snapshot(first.model)
    starts = []
    task = a_task(kind)
    descent = sd.descend(task, "adam", 0.01, batch_size=16, epochs=1, start=first)
    starts.append(snapshot(task.model))
    descent.close()
    task = a_task(kind)
    sd.descend(task, "adam", 0.01, batch_size=16, epochs=1, start=first.id, runs=tmp_path, locate=False).close()
    starts.append(snapshot(task.copy(0)))
    assert_equal(starts[0], end)
    second = fit(a_task(kind), tmp_path, start=first.id)
    x, y = data(80, 1)
    at_start = next(m.value for m in second.metrics if m.name == "accuracy")
    assert at_start == sd.accuracy(first.model.eval()(x), y)


def test_a_rules_state_begins_at_the_start_too(tmp_path):
    """A slot that starts at the weights starts at those of the other run's end."""
    first = fit(a_task("nothing"), tmp_path)
    task = a_task("nothing")
    for step in sd.descend(task, "schedule_free_adamw", 1e-9, batch_size=16, steps=1, start=first):
        assert step.update_norm < 1e-6
    assert torch.allclose(torch.cat([p.flatten() for p in task.model.parameters()]), first.point, atol=1e-6)


@pytest.mark.parametrize("kind", MODELS)
def test_the_same_task_and_seed_twice_give_the_same_run(kind, tmp_path):
    task = a_task(kind)
    one, other = fit(task, tmp_path), fit(task, tmp_path)
    assert one.losses.tolist() == other.losses.tolist()
    assert one.metrics == other.metrics


# -- Resumed -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", MODELS)
def test_a_resumed_run_is_the_one_that_never_stopped(kind, tmp_path):
    whole = fit(a_task(kind), tmp_path, schedule="constant", guard=False)
    part = sd.descend(a_task(kind), "adam", 0.01, batch_size=16, epochs=3, runs=tmp_path, locate=False)
    for step in part:
        if step.t == 13:
            break
    resumed = sd.resume(part.run.id, a_task(kind), runs=tmp_path)
    assert resumed.losses.tolist() == whole.losses.tolist()
    assert_equal(snapshot(resumed.model), snapshot(whole.model))


class Odd(nn.Linear):
    """Its extra state is no number."""

    def get_extra_state(self):
        return {"when": object()}

    def set_extra_state(self, state):
        pass


class Counter(nn.Linear):
    calls = 0

    def forward(self, x):
        self.calls += 1
        return super().forward(x)


@pytest.mark.parametrize(
    ("model", "what"), [(Odd, "the extra state of 1"), (Counter, "what the model keeps in 1.calls")]
)
def test_what_no_checkpoint_holds_is_said_once(model, what, tmp_path, capsys):
    task = sd.Task(nn.Sequential(nn.Linear(5, 5), model(5, 3)), data(), cross_entropy, name="odd")
    fit(task, tmp_path)
    words = capsys.readouterr().err
    assert words.count("A resumed run will not be exact") == 1
    assert f"no checkpoint holds {what}" in words
    assert checkpoints.folders(next(tmp_path.glob("odd-*")) / "checkpoints")
    sd.resume("odd", task, runs=tmp_path, epochs=4)


def test_a_model_that_is_kept_whole_is_not_doubted(tmp_path, capsys):
    fit(a_task("extra state"), tmp_path)
    assert "exact" not in capsys.readouterr().err


# -- Of the version before ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stored")
    shutil.unpack_archive(Path(make.FOLDER) / "runs.tar.xz", folder, filter="data")
    return folder


def test_a_run_of_before_has_the_buffers_of_its_checkpoint(stored):
    store = Store(stored)
    run_id = store.resolve("batch-norm")
    assert store.load_end(run_id) is None
    state = checkpoints.load(stored / run_id / "checkpoints").state["descent"]
    run = sd.open(run_id, stored, task=make.CASES["batch-norm"].task())
    buffers = dict(run.model.named_buffers())
    assert len(buffers) == 3
    assert all(torch.equal(buffers[name], x) for name, x in state["buffers"].items())
    assert all(torch.equal(run.tensors[name], x) for name, x in state["buffers"].items())
    assert torch.equal(run.point, torch.cat([p.flatten() for p in run.model.parameters()]))


# -- Refused -----------------------------------------------------------------------------------------------------------


def resume_another(task, run, folder):
    other = sd.descend(a_task("nothing"), "adam", 0.01, batch_size=16, epochs=3, runs=folder, name="part", locate=False)
    next(other)
    other.close()
    sd.resume("part", task, runs=folder)


REFUSALS = {
    "start": lambda task, run, folder: fit(task, folder, start=run),
    "rule": lambda task, run, folder: sd.fit(
        task, "adam", 0.1, groups={"nowhere": {"lr_scale": 1}}, epochs=1, runs=folder
    ),
    "batch": lambda task, run, folder: sd.fit(task, "adam", 0.1, batch_size=10**6, epochs=1, runs=folder),
    "folder": lambda task, run, folder: fit(task, folder / "file"),
    "no patience": lambda task, run, folder: fit(task, folder, stop_after=2, measure_every=1000),
    "descend": lambda task, run, folder: sd.descend(task, average=2.0, batch_size=16, epochs=1),
    "resume": resume_another,
}


@pytest.mark.parametrize("name", REFUSALS)
def test_a_refusal_leaves_the_model_as_it_was(name, tmp_path, capsys):
    run = fit(a_task("nothing"), tmp_path)
    (tmp_path / "file").write_text("")
    task = a_task("batch norm")
    fit(task, tmp_path)
    model = task.model
    model[1].eval()
    model[3].requires_grad_(False)
    before, versions = snapshot(model), Store(tmp_path).names()
    with pytest.raises(sd.SteepestError):
        REFUSALS[name](task, run, tmp_path)
    assert_equal(snapshot(model), before)
    assert [m.training for m in model.modules()] == [True, True, False, True, True]
    assert [p.requires_grad for p in model[3].parameters()] == [False, False]
    assert {k: v for k, v in Store(tmp_path).names().items() if v != "part"} == versions
    model.requires_grad_(True)
    capsys.readouterr()
    fit(task, tmp_path)
    assert "weights changed since" not in capsys.readouterr().err  # they are where our own training left them
