"""The algebra by its properties, on random trees; against a slow and obvious reading of the tree."""

from operator import mul

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from steepest.errors import InputError
from steepest.schedule import Length, Schedule, constant, cosine, linear, parse, step, warmup
from steepest.schedule.algebra import Join, Product
from steepest.schedule.parser import PARTS

numbers = st.floats(0.01, 0.99)
steps = st.integers(1, 30)
every_length = st.one_of(
    steps,
    st.floats(0.1, 100).map(lambda share: Length(share, "%")),
    st.floats(0.1, 90).map(lambda epochs: Length(epochs, "epochs")),
)


def parts(lengths):
    """Any pure part; whole numbers of steps where they are wanted as lengths."""
    rest = st.none() | lengths
    make = st.builds
    return st.one_of(
        make(PARTS["constant"], rest),
        make(PARTS["warmup"], lengths),
        make(PARTS["cosine"], rest, floor=numbers),
        make(PARTS["linear"], rest, end=numbers),
        make(PARTS["polynomial"], st.sampled_from([0.5, 2, 3.0]), end=numbers, length=rest),
        make(PARTS["exponential"], numbers, length=rest),
        make(PARTS["step"], lengths, gamma=numbers, length=rest),
        make(PARTS["one_cycle"], rest, rise=numbers, div=st.floats(1, 100), peak=numbers, anneal=anneals),
        make(PARTS["one_cycle"], rest, rise=st.floats(0.01, 0.5), phases=st.just(3), anneal=anneals),
        make(PARTS["cosine_restarts"], lengths, mult=st.integers(1, 3), floor=numbers, length=rest),
        make(PARTS["cosine_restarts"], lengths, decay=numbers, limit=st.none() | st.integers(1, 3), length=rest),
        make(PARTS["cosine_cycles"], st.integers(1, 5), floor=numbers, decay=numbers, length=rest),
        make(PARTS["cyclic"], lengths, rest, numbers, numbers, cycle_gamma=numbers, gamma=numbers, length=rest),
        make(PARTS["multistep"], st.lists(lengths, min_size=1, max_size=4), gamma=numbers, length=rest),
        make(PARTS["cooldown"], rest, floor=numbers, power=st.sampled_from([0.5, 2, 3.0])),
    )


anneals = st.sampled_from(["cos", "linear"])


plateaus = st.builds(
    PARTS["plateau"], factor=numbers, patience=st.integers(0, 9), length=st.none() | every_length, floor=numbers
)
least = {"length": st.none() | every_length, "min_lr": st.floats(1e-8, 1e-2)}
least_rates = st.one_of(
    st.builds(PARTS["cosine"], **least),
    st.builds(PARTS["linear"], **least),
    st.builds(PARTS["polynomial"], st.just(2), **least),
    st.builds(PARTS["cooldown"], **least),
    st.builds(PARTS["cosine_restarts"], every_length, **least),
    st.builds(PARTS["cosine_cycles"], st.integers(1, 5), **least),
)
inverse_roots = st.builds(PARTS["inverse_sqrt"], every_length, length=st.none() | every_length)


def combined(leaves):
    def join(pair):
        first, second = pair
        return first * second if first.takes_rest and second.takes_rest else first >> second

    pairs = lambda trees: st.tuples(trees, trees)  # noqa: E731
    return st.recursive(
        leaves,
        lambda trees: st.one_of(
            pairs(trees).map(join),
            pairs(trees).map(lambda pair: pair[0] * pair[1]),
            st.builds(mul, st.floats(0.01, 10), trees),
        ),
        max_leaves=6,
    )


any_schedule = combined(st.one_of(parts(every_length), plateaus, inverse_roots, least_rates))
schedules = combined(parts(steps))
RUN = 400  # steps, more than six leaves of 30 can ask for


def reading(schedule: Schedule, n: int) -> list[float]:
    """The n factors of a schedule whose lengths are steps, by writing lists one behind the other."""
    if isinstance(schedule, Product):
        columns = [reading(factor, n) for factor in schedule.factors]
        return [schedule.scale * float(np.prod(row)) for row in zip(*columns)]
    if isinstance(schedule, Join):
        lengths = [own_length(part) for part in schedule.parts]
        rest = n - sum(length or 0 for length in lengths)
        found = [factor for part, own in zip(schedule.parts, lengths) for factor in reading(part, own or rest)]
    else:
        bound = schedule.bind(RUN, 1)  # of a part alone; test_parts has these against the peers
        length = own_length(schedule)
        if length is None:
            name = type(schedule).__name__
            bound = PARTS[name](**{**vars(schedule), "length": n}).bind(RUN, 1)
        found = [bound(s) for s in range(1, (length or n) + 1)]
    return (found + [found[-1]] * n)[:n]


