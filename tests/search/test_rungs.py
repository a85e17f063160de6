"""The learning rate by measurement: what is tried, what is chosen, what is said."""

import dataclasses
import functools
import math
import random
import time

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy, mse_loss

import steepest as sd
from steepest.descent.settings import resolve
from steepest.errors import InputError, TaskError
from steepest.records.search import FAILED, TOO_SMALL, WORKS
from steepest.search import rungs
from steepest.search.baseline import measure_baseline


def quadratic():
    """Regression on one number: gradient descent at 0.5 is there in one step, and diverges above 1."""
    x = torch.ones(64, 1)
    return sd.Task(lambda seed: nn.Linear(1, 1, bias=False), (x, 2 * x), mse_loss, validation=(x, 2 * x))


def classes(n=400, seed=0):
    random = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 6, generator=random)
    return x, (x[:, :3] + 0.3 * torch.randn(n, 3, generator=random)).argmax(1)


def task():
    def net(seed):
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 3))

    return sd.Task(net, classes(), cross_entropy, validation=classes(seed=1))


def search(of, rule="adam", steps=400, batch_size=32, between=None, budget=None, way=None, **given):
    return rungs.run_search(
        of, resolve(of, rule=rule, batch_size=batch_size, steps=steps, **given), budget, between, way
    )


@pytest.mark.parametrize(("steps", "share"), [(20, "5%"), (160, "40%"), ("31 epochs", "100%")])
def test_the_spelling_of_a_warmup_changes_nothing(steps, share):
    """A short run keeps the shape of the whole: absolute lengths shrink with it."""
    texts = [f"warmup({length}) >> cosine" for length in (steps, share)]
    one, other = (search(task(), schedule=text, steps=403) for text in texts)
    assert [(row.lr, row.loss) for row in one.table] == [(row.lr, row.loss) for row in other.table]
    assert one.best == other.best


def test_hyperparameters_that_follow_a_schedule_shrink_too():
    one, other = (
        search(task(), rule=sd.momentum(beta=0.9 * sd.schedule.parse(f"warmup({length})")), way="one after another")
        for length in (200, "50%")
    )
    assert [row.loss for row in one.table] == [row.loss for row in other.table]


@pytest.mark.parametrize("steps", [400, 4_000_000])
def test_how_long_a_search_may_take_follows_from_the_work_of_the_run(steps):
    """By no clock: the search for a long run is bounded, on a fast machine as on a slow one."""
    of = task()
    base = measure_baseline(of, resolve(of, rule="adam", batch_size=32, steps=steps), None)
    assert base.max_steps == (math.inf if steps == 400 else 0.15 * steps)


def test_two_rungs_and_the_choice():
    found = search(task())
    short = [row for row in found.table if row.steps == 20]
    long = [row for row in found.table if row.steps == 80]
    assert len(short) >= 7
    assert len(long) >= 5
    assert len(short) + len(long) == len(found.table)
    winner = min(long, key=lambda row: row.loss)
    assert found.best == pytest.approx(winner.lr / 1.8)
    assert winner.lr != min(row.lr for row in long)
    works = [row.lr for row in long if row.region == WORKS]
    assert found.low == min(works)  # a value that was run: the choice, 1.8 times below the best, was not
    assert found.low <= winner.lr <= found.high
    assert found.steps == sum(row.steps for row in found.table)
    assert found.run_steps == 400


def test_the_regions_of_a_parabola():
    found = search(quadratic(), "gradient_descent", 200, "full", schedule="constant")
    assert 0.02 < found.best < 1
    assert 1 <= found.fails <= 4
    assert found.high < found.fails
    for row in found.table:
        if row.lr > 1:
            assert row.region == FAILED
            assert "non-finite loss from step" in row.how or "% of the best gain" in row.how
        if row.lr < 1e-3:
            assert row.region == TOO_SMALL
    assert found.sentence.startswith(f"Use lr = {found.best:.3g} with gradient_descent. Best short run: ")
    assert f"{found.low:.3g} to {found.high:.3g} worked; {found.fails:.3g} failed (" in found.sentence
    assert any(row.region == WORKS for row in found.table)


