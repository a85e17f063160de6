"""Words for comparisons: a winner is named only where its interval excludes no difference, and ties have no order."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

from steepest.records.comparison import ENDS_HIGHER, ENDS_LOWER, EndComparison, GroupEnd, Pair
from steepest.records.run import Record
from steepest.search.run_settings import command, rule_name
from steepest.search.statistics import RECOMMENDED_SEEDS
from steepest.view.film.metrics import percent
from steepest.view.film.numbers import short
from steepest.view.film.schema import MetricInfo
from steepest.view.format import capitalise, number

WORDS = ("no", "one", "two", "three", "four", "five", "six")


def describe(ends: EndComparison, groups: Sequence[Sequence[Record]]) -> EndComparison:
    """The comparison with its headline, note and advice."""
    advice, text = _advice(ends, groups)
    headline = _headline(ends, groups)
    are_rules = all(end.label == rule_name(group[0]) for end, group in zip(ends.groups, groups, strict=True))
    if are_rules or not any(headline.startswith(end.label) for end in ends.groups):
        headline = capitalise(headline)  # names and ids stay as they are
    return replace(ends, headline=headline, note=_note(ends, groups), advice=advice, command=text)


# -- Headline ----------------------------------------------------------------------------------------------------------


def _headline(ends: EndComparison, groups: Sequence[Sequence[Record]]) -> str:
    problem = _problem(ends, groups)
    if problem:
        return problem
    divergent = [g for g in ends.groups if g.value is not None and not math.isfinite(g.value)]
    if divergent:
        return _with_divergence(ends, divergent)
    so_far = " so far" if ends.is_live else ""
    if not ends.basis:
        return _without_intervals(ends, so_far)
    if ends.tiers:
        return _by_tiers(ends, so_far)
    return _by_pairs(ends, so_far)


def _problem(ends: EndComparison, groups: Sequence[Sequence[Record]]) -> str:
    """Why the ends cannot be compared; empty if they can."""
    configs = [record.config for group in groups for record in group]
    if len({c.task for c in configs}) > 1:
        return "The runs are of different tasks, so only their curves can be compared."
    if len({(c.metric, c.better) for c in configs}) > 1:
        return "The runs have different metrics, so only their curves can be compared."
    if len({c.data for c in configs if c.data}) > 1:
        return "The runs were trained on different data, so only their curves can be compared."
    if not ends.metric:
        return f"No run has measured the validation {configs[0].metric} yet."
    return ""


def _without_intervals(ends: EndComparison, so_far: str) -> str:
    """Values alone, in the order given: without intervals there is no winner."""
    there = [g for g in ends.groups if g.value is not None]
    if len(there) > 1 and len({g.text for g in there}) == 1:
        return f"{_all(len(there), 'runs')} end at the same validation {ends.metric}{so_far}, {there[0].text}."
    values = ", ".join(f"{g.label} {g.text}" for g in there)
    rest_names = [g.label for g in ends.groups if g.value is None]
    rest = f"; {join(rest_names)} {_have(rest_names)} not measured it" if rest_names else ""
    return f"Validation {ends.metric}{so_far}: {values}{rest}."


def _with_divergence(ends: EndComparison, lost: Sequence[GroupEnd]) -> str:
    names = [g.label for g in lost]
    if len(lost) == len(ends.groups):
        return f"{_all(len(lost), 'runs')} diverged: {join(names)}."
    rest = [g for g in ends.groups if g not in lost and g.value is not None]
    values = join([f"{g.label} at {g.text}" for g in rest])
    return f"{join(names)} diverged; {values or 'the others have measured nothing'}."


def _by_tiers(ends: EndComparison, so_far: str) -> str:
    tiers = ends.tiers
    if len(tiers) == 1:
        return f"{_tie(ends, tiers[0])}{so_far}."
    if len(tiers) == 2 and len(tiers[0]) == len(tiers[1]) == 1:
        return _one_against_one(ends, so_far)
    parts = []
    for i, (place, *others) in enumerate(tiers):
        group = ends.groups[place]
        if others:
            parts.append(_tie(ends, tiers[i]))
        elif i == len(tiers) - 1:
            parts.append(f"{group.label} ends {_distance(ends, tiers[i - 1], place)}")
        else:
            word = ("best" if ends.better else "highest") if i == 0 else "next"
            parts.append(f"{group.label} ends {word}, at {group.text}")
    return f"{'; '.join(parts)}{so_far}."


def _one_against_one(ends: EndComparison, so_far: str) -> str:
    """Of two groups: by how much the better one ends higher or lower, with the interval."""
    (pair,) = ends.pairs
    best, other = (ends.groups[tier[0]].label for tier in ends.tiers)
    p = pair if ends.tiers[0][0] == pair.one else _swap(pair, ends.scale)
    value, low, high = p.value or 0.0, p.low, p.high
    if value == 0.0 or low is None or high is None:
        return f"{best} ends {'higher' if p.result == ENDS_HIGHER else 'lower'} than {other}{so_far}."
    if ends.scale == "log":
        interval = f"95 % interval {ratio(low, False)} to {ratio(high, False)}"
        return f"{best} ends at {ratio(value, False)} the {ends.metric} of {other}{so_far} ({interval})."
    side = "above" if value > 0 else "below"
    near, far = sorted((abs(low), abs(high)))
    write = points if ends.unit else plain_difference((high - low) / 2)
    unit = f" points of {ends.metric}" if ends.unit else f" of {ends.metric}"
    amount = write(abs(value), False)
    interval = f"95 % interval {write(near, False)} to {write(far, False)}"
    return f"{best} ends {amount}{unit} {side} {other}{so_far} ({interval})."


def _swap(pair: Pair, scale: str) -> Pair:
    """The same difference seen from the other group."""

    def turn(v: float | None) -> float | None:
        if v is None:
            return None
        return -v if scale != "log" else 1 / v if v else math.inf

    result = {ENDS_HIGHER: ENDS_LOWER, ENDS_LOWER: ENDS_HIGHER}.get(pair.result, pair.result)
    return Pair(pair.other, pair.one, turn(pair.value), turn(pair.high), turn(pair.low), result)


def _tie(ends: EndComparison, tier: Sequence[int]) -> str:
    groups = [ends.groups[i] for i in tier]
    texts = list(dict.fromkeys(g.text for g in sorted(groups, key=lambda g: g.value or 0.0)))
    at = texts[0] if len(texts) == 1 else span(texts[0], texts[-1])
    is_all = len(groups) == len(ends.groups) > 3
    names = f"all {WORDS[len(groups)]}" if is_all else join([g.label for g in groups])
    return f"{names} tie at {at}"


def _distance(ends: EndComparison, tier: Sequence[int], place: int) -> str:
    """How far a group is from the tier before it: by at least how much, as measured."""
    is_lower = (ends.groups[place].value or 0.0) < (ends.groups[tier[0]].value or 0.0)
    side = "lower" if is_lower else "higher"
    if ends.scale == "log":
        return f"{side}, at {ends.groups[place].text}"
    gaps = [abs((ends.groups[i].value or 0.0) - (ends.groups[place].value or 0.0)) for i in tier]
    if not ends.unit:
        return f"{side}, at {ends.groups[place].text}"
    amount = f"{100 * min(gaps):.0f}" if 100 * min(gaps) >= 2 else f"{100 * min(gaps):.1f}"
    return f"{amount} points {side}"


def _by_pairs(ends: EndComparison, so_far: str) -> str:
    """Where pairs leave no order of tiers: those that differ, or how many do."""
    losers: dict[int, list[int]] = {}
    for p in ends.pairs:
        if p.result in (ENDS_HIGHER, ENDS_LOWER):
            best, other = (
                (p.one, p.other) if (p.result == ENDS_HIGHER) != (ends.better == "lower") else (p.other, p.one)
            )
            losers.setdefault(best, []).append(other)
    word, names = "lower" if ends.better == "lower" else "higher", [g.label for g in ends.groups]
    if not losers:
        return f"No two of the {WORDS[len(names)]} differ certainly in validation {ends.metric}{so_far}."
    if len(losers) == 1:
        ((best, others),) = losers.items()
        return f"{names[best]} ends {word} than {join([names[i] for i in others])}{so_far}; the other pairs tie."
    count = sum(map(len, losers.values()))
    most = len(names) - 1
    last = [names[i] for i in range(len(names)) if sum(i in group for group in losers.values()) == most]
    worst = f"; {last[0]} ends {'lowest' if word == 'higher' else 'highest'}" if last else ""
    return f"None ends {word} than all others: {count} of {len(ends.pairs)} pairs differ{so_far}{worst}."


# -- Note and advice ---------------------------------------------------------------------------------------------------


def _note(ends: EndComparison, groups: Sequence[Sequence[Record]]) -> str:
    if not ends.metric:
        return ""
    seeds = {len(group) for group in groups}
    if ends.basis == "seeds":
        count = f"{seeds.pop()} seeds each" if len(seeds) == 1 else f"{min(seeds)} to {max(seeds)} seeds"
        joint = "" if len(ends.pairs) == 1 else f", and those of all {len(ends.pairs)} pairs hold together"
        return f"Means over {count}; the intervals are Student's over seeds{joint}."
    if ends.basis == "samples":
        name = capitalise(ends.metric)
        return (
            f"{name} on the same {ends.samples:,} validation samples. One run each cannot separate this from "
            "seed-to-seed variation, which the intervals leave out."
        )
    return "One run each cannot separate this from seed-to-seed variation, so there are no intervals."


def _advice(ends: EndComparison, groups: Sequence[Sequence[Record]]) -> tuple[str, str]:
    if not ends.metric:
        return "", ""
    is_open = ends.basis != "seeds" or any(p.result not in (ENDS_HIGHER, ENDS_LOWER) for p in ends.pairs)
    if not is_open:
        return "", ""
    if ends.basis == "seeds":
        return "More seeds narrow the intervals.", ""
    ties = [i for p in ends.pairs if p.result not in (ENDS_HIGHER, ENDS_LOWER) for i in (p.one, p.other)]
    text = command(groups, list(dict.fromkeys(ties)) if ties and ends.basis else range(len(groups)), RECOMMENDED_SEEDS)
    if text:
        return "To settle it:", text
    which = "both" if len(groups) == 2 else "each"
    return f"To settle it, repeat {which} with several seeds and compare the groups.", ""


# -- Numbers -----------------------------------------------------------------------------------------------------------


def value_text(info: MetricInfo, value: float) -> str:
    """A metric's value; one that is no share has three digits, so that runs can be told apart."""
    if not math.isfinite(value):
        return "diverged"
    return percent(value) if info.unit else number(value).replace("-", "−")


