"""An affine layer behind rectified units, along a line of weights.

    z(b) = (A + b U) max(0, p + b q) + c + b d

Between the places where a unit's p + b q passes through 0, z is a polynomial of second degree; there, its coefficients
change by what the unit contributes. A unit does so once on a line, at most. So all points on it together cost a few
products of matrices and, for each unit and sample, two columns at most; one after another, a product for each point.

    z = C₀ + b C₁ + b² C₂,   C₀ = c + Σ pⱼ Aⱼ,  C₁ = d + Σ (qⱼ Aⱼ + pⱼ Uⱼ),  C₂ = Σ qⱼ Uⱼ    over units that are on
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

Three = tuple[Tensor, Tensor, Tensor]
"""What is affine on a plane: at its origin, and what the step along either axis adds."""

TOGETHER = 8
"""Points whose outputs are computed together: few enough for a cache, when a thousand samples have 128."""


class Layer(NamedTuple):
    """An affine layer whose weights lie on a plane.

    Attributes:
        weight: [K, J].
        bias: [K].
    """

    weight: Three
    bias: Three

    def at(self, a: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """On the line through a: weight and bias where it begins, and what a step along it adds to them."""
        (w0, wu, wv), (c0, cu, cv) = self
        return torch.add(w0, wu, alpha=a), torch.add(c0, cu, alpha=a), wv, cv


class Hinge:
    """Outputs of a layer behind rectified units; or of a narrow one behind that, whose inputs are rectified too.

    Args:
        units: what is rectified, of each sample [n, J].
        layer: behind it.
        last: behind that.
    """

    def __init__(self, units: Three, layer: Layer, last: Layer | None = None) -> None:
        self._units, self._layer, self._last = units, layer, last
        n, width = units[0].shape
        self._order, self._at = np.empty((n, width), np.int32), np.empty((n, width), np.int32)
        self._found, self._out = units[0].new_empty(n, 3, len(layer.bias[0])), units[0].new_empty(0)

    @property
    def size(self) -> int:
        """Numbers in the outputs at a point."""
        return len(self._found) * len((self._last or self._layer).bias[0])

    def along(self, a: float, b: np.ndarray, together: int = TOGETHER) -> Iterator[Tensor]:
        """Outputs at (a, b[i]), b rising: [so many of them, n, K], to be used before the next are asked for."""
        from steepest.analysis.landscape import relu_kernels  # it compiles

        p, q = torch.add(self._units[0], self._units[1], alpha=a), self._units[2]
        on = ~(p + float(b[0]) * q <= 0)  # what is no number stays one
        columns = self._begin(a, torch.where(on, p, 0.0), torch.where(on, q, 0.0))
        y, begun = b.astype(columns.dtype), np.zeros(len(p), np.int32)
        relu_kernels.sort(p.numpy(), q.numpy(), y, self._order, self._at)
        way = p.numpy(), q.numpy(), columns, self._found.numpy(), on.numpy(), self._order, self._at, begun
        together = len(b) if self._last else together
        for lo in range(0, len(b), together):
            some = y[lo : lo + together]
            weight, bias = self._behind(a, torch.from_numpy(some))
            out = self._room(min(together, len(b)), bias.shape[1] or columns.shape[2])[: len(some)]
            relu_kernels.follow(*way, some, lo, weight.numpy(), bias.numpy(), out.numpy())
            yield out

    def _behind(self, a: float, b: Tensor) -> tuple[Tensor, Tensor]:
        """Weight and bias of the last layer at all points; empty where there is none."""
        if self._last is None:
            return b.new_empty(len(b), 0, self._found.shape[2]), b.new_empty(len(b), 0)
        weight, bias, slope, shift = self._last.at(a)
        return weight + b[:, None, None] * slope, bias + b[:, None] * shift

    def _begin(self, a: float, p: Tensor, q: Tensor) -> np.ndarray:
        """Finds the coefficients where units that are off are 0; what a unit adds to them, [J, 2, K]."""
        weight, bias, slope, shift = self._layer.at(a)
        none, one, two = self._found.unbind(1)
        torch.addmm(bias, p, weight.T, out=none)
        torch.addmm(shift, p, slope.T, out=one)
        one.addmm_(q, weight.T)
        torch.mm(q, slope.T, out=two)
        return torch.stack([weight.T, slope.T], 1).numpy()

    def _room(self, count: int, width: int) -> Tensor:
        """Where the outputs at so many points go; the same place every time."""
        if len(self._out) < count:
            self._out = self._found.new_empty(count, len(self._found), width)
        return self._out
