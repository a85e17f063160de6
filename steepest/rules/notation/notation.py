"""Writes terms: `Notation` places the parentheses, its subclasses format fractions, roots and names.

The notations are `latex` for the manual, `mathml` for the page and `plain` for the terminal.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable
from typing import NamedTuple, TypeVar

from steepest.rules.notation.terms import Line, Term, lines
from steepest.rules.rule import Rule

GREEK = {
    "alpha": "α", "beta": "β", "gamma": "γ", "delta": "δ", "eps": "ε", "epsilon": "ε", "zeta": "ζ", "eta": "η",
    "theta": "θ", "kappa": "κ", "lam": "λ", "mu": "μ", "nu": "ν", "xi": "ξ", "rho": "ρ", "sigma": "σ", "tau": "τ",
    "phi": "φ", "psi": "ψ", "omega": "ω", "lr": "α", "weight_decay": "λ",
}  # fmt: skip
ACCENTS = ("hat", "bar", "tilde")


class Symbol(NamedTuple):
    """A name in print: a letter with an accent and a subscript, or a word."""

    letter: str
    accent: str = ""
    below: str = ""

    @property
    def is_word(self) -> bool:
        return len(self.letter) > 1


def symbols(names: Iterable[str]) -> dict[str, Symbol]:
    """The symbol of each name; a name whose symbol is already used is written as a word.

    >>> symbols(["beta1", "m_hat", "lr", "alpha"])["beta1"]
    Symbol(letter='β', accent='', below='1')
    """
    result: dict[str, Symbol] = {}
    for name in names:
        symbol = _symbol(name)
        result[name] = Symbol(name.replace("_", " ")) if symbol in result.values() else symbol
    return result


def _symbol(name: str) -> Symbol:
    if name in GREEK:
        return Symbol(GREEK[name])
    first, *rest = name.split("_")
    base = first.rstrip("0123456789")
    letter = GREEK.get(base, base)
    if len(letter) != 1:
        return Symbol(name.replace("_", " "))
    accents = [part for part in rest if part in ACCENTS]
    index = [first[len(base) :], *(part for part in rest if part not in ACCENTS)]
    return Symbol(letter, accents[0] if accents else "", ",".join(filter(None, index)))


INFIX_SIGNS = {"lt": "<", "le": "≤", "gt": ">", "ge": "≥", "eq": "=", "ne": "≠", "and": "∧", "or": "∨"}
FUNCTION_NAMES = {"maximum": "max", "minimum": "min", "sign": "sign", "exp": "exp", "log": "log"}

LOGIC, RELATION, SUM, PRODUCT, POWER, ATOM = range(6)
"""Precedence levels; an expression inside one of higher precedence gets parentheses."""

LEVELS = {
    "where": LOGIC, "and": LOGIC, "or": LOGIC, "sum": SUM, "neg": SUM, "product": PRODUCT, "power": POWER, "not": POWER,
}  # fmt: skip


class Notation(ABC):
    """A way to write terms. The defaults write a line of text.

    Args:
        names: all names in the order in which they take their symbols.
    """

    slash = ATOM
    """The precedence of a fraction."""
    times = " · "
    """The sign before a factor that begins with a digit."""

    def __init__(self, names: Iterable[str]) -> None:
        self._symbols = symbols(names)

    def write(self, term: Term, level: int = LOGIC) -> str:
        """The term, in parentheses if its precedence is below `level`."""
        text = self._text(term)
        return self.enclose("(", text, ")") if self._level(term) < level else text

    def name(self, name: str) -> str:
        """A name as its symbol."""
        return self.symbol(self._symbols[name])

    def _level(self, term: Term) -> int:
        match term.op:
            case "number":
                return PRODUCT if "e" in repr(term.value) else ATOM
            case "fraction":
                return self.slash
            case op:
                return LEVELS.get(op, RELATION if op in INFIX_SIGNS else ATOM)

    def _text(self, term: Term) -> str:
        parts = term.parts
        match term.op:
            case "name":
                return self.name(term.value)
            case "number":
                return self.number(term.value)
            case "sum":
                return self.row(self._summand(p, is_first=n == 0) for n, p in enumerate(parts))
            case "neg":
                return self.row([self.sign("−"), self.write(parts[0], PRODUCT)])
            case "product":
                return self.product([(self.write(p, POWER), _begins_with_digit(p)) for p in parts])
            case "fraction" if self.slash == ATOM:
                return self.fraction(self.write(parts[0]), self.write(parts[1]))
            case "fraction":  # on one line, numerator and denominator need parentheses of their own
                return self.fraction(self.write(parts[0], PRODUCT), self.write(parts[1], POWER))
            case "power":
                return self.power(self.write(parts[0], ATOM if parts[0].op != "fraction" else ATOM + 1), parts[1])
            case "sqrt":
                return self.root(parts[0])
            case "abs":
                return self.enclose("|", self.write(parts[0]), "|")
            case "where":
                return self.cases(*(self.write(p) for p in parts))
            case "not":
                return self.row([self.sign("¬"), self.write(parts[0], ATOM)])
            case op if op in INFIX_SIGNS:
                return self.row([self.write(parts[0], SUM), self.operator(INFIX_SIGNS[op]), self.write(parts[1], SUM)])
            case op:
                return self.function(FUNCTION_NAMES[op], [self.write(p) for p in parts])

    def _summand(self, term: Term, is_first: bool) -> str:
        if term.op == "neg":
            minus = self.sign("−") if is_first else self.operator("−")
            return self.row([minus, self.write(term.parts[0], PRODUCT)])
        return self.write(term, PRODUCT) if is_first else self.row([self.operator("+"), self.write(term, PRODUCT)])

    @abstractmethod
    def symbol(self, symbol: Symbol) -> str:
        """A name."""

    @abstractmethod
    def number(self, value: float) -> str:
        """A number ≥ 0."""

    @abstractmethod
    def fraction(self, above: str, below: str) -> str: ...

    @abstractmethod
    def power(self, base: str, exponent: Term) -> str: ...

    @abstractmethod
    def root(self, of: Term) -> str: ...

    @abstractmethod
    def cases(self, condition: str, then: str, otherwise: str) -> str: ...

    def sign(self, sign: str) -> str:
        """A prefix sign."""
        return sign

    def operator(self, sign: str) -> str:
        """An infix sign."""
        return f" {self.sign(sign)} "

    def row(self, parts: Iterable[str]) -> str:
        """Parts one after another."""
        return "".join(parts)

    def product(self, factors: list[tuple[str, bool]]) -> str:
        """A product of factors (text, whether it begins with a digit)."""
        (first, _), *others = factors
        return first + "".join(f"{self.times if has_digit else ' '}{text}" for text, has_digit in others)

    def enclose(self, left: str, inside: str, right: str) -> str:
        """A term in brackets."""
        return f"{left}{inside}{right}"

    def function(self, name: str, arguments: list[str]) -> str:
        """A function call."""
        return name + self.enclose("(", ", ".join(arguments), ")")


NotationType = TypeVar("NotationType", bound=Notation)


def read(kind: type[NotationType], rule: Rule, zero: Collection[str] = ()) -> tuple[NotationType, tuple[Line, ...]]:
    """A notation for a rule's names, and the rule's assignments; `zero` as in `terms.lines`."""
    assignments = lines(rule, zero)
    names = [name for line in assignments for name in (line.name, *line.term.names())]
    return kind(dict.fromkeys([*rule.hypers, *names])), assignments


def split_power(value: float) -> tuple[str, int]:
    """A number as (digits, power of ten); the digits are empty if they are 1."""
    if math.isinf(value):
        return "∞", 0
    digits, _, power = f"{value:.15g}".partition("e")
    return ("" if power and digits == "1" else digits), int(power or 0)


def _begins_with_digit(term: Term) -> bool:
    return term.op == "number" or (term.op == "power" and _begins_with_digit(term.parts[0]))
