"""How runs ended, compared: which differ certainly, by joint intervals, and which tie.

Groups of several seeds each have Student's intervals over seeds, as in a race. Single runs have intervals only where
the metric is a share of samples: Wilson's, and Newcombe's for a difference. These hold for other samples of the same
kind and leave out the variation between seeds. Whatever the intervals are, those of all pairs hold at once with 95 %
(Bonferroni), and two groups differ only where their interval excludes no difference.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from typing import NamedTuple

import numpy as np

from steepest.records.comparison import ENDS_HIGHER, ENDS_LOWER, NO_INTERVAL, TIE, EndComparison, GroupEnd, Pair
from steepest.records.run import Record
from steepest.records.shares import difference_of_shares, wilson
from steepest.search import comparison_words as words
from steepest.search.run_settings import compare_settings, labels
from steepest.search.statistics import Difference, differences
from steepest.view.film.metrics import metric_info
from steepest.view.film.schema import MetricInfo

JOINT_LEVEL = 0.05
OVER_SEEDS, OVER_SAMPLES = "seeds", "samples"
"""What intervals are over."""

Groups = Sequence[Sequence[Record]]


def by_settings(records: Sequence[Record]) -> list[list[Record]]:
    """Runs in groups that differ only in their seeds; each by itself unless every group has two seeds or more."""
    groups: dict[str, list[Record]] = {}
    for record in records:
        groups.setdefault(repr(replace(record.config, seed=0, end_step=None)), []).append(record)
    has_seeds = all(len(g) > 1 and len({r.config.seed for r in g}) == len(g) for g in groups.values())
    return list(groups.values()) if has_seeds and len(groups) > 1 else [[record] for record in records]


def compare_ends(groups: Groups, names: Sequence[str] | None = None) -> EndComparison:
    """Compares how groups of runs ended.

    Args:
        groups: at least two, of at least one run each; the runs of a group differ in their seeds.
        names: of the groups; None for what distinguishes them.
    """
    names = labels(groups) if names is None else names
    settings, same = compare_settings(groups)
    is_live = any(record.status == "running" for group in groups for record in group)
    ends = _Ends.of(groups)
    base = EndComparison(
        metric=ends.info.name if ends.info else "", unit=ends.info.unit if ends.info else "",
        better=ends.info.better if ends.info else "", samples=ends.info.samples if ends.info else None,
        basis=ends.basis, scale=ends.scale,
        groups=tuple(_group(name, group, ends) for name, group in zip(names, groups, strict=True)),
        pairs=ends.pairs(), differing=settings, same=same, is_live=is_live,
    )  # fmt: skip
    whole = replace(base, tiers=tiers(base))
    return words.describe(whole, groups)


class _Ends(NamedTuple):
    """The values at the end.

    Attributes:
        info: the common metric; None where there is none.
        values: by group and run; None where one was not measured.
        basis, scale: as in `EndComparison`.
    """

    info: MetricInfo | None
    values: tuple[tuple[float | None, ...], ...]
    basis: str
    scale: str

    @classmethod
    def of(cls, groups: Groups) -> "_Ends":
        records = [record for group in groups for record in group]
        info = _common_metric(records)
        if info is None:
            return cls(None, tuple(tuple(None for _ in group) for group in groups), "", "linear")
        values = tuple(tuple(r.last("validation", info.name) for r in group) for group in groups)
        every = [v for group in values for v in group if v is not None]
        is_whole = len(every) == len(records)
        if min(map(len, groups)) > 1 and is_whole:
            is_positive = all(v > 0 for v in every)
            return cls(info, values, OVER_SEEDS, "log" if info.name == "loss" and is_positive else "linear")
        has_samples = info.samples and all(0 <= v <= 1 for v in every) and max(map(len, groups)) == 1
        return cls(info, values, OVER_SAMPLES if has_samples else "", "linear")

    def pairs(self) -> tuple[Pair, ...]:
        """The differences of all pairs."""
        places = list(combinations(range(len(self.values)), 2))
        if self.basis == OVER_SEEDS:
            return _pairs_over_seeds(self, places)
        return tuple(self._pair(one, other, JOINT_LEVEL / len(places)) for one, other in places)

    def _pair(self, one: int, other: int, level: float) -> Pair:
        a, b = self.values[one][0], self.values[other][0]
        if self.info is None or a is None or b is None or len(self.values[one]) + len(self.values[other]) > 2:
            return Pair(one, other, None, None, None, NO_INTERVAL)
        if not (math.isfinite(a) and math.isfinite(b)):
            return Pair(one, other, None, None, None, _by_divergence(a, b))
        if self.basis != OVER_SAMPLES or not self.info.samples:
            return _with_texts(Pair(one, other, a - b, None, None, NO_INTERVAL), self.info)
        low, high = difference_of_shares(b, a, self.info.samples, level)
        return _with_texts(Pair(one, other, a - b, low, high, _result(low, high, 0.0)), self.info)


def _common_metric(records: Sequence[Record]) -> MetricInfo | None:
    """The metric of all runs; None where they have none in common, or their tasks or data differ."""
    facts = {(r.config.metric, r.config.better, r.config.task) for r in records}
    data = {r.config.data for r in records if r.config.data}
    infos = [info for r in records if (info := metric_info(r, r.config.metric)) is not None]
    if len(facts) > 1 or len(data) > 1 or not infos:
        return None
    is_counted = len(infos) == len(records) and len({i.samples for i in infos}) == 1
    is_percent = all(i.unit for i in infos)
    return infos[0]._replace(unit="%" if is_percent else "", samples=infos[0].samples if is_counted else None)


def _group(name: str, group: Sequence[Record], ends: _Ends) -> GroupEnd:
    """A group with the interval of its own value."""
    runs = tuple(record.id for record in group)
    info = ends.info
    all_values = [r.last("validation", info.name) for r in group] if info else []
    values = [v for v in all_values if v is not None]
    if info is None or not values:
        return GroupEnd(name, runs, None, None, None, "not measured")
    value, low, high = values[0], None, None
    if ends.basis == OVER_SEEDS:
        value, low, high = _mean(values, ends.scale)
    elif ends.basis == OVER_SAMPLES and info.samples:
        low, high = wilson(value * info.samples, info.samples)
    text = words.value_text(info, value)
    return GroupEnd(name, runs, value, low, high, text)


def _mean(values: Sequence[float], scale: str) -> tuple[float, float | None, float | None]:
    """Mean over seeds and Student's 95 % interval; geometric on a logarithmic scale."""
    from scipy.special import stdtrit

    x = np.array(values, np.float64)
    if not np.isfinite(x).all():
        return math.nan, None, None
    x = np.log(x) if scale == "log" else x
    half = -float(stdtrit(len(x) - 1, JOINT_LEVEL / 2)) * float(x.std(ddof=1)) / math.sqrt(len(x))
    ends = (float(x.mean()), float(x.mean()) - half, float(x.mean()) + half)
    value, low, high = (math.exp(v) for v in ends) if scale == "log" else ends
    return value, low, high


