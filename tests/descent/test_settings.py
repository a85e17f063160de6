"""How a task is trained, as it is kept in a run's record."""

import json

import pytest
import torch
from torch import nn

from steepest.descent.settings import Settings, resolve
from steepest.descent.stages import stage
from steepest.errors import InputError, UnknownNameError
from steepest.records.config import Config, StageConfig
from steepest.rules.textbook import adam, lion, momentum
from steepest.schedule import cosine, warmup
from steepest.tasks.task import Task


def task(n=40, **given):
    x = torch.zeros(n, 2)
    return Task(nn.Linear(2, 1), (x, x[:, :1]), nn.functional.mse_loss, validation=(x, x[:, :1]), **given)


def described(**given):
    """As a record has it: through JSON, unchanged."""
    config = resolve(task(), **{"steps": 10, **given}).describe()
    assert Config.from_json(json.loads(json.dumps(config.to_json(), allow_nan=False))) == config
    return config


def test_every_choice_is_described():
    groups = {"weight": {"lr_scale": 0.5}}
    found = described(
        rule="adam", lr=0.01, schedule=warmup("5%") >> cosine, batch_size=8, clip=1.0, accumulate=2, average=0.9,
        precision="bfloat16", groups=groups, no_decay=["bias"], seed=7,
    )  # fmt: skip
    assert found == Config(
        rule="adam", lr=0.01, schedule="warmup(5%) >> cosine", batch_size=8, steps=10, clip=1.0, accumulate=2,
        average=0.9, precision="bfloat16", groups=groups, no_decay=["bias"], seed=7, guard=None,
        stages=(StageConfig("adam", dict(adam.hypers), adam.source),),
    )  # fmt: skip
    assert found.to_json()["stages"] == [{"rule": "adam", "hypers": dict(adam.hypers), "formula": adam.source}]


def test_a_rules_own_rate_is_described():
    assert described(rule=lion).lr == lion.hypers["lr"]


def test_scheduled_hyperparameters_are_described_as_text():
    assert described(rule=momentum(beta=0.9 * cosine)).stages[0].hypers["beta"] == "0.9 * cosine"


def test_stages_are_described_one_by_one():
    found = described(rule=stage("adam", "70%") >> stage(momentum, lr=0.05))
    assert [(part.rule, part.length, part.lr) for part in found.stages] == [
        ("adam", "70%", None),
        ("momentum", None, 0.05),
    ]


def test_anothers_optimizer_is_described_by_its_name():
    assert described(rule=torch.optim.SGD).rule == "torch.optim.sgd.SGD"


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
    with pytest.raises(
        InputError, match=rf"task linear: recipe must only have the keys rule, lr, schedule.*, got '{name}'"
    ):
        resolve(task(recipe={name: 1}), steps=1)


def test_an_unknown_rule():
    with pytest.raises(UnknownNameError, match=r"Unknown rule 'momentun'. Did you mean 'momentum'"):
        resolve(task(), rule="momentun", steps=1)


def test_a_recipes_choices_are_checked_too():
    with pytest.raises(InputError, match="clip must be positive, got -1"):
        resolve(task(recipe={"clip": -1, "epochs": 1}))


def test_an_argument_with_a_typo_is_an_error():
    with pytest.raises(TypeError, match="epoch"):
        resolve(task(), epoch=3)


def test_settings_without_a_task():
    settings = Settings(stage(adam), steps=3)
    assert (settings.accumulate, settings.device, settings.seed) == (1, "auto", 0)


# -- The learning rate of the first stage ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "lr", "recipe", "expected"),
    [
        (adam, None, {}, adam.hypers["lr"]),
        (momentum(lr=0.3), None, {}, 0.3),
        (adam, 0.02, {"lr": 0.5}, 0.02),
        (adam, None, {"lr": 0.5}, 0.5),
        (lion, None, {"lr": 0.5}, lion.hypers["lr"]),  # the recipe's is for adam
        (stage(adam, lr=0.01), None, {}, 0.01),
        (stage(adam, lr=0.01), None, {"lr": 0.5}, 0.01),
        (stage(adam, lr=0.01), 0.02, {}, 0.01),
        (stage(adam, "50%", lr=0.01) >> stage(momentum, lr=0.05), None, {}, 0.01),
        (stage(adam, "50%") >> stage(momentum, lr=0.05), 0.02, {}, 0.02),
        (stage(torch.optim.SGD, lr=0.01), None, {}, 0.01),
        (torch.optim.SGD, None, {}, None),  # known once the optimizer is made
    ],
    ids=str,
)
def test_the_first_stages_lr_is_resolved_once(rule, lr, recipe, expected):
    found = resolve(task(recipe=recipe), rule=rule, lr=lr, steps=10)
    assert found.lr == found.describe().lr == expected
    assert found.stages.parts[0].lr is None
    assert [part.lr for part in found.stages.parts[1:]] == [0.05] * (len(found.stages.parts) - 1)


def test_watch_is_an_old_name_of_report():
    with pytest.warns(DeprecationWarning, match='guard="watch" is deprecated'):
        watching = resolve(task(), steps=1, guard="watch").guard
    assert watching.describe() == resolve(task(), steps=1, guard="report").guard.describe()
    with pytest.raises(InputError, match=r"guard must be True, False, 'report' or sd.Guard\(...\), got 'no'"):
        resolve(task(), steps=1, guard="no")
