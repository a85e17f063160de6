"""A rule in LaTeX, for the manual."""

from steepest.rules.notation.notation import Notation, Symbol, read, split_power
from steepest.rules.notation.terms import Term
from steepest.rules.rule import Rule

GREEK_COMMANDS = {
    "α": "alpha", "β": "beta", "γ": "gamma", "δ": "delta", "ε": "varepsilon", "ζ": "zeta", "η": "eta", "θ": "theta",
    "κ": "kappa", "λ": "lambda", "μ": "mu", "ν": "nu", "ξ": "xi", "ρ": "rho", "σ": "sigma", "τ": "tau", "φ": "varphi",
    "ψ": "psi", "ω": "omega",
}  # fmt: skip
SIGN_COMMANDS = {"≤": r"\le", "≥": r"\ge", "≠": r"\ne", "∧": r"\land", "∨": r"\lor", "¬": r"\neg", "−": "-"}


class _Latex(Notation):
    times = r" \cdot "

    def symbol(self, symbol: Symbol) -> str:
        letter = f"\\{GREEK_COMMANDS[symbol.letter]}" if symbol.letter in GREEK_COMMANDS else symbol.letter
        if symbol.is_word:
            return rf"\operatorname{{{symbol.letter.replace(' ', chr(92) + ' ')}}}"
        letter = rf"\{symbol.accent}{{{letter}}}" if symbol.accent else letter
        index = symbol.below if len(symbol.below) < 2 or symbol.below.isdigit() else rf"\mathrm{{{symbol.below}}}"
        return f"{letter}_{{{index}}}" if index else letter

    def number(self, value: float) -> str:
        digits, power = split_power(value)
        return {"": f"10^{{{power}}}"}.get(digits, rf"{digits} \cdot 10^{{{power}}}") if power else digits

    def sign(self, sign: str) -> str:
        return SIGN_COMMANDS.get(sign, sign)

    def fraction(self, above: str, below: str) -> str:
        return rf"\frac{{{above}}}{{{below}}}"

    def power(self, base: str, exponent: Term) -> str:
        return f"{base}^{{{self.write(exponent)}}}"

    def root(self, of: Term) -> str:
        return rf"\sqrt{{{self.write(of)}}}"

    def enclose(self, left: str, inside: str, right: str) -> str:
        return rf"\left{left}{inside}\right{right}"

    def cases(self, condition: str, then: str, otherwise: str) -> str:
        lines = rf"{then} & \text{{if }} {condition} \\ {otherwise} & \text{{otherwise}}"
        return rf"\begin{{cases}} {lines} \end{{cases}}"

    def function(self, name: str, arguments: list[str]) -> str:
        return super().function(rf"\operatorname{{{name}}}" if name == "sign" else rf"\{name}", arguments)


def to_latex(rule: Rule) -> str:
    """A rule's assignments in LaTeX, aligned at their arrows.

    >>> from steepest.rules.textbook import gradient_descent
    >>> print(to_latex(gradient_descent))
    \\begin{aligned}
    g &\\leftarrow g + \\lambda w \\\\
    w &\\leftarrow w - \\alpha g
    \\end{aligned}
    """
    notation, assignments = read(_Latex, rule)
    rows = [rf"{notation.name(line.name)} &\leftarrow {notation.write(line.term)}" for line in assignments]
    return "\n".join([r"\begin{aligned}", " \\\\\n".join(rows), r"\end{aligned}"])
