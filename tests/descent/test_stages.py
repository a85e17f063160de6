"""Rules that follow one another, and where each one ends."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from steepest.descent.stages import stage
from steepest.errors import InputError, ScheduleError
from steepest.rules.textbook import adam, momentum


def lasts(stages, steps, steps_per_epoch=1):
    return [part.last for part in stages.bounds(steps, steps_per_epoch)]


@pytest.mark.parametrize(
    ("stages", "steps", "steps_per_epoch", "expected"),
    [
        (stage("adam"), 10, 1, [10]),
        (stage("adam", 10), 10, 1, [10]),
        (stage("adam", "100%"), 7, 1, [7]),
        (stage("adam", "70%") >> stage("momentum", "30%"), 10, 1, [7, 10]),
        (stage("adam", "70%") >> stage("momentum", "30%"), 11, 1, [8, 11]),
        (stage("adam", "3 epochs") >> stage("momentum"), 20, 4, [12, 20]),
        (stage("adam", 5) >> stage("momentum") >> stage("lion", "10%"), 20, 4, [5, 18, 20]),
        (stage("adam") >> stage("momentum", 1), 3, 1, [2, 3]),
    ],
    ids=str,
)
def test_where_stages_end(stages, steps, steps_per_epoch, expected):
    assert lasts(stages, steps, steps_per_epoch) == expected


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.integers(2, 10_000), st.integers(1, 99))
def test_shares_make_up_every_run(steps, share):
    stages = stage("adam", f"{share}%") >> stage("momentum", f"{100 - share}%")
    first = -(-steps * share // 100)
    if first == steps:
        with pytest.raises(InputError, match="must add up to the run's"):
            lasts(stages, steps)
    else:
        assert lasts(stages, steps) == [first, steps]


def test_rules_and_rates_stay_with_their_stages():
    stages = stage(adam, 3) >> stage(momentum, lr=0.05)
    assert stages.bounds(5, 1) == [(adam, None, 1, 3), (momentum, 0.05, 4, 5)]


def test_joining_is_associative():
    a, b, c = stage("adam", 3), stage("momentum", 4), stage("lion")
    assert (a >> b) >> c == a >> (b >> c)


def test_text():
    assert str(stage("adam", "70%") >> stage("momentum", lr=0.05)) == "stage(adam, 70%) >> stage(momentum, 0.05)"


@pytest.mark.parametrize(
    ("stages", "says"),
    [
        (stage("adam") >> stage("momentum"), r"at most one stage may omit its length \(it takes the rest\)"),
        (
            stage("adam", 4) >> stage("momentum", 4),
            "must add up to the run's 10 steps with at least one step each, got 8. Change the lengths",
        ),
        (stage("adam", 4) >> stage("momentum", 8), "must add up to the run's 10 steps .*, got 12"),
        (stage("adam", 12) >> stage("momentum"), "10 steps with at least one step each, got 10. Change the lengths"),
        (stage("adam", 10) >> stage("momentum"), "10 steps with at least one step each, got 10. .* or omit one"),
    ],
    ids=str,
)
def test_lengths_that_do_not_make_up_the_run(stages, says):
    with pytest.raises(InputError, match=says):
        stages.bounds(10, 1)


@pytest.mark.parametrize("lr", [0, -0.1, float("nan")])
def test_a_rate_is_above_0(lr):
    with pytest.raises(InputError, match=r"stage: lr must be positive, got"):
        stage("adam", lr=lr)


@pytest.mark.parametrize("length", ["7 weeks", "", 0, -3, "120%"])
def test_a_length_that_cannot_be_meant(length):
    with pytest.raises((InputError, ScheduleError)):
        stage("adam", length)
