"""The algebra by its properties, and texts that do not parse."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steepest.errors import InputError, ScheduleError
from steepest.schedule import parse

PARTS = ["constant", "cosine", "linear", "cosine(floor=0.1)", "polynomial(2)", "exponential(0.5)", "step(3, gamma=0.5)"]
part = st.sampled_from(PARTS)
factor = st.sampled_from(["0.5", "0.9", "2"])
product = st.one_of(part, st.builds("{} * {}".format, factor, part), st.builds("{} * {}".format, part, part))
sequence = st.builds("warmup({}) >> {}".format, st.integers(1, 9), product)
schedules = st.one_of(product, sequence)


@given(schedules)
def test_text_round_trips(text):
    schedule = parse(text)
    assert parse(str(schedule)) == schedule


@given(schedules, st.integers(10, 50))
def test_is_a_pure_function_that_holds_its_last_value(text, steps):
    forwards, backwards = parse(text).bind(steps, 5), parse(text).bind(steps, 5)
    found = [forwards(t) for t in range(1, steps + 1)]
    assert [backwards(t) for t in range(steps, 0, -1)] == found[::-1]
    assert forwards.values(range(1, steps + 1)).tolist() == found
    assert forwards(steps + 7) == found[-1]


@given(product, product, st.integers(10, 50))
def test_products_multiply(one, other, steps):
    both = (parse(one) * parse(other)).bind(steps, 5)
    a, b = parse(one).bind(steps, 5), parse(other).bind(steps, 5)
    assert all(both(t) == pytest.approx(a(t) * b(t)) for t in range(1, steps + 1))


@given(product, st.integers(1, 9), st.integers(10, 50))
def test_a_later_part_begins_at_its_own_first_step(text, n, steps):
    joined = parse(f"warmup({n}) >> {text}").bind(steps, 5)
    alone = parse(text).bind(steps - n, 5)
    assert [joined(n + s) for s in range(1, steps - n + 1)] == pytest.approx(
        [alone(s) for s in range(1, steps - n + 1)]
    )


@pytest.mark.parametrize(
    ("text", "position", "words"),
    [
        ("warmup(5%) >>>> cosine", 13, "expected"),
        ("warmup(5%) >> cosin", 14, "cosine"),
        ("warmup(5%", 9, ""),
        ("", 0, ""),
        ("cosine(flor=1)", 7, "floor"),
        ("warmup(-5)", 7, ""),
        ("__import__(1)", 0, "__import__"),
    ],
)
def test_errors_point_at_the_mistake(text, position, words):
    with pytest.raises(ScheduleError) as caught:
        parse(text)
    assert caught.value.position == position
    assert words in str(caught.value)
    assert str(caught.value).endswith("\n    " + " " * position + "^")


@pytest.mark.parametrize("text", ["cosine >> linear", "warmup(200) >> cosine"])
def test_parts_that_do_not_fit_the_run(text):
    with pytest.raises(InputError):
        parse(text).bind(100, 10)