def _pairs_over_seeds(ends: _Ends, places: Sequence[tuple[int, int]]) -> tuple[Pair, ...]:
    assert ends.info is not None
    is_higher_better = ends.info.better == "higher"
    worst = -math.inf if is_higher_better else math.inf
    values = {
        str(i): [worst if v is None or not math.isfinite(v) else v for v in group]
        for i, group in enumerate(ends.values)
    }
    tests = differences(
        f"last validation {ends.info.name}", values, scale="log" if ends.scale == "log" else "linear",
        better="higher" if is_higher_better else "lower", level=JOINT_LEVEL,
    )  # fmt: skip
    return tuple(_seed_pair(one, other, d, values, ends) for (one, other), d in zip(places, tests, strict=True))


def _seed_pair(one: int, other: int, d: Difference, values: Mapping[str, Sequence[float]], ends: _Ends) -> Pair:
    assert ends.info is not None
    if d.ratio is None or d.low is None or d.high is None:  # by ranks: no interval
        a, b = (float(np.median(values[str(i)])) for i in (one, other))
        shift = None if not (math.isfinite(a) and math.isfinite(b)) or ends.scale == "log" else a - b
        result = (ENDS_HIGHER if a > b else ENDS_LOWER) if d.claimed and a != b else TIE
        return _with_texts(Pair(one, other, shift, None, None, result), ends.info, ends.scale)
    if ends.scale == "log":
        value, low, high = 1 / d.ratio, 1 / d.high, 1 / d.low
        return _with_texts(Pair(one, other, value, low, high, _result(low, high, 1.0)), ends.info, "log")
    value, low, high = -d.ratio, -d.high, -d.low
    return _with_texts(Pair(one, other, value, low, high, _result(low, high, 0.0)), ends.info)


def _result(low: float, high: float, none: float) -> str:
    return ENDS_HIGHER if low > none else ENDS_LOWER if high < none else TIE


def _by_divergence(a: float, b: float) -> str:
    """A run whose metric is no number is neither higher nor lower than another such run."""
    return TIE if not math.isfinite(a) and not math.isfinite(b) else NO_INTERVAL


def _with_texts(pair: Pair, info: MetricInfo, scale: str = "linear") -> Pair:
    write = words.ratio if scale == "log" else _difference_writer(pair, info)
    text = "" if pair.value is None else write(pair.value, True)
    interval = "" if pair.low is None or pair.high is None else f"{write(pair.low, False)} to {write(pair.high, False)}"
    return pair._replace(text=text, interval=interval)


def _difference_writer(pair: Pair, info: MetricInfo) -> Callable[[float, bool], str]:
    """Writes differences with as many digits as their interval allows."""
    if info.unit:
        return words.points
    width = abs(pair.value or 0.0) if pair.low is None or pair.high is None else (pair.high - pair.low) / 2
    return words.plain_difference(width)


def tiers(ends: EndComparison) -> tuple[tuple[int, ...], ...]:
    """Groups that tie, from the best to the worst, where any two of different ones differ; else nothing."""
    certain = {(p.one, p.other): p.result for p in ends.pairs}
    values = [g.value for g in ends.groups]
    if NO_INTERVAL in certain.values() or any(v is None or not math.isfinite(v) for v in values):
        return ()
    order = sorted(range(len(values)), key=lambda i: values[i] or 0.0, reverse=ends.better != "lower")
    result: list[list[int]] = []
    for place in order:
        ties = [certain[min(place, i), max(place, i)] == TIE for i in (result[-1] if result else [])]
        above = [certain[min(place, i), max(place, i)] == TIE for tier in result[:-1] for i in tier]
        if any(above) or (any(ties) and not all(ties)):
            return ()
        if ties and all(ties):
            result[-1].append(place)
        else:
            result.append([place])
    return tuple(tuple(sorted(tier)) for tier in result)
