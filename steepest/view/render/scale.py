"""From losses to heights of the relief, and where its contour lines and its ticks are."""

import math
from abc import ABC, abstractmethod

import numpy as np

from steepest.view.render.ticks import linear_ticks, short

LINES = 32
LINES_A_DECADE = 4
SOFT = 1.4e-4
"""The share of the range below which a logarithmic scale is nearly linear."""


class Scale(ABC):
    """Heights, 0 at the least loss and 1 at the greatest, and contour levels.

    Attributes:
        block: height of the block in half widths.
        major: every so many contour lines one is thick.
        ticks: (height, text) of the legend.
    """

    block: float
    major: int
    ticks: list[tuple[float, str]]

    @abstractmethod
    def height(self, loss: np.ndarray) -> np.ndarray:
        """0 at the least loss, 1 at the greatest."""

    @abstractmethod
    def loss(self, height: np.ndarray) -> np.ndarray:
        """The height's inverse."""

    @abstractmethod
    def level(self, loss: np.ndarray) -> np.ndarray:
        """Contour lines lie where this is whole."""

    @abstractmethod
    def spacing(self, loss: np.ndarray) -> np.ndarray:
        """Distance in loss between the contour lines beside a loss."""


class Linear(Scale):
    """Heights proportional to the loss.

    Args:
        lo, hi: the least and the greatest loss.
    """

    block, major = 0.7, 5

    def __init__(self, lo: float, hi: float) -> None:
        self._lo, self._range = lo, (hi - lo) or 1.0
        steps = linear_ticks(0, self._range, LINES)
        self._step = steps[1] if len(steps) > 1 else self._range
        self.ticks = [((v - lo) / self._range, short(v)) for v in linear_ticks(lo, hi, 4)]

    def height(self, loss: np.ndarray) -> np.ndarray:
        return (loss - self._lo) / self._range

    def loss(self, height: np.ndarray) -> np.ndarray:
        return self._lo + height * self._range

    def level(self, loss: np.ndarray) -> np.ndarray:
        return loss / self._step

    def spacing(self, loss: np.ndarray) -> np.ndarray:
        return np.full_like(loss, self._step)


class Logarithmic(Scale):
    """Heights proportional to the logarithm of the loss above its least value; near that value they are linear.

    Args:
        lo, hi: the least and the greatest loss.
    """

    block, major = 0.42, LINES_A_DECADE

    def __init__(self, lo: float, hi: float) -> None:
        self._lo, self._soft = lo, ((hi - lo) or 1.0) * SOFT
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
        return self._log(loss) * LINES_A_DECADE

    def spacing(self, loss: np.ndarray) -> np.ndarray:
        return (loss - self._lo + self._soft) * math.log(10) / LINES_A_DECADE


def scale_of(kind: str, lo: float, hi: float) -> Scale:
    """The scale of a surface whose heights are "linear" or "log"."""
    return Logarithmic(lo, hi) if kind == "log" else Linear(lo, hi)
