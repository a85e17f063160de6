"""How a task is trained, as it is kept in a run's record."""

import json

import pytest
import torch
from torch import nn

from steepest.descent.settings import Settings, resolve
from steepest.descent.stages import stage
from steepest.errors import InputError, UnknownNameError
from steepest.rules.textbook import adam, lion, momentum
from steepest.schedule import cosine, warmup
from steepest.tasks.task import Task


def task(n=40, **given):
    x = torch.zeros(n, 2)
    return Task(nn.Linear(2, 1), (x, x[:, :1]), nn.functional.mse_loss, validation=(x, x[:, :1]), **given)


def described(**given):
    """As a record has it: through JSON, unchanged."""
    found = resolve(task(), **{"steps": 10, **given}).describe()
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    return found


def test_every_choice_is_described():
    groups = {"weight": {"lr_scale": 0.5}}
    found = described(
        rule="adam", lr=0.01, schedule=warmup("5%") >> cosine, batch_size=8, clip=1.0, accumulate=2, average=0.9,
        precision="bfloat16", groups=groups, no_decay=["bias"], seed=7,
    )  # fmt: skip
    stages = found.pop("stages")
    assert found == {
        "rule": "adam", "lr": 0.01, "schedule": "warmup(5%) >> cosine", "batch_size": 8, "steps": 10, "clip": 1.0,
        "accumulate": 2, "average": 0.9, "precision": "bfloat16", "groups": groups, "no_decay": ["bias"], "seed": 7,
        "guard": None,
    }  # fmt: skip
    assert stages == [{"rule": "adam", "hypers": dict(adam.hypers), "formula": adam.source}]


def test_a_rules_own_rate_is_described():
    assert described(rule=lion)["lr"] == lion.hypers["lr"]


def test_scheduled_hyperparameters_are_described_as_text():
    assert described(rule=momentum(beta=0.9 * cosine))["stages"][0]["hypers"]["beta"] == "0.9 * cosine"


def test_stages_are_described_one_by_one():
    found = described(rule=stage("adam", "70%") >> stage(momentum, lr=0.05))
    assert [(part["rule"], part.get("length"), part.get("lr")) for part in found["stages"]] == [
        ("adam", "70%", None),
        ("momentum", None, 0.05),
    ]


def test_anothers_optimizer_is_described_by_its_name():
    assert described(rule=torch.optim.SGD)["rule"] == "torch.optim.sgd.SGD"


def test_batches_of_64_or_all():
    assert resolve(task(1000), steps=1).batch_size == 64
    assert resolve(task(10), steps=1).batch_size == 10


def test_data_that_brings_its_own_batches_has_no_batch_size():
    x = torch.zeros(4, 2)
    own = Task(nn.Linear(2, 1), [(x, x[:, :1])], nn.functional.mse_loss, validation=(x, x[:, :1]))
    assert resolve(own, steps=1).batch_size is None


def test_settings_are_frozen():
    with pytest.raises(AttributeError):
        resolve(task(), steps=1).lr = 0.1


def test_the_recipe_is_left_as_it_was():
    recipe = {"rule": "adam", "lr": 0.1, "epochs": 2}
    t = task(recipe=recipe)
    resolve(t, rule="lion", steps=3)
    assert t.recipe == recipe == {"rule": "adam", "lr": 0.1, "epochs": 2}


@pytest.mark.parametrize("name", ["seed", "device", "stages", "name", "epoch"])
def test_what_a_recipe_cannot_say(name):
    with pytest.raises(InputError, match=rf"task linear: its recipe names '{name}'; expected are rule, lr, schedule"):
        resolve(task(recipe={name: 1}), steps=1)


def test_an_unknown_rule():
    with pytest.raises(UnknownNameError, match=r"Unknown rule 'momentun'. Did you mean 'momentum'"):
        resolve(task(), rule="momentun", steps=1)


def test_a_recipes_choices_are_checked_too():
    with pytest.raises(InputError, match="clip=-1 is given; expected is a number above 0"):
        resolve(task(recipe={"clip": -1, "epochs": 1}))


def test_an_argument_with_a_typo_is_an_error():
    with pytest.raises(TypeError, match="epoch"):
        resolve(task(), epoch=3)


def test_settings_without_a_task():
    settings = Settings(stage(adam), steps=3)
    assert (settings.accumulate, settings.device, settings.seed) == (1, "auto", 0)
