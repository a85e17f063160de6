"""Calm steps are counted several at a time: the guard says and knows what it would if it judged each at once."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from steepest.descent.guard.guard import Guard


class OneByOne(Guard):
    """The guard without calm steps."""

    def _next_calm(self, lr):
        return None


def course(seed, n, spread, spikes, drift, jump):
    """Losses, gradient norms and learning rates with noise, spikes, a trend, and a jump of the schedule."""
    random = np.random.default_rng(seed)
    losses = np.exp(drift * np.arange(n) + spread * random.standard_normal(n))
    norms = np.exp(0.3 * random.standard_normal(n))
    for at in random.integers(0, n, spikes):
        losses[at] *= 10 ** random.uniform(0, 4)
        norms[at] *= 10 ** random.uniform(-3, 6)
    if spikes == 1:  # a hinge loss of single samples: most are 0, with their gradients
        is_zero = random.random(n) < 0.7
        losses[is_zero], norms[is_zero] = 0.0, 0.0
    if spikes > 3:
        losses[random.integers(n)] = math.nan
        losses[random.integers(n)] = -1.0
    rates = np.where(np.arange(n) > n // 2, jump, 1.0) * np.linspace(1, 0.01, n)
    return losses.tolist(), norms.tolist(), rates.tolist()


@given(
    st.integers(0, 10**6), st.integers(1, 400), st.sampled_from([0.0, 1e-4, 0.1, 1.0]), st.integers(0, 6),
    st.sampled_from([-0.01, 0.0, 1e-3, 0.02]), st.sampled_from([1.0, 2.0, 10.0]), st.integers(1, 50), st.booleans(),
)  # fmt: skip
@settings(max_examples=100, deadline=None)
def test_the_same_calls_and_the_same_state(seed, n, spread, spikes, drift, jump, every, report):
    one, other = Guard(report=report), OneByOne(report=report)
    for step, numbers in enumerate(zip(*course(seed, n, spread, spikes, drift, jump), strict=True)):
        assert one.rate_for(numbers[2]) == other.rate_for(numbers[2])
        calls = one.judge(*numbers), other.judge(*numbers)
        assert calls[0] == calls[1]
        if step % every == 0:  # looking at it in between changes nothing
            assert (one.rate, one.is_quiet, one.is_calm, one.bounds) == (
                other.rate, other.is_quiet, other.is_calm, other.bounds
            )  # fmt: skip
            assert repr(one.state_dict()) == repr(other.state_dict())  # NaN equals itself
        if calls[0].kind == "rewind":
            assert one.on_rewind("rate", 10) == other.on_rewind("rate", 10)
        if calls[0].kind == "stop":
            break
    assert repr(one.state_dict()) == repr(other.state_dict())


@pytest.mark.parametrize("spread", [1e-3, 0.1, 1.0])
def test_most_steps_of_a_healthy_run_are_calm(spread):
    guard, count = Guard(), 0
    for numbers in zip(*course(0, 2000, spread, 0, -1e-3, 1.0), strict=True):
        if guard.admits(*numbers):
            count += 1
        else:
            assert guard.judge(*numbers).kind == "go"
    assert count > 1500


def test_a_guard_in_the_middle_of_calm_steps_is_stored_and_goes_on_as_one_that_was_not():
    losses, norms, rates = course(1, 400, 0.1, 0, 0.0, 1.0)
    one, other = Guard(), Guard()
    for at, numbers in enumerate(zip(losses, norms, rates, strict=True)):
        assert one.judge(*numbers) == other.judge(*numbers)
        if at % 7 == 3:
            again = Guard()
            again.load_state_dict(other.state_dict())
            other = again
    assert one.state_dict() == other.state_dict()
