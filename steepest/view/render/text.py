"""Paragraphs: broken into lines, with phrases in colours."""

from collections.abc import Sequence
from itertools import groupby

from steepest.view.render.canvas import Canvas, Font, text_width

NO_BREAK = "± ", "±\u00a0"


def wrap(text: str, font: Font, width: float) -> list[str]:
    """A text in lines of at most this width, where its words allow it."""
    lines: list[str] = []
    for word in text.replace(*NO_BREAK).split(" "):
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and text_width(longer, font) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


def balance(text: str, font: Font, width: float) -> list[str]:
    """The same number of lines, as narrow as they can be."""
    count = len(wrap(text, font, width))
    narrow, wide = 0.0, width
    while wide - narrow > 1:
        middle = (narrow + wide) / 2
        narrow, wide = (narrow, middle) if len(wrap(text, font, middle)) <= count else (middle, wide)
    return wrap(text, font, wide)


def phrase_colours(text: str, phrases: Sequence[tuple[str, str]], ink: str) -> list[str]:
    """The colour of each character: the first occurrence of each phrase has the phrase's own.

    Args:
        text: a sentence.
        phrases: (phrase, colour).
        ink: of all other characters.
    """
    colours = [ink] * len(text)
    places = sorted((text.lower().find(phrase.lower()), len(phrase), colour) for phrase, colour in phrases if phrase)
    end = 0
    for at, length, colour in places:
        if at >= end:
            end = at + length
            colours[at:end] = [colour] * length
    return colours


def draw_lines(
    canvas: Canvas, lines: list[str], x: float, y: float, font: Font, leading: float, colours: str | Sequence[str],
    halo: str | None = None,
) -> float:  # fmt: skip
    """Writes lines from a baseline on, in one colour or in one for each character; returns the next baseline."""
    at = 0
    for line in lines:
        end = x
        inks = [colours] * len(line) if isinstance(colours, str) else colours[at:]
        for ink, run in groupby(zip(line, inks), key=lambda pair: pair[1]):
            end += canvas.write("".join(character for character, _ in run), end, y, font, ink, halo=halo)
        at += len(line) + 1
        y += leading
    return y


def draw_text(
    canvas: Canvas, text: str, x: float, y: float, width: float, font: Font, leading: float, colour: str,
    halo: str | None = None,
) -> float:  # fmt: skip
    """Writes a paragraph of this width in one colour; returns the next baseline."""
    return draw_lines(canvas, wrap(text, font, width), x, y, font, leading, colour, halo) if text else y


def shorten(text: str, font: Font, width: float) -> str:
    """A line that fits, cut at its end where it must be."""
    if text_width(text, font) <= width:
        return text
    while text and text_width(text + "…", font) > width:
        text = text[:-1]
    return text.rstrip() + "…"
