"""Numbers and times as people read them."""

import math
from collections.abc import Sequence

BARS = "▁▂▃▄▅▆▇█"


def number(x: float) -> str:
    """Four digits, or an exponent where these would be too many or too few.

    >>> number(0.0301), number(12345678.0), number(1e-5), number(420)
    ('0.0301', '1.235e+07', '1e-05', '420')
    """
    return f"{x:.4g}"


def duration(seconds: float) -> str:
    """A time span in at most two units.

    >>> duration(3.21), duration(75), duration(7300)
    ('3.2 s', '1 min 15 s', '2 h 1 min')
    """
    if not math.isfinite(seconds):
        return "?"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def sparkline(values: Sequence[float], width: int = 24) -> str:
    """A curve in one line.

    Values that are not finite show as "!", so that an explosion cannot hide.

    >>> sparkline([1, 2, 3, 4, 5, 6, 7, 8], 8)
    '▁▂▃▄▅▆▇█'
    """
    return "".join(BARS[min(7, int(8 * h))] if math.isfinite(h) else "!" for h in heights(values, width))


def heights(values: Sequence[float], width: int) -> list[float]:
    """A curve's outline: the greatest value of each of `width` buckets, logarithmic where it spans decades.

    Returns:
        heights from 0 to 1; NaN where a bucket has a value that is not finite.

    >>> heights([3, 4, 5, math.inf], 4)
    [0.0, 0.5, 1.0, nan]
    """
    if not len(values):
        return []
    width = min(width, len(values))
    bounds = [len(values) * i // width for i in range(width + 1)]
    peaks = [max(values[a:b], key=lambda x: math.inf if math.isnan(x) else x) for a, b in zip(bounds, bounds[1:])]
    finite = [p for p in peaks if math.isfinite(p)]
    if not finite:
        return [math.nan] * width
    low, high = min(finite), max(finite)
    logarithmic = low > 0 and high > 30 * low
    scale = math.log if logarithmic else float
    span = (scale(high) - scale(low)) or 1.0
    return [(scale(p) - scale(low)) / span if math.isfinite(p) else math.nan for p in peaks]
