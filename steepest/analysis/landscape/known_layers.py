"""Outputs of layers on one batch that are known along the lines of a plane, w(a, b) = w₀ + a u + b v, without a pass.

A layer whose input does not depend on the weights is affine in them, so its output at any point is made of three that
are computed once:

    X W(a, b) = X W₀ + a X U + b X V

A layer behind rectified units of such a one costs little where there are many points on a line (`hinge`).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import linear, pad
from torch.nn.modules.conv import _ConvNd

from steepest.analysis.landscape.relu_lines import Hinge, Layer, Three

AFFINE = (nn.Linear, _ConvNd)
MANY = 8
"""Points of a row from which a hinge is used: what it computes before the first costs as much as four of a layer."""
NARROW = 32
"""Widest layer behind another that is behind rectified units."""

Outputs = dict[nn.Module, Tensor]
Line = tuple[float, np.ndarray]
"""Points (a, b) with one a."""


class Behind(NamedTuple):
    """A layer that is called on nothing but rectified units.

    Attributes:
        spared: the layers before it, at whose outputs nobody else looks.
        hinge: the outputs.
    """

    spared: tuple[nn.Linear, ...]
    hinge: Hinge


class Shortcuts:
    """What is known of one batch.

    Attributes:
        affine: layers on inputs without a weight in them, with their three outputs.
        behind: layers behind them; empty until they are looked for.
    """

    def __init__(self, affine: Mapping[nn.Module, Three] | None = None) -> None:
        self.affine = dict(affine or {})
        self.behind: dict[nn.Module, Behind] = {}

    @contextmanager
    def along(self, a: float, b: np.ndarray) -> Iterator[Iterator[None]]:
        """Known layers give what they are known to while this is open: at the points (a, b), one after another."""
        behind = self.used(b)
        lines = {m: one.hinge.along(a, b) for m, one in behind.items()}
        begun, outputs = self._begun(a, behind)
        with _replaced((*outputs, *begun, *lines), outputs):
            yield self._points(b, begun, lines, outputs)

    def _points(
        self, b: np.ndarray, begun: Outputs, lines: Mapping[nn.Module, Iterator[Tensor]], outputs: Outputs
    ) -> Iterator[None]:
        each = {m: (z for together in line for z in together) for m, line in lines.items()}
        for y in b.tolist():
            for m, p in begun.items():
                outputs[m] = torch.add(p, self.affine[m][2], alpha=y, out=outputs.get(m))
            outputs.update({m: next(line) for m, line in each.items()})
            yield

    @contextmanager
    def at_once(self, a: float, b: np.ndarray) -> Iterator[tuple[list[Tensor], Callable[..., None]]]:
        """The same for all points mapped: tensors to map over, and what is called with a point's b and its parts."""
        behind = self.used(b)
        lines = {m: next(one.hinge.along(a, b, len(b))) for m, one in behind.items()}
        begun, outputs = self._begun(a, behind)

        def at(y: Tensor, *parts: Tensor) -> None:
            outputs.update({m: torch.addcmul(p, self.affine[m][2], y) for m, p in begun.items()})
            outputs.update(zip(lines, parts, strict=True))

        with _replaced((*outputs, *begun, *lines), outputs):
            yield list(lines.values()), at

    def tells(self, lines: Sequence[Line]) -> bool:
        """Whether nothing is known but of layers behind rectified units, and of these all."""
        return self.affine.keys() <= _spared(self.behind) and all(bool(self.used(b)) for _, b in lines)

    @property
    def told(self) -> int:
        """How many numbers are known of a point."""
        return sum(one.hinge.size for one in self.behind.values())

    @contextmanager
    def all_told(self, lines: Sequence[Line]) -> Iterator[tuple[list[Tensor], Callable[..., None]]]:
        """All that is known on some lines: tensors to map over, and what is called with a point's parts."""
        outputs = self._begun(0.0, self.behind)[1]
        parts = [
            torch.cat([z.clone() for a, b in lines for z in one.hinge.along(a, b, len(b))])
            for one in self.behind.values()
        ]
        with _replaced((*outputs, *self.behind), outputs):
            yield parts, lambda *own: outputs.update(zip(self.behind, own, strict=True))

    def used(self, b: np.ndarray) -> dict[nn.Module, Behind]:
        """The layers behind rectified units, where there are points enough."""
        return self.behind if len(b) >= MANY and bool((np.diff(b) > 0).all()) else {}

    def _begun(self, a: float, behind: Mapping[nn.Module, Behind]) -> tuple[Outputs, Outputs]:
        """Affine layers' outputs at (a, 0); and what stands in for the layers of which nothing else is needed."""
        spared = _spared(behind)
        begun = {m: torch.add(p0, pu, alpha=a) for m, (p0, pu, _) in self.affine.items() if m not in spared}
        return begun, {m: m.weight.new_zeros(1, m.out_features) for m in spared}


def _spared(behind: Mapping[nn.Module, Behind]) -> set[nn.Linear]:
    return {m for one in behind.values() for m in one.spared}


def rows(a: np.ndarray, b: np.ndarray, most: int) -> Iterator[Line]:
    """Points with the same a that follow one another, at most so many at a time: that a, and their b."""
    ends = np.flatnonzero(np.diff(a)) + 1
    for lo, hi in zip([0, *ends], [*ends, len(a)], strict=True):
        for at in range(lo, hi, most):
            yield float(a[lo]), b[at : min(hi, at + most)]


