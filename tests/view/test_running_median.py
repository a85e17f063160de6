"""The line of a curve: robust, without a jump at its ends, and never across a rewind or a gap."""

import numpy as np
import pytest

from steepest.view.running_median import running_median, window_of


def noisy(n: int, seed: int = 0):
    """A falling curve, and the same under the noise of batches."""
    truth = 2 * np.exp(-np.arange(n) / 150) + 0.05
    return truth, truth * np.exp(0.4 * np.random.default_rng(seed).normal(size=n))


@pytest.mark.parametrize("seed", range(5))
def test_the_ends_are_no_single_batches(seed):
    truth, values = noisy(420, seed)
    values[-1], values[0] = 20 * values[-1], values[0] / 20
    line = running_median(values, 15)
    inner = np.abs(np.log(line / truth))[8:-8].max()
    assert np.abs(np.log(line / truth))[[0, -1]].max() < max(inner, 0.35)
    assert np.abs(np.diff(np.log(line)))[-8:].max() < 0.35  # a single batch would jump by log 20


def test_inside_it_is_the_median_of_the_window():
    _, values = noisy(100)
    line = running_median(values, 15)
    for k in range(7, 93):
        assert line[k] == np.median(values[k - 7 : k + 8])
    assert line[-1] == np.median(values[-8:])


def test_no_window_crosses_a_break():
    values = np.concatenate([np.full(40, 1.0), np.full(40, 9.0)])
    assert running_median(values, 15, [40]).tolist() == values.tolist()
    assert running_median(values, 15)[39] == 1.0 < running_median(values, 15)[40]


def test_gaps_stay_and_infinity_is_a_value():
    values = np.array([1.0, np.nan, np.inf, np.inf, 2.0])
    np.testing.assert_array_equal(running_median(values, 1), values)
    np.testing.assert_array_equal(running_median(values, 3)[[1, 3]], [np.nan, np.inf])
    assert np.isnan(running_median(np.full(9, np.nan), 5)).all()
    assert len(running_median(np.empty(0), 15)) == 0


def test_windows_grow_with_long_runs():
    assert [window_of(n) for n in (1, 420, 1500, 3000, 10**6)] == [15, 15, 15, 31, 10001]
