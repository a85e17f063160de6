"""Races, and comparisons of several runs a side."""

import dataclasses
import math
import re

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

import steepest as sd
from steepest.errors import InputError, TaskError
from steepest.records.search import Curve
from steepest.search import contest


def data(n=300, seed=0):
    random = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 6, generator=random)
    return x, (x[:, :3] + 0.5 * torch.randn(n, 3, generator=random)).argmax(1)


def net(seed):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 3))


def task(**given):
    chosen = {"validation": data(seed=1), "metrics": {"accuracy": sd.accuracy}, **given}
    return sd.Task(net, data(), cross_entropy, **chosen)


def curve(side, seed, losses, step_s=1e-3, failed=""):
    t = np.arange(1, len(losses) + 1) * 10
    return Curve(side, seed, 0.1, t, np.array(losses), np.empty(0), step_s, failed)


def curves(side, final, spread, count=8, draw=0, **given):
    random = np.random.default_rng(draw)
    ends = final * np.exp(spread * random.standard_normal(count))
    return [curve(side, k, np.linspace(2.0, end, 10), **given) for k, end in enumerate(ends)]


def without_metric():
    return task(metrics={})


def test_rules_race_each_at_a_rate_of_its_own():
    race = sd.race(task(), ["adam", "momentum"], seeds=3, batch_size=32, steps=60)
    assert race.record.sides == ("adam", "momentum")
    for side in race.record.sides:
        mine = race.record.of(side)
        assert [c.seed for c in mine] == [0, 1, 2]
        assert len({c.lr for c in mine}) >= 1
        assert all(c.t[-1] == 60 and np.isfinite(c.loss).all() for c in mine)
        assert all(len(c.metric) == len(c.t) for c in mine)
    assert race.record.search_steps > 6 * 60
    assert race.target == max(np.median([c.final for c in race.record.of(s)]) for s in race.record.sides)
    assert len(race.words) == 3
    assert len(race.paths) == 6
    assert race.verdict


def test_a_fifth_of_the_learning_rate_is_worse():
    sides = {"right": 0.03, "fifth": 0.006}
    rules = {name: sd.adam() for name in sides}
    from steepest.descent.settings import resolve

    of = task(metrics={})
    settings = {n: resolve(of, rule=r, batch_size=32, steps=60) for n, r in rules.items()}
    found = contest.run_race(of, settings, 8, sides)
    assert "right reaches the target in fewer steps than fifth (rank test; 8 seeds each; p" in found.verdict
    assert "right's final validation loss is 0." in found.verdict


def test_a_side_against_itself_is_no_difference():
    race = sd.race(task(metrics={}), ["adam", sd.adam()], seeds=4, lr=0.01, batch_size=32, steps=30)
    assert race.record.sides == ("adam", "adam 2")
    assert race.verdict == (
        "No difference detected in steps to target or final validation loss (4 seeds each). "
        "With so few seeds only large differences show; use 8."
    )


def test_an_optimizer_of_torch_takes_part():
    race = sd.race(task(), ["adam", torch.optim.SGD], seeds=2, lr={"adam": 0.01, "SGD": 0.1}, batch_size=32, steps=20)
    assert race.record.sides == ("adam", "SGD")


def test_batch_sizes_race_over_equally_many_samples_and_in_equal_time():
    race = sd.race(task(metrics={}), "momentum", seeds=2, lr=0.05, batch_sizes=["full", 30], epochs=3)
    assert race.record.sides == ("batch full", "batch 30")
    assert [c.t[-1] for c in race.record.curves] == [3, 3, 30, 30]
    assert any("validation loss after equal time" in words for words in race.words)


def test_the_target_is_reached_by_half_of_the_slowest_side():
    found = contest.conclude(without_metric(), [*curves("a", 0.2, 0.1), *curves("b", 0.5, 0.1, draw=1)])
    assert found.derived
    assert sum(math.isfinite(c.reached(found.target)) for c in found.of("b")) >= 4
    assert "a's final validation loss is 0." in found.verdict
    assert "(97.5 % interval " in found.verdict  # two quantities share the level of 5 %
    given = contest.conclude(without_metric(), found.curves, target=1.0)
    assert given.target == 1.0
    assert not given.derived


def test_equal_time_is_that_of_the_quickest_side():
    slow = curves("slow", 0.2, 0.0, step_s=2e-3)
    quick = curves("quick", 0.2, 0.0, step_s=1e-3)
    assert [contest.loss_within(c, 0.1) for c in quick] == [c.loss[-1] for c in quick]
    assert [contest.loss_within(c, 0.1) for c in slow] == [c.loss[4] for c in slow]
    verdict = contest.conclude(without_metric(), [*slow, *quick], by_time=True).verdict
    assert "quick is lower than slow in validation loss after equal time (rank test" in verdict


