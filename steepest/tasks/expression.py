"""Parser for a function of x and y typed by the user, with a fixed list of functions; nothing is evaluated as code.

The film page parses the same grammar (`page/src/expression.ts`) and reports the same errors.

sum      = product {("+" | "-") product}
product  = signed {["*" | "/"] signed}                 adjacent factors are multiplied: 2x, 3(x + 1)y
signed   = {"+" | "-"} power
power    = atom [("^" | "**") signed | superscript]    x^2, x**2 and x² are the same; -x^2 is -(x^2)
atom     = number | "x" | "y" | "pi" | "e" | function "(" sum {"," sum} ")" | "(" sum ")" | "|" sum "|" | "√" atom
"""

import math
import operator
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import reduce
from typing import NamedTuple, NoReturn

import torch
from torch import Tensor

from steepest.errors import TextError

NAMES = ("sin", "cos", "tan", "exp", "log", "log10", "log2", "sqrt", "abs", "tanh", "sigmoid", "atan")
FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {name: getattr(torch, name) for name in NAMES}
EXTREMES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"max": torch.maximum, "min": torch.minimum}
"""Functions of two or more arguments."""
SIGNS = {"+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv, "^": torch.pow}
OPERATIONS: dict[str, Callable[..., Tensor]] = {**SIGNS, "negative": operator.neg, **FUNCTIONS, **EXTREMES}
CONSTANTS = {"pi": math.pi, "π": math.pi, "e": math.e}
SYNONYMS = {
    "**": "^", "−": "-", "–": "-", "—": "-", "·": "*", "×": "*", "⋅": "*", "∙": "*", "∗": "*", "÷": "/", "∕": "/",
    "ln": "log", "σ": "sigmoid", "arctan": "atan",
}  # fmt: skip
EXPONENT_DIGITS = {"⁻": "-", **{digit: str(i) for i, digit in enumerate("⁰¹²³⁴⁵⁶⁷⁸⁹")}}
MAX_EXPRESSION_DEPTH = 60  # of nested brackets and signs; the page has the same
EXPRESSION_TOKEN = re.compile(
    r"(?P<number>(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)|(?P<name>log10|log2|[A-Za-z]+|[πσ])"
    r"|(?P<power>⁻?[⁰¹²³⁴⁵⁶⁷⁸⁹]+)|(?P<sign>\*\*|[-+*/^()|,√−–—·×⋅∙∗÷∕])"
    r"|(?P<space>(?![\x1c-\x1f\x85])\s|\ufeff)"  # white space as JavaScript has it
)
ALTERNATIVES = {
    "pow": "x^2", "square": "x^2", "cbrt": "x^(1/3)", "sign": "x/|x|", "sgn": "x/|x|", "relu": "max(0, x)",
    "softplus": "log(1 + exp(x))", "sinh": "(exp(x) − exp(−x))/2", "cosh": "(exp(x) + exp(−x))/2", "sec": "1/cos(x)",
    "csc": "1/sin(x)", "cot": "1/tan(x)", "tg": "tan(x)", "arctg": "atan(x)", "lg": "log10(x)", "lb": "log2(x)",
    "r": "sqrt(x^2 + y^2)", "norm": "sqrt(x^2 + y^2)",
    "[": "(", "]": ")", "{": "(", "}": ")", "=": "only what stands to the right of it", ".": "sin(x), not np.sin(x)",
    "½": "1/2", "¼": "1/4", "¾": "3/4", "∞": "a large number", "≤": "max or min", "≥": "max or min",
    "<": "max or min", ">": "max or min",
}  # fmt: skip
"""What to write instead of names and characters that people try."""
COMMA = "‘,’ separates the arguments of max and min; write decimals with a point, such as 0.5"


class ExpressionError(TextError):
    """A function's text does not parse."""

    kind = "function"


class Node(NamedTuple):
    """A node of the expression tree.

    Attributes:
        op: "number", "x" or "y", or one of `OPERATIONS`.
        parts: operands.
        value: value of a number.
    """

    op: str
    parts: tuple["Node", ...] = ()
    value: float = 0.0


@dataclass(frozen=True)
class Expression:
    """A function of x and y, parsed from text.

    Args:
        text: such as "(1 − x)² + 100 (y − x²)²"; the grammar is at the top of this module.

    Raises:
        ExpressionError: the text does not parse; the message points at the character.

    >>> Expression("2x² − y")(torch.tensor([[3.0, 1.0], [0.0, 2.0]]))
    tensor([17., -2.])
    """

    text: str
    tree: Node = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "tree", _Parser(self.text).whole())

    def __call__(self, w: Tensor) -> Tensor:
        """Values at points [..., 2] -> [...]; NaN outside the domain."""
        x, y = w[..., 0], w[..., 1]
        return _value(self.tree, x, y) + 0 * (x + y)  # a constant must have a gradient too


