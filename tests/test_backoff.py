"""The ceiling on the rate: down after failures, up again when all is quiet."""

import json

import pytest

from steepest.backoff import Backoff


def stepped(backoff, n, lr=1.0, jump=1.0):
    for _ in range(n):
        backoff.step(lr, jump)
    return backoff.factor(lr, jump)


def test_nothing_is_held_down_before_anything_failed():
    assert stepped(Backoff(100, 50), 10) == 1.0


def test_it_warms_up_linearly_from_a_tenth():
    backoff = Backoff(100, 50)
    backoff.fail(1.0, 1.0)
    assert backoff.factor(1.0, 1.0) == pytest.approx(0.5 * 0.1)
    assert stepped(backoff, 25) == pytest.approx(0.5 * 0.55)
    assert stepped(backoff, 25) == pytest.approx(0.5)


def test_a_quiet_time_doubles_it():
    backoff = Backoff(100, 1)
    backoff.fail(1.0, 1.0)
    assert [stepped(backoff, 99), stepped(backoff, 1)] == [0.5, 1.0]


def test_steps_that_are_done_again_are_no_quiet_time():
    backoff = Backoff(100, 1)
    backoff.alarm(lost=70)
    backoff.fail(1.0, 1.0)
    assert [stepped(backoff, 169), stepped(backoff, 1)] == [0.5, 1.0]


def test_a_level_that_failed_twice_is_not_tried_again():
    backoff = Backoff(10, 1)
    for _ in range(2):
        backoff.fail(1.0, 1.0)
        backoff.alarm()
        stepped(backoff, 200)
    assert backoff.factor(1.0, 1.0) == 0.5


def test_what_lies_below_the_ceiling_is_not_held_down():
    backoff = Backoff(10, 1)
    backoff.fail(1.0, 1.0)
    assert stepped(backoff, 5, lr=0.3) == 1.0


def test_a_jump_is_taken_back_for_as_long_as_it_lasts():
    backoff = Backoff(10, 1)
    assert "jumped by 100" in backoff.fail(1.0, 100.0)
    assert stepped(backoff, 50, lr=1.0, jump=100.0) == pytest.approx(0.01)
    assert stepped(backoff, 50, lr=0.5, jump=100.0) == pytest.approx(0.01)  # it follows the schedule's shape
    assert stepped(backoff, 1, lr=0.01, jump=1.0) == 1.0


def test_a_jump_that_fails_without_its_jump_too_is_cut():
    backoff = Backoff(10, 1)
    backoff.fail(1.0, 100.0)
    backoff.fail(0.01, 100.0)
    assert stepped(backoff, 2, lr=1.0, jump=100.0) == pytest.approx(0.005)


def test_only_the_first_unannounced_failure_is_chance():
    backoff = Backoff(10, 1)
    assert [backoff.forgive(), backoff.forgive()] == [True, False]


def test_a_rate_of_zero():
    backoff = Backoff(10, 1)
    backoff.fail(1.0, 1.0)
    assert stepped(backoff, 2, lr=0.0) == 1.0


def test_state_goes_through_json():
    backoff, twin = Backoff(10, 5), Backoff(10, 5)
    backoff.fail(0.3, 1.0)
    backoff.alarm(7)
    twin.load_state_dict(json.loads(json.dumps(backoff.state_dict())))
    for _ in range(60):
        assert stepped(backoff, 1, 0.2) == stepped(twin, 1, 0.2)
