"""The text form: what is plainest, what else is read, and where a mistake is."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from steepest.errors import InputError, ScheduleError
from steepest.schedule import (
    Length,
    Schedule,
    as_schedule,
    constant,
    cooldown,
    cosine,
    cosine_cycles,
    cosine_restarts,
    custom,
    cyclic,
    exponential,
    inverse_sqrt,
    linear,
    multistep,
    one_cycle,
    parse,
    plateau,
    polynomial,
    step,
    warmup,
)

PLAIN = {
    "warmup(5%) >> cosine": warmup("5%") >> cosine(),
    "warmup(500) >> cosine(floor=0.1)": warmup(500) >> cosine(floor=0.1),
    "warmup(5%) >> constant(75%) >> linear": warmup("5%") >> constant("75%") >> linear(),
    "step(30 epochs, gamma=0.5)": step("30 epochs", 0.5),
    "step(1 epoch)": step(Length(1, "epochs")),
    "cosine(80%, floor=0.1)": cosine("80%", 0.1),
    "linear(end=1e-05)": linear(end=1e-5),
    "polynomial(2, end=0.1, length=20%)": polynomial(2, 0.1, "20%"),
    "exponential(0.01)": exponential(0.01),
    "one_cycle(rise=0.2, final_div=100)": one_cycle(rise=0.2, final_div=100),
    "cosine_restarts(10 epochs, mult=2)": cosine_restarts("10 epochs", 2),
    "inverse_sqrt(4000)": inverse_sqrt(4000),
    "cosine(min_lr=1e-06)": cosine(min_lr=1e-6),
    "one_cycle(peak=0.9, phases=3, anneal=linear)": one_cycle(peak=0.9, phases=3, anneal="linear"),
    "cosine_restarts(10, mult=2, decay=0.5, limit=3)": cosine_restarts(10, mult=2, decay=0.5, limit=3),
    "cosine_cycles(4, floor=0.1)": cosine_cycles(4, floor=0.1),
    "cyclic(2000, down=500, begin=0.25, cycle_gamma=0.5)": cyclic(2000, 500, begin=0.25, cycle_gamma=0.5),
    "multistep([30 epochs, 75%, 900])": multistep(["30 epochs", "75%", 900]),
    "warmup(5%) >> constant >> cooldown(20%)": warmup("5%") >> constant() >> cooldown("20%"),
    "warmup(5%) >> plateau(0.5, patience=3)": warmup("5%") >> plateau(0.5, patience=3),
    "plateau(patience=3)": plateau(patience=3),
    "0.9 * cosine": 0.9 * cosine,
    "0.9 * cosine * step(30 epochs)": 0.9 * cosine * step("30 epochs"),
    "(warmup(5) >> cosine) * step(2)": (warmup(5) >> cosine) * step(2),
    "warmup(5) >> 0.5 * cosine": warmup(5) >> 0.5 * cosine,
}


@pytest.mark.parametrize("text", PLAIN)
def test_the_plainest_text(text):
    assert str(PLAIN[text]) == text
    assert parse(text) == PLAIN[text]


@pytest.mark.parametrize(
    ("text", "plainest"),
    [
        ("  warmup( 5 % )>>cosine ( )\n", "warmup(5%) >> cosine"),
        ("warmup(length=500 steps) >> cosine(floor=.5)", "warmup(500) >> cosine(floor=0.5)"),
        ("step(30epochs, 0.1)", "step(30 epochs)"),
        ("cosine(floor=0)", "cosine"),
        ("cosine(floor=1, length=5)", "cosine(5, floor=1)"),
        ("cosine * 0.5", "0.5 * cosine"),
        ("2 * cosine * 0.5", "cosine"),
        ("2 * (2 * cosine)", "4 * cosine"),
        ("((cosine))", "cosine"),
        ("(warmup(5) >> constant(5)) >> cosine", "warmup(5) >> constant(5) >> cosine"),
        ("warmup(5) >> (constant(5) >> cosine)", "warmup(5) >> constant(5) >> cosine"),
        ("(cosine * linear) >> warmup(5)", "cosine * linear >> warmup(5)"),
        ("exponential(1E-2)", "exponential(0.01)"),
        ("linear(end=2.)", "linear(end=2)"),
        ("multistep( milestones =[ 5 ,6 steps], gamma=0.1)", "multistep([5, 6])"),
        ("multistep(30 epochs)", "multistep([30 epochs])"),
        ("one_cycle(anneal=cos, phases=2)", "one_cycle"),
        ("cooldown(power=.5)", "cooldown"),
    ],
)
def test_what_else_is_read(text, plainest):
    assert str(parse(text)) == plainest


@pytest.mark.parametrize(
    ("text", "position", "words"),
    [
        ("", 0, "the text is empty"),
        ("   ", 3, "the text is empty"),
        ("warmup(5%) >>>> cosine", 13, "expected a part such as cosine, a number or '(', got '>>'"),
        ("warmup(5%) > cosine", 11, "unexpected '>'. Use >> to join and * to multiply."),
        ("warmup(5%) >> ", 14, "got the end of the text"),
        ("warmup(5%) >> cosin", 14, "unknown 'cosin'. Did you mean 'cosine'? Known: constant, cooldown,"),
        ("Cosine", 0, "unknown 'Cosine'. Did you mean 'cosine'?"),
        ("__import__('os')", 11, "unexpected '''. Write lengths without quotes: 5%, 30 epochs."),
        ("__import__(1)", 0, "unknown '__import__'. Known: constant"),
        ("cosine.floor", 6, "unexpected '.'"),
        ("warmup(5%", 9, "expected ')' for the '(' at character 7, got the end of the text"),
        ("(warmup(5%) >> cosine", 21, "expected ')' for the '(' at character 1"),
        ("warmup(5%))", 10, "expected '>>', '*' or the end, got ')'"),
        ("warmup(5%) cosine", 11, "expected '>>', '*' or the end, got 'cosine'"),
        ("warmup", 0, "warmup needs length, as in warmup(5%)"),
        ("cosine >> step()", 10, "step needs every, as in step(30 epochs, gamma=0.1)"),
        ("warmup('5%')", 7, "Write lengths without quotes"),
        ("warmup(-5)", 7, "a length must be above 0 and below 1e+15, got -5"),
        ("warmup(-5%)", 7, "a length must be above 0 and below 1e+15, got -5%"),
        (
            "warmup(0.05)",
            7,
            "length of warmup: a length must look like 500 (steps), '30 epochs' or '5%' (of the run), got 0.05",
        ),
        ("warmup(120%)", 7, "a share of the run must be at most 100%, got 120%"),
        ("warmup(1.5 steps)", 7, "a number of steps must be an integer, got 1.5"),
        ("warmup(30 days)", 10, "unknown unit 'days'. Use steps, epochs or %."),
        ("warmup(9999999999999999)", 7, "an integer must have at most 15 digits, got 16"),
        ("warmup(5, 6)", 10, "warmup takes at most 1 argument: length"),
        ("warmup(5, length=6)", 10, "length of warmup is set twice"),
        ("cosine(floor=0.1, floor=0.2)", 18, "floor of cosine is set twice"),
        ("cosine(flor=1)", 7, "unknown argument 'flor' of cosine. Did you mean 'floor'? Known: floor, length"),
        ("cosine(floor=2)", 13, "floor of cosine must be between 0 and 1, got 2"),
        ("cosine(floor=10%)", 13, "must be between 0 and 1, got 10%"),
        ("cosine(floor=-0.1)", 13, "must be between 0 and 1, got -0.1"),
        ("cosine(floor)", 12, "expected '=' after 'floor', got ')'"),
        ("cosine(floor=)", 13, "expected a number or a length such as 5%, got ')'"),
        ("cosine(floor=linear)", 13, "expected a number or a length such as 5%, got 'linear'"),
        ("cosine(floor=0.1, 5%)", 18, "positional arguments must come before named ones"),
        ("cosine(5,)", 9, "expected another argument after ',', got ')'"),
        ("cosine(,)", 7, "expected a number or a length"),
        ("step(5 epochs, gamma=0)", 21, "gamma of step must be finite and above 0, got 0"),
        ("cosine_restarts(5, mult=1.5)", 24, "mult of cosine_restarts must be an integer ≥ 1, got 1.5"),
        ("plateau(2)", 8, "factor of plateau must be above 0 and below 1, got 2"),
        ("warmup(5) >> cosine >> linear", 23, "take the rest of the run. Give one of them a length"),
        ("0.5", 0, "a number alone is not a schedule. Write 0.5 * constant"),
        ("warmup(5) >> 0.5 * 0.5", 13, "a number alone is not a schedule. Write 0.25 * constant"),
        ("5% * cosine", 0, "a length cannot scale a schedule"),
        ("cosine * 5 epochs", 9, "a length cannot scale a schedule"),
        ("0 * cosine", 0, "the scale of a schedule must be finite and above 0, got 0"),
        ("1e999 * cosine", 0, "the scale of a schedule must be finite and above 0, got inf"),
        ("-1 * cosine", 0, "expected a part"),
        ("1e308 * cosine * 1e308", 17, "the scale of a schedule must be finite and above 0, got inf"),
        ("multistep()", 0, "multistep needs milestones, as in multistep([30 epochs, 60 epochs], gamma=0.1)"),
        ("multistep([])", 11, "expected a number or a length such as 5%, got ']'"),
        ("multistep([5, 6)", 15, "expected ']' for the '[' at character 11, got ')'"),
        ("multistep([5, [6]])", 14, "expected a number or a length such as 5%, got '['"),
        ("multistep([5, 0])", 10, "a length must be above 0 and below 1e+15, got 0"),
        ("cosine([5])", 7, "expected a number or a length such as 5%, got '['"),
        ("[cosine]", 0, "expected a part such as cosine, a number or '(', got '['"),
        ("one_cycle(anneal=cosine)", 17, "anneal of one_cycle must be cos or linear, got 'cosine'"),
        ("one_cycle(anneal=5)", 17, "anneal of one_cycle must be cos or linear, got 5"),
        ("warmup(5) >> one_cycle(phases=4)", 13, "one_cycle must have 2 phases, or 3 with rise at most 0.5"),
        ("one_cycle(rise=0.6, phases=3)", 0, "got phases=3 and rise=0.6"),
        ("cosine(floor=0.1, min_lr=1e-6)", 0, "cosine must have either floor or min_lr, got both"),
        ("cosine(min_lr=0)", 14, "min_lr of cosine must be finite and above 0, got 0"),
        ("cyclic(5, gamma=1.1)", 16, "gamma of cyclic must be above 0 and at most 1, got 1.1"),
        ("cosine_cycles(0)", 14, "cycles of cosine_cycles must be an integer ≥ 1, got 0"),
        ("warmup(5) >> custom(f)", 13, "a text cannot hold a function. Pass the schedule itself, with sd.custom(f)"),
        ("cosine + linear", 7, "unexpected '+'. Use >> to join and * to multiply."),
        ("(" * 60 + "cosine" + ")" * 60, 50, "nested more than 50 deep"),
    ],
)
def test_errors_point_at_the_mistake(text, position, words):
    with pytest.raises(ScheduleError) as caught:
        parse(text)
    assert (caught.value.text, caught.value.position) == (text, position)
    assert words in str(caught.value)
    assert str(caught.value).endswith(f"\n    {text}\n    {' ' * position}^")


pieces = ["cosine", "warmup", "step", "plateau", "floor", "length", ">>", "*", "(", ")", ",", "=", "-", "5", "0.5", "%"]
pieces += ["[", "]", "multistep", "one_cycle", "anneal", "linear", "phases", "min_lr"]


@given(st.one_of(st.text(max_size=30), st.lists(st.sampled_from([*pieces, " epochs", " "]), max_size=12).map("".join)))
@example("٣ * cosine")
@example("warmup(5%)\n\t>> cosin")
@example("cosine(" * 3000)
@example("cosine" + " * cosine" * 3000)
def test_any_text_is_a_schedule_or_a_schedule_error(text):
    read = schedule_or_error(text)
    if isinstance(read, Schedule):
        assert parse(str(read)) == read
    else:
        assert 0 <= read.position <= len(text)
        assert_points_at_the_mistake(read)


def assert_points_at_the_mistake(error: ScheduleError) -> None:
    """The character above the caret is the one at the position; above the text's end there is none."""
    *_, line, caret = str(error).split("\n")
    above, there = line[caret.index("^") :][:1], error.text[error.position :][:1]
    assert above == there or (above == " " and not there.isprintable()) or not (above.strip() or there)


def schedule_or_error(text: str) -> Schedule | ScheduleError:
    try:
        return parse(text)
    except ScheduleError as error:
        return error


def test_what_may_be_given_for_a_schedule():
    assert as_schedule("cosine") == as_schedule(cosine) == as_schedule(cosine()) == cosine()
    f = lambda t, T: t / T  # noqa: E731
    assert as_schedule(f) == custom(f)
    with pytest.raises(InputError, match=r"schedule must be a text .* or a schedule, got 0\.5"):
        as_schedule(0.5)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"warmup needs arguments, as in warmup\(\.\.\.\) \(.*length"):
        as_schedule(warmup)
    with pytest.raises(InputError, match=r"schedule must be a text such as .*, got None"):
        parse(None)  # type: ignore[arg-type]
