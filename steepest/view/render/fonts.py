"""Letters: the page's own fonts, taken out of the page, where Pillow can read them; else those of matplotlib."""

import base64
import functools
import io
import re
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import numpy as np

FACE = re.compile(r"@font-face\{([^}]*?)src:url\(data:font/woff2;base64,([^)]*)\)")
SUBSTITUTES = {
    "sans": "DejaVuSans.ttf", "bold": "DejaVuSans-Bold.ttf", "serif": "DejaVuSerif.ttf",
    "italic": "DejaVuSerif-Italic.ttf",
}  # fmt: skip
BOLD = 600
FINER = 4
"""Letters are set so many times as large and made smaller: Pillow puts each on a whole pixel."""
NOWHERE = "\U0010fffe"
"""A character that no font has."""


@dataclass(frozen=True)
class Font:
    """A font of a size.

    Attributes:
        style: sans, bold, serif or italic.
        size: in pixels.
    """

    style: str
    size: float


@functools.lru_cache(4096)
def advance(text: str, font: Font) -> float:
    """The width of a line of text in pixels.

    >>> advance("saddle", Font("italic", 28)) == 2 * advance("saddle", Font("italic", 14)) > 0
    True
    """
    return sum(piece.getlength(part, features=_features()) for piece, part in _runs(text, font)) / FINER


@functools.lru_cache(4096)
def mask(text: str, font: Font, halo: float, phase: float) -> tuple[np.ndarray, int, int]:
    """A line of text as coverage [h, w] of 0 … 255, and where its upper left lies, seen from where its baseline begins.

    Args:
        text: one line.
        font: its font.
        halo: how much wider than the letters, on each side, in pixels.
        phase: share of a pixel by which it begins farther right.
    """
    pieces = []
    at = phase * FINER
    for piece, part in _runs(text, font):
        core, (left, top) = piece.getmask2(part, "L", None, _features(), None, halo * FINER, "ls")
        pieces.append((np.array(core, np.uint8).reshape(core.size[::-1]), round(at) + left, top))
        at += piece.getlength(part, features=_features())
    pieces = [piece for piece in pieces if piece[0].size]
    if not pieces:
        return np.zeros((0, 0), np.uint8), 0, 0
    left, top = (min(piece[k] for piece in pieces) // FINER for k in (1, 2))
    right, bottom = (-(-max(piece[k] + piece[0].shape[2 - k] for piece in pieces) // FINER) for k in (1, 2))
    whole = np.zeros(((bottom - top) * FINER, (right - left) * FINER), np.uint8)
    for cover, x, y in pieces:
        i, j = x - left * FINER, y - top * FINER
        part = whole[j : j + cover.shape[0], i : i + cover.shape[1]]
        np.maximum(part, cover, out=part)
    blocks = whole.reshape(bottom - top, FINER, right - left, FINER).astype(np.float32)
    return np.round(blocks.mean((1, 3))).astype(np.uint8), left, top


def _runs(text: str, font: Font) -> list[tuple[Any, str]]:
    """The text cut where the font changes: the first font that has a character draws it."""
    faces = _faces(font)
    runs: list[tuple[Any, str]] = []
    for character in text:
        face = next((f for f in faces if _has(f, character)), faces[0])
        if runs and runs[-1][0] is face:
            runs[-1] = (face, runs[-1][1] + character)
        else:
            runs.append((face, character))
    return runs


@functools.lru_cache(4096)
def _has(face: Any, character: str) -> bool:
    """Whether a font has a character: what it draws is not what it draws for one that is nowhere."""
    return character.isspace() or bytes(face.getmask(character)) != bytes(face.getmask(NOWHERE))


@functools.cache
def _features() -> list[str] | None:
    """Figures of one width, where Pillow has the library that knows of such things."""
    from PIL import features

    return ["tnum"] if features.check("raqm") else None


@functools.cache
def _faces(font: Font) -> tuple[Any, ...]:
    """The fonts of a style at a size, the ones to prefer first."""
    from PIL import ImageFont

    made = []
    for file in _embedded().get("sans" if font.style == "bold" else font.style, ()):
        try:
            face = ImageFont.truetype(io.BytesIO(file), font.size * FINER)
        except OSError:  # this Pillow's FreeType was built without WOFF2
            continue
        if font.style == "bold":
            face.set_variation_by_axes([BOLD])
        made.append(face)
    return (*made, ImageFont.truetype(_substitute(font.style), font.size * FINER))


def _substitute(style: str) -> str:
    from matplotlib import get_data_path

    return f"{get_data_path()}/fonts/ttf/{SUBSTITUTES[style]}"


@functools.cache
def _embedded() -> dict[str, tuple[bytes, ...]]:
    """The page's fonts by style, in the order in which it has them."""
    page = files("steepest.view.film").joinpath("page.html").read_text(encoding="utf-8")
    found: dict[str, tuple[bytes, ...]] = {}
    for declared, data in FACE.findall(page):
        style = "italic" if "italic" in declared else "serif" if "Serif" in declared else "sans"
        found[style] = (*found.get(style, ()), base64.b64decode(data))
    return found