def points(difference: float, has_sign: bool) -> str:
    """A difference of shares in points.

    >>> points(0.0069, True), points(-0.0362, False)
    ('+0.7', '−3.6')
    """
    return _signed(100 * difference, 1, has_sign)


def _signed(value: float, decimals: int, has_sign: bool) -> str:
    """With so many decimals; 0 has no sign."""
    text = f"{value:,.{decimals}f}"
    if float(text.replace(",", "")) == 0:
        return text.removeprefix("-")
    return (f"+{text}" if has_sign and value > 0 else text).replace("-", "−")


def plain_difference(width: float) -> Callable[[float, bool], str]:
    """Writes differences with two digits of this width.

    >>> plain_difference(0.021)(0.1234567, True)
    '+0.123'
    """
    decimals = 2 if not (width > 0 and math.isfinite(width)) else max(0, 1 - math.floor(math.log10(width)))

    def write(difference: float, has_sign: bool) -> str:
        if not math.isfinite(difference) or abs(difference) >= 1e6 or decimals > 6:
            return ("+" if has_sign and difference > 0 else "") + short(difference)
        return _signed(difference, decimals, has_sign)

    return write


def ratio(value: float, has_sign: bool) -> str:
    """A ratio, as in "0.42×"."""
    del has_sign
    return f"{short(value, 2)}×"


def span(low: str, high: str) -> str:
    """Two values as a range; their unit once.

    >>> span("97.2 %", "97.9 %")
    '97.2–97.9 %'
    """
    return f"{low.removesuffix(' %')}–{high}" if low.endswith(" %") and high.endswith(" %") else f"{low} to {high}"


def join(names: Sequence[str]) -> str:
    """Names in a sentence.

    >>> join(["a", "b", "c"])
    'a, b and c'
    """
    return " and ".join(filter(None, (", ".join(names[:-1]), *names[-1:])))


def _all(count: int, noun: str) -> str:
    return f"Both {noun}" if count == 2 else f"All {WORDS[count] if count < len(WORDS) else count} {noun}"


def _have(names: Sequence[str]) -> str:
    return "has" if len(names) == 1 else "have"
