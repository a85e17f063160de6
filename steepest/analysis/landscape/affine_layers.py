"""Layers whose output at every point of a plane follows from three outputs.

A linear or convolutional layer whose input x does not depend on the weights has, at any point, the output

    x W(a, b) = x W₀ + a x U + b x V

of three outputs that are computed once. This replaces the first layer of most networks by an addition.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.modules.conv import _ConvNd

from steepest.curvature.hessian import module_inputs

AFFINE = (nn.Linear, _ConvNd)

Outputs = dict[nn.Module, Tensor]


class AffineOutput(NamedTuple):
    """A layer's output on one batch: at w₀, and the change per unit of a and b."""

    origin: Tensor
    u: Tensor
    v: Tensor


class AffineLayers(dict[nn.Module, AffineOutput]):
    """The affine layers of a model on one batch, with their outputs."""

    @contextmanager
    def replacement(self) -> Iterator[Outputs]:
        """Within this context the layers return the outputs in the dictionary, which `move` writes."""
        outputs: Outputs = {}
        before = {m: m.__dict__.get("forward") for m in self}
        for m in self:
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
        return {m: torch.add(x.origin, x.u, alpha=a) for m, x in self.items()}

    def move(self, outputs: Outputs, line: Outputs, b: float) -> None:
        """Writes the outputs at (a, b), in place, from those at (a, 0)."""
        for m, x in line.items():
            outputs[m] = torch.add(x, self[m].v, alpha=b, out=outputs.get(m))

    def move_under_vmap(self, outputs: Outputs, line: Outputs, b: Tensor) -> None:
        """Does the same under `vmap` over b."""
        outputs.update({m: torch.addcmul(x, self[m].v, b) for m, x in line.items()})


def find_affine_layers(
    model: nn.Module, weights: list[Tensor], directions: list[list[Tensor]], passes: Sequence[Callable[[], object]]
) -> AffineLayers:
    """The layers that every pass on the batch calls exactly once, on an input that does not depend on the weights.

    An input has no gradient where the weights choose its rows, as in a mixture of experts: it must be the same at all
    points. Passes are evidence, not proof: the caller has to compare losses.

    Args:
        model: the model.
        weights: its trainable parameters.
        directions: w₀, u and v, each with the shapes of the weights.
        passes: forward passes of the model, at different points.
    """
    with torch.enable_grad():
        inputs = module_inputs(model, passes[0], AFFINE)
    others = []
    for run in passes[1:]:
        with torch.no_grad():
            others.append(module_inputs(model, run, AFFINE))
    index, layers = {id(w): k for k, w in enumerate(weights)}, AffineLayers()
    constants = Tensor.detach, torch.zeros_like, torch.zeros_like  # what is not trained, at w₀ and along u and v
    for layer, calls in inputs.items():
        args, _ = calls[0]
        if len(calls) > 1 or not args or args[0].requires_grad or id(layer.weight) not in index:
            continue
        if any(not _is_same_call(args[0], other.get(layer, [])) for other in others):
            continue
        points = [
            {n: part[index[id(p)]] if id(p) in index else constant(p) for n, p in layer.named_parameters()}
            for part, constant in zip(directions, constants, strict=True)
        ]
        with torch.no_grad():
            layers[layer] = AffineOutput(*(functional_call(layer, p, args[:1]) for p in points))
    return layers


def _is_same_call(x: Tensor, calls: Sequence[tuple[Any, Any]]) -> bool:
    """Whether a layer is called once, on the same input."""
    return len(calls) == 1 and bool(calls[0][0]) and torch.equal(calls[0][0][0], x)