def test_runs_that_fail_count_as_the_worst():
    broken = [dataclasses.replace(c, failed="its loss was not finite") for c in curves("b", 0.2, 0.1)]
    found = contest.conclude(without_metric(), [*curves("a", 0.2, 0.1), *broken])
    assert "rank test; 8 seeds each" in found.verdict
    assert "8 of 8 b runs diverged" in found.verdict
    with pytest.raises(TaskError, match="More than half of the runs of every contender diverged"):
        contest.conclude(without_metric(), [*broken, *(dataclasses.replace(c, side="c") for c in broken)])


def test_the_rate_is_searched_on_data_and_seeds_that_nobody_is_scored_by():
    of = task()
    apart = of.apart(0.2, seed=5)
    kept = {tuple(row) for row in apart.data[0].tolist()}
    chosen = {tuple(row) for row in apart.validation[0].tolist()}
    assert not kept & chosen
    assert kept | chosen == {tuple(row) for row in of.data[0].tolist()}
    assert not chosen & {tuple(row) for row in of.validation[0].tolist()}


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"rules": ["adam"]}, r"at least 2 contenders and 2 seeds \(8 recommended\), got 1 and 8"),
        ({"rules": ["adam", "lion"], "seeds": 1}, "2 seeds .* got 2 and 1"),
        (
            {"rules": ["adam", "lion"], "lr": {"adam": 0.1}},
            "must have a value for every contender, got none for 'lion'",
        ),
        ({"rules": ["adam", "lion"], "lr": "fast"}, "must be 'auto', a positive number"),
        ({"rules": ["adam", "lion"], "batch_sizes": [1, 2]}, "must be one update rule"),
        ({"rules": "adam", "batch_sizes": [1, 2], "batch_size": 3}, "not both; got 3 and"),
        ({"rules": "adam", "batch_sizes": [1, 2]}, "Pass epochs"),
        ({"rules": ["adam", "adamant"]}, "adamant"),
    ],
)
def test_what_cannot_be_meant(given, words):
    with pytest.raises(sd.SteepestError, match=words):
        sd.race(task(), steps=10, **{"lr": 0.01, **given})


def test_too_little_validation_data():
    few = task(validation=data(20, seed=1))
    with pytest.raises(TaskError, match="at least 30 validation samples, got 20"):
        sd.race(few, ["adam", "lion"], steps=10, lr=0.01)


def test_former_names_of_arguments_warn():
    with pytest.warns(DeprecationWarning, match=r"race\(lrs=\) is deprecated. Use lr=."):
        old = sd.race(task(), ["adam", "momentum"], seeds=2, lrs=0.01, batch_size=32, steps=10)
    with pytest.warns(DeprecationWarning, match=r"race\(level=\) is deprecated. Use alpha=."):
        strict = sd.race(task(), ["adam", "momentum"], seeds=2, lr=0.01, batch_size=32, steps=10, level=0.03)
    assert {c.lr for c in old.curves} == {0.01}
    assert any("99 % interval" in words for words in strict.words)  # three quantities


def test_figures(tmp_path):
    race = sd.race(task(), ["adam", "momentum"], seeds=2, lr=0.01, batch_size=32, steps=20)
    for suffix in (".png", ".svg"):
        assert race.figure(tmp_path / f"race{suffix}").stat().st_size > 5000


def test_batch_sizes_are_drawn_over_the_samples_that_they_have_seen(tmp_path):
    race = sd.race(task(metrics={}), "momentum", seeds=2, lr=0.05, batch_sizes=["full", 70], epochs=3)
    assert [c.batch for c in race.curves] == [300, 300, 60, 60]  # of 70, 70, 70, 70 and 20 samples
    assert {c.t[-1] * c.batch for c in race.curves} == {900}
    assert ">samples seen<" in race.figure(tmp_path / "sizes.svg").read_text()
    rules = sd.race(task(metrics={}), ["adam", "momentum"], seeds=2, lr=0.01, batch_size=70, steps=6)
    assert ">step<" in rules.figure(tmp_path / "rules.svg").read_text()


def test_groups_of_runs_are_compared_as_a_race_compares(tmp_path):
    def group(lr, name):
        return [
            sd.fit(task(metrics={}), lr=lr, steps=40, batch_size=32, seed=k, runs=tmp_path, name=name) for k in range(5)
        ]

    good, bad = group(0.03, "good"), group(0.001, "bad")
    found = sd.compare(good, [r.id for r in bad], tmp_path)
    assert re.match(r"good ends at 0\.\d+× the loss of bad \(95 % interval 0\.\d+× to 0\.\d+×\)", found.sentence)
    assert found.conclusion == "worse"
    assert "seed" not in found.differing
    assert found.figure(tmp_path / "both.png").stat().st_size > 5000
    assert sd.compare(good[:2], good[2:4], tmp_path).conclusion == "tie"
    with pytest.raises(InputError, match="on each side, got none"):
        sd.compare([], good)