def test_it_is_widened_to_where_the_best_is():
    """The rule's usual rate is far too large here, and then far too small."""
    x = 100 * torch.ones(64, 1)
    steep = sd.Task(lambda seed: nn.Linear(1, 1, bias=False), (x, x), mse_loss, validation=(x, x))
    assert search(steep, "gradient_descent", 200, "full").best < 1e-4
    flat = sd.Task(
        lambda seed: nn.Linear(1, 1, bias=False), (x / 1e5, x / 1e5), mse_loss, validation=(x / 1e5, x / 1e5)
    )
    assert search(flat, "gradient_descent", 200, "full").best > 1e4


def test_the_same_search_finds_the_same():
    one, two = search(task(), way="together"), search(task(), way="together")
    assert one.best == two.best
    assert [row[:3] for row in one.table] == [row[:3] for row in two.table]


def test_a_range_is_kept_to():
    found = search(task(), between=(1e-3, 1e-1))
    assert min(row.lr for row in found.table) >= 1e-3 * 0.999
    assert max(row.lr for row in found.table) <= 1e-1 * 1.001


@pytest.mark.parametrize("budget", [200, 300])
def test_a_budget_is_kept_and_what_it_costs_is_said(budget):
    found = search(task(), budget=budget)
    assert found.steps <= budget
    assert "budget allowed runs of" in found.sentence


def test_a_budget_in_seconds():
    found = search(task(), budget="1 s", steps=100_000)
    assert found.steps < 0.5 * 100_000
    assert "budget allowed runs of" in found.sentence


def test_lengths_in_steps_that_do_not_fit_a_short_run():
    found = search(task(), schedule="warmup(100) >> cosine")
    assert math.isfinite(found.best)


def test_members_paths_are_kept():
    found = search(task())
    assert len(found.paths) == len(found.table)
    assert all(path.points.shape[1] == 7 * 16 + 17 * 3 for path in found.paths)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"between": (1e-1, 1e-3)}, "0 < low < high"),
        ({"between": (0.0, 1.0)}, "0 < low < high"),
        ({"between": (-1.0, 1.0)}, "0 < low < high"),
        ({"between": (0.1, 0.2)}, "must span half a decade"),
        ({"budget": 10}, "must allow 12 short runs of 2 steps, got 10 steps"),
        ({"budget": 0}, "must be a number of steps ≥ 1"),
        ({"budget": "soon"}, "or seconds such as '60 s', got 'soon'"),
        ({"rule": sd.stage("adam", "50%") >> sd.stage("momentum")}, "for one update rule, got stages"),
    ],
)
def test_what_cannot_be_meant(given, words):
    with pytest.raises(InputError, match=words):
        search(task(), **given)


def test_where_every_rate_fails_it_is_said():
    x, y = classes()
    hopeless = sd.Task(
        lambda seed: nn.Linear(6, 3), (x, y), lambda o, t: 0 * cross_entropy(o, t) + 1, validation=(x, y)
    )
    with pytest.raises(
        TaskError, match=r"No learning rate that was tried works: .* from 1e-.* is not below the initial 1\."
    ):
        search(hopeless)


def _failing_second_rung(monkeypatch, value, failure=""):
    """A search whose second rung ends like this at every rate, however low."""
    usual = rungs.run_descents

    def late(of, settings, plan, strategy=None):
        found = usual(of, settings, plan, strategy=strategy)
        for member in found.members if settings[0].steps > 20 else []:
            member.failure = failure
            member.measurements = {settings[0].steps: {"loss": value}}
        return found

    monkeypatch.setattr(rungs, "run_descents", late)


