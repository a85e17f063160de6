"""A rule in MathML Core, for the page."""

from collections.abc import Collection, Iterable
from xml.sax.saxutils import escape

from steepest.rules.notation.notation import Notation, Symbol, read, split_power
from steepest.rules.notation.terms import Term
from steepest.rules.rule import Rule

ACCENT_MARKS = {"hat": "^", "bar": "¯", "tilde": "~"}


class _MathML(Notation):
    highlight: Collection[str] = ()

    def name(self, name: str) -> str:
        text = super().name(name)
        return f'<mrow class="hl">{text}</mrow>' if name in self.highlight else text

    def symbol(self, symbol: Symbol) -> str:
        letter = f"<mi>{escape(symbol.letter)}</mi>"
        if symbol.accent:
            letter = f'<mover accent="true">{letter}<mo stretchy="false">{ACCENT_MARKS[symbol.accent]}</mo></mover>'
        index = f"<mn>{symbol.below}</mn>" if symbol.below.isdigit() else f"<mi>{escape(symbol.below)}</mi>"
        return f"<msub>{letter}{index}</msub>" if symbol.below else letter

    def number(self, value: float) -> str:
        digits, power = split_power(value)
        ten = f"<msup><mn>10</mn>{_integer(power)}</msup>" if power else ""
        return self.row(
            filter(None, [f"<mn>{digits}</mn>" if digits else "", "<mo>⋅</mo>" * bool(digits and ten), ten])
        )

    def sign(self, sign: str) -> str:
        return f'<mo form="prefix">{sign}</mo>'

    def operator(self, sign: str) -> str:
        return f'<mo form="infix">{escape(sign)}</mo>'  # the first in a row would be parsed as a prefix

    def row(self, parts: Iterable[str]) -> str:
        return f"<mrow>{''.join(parts)}</mrow>"

    def product(self, factors: list[tuple[str, bool]]) -> str:
        first, *others = factors
        return self.row([first[0], *(f"<mo>{'⋅' if digits else '&#x2062;'}</mo>{text}" for text, digits in others)])

    def fraction(self, above: str, below: str) -> str:
        return f"<mfrac>{above}{below}</mfrac>"

    def power(self, base: str, exponent: Term) -> str:
        return f"<msup>{base}{self.write(exponent)}</msup>"

    def root(self, of: Term) -> str:
        return f"<msqrt>{self.write(of)}</msqrt>"

    def enclose(self, left: str, inside: str, right: str) -> str:
        return self.row([f'<mo form="prefix">{left}</mo>', inside, f'<mo form="postfix">{right}</mo>'])

    def cases(self, condition: str, then: str, otherwise: str) -> str:
        rows = f"<mtr><mtd>{then}</mtd><mtd><mtext>if </mtext>{condition}</mtd></mtr>"
        rows += f"<mtr><mtd>{otherwise}</mtd><mtd><mtext>otherwise</mtext></mtd></mtr>"
        return self.row(['<mo form="prefix">{</mo>', f"<mtable>{rows}</mtable>"])

    def function(self, name: str, arguments: list[str]) -> str:
        return self.row([f"<mi>{name}</mi><mo>&#x2061;</mo>", self.enclose("(", "<mo>,</mo>".join(arguments), ")")])


def to_mathml(rule: Rule, highlight: Collection[str] = (), zero: Collection[str] = ()) -> str:
    """A rule's assignments as one MathML element, a table with a row for each.

    Args:
        rule: the rule.
        highlight: hyperparameters to mark with `class="hl"`.
        zero: hyperparameters that are 0: terms multiplied by them are omitted.
    """
    notation, assignments = read(_MathML, rule, zero)
    notation.highlight = highlight
    rows = "".join(
        f'<mtr><mtd style="text-align:right">{notation.name(line.name)}</mtd><mtd><mo>←</mo></mtd>'
        f'<mtd style="text-align:left">{notation.write(line.term)}</mtd></mtr>'
        for line in assignments
    )
    return (
        '<math xmlns="http://www.w3.org/1998/Math/MathML" display="block">'
        f'<mtable displaystyle="true">{rows}</mtable></math>'
    )


def _integer(value: int) -> str:
    return f"<mn>{value}</mn>" if value >= 0 else f"<mrow><mo>−</mo><mn>{-value}</mn></mrow>"
