"""∇²L(w) of a loss in batches, known by its products with vectors.

The graph of the gradient is kept, so that a product is one pass back through it: 1.4 to 2.2 × a loss and gradient on
the demo's network, where a new graph for each product takes 2.4 to 3.5, forward over reverse 4.5 to 7.8, and
`torch.func.linearize` 1.8 to 3.0 (64 to 1,293 samples, float32 and float64, one core of an AMD EPYC, torch 2.13).
"""

import math
from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor

from steepest.curvature.second_derivatives import along
from steepest.errors import InputError

KEPT_BYTES = 1 << 30
"""What kept graphs may hold; batches beyond are passed anew for each product."""
TOGETHER_BYTES, LEAST_TOGETHER = 4 << 20, 4
"""Columns of a block are multiplied at once, as many as keep their graphs in so much and where these are some: small
networks then take 0.1 to 0.7 of the time, the demo's with 256 samples 1.4 times (one core of an AMD EPYC)."""

Pass = Callable[[], Tensor]


class Hessian:
    """∇²L(w): `H @ v` for v [N] or for a block [N, B].

    Attributes:
        shape: (N, N).
        dtype, device: of the products.
        loss: L(w).
        gradient: ∇L(w) [N].

    Args:
        parts: the point, as leaves in the order of its numbers.
        passes: each gives the loss of a batch at those leaves, and has this weight in L.
        held: bytes that the gradient's graph of each holds.

    Raises:
        InputError: the loss at the point is not finite.
    """

    def __init__(self, parts: list[Tensor], passes: Sequence[tuple[Pass, float]], held: Sequence[float]) -> None:
        self._parts, self._sizes = parts, [p.numel() for p in parts]
        self.shape = (sum(self._sizes), sum(self._sizes))
        self.dtype, self.device = parts[0].dtype, parts[0].device
        self.loss, self.gradient = 0.0, torch.zeros(self.shape[0], dtype=self.dtype, device=self.device)
        self._kept: list[tuple[list[Tensor], float]] = []
        self._anew: list[tuple[Pass, float]] = []
        fit = int(TOGETHER_BYTES // max(1, *held, 1))
        self._together = fit if fit >= LEAST_TOGETHER else 1
        free = KEPT_BYTES
        for (made, weight), size in zip(passes, held, strict=True):
            loss = made()
            keep = size <= free
            graph = self._differentiated(loss) if keep else torch.autograd.grad(loss, parts, materialize_grads=True)
            self.loss, self.gradient = self.loss + weight * loss.item(), self.gradient + weight * flat(graph).detach()
            if keep:
                free -= size
                self._kept.append((list(graph), weight))
            else:
                self._anew.append((made, weight))
        self._check_finite()

    def __matmul__(self, v: Tensor) -> Tensor:
        if v.dim() not in (1, 2) or len(v) != self.shape[1]:
            raise InputError(
                f"H @ v: v has shape {tuple(v.shape)}; expected is [{self.shape[1]}] or [{self.shape[1]}, B]"
            )
        rows = v.to(self.device, self.dtype)
        if v.dim() == 1:
            return self._products(rows[None])[0]
        return torch.cat([self._products(some) for some in rows.T.split(self._together)]).T

    def _products(self, rows: Tensor) -> Tensor:
        """∇²L(w) v for each row v [B, N]."""
        found = torch.zeros_like(rows)
        for graph, weight in self._kept:
            found += weight * self._back(graph, rows)
        for made, weight in self._anew:
            found += weight * self._back(self._differentiated(made()), rows)
        return found

    def _differentiated(self, loss: Tensor) -> list[Tensor]:
        """The gradient as tensors that know their own."""
        return list(torch.autograd.grad(loss, self._parts, create_graph=True, materialize_grads=True))

    def _back(self, graph: list[Tensor], rows: Tensor) -> Tensor:
        """One pass back through the gradient's graph with each row; parts where it is linear do not know any."""
        split = [x.reshape(-1, *p.shape) for x, p in zip(rows.split(self._sizes, 1), self._parts, strict=True)]
        known = [(g, x) for g, x in zip(graph, split, strict=True) if g.requires_grad]
        if not known:
            return torch.zeros_like(rows)
        gradients, against = zip(*known)
        if len(rows) > 1:
            try:
                return self._against(gradients, against, True)
            except RuntimeError:  # an operation that torch cannot map over columns
                self._together = 1
        return torch.cat([self._against(gradients, [x[i] for x in against], False) for i in range(len(rows))])

    def _against(self, gradients: Sequence[Tensor], against: Sequence[Tensor], batched: bool) -> Tensor:
        if not batched:
            return flat(along(gradients, against, self._parts, retain_graph=True))[None]
        found = torch.autograd.grad(
            gradients, self._parts, against, retain_graph=True, materialize_grads=True, is_grads_batched=True
        )
        return torch.cat([x.reshape(len(x), -1) for x in found], 1)

    def _check_finite(self) -> None:
        if not math.isfinite(self.loss):
            bad = sum(int((~p.isfinite()).sum()) for p in self._parts)
            raise InputError(
                f"the loss at the point is {self.loss}, and {bad} of its {self.shape[0]} weights are not finite; "
                "curvature needs a point where the loss is finite"
            )


def flat(parts: Iterable[Tensor]) -> Tensor:
    """Tensors as one vector."""
    return torch.cat([p.reshape(-1) for p in parts])


def evaluated(made: Pass, parts: Sequence[Tensor]) -> int:
    """Bytes that the graph of a loss's gradient holds; it is made and dropped."""
    tensors: dict[int, int] = {}

    def seen(x: Tensor) -> Tensor:
        tensors[x.data_ptr()] = x.nbytes
        return x.detach()  # the tensor itself would hold its own graph

    with torch.autograd.graph.saved_tensors_hooks(seen, lambda x: x):
        graph = torch.autograd.grad(made(), parts, create_graph=True, materialize_grads=True)
    del graph
    return sum(tensors.values())
