"""Numbers, times, metrics and events as text."""

import math
from collections.abc import Sequence

from steepest.records.run import Event

BARS = "▁▂▃▄▅▆▇█"


def number(x: float) -> str:
    """Three significant digits; whole numbers with thousands separators from 1,000 to a million.

    >>> number(0.03014), number(1234.5), number(12345678.0), number(1e-5), number(420)
    ('0.0301', '1,234', '1.23e+07', '1e-05', '420')
    """
    return f"{x:,.0f}" if 999.5 <= abs(x) < 999_999.5 else f"{x:.3g}"


def metric_value(name: str, value: float) -> str:
    """A metric's value; an accuracy in percent.

    >>> metric_value("accuracy", 0.9778), metric_value("loss", 0.02184)
    ('97.8 %', '0.0218')
    """
    return f"{100 * value:.1f} %" if name.endswith("accuracy") and 0 <= value <= 1 else number(value)


def describe_event(event: Event) -> str:
    """What was done at a step, why, and what the loss did afterwards.

    >>> describe_event(Event(412, "clip", "norm 40.2, threshold 3.1", "gradient clipped"))
    'step 412 · gradient clipped: norm 40.2, threshold 3.1'
    """
    return f"step {event.t} · {event_text(event)}"


def event_text(event: Event) -> str:
    """Action, reason and outcome.

    >>> event_text(Event(9, "rewind", "loss rising (8.2)", "rewound to step 4; retrying unchanged"))
    'rewound to step 4: loss rising (8.2); retrying unchanged'
    """
    action, *details = event.done.split("; ")
    reason = f"{action}: {event.seen}" if event.seen else action
    return "; ".join(filter(None, (reason, *details, event.after)))


def capitalise(words: str) -> str:
    """The words with a capital letter in front; the others stay.

    >>> capitalise("a BERT")
    'A BERT'
    """
    return words[:1].upper() + words[1:]


def duration(seconds: float) -> str:
    """A duration in at most two units.

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
    """A curve in one line of text; non-finite values are shown as "!".

    >>> sparkline([1, 2, 3, 4, 5, 6, 7, 8], 8)
    '▁▂▃▄▅▆▇█'
    """
    return "".join(BARS[min(7, int(8 * h))] if math.isfinite(h) else "!" for h in heights(values, width))


def heights(values: Sequence[float], width: int) -> list[float]:
    """A curve's outline: the largest value of each of `width` buckets, logarithmic if it spans a factor above 30.

    Returns:
        heights from 0 to 1; NaN for a bucket with a non-finite value.

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
