"""Outputs of layers that are affine in the weights on a plane, w(a, b) = w₀ + a u + b v.

A linear or convolutional layer whose input x does not depend on the weights has, at any point, the output

    x W(a, b) = x W₀ + a x U + b x V

of three outputs that are computed once. This replaces the first layer of most networks by an addition.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.modules.conv import _ConvNd

AFFINE = (nn.Linear, _ConvNd)

Outputs = dict[nn.Module, Tensor]


class AffineOutput(NamedTuple):
    """A layer's output on one batch: at w₀, and the change per unit of a and b."""

    origin: Tensor
    u: Tensor
    v: Tensor


class AffineLayers:
    """The affine layers of a model on one batch.

    Args:
        outputs: their outputs; none by default.
    """

    def __init__(self, outputs: dict[nn.Module, AffineOutput] | None = None) -> None:
        self._outputs = outputs or {}

    def __len__(self) -> int:
        return len(self._outputs)

    @contextmanager
    def replacement(self) -> Iterator[Outputs]:
        """Within this context the layers return the outputs in the dictionary, which `move` writes."""
        outputs: Outputs = {}
        before = {m: m.__dict__.get("forward") for m in self._outputs}
        for m in self._outputs:
            m.forward = lambda *_, m=m: outputs[m]
        try:
            yield outputs
        finally:
            for m, forward in before.items():
                del m.forward
                if forward is not None:
                    m.forward = forward

    def at_line(self, a: float) -> Outputs:
        """The outputs at (a, 0)."""
        return {m: torch.add(x.origin, x.u, alpha=a) for m, x in self._outputs.items()}

    def move(self, outputs: Outputs, line: Outputs, b: float) -> None:
        """Writes the outputs at (a, b), in place, from those at (a, 0)."""
        for m, x in line.items():
            outputs[m] = torch.add(x, self._outputs[m].v, alpha=b, out=outputs.get(m))

    def move_under_vmap(self, outputs: Outputs, line: Outputs, b: Tensor) -> None:
        """Does the same under `vmap` over b."""
        outputs.update({m: torch.addcmul(x, self._outputs[m].v, b) for m, x in line.items()})


def find_affine_layers(
    model: nn.Module, weights: list[Tensor], directions: list[list[Tensor]], run: Callable[[], object]
) -> AffineLayers:
    """The layers that `run`, a pass on the batch, calls exactly once, on an input that does not depend on the weights.

    One pass is evidence, not proof: the caller has to compare losses.

    Args:
        model: the model.
        weights: its trainable parameters.
        directions: w₀, u and v, each with the shapes of the weights.
        run: a forward pass of the model.
    """
    with torch.enable_grad():
        inputs = _record_inputs(model, run)
    index = {id(w): k for k, w in enumerate(weights)}
    outputs = {}
    for layer, calls in inputs.items():
        if len(calls) == 1 and not calls[0].requires_grad and id(layer.weight) in index:
            points = _parameters_on_plane(layer, index, directions)
            with torch.no_grad():
                outputs[layer] = AffineOutput(*(functional_call(layer, p, (calls[0],)) for p in points))
    return AffineLayers(outputs)


def _parameters_on_plane(
    layer: nn.Module, index: dict[int, int], directions: list[list[Tensor]]
) -> list[dict[str, Tensor]]:
    """A layer's parameters at w₀, and their change along u and v: 0 for those that are not trained."""
    constant = [lambda p: p.detach(), torch.zeros_like, torch.zeros_like]
    return [
        {n: d[index[id(p)]] if id(p) in index else other(p) for n, p in layer.named_parameters()}
        for d, other in zip(directions, constant, strict=True)
    ]


def _record_inputs(model: nn.Module, run: Callable[[], object]) -> dict[nn.Module, list[Tensor]]:
    """The inputs of linear and convolutional layers in a pass, by call."""
    inputs: dict[nn.Module, list[Tensor]] = {}

    def record(m: nn.Module, args: tuple[Tensor, ...], _: Tensor) -> None:
        inputs.setdefault(m, []).append(args[0])

    handles = [m.register_forward_hook(record) for m in model.modules() if isinstance(m, AFFINE)]
    try:
        run()
    finally:
        for handle in handles:
            handle.remove()
    return inputs
