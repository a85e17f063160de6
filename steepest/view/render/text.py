"""Sentences: cut into lines, with phrases in colours."""

from typing import NamedTuple

from steepest.view.render.canvas import Canvas, measured
from steepest.view.render.fonts import Font

PLACES = (
    "a saddle", "a minimum", "a maximum", "the noise floor", "the edge of stability", "diverged", "undecided",
    "still descending",
)  # fmt: skip
"""Phrases of a run's headline that name where it ended."""
HALO = 3.0


class Word(NamedTuple):
    """A word and the pieces of it that wear colours."""

    pieces: tuple[tuple[str, str], ...]
    width: float


def words_of(sentence: str, phrases: list[tuple[str, str]], font: Font, ink: str) -> list[Word]:
    """A sentence's words; the first of each phrase that is found wears its colour.

    Args:
        sentence: the words.
        phrases: (phrase, colour).
        font: of all.
        ink: colour of the rest.
    """
    text = sentence.replace("± ", "±\u00a0")
    found = sorted((text.lower().find(phrase.lower()), len(phrase), colour) for phrase, colour in phrases if phrase)
    colours = [ink] * len(text)
    after = 0
    for at, length, colour in found:
        if at >= after:
            colours[at : at + length] = [colour] * length
            after = at + length
    words: list[Word] = []
    at = 0
    for word in text.split(" "):
        pieces: list[tuple[str, str]] = []
        for character, colour in zip(word, colours[at:]):
            if pieces and pieces[-1][1] == colour:
                pieces[-1] = (pieces[-1][0] + character, colour)
            else:
                pieces.append((character, colour))
        words.append(Word(tuple(pieces), sum(measured(text, font) for text, _ in pieces)))
        at += len(word) + 1
    return words


def broken(words: list[Word], width: float, space: float) -> list[list[Word]]:
    """Words in lines of at most this width, where a word allows it."""
    lines: list[list[Word]] = []
    used = 0.0
    for word in words:
        if lines and used + space + word.width <= width:
            lines[-1].append(word)
            used += space + word.width
        else:
            lines.append([word])
            used = word.width
    return lines


def balanced(words: list[Word], width: float, space: float) -> list[list[Word]]:
    """The same number of lines, as narrow as they can be."""
    count = len(broken(words, width, space))
    narrow, wide = 0.0, width
    while wide - narrow > 1:
        middle = (narrow + wide) / 2
        narrow, wide = (narrow, middle) if len(broken(words, middle, space)) <= count else (middle, wide)
    return broken(words, wide, space)


def draw_lines(
    canvas: Canvas, lines: list[list[Word]], x: float, y: float, font: Font, leading: float, halo: str | None = None
) -> float:
    """Writes lines, the first one's baseline at y; returns where the next one's would be.

    Args:
        canvas: on which.
        lines: of words.
        x: where they begin.
        y: the first baseline.
        font: of all.
        leading: from a baseline to the next.
        halo: colour around the letters, where they lie on something.
    """
    space = measured(" ", font)
    rim = (halo, HALO) if halo else None
    for line in lines:
        at = x
        for word in line:
            for text, colour in word.pieces:
                canvas.write(text, at, y, font, colour, halo=rim)
                at += measured(text, font)
            at += space
        y += leading
    return y


def draw_text(
    canvas: Canvas, text: str, x: float, y: float, width: float, font: Font, leading: float, colour: str,
    halo: str | None = None,
) -> float:  # fmt: skip
    """A paragraph of one colour; returns where the next baseline would be."""
    if not text:
        return y
    lines = broken(words_of(text, [], font, colour), width, measured(" ", font))
    return draw_lines(canvas, lines, x, y, font, leading, halo)


def shortened(text: str, font: Font, width: float) -> str:
    """A line that fits, its end left out where it must be."""
    if measured(text, font) <= width:
        return text
    while text and measured(text + "…", font) > width:
        text = text[:-1]
    return text.rstrip() + "…"
