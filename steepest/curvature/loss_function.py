"""The loss as a function of the point alone: L(w), its gradient and its Hessian, for any vector w [N].

    L(w) = Σ nᵢ Lᵢ(w) / Σ nᵢ        over the batches i of a frozen sample

What else a loss depends on is held still: the samples, evaluation mode (no dropout; a batch norm's statistics as they
are), random numbers. The model is a copy, so the task's stays where it is.
"""

import copy
import itertools
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from steepest import seeds
from steepest.curvature.hessian import Hessian, evaluated, flat
from steepest.curvature.second_derivatives import faulty, why_not_twice
from steepest.errors import InputError, TaskError
from steepest.tasks.data import count, disjoint_samples, map_tensors
from steepest.tasks.objective import Loss, Objective
from steepest.tasks.space import Space
from steepest.tasks.task import Task

CHUNK = 512
"""Samples in a batch of a frozen sample: a product over 1,293 digits takes 1.5 to 1.8 × a loss and gradient in batches
of 512, 2.1 to 2.2 in batches of 256 and 1.8 to 2.1 in one (float64 and float32, one core of a shared AMD EPYC)."""
ROUNDED = 1e3
"""A mean of samples' losses and the batch's loss differ by rounding where they differ by less than so many ulps."""


class LossFunction:
    """L(w) of a task on a frozen sample.

    Attributes:
        size: N.
        dtype, device: of the points it takes and of what follows from them.
        why: it is not the dtype that was asked for, in words; empty where it is.
        start: the point [N] where the copied model is.
        objective: that model with its loss.
        space: where the point's numbers belong.
        batches: the frozen sample.

    Args:
        task: whose loss it is.
        batches: the frozen sample, in batches; of a task without data [None].
        dtype: of all arithmetic, where the model works in it; else the model's own.
        model: whose weights are `start` and whose buffers hold, such as a trained batch norm's statistics; it is
            copied. None: the task's at its start.
    """

    def __init__(
        self,
        task: Task,
        batches: Iterable[Any],
        dtype: torch.dtype = torch.float64,
        model: nn.Module | None = None,
    ) -> None:
        copied = task.copy(0) if model is None else copy.deepcopy(model)
        copied = getattr(copied, "_orig_mod", copied).eval()  # what torch.compile makes has one derivative only
        self.space, self.batches = Space(copied), list(batches)
        self.size = self.space.size
        self.objective = Objective(copied, task.loss, task.objective, task.count)
        self._whole = Loss(self.objective)
        self._names = [f"model.{name}" for name, p in copied.named_parameters() if p.requires_grad]
        own = self.space.gather().dtype
        self._cast(dtype)
        self.why = self._refusal() if dtype != own else ""
        if self.why:
            self._cast(own)
        self._counts = [self.objective.loss_weight(b) for b in self.batches]
        self._held: list[float] = []

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
            total, gradient = total + n * loss.item(), gradient + n * flat(found)
        return total, gradient

    def losses(self, w: Tensor) -> Tensor:
        """What each sample adds to the loss [n], float64: their mean is L(w).

        It is a sample's own loss where the loss is a mean over samples, else that × its share of what is counted.

        Raises:
            TaskError: the loss is no such mean.
        """
        with torch.no_grad():
            return torch.cat([self._apart(self._parts(w), batch) for batch in self.batches]).double()

    def curvatures(self, w: Tensor, v: Tensor) -> Tensor:
        """d²/dt² ℓᵢ(w + t v) at t = 0 of each sample [n], float64: their mean is vᵀ∇²L(w)v.

        With u = 1 it is ∂/∂uᵢ of d²/dt² Σ uᵢ ℓᵢ: three passes back for all samples of a batch. On the demo's network
        that takes 6 × a loss and gradient, a jvp of a jvp 15 (256 samples, one core of an AMD EPYC, torch 2.13).

        Raises:
            TaskError: the loss is not a mean over samples.
        """
        return torch.cat([self._curved(self._shaped(w), self._shaped(v), batch) for batch in self.batches])

    def hessian(self, w: Tensor) -> Hessian:
        """∇²L(w), known by its products with vectors.

        Raises:
            InputError: the loss at the point is not finite.
            TaskError: a module without a second derivative; says which.
        """
        parts, weighted = self._parts(w), self._weighted()
        if not self._held:
            self._check_twice(weighted[0][0], parts)
            one = evaluated(lambda: self._loss(parts, weighted[0][0]), parts)
            self._held = [one * count(b) / count(weighted[0][0]) for b, _ in weighted]
        return Hessian(parts, [(lambda b=b: self._loss(parts, b), n) for b, n in weighted], self._held)

    def apart(self) -> "list[LossFunction]":
        """One for each batch of the sample, of the same model."""
        found = []
        for batch, n in zip(self.batches, self._counts, strict=True):
            one = copy.copy(self)
            one.batches, one._counts, one._held = [batch], [n], []
            found.append(one)
        return found

    @property
    def by_parameter(self) -> dict[str, slice]:
        """Where each parameter's numbers stand in the point."""
        ends = list(itertools.accumulate(self.space.sizes))
        return {name: slice(e - n, e) for name, n, e in zip(self.space.names, self.space.sizes, ends, strict=True)}

    @property
    def by_layer(self) -> dict[str, slice]:
        """Where the numbers of each module's own parameters stand in the point, by the module's name."""
        found: dict[str, slice] = {}
        for name, place in self.by_parameter.items():
            layer = name.rpartition(".")[0]
            found[layer] = slice(found.get(layer, place).start, place.stop)
        return found

    # -- the loss on a batch -------------------------------------------------------------------------------------------

    def _cast(self, dtype: torch.dtype) -> None:
        """Puts the model into a dtype, and the batches beside it."""
        self._whole.to(dtype)
        self.start, self.dtype = self.space.gather(), dtype
        self.device = self.start.device

        def cast(x: Tensor) -> Tensor:
            return x.to(self.device, dtype if x.is_floating_point() else x.dtype)

        self.batches = [map_tensors(b, cast) for b in self.batches]

    def _refusal(self) -> str:
        """Why the model does not work in this dtype; empty where it does."""
        try:
            with torch.no_grad():
                found = self._loss(self._parts(self.start), self.batches[0]).dtype
        except Exception as error:  # whatever the user's module makes of it
            return f"the model does not take {self.dtype}: {error}"
        return "" if found == self.dtype else f"the loss is {found} where weights and data are {self.dtype}"

    def _weighted(self) -> list[tuple[Any, float]]:
        total = sum(self._counts)
        return [(batch, n / total) for batch, n in zip(self.batches, self._counts, strict=True) if n]

    def _shaped(self, w: Tensor) -> list[Tensor]:
        """A vector as tensors of the parameters' shapes."""
        if w.shape != (self.size,):
            raise InputError(f"a point of shape {tuple(w.shape)} is given; this task has {self.size} weights")
        split = w.detach().to(self.device, self.dtype).split(list(self.space.sizes))
        return [x.view(s) for x, s in zip(split, self.space.shapes, strict=True)]

    def _parts(self, w: Tensor) -> list[Tensor]:
        """The point as the model's parameters, each a leaf."""
        return [x.requires_grad_() for x in self._shaped(w)]

    def _loss(self, parts: Sequence[Tensor], batch: Any) -> Tensor:
        """The pass gets copies of the buffers: what it does to them is nothing to the next."""
        tensors = {name: b.clone() for name, b in self._whole.named_buffers()}
        tensors |= dict(zip(self._names, parts, strict=True))
        with self._still():
            return functional_call(self._whole, tensors, (batch,))

    @contextmanager
    def _still(self) -> Iterator[None]:
        """The same random numbers in every pass, and attention that has a second derivative."""
        on_gpu = self.device.type == "cuda"
        with (
            torch.random.fork_rng([self.device], enabled=on_gpu),
            seeds.ours(0, "surface"),
            sdpa_kernel(SDPBackend.MATH),
        ):
            if on_gpu:
                torch.cuda.manual_seed(0)
            yield

    def _check_twice(self, batch: Any, parts: Sequence[Tensor]) -> None:
        why = why_not_twice(lambda moved: self._loss(moved, batch), parts)
        if not why:
            return
        with self._still():
            where = faulty(self.objective.model, lambda: self.objective.loss(batch)) or "the loss"
        raise TaskError(
            f"{where} has no second derivative ({why}); curvature needs one: write its backward pass in torch "
            "operations that can be differentiated again"
        )

    # -- sample by sample ----------------------------------------------------------------------------------------------

    def _apart(self, parts: Sequence[Tensor], batch: Any) -> Tensor:
        """What each sample of a batch adds to the loss [n]."""
        if batch is None:
            return self._loss(parts, None)[None]
        try:
            singles = [map_tensors(batch, lambda x, i=i: x[i : i + 1]) for i in range(count(batch))]
            counts = torch.tensor([self.objective.loss_weight(one) for one in singles]).to(self.start)
        except IndexError as error:
            raise TaskError(f"a batch of this task cannot be taken apart into samples: {error}") from error
        counted = counts.nonzero().flatten()
        if len(counted) < len(counts):  # a mean over nothing is no number
            batch, singles = map_tensors(batch, lambda x: x[counted]), [singles[i] for i in counted.tolist()]
        try:
            found = vmap(lambda sample: self._loss(parts, map_tensors(sample, lambda x: x[None])))(batch)
        except Exception:  # whatever torch, or the model, makes of being mapped
            found = torch.stack([self._loss(parts, one) for one in singles])
        self._check_mean(parts, batch, found, counts[counted])
        scale = sum(count(b) for b in self.batches) / sum(self._counts)
        return torch.zeros_like(counts).index_put((counted,), scale * counts[counted] * found)

    @torch.no_grad()
    def _check_mean(self, parts: Sequence[Tensor], batch: Any, losses: Tensor, counts: Tensor) -> None:
        mean, whole = (losses @ counts / counts.sum()).item(), self._loss(parts, batch).item()
        if abs(mean - whole) > ROUNDED * torch.finfo(self.dtype).eps * max(abs(whole), losses.abs().max().item()):
            raise TaskError(
                f"the loss of a batch is {whole:.6g}, the mean of its samples' losses {mean:.6g}; expected is a mean "
                "over samples, or over what count(batch) counts: a loss that mixes or weights samples otherwise "
                "cannot be looked at sample by sample"
            )

    def _curved(self, at: Sequence[Tensor], v: Sequence[Tensor], batch: Any) -> Tensor:
        t = torch.zeros((), dtype=self.dtype, device=self.device, requires_grad=True)
        losses = self._apart([p + t * x for p, x in zip(at, v, strict=True)], batch)
        u = torch.ones_like(losses, requires_grad=True)
        return _derivative(_derivative(_derivative((u * losses).sum(), t), t), u).detach().double()


def sample_loss_functions(
    task: Task,
    sizes: Sequence[int],
    seed: int = 0,
    *,
    data: Any = None,
    dtype: torch.dtype = torch.float64,
    model: nn.Module | None = None,
    chunk: int = CHUNK,
) -> tuple[LossFunction, ...]:
    """Surfaces on disjoint random samples: one to look for directions, one held back, …

    Args:
        task: whose loss it is; of one without data all surfaces are the same.
        sizes: samples of each. An iterable gives its first ones, and no fewer than its batches have.
        seed: of the samples.
        data: the split that they are from; the task's training data by default.
        dtype, model: as in LossFunction.
        chunk: samples of a batch, where these do not come in batches.

    Raises:
        InputError: there are fewer samples.
    """
    parts = disjoint_samples(task.data if data is None else data, sizes, chunk, seed)
    return tuple(LossFunction(task, batches, dtype, model) for batches in parts)


def _derivative(y: Tensor, x: Tensor) -> Tensor:
    """dy/dx, which knows its own; 0 where y does not depend on x."""
    if not y.requires_grad:
        return torch.zeros_like(x)
    return torch.autograd.grad(y, x, create_graph=True, materialize_grads=True)[0]
