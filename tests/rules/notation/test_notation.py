"""Rules as mathematics: what is written, read by a reader of LaTeX of its own, gives the numbers of the formula."""

import inspect
import math
import re
import xml.etree.ElementTree as ET

import pytest

from steepest.rules import trace as sd
from steepest.rules.notation import latex, mathml, plain
from steepest.rules.notation.notation import read, symbols
from steepest.rules.notation.terms import REPORT_NAME, lines
from steepest.rules.rule import W, rule, scalar, with_average
from steepest.rules.textbook import RULES


@rule
def every_operation(w, g, v=1.0, z=W, k=scalar(2.0), *, t, lr=1e-3, beta_max=0.9, small=1.5e-9):
    k = sd.minimum(k * beta_max, sd.exp(-1.0 / t))
    v_bar = sd.where(abs(g) >= 1.0, beta_max * v + sd.sign(g), sd.maximum(v, 0.5) ** (beta_max + 1))
    u = sd.log(1 + v_bar**4) + sd.where(((g < w) | (w <= 0)) & ~(g == 0), v, -(v - small))
    x = (w / g) ** 2 / (z / (v - k)) - (3 - (g - w)) * -u / (2**t * 0.5 * t)
    return w - lr * (u - x) * k, (v_bar / 3) ** 3.5, z + sd.where(w != z, lr, 0.0) * u, k


@rule
def swapped(w, g, a=1.0, b=2.0, *, lr=0.1):
    return w - lr * (a - b), b, a


@rule
def remembers(w, g, before=0.0, v=0.0, *, lr=0.1):
    v = v + before  # new v and the new `before` are both made of what they replace
    return w - lr * (g - before), g, v * before


@rule
def looks_back(w, g, m=0.0, s=0.0, *, lr=0.1):
    new = 0.5 * m + g
    s = s + (new - m) * m
    return w - lr * new / s, new, s


ALL = [*RULES.values(), with_average(RULES["adam"], 0.9), every_operation, swapped, remembers, looks_back]
NUMBERS = {"w": 0.7, "g": -1.3, "t": 3.0}
SIGN = r"\operatorname{sign}"


RELATIONS = {
    "<": lambda a, b: a < b, ">": lambda a, b: a > b, r"\le": lambda a, b: a <= b, r"\ge": lambda a, b: a >= b,
    "=": lambda a, b: a == b, r"\ne": lambda a, b: a != b,
}  # fmt: skip
FUNCTIONS = {r"\max": max, r"\min": min, r"\exp": math.exp, r"\log": math.log}


class Reader:
    """The value of an expression in LaTeX, by recursive descent; a name is looked up as it is written."""

    TOKENS = re.compile(r"\\left|\\right|\\operatorname\{[^}]*\}|\\[a-z]+|\\\\|[0-9.]+|[a-z]|\S")

    def __init__(self, text, names):
        self.tokens, self.at, self.names = [*self.TOKENS.findall(text), ""], 0, names

    def take(self, *expected):
        for token in expected:
            assert self.tokens[self.at] == token, (self.tokens[self.at :], token)
            self.at += 1

    @property
    def next(self):
        return self.tokens[self.at]

    def logic(self):
        value = self.relation()
        while self.next in (r"\land", r"\lor"):
            op = self.next
            self.take(op)
            other = self.relation()
            value = (value and other) if op == r"\land" else (value or other)
        return value

    def relation(self):
        value = self.sum()
        if self.next in RELATIONS:
            op = RELATIONS[self.next]
            self.at += 1
            value = op(value, self.sum())
        return value

    def sum(self):
        value = 0.0
        op = "-" if self.next == "-" else "+"
        if op == "-":
            self.take("-")
        while True:
            term = self.product()
            value = value + term if op == "+" else value - term
            if self.next not in ("+", "-"):
                return value
            op = self.next
            self.take(op)

    def product(self):
        value = self.power()
        while self.next not in ("", "+", "-", "}", r"\right", ",", "&", r"\\", r"\land", r"\lor", *RELATIONS):
            if self.next == r"\cdot":
                self.take(r"\cdot")
            value = value * self.power()
        return value

    def power(self):
        base = self.atom()
        return base ** self.braced() if self.next == "^" and not self.take("^") else base

    def braced(self):
        self.take("{")
        value = self.logic()
        self.take("}")
        return value

    def fenced(self, left, right):
        self.take(r"\left", left)
        values = [self.logic()]
        while self.next == ",":
            self.take(",")
            values.append(self.logic())
        self.take(r"\right", right)
        return values

    def atom(self):
        token = self.next
        if token == r"\left":
            return self.fenced("(", ")")[0] if self.tokens[self.at + 1] == "(" else abs(self.fenced("|", "|")[0])
        self.at += 1
        if token == r"\frac":
            return self.braced() / self.braced()
        if token == r"\sqrt":
            return math.sqrt(self.braced())
        if token == r"\neg":
            return not self.atom()
        if token in FUNCTIONS:
            return FUNCTIONS[token](*self.fenced("(", ")"))
        if token == SIGN:
            x = self.fenced("(", ")")[0]
            return float((x > 0) - (x < 0))
        if token == r"\begin":
            return self.cases()
        return float(token) if token[0].isdigit() else self.names[self.name(token).replace(" ", "")]

    def cases(self):
        self.take(*"{cases}")
        then = self.logic()
        self.take("&", r"\text", *"{if}")
        condition = self.logic()
        self.take(r"\\")
        otherwise = self.logic()
        self.take("&", r"\text", *"{otherwise}", r"\end", *"{cases}")
        return then if condition else otherwise

    def name(self, token):
        """As it is written: accents and indices belong to it."""
        if self.next == "{" and token in (r"\hat", r"\bar"):
            token += "".join(self.tokens[self.at : self.at + 3])
            self.at += 3
        if self.next == "_":
            end = self.tokens.index("}", self.at)
            if self.tokens[self.at + 2] == r"\mathrm":
                end += 1
            token += "".join(self.tokens[self.at : end + 1])
            self.at = end + 1
        return token


