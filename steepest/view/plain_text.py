"""Text as terminals and pipes can show it: control characters are made visible, and what an encoding lacks is replaced.

Where an encoding has no Greek, arrows or bars, the nearest ASCII is written instead.

A POSIX locale without UTF-8 (cron, containers) writes ASCII, Windows writes cp1252 or gbk where output is a pipe.
"""

import codecs
import contextlib
import io
import shlex
import unicodedata
from typing import TextIO

HANDLER = "steepest.nearest_ascii"
"""Name of the error handler, for `codecs`."""
NEAREST = {
    "▁": "_", "▂": ".", "▃": "-", "▄": "-", "▅": "=", "▆": "=", "▇": "#", "█": "#", "·": "|", "—": "-", "–": "-",
    "−": "-", "×": "x", "÷": "/", "√": "sqrt", "∞": "inf", "←": "<-", "→": "->", "≤": "<=", "≥": ">=", "≈": "~",
    "±": "+-", "‖": "||", "∇": "grad ", "∈": " in ", "∑": "sum", "…": "...", "“": '"', "”": '"', "‘": "'", "’": "'",
    "ˆ": "^", "⁄": "/", "✓": "ok",
    "α": "alpha", "β": "beta", "γ": "gamma", "δ": "delta", "ε": "eps", "λ": "lambda", "μ": "mu", "π": "pi", "ρ": "rho",
    "σ": "sigma", "τ": "tau", "Δ": "Delta", "Σ": "Sum ",
}  # fmt: skip

JOINERS = "\u200c\u200d"
"""Zero-width joiners, which writing systems and emoji need."""


def nearest_ascii(text: str) -> str:
    """The text in ASCII: signs by their names, letters and digits without accents, other characters as "?".

    >>> nearest_ascii("w ← w − α ∇L, v₁ ≥ 1·10⁻³")
    'w <- w - alpha grad L, v1 >= 1|10-3'
    """
    return "".join(map(_nearest, text))


def _nearest(character: str) -> str:
    if character in NEAREST:
        return NEAREST[character]
    plain = "".join(NEAREST.get(c, c) for c in unicodedata.normalize("NFKD", character))
    return plain.encode("ascii", "ignore").decode("ascii") or ("" if unicodedata.combining(character) else "?")


def visible(text: str, keep: str = "") -> str:
    """The text with characters that steer a terminal, or turn the direction of writing, as escapes.

    Args:
        text: of a user, or from a file.
        keep: characters that stay, such as line ends.

    >>> print(visible("red \\x1b[31m, two\\nlines, \\u202ereversed"))
    red \\x1b[31m, two\\nlines, \\u202ereversed
    """
    if text.isprintable():
        return text
    return "".join(c if c in keep or _is_harmless(c) else c.encode("unicode_escape").decode("ascii") for c in text)


def shell_word(text: str) -> str:
    """The text as one word of a command that people copy; empty where it cannot be shown as it is.

    >>> shell_word("digits"), shell_word("my task.py"), shell_word("x; rm -rf ~"), shell_word("a\\rb")
    ('digits', "'my task.py'", "'x; rm -rf ~'", '')
    """
    return shlex.quote(text) if text.isprintable() else ""


def _is_harmless(character: str) -> bool:
    """Whether a character only shows itself; joiners are parts of letters and emoji."""
    return character.isprintable() or character in JOINERS or unicodedata.category(character) == "Zs"


def _replace(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return nearest_ascii(error.object[error.start : error.end]), error.end


codecs.register_error(HANDLER, _replace)


def encodable(text: str, stream: TextIO) -> str:
    """The text as the stream's encoding can write it."""
    try:
        text.encode(getattr(stream, "encoding", None) or "utf-8")
    except (UnicodeEncodeError, LookupError):
        return nearest_ascii(text)
    return text


def accept_all_text(*streams: TextIO) -> None:
    """Lets streams write any text: what their encoding lacks is written as the nearest ASCII."""
    for stream in streams:
        if isinstance(stream, io.TextIOWrapper):
            with contextlib.suppress(OSError, ValueError):  # closed, or replaced by a program that holds it
                stream.reconfigure(errors=HANDLER)