@pytest.mark.parametrize(
    ("value", "failure", "words"),
    [
        (9.0, "", r"The lowest validation loss, 9 at lr = .*, is not below the initial 1\."),
        (math.nan, "non-finite loss from step 31", r"19 of them diverged \(lr = .*: non-finite loss from step 31\)\."),
    ],
)
def test_where_the_long_runs_fail_no_rate_is_chosen(monkeypatch, value, failure, words):
    _failing_second_rung(monkeypatch, value, failure)
    with pytest.raises(
        TaskError, match=rf"^No learning rate that was tried works: 19 from .*80 steps\. {words}"
    ) as told:
        search(task())
    assert "Runs of 20 steps lowered it" in str(told.value)
    assert "or pass lower values: between=(" in str(told.value)


def test_a_start_at_the_minimum_has_no_rate():
    x = torch.ones(64, 1)
    done = nn.Linear(1, 1, bias=False)
    nn.init.constant_(done.weight, 2.0)
    done.weight.data += 1e-3
    worse = sd.Task(done, (x, 5 * x), mse_loss, validation=(x, 2 * x))
    with pytest.raises(TaskError, match="that the weights are not at a minimum already"):
        search(worse, "gradient_descent", 200, "full")


def test_a_loss_that_is_not_finite_at_the_start():
    x, y = classes()
    broken = sd.Task(
        lambda seed: nn.Linear(6, 3), (x, y), lambda o, t: cross_entropy(o, t) * math.inf, validation=(x, y)
    )
    with pytest.raises(TaskError, match="initial validation loss must be finite, got inf"):
        search(broken)


def test_a_rate_that_is_given_does_not_matter():
    of = task()
    settings = resolve(of, rule="adam", batch_size=32, steps=400)
    given = dataclasses.replace(settings, lr=7.0)
    assert rungs.run_search(of, given, way="together").best == rungs.run_search(of, settings, way="together").best


def test_an_optimizer_of_torch():
    found = search(task(), lambda parameters: torch.optim.Adam(parameters, lr=1e-3))
    assert found.best == pytest.approx(search(task(), "adam").best, rel=0.9)
    assert found.way == "one after another"


# -- Progress ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["together", "one after another"])
def test_progress_after_every_step(way):
    seen = []
    of = task()
    found = rungs.run_search(of, resolve(of, rule="adam", batch_size=32, steps=400), way=way, watch=seen.append)
    assert seen[-1].steps == seen[-1].expected == found.steps
    assert [at.steps for at in seen] == sorted(at.steps for at in seen)
    assert all(at.steps <= at.expected for at in seen)
    assert seen[-1].rates == len(found.table)
    assert sum(at.is_rung for at in seen) >= 2
    longest = [row for row in found.table if row.steps == 80]
    assert (seen[-1].loss, seen[-1].best) == min((row.loss, row.lr) for row in longest)


@functools.cache
def uninterrupted(way):
    """The losses of a whole search, by steps and rate."""
    return {(row.steps, row.lr): row.loss for row in search(task(), way=way).table}


@pytest.mark.parametrize("way", ["together", "one after another"])
@pytest.mark.parametrize("after", [0, 15, 200, 500])
def test_what_was_finished_outlives_an_interruption(way, after):
    def watch(at):
        if at.steps > after:
            raise KeyboardInterrupt

    of = task()
    settings = resolve(of, rule="adam", batch_size=32, steps=400)
    with pytest.raises(
        KeyboardInterrupt, match=r"interrupted after \d+ of about \d+ steps. No learning rate was chosen"
    ) as stopped:
        rungs.run_search(of, settings, way=way, watch=watch)
    table = stopped.value.table
    assert {(row.steps, row.lr): row.loss for row in table}.items() <= uninterrupted(way).items()
    assert after < 140 or len(table) >= 7
    assert ("no short run has ended" in str(stopped.value)) == (not table)


