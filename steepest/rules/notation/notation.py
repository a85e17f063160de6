"""GroupSpec written down: one walk decides where parentheses stand, a notation how a fraction, a root or a name looks.

The notations: `formula.latex` for the manual, `formula.mathml` for the page, `formula.plain` for the terminal.
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
    """How a name looks: a letter, an accent on it and an index below; or a word."""

    letter: str
    accent: str = ""
    below: str = ""

    @property
    def is_word(self) -> bool:
        return len(self.letter) > 1


def symbols(names: Iterable[str]) -> dict[str, Symbol]:
    """How each name looks, no two alike: the second that would be is written out as a word.

    >>> symbols(["beta1", "m_hat", "lr", "alpha"])["beta1"]
    Symbol(letter='β', accent='', below='1')
    """
    found: dict[str, Symbol] = {}
    for name in names:
        symbol = _symbol(name)
        found[name] = Symbol(name.replace("_", " ")) if symbol in found.values() else symbol
    return found


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


SIGNS = {"lt": "<", "le": "≤", "gt": ">", "ge": "≥", "eq": "=", "ne": "≠", "and": "∧", "or": "∨"}
FUNCTIONS = {"maximum": "max", "minimum": "min", "sign": "sign", "exp": "exp", "log": "log"}

LOGIC, RELATION, SUM, PRODUCT, POWER, ATOM = range(6)
"""How tightly an expression holds together; a looser one inside a tighter one stands in parentheses."""

LEVELS = {
    "where": LOGIC, "and": LOGIC, "or": LOGIC, "sum": SUM, "neg": SUM, "product": PRODUCT, "power": POWER, "not": POWER,
}  # fmt: skip


class Notation(ABC):
    """A way to write terms; a subclass says how the parts look.

    Args:
        names: those that occur, in the order in which they take their symbols.
    """

    slash = ATOM
    """How tightly a fraction holds together."""

    def __init__(self, names: Iterable[str]) -> None:
        self._symbols = symbols(names)

    def write(self, term: Term, least: int = LOGIC) -> str:
        """The term, in parentheses where it holds together less than `least`."""
        level = self._level(term)
        text = self._text(term)
        return self.fenced("(", text, ")") if level < least else text

    def named(self, name: str) -> str:
        """A name."""
        return self.symbol(self._symbols[name])

    def _level(self, term: Term) -> int:
        match term.op:
            case "number":
                return PRODUCT if "e" in repr(term.value) else ATOM
            case "fraction":
                return self.slash
            case op:
                return LEVELS.get(op, RELATION if op in SIGNS else ATOM)

    def _text(self, term: Term) -> str:
        parts = term.parts
        match term.op:
            case "name":
                return self.named(term.value)
            case "number":
                return self.number(term.value)
            case "sum":
                return self.row(self._signed(p, first=n == 0) for n, p in enumerate(parts))
            case "neg":
                return self.row([self.sign("−"), self.write(parts[0], PRODUCT)])
            case "product":
                return self.product([(self.write(p, POWER), _is_digits(p)) for p in parts])
            case "fraction":
                return self.fraction(*self._over(parts[0], parts[1]))
            case "power":
                return self.power(self.write(parts[0], ATOM if parts[0].op != "fraction" else ATOM + 1), parts[1])
            case "sqrt":
                return self.root(parts[0])
            case "abs":
                return self.fenced("|", self.write(parts[0]), "|")
            case "where":
                return self.cases(*(self.write(p) for p in parts))
            case "not":
                return self.row([self.sign("¬"), self.write(parts[0], ATOM)])
            case op if op in SIGNS:
                return self.row([self.write(parts[0], SUM), self.operator(SIGNS[op]), self.write(parts[1], SUM)])
            case op:
                return self.function(FUNCTIONS[op], [self.write(p) for p in parts])

    def _signed(self, term: Term, first: bool) -> str:
        if term.op == "neg":
            minus = self.sign("−") if first else self.operator("−")
            return self.row([minus, self.write(term.parts[0], PRODUCT)])
        return self.write(term, PRODUCT) if first else self.row([self.operator("+"), self.write(term, PRODUCT)])

    def _over(self, above: Term, below: Term) -> tuple[str, str]:
        """Numerator and denominator; on one line they need parentheses of their own."""
        if self.slash == ATOM:
            return self.write(above), self.write(below)
        return self.write(above, PRODUCT), self.write(below, POWER)

    @abstractmethod
    def symbol(self, symbol: Symbol) -> str:
        """A name."""

    @abstractmethod
    def number(self, value: float) -> str:
        """A number that is not negative."""

    @abstractmethod
    def sign(self, sign: str) -> str:
        """A sign before one operand."""

    @abstractmethod
    def operator(self, sign: str) -> str:
        """A sign between two."""

    @abstractmethod
    def row(self, parts: Iterable[str]) -> str:
        """One after another."""

    @abstractmethod
    def product(self, factors: list[tuple[str, bool]]) -> str:
        """Factors, each with whether it begins with a digit, which another factor must not touch."""

    @abstractmethod
    def fraction(self, above: str, below: str) -> str: ...

    @abstractmethod
    def power(self, base: str, exponent: Term) -> str: ...

    @abstractmethod
    def root(self, of: Term) -> str: ...

    @abstractmethod
    def fenced(self, left: str, inside: str, right: str) -> str: ...

    @abstractmethod
    def cases(self, condition: str, then: str, otherwise: str) -> str: ...

    @abstractmethod
    def function(self, name: str, arguments: list[str]) -> str: ...


Written = TypeVar("Written", bound=Notation)


def read(kind: type[Written], rule: Rule, zero: Collection[str] = ()) -> tuple[Written, tuple[Line, ...]]:
    """A notation that knows a rule's names, and the rule's assignments; `zero` as in `maths.lines`."""
    found = lines(rule, zero)
    inside = [name for line in found for name in (line.name, *line.term.names())]
    return kind(dict.fromkeys([*rule.hypers, *inside])), found


def spelled(value: float) -> tuple[str, int]:
    """(digits, power of ten); no digits where they are 1."""
    if math.isinf(value):
        return "∞", 0
    digits, _, power = f"{value:.15g}".partition("e")
    return ("" if power and digits == "1" else digits), int(power or 0)


def _is_digits(term: Term) -> bool:
    """Whether it begins with a digit in print."""
    return term.op == "number" or (term.op == "power" and _is_digits(term.parts[0]))
