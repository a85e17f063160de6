"""Metrics as the page writes them: percent where they are shares, with an interval where they are shares of samples."""

import math
import re
from collections.abc import Sequence

from steepest.records.run import Record
from steepest.records.shares import wilson
from steepest.view.film.numbers import short, two_digits
from steepest.view.film.schema import MetricInfo
from steepest.view.render.theme import CONSTANTS

FLOAT32_ERROR = 2.0**-23
MAX_COUNT_ERROR = 0.01
"""Distance from a whole number of samples up to which a metric counts as a share of them."""
MAX_CHANCE = 1e-3
"""That numbers which are no shares of the samples look like some."""
SHARES = frozenset(("accuracy", "acc"))
"""Words in names of metrics that are shares."""


def metric_info(record: Record, name: str) -> MetricInfo | None:
    """What is known of a metric of a run; None if it was never measured on the validation set."""
    values = [m.value for m in record.series("validation", name)]
    if not values:
        return None
    config = record.config
    samples = config.validation_samples
    better = (config.better or "") if name == config.metric else ""
    inside = [v for v in values if 0 <= v <= 1]
    by_name = not SHARES.isdisjoint(re.findall("[a-z]+", name.lower()))
    is_counted = (
        name != "loss"
        and samples is not None
        and is_share(values, samples, by_name)
        and (by_name or not set(inside) <= {0.0, 1.0})
    )
    is_percent = is_counted or (by_name and len(inside) == sum(map(math.isfinite, values)))
    return MetricInfo(name, "%" if is_percent else "", better, samples if is_counted else None)


def is_share(values: Sequence[float], samples: int, by_name: bool = True) -> bool:
    """Whether all values are whole numbers of samples, divided by their number.

    A metric may come from float32, whose rounding allows no such test with very many samples. One whose name says that
    it is a share may have few digits; of another, numbers that are no shares must hardly ever be as near as that.

    >>> is_share([140 / 144, 1.0], 144), is_share([0.9731], 144), is_share([1.5], 2)
    (True, False, False)
    >>> is_share([0.9722], 144), is_share([0.9722], 144, by_name=False)
    (True, False)
    """
    finite = [v for v in values if math.isfinite(v)]
    tolerance = FLOAT32_ERROR * samples + (MAX_COUNT_ERROR if by_name else 0.0)
    if not by_name and (2 * tolerance) ** len(set(finite)) > MAX_CHANCE:
        return False
    counts = [v * samples for v in finite]
    whole = all(0 <= v <= 1 for v in finite) and all(abs(c - round(c)) <= tolerance for c in counts)
    return whole and tolerance < 0.1 and bool(finite)


def words_of(name: str) -> str:
    """A metric's name as people write it.

    >>> words_of("top5_accuracy"), words_of("rmse")
    ('top5 accuracy', 'RMSE')
    """
    return " ".join(word.upper() if word in CONSTANTS["acronyms"] else word for word in name.split("_"))


def metric_text(info: MetricInfo, value: float) -> str:
    """A metric's value with its unit.

    >>> metric_text(MetricInfo("accuracy", "%", "higher", 144), 0.9722), metric_text(MetricInfo("rmse", "", "", 0), 2.5)
    ('97.2 %', '2.5')
    """
    return percent(value) if info.unit else loss_text(value) if info.name == "loss" else short(value)


def percent(share: float) -> str:
    """A share in percent, with one decimal below 100.

    >>> percent(0.97222), percent(1.0), percent(math.nan)
    ('97.2 %', '100 %', 'NaN')
    """
    if not math.isfinite(share):
        return loss_text(share)
    return "100 %" if share == 1 else f"{100 * share:.1f} %".replace("-", "−")


def loss_text(value: float) -> str:
    """A loss with two digits; in words where it is no number.

    >>> loss_text(0.0158), loss_text(math.nan), loss_text(math.inf)
    ('0.016', 'NaN', 'infinite')
    """
    if math.isnan(value):
        return "NaN"
    return two_digits(value) if math.isfinite(value) else "infinite"


def share_detail(value: float, samples: int | None) -> str:
    """The interval of a share of samples, and the count.

    >>> share_detail(140 / 144, 144), share_detail(0.5, None)
    ('93 – 99 %, 140 of 144', '')
    """
    if samples is None or not 0 <= value <= 1:
        return ""
    count = round(value * samples)
    low, high = (100 * end for end in wilson(count, samples))
    decimals = 0 if high - low >= 2 else 1
    return f"{low:.{decimals}f} – {high:.{decimals}f} %, {count:,} of {samples:,}"
