"""A rule in Unicode, one line per assignment, for the terminal."""

import unicodedata

from steepest.rules.notation.notation import ATOM, PRODUCT, Notation, Symbol, read
from steepest.rules.notation.terms import Term
from steepest.rules.rule import Rule

COMBINING_ACCENTS = {"hat": "\u0302", "bar": "\u0304", "tilde": "\u0303"}
SUBSCRIPTS = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")
SUPERSCRIPT_OF = str.maketrans("0123456789t", "⁰¹²³⁴⁵⁶⁷⁸⁹ᵗ")


class _Plain(Notation):
    slash = PRODUCT

    def symbol(self, symbol: Symbol) -> str:
        index = symbol.below.translate(SUBSCRIPTS) if symbol.below.isdigit() else f"_{symbol.below}"
        accent = COMBINING_ACCENTS.get(symbol.accent, "")
        return symbol.letter.replace(" ", "_") + accent + (index if symbol.below else "")

    def number(self, value: float) -> str:
        return f"{value:.15g}"

    def fraction(self, above: str, below: str) -> str:
        return f"{above} / {below}"

    def power(self, base: str, exponent: Term) -> str:
        text = self.write(exponent, ATOM)
        has_superscripts = not set(text) - set("0123456789t")
        return base + (text.translate(SUPERSCRIPT_OF) if has_superscripts else f"^{text}")

    def root(self, of: Term) -> str:
        return f"√{self.write(of, ATOM)}"

    def cases(self, condition: str, then: str, otherwise: str) -> str:
        return f"{then} if {condition}, else {otherwise}"


def to_text(rule: Rule) -> str:
    """A rule's assignments for a terminal.

    >>> from steepest.rules.textbook import momentum
    >>> print(to_text(momentum))
    g ← g + λ w
    v ← β v + g
    w ← w − α v
    """
    notation, assignments = read(_Plain, rule)
    rows = [(notation.name(line.name), notation.write(line.term)) for line in assignments]
    width = max(_width(name) for name, _ in rows)
    return "\n".join(f"{name}{' ' * (width - _width(name))} ← {term}" for name, term in rows)


def _width(text: str) -> int:
    return sum(not unicodedata.combining(c) for c in text)