def _value(node: Node, x: Tensor, y: Tensor) -> Tensor:
    if node.op in ("x", "y"):
        return x if node.op == "x" else y
    if node.op == "number":
        return x.new_tensor(node.value)
    if node.op == "^" and node.parts[1].op == "number":
        return _value(node.parts[0], x, y) ** node.parts[1].value  # its derivatives need no logarithm
    return OPERATIONS[node.op](*(_value(part, x, y) for part in node.parts))


# -- Parser ------------------------------------------------------------------------------------------------------------


class _Token(NamedTuple):
    kind: str
    text: str
    at: int


def _tokens(text: str) -> list[_Token]:
    tokens, at = [], 0
    while at < len(text):
        match = EXPRESSION_TOKEN.match(text, at)
        if match is None:
            problem = f"‘{text[at]}’ does not belong in a formula of x and y"
            raise ExpressionError(text, at, _with_alternative(problem, text[at]))
        kind, word = str(match.lastgroup), match.group()
        if re.fullmatch("[xy]{2,}", word):  # xy is x times y
            tokens += [_Token(kind, letter, at + i) for i, letter in enumerate(word)]
        elif kind != "space":
            tokens.append(_Token(kind, SYNONYMS.get(word, word), at))
        at = match.end()
    return [*tokens, _Token("end", "", at)]


def _with_alternative(problem: str, text: str) -> str:
    """A problem with what to write instead of a text, where that is known."""
    lower = text.lower() if text.isascii() else text
    is_variant = lower != text and lower in {"x", "y", *CONSTANTS, *SYNONYMS, *FUNCTIONS, *EXTREMES}
    instead = lower if is_variant else ALTERNATIVES.get(lower)
    return f"{problem}; write {instead}" if instead else problem


