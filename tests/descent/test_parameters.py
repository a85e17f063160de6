"""Parameters that a body changes: the trained ones follow, as in a loop of torch whose optimizer is edited."""

import copy

import pytest
import torch
from torch import nn
from torch.nn.functional import mse_loss

import steepest as sd
from steepest.descent.parameters import ParameterWatch, compare
from steepest.tasks import module_state


def data():
    x = torch.randn(60, 4, generator=torch.Generator().manual_seed(0))
    return x, torch.sin(x.sum(1, keepdim=True))


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 1))


def freeze(model):
    model[0].requires_grad_(False)


def unfreeze(model):
    model[0].requires_grad_(True)


def replace_head(model):
    torch.manual_seed(5)
    model[4] = nn.Linear(8, 1)


def resize(model):
    torch.manual_seed(6)
    model[2], model[4] = nn.Linear(8, 5), nn.Linear(5, 1)


def resize_in_place(model):
    torch.manual_seed(6)
    model[2].weight, model[2].bias = nn.Parameter(torch.randn(5, 8)), nn.Parameter(torch.randn(5))
    model[4].weight = nn.Parameter(torch.randn(1, 5))


def add(model):
    torch.manual_seed(7)
    model.append(nn.Tanh())
    model.append(nn.Linear(1, 1))


def remove(model):
    del model[2:4]


CHANGES = {
    "unfrozen": (freeze, unfreeze, "0.weight, 0.bias unfrozen", 121),
    "frozen": (None, freeze, "0.weight, 0.bias frozen", 81),
    "replaced": (None, replace_head, "4.weight, 4.bias replaced", 121),
    "resized": (None, resize, "2.weight, 2.bias, 4.weight resized; 4.bias replaced", 91),
    "resized in place": (None, resize_in_place, "2.weight, 2.bias, 4.weight resized", 91),
    "added": (None, add, "6.weight, 6.bias added", 123),
    "removed": (None, remove, "2.weight, 2.bias renamed; 2.weight, 2.bias removed", 49),
}


def in_torch(model, change, make, at, steps):
    """A loop of torch in which the optimizer is edited: a parameter that is new to it begins with fresh state."""
    optimizer = make(model.parameters())
    holders = {id(p): m for m in model.modules() for p in m._parameters.values()}
    losses = []
    for t in range(1, steps + 1):
        optimizer.zero_grad()
        loss = mse_loss(model(data()[0]), data()[1])
        loss.backward()
        losses.append(loss.item())
        optimizer.step()
        if t == at:
            old = optimizer.state
            change(model)
            optimizer = make(p for p in model.parameters() if p.requires_grad)
            for group in optimizer.param_groups:
                for p in group["params"]:
                    if p in old and id(p) in holders:
                        optimizer.state[p] = old[p]
    return losses


@pytest.mark.parametrize("rule", ["adam", "torch's"])
@pytest.mark.parametrize("name", CHANGES)
def test_each_change_is_followed(name, rule):
    before, change, _, _ = CHANGES[name]
    model, other = network(), network()
    for net in filter(None, (before and model, before and other)):
        before(net)
    make = lambda params: torch.optim.Adam(params, lr=0.02)  # noqa: E731
    theirs = in_torch(other, change, make, 10, 30)
    task = sd.Task(model, data(), mse_loss, validation=data())
    ours, events = [], []
    chosen = sd.adam(eps=1e-8) if rule == "adam" else make
    for step in sd.descend(task, chosen, 0.02, batch_size="full", steps=30, no_decay=None):
        ours.append(step.loss)
        events += [step.event] if step.event else []
        if step.t == 10:
            change(model)
    assert ours == pytest.approx(theirs, rel=2e-5)
    assert [(e.t, e.kind, e.done.split()[1]) for e in events] == [(11, "weights", str(CHANGES[name][3]))]


@pytest.mark.parametrize("name", CHANGES)
def test_the_words(name):
    before, change, words, _ = CHANGES[name]
    model = network()
    if before is not None:
        before(model)
    watch = ParameterWatch(model)
    assert not watch.has_changed(model)
    change(model)
    assert watch.has_changed(model)
    found = compare(watch.places, ParameterWatch(model).places)
    assert found.words == words


def test_what_is_the_same_in_the_same_place_keeps_its_state():
    """As `load_state_dict(assign=True)` and as a body that changes nothing."""
    losses = []
    for touch in (
        lambda model: None,
        lambda model: model.load_state_dict(copy.deepcopy(model.state_dict()), assign=True),
    ):
        task = sd.Task(network(), data(), mse_loss, validation=data())
        steps = []
        for step in sd.descend(task, "adam", 0.02, batch_size=16, epochs=5):
            assert step.event is None
            steps.append(step.loss)
            touch(task.model)
        losses.append(steps)
    assert losses[0] == losses[1]


@pytest.mark.parametrize("rule", ["momentum", "schedule_free_adamw", sd.stage("adam", "50%") >> sd.stage("momentum")])
def test_groups_stages_averages_and_the_guard_follow(rule):
    task = sd.Task(network(), data(), mse_loss, validation=data())
    choices = {"groups": {"4.*": {"lr_scale": 0.1}}, "no_decay": ["4.bias"], "guard": sd.Guard(snapshot_every=10)}
    if rule == "momentum":
        choices["average"] = 0.9
    steps = sd.descend(task, rule, 0.02, batch_size=10, epochs=20, **choices)
    w = None
    for step in steps:
        if step.t == 15:
            task.model[4] = nn.Identity()  # nothing matches the globs any more
            task.model[2] = nn.Linear(8, 1)
        if step.t == 30:
            torch.manual_seed(1)
            task.model[2], task.model[4] = nn.Linear(8, 8), nn.Linear(8, 1)
            w = task.model[4].weight.detach().clone()
    assert step.loss < 0.5
    assert not torch.equal(task.model[4].weight, w)
    assert steps.path.points.shape[1] == 121


