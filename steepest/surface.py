"""The loss as a function of the point alone: L(w), its gradient and its Hessian, for any vector w [N].

    L(w) = Σ nᵢ Lᵢ(w) / Σ nᵢ        over the batches i of a frozen sample

What else a loss depends on is held still: the samples, evaluation mode (no dropout; a batch norm's statistics as they
are), random numbers. The model is a copy, so the task's stays where it is.
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call

from steepest import seeds, sources
from steepest.errors import InputError
from steepest.objective import Loss, Objective
from steepest.space import Space
from steepest.task import Task


class Surface:
    """L(w) of a task on a frozen sample.

    Attributes:
        size: N.
        dtype, device: of the points it takes.
        start: the point [N] where the copied model is.

    Args:
        task: whose loss it is.
        batches: the frozen sample, in batches; of a task without data [None].
        dtype: of all arithmetic; a point and what follows from it have it too.
    """

    def __init__(self, task: Task, batches: Iterable[Any], dtype: torch.dtype = torch.float64) -> None:
        model = task.copy(0).to(dtype).eval()
        self.space = Space(model)
        self.size, self.dtype = self.space.size, dtype
        self._objective = Objective(model, task.loss, task.objective, task.count)
        self._whole = Loss(self._objective)
        self._names = [f"model.{name}" for name, p in model.named_parameters() if p.requires_grad]
        self.batches = [sources.each(b, self._cast) for b in batches]
        self._counts = [self._objective.counted(b) for b in self.batches]
        self.start = self.space.gather()
        self.device = self.start.device

    @property
    def objective(self) -> Objective:
        """The copied model with its loss."""
        return self._objective

    def value(self, w: Tensor) -> float:
        """L(w)."""
        with torch.no_grad():
            return sum(n * self._loss(self._parts(w), b).item() for b, n in self._weighted())

    def gradient(self, w: Tensor) -> tuple[float, Tensor]:
        """L(w) and ∇L(w) [N]."""
        total, gradient = 0.0, torch.zeros(self.size, dtype=self.dtype, device=self.device)
        for batch, n in self._weighted():
            parts = self._parts(w)
            loss = self._loss(parts, batch)
            found = torch.autograd.grad(loss, parts, materialize_grads=True)
            total, gradient = total + n * loss.item(), gradient + n * _flat(found)
        return total, gradient

    def hessian(self, w: Tensor) -> "Hessian":
        """∇²L(w), known by its products with vectors."""
        return Hessian(self, w)

    def _product(self, w: Tensor, v: Tensor) -> Tensor:
        """∇²L(w) v [N], reverse over reverse."""
        found = torch.zeros_like(v)
        for batch, n in self._weighted():
            parts = self._parts(w)
            gradient = torch.autograd.grad(self._loss(parts, batch), parts, create_graph=True, materialize_grads=True)
            against = [x.view(p.shape) for x, p in zip(v.split(list(self.space.sizes)), parts, strict=True)]
            found += n * _flat(torch.autograd.grad(gradient, parts, against, materialize_grads=True))
        return found

    def _weighted(self) -> list[tuple[Any, float]]:
        total = sum(self._counts)
        return [(batch, n / total) for batch, n in zip(self.batches, self._counts, strict=True) if n]

    def _parts(self, w: Tensor) -> list[Tensor]:
        """The point as the model's parameters, each a leaf."""
        if w.shape != (self.size,):
            raise InputError(f"a point of shape {tuple(w.shape)} is given; this task has {self.size} weights")
        split = w.detach().to(self.device, self.dtype).split(list(self.space.sizes))
        return [x.view(s).requires_grad_() for x, s in zip(split, self.space.shapes, strict=True)]

    def _loss(self, parts: list[Tensor], batch: Any) -> Tensor:
        with seeds.ours(0, "surface"):
            return functional_call(self._whole, dict(zip(self._names, parts, strict=True)), (batch,))

    def _cast(self, x: Tensor) -> Tensor:
        return x.to(self.dtype) if x.is_floating_point() else x


class Hessian:
    """∇²L(w) of a surface at a point: `H @ v` for v [N].

    Attributes:
        shape: (N, N).
    """

    def __init__(self, surface: Surface, w: Tensor) -> None:
        self._surface, self._point = surface, w
        self.shape = (surface.size, surface.size)
        self.dtype, self.device = surface.dtype, surface.device

    def __matmul__(self, v: Tensor) -> Tensor:
        return self._surface._product(self._point, v)


def _flat(parts: Iterable[Tensor]) -> Tensor:
    return torch.cat([p.reshape(-1) for p in parts])
