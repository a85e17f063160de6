"""Colour: the ramp from low to high, and a surface's pixels by height and brightness."""

import numpy as np

from steepest.view.render.theme import Look

TONES = 64
"""Brightnesses in a row of the table."""
SHADES = 256
"""Heights in the table; one row more is for what diverged."""


def from_hex(text: str) -> np.ndarray:
    """Red, green and blue, 0 … 1.

    >>> from_hex("#FF0033").tolist()
    [1.0, 0.0, 0.2]
    """
    return np.array([int(text[i : i + 2], 16) / 255 for i in (1, 3, 5)])


def _to_linear(c: np.ndarray) -> np.ndarray:
    return np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)


def _from_linear(c: np.ndarray) -> np.ndarray:
    return np.where(c <= 0.0031308, c * 12.92, 1.055 * c ** (1 / 2.4) - 0.055)


def pixel(rgb: np.ndarray) -> np.ndarray:
    """Opaque pixels [...] uint32, whose bytes are red, green, blue, alpha, of colours [..., 3] of 0 … 1."""
    bytes_ = np.concatenate(((rgb * 255).astype(np.uint8), np.full((*rgb.shape[:-1], 1), 255, np.uint8)), axis=-1)
    return np.ascontiguousarray(bytes_).view("<u4")[..., 0]


def ramp(look: Look, height: np.ndarray) -> np.ndarray:
    """The ramp's colours [..., 3] at heights [...], mixed in linear light."""
    stops = _to_linear(np.array([from_hex(stop) for stop in look.ramp]))
    last = len(stops) - 1
    at = np.clip(height * last, 0, last - 1e-9)
    i = np.floor(at).astype(int)
    share = (at - i)[..., None]
    return _from_linear(stops[i] * (1 - share) + stops[i + 1] * share)


def diverged_colour(look: Look, bad: str) -> np.ndarray:
    """What diverged: the highest ground, tinged with the colour of what is bad."""
    return ramp(look, np.asarray(1.0)) * 0.6 + from_hex(bad) * 0.4


def shade_table(look: Look, diverged: np.ndarray) -> np.ndarray:
    """Pixels by height and brightness, [SHADES + 1, TONES] uint32."""
    colours = _to_linear(np.vstack((ramp(look, np.arange(SHADES) / (SHADES - 1)), diverged)))
    sun = (np.arange(TONES) / (TONES - 1))[:, None]
    light = np.array(look.shadow) * (1 - sun) + np.array(look.sun) * sun
    return pixel(np.minimum(1, _from_linear(np.minimum(1, colours[:, None] * light))))


def wall_table(look: Look, base: float, top: float, tone: float) -> np.ndarray:
    """Pixels of a wall by height above the base, [SHADES] uint32: strata of the ramp, seen through paper."""
    z = base + (top - base) * np.arange(SHADES) / (SHADES - 1)
    return pixel(tone * (np.array(look.wall) * (1 - look.wall_ramp) + ramp(look, z / top) * look.wall_ramp))
