"""The running median of a curve: what the page, the pictures and the figures draw as its line."""

from collections.abc import Sequence

import numpy as np

SORTED_AT_ONCE = 1_000_000
"""Values of windows with gaps, and of those at both ends, that are sorted at once."""
LEAST_WINDOW, WINDOW_PART = 15, 0.01
"""The window in steps, and as a share of a long curve: the larger one is used."""


def window_of(steps: int) -> int:
    """The window for a curve of this many steps; odd.

    >>> window_of(420), window_of(4096), window_of(10)
    (15, 41, 15)
    """
    return max(LEAST_WINDOW, int(WINDOW_PART * steps) | 1)


def running_median(values: np.ndarray, window: int, breaks: Sequence[int] = ()) -> np.ndarray:
    """The median of a window around each value. It shrinks at both ends to the half that is there, and to no less.

    So the last median is one of 8 values and not a single one: it does not jump, and lags by a quarter of the window.

    Args:
        values: [n]; NaN is a gap, and stays one.
        window: in values; odd.
        breaks: indices at which something else begins: no window crosses them.

    Returns:
        [n]

    >>> running_median(np.array([1.0, 9.0, 2.0, np.nan, 3.0]), 3).tolist()
    [5.0, 2.0, 5.5, nan, 3.0]
    """
    bounds = [0, *sorted({b for b in breaks if 0 < b < len(values)}), len(values)]
    return np.concatenate([np.empty(0), *(_medians(values[a:b], window // 2) for a, b in zip(bounds, bounds[1:]))])


def _medians(values: np.ndarray, half: int) -> np.ndarray:
    """Medians of the windows that reach `half` to both sides, NaN left out."""
    if not half or not len(values):
        return values.astype(float)
    gaps = np.isnan(values)
    gaps_before = np.concatenate(([0], np.cumsum(gaps)))
    every = np.arange(half, len(values) - half)
    whole = every[gaps_before[every + half + 1] == gaps_before[every - half]]  # full windows without a gap
    medians = np.full(len(values), np.nan)
    if len(whole):
        from scipy.ndimage import median_filter  # sorts nothing: a long curve takes neither its time nor its memory

        medians[whole] = median_filter(np.where(gaps, 0.0, values).astype(float), 2 * half + 1)[whole]
    rest = np.setdiff1d(np.flatnonzero(~gaps), whole, assume_unique=True)
    room = np.full(half, np.nan)
    windows = np.lib.stride_tricks.sliding_window_view(np.concatenate((room, values, room)), 2 * half + 1)
    for some in np.array_split(rest, len(rest) * (2 * half + 1) // SORTED_AT_ONCE + 1):
        medians[some] = _sorted_medians(windows[some])
    return medians


def _sorted_medians(windows: np.ndarray) -> np.ndarray:
    """Medians of windows [n, w] of which each has a number, NaN left out."""
    rows = np.sort(windows, axis=1)
    counts = (~np.isnan(rows)).sum(1)
    every = np.arange(len(rows))
    lower, upper = rows[every, (counts - 1) // 2], rows[every, counts // 2]
    middle = lower.astype(float)
    apart = upper > lower  # two infinite values have no mean
    middle[apart] += (upper[apart] - lower[apart]) / 2
    return middle