def own_length(schedule: Schedule) -> int | None:
    extent = schedule.extent(RUN, 1)
    return None if extent is None else int(extent)


@given(any_schedule)
def test_text_round_trips(schedule):
    text = str(schedule)
    assert parse(text) == schedule
    assert hash(parse(text)) == hash(schedule)
    assert str(parse(text)) == text
    assert eval(repr(schedule), {"parse": parse}) == schedule


@given(schedules)
def test_is_what_a_plain_reading_gives(schedule):
    bound = schedule.bind(RUN, 1)
    assert [bound(t) for t in range(1, RUN + 1)] == pytest.approx(reading(schedule, RUN), rel=1e-12)


@given(schedules, st.integers(200, 260), st.randoms(use_true_random=False))
def test_is_a_pure_function_of_t(schedule, T, random):
    bound = schedule.bind(T, 7)
    in_order = [bound(t) for t in range(1, T + 1)]
    shuffled = random.sample(range(1, T + 1), T)
    assert {t: bound(t) for t in shuffled} == dict(enumerate(in_order, 1))
    assert schedule.bind(T, 7).values(np.arange(1, T + 1)).tolist() == in_order
    assert bound.state_dict() == {"plateaus": []}


@given(schedules, st.integers(200, 260))
def test_holds_its_last_value(schedule, T):
    bound = schedule.bind(T, 7)
    assert bound(T + 1) == bound(10 * T) == bound(T)


@given(schedules, st.integers(200, 260))
def test_an_offset_is_a_pure_function_of_t_that_holds_its_last_value(schedule, T):
    bound = schedule.bind(T, 7, offset=-1)
    backwards = [bound(t) for t in range(T + 2, 0, -1)]
    assert [bound(t) for t in range(1, T + 3)] == backwards[::-1]
    assert bound(T + 1) == bound(T + 2) == bound(10 * T)


@given(parts(st.just(RUN)), st.integers(1, 30))
def test_an_offset_evaluates_each_part_one_of_its_own_steps_earlier(part, n):
    whole = warmup(n) >> part if part.takes_rest else warmup(n) >> part >> constant()
    T = n + RUN
    ours, theirs = whole.bind(T, 7), whole.bind(T, 7, offset=-1)
    assert [theirs(t) for t in range(1, n + 1)] == [t / n for t in range(n)]
    shift = 0 if part.from_zero else -1
    assert [theirs(n + s) for s in range(2, RUN + 1)] == [ours(n + s + shift) for s in range(2, RUN + 1)]
    if not part.from_zero and part.takes_rest:
        assert theirs(T + 1) == ours(T)  # the end, which it reaches one step after the run


@given(combined(st.one_of(parts(steps), least_rates.filter(lambda part: part.takes_rest))), st.floats(1e-6, 1.0))
def test_an_absolute_least_rate_is_a_share_of_the_base(schedule, base):
    bound, relative = schedule.bind(RUN, 1, base=base), schedule.at_base(base)
    assert not relative.needs_base
    other = relative.bind(RUN, 1)
    assert [bound(t) for t in range(1, RUN + 1, 7)] == [other(t) for t in range(1, RUN + 1, 7)]
    assert schedule.at_base(base) == relative.at_base(2 * base)


@given(schedules, st.integers(1, 30), st.integers(200, 260))
def test_a_later_part_begins_at_its_own_first_step(after, n, T):
    joined, alone = (warmup(n) >> after).bind(T + n, 7), after.bind(T, 7)
    assert [joined(t) for t in range(1, n + 1)] == [t / n for t in range(1, n + 1)]
    assert [joined(n + s) for s in range(1, T + 1)] == [alone(s) for s in range(1, T + 1)]


@given(schedules, schedules, st.floats(0.01, 10))
def test_products_multiply_and_commute(one, other, scale):
    a, b = one.bind(RUN, 1), other.bind(RUN, 1)
    ab, ba, scaled = (x.bind(RUN, 1) for x in (one * other, other * one, scale * one))
    for t in range(1, RUN + 1, 13):
        assert ab(t) == pytest.approx(a(t) * b(t), rel=1e-12)
        assert ab(t) == pytest.approx(ba(t), rel=1e-12)
        assert scaled(t) == pytest.approx(scale * a(t), rel=1e-12)


