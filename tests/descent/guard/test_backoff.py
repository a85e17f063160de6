"""The factor of the learning rate: down after failures, up again while the loss is calm."""

import json

import pytest

from steepest.descent.guard.backoff import Backoff


def factor_after(backoff, n, jump=1.0):
    for _ in range(n):
        backoff.step()
    return backoff.factor(jump)


def cut_twice(quiet=100, warm=1):
    """One that has failed twice; the first failure was retried."""
    backoff = Backoff(quiet, warm)
    backoff.fail(1.0)
    backoff.fail(1.0)
    return backoff


def test_without_a_failure_the_factor_is_one():
    assert factor_after(Backoff(100, 50), 10) == 1.0


def test_the_first_failure_is_retried_and_after_a_recovery_another():
    backoff = Backoff(100, 50)
    assert "retrying unchanged" in backoff.fail(1.0)
    assert factor_after(backoff, 1) == 1.0
    factor_after(backoff, 100)
    assert "retrying unchanged" in backoff.fail(1.0)
    assert "lr × 0.125 with warmup" in backoff.fail(1.0)


def test_it_warms_up_linearly_from_a_tenth():
    backoff = cut_twice(warm=50)
    assert backoff.factor(1.0) == pytest.approx(0.1 / 8)
    assert factor_after(backoff, 25) == pytest.approx(0.55 / 8)
    assert factor_after(backoff, 25) == pytest.approx(1 / 8)


def test_successive_cuts():
    backoff = cut_twice()
    cuts = [backoff.cut]
    for _ in range(2):
        backoff.fail(1.0)
        cuts.append(backoff.cut)
    assert cuts == [1 / 8, 1 / 128, 1 / 2048]


def test_after_a_recovery_the_full_learning_rate_is_tried():
    backoff = cut_twice()
    assert [factor_after(backoff, 99), factor_after(backoff, 1)] == [1 / 8, 1.0]


def test_if_the_full_learning_rate_fails_it_doubles_every_two_recoveries():
    backoff = cut_twice()
    backoff.fail(1.0)
    factor_after(backoff, 100)
    assert "lr × 0.00781 with warmup" in backoff.fail(1.0)
    backoff.alarm()
    assert [factor_after(backoff, 199), factor_after(backoff, 1), factor_after(backoff, 200)] == [
        1 / 128,
        1 / 64,
        1 / 32,
    ]


def test_a_learning_rate_is_on_probation_for_a_recovery_time():
    backoff = Backoff(10, 1)
    backoff.fail(1.0)
    states = [backoff.is_on_probation]  # repeating the same steps is no other learning rate
    backoff.fail(1.0)
    for steps in (9, 1, 19, 1):
        states.append(backoff.is_on_probation)
        factor_after(backoff, steps)
    assert states == [False, True, True, True, True]
    assert not backoff.is_on_probation
    assert backoff.cut == 1


def test_repeated_steps_do_not_count_as_recovery():
    backoff = cut_twice()
    backoff.alarm(70)
    assert [factor_after(backoff, 169), factor_after(backoff, 1)] == [1 / 8, 1.0]


def test_a_later_alarm_does_not_shorten_the_recovery():
    backoff = cut_twice()
    backoff.alarm(70)
    backoff.alarm()
    assert [factor_after(backoff, 169), factor_after(backoff, 1)] == [1 / 8, 1.0]


def test_it_stays_at_a_quarter_of_what_failed_twice():
    backoff = cut_twice(10)
    factor_after(backoff, 10)
    backoff.fail(1.0)
    backoff.alarm()
    assert factor_after(backoff, 500) == 1 / 4


def test_a_failed_jump_is_divided_out_while_it_lasts():
    backoff = Backoff(10, 50)
    assert "lr ÷ 100 until the schedule drops back (it had jumped 100×)" in backoff.fail(100.0)
    assert factor_after(backoff, 50, jump=100.0) == pytest.approx(0.01)
    assert factor_after(backoff, 1) == 1.0


def test_a_divided_jump_that_fails_is_cut():
    backoff = Backoff(10, 1)
    for _ in range(3):
        backoff.fail(100.0)
    assert factor_after(backoff, 2, jump=100.0) == pytest.approx(0.01 / 8)


def test_state_goes_through_json():
    backoff, twin = cut_twice(10, 5), Backoff(10, 5)
    backoff.alarm(7)
    twin.load_state_dict(json.loads(json.dumps(backoff.state_dict())))
    for _ in range(60):
        assert factor_after(backoff, 1) == factor_after(twin, 1)