def test_nothing_left_to_train_is_an_error():
    task = sd.Task(network(), data(), mse_loss, validation=data())
    steps = sd.descend(task, "adam", 0.02, batch_size=10, epochs=20)
    next(steps)
    task.model.requires_grad_(False)
    with pytest.raises(sd.TaskError, match="nothing to train"):
        next(steps)


# -- With a record -----------------------------------------------------------------------------------------------------


def recorded(runs, task, until=40, at=20, **given):
    steps = sd.descend(task, "adam", 0.02, batch_size=10, epochs=10, runs=runs, locate=False, **given)
    for step in steps:
        if step.t == at:
            unfreeze(task.model)
        if step.t == until:
            break
    return steps.run


def frozen_task():
    model = network()
    freeze(model)
    return sd.Task(model, data(), mse_loss, validation=data(), name="small")


def test_a_record_follows(tmp_path):
    run = recorded(tmp_path, frozen_task(), until=999, keep="best")
    assert run.record.config.weights == len(run.point) == 121
    assert [e.kind for e in run.events] == ["weights"]
    assert run.record.config.end_step > 20  # the best point is one of the present weights
    opened = sd.open(run.id, tmp_path, task=sd.Task(network(), data(), mse_loss, validation=data()))
    end, now = module_state.read(run.model).tensors, module_state.read(opened.model).tensors
    assert all(torch.equal(now[name], x) for name, x in end.items())
    assert run.store.history(run.id).path.points.shape[1] == 121
    assert run.film(tmp_path / "film.html").stat().st_size > 0


def test_it_is_resumed_with_the_model_as_it_became(tmp_path):
    whole = recorded(tmp_path / "whole", frozen_task(), until=999)
    recorded(tmp_path, frozen_task())
    with pytest.raises(sd.StoreError, match="made with a different task"):
        sd.resume("small", frozen_task(), runs=tmp_path)
    run = sd.resume("small", sd.Task(network(), data(), mse_loss, validation=data(), name="small"), runs=tmp_path)
    assert run.losses.tolist() == whole.losses.tolist()
    assert torch.equal(run.point, whole.point)


class WithTeacher(nn.Module):
    """A frozen copy that follows the trained layer, as in BYOL; written through `.data`, which no version shows."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.student, self.teacher, self.backbone = nn.Linear(4, 1), nn.Linear(4, 1), nn.Linear(3, 3)
        self.teacher.requires_grad_(False)
        self.backbone.requires_grad_(False)

    def forward(self, x):
        if self.training:
            for a, b in zip(self.teacher.parameters(), self.student.parameters(), strict=True):
                a.data.lerp_(b.data, 0.1)
        return self.student(x) + 0.1 * self.teacher(x)


def test_frozen_weights_that_change_all_the_same_are_part_of_the_end(tmp_path):
    def task():
        return sd.Task(WithTeacher(), data(), mse_loss, validation=data(), name="small")

    choices = {"rule": "adam", "lr": 0.02, "schedule": "constant", "batch_size": 10, "locate": False, "runs": tmp_path}
    whole = sd.fit(task(), **choices, guard=False, epochs=4)
    steps = sd.descend(task(), **choices, epochs=4)
    for step in steps:
        if step.t == 9:
            break
    run = sd.resume(steps.run, task())
    assert run.losses.tolist() == whole.losses.tolist()
    assert set(run.tensors) == {f"{name}.{part}" for name in ("student", "teacher") for part in ("weight", "bias")}
    model = sd.open(run.id, tmp_path, task=task()).model
    assert torch.equal(model.teacher.weight, whole.model.teacher.weight)
    assert len(run.point) == 5


def test_a_rewind_to_before_frozen_weights_changed():
    task = sd.Task(WithTeacher(), data(), mse_loss, validation=data(), name="small")
    steps = sd.descend(task, "adam", 0.02, batch_size=10, steps=200, guard=sd.Guard(warmup_steps=10))
    kinds = []
    for step in steps:
        if step.t == 40 and "rewind" not in kinds:
            with torch.no_grad():
                next(p for p in task.model.parameters() if p.requires_grad).mul_(1e4)
        kinds += [step.event.kind] if step.event else []
    assert "rewind" in kinds
    assert task.model.teacher.weight.isfinite().all()


def test_weights_that_are_frozen_on_the_way_are_part_of_the_end(tmp_path):
    task = sd.Task(network(), data(), mse_loss, validation=data(), name="small")
    steps = sd.descend(task, "adam", 0.02, batch_size=10, epochs=10, runs=tmp_path, locate=False)
    for step in steps:
        if step.t == 20:
            freeze(task.model)
    tensors = steps.run.tensors
    other = sd.Task(network(), data(), mse_loss, validation=data(), name="small")
    freeze(other.model)
    longer = sd.resume(steps.run, other, epochs=11)
    assert torch.equal(longer.tensors["0.weight"], tensors["0.weight"])
    assert len(steps.run.point) == 81
    assert torch.equal(tensors["0.weight"], task.model[0].weight)
    assert not torch.equal(tensors["0.weight"], network()[0].weight)