@given(steps, steps, steps)
def test_joining_and_multiplying_are_associative(i, j, k):
    a, b, c = linear(i), cosine(j), warmup(k)
    assert (a >> b) >> c == a >> (b >> c)
    assert (a * b) * c == a * (b * c)
    assert 2 * (3 * a) == 6 * a == a * 6
    assert 1 * a == a


def test_multiplying_binds_before_joining():
    assert parse("warmup(5) >> cosine * step(3)") == warmup(5) >> cosine() * step(3)
    assert str((warmup(5) >> cosine()) * step(3)) == "(warmup(5) >> cosine) * step(3)"


def test_parts_without_brackets():
    assert 0.9 * cosine == 0.9 * cosine()
    assert cosine * 0.9 == 0.9 * cosine()
    assert warmup("5%") >> cosine == warmup("5%") >> cosine()
    assert cosine >> linear("20%") == cosine() >> linear("20%")
    assert cosine * cosine == cosine() * cosine()
    assert step(3) * cosine == step(3) * cosine()


def test_numpy_numbers_are_numbers():
    assert np.float64(0.5) * cosine == np.float32(0.5) * cosine() == 0.5 * cosine
    assert isinstance(np.float64(0.5) * cosine(), Product)
    assert warmup(np.int64(5)) == warmup(5)


def test_two_parts_cannot_both_take_the_rest():
    with pytest.raises(
        InputError, match=r"both cosine and 0\.5 \* linear take the rest of the run. Give one of them a length"
    ):
        cosine() >> 0.5 * linear()
    with pytest.raises(InputError, match="take the rest of the run"):
        (warmup(5) * cosine()) >> constant(3) >> linear()


def test_a_part_in_the_middle_takes_the_rest():
    found = (warmup("5%") >> constant >> linear("20%")).bind(100, 10).values(range(1, 101)).tolist()
    assert found[4:80] == [1.0] * 76
    assert found[80:] == pytest.approx([1 - s / 20 for s in range(1, 21)])


def test_values_equal_another_resolution():
    """Shares fit a run of another length: what a run resumed with more epochs needs."""
    schedule = parse("warmup(10%) >> cosine")
    short, long = schedule.bind(100, 10), schedule.bind(300, 10)
    assert [short(t) for t in range(1, 101)] == pytest.approx([long(3 * t) for t in range(1, 101)], abs=1e-15)


@pytest.mark.parametrize(
    ("absolute", "share"),
    [
        ("warmup(50) >> cosine", "warmup(5%) >> cosine"),
        ("warmup(1 epoch) >> constant >> linear(2 epochs)", "warmup(10%) >> constant >> linear(20%)"),
        ("0.5 * step(100, gamma=0.5)", "0.5 * step(10%, gamma=0.5)"),
        ("multistep([300, 6 epochs])", "multistep([30%, 60%])"),
        ("warmup(500) * inverse_sqrt(100)", "warmup(50%) * inverse_sqrt(10%)"),
        ("warmup(100) >> plateau(0.5, patience=2)", "warmup(10%) >> plateau(0.5, patience=2)"),
    ],
)
def test_absolute_lengths_as_shares_of_the_run_that_they_were_chosen_for(absolute, share):
    """In a shorter run both spellings are the same schedule, bit for bit."""
    schedule = parse(absolute).in_shares(1000, 100)
    for T in (1000, 200, 37):
        one, other = schedule.bind(T, 100), parse(share).bind(T, 100)
        assert [one(t) for t in range(1, T + 1)] == [other(t) for t in range(1, T + 1)]


def test_a_length_beyond_the_run_is_kept():
    """A wave of which the run has only the first half, a level that it never leaves."""
    schedule = parse("cosine_restarts(2000)").in_shares(1000, 100)
    assert schedule.bind(100, 100).values([1, 51, 100]) == pytest.approx(
        parse("cosine_restarts(2000)").bind(1000, 100).values([1, 501, 991])
    )
    assert set(parse("step(3000, gamma=0.5)").in_shares(1000, 100).bind(100, 100).values(range(1, 101))) == {1.0}


@pytest.mark.parametrize("T", [10, 37, 999, 1001])
def test_thirds_of_a_run_fill_it(T):
    """Shares are exact: three of them are never longer than the run by rounding."""
    schedule = parse("warmup(333) >> constant(334) >> linear(333)").in_shares(1000, 1).bind(T, 1)
    assert max(schedule.values(range(1, T + 1))) == 1.0
    assert schedule(T) == 0.0
