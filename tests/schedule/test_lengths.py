"""Lengths, and how the boundaries of a sequence fall on whole steps."""

import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steepest.errors import InputError
from steepest.schedule import Length, parse


@pytest.mark.parametrize(
    ("given_as", "text", "steps"),
    [
        (500, "500", 500),
        ("500", "500", 500),
        ("500 steps", "500", 500),
        ("1 step", "1", 1),
        ("30 epochs", "30 epochs", 360),
        ("1epoch", "1 epoch", 12),
        ("0.5 epochs", "0.5 epochs", 6),
        (" 5 % ", "5%", 50),
        ("2.55%", "2.55%", 26),
        ("1e-1%", "0.1%", 1),
        ("100%", "100%", 1000),
        (Length(5, "%"), "5%", 50),
    ],
)
def test_what_is_meant(given_as, text, steps):
    length = Length.parse(given_as)
    assert (str(length), length.resolve(T=1000, steps_per_epoch=12)) == (text, steps)
    assert Length.parse(text) == length


@pytest.mark.parametrize(
    "given_as",
    [
        *(0, -3, 2.0, 0.05, True, None, [5], 10**400),
        *("", "five", "5 %%", "5%5%", "-5%", "0 epochs", "1e999 epochs", "101%", "1.5", "1.5 steps", "30 days", "0x10"),
    ],
)
def test_what_cannot_be_meant(given_as):
    with pytest.raises(InputError):
        Length.parse(given_as)


@pytest.mark.parametrize(("value", "unit"), [(5, "days"), (math.nan, "%"), (math.inf, "epochs"), (2.5, "steps")])
def test_a_length_is_checked_however_it_is_made(value, unit):
    with pytest.raises(InputError):
        Length(value, unit)


def test_a_decimal_share_is_taken_as_written():
    assert Length.parse("33.3%").exact(1000, 1) == Fraction(333)
    assert sum(Length.parse(share).exact(70, 1) for share in ("0.1%", "0.2%", "99.7%")) == 70


shares = st.lists(st.integers(1, 50), min_size=1, max_size=6)


@given(shares, st.integers(1, 300))
def test_shares_that_make_the_whole_fill_every_run(weights, T):
    """Boundaries are the exact ones rounded up; a part of no steps is left out, and the first has at least one."""
    exact = [Fraction(sum(weights[: i + 1]) * 100, sum(weights)) for i in range(len(weights))]
    ends = [round(float(end), 2) for end in exact]  # per cent with two decimals
    widths = [round(b - a, 2) for a, b in zip([0.0, *ends], ends)]
    widths = [width for width in widths if width > 0]
    text = " >> ".join(f"{index + 2} * constant({width}%)" for index, width in enumerate(widths))
    found = parse(text).bind(T, 1).values(range(1, T + 1)).tolist()
    boundaries, total = [], Fraction(0)
    for width in widths:
        total += Fraction(str(width)) * T / 100
        boundaries.append(math.ceil(total))
    expected = [next(i for i, end in enumerate(boundaries) if t <= end) + 2.0 for t in range(1, T + 1)]
    assert found == expected
    assert found[0] == 2.0


@pytest.mark.parametrize("T", range(1, 25))
def test_a_run_of_few_steps(T):
    """The default schedule: the first step is never at rate 0, the last one is, unless it is the only one."""
    bound = parse("warmup(5%) >> cosine").bind(T, 1)
    assert bound(1) == (1.0 if T <= 20 else 0.5)
    assert bound(T) == (1.0 if T == 1 else 0.0)


@pytest.mark.parametrize(
    ("text", "T", "expected"),
    [
        ("warmup(3) >> cosine", 3, [1 / 3, 2 / 3, 1.0]),  # nothing is left: the part without length is left out
        ("warmup(100%) >> cosine", 3, [1 / 3, 2 / 3, 1.0]),
        ("warmup(5%) >> constant(75%) >> linear(20%)", 1, [1.0]),
        ("warmup(5%) >> constant(75%) >> linear", 4, [1.0, 1.0, 1.0, 1.0]),
        ("linear(2)", 4, [0.5, 0.0, 0.0, 0.0]),
        ("warmup(1) >> linear(2, end=0.5)", 4, [1.0, 0.75, 0.5, 0.5]),
        ("constant(50%) >> 0.5 * (constant(1%) * linear(50%))", 1, [1.0]),
        (
            "constant(10%) >> (2 * constant(1%)) * (warmup(1%) >> linear(3%)) >> 3 * constant",
            7,
            [1.0, 3, 3, 3, 3, 3, 3],
        ),
    ],
)
def test_boundaries(text, T, expected):
    assert parse(text).bind(T, 1).values(range(1, T + 1)).tolist() == pytest.approx(expected)


@given(st.integers(1, 12), st.integers(1, 12), st.integers(0, 30))
def test_a_product_of_parts_shorter_than_a_step(i, j, before):
    """However short its factors, a product that has a step has a factor there."""
    text = (
        f"constant({before + 1}%) >> (0.5 * constant({i}%)) * (linear(1%) >> cosine(1%)) * constant({j}%) >> warmup(1%)"
    )
    for T in range(1, 40):
        found = parse(text).bind(T, 1).values(range(1, T + 1))
        assert ((found >= 0) & (found <= 1)).all()


@pytest.mark.parametrize(("T", "steps_per_epoch"), [(0, 1), (-5, 1), (10, 0), (2.5, 1), (True, 1), ("10", 1)])
def test_a_run_has_at_least_one_step(T, steps_per_epoch):
    with pytest.raises(InputError, match="must be an integer ≥ 1, got"):
        parse("cosine").bind(T, steps_per_epoch)


def test_steps_are_counted_from_one():
    with pytest.raises(InputError, match=r"t must be at least 1 \(steps are counted from 1\), got 0"):
        parse("cosine").bind(10, 1)(0)
