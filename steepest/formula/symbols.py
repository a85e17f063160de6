"""How the names in a formula look in print: `beta1` is β with an index 1, `m_hat` an m with a hat, `lr` the rate α."""

from collections.abc import Iterable
from typing import NamedTuple

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
