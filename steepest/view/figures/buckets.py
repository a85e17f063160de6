"""A long curve in few buckets, so that no spike is lost."""

import numpy as np

BUCKETS = 4096
"""Of a curve, at most."""


def size(count: int, most: int = BUCKETS) -> int:
    """Of a bucket, for so many values in at most so many buckets."""
    return max(1, -(-count // most))


def bucket(values: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The least, the middle (median) and the greatest of each bucket of neighbours.

    Args:
        values: [n]; NaN are gaps.
        size: of a bucket; the last one may have fewer.

    Returns:
        three arrays, one value a bucket; NaN where a bucket has gaps alone.

    >>> least, middle, greatest = bucket(np.array([1.0, 9.0, 2.0, np.nan, 3.0]), 3)
    >>> least.tolist(), middle.tolist(), greatest.tolist()
    ([1.0, 3.0], [2.0, 3.0], [9.0, 3.0])
    """
    rows = np.full((-(-len(values) // size), size), np.nan)
    rows.flat[: len(values)] = values
    some, middle = ~np.isnan(rows).all(1), np.full(len(rows), np.nan)
    middle[some] = np.nanmedian(rows[some], axis=1)
    return np.fmin.reduce(rows, axis=1), middle, np.fmax.reduce(rows, axis=1)
