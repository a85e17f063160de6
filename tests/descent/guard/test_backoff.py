"""The factor of the rate: down after failures, up again when all is quiet."""

import json

import pytest

from steepest.descent.guard.backoff import Backoff


def stepped(backoff, n, jump=1.0):
    for _ in range(n):
        backoff.step()
    return backoff.factor(jump)


def cut(quiet=100, warm=1):
    """One that has failed twice, of which the first was forgiven."""
    backoff = Backoff(quiet, warm)
    backoff.fail(1.0)
    backoff.fail(1.0)
    return backoff


def test_nothing_is_held_down_before_anything_failed():
    assert stepped(Backoff(100, 50), 10) == 1.0


def test_the_first_failure_is_forgiven_and_after_a_quiet_time_another():
    backoff = Backoff(100, 50)
    assert "once more" in backoff.fail(1.0)
    assert stepped(backoff, 1) == 1.0
    stepped(backoff, 100)
    assert "once more" in backoff.fail(1.0)
    assert "multiplied by 0.125" in backoff.fail(1.0)


def test_it_warms_up_linearly_from_a_tenth():
    backoff = cut(warm=50)
    assert backoff.factor(1.0) == pytest.approx(0.1 / 8)
    assert stepped(backoff, 25) == pytest.approx(0.55 / 8)
    assert stepped(backoff, 25) == pytest.approx(1 / 8)


def test_successive_cuts():
    backoff = cut()
    found = [backoff.cut]
    for _ in range(2):
        backoff.fail(1.0)
        found.append(backoff.cut)
    assert found == [1 / 8, 1 / 128, 1 / 2048]


def test_after_a_quiet_time_the_full_rate_is_tried():
    backoff = cut()
    assert [stepped(backoff, 99), stepped(backoff, 1)] == [1 / 8, 1.0]


def test_where_the_full_rate_fails_it_doubles_with_every_two_quiet_times():
    backoff = cut()
    backoff.fail(1.0)
    stepped(backoff, 100)
    assert "multiplied by 0.00781" in backoff.fail(1.0)
    backoff.alarm()
    assert [stepped(backoff, 199), stepped(backoff, 1), stepped(backoff, 200)] == [1 / 128, 1 / 64, 1 / 32]


def test_a_rate_is_on_trial_until_it_has_worked_for_a_quiet_time():
    backoff = Backoff(10, 1)
    backoff.fail(1.0)
    found = [backoff.is_trying]  # the same steps once more are no other rate
    backoff.fail(1.0)
    for steps in (9, 1, 19, 1):
        found.append(backoff.is_trying)
        stepped(backoff, steps)
    assert found == [False, True, True, True, True]
    assert not backoff.is_trying
    assert backoff.cut == 1


def test_steps_that_are_done_again_are_no_quiet_time():
    backoff = cut()
    backoff.alarm(70)
    assert [stepped(backoff, 169), stepped(backoff, 1)] == [1 / 8, 1.0]


def test_the_quiet_time_is_not_shortened_by_a_later_alarm():
    backoff = cut()
    backoff.alarm(70)
    backoff.alarm()
    assert [stepped(backoff, 169), stepped(backoff, 1)] == [1 / 8, 1.0]


def test_it_stays_at_a_quarter_of_what_failed_twice():
    backoff = cut(10)
    stepped(backoff, 10)
    backoff.fail(1.0)
    backoff.alarm()
    assert stepped(backoff, 500) == 1 / 4


def test_a_jump_is_taken_back_for_as_long_as_it_lasts():
    backoff = Backoff(10, 50)
    assert "jumped by 100" in backoff.fail(100.0)
    assert stepped(backoff, 50, jump=100.0) == pytest.approx(0.01)
    assert stepped(backoff, 1) == 1.0


def test_a_jump_that_fails_without_its_jump_too_is_cut():
    backoff = Backoff(10, 1)
    for _ in range(3):
        backoff.fail(100.0)
    assert stepped(backoff, 2, jump=100.0) == pytest.approx(0.01 / 8)


def test_state_goes_through_json():
    backoff, twin = cut(10, 5), Backoff(10, 5)
    backoff.alarm(7)
    twin.load_state_dict(json.loads(json.dumps(backoff.state_dict())))
    for _ in range(60):
        assert stepped(backoff, 1) == stepped(twin, 1)