def called(function, values):
    parameters = inspect.signature(function).parameters.values()
    keywords = {p.name: values[p.name] for p in parameters if p.kind is p.KEYWORD_ONLY}
    found = function(*(values[p.name] for p in parameters if p.kind is not p.KEYWORD_ONLY), **keywords)
    return found if isinstance(found, tuple) else (found,)


@pytest.mark.parametrize("own", ALL, ids=lambda own: own.name)
def test_latex_means_the_formula(own):
    slots = [s.name for s in own.slots]
    values = {**own.hypers, **NUMBERS, **{name: 0.4 + 0.3 * k for k, name in enumerate(slots)}}
    expected = dict(zip(["w", *slots], called(own.formula, values), strict=True))
    if own.evaluate:
        expected[REPORT_NAME] = called(own.evaluate, values | expected)[0]
    notation, found = read(latex._Latex, own)
    names = {*own.hypers, *(n for line in found for n in (line.name, *line.term.names()))}
    written = {n: notation.name(n).replace(" ", "") for n in names}
    known = {written[n]: values[n] for n in names if n in values}
    text = latex.to_latex(own).removeprefix("\\begin{aligned}\n").removesuffix("\n\\end{aligned}")
    for line in text.split(" \\\\\n"):
        name, _, term = line.partition(r" &\leftarrow ")
        reader = Reader(term, known)
        known[name.replace(" ", "")] = reader.logic()
        assert reader.next == ""
    for name, value in expected.items():
        assert known[written[name]] == pytest.approx(value, rel=1e-12), name


@pytest.mark.parametrize("own", ALL, ids=lambda own: own.name)
def test_mathml_is_well_formed(own):
    root = ET.fromstring(mathml.to_mathml(own))
    space = "{http://www.w3.org/1998/Math/MathML}"
    assert root.tag == f"{space}math"
    assert len(root.findall(f"{space}mtable/{space}mtr")) == len(lines(own))
    children = {"mfrac": 2, "msup": 2, "msub": 2, "mover": 2}
    for element in root.iter():
        tag = element.tag.removeprefix(space)
        assert len(element) == children.get(tag, len(element))
        assert tag in {*children, "math", "mtable", "mtr", "mtd", "mrow", "mi", "mn", "mo", "mtext", "msqrt"}


@rule
def without_decay(w, g, m=0.0, v=0.0, *, t, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8):
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g * g
    m_hat = m / (1 - beta1**t)
    v_hat = v / (1 - beta2**t)
    return w - lr * m_hat / (sd.sqrt(v_hat) + eps), m, v


@rule
def shrinking(w, g, *, lr=0.1, decay=0.0, rest=0.0):
    return (1 - decay) * w - lr * (g - rest * (w - decay)) - decay / lr


def test_what_is_multiplied_by_zero_is_left_out():
    assert lines(RULES["adam"], ["weight_decay"]) == lines(without_decay)
    assert lines(RULES["adam"], []) == lines(RULES["adam"])
    assert lines(shrinking, ["decay", "rest"]) == lines(RULES["gradient_descent"], ["weight_decay"])


def test_what_a_reader_can_move_is_marked():
    root = ET.fromstring(mathml.to_mathml(RULES["adam"], ["lr", "beta1"]))
    marked = ["".join(e.itertext()) for e in root.iter() if e.get("class") == "hl"]
    assert marked == ["β1", "β1", "β1", "α"]


def test_adam_as_the_paper_has_it():
    assert latex.to_latex(RULES["adam"]) == "\n".join(
        [
            r"\begin{aligned}",
            r"g &\leftarrow g + \lambda w \\",
            r"m &\leftarrow \beta_{1} m + \left(1 - \beta_{1}\right) g \\",
            r"v &\leftarrow \beta_{2} v + \left(1 - \beta_{2}\right) g^{2} \\",
            r"\hat{m} &\leftarrow \frac{m}{1 - \beta_{1}^{t}} \\",
            r"\hat{v} &\leftarrow \frac{v}{1 - \beta_{2}^{t}} \\",
            r"w &\leftarrow w - \frac{\alpha \hat{m}}{\sqrt{\hat{v}} + \varepsilon}",
            r"\end{aligned}",
        ]
    )
    assert plain.to_text(RULES["adam"]).splitlines()[-1] == "w ← w − α m̂ / (√v̂ + ε)"
    assert "<msqrt><mover" in mathml.to_mathml(RULES["adam"])


def test_a_value_that_is_still_read_keeps_its_name():
    assert [line.name for line in lines(swapped)] == ["w", "a_new", "b", "a"]
    assert plain.to_text(looks_back).splitlines()[0] == "m_new ← 0.5 m + g"


def test_no_two_names_look_alike():
    found = symbols(["lr", "alpha", "beta1", "beta_1", "weight_decay", "lam"])
    assert len(set(found.values())) == 6
    assert found["lr"].letter == "α"
    assert found["alpha"].letter == "alpha"