@pytest.mark.parametrize("steps", [25, 36, 60])
@pytest.mark.parametrize("way", ["together", "one after another"])
def test_rungs_of_one_length_run_each_value_once(steps, way):
    found = search(task(), steps=steps, way=way)
    assert len({row.steps for row in found.table}) == 1
    assert found.steps == sum(row.steps for row in found.table)
    best = min(found.table, key=lambda row: row.loss).lr
    tried = [row.lr for row in found.table]
    assert all(any(math.isclose(lr, best / rungs.QUARTER**k) for lr in tried) for k in (1, 2))


def test_of_two_equal_rungs_one_is_run(monkeypatch):
    calls, usual = [], rungs.run_descents

    def counted(of, settings, plan, strategy=None):
        calls.append(settings)
        return usual(of, settings, plan, strategy=strategy)

    monkeypatch.setattr(rungs, "run_descents", counted)
    monkeypatch.setattr(rungs, "QUARTER", rungs.HALF)
    search(task(), steps=40, between=(1e-3, 1e-1))
    assert len(calls) == 1


# -- The same seed gives the same learning rate ------------------------------------------------------------------------


def _noisy(output, target):
    """Random numbers of all three kinds."""
    return cross_entropy(output * (1 + random.random()) + np.random.rand() + 0.1 * torch.randn_like(output), target)


@pytest.mark.parametrize("way", ["together", "one after another", None])
@pytest.mark.parametrize("kind", ["seconds", "noise", "dropout"])
def test_the_same_seed_gives_the_same_rate(kind, way, monkeypatch):
    x, y = classes()
    net = nn.Sequential(nn.Linear(6, 16), nn.Dropout(0.3 if kind == "dropout" else 0.0), nn.ReLU(), nn.Linear(16, 3))
    of = sd.Task(net, (x, y), _noisy if kind == "noise" else cross_entropy, validation=classes(seed=1))
    tables = []
    for k, speed in enumerate((1.0, 30.0)):
        random.seed(k), np.random.seed(k), torch.manual_seed(k)
        clock = time.perf_counter
        monkeypatch.setattr(time, "perf_counter", lambda c=clock, s=speed: s * c())
        found = search(of, steps=100, way=way, budget="0.3 s" if kind == "seconds" else None)
        monkeypatch.undo()
        tables.append([(row.steps, row.lr, row.loss) for row in found.table])
    assert tables[0] == tables[1]


def test_a_search_leaves_the_callers_random_numbers_alone():
    random.seed(0), np.random.seed(0), torch.manual_seed(0)
    expected = random.random(), np.random.rand(), torch.rand(()).item()
    random.seed(0), np.random.seed(0), torch.manual_seed(0)
    search(task(), steps=40)
    assert (random.random(), np.random.rand(), torch.rand(()).item()) == expected


@pytest.mark.parametrize("steps", [12, 36, 60])
def test_a_run_of_few_steps_is_searched_by_whole_runs(steps):
    found = search(task(), steps=steps)
    assert {row.steps for row in found.table} == {steps}
    best = min(found.table, key=lambda row: row.loss)
    assert found.best == best.lr
    assert found.sentence.startswith(f"Use lr = {best.lr:.3g} with adam, the best of runs of all {steps} steps. ")


@pytest.mark.parametrize("steps", [100, 300])
def test_a_brief_run_is_searched_by_runs_of_half_its_length(steps):
    found = search(task(), steps=steps)
    assert {row.steps for row in found.table} == {20, steps // 2}
    long = [row for row in found.table if row.steps == steps // 2]
    best = min(long, key=lambda row: row.loss)
    assert found.best == pytest.approx(best.lr / 1.3)
    assert min(row.lr for row in long) < best.lr < max(row.lr for row in long)
    assert "divided by 1.3" in found.sentence


def test_a_budget_that_does_not_allow_whole_runs_is_kept():
    found = search(task(), steps=60, budget=300)
    assert found.steps <= 300
    assert max(row.steps for row in found.table) < 60
    assert "divided by 1.8" in found.sentence
