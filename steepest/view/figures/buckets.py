"""Summaries of long curves in few buckets that keep every spike."""

import numpy as np

MAX_BUCKETS = 4096
"""Maximum of a curve."""


def size(count: int, most: int = MAX_BUCKETS) -> int:
    """The bucket size for `count` values in at most `most` buckets."""
    return max(1, -(-count // most))


def bucket(values: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The smallest value, the median and the largest value of each bucket of neighbours.

    Args:
        values: [n]; NaN is a gap.
        size: of a bucket; the last one may be smaller.

    Returns:
        three arrays, one value per bucket; NaN for a bucket of gaps.

    >>> least, middle, greatest = bucket(np.array([1.0, 9.0, 2.0, np.nan, 3.0]), 3)
    >>> least.tolist(), middle.tolist(), greatest.tolist()
    ([1.0, 3.0], [2.0, 3.0], [9.0, 3.0])
    """
    rows = np.full((-(-len(values) // size), size), np.nan)
    rows.flat[: len(values)] = values
    some, middle = ~np.isnan(rows).all(1), np.full(len(rows), np.nan)
    middle[some] = np.nanmedian(rows[some], axis=1)
    return np.fmin.reduce(rows, axis=1), middle, np.fmax.reduce(rows, axis=1)
