"""The Hessian ∇²L(w) of a loss in batches, by its products with vectors.

The gradient's graph is kept, so that a product is one backward pass: 1.4 to 2.2 × the time of a loss and gradient on
the demo's network, where a new graph for each product takes 2.4 to 3.5, forward over reverse 4.5 to 7.8, and
`torch.func.linearize` 1.8 to 3.0 (64 to 1,293 samples, float32 and float64, one core of an AMD EPYC, torch 2.13).
"""

import math
from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor

from steepest.curvature.second_derivatives import gradient_product
from steepest.errors import InputError

GRAPH_BYTES = 1 << 30
"""Memory for graphs that are kept; further batches are evaluated again for each product."""
BLOCK_BYTES, MIN_BLOCK_COLUMNS = 4 << 20, 4
"""Columns of a block are multiplied together, as many as have graphs of this size, if these are at least four. Small
networks then take 0.1 to 0.7 of the time, the demo's with 256 samples 1.4 × (one core of an AMD EPYC)."""

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
        graph_sizes: bytes of each gradient's graph.

    Raises:
        InputError: the loss at the point is not finite.
    """

    def __init__(self, parts: list[Tensor], passes: Sequence[tuple[Pass, float]], graph_sizes: Sequence[float]) -> None:
        self._parts, self._sizes = parts, [p.numel() for p in parts]
        self.shape = (sum(self._sizes), sum(self._sizes))
        self.dtype, self.device = parts[0].dtype, parts[0].device
        self.loss, self.gradient = 0.0, torch.zeros(self.shape[0], dtype=self.dtype, device=self.device)
        self._graphs: list[tuple[list[Tensor], float]] = []
        self._passes: list[tuple[Pass, float]] = []
        columns = int(BLOCK_BYTES // max(1, *graph_sizes, 1))
        self._columns = columns if columns >= MIN_BLOCK_COLUMNS else 1
        free = GRAPH_BYTES
        for (evaluate, weight), size in zip(passes, graph_sizes, strict=True):
            loss = evaluate()
            keep = size <= free
            graph = self._gradient_graph(loss) if keep else torch.autograd.grad(loss, parts, materialize_grads=True)
            self.loss, self.gradient = self.loss + weight * loss.item(), self.gradient + weight * flat(graph).detach()
            if keep:
                free -= size
                self._graphs.append((list(graph), weight))
            else:
                self._passes.append((evaluate, weight))
        if not math.isfinite(self.loss):
            bad = f"{sum(int((~p.isfinite()).sum()) for p in parts)} of {self.shape[0]} weights are not finite"
            raise InputError(f"the loss must be finite to measure curvature, got {self.loss} ({bad})")

    def __matmul__(self, v: Tensor) -> Tensor:
        if v.dim() not in (1, 2) or len(v) != self.shape[1]:
            raise InputError(f"H @ v: v must have shape [{self.shape[1]}] or [{self.shape[1]}, B], got {list(v.shape)}")
        rows = v.to(self.device, self.dtype)
        if v.dim() == 1:
            return self._products(rows[None])[0]
        return torch.cat([self._products(some) for some in rows.T.split(self._columns)]).T

    def _products(self, rows: Tensor) -> Tensor:
        """∇²L(w) v for each row v [B, N]."""
        products = torch.zeros_like(rows)
        for graph, weight in self._graphs:
            products += weight * self._back(graph, rows)
        for evaluate, weight in self._passes:
            products += weight * self._back(self._gradient_graph(evaluate()), rows)
        return products

    def _gradient_graph(self, loss: Tensor) -> list[Tensor]:
        """The gradient with its graph."""
        return list(torch.autograd.grad(loss, self._parts, create_graph=True, materialize_grads=True))

    def _back(self, graph: list[Tensor], rows: Tensor) -> Tensor:
        """A backward pass through the gradient's graph for each row; constant parts of the gradient have no graph."""
        split = [x.reshape(-1, *p.shape) for x, p in zip(rows.split(self._sizes, 1), self._parts, strict=True)]
        variable = [(g, x) for g, x in zip(graph, split, strict=True) if g.requires_grad]
        if not variable:
            return torch.zeros_like(rows)
        gradients, vectors = zip(*variable)
        if len(rows) > 1:
            try:
                products = torch.autograd.grad(
                    gradients, self._parts, vectors, retain_graph=True, materialize_grads=True, is_grads_batched=True
                )
                return torch.cat([x.reshape(len(x), -1) for x in products], 1)
            except RuntimeError:  # an operation that torch cannot map over columns
                self._columns = 1
        one_by_one = [[x[i] for x in vectors] for i in range(len(rows))]
        return torch.stack([flat(gradient_product(gradients, v, self._parts, retain_graph=True)) for v in one_by_one])


def flat(parts: Iterable[Tensor]) -> Tensor:
    """Tensors as one vector."""
    return torch.cat([p.reshape(-1) for p in parts])


def graph_bytes(evaluate: Pass, parts: Sequence[Tensor]) -> int:
    """Bytes of the graph of a loss's gradient; it is built and dropped."""
    tensors: dict[int, int] = {}

    def note(x: Tensor) -> Tensor:
        tensors[x.data_ptr()] = x.nbytes
        return x.detach()  # the tensor itself would hold its own graph

    with torch.autograd.graph.saved_tensors_hooks(note, lambda x: x):
        graph = torch.autograd.grad(evaluate(), parts, create_graph=True, materialize_grads=True)
    del graph
    return sum(tensors.values())