class _Parser:
    """Recursive descent: one method for each line of the grammar."""

    def __init__(self, text: str) -> None:
        self.text, self.tokens, self.index, self.depth = text, _tokens(text), 0, 0
        self.bars = 0  # open ones since the last open bracket: where there are some, the next ‘|’ closes one

    def whole(self) -> Node:
        if self.next.kind == "end":
            self.fail(0, "the formula is empty; expected one such as x^2 − y^2")
        node = self.sum()
        if self.next.kind != "end":
            self.fail(self.next.at, self.mismatch("an operator or the end"))
        return node

    def sum(self) -> Node:
        node = self.product()
        while sign := self.accept("+", "-"):
            node = Node(sign, (node, self.product()))
        return node

    def product(self) -> Node:
        node = self.signed()
        while True:
            if sign := self.accept("*", "/"):
                node = Node(sign, (node, self.signed()))
            elif self.next.kind in ("number", "name") or self.next.text in ("(", "√") or self.opens_bars:
                node = Node("*", (node, self.power()))
            else:
                return node

    def signed(self) -> Node:
        if self.accept("-"):
            return Node("negative", (self.nested(self.signed),))
        return self.nested(self.signed) if self.accept("+") else self.power()

    def power(self) -> Node:
        base = self.atom()
        if self.accept("^"):
            return Node("^", (base, self.nested(self.signed)))
        if self.next.kind == "power":
            return Node("^", (base, Node("number", value=self.superscript())))
        return base

    def superscript(self) -> float:
        text = self.next.text
        self.index += 1
        return float("".join(EXPONENT_DIGITS[digit] for digit in text))

    def atom(self) -> Node:
        problem, token = self.mismatch("a number, x, y or ‘(’"), self.next
        self.index += 1
        if token.kind == "number":
            return Node("number", value=float(token.text))
        if token.kind == "name":
            return self.name(token.text, token.at)
        if token.text == "(":
            return self.bracket(token.at)
        if token.text == "|":
            return self.absolute(token.at)
        if token.text != "√":
            self.fail(token.at, problem)
        root = Node("sqrt", (self.nested(self.atom),))
        if self.next.kind == "power" or self.next.text == "^":
            self.fail(self.next.at, "a power after a root can mean two things; write √(x²) or (√x)²")
        return root

    def name(self, name: str, at: int) -> Node:
        if name in ("x", "y"):
            return Node(name)
        if name in CONSTANTS:
            return Node("number", value=CONSTANTS[name])
        if name not in FUNCTIONS and name not in EXTREMES:
            problem = f"there is no ‘{name}’"
            better = _with_alternative(problem, name)
            names = ", ".join([*FUNCTIONS, *EXTREMES])
            self.fail(at, better if better != problem else f"{problem}; there are x, y, pi, e and {names}")
        start = self.next.at
        if not self.accept("("):
            self.fail(start, f"expected ‘(’ after {name}, found {self.word}")
        return self.call(name, start)

    def call(self, name: str, start: int) -> Node:
        outside, self.bars = self.bars, 0
        parts = [self.nested(self.sum)]
        while self.next.text == ",":
            if name in FUNCTIONS:
                self.fail(self.next.at, f"{name} has one argument; write decimals with a point, such as 0.5")
            self.index += 1
            parts.append(self.nested(self.sum))
        self.close(start)
        self.bars = outside
        if name in FUNCTIONS:
            return Node(name, (parts[0],))
        if len(parts) < 2:
            self.fail(start, f"{name} has two arguments or more, such as {name}(x, y)")
        return reduce(lambda a, b: Node(name, (a, b)), parts)

    def bracket(self, start: int) -> Node:
        outside, self.bars = self.bars, 0
        node = self.nested(self.sum)
        self.close(start)
        self.bars = outside
        return node

    def close(self, start: int) -> None:
        if not self.accept(")"):
            self.fail(self.next.at, self.mismatch(f"‘)’ for the ‘(’ at character {start + 1}"))

    def absolute(self, start: int) -> Node:
        self.bars += 1
        node = self.nested(self.sum)
        if not self.accept("|"):
            self.fail(self.next.at, self.mismatch(f"‘|’ for the ‘|’ at character {start + 1}"))
        self.bars -= 1
        return Node("abs", (node,))

    @property
    def opens_bars(self) -> bool:
        return self.next.text == "|" and self.bars == 0

    def mismatch(self, target: str) -> str:
        return COMMA if self.next.text == "," else f"expected {target}, found {self.word}"

    def nested(self, part: Callable[[], Node]) -> Node:
        self.depth += 1
        if self.depth > MAX_EXPRESSION_DEPTH:
            self.fail(self.next.at, f"nested more than {MAX_EXPRESSION_DEPTH} deep")
        node = part()
        self.depth -= 1
        return node

    @property
    def next(self) -> _Token:
        return self.tokens[self.index]

    @property
    def word(self) -> str:
        return "the end" if self.next.kind == "end" else f"‘{self.next.text}’"

    def accept(self, *signs: str) -> str:
        """Consumes and returns the next token if it is one of these signs; else ""."""
        kind, text, _ = self.next
        if kind != "sign" or text not in signs:
            return ""
        self.index += 1
        return text

    def fail(self, at: int, problem: str) -> NoReturn:
        raise ExpressionError(self.text, at, problem)
