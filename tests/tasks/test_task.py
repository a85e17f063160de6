"""What is to be learned, and the one point where every descent of a task starts."""

import random

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import TensorDataset

from steepest.descent.descend import descend
from steepest.errors import InputError, TaskError
from steepest.tasks import task as tasks
from steepest.tasks.task import Task, accuracy, metric


def network(seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Dropout(0.2), nn.Linear(8, 3))


def samples(n=30):
    g = torch.Generator().manual_seed(1)
    return torch.randn(n, 3, generator=g), torch.randint(3, (n,), generator=g)


def classes(model, **given):
    return Task(model, samples(), F.cross_entropy, **{"validation": samples(6), **given})


def losses(task, **given):
    steps = descend(task, **{"rule": "adam", "lr": 0.01, "batch_size": 8, "steps": 6, **given})
    return [step.loss for step in steps]


def state(model):
    return {name: x.clone() for name, x in model.state_dict().items()}


def equal(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


# -- One start ---------------------------------------------------------------------------------------------------------


def test_two_descents_start_from_one_point():
    task = classes(network())
    first = losses(task)
    trained = state(task.model)
    assert task.change_note() == ""
    assert losses(task) == first
    assert equal(state(task.model), trained)
    assert task.change_note() == ""
    assert losses(task, rule="momentum")[0] == first[0]


def test_a_descent_that_is_left_early_changes_nothing_for_the_next():
    task = classes(network())
    first = losses(task)
    for step in descend(task, rule="adam", lr=0.01, batch_size=8, steps=6):
        if step.t == 3:
            break
    del step
    assert task.change_note() == ""
    assert losses(task) == first


def test_a_descent_begins_at_the_weights_the_task_was_made_with():
    model = network()
    start = state(model)
    task = classes(model)
    losses(task)
    assert not equal(state(model), start)
    assert task.build(0) is model
    assert equal(state(model), start)


def test_the_users_tensors_stay_where_they_are():
    model = network()
    before = [(id(p), p.data_ptr()) for p in model.parameters()]
    losses(classes(model))
    assert [(id(p), p.data_ptr()) for p in model.parameters()] == before


def load(model):
    model.load_state_dict(network(5).state_dict())


def load_by_assigning(model):
    model.load_state_dict(network(5).state_dict(), assign=True)


def write(model):
    with torch.no_grad():
        model[0].weight.fill_(0.5)


def replace(model):
    model[4].weight = nn.Parameter(torch.ones(3, 8))


def pass_in_training_mode(model):
    model.train()(samples()[0])


CHANGES = [load, load_by_assigning, write, replace, pass_in_training_mode]


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("trained", [False, True])
def test_weights_changed_since_are_noticed_and_put_back(change, trained):
    task = classes(network())
    expected = losses(classes(network()))
    if trained:
        losses(task)
    change(task.model)
    assert task.change_note() == (
        "The model's weights changed since Task(...) was created. This run starts from the original ones; create a "
        "new Task, or pass start=, to use the new ones."
    )
    assert losses(task) == expected
    assert task.change_note() == ""


@pytest.mark.parametrize("change", [load, write])
def test_a_new_task_starts_at_the_new_weights(change):
    model = network()
    losses(classes(model))
    change(model)
    now = state(model)
    assert equal(state(classes(model).build(0)), now)


def test_weights_put_back_by_the_user_are_nothing_to_speak_of():
    model = network()
    start = state(model)
    task = classes(model)
    losses(task)
    model.load_state_dict(start)
    assert task.change_note() == ""


def test_looking_at_a_trained_model_is_nothing_to_speak_of():
    task = classes(network())
    losses(task)
    task.model.eval()(samples()[0])
    task.model.state_dict()
    task.model.zero_grad()
    assert task.change_note() == ""


def test_a_model_in_evaluation_mode_is_left_there():
    task = classes(network().eval())
    losses(task)
    assert not task.model.training


# -- Models as functions of a seed -------------------------------------------------------------------------------------


def drawn(seed):
    return nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 3))


def test_a_function_gives_a_start_for_each_seed():
    task = classes(drawn)
    torch.manual_seed(1)
    one = task.build(4)
    torch.manual_seed(2)
    assert equal(state(task.build(4)), state(one))
    assert not equal(state(task.build(5)), state(one))
    assert task.build(4) is not one


def test_a_function_gets_the_seed():
    asked = []
    classes(lambda seed: asked.append(seed) or drawn(seed)).build(17)
    assert asked == [17]


def test_building_leaves_the_callers_random_state():
    def noisy(seed):
        random.random(), np.random.rand()
        return drawn(seed)

    before = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
    classes(noisy).build(0)
    assert (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()) == before


def test_descents_of_a_function_are_a_function_of_the_seed():
    task = classes(drawn)
    assert losses(task, seed=3) == losses(task, seed=3) != losses(task, seed=4)


def test_a_function_that_gives_no_module():
    with pytest.raises(TaskError, match=r"model\(seed\) must return a torch.nn.Module, got int"):
        classes(lambda seed: 7).build(0)


