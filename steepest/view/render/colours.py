"""Colour: the ramp from low to high, and a surface's pixels by height and brightness."""

import numpy as np
from matplotlib.colors import to_rgb

from steepest.view.render.theme import Theme

TONES = 64
"""Brightnesses in a row of the table."""
SHADES = 256
"""Heights in the table; one row more is for what diverged."""


def _to_linear(c: np.ndarray) -> np.ndarray:
    return np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)


def _from_linear(c: np.ndarray) -> np.ndarray:
    return np.where(c <= 0.0031308, c * 12.92, 1.055 * c ** (1 / 2.4) - 0.055)


def to_pixels(rgb: np.ndarray) -> np.ndarray:
    """Opaque pixels [...] uint32, whose bytes are red, green, blue, alpha, of colours [..., 3] of 0 … 1."""
    values = np.concatenate(((rgb * 255).astype(np.uint8), np.full((*rgb.shape[:-1], 1), 255, np.uint8)), axis=-1)
    return np.ascontiguousarray(values).view("<u4")[..., 0]


def ramp(theme: Theme, height: np.ndarray) -> np.ndarray:
    """The ramp's colours [..., 3] at heights [...], mixed in linear light."""
    stops = _to_linear(np.array([to_rgb(stop) for stop in theme.ramp]))
    last = len(stops) - 1
    at = np.clip(height * last, 0, last - 1e-9)
    i = np.floor(at).astype(int)
    share = (at - i)[..., None]
    return _from_linear(stops[i] * (1 - share) + stops[i + 1] * share)


def diverged_colour(theme: Theme) -> np.ndarray:
    """What diverged: the ramp's top, tinged with the colour of errors."""
    return ramp(theme, np.asarray(1.0)) * 0.6 + np.array(to_rgb(theme.bad)) * 0.4


def shade_table(theme: Theme) -> np.ndarray:
    """Pixels by height and brightness, [SHADES + 1, TONES] uint32."""
    colours = _to_linear(np.vstack((ramp(theme, np.arange(SHADES) / (SHADES - 1)), diverged_colour(theme))))
    sun = (np.arange(TONES) / (TONES - 1))[:, None]
    light = np.array(theme.shadow) * (1 - sun) + np.array(theme.sun) * sun
    return to_pixels(np.minimum(1, _from_linear(np.minimum(1, colours[:, None] * light))))


def wall_table(theme: Theme, base: float, top: float, tone: float) -> np.ndarray:
    """Pixels of a wall by height above the base, [SHADES, TONES] uint32: strata of the ramp, seen through paper."""
    z = base + (top - base) * np.arange(SHADES) / (SHADES - 1)
    rows = to_pixels(tone * (np.array(theme.wall) * (1 - theme.strata) + ramp(theme, z / top) * theme.strata))
    return np.repeat(rows[:, None], TONES, axis=1)
