"""The loss as a function of all weights: L(w), its gradient and its Hessian, for any vector w [N].

    L(w) = Σ nᵢ Lᵢ(w) / Σ nᵢ        over the batches i of a fixed sample

Everything else that a loss depends on is fixed: samples, evaluation mode (no dropout; batch norm with its running
statistics), random numbers. The model is a copy, so the task's model does not change.
"""

import copy
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from steepest import seeds
from steepest.curvature import hessian
from steepest.errors import InputError, TaskError
from steepest.tasks.data import count, disjoint_samples, map_tensors
from steepest.tasks.objective import Loss, Objective
from steepest.tasks.space import Space
from steepest.tasks.task import Task

CHUNK_SAMPLES = 512
"""Samples in a batch of a fixed sample: a product over 1,293 digits takes 1.5 to 1.8 × a loss and gradient in batches
of 512, 2.1 to 2.2 in batches of 256 and 1.8 to 2.1 in one (float64 and float32, one core of a shared AMD EPYC)."""
MEAN_ULPS = 1e3
"""A mean of samples' losses and the batch's loss that differ by fewer ulps differ by rounding."""


class LossFunction:
    """L(w) of a task on a fixed sample.

    Attributes:
        size: N.
        dtype, device: of points and results.
        why: the dtype is not the one requested, in words; empty if it is.
        start: the weights [N] of the copied model.
        objective: that model with its loss.
        space: names and shapes of the parameters.
        batches: the fixed sample.

    Args:
        task: whose loss it is.
        batches: the fixed sample, in batches; [None] if the task has no data.
        dtype: of all arithmetic, if the model works in it; else the model's own.
        model: whose weights are `start` and whose buffers are used, such as a trained batch norm's statistics; it is
            copied. None: the task's initial model.
    """

    def __init__(
        self, task: Task, batches: Iterable[Any], dtype: torch.dtype = torch.float64, model: nn.Module | None = None
    ) -> None:
        own = task.copy(0) if model is None else copy.deepcopy(model)
        own = getattr(own, "_orig_mod", own).eval()  # a compiled model has only first derivatives
        self.space, self.batches = Space(own), list(batches)
        self.size = self.space.size
        self.objective = Objective(own, task)
        self._whole = Loss(self.objective)
        self._names = [f"model.{name}" for name, p in own.named_parameters() if p.requires_grad]
        own_dtype = self.space.gather().dtype
        self._cast(dtype)
        self.why = self._why_not_this_dtype() if dtype != own_dtype else ""
        if self.why:
            self._cast(own_dtype)
        self._counts = [self.objective.loss_weight(b) for b in self.batches]
        self._graph_sizes: list[float] = []

    def value(self, w: Tensor) -> float:
        """L(w)."""
        with torch.no_grad():
            return sum(n * self._loss(self._parts(w), b).item() for b, n in self._weighted_batches())

    def gradient(self, w: Tensor) -> tuple[float, Tensor]:
        """L(w) and ∇L(w) [N]."""
        total, gradient = 0.0, torch.zeros(self.size, dtype=self.dtype, device=self.device)
        for batch, n in self._weighted_batches():
            parts = self._parts(w)
            loss = self._loss(parts, batch)
            by_part = torch.autograd.grad(loss, parts, materialize_grads=True)
            total, gradient = total + n * loss.item(), gradient + n * hessian.flat(by_part)
        return total, gradient

    def losses(self, w: Tensor) -> Tensor:
        """The losses of the samples [n], float64, whose mean is L(w).

        If the loss is not a mean over samples but over other units (tokens), a sample's loss is weighted by its units.

        Raises:
            TaskError: the loss is not such a mean.
        """
        with torch.no_grad():
            return torch.cat([self._sample_losses(self._parts(w), batch) for batch in self.batches]).double()

    def curvatures(self, w: Tensor, v: Tensor) -> Tensor:
        """d²/dt² ℓᵢ(w + t v) at t = 0 of each sample [n], float64: their mean is vᵀ∇²L(w)v.

        With u = 1 it is ∂/∂uᵢ of d²/dt² Σ uᵢ ℓᵢ: three backward passes for all samples of a batch. On the demo's
        network that takes 6 × a loss and gradient, a jvp of a jvp 15 (256 samples, a core of an AMD EPYC, torch 2.13).

        Raises:
            TaskError: the loss is not a mean over samples.
        """
        return torch.cat([self._batch_curvatures(self._split(w), self._split(v), batch) for batch in self.batches])

    def hessian(self, w: Tensor) -> hessian.Hessian:
        """∇²L(w), by its products with vectors.

        Raises:
            InputError: the loss at the point is not finite.
            TaskError: a module without a second derivative; says which.
        """
        parts, batches = self._parts(w), self._weighted_batches()
        if not self._graph_sizes:
            self._check_second_derivative(batches[0][0], parts)
            one = hessian.graph_bytes(lambda: self._loss(parts, batches[0][0]), parts)
            self._graph_sizes = [one * count(b) / count(batches[0][0]) for b, _ in batches]
        return hessian.Hessian(parts, [(lambda b=b: self._loss(parts, b), n) for b, n in batches], self._graph_sizes)

    def per_batch(self) -> "list[LossFunction]":
        """One loss function for each batch of the sample, with the same model."""
        singles = []
        for batch, n in zip(self.batches, self._counts, strict=True):
            one = copy.copy(self)
            one.batches, one._counts, one._graph_sizes = [batch], [n], []
            singles.append(one)
        return singles

    @property
    def by_layer(self) -> dict[str, slice]:
        """The slice of each module's own parameters in the vector of weights, by the module's name."""
        layers, end = dict[str, slice](), 0
        for name, size in zip(self.space.names, self.space.sizes, strict=True):
            layer, start, end = name.rpartition(".")[0], end, end + size
            layers[layer] = slice(layers[layer].start if layer in layers else start, end)
        return layers

    # -- the loss on a batch -------------------------------------------------------------------------------------------

    def _cast(self, dtype: torch.dtype) -> None:
        """Converts model and batches to a dtype."""
        self._whole.to(dtype)
        self.start, self.dtype = self.space.gather(), dtype
        self.device = self.start.device

        def cast(x: Tensor) -> Tensor:
            return x.to(self.device, dtype if x.is_floating_point() else x.dtype)

        self.batches = [map_tensors(b, cast) for b in self.batches]

    def _why_not_this_dtype(self) -> str:
        """Why the model does not work in this dtype; empty if it does."""
        try:
            with torch.no_grad():
                dtype = self._loss(self._parts(self.start), self.batches[0]).dtype
        except Exception as error:  # the user's module may raise anything
            return f"the model does not take {self.dtype}: {error}"
        return "" if dtype == self.dtype else f"the loss is {dtype}, weights and data are {self.dtype}"

    def _weighted_batches(self) -> list[tuple[Any, float]]:
        total = sum(self._counts)
        return [(batch, n / total) for batch, n in zip(self.batches, self._counts, strict=True) if n]

    def _split(self, w: Tensor) -> list[Tensor]:
        """A vector as tensors of the parameters' shapes."""
        if w.shape != (self.size,):
            shape = f"({self.size},), one number for each weight"
            raise InputError(f"the point must have shape {shape}, got {tuple(w.shape)}")
        split = w.detach().to(self.device, self.dtype).split(list(self.space.sizes))
        return [x.view(s) for x, s in zip(split, self.space.shapes, strict=True)]

    def _parts(self, w: Tensor) -> list[Tensor]:
        """The point as the model's parameters, each a leaf."""
        return [x.requires_grad_() for x in self._split(w)]

    def _loss(self, parts: Sequence[Tensor], batch: Any) -> Tensor:
        """L on a batch. The model gets copies of its buffers, so that evaluations do not affect each other."""
        tensors = {name: b.clone() for name, b in self._whole.named_buffers()}
        tensors |= dict(zip(self._names, parts, strict=True))
        with self._deterministic():
            return functional_call(self._whole, tensors, (batch,))

    @contextmanager
    def _deterministic(self) -> Iterator[None]:
        """The same random numbers in every pass, and attention that has a second derivative."""
        on_gpu = self.device.type == "cuda"
        device_rng = torch.random.fork_rng([self.device], enabled=on_gpu)
        with device_rng, seeds.ours(0, "surface"), sdpa_kernel(SDPBackend.MATH):
            if on_gpu:
                torch.cuda.manual_seed(0)
            yield

    def _check_second_derivative(self, batch: Any, parts: Sequence[Tensor]) -> None:
        why = hessian.why_not_twice_differentiable(lambda at: self._loss(at, batch), parts)
        if not why:
            return
        with self._deterministic():
            where = hessian.modules_without_second_derivative(self.objective.model, lambda: self.objective.loss(batch))
        raise TaskError(
            f"{where or 'the loss'} has no second derivative ({why}), which curvature needs. Write its backward pass "
            "in torch operations that can be differentiated again."
        )

    # -- sample by sample ----------------------------------------------------------------------------------------------

    def _sample_losses(self, parts: Sequence[Tensor], batch: Any) -> Tensor:
        """The losses of a batch's samples [n], weighted so that their mean is L(w)."""
        if batch is None:
            return self._loss(parts, None)[None]
        try:
            singles = [map_tensors(batch, lambda x, i=i: x[i : i + 1]) for i in range(count(batch))]
            counts = torch.tensor([self.objective.loss_weight(one) for one in singles]).to(self.start)
        except IndexError as error:
            raise TaskError(f"the batches of this task cannot be split into samples: {error}") from error
        nonzero = counts.nonzero().flatten()
        if len(nonzero) < len(counts):  # a mean over no units is NaN
            batch, singles = map_tensors(batch, lambda x: x[nonzero]), [singles[i] for i in nonzero.tolist()]
        try:
            losses = vmap(lambda sample: self._loss(parts, map_tensors(sample, lambda x: x[None])))(batch)
        except Exception:  # an operation or a model that vmap cannot map
            losses = torch.stack([self._loss(parts, one) for one in singles])
        self._check_mean(parts, batch, losses, counts[nonzero])
        scale = sum(count(b) for b in self.batches) / sum(self._counts)
        return torch.zeros_like(counts).index_put((nonzero,), scale * counts[nonzero] * losses)

    @torch.no_grad()
    def _check_mean(self, parts: Sequence[Tensor], batch: Any, losses: Tensor, counts: Tensor) -> None:
        mean, whole = (losses @ counts / counts.sum()).item(), self._loss(parts, batch).item()
        if abs(mean - whole) > MEAN_ULPS * torch.finfo(self.dtype).eps * max(abs(whole), losses.abs().max().item()):
            raise TaskError(
                "the loss of a batch must be the mean over its samples, or over what count(batch) counts, got "
                f"{whole:.6g} and a mean of {mean:.6g}: a loss that mixes or weights samples cannot be split into them"
            )

    def _batch_curvatures(self, at: Sequence[Tensor], v: Sequence[Tensor], batch: Any) -> Tensor:
        t = torch.zeros((), dtype=self.dtype, device=self.device, requires_grad=True)
        losses = self._sample_losses([p + t * x for p, x in zip(at, v, strict=True)], batch)
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
    chunk: int = CHUNK_SAMPLES,
) -> tuple[LossFunction, ...]:
    """Loss functions on disjoint random samples, such as one to choose directions and one to evaluate them.

    Args:
        task: whose loss it is, with data.
        sizes: samples of each. An iterable gives its first samples, in whole batches.
        seed: of the samples.
        data: to draw the samples from; the task's training data by default.
        dtype, model: as in LossFunction.
        chunk: samples of a batch, if the data do not come in batches.

    Raises:
        InputError: there are fewer samples.
    """
    parts = disjoint_samples(task.data if data is None else data, sizes, chunk, seed)
    return tuple(LossFunction(task, batches, dtype, model) for batches in parts)


def _derivative(y: Tensor, x: Tensor) -> Tensor:
    """dy/dx with its graph; 0 if y does not depend on x."""
    if not y.requires_grad:
        return torch.zeros_like(x)
    return torch.autograd.grad(y, x, create_graph=True, materialize_grads=True)[0]
