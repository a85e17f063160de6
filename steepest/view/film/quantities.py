"""A verdict's numbers as the page shows them: a name, a value with its error, what it means, whether to act on it."""

import math
from collections.abc import Callable
from typing import NamedTuple

from steepest.records.verdict import DESCENDING, EDGE_OF_STABILITY, GRADIENT_FLAT, NOISE_FLOOR, SADDLE, Number, Verdict
from steepest.view.film.numbers import between, count, short, significant, two_digits, with_interval

LAMBDA_MAX, LAMBDA_MIN = ("λ_max", "largest curvature"), ("λ_min", "smallest curvature")
GRADIENT_NORM2 = "‖∇L‖^2", "gradient norm²"
SHARPNESS, NOISE_SCALE = ("λ_P", "sharpness"), ("B", "noise scale")
SYMBOLS = {
    "‖∇L‖², noise removed": GRADIENT_NORM2,
    "squared norm of the gradient": GRADIENT_NORM2,
    "smallest Hessian eigenvalue": LAMBDA_MIN,
    "least curvature": LAMBDA_MIN,
    "largest Hessian eigenvalue": LAMBDA_MAX,
    "greatest curvature": LAMBDA_MAX,
    "sharpness": SHARPNESS,
    "noise scale": NOISE_SCALE,
}
"""Numbers of a verdict that the page shows, in its order, with symbol and name; labels of older versions too. In a
symbol `_` lowers what follows, and `^` raises it."""
ZERO_REFERENCE = (LAMBDA_MIN, GRADIENT_NORM2)
"""Numbers that are compared with 0."""
FAR_SHARE, EDGE_SHARE, MAX_EDGE_SHARE = 0.5, 0.9, 1.1
"""Shares of the stability limit: up to the first the learning rate is far from it, up to the last it is at the edge."""


class Quantity(NamedTuple):
    """A number as the page shows it.

    Attributes:
        name: its symbol.
        value: measured.
        lo, hi: its interval.
        text: its name, and how it was measured.
        reference: what it is compared with.
        title: its name on the page.
        display: the value with its error, as text.
        words: what it means for this run.
        state: "ok", or "act" where something can be done.
    """

    name: str
    value: float
    lo: float
    hi: float
    text: str
    reference: float | None
    title: str
    display: str
    words: str
    state: str


class Answer(NamedTuple):
    """What a number says: the value as text, the words beneath it, and whether to act on it."""

    display: str
    words: str
    is_call: bool


def quantities(verdict: Verdict | None, rule: str = "the rule") -> list[Quantity]:
    """The finite numbers of a verdict that the page has room for.

    Args:
        verdict: the run's.
        rule: name of its update rule.
    """
    if verdict is None:
        return []
    rows = [n for n in verdict.numbers if n.name in SYMBOLS and math.isfinite(n.value)]
    rows.sort(key=lambda n: list(SYMBOLS).index(n.name))
    return [_quantity(n, verdict, rule) for n in rows]


def rule_words(rule: str) -> str:
    """The name of a run's last rule in a sentence.

    >>> rule_words("adam → gradient_descent"), rule_words("")
    ('gradient descent', 'the rule')
    """
    return rule.split(" → ")[-1].replace("_", " ") or "the rule"


def _quantity(number: Number, verdict: Verdict, rule: str) -> Quantity:
    symbol, name = key = SYMBOLS[number.name]
    title, read = READERS[key]
    text = "; ".join(filter(None, (name, number.words)))
    reference = 0.0 if key in ZERO_REFERENCE else number.reference
    answer = read(number, verdict, rule)
    state = "act" if answer.is_call else "ok"
    ends = number.value, number.low, number.high
    return Quantity(symbol, *ends, text, reference, title, answer.display, answer.words, state)


def _read_slope(n: Number, verdict: Verdict, rule: str) -> Answer:
    if verdict.kind == DESCENDING:
        return Answer("not zero", _gain(verdict), True)
    if n.low <= 0:
        return Answer("0 within noise", "no direction left that lowers the loss measurably", False)
    if verdict.kind == NOISE_FLOOR:
        return Answer("not zero", "the noise of the batches hides it at this learning rate", True)
    if verdict.kind == GRADIENT_FLAT:
        return Answer("not zero", "along directions of almost no curvature", True)
    return Answer("not zero", "but no step along it lowers the loss measurably", False)


def _gain(verdict: Verdict) -> str:
    """What one more step is worth."""
    numbers = {number.name: number for number in verdict.numbers}
    step, loss = numbers.get("decrease by the best gradient step"), numbers.get("training loss")
    if step is None or loss is None or step.low <= 0 or not loss.value > 0:
        return "the loss still falls along the gradient"
    share = 100 * step.value / loss.value
    return f"one more step lowers the loss by {two_digits(share) if share < 10 else short(share, 2)} %"


def _read_smallest(n: Number, verdict: Verdict, rule: str) -> Answer:
    display = with_interval(n.value, n.low, n.high)
    if n.low > 0:
        return Answer(display, "curved upwards in every direction: a valley", False)
    if n.high >= 0:
        return Answer(display, "flat: neither a valley nor a saddle can be told", False)
    if verdict.kind == SADDLE:
        return Answer(display, "the loss falls along this direction: a saddle", True)
    return Answer(display, "slightly negative, as is normal for trained networks", False)


def _read_largest(n: Number, verdict: Verdict, rule: str) -> Answer:
    words = "steepest direction of the bowl" if n.low > 0 else "no direction is measurably curved upwards"
    return Answer(with_interval(n.value, n.low, n.high), words, False)


def _read_stability(n: Number, verdict: Verdict, rule: str) -> Answer:
    if not n.reference or n.reference < 0:
        return Answer(with_interval(n.value, n.low, n.high), "the limit of this rule is not known", False)
    share = n.value / n.reference
    percents = 100 * share
    display = f"{short(percents, 1 if abs(percents) < 1 else 2)} % of the limit"
    if share < FAR_SHARE:
        return Answer(display, f"learning rate far below where {rule} becomes unstable", False)
    if share < EDGE_SHARE:
        return Answer(display, f"learning rate below where {rule} becomes unstable", False)
    at_edge = verdict.kind == EDGE_OF_STABILITY or share < MAX_EDGE_SHARE
    words = f"at the edge: {rule} oscillates along the steepest direction" if at_edge else f"{rule} is unstable here"
    return Answer(display, words, True)


def _read_batch(n: Number, verdict: Verdict, rule: str) -> Answer:
    low, high = max(1.0, n.low), n.high
    display = between(low, high) if math.isfinite(high) else f"at least {significant(low)}"
    if not n.reference:
        return Answer(display, "larger batches pay off less and less beyond it", False)
    yours = f"yours is {count(n.reference)}"
    if n.reference < low:
        return Answer(display, f"{yours}; larger batches would still pay", True)
    if n.reference > high:
        return Answer(display, f"{yours}; smaller batches would do as well", False)
    return Answer(display, f"{yours}, about as large as pays", False)


READERS: dict[tuple[str, str], tuple[str, Callable[[Number, Verdict, str], Answer]]] = {
    GRADIENT_NORM2: ("Slope", _read_slope),
    LAMBDA_MIN: ("Smallest curvature", _read_smallest),
    LAMBDA_MAX: ("Largest curvature", _read_largest),
    SHARPNESS: ("Stability", _read_stability),
    NOISE_SCALE: ("Useful batch size", _read_batch),
}
"""The name of each number on the page, and what reads it."""