class Model(NamedTuple):
    """A model on a plane.

    Attributes:
        module: itself.
        weights: those that move.
        directions: w₀, u and v of each of them.
    """

    module: nn.Module
    weights: list[Tensor]
    directions: tuple[list[Tensor], list[Tensor], list[Tensor]]

    def parameters(self, layer: nn.Module) -> list[dict[str, Tensor]]:
        """A layer's parameters at w₀, and what u and v add to them."""
        own, places = dict(layer.named_parameters()), {id(w): k for k, w in enumerate(self.weights)}
        still = [lambda p: p.detach(), torch.zeros_like, torch.zeros_like]
        return [
            {n: d[places[id(p)]] if id(p) in places else other(p) for n, p in own.items()}
            for d, other in zip(self.directions, still, strict=True)
        ]

    def layer(self, layer: nn.Linear) -> Layer:
        """A layer's weight and bias, or zeros."""
        at, along, across = (
            (p["weight"], p.get("bias", p["weight"].new_zeros(layer.out_features))) for p in self.parameters(layer)
        )
        w, c = (at[0], along[0], across[0]), (at[1], along[1], across[1])
        return Layer(w, c)

    def moves(self, layer: nn.Module) -> bool:
        """Whether a layer's weight is one of those that move."""
        return any(layer.weight is w for w in self.weights)


def affine(model: Model, run: Callable[[], object]) -> Shortcuts:
    """The affine layers that `run`, a pass on the batch, calls once, on an input without a weight in it."""
    with torch.enable_grad():
        inputs, _ = _seen(model.module, run)
    free = {m: x[0] for m, x in inputs.items() if len(x) == 1 and not x[0].requires_grad}
    return Shortcuts({m: _three(model, m, x) for m, x in free.items() if model.moves(m)})


@torch.no_grad()
def behind(known: Shortcuts, model: Model, run: Callable[[], object]) -> dict[nn.Module, Behind]:
    """The layers behind rectified units, on the evidence of one pass: whether it is always so must be tried."""
    inputs, outputs = _seen(model.module, run)
    once = {m: given[0] for m, given in inputs.items() if isinstance(m, nn.Linear) and len(given) == 1}

    def next_to(m: nn.Linear) -> list[nn.Linear]:
        return [after for after, x in once.items() if after not in known.affine and torch.equal(x, outputs[m].relu())]

    found: dict[nn.Module, Behind] = {}
    for first in (m for m in once if m in known.affine and _fits(outputs[m])):
        second = next_to(first)
        third = next_to(second[0]) if len(second) == 1 else []
        if len(third) == 1 and third[0].out_features <= NARROW:
            hinge = Hinge(known.affine[first], model.layer(second[0]), model.layer(third[0]))
            found[third[0]] = Behind((first, second[0]), hinge)
        elif len(second) == 1:
            found[second[0]] = Behind((first,), Hinge(known.affine[first], model.layer(second[0])))
    return found


def _fits(x: Tensor) -> bool:
    """Whether a hinge can be at outputs like these."""
    return x.dim() == 2 and x.device.type == "cpu" and x.dtype in (torch.float32, torch.float64)


@torch.no_grad()
def _three(model: Model, layer: nn.Module, x: Tensor) -> Three:
    at, along, across = (functional_call(layer, named, (x,)) for named in model.parameters(layer))
    return at, along, across


def _seen(module: nn.Module, run: Callable[[], object]) -> tuple[dict[nn.Module, list[Tensor]], Outputs]:
    """The inputs of affine layers in a pass, by call, and what came out of the last."""
    inputs: dict[nn.Module, list[Tensor]] = {}
    outputs: Outputs = {}

    def see(m: nn.Module, given: tuple[Tensor, ...], z: Tensor) -> None:
        inputs.setdefault(m, []).append(given[0])
        outputs[m] = z.detach().clone()  # what follows may change it in place

    handles = [m.register_forward_hook(see) for m in module.modules() if isinstance(m, AFFINE)]
    try:
        run()
    finally:
        for handle in handles:
            handle.remove()
    return inputs, outputs


@contextmanager
def _replaced(layers: tuple[nn.Module, ...], outputs: Outputs) -> Iterator[None]:
    """These layers give what stands in `outputs` when they are called."""
    before = [(m, m.__dict__.get("forward")) for m in layers]
    for m in layers:
        m.forward = lambda *_, m=m: outputs[m]
    try:
        yield
    finally:
        for m, forward in before:
            del m.forward
            if forward is not None:
                m.forward = forward


def widen(model: nn.Module) -> None:
    """Has layers whose width is above 8 and no multiple of it compute as if it were, and leave out what is too much.

    The libraries go through the columns of a product by eights, and take as long for the rest as for all others: with
    10 classes, and 1,293 samples, 160 to 300 µs in place of 87 to 122.
    """
    plain = [m for m in model.modules() if type(m) is nn.Linear]  # others may do something else
    for m in plain:
        if m.weight.device.type == "cpu" and m.out_features > 8 and m.out_features % 8:
            m.forward = lambda input, m=m: _wider(m, input)


def _wider(m: nn.Linear, x: Tensor) -> Tensor:
    more = -m.out_features % 8
    bias = None if m.bias is None else pad(m.bias, (0, more))
    return linear(x, pad(m.weight, (0, 0, 0, more)), bias)[..., : m.out_features]
