"""A rule in Unicode, a line for each assignment, for the terminal."""

import unicodedata
from collections.abc import Iterable

from steepest.rules.notation.notation import ATOM, PRODUCT, Notation, Symbol, read
from steepest.rules.notation.terms import Term
from steepest.rules.rule import Rule

HATS = {"hat": "\u0302", "bar": "\u0304", "tilde": "\u0303"}
SUBSCRIPTS = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")
SUPERSCRIPTS = str.maketrans("0123456789t", "⁰¹²³⁴⁵⁶⁷⁸⁹ᵗ")


class _Plain(Notation):
    slash = PRODUCT

    def symbol(self, symbol: Symbol) -> str:
        index = symbol.below.translate(SUBSCRIPTS) if symbol.below.isdigit() else f"_{symbol.below}"
        return symbol.letter.replace(" ", "_") + HATS.get(symbol.accent, "") + (index if symbol.below else "")

    def number(self, value: float) -> str:
        return f"{value:.15g}"

    def sign(self, sign: str) -> str:
        return sign

    def operator(self, sign: str) -> str:
        return f" {sign} "

    def row(self, parts: Iterable[str]) -> str:
        return "".join(parts)

    def product(self, factors: list[tuple[str, bool]]) -> str:
        first, *others = factors
        return first[0] + "".join(f" · {text}" if digits else f" {text}" for text, digits in others)

    def fraction(self, above: str, below: str) -> str:
        return f"{above} / {below}"

    def power(self, base: str, exponent: Term) -> str:
        text = self.write(exponent, ATOM)
        raised = text.translate(SUPERSCRIPTS)
        return base + (raised if not set(text) - set("0123456789t") else f"^{text}")

    def root(self, of: Term) -> str:
        return f"√{self.write(of, ATOM)}"

    def fenced(self, left: str, inside: str, right: str) -> str:
        return f"{left}{inside}{right}"

    def cases(self, condition: str, then: str, otherwise: str) -> str:
        return f"{then} if {condition}, else {otherwise}"

    def function(self, name: str, arguments: list[str]) -> str:
        return f"{name}({', '.join(arguments)})"


def to_text(rule: Rule) -> str:
    """A rule's assignments for a terminal.

    >>> from steepest.rules.textbook import momentum
    >>> print(to_text(momentum))
    g ← g + λ w
    v ← β v + g
    w ← w − α v
    """
    notation, found = read(_Plain, rule)
    width = max(_width(notation.named(line.name)) for line in found)
    padded = [(notation.named(line.name), notation.write(line.term)) for line in found]
    return "\n".join(f"{name}{' ' * (width - _width(name))} ← {term}" for name, term in padded)


def _width(text: str) -> int:
    return sum(not unicodedata.combining(c) for c in text)