# -- Validation --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["tensors", "dataset"])
def test_validation_data_is_set_aside_and_that_is_said(kind):
    given = samples() if kind == "tensors" else TensorDataset(*samples())
    task = Task(network(), given, F.cross_entropy)
    assert task.validation_note() == "No validation= given: holding out 3 of 30 samples (10 %)."
    assert [tasks.sources.length(split) for split in (task.data, task.validation, task.test)] == [27, 3, None]


def test_the_same_samples_are_set_aside_for_every_model():
    one, other = Task(network(), samples(), F.cross_entropy), Task(drawn, samples(), F.cross_entropy)
    assert torch.equal(one.validation[0], other.validation[0])


def test_validation_data_that_is_given_is_used():
    task = classes(network())
    assert tasks.sources.length(task.data) == 30
    assert task.validation_note() == ""


def test_an_objective_without_data_needs_no_validation():
    task = Task(nn.Linear(1, 1), objective=lambda model, batch: model.weight.square().sum())
    assert (task.data, task.validation, task.validation_note()) == (None, None, "")


# -- Metrics -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("output", "target", "expected"),
    [
        ([[0.1, 0.9], [0.8, 0.2], [0.6, 0.4], [0.3, 0.7]], [1, 0, 1, 1], 0.75),
        ([[2.0], [-1.0], [0.5], [-3.0]], [1.0, 0.0, 0.0, 1.0], 0.5),
        ([2.0, -1.0, 0.5, -3.0], [1.0, 0.0, 0.0, 0.0], 0.75),
        ([2.0, -1.0, 0.5, -3.0], [1, 0, 1, 0], 1.0),
        ([2.0, -1.0], [True, True], 0.5),
        ([[2.0, -1.0], [0.5, -3.0]], [[1.0, 0.0], [1.0, 1.0]], 0.75),
    ],
    ids=["classes", "one column", "one number", "whole targets", "boolean targets", "several labels"],
)
def test_accuracy(output, target, expected):
    found = accuracy(torch.tensor(output), torch.tensor(target))
    assert type(found) is float
    assert found == expected


def test_accuracy_of_classes_at_every_place():
    output = torch.zeros(2, 3, 4)
    output[:, 2] = 1
    target = torch.full((2, 4), 2)
    target[0, 0] = 1
    assert accuracy(output, target) == 7 / 8


def test_accuracy_of_many_is_exact():
    n = 2**24 + 10  # more than float32 can count
    target = torch.ones(n)
    target[:5] = 0
    assert accuracy(torch.ones(n), target) == (n - 5) / n


def test_a_metric_of_ones_own():
    worst = metric(lambda output, target: (output - target).abs().max(), better="lower")
    assert worst.better == "lower"
    assert worst(torch.tensor([1.0, 2.0]), torch.tensor([1.0, 5.0])) == 3.0


def test_plain_functions_become_metrics():
    task = classes(network(), metrics={"greatest": lambda output, target: output.max(), "accuracy": accuracy})
    assert task.metrics["accuracy"] is accuracy
    assert task.metrics["greatest"].better is None
    assert list(task.metrics) == ["greatest", "accuracy"]


def test_a_metric_is_better_higher_or_lower():
    with pytest.raises(InputError, match="better must be 'higher' or 'lower', got 'more'"):
        metric(lambda output, target: 0.0, better="more")


# -- Bad input ---------------------------------------------------------------------------------------------------------


def objective(model, batch):
    return model(batch[0]).square().mean()


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({}, r"exactly one of loss\(output, target\) and objective\(model, batch\), got neither"),
        ({"loss": F.cross_entropy, "objective": objective}, "exactly one of loss.*, got both"),
        (
            {"objective": objective, "metrics": {"accuracy": accuracy}},
            "metrics need outputs and targets. Pass loss= in place",
        ),
        (
            {"loss": F.cross_entropy, "data": [samples()]},
            "with an iterable as data, pass validation= too",
        ),
        (
            {"loss": F.cross_entropy, "data": samples(9)},
            "data must have at least 10 samples for a 10% validation split, got 9",
        ),
        (
            {"loss": F.cross_entropy, "data": (torch.zeros(3), torch.zeros(4))},
            r"data tensors must have the same length, got \[3, 4\]",
        ),
        (
            {"loss": F.cross_entropy, "validation": (torch.zeros(0, 3), torch.zeros(0))},
            r"validation must have at least one sample, got 0",
        ),
        (
            {"loss": F.cross_entropy, "test": (torch.full((2,), torch.nan),)},
            r"test\[0\] must be finite, got 2 NaN and 0 infinite",
        ),
        ({"loss": F.cross_entropy, "data": "mnist"}, "data must be a tuple of tensors .*, got str"),
    ],
)
def test_tasks_that_cannot_be_meant(given, says):
    with pytest.raises(TaskError, match=says):
        Task(network(), **{"data": samples(), **given})


def test_a_model_that_is_none():
    with pytest.raises(TaskError, match="model must be a module or a function seed -> module, got str"):
        classes("resnet")


def test_names():
    assert classes(network()).name == "sequential"
    assert classes(drawn).name == "task"
    assert classes(network(), name="mine").name == "mine"
