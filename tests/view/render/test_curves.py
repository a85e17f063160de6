"""Charts keep what a curve shows: spikes, and the difference between past and future."""

import numpy as np
import pytest

from steepest.view.film.schema import Member, Series
from steepest.view.render.canvas import Canvas
from steepest.view.render.curves import Chart, limits
from steepest.view.render.theme import THEMES
from tests.page import films

LIGHT = THEMES["light"]
SIZE = (360, 240)


def drawn(series, t: float) -> np.ndarray:
    """Distance of each pixel from the paper."""
    chart = Chart([Member("", curves={"loss": series})], "loss", series.t[-1], SIZE, LIGHT)
    canvas, paper = Canvas(*SIZE, LIGHT.paper), Canvas(*SIZE, LIGHT.paper)
    chart.draw(canvas, t)
    return np.abs(canvas.pixels.astype(int) - paper.pixels).max(axis=-1)


def curve(spike: float = 1.1):
    t = np.arange(4096)
    hi = np.where(t == 1500, spike, 1.1)
    return films.series(t, np.full(4096, 0.9), hi, np.ones(4096))


@pytest.mark.parametrize("spike", [90.0, np.inf])
def test_a_spike_of_one_bucket_in_4096_is_seen(spike):
    x = 50 + round(1500 / 4095 * 296)
    ink = drawn(curve(spike), 4095)[44:80] > 20
    assert ink[:, x - 2 : x + 3].any(axis=1).all()
    assert ink[:, x + 5 : x + 50].mean() < 0.1  # rules


def test_the_future_is_faint():
    past, future = (drawn(curve(), t)[100:, 60:330].sum() for t in (4095, 0))
    assert 0 < future < 0.4 * past


def test_an_axis_shows_few_decades_and_starts_at_0_where_it_can():

    def ends(values, is_log: bool):
        return limits([Series(np.arange(3), *[np.array(values)] * 3, log=is_log)], 12)

    lo, hi, is_log = ends([1e-30, 1.0, 100.0], True)
    assert is_log
    assert lo == pytest.approx(1e-10 / 1.15)
    assert hi == pytest.approx(115)
    assert ends([1.0, 1.5, np.nan], False) == (0.98, 1.52, False)
    assert ends([0.1, 2.0, np.inf], False)[0] == 0
    assert ends([np.nan] * 3, True) == (0, 1, False)
