"""From losses to heights of the relief, with the places of contour lines and ticks."""

import math

import numpy as np

from steepest.view.film.numbers import linear_ticks, short
from steepest.view.render.theme import CONSTANTS

SCALE_CONSTANTS = CONSTANTS["scale"]
"""`soft` is the share of the range below which a logarithmic scale is nearly linear."""


class Linear:
    """Heights proportional to the loss, between its smallest and its largest value.

    `block` is the height of the block in half widths; one contour line in `major` is thick; `ticks` are heights and
    texts of the legend.
    """

    block, major = SCALE_CONSTANTS["linearBlock"], SCALE_CONSTANTS["linearMajor"]

    def __init__(self, lo: float, hi: float) -> None:
        self._lo, self._range = lo, (hi - lo) or 1.0
        steps = linear_ticks(0, self._range, SCALE_CONSTANTS["lines"])
        self._step = steps[1] if len(steps) > 1 else self._range
        self.ticks = [((v - lo) / self._range, short(v)) for v in linear_ticks(lo, hi, 4)]

    def height(self, loss: np.ndarray) -> np.ndarray:
        """0 at the smallest loss, 1 at the largest."""
        return (loss - self._lo) / self._range

    def loss(self, height: np.ndarray) -> np.ndarray:
        """The inverse of `height`."""
        return self._lo + height * self._range

    def level(self, loss: np.ndarray) -> np.ndarray:
        """Contour lines lie where this is an integer."""
        return loss / self._step

    def spacing(self, loss: np.ndarray) -> np.ndarray:
        """Distance in loss between the contour lines around a loss."""
        return np.full_like(loss, self._step)


class Logarithmic:
    """Heights proportional to the logarithm of the loss above its smallest value; linear near that value."""

    block, major = SCALE_CONSTANTS["logBlock"], SCALE_CONSTANTS["linesPerDecade"]

    def __init__(self, lo: float, hi: float) -> None:
        self._lo, self._soft = lo, ((hi - lo) or 1.0) * SCALE_CONSTANTS["soft"]
        self._bottom, top = (float(self._log(np.asarray(v))) for v in (lo, hi))
        self._span = (top - self._bottom) or 1.0
        first = math.ceil(math.log10(self._soft * 2.5))
        last = math.floor(math.log10(hi - lo) + 1e-9) if hi > lo else first - 1
        values = [lo, *(10.0**e + lo for e in range(first, last + 1))]
        self.ticks = [(float(self.height(np.asarray(v))), short(v, 2)) for v in values]

    def _log(self, loss: np.ndarray) -> np.ndarray:
        return np.log10(np.maximum(0, loss - self._lo) + self._soft)

    def height(self, loss: np.ndarray) -> np.ndarray:
        return (self._log(loss) - self._bottom) / self._span

    def loss(self, height: np.ndarray) -> np.ndarray:
        return self._lo + 10.0 ** (self._bottom + height * self._span) - self._soft

    def level(self, loss: np.ndarray) -> np.ndarray:
        return self._log(loss) * self.major

    def spacing(self, loss: np.ndarray) -> np.ndarray:
        return (loss - self._lo + self._soft) * math.log(10) / self.major


def scale_of(kind: str, lo: float, hi: float) -> Linear | Logarithmic:
    """The scale of a surface whose heights are "linear" or "log"."""
    return Logarithmic(lo, hi) if kind == "log" else Linear(lo, hi)
