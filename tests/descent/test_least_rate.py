"""`cosine(min_lr=…)` in a descent: the least rate is absolute, whatever the base rate of the run, stage or member."""

import pytest
import torch
from torch import nn

import steepest as sd
from steepest.descent.loop import Descent
from steepest.descent.settings import resolve
from steepest.descent.state import copy_state


def task():
    torch.manual_seed(0)
    x = torch.randn(40, 4, generator=torch.Generator().manual_seed(0))
    return sd.Task(model=nn.Linear(4, 2), loss=nn.functional.mse_loss, data=(x, x[:, :2]))


@pytest.mark.parametrize("lr", [0.3, 0.01])
@pytest.mark.parametrize("schedule", ["warmup(2) >> cosine(min_lr=1e-3)", sd.warmup(2) >> sd.linear(min_lr=1e-3)])
def test_the_run_ends_at_it(lr, schedule):
    rates = [step.lr for step in sd.descend(task(), "adam", lr, schedule, steps=12, batch_size=8)]
    assert rates[1] == lr
    assert rates[-1] == pytest.approx(1e-3, rel=1e-12)


def test_the_rates_default_and_a_torch_optimizers_are_known():
    for rule in ("adam", lambda params: torch.optim.SGD(params, lr=0.2)):
        rates = [step.lr for step in sd.descend(task(), rule, None, "cosine(min_lr=1e-3)", steps=12, batch_size=8)]
        assert rates[-1] == pytest.approx(1e-3, rel=1e-12)
        assert rates[0] >= rates[1] >= rates[-1]


def descent(schedule, rule="adam"):
    own = task()
    return Descent(own, resolve(own, rule=rule, lr=0.3, schedule=schedule, batch_size=18, steps=12), own.model)


def test_each_stage_has_its_own_base():
    stages = sd.stage("adam", "50%") >> sd.stage("momentum", lr=0.02)
    rates = [step.lr for step in descent("linear(min_lr=1e-3)", stages)]
    assert rates[:6] == pytest.approx([0.3 + (1e-3 - 0.3) * t / 12 for t in range(1, 7)])
    assert rates[6:] == pytest.approx([0.02 + (1e-3 - 0.02) * t / 12 for t in range(7, 13)])


def test_restored_it_goes_on_at_its_rates():
    schedule = "plateau(0.5, patience=0, threshold=0.9) * cosine(min_lr=1e-3)"
    whole = [step.lr for step in descent(schedule)]
    first, second = descent(schedule), descent(schedule)
    rates = [first.step().lr for _ in range(7)]
    second.load(copy_state(first.state()))
    assert rates + [step.lr for step in second] == whole
    assert whole[-1] < 1e-3 * 0.5**3  # the product scales the least rate


def test_rates_found_and_raced_have_it_too():
    rates = sd.find_lr(task(), "adam", "cosine(min_lr=1e-6)", steps=10, batch_size=8)
    assert rates.best > 0
    assert rates.way == "one after another"


def test_a_function_of_ones_own_in_a_run(tmp_path):
    run = sd.fit(task(), "adam", 0.1, lambda t, T: 1 / t, 8, steps=5, runs=tmp_path)
    assert run.record.config.schedule == "custom(lambda)"
    with pytest.raises(sd.InputError, match="a text cannot hold a function"):
        sd.resume(run, steps=9)
