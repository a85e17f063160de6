"""What longer training gains, from the trend of the loss, and what that means at an end."""

import math

import numpy as np
import pytest

from steepest.analysis.location.outlook import Trend, ending, longer_gain
from steepest.records.run import Steps
from steepest.records.verdict import DESCENDING, MINIMUM, NOISE, NOISE_FLOOR, NOTHING, RATE, UNDECIDED, Estimate

T = 800
t = np.arange(1.0, T + 1)


def steps(loss, lr=0.1, noise=0.0, seed=0):
    loss = np.broadcast_to(loss, T) + noise * np.random.default_rng(seed).standard_normal(T)
    lr = np.broadcast_to(lr, T).astype(float)
    return Steps(t, t, lr, loss, np.ones(T), lr)


COSINE = 0.05 * (1 + np.cos(np.pi * t / T))


@pytest.mark.parametrize("power", [0.2, 1.0, 3.0, 8.0])
@pytest.mark.parametrize("lr", [0.1, COSINE], ids=["constant", "cosine"])
def test_a_loss_above_zero_gains_no_more_than_itself(power, lr):
    loss = 2.0 * (t / 10 + 1) ** -power
    gain = longer_gain(steps(loss, lr))
    assert 0 < gain.low <= gain.value <= gain.high <= loss[-T // 50 :].mean()


@pytest.mark.parametrize("power", [0.1, 0.3, 1.0])
def test_a_power_law_gains_what_it_does(power):
    """The interval is that of the slope, and the law goes on: the truth lies between half and twice the estimate."""
    gain, truth = longer_gain(steps(3 * t**-power)), 3 * T**-power * (1 - 2**-power)
    assert truth / 2 < gain.value < 2 * truth


def test_a_loss_below_zero_has_no_bound():
    gain = longer_gain(steps(-np.log(t)))
    assert gain.value == pytest.approx(math.log(2), rel=0.05)


def test_the_interval_of_a_flat_loss_holds_zero():
    inside = 0
    for seed in range(100):
        gain = longer_gain(steps(1.0, noise=0.1, seed=seed))
        inside += gain.low <= 0 <= gain.high
    assert inside >= 88  # 95 % of 100, less three standard errors


@pytest.mark.parametrize("count", [0, 1, 40])
def test_a_short_run_has_no_trend(count):
    assert longer_gain(Steps(*(getattr(steps(1.0), name)[:count] for name in steps(1.0).__dataclass_fields__))) is None


def trend(low, high):
    return Trend(Estimate((low + high) / 2, low, high), fall=1.0, steps=T)


@pytest.mark.parametrize(
    ("kind", "lower_lr", "longer", "says"),
    [
        (UNDECIDED, (0.2, 0.19, 0.21), (-0.001, 0.001), (NOISE, True, False)),
        (UNDECIDED, (0.0, -0.001, 0.001), (0.2, 0.3), ("", False, True)),
        (UNDECIDED, (0.0, -0.1, 0.1), (-0.1, 0.1), ("", None, None)),
        (DESCENDING, None, (0.2, 0.3), (NOTHING, None, True)),
        (DESCENDING, None, (-0.001, 0.001), (RATE, None, False)),
        (NOISE_FLOOR, (0.002, 0.001, 0.003), (-0.001, 0.001), (NOISE, True, False)),
        (MINIMUM, (0.2, 0.19, 0.21), (0.2, 0.3), (NOTHING, None, None)),
    ],
)
def test_what_an_end_means(kind, lower_lr, longer, says):
    end = ending(kind, lower_lr and Estimate(*lower_lr), 1.0, trend(*longer))
    assert (end.holds, end.lower_lr_helps, end.longer_helps) == says
    assert end.words


def test_no_more_is_gained_than_the_loss_that_is_left():
    """The trend is that of batch losses, and the loss at the end may lie far below them."""
    end = ending("UNDECIDED", None, 2e-4, Trend(Estimate(1e-3, 5e-4, 2e-3), 2.0, 600, is_positive=True))
    assert end.longer == Estimate(2e-4, 2e-4, 2e-4)
    below = ending("UNDECIDED", None, 2e-4, Trend(Estimate(1e-3, 5e-4, 2e-3), 2.0, 600))
    assert below.longer == Estimate(1e-3, 5e-4, 2e-3)
