"""The loss as a function of all weights: L(w), its gradient and its Hessian, for any vector w [N].

    L(w) = Σ sᵢ Lᵢ(w)        over the batches i of a fixed sample

Everything else that a loss depends on is fixed: samples, evaluation mode (no dropout; batch norm with its running
statistics), random numbers. The model is a copy, so the task's model does not change.
"""

import copy
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel

from steepest import seeds
from steepest.curvature import hessian
from steepest.curvature.hessian import DifferenceHessian, Hessian
from steepest.curvature.sample_losses import NOT_TOGETHER, Split, reason, split_by_output, split_by_sample
from steepest.curvature.work import Work, measure_work
from steepest.errors import InputError, TaskError
from steepest.tasks.data import count, map_tensors
from steepest.tasks.module_copy import copy_module
from steepest.tasks.module_state import plain_name
from steepest.tasks.objective import Loss, Objective
from steepest.tasks.space import Space
from steepest.tasks.task import Task
from steepest.tasks.with_loss import ModelWithLoss


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
        shares: sᵢ of each batch.
        messages: how it is evaluated, where that is not as usual, in words.
        own_dtype: of the model's weights.
        has_second_derivative: as far as is known; where it is False, curvature is by differences.
        has_slow_samples: whether the model sees one sample after another to give their losses.

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
        own = task.copy(0) if model is None else copy_module(model)
        own = getattr(own, "_orig_mod", own)  # a compiled model has only first derivatives
        own.eval()
        self.space, self.batches = Space(own), list(batches)
        self.size = self.space.size
        self.objective = Objective(own, task)
        self._has_aligned_copies = False
        self._whole, self._output = Loss(self.objective), Loss(self.objective, self.objective.output)
        self._names = [f"model.{name}" for name, p in own.named_parameters() if p.requires_grad]
        self._hooks = _gradient_hooks(model, task.model)
        self._has_shared_tensors = _has_shared_tensors(self._output)
        own_dtype = self.own_dtype = self.space.gather().dtype
        self._cast(dtype)
        self.why = self._why_not_this_dtype() if dtype != own_dtype else ""
        if self.why:
            self._cast(own_dtype)
        self.messages = list[str]()
        self.shares = self._shares()
        self.has_second_derivative, self.has_slow_samples = True, False
        self._graph_sizes: list[float] = []
        self._splits: list[Split] | None = None
        self._work: Work | None = None

    def value(self, w: Tensor) -> float:
        """L(w)."""
        return sum(n * self._loss(self._split(w), b).item() for b, n in self._weighted_batches())

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
        """The losses of the samples [n], float64, whose mean is L(w): n aᵢ ℓᵢ(w), with L = Σ aᵢ ℓᵢ.

        Raises:
            TaskError: the loss is not such a sum over samples.
        """
        return self._over_samples(w, lambda split: split.losses(self._split(w)))

    def curvatures(self, w: Tensor, v: Tensor) -> Tensor:
        """d²/dt² n aᵢ ℓᵢ(w + t v) at t = 0 of each sample [n], float64: their mean is vᵀ∇²L(w)v.

        With u = 1 it is ∂/∂uᵢ of d²/dt² Σ uᵢ ℓᵢ: three backward passes for all samples of a batch. On the demo's
        network that takes 6 × a loss and gradient, a jvp of a jvp 15 (256 samples, a core of an AMD EPYC, torch 2.13).

        Raises:
            TaskError: the loss is not such a sum over samples.
        """
        at, along = self._split(w), self._split(v)
        if self.has_second_derivative:
            return self._over_samples(w, lambda split: self._curvatures(split, at, along))
        h = torch.finfo(self.dtype).eps ** (1 / 4) * max(1.0, float(w.norm())) / max(float(v.norm()), 1e-300)
        ahead, here, behind = (self.losses(w.to(v) + by * v) for by in (h, 0.0, -h))
        return (ahead - 2 * here + behind) / h**2

    def sample_weights(self, w: Tensor) -> Tensor:
        """n aᵢ ÷ Σ aᵢ [n], float64: what a sample counts, relative to the others; 1 for a mean and for a sum.

        Args:
            w: a point where the loss is finite.

        Raises:
            TaskError: the loss is not such a sum over samples.
        """
        weights = self._over_samples(w, lambda split: torch.ones_like(split.rows, dtype=self.dtype))
        return weights / weights.mean()

    def hessian(self, w: Tensor) -> Hessian:
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
        return Hessian(parts, [(lambda b=b: self._loss(parts, b), n) for b, n in batches], self._graph_sizes)

    def best_hessian(self, w: Tensor) -> Hessian | DifferenceHessian:
        """∇²L(w); by differences of gradients, which is said, where the loss has no second derivative.

        Raises:
            InputError: the loss at the point is not finite.
        """
        if self.has_second_derivative:
            try:
                return self.hessian(w)
            except InputError:
                raise
            except Exception as error:  # the user's module may raise anything
                self.has_second_derivative = False
                why = str(error).partition(", which curvature")[0] if isinstance(error, TaskError) else reason(error)
                self.messages.append(f"{why}: curvature is measured by differences of gradients.")
        return DifferenceHessian(self.gradient, hessian.flat(self._split(w)))

    def per_batch(self) -> "list[LossFunction]":
        """One loss function for each batch of the sample, with the same model: the batch's own loss."""
        singles = []
        for batch, share in zip(self.batches, self.shares, strict=True):
            one = copy.copy(self)
            one.batches, one.shares, one._graph_sizes, one._splits = [batch], [float(share != 0)], [], None
            singles.append(one)
        return singles

    def work(self) -> Work:
        """What a pass over samples takes, by the operations of the first batch."""
        if self._work is None:
            batch, parts = self.batches[0], self._parts(self.start)  # without gradients operations would be fused
            self._work = measure_work(lambda: self._loss(parts, batch), count(batch), self.size)
        return self._work

    @property
    def samples(self) -> int:
        """Samples of all batches."""
        return sum(map(count, self.batches))

    @property
    def is_sum(self) -> bool:
        """Whether L is a sum over samples, so that it grows with their number; as far as is known."""
        if self._splits is not None:
            return self.samples > 1 and all(bool((split.factors[split.rows] == 1).all()) for split in self._splits)
        if len(self.shares) > 1:
            return all(share == 1 for share in self.shares)
        return self.samples > 1 and self.objective.find_reduction(self.batches[0]) == "sum"

    def share_of(self, samples: float) -> float:
        """L on so many random samples as a share of this L: 1 for a mean; samples ÷ n for a sum."""
        return samples / self.samples if self.is_sum else 1.0

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
        parts = self._parts(self.start)
        try:
            loss = self._loss(parts, self.batches[0])
            torch.autograd.grad(loss, parts, materialize_grads=True)
        except Exception as error:  # the user's module may raise anything
            return f"the model does not take {self.dtype}: {error}"
        dtype = loss.dtype
        return "" if dtype == self.dtype else f"the loss is {dtype}, weights and data are {self.dtype}"

    def _shares(self) -> list[float]:
        """sᵢ of the batches, as the loss has them at the weights of the copied model."""
        shares = self.objective.shares(self.batches)
        if self.objective.note:
            self.messages.append(self.objective.note)
        return shares

    def _weighted_batches(self) -> list[tuple[Any, float]]:
        return [(batch, n) for batch, n in zip(self.batches, self.shares, strict=True) if n]

    def _split(self, w: Tensor) -> list[Tensor]:
        """A vector as tensors of the parameters' shapes."""
        if w.shape != (self.size,):
            shape = f"({self.size},), one number for each weight"
            raise InputError(f"the point must have shape {shape}, got {tuple(w.shape)}")
        split = w.detach().to(self.device, self.dtype).split(list(self.space.sizes))
        return [x.view(s) for x, s in zip(split, self.space.shapes, strict=True)]

    def _parts(self, w: Tensor) -> list[Tensor]:
        """The point as the model's parameters, each a leaf with the hooks of the user's parameter."""
        parts = [x.requires_grad_() for x in self._split(w)]
        for name, part in zip(self.space.names, parts, strict=True):
            for hook in self._hooks.get(name, ()):
                part.register_hook(hook)
        return parts

    def _loss(self, parts: Sequence[Tensor], batch: Any) -> Tensor:
        """L on a batch."""
        return self._call(self._whole, parts, batch)

    def _call(self, module: Loss, parts: Sequence[Tensor], batch: Any) -> Any:
        """The module at a point. It gets copies of its buffers, so that evaluations do not affect each other."""
        if self._has_aligned_copies:
            return self._run(module, [p.clone() for p in parts], batch)
        try:
            return self._run(module, parts, batch)
        except RuntimeError:  # torch.view_as_complex, for one, takes no view at an odd place of a vector
            if not any(p.storage_offset() % 2 for p in parts):
                raise
            result = self._run(module, [p.clone() for p in parts], batch)
        self._has_aligned_copies = True
        return result

    def _run(self, module: Loss, parts: Sequence[Tensor], batch: Any) -> Any:
        tensors = {name: b.clone() for name, b in module.named_buffers()}
        tensors |= dict(zip(self._names, parts, strict=True))
        with self.deterministic():
            return functional_call(module, tensors, (batch,), tie_weights=self._has_shared_tensors)

    def needs_aligned_weights(self) -> bool:
        """Whether the model takes no views of one vector as weights where they begin at odd places; tried."""
        if any(size % 2 for size in self.space.sizes) and not self._has_aligned_copies:
            with torch.no_grad(), suppress(Exception):  # what the model raises, it raises again
                for place in (0, 1):
                    vector = torch.cat([self.start[:place], self.start])[place:]
                    self._loss(self._split(vector), self.batches[0])
        return self._has_aligned_copies

    @contextmanager
    def deterministic(self) -> Iterator[None]:
        """The same random numbers in every pass, and attention that has a second derivative."""
        on_gpu = self.device.type == "cuda"
        device_rng = torch.random.fork_rng([self.device], enabled=on_gpu)
        with device_rng, seeds.ours(0, "surface"), plain_kernels():
            if on_gpu:
                torch.cuda.manual_seed(0)
            yield

    def _check_second_derivative(self, batch: Any, parts: Sequence[Tensor]) -> None:
        why = hessian.why_not_twice_differentiable(lambda at: self._loss(at, batch), parts)
        if not why:
            return
        with self.deterministic():
            where = hessian.modules_without_second_derivative(self.objective.model, lambda: self.objective.loss(batch))
        raise TaskError(
            f"{where or 'the loss'} has no second derivative ({why}), which curvature needs. Write its backward pass "
            "in torch operations that can be differentiated again."
        )

    # -- sample by sample ----------------------------------------------------------------------------------------------

    def _over_samples(self, w: Tensor, of_rows: Callable[[Split], Tensor]) -> Tensor:
        """n aᵢ xᵢ of all samples [n], where `of_rows` gives the xᵢ of a batch's samples with weight."""
        if self.batches == [None]:
            one = torch.zeros(1, dtype=torch.long, device=self.device)
            return of_rows(Split(one.double() + 1, one, lambda at: self._loss(at, None)[None], "")).detach().double()
        if self._splits is None:
            pairs = zip(self.batches, self.shares, strict=True)
            self._splits = [self._split_batch(self._split(w), batch, share) for batch, share in pairs]
        n, parts = sum(len(split.factors) for split in self._splits), []
        for split, share in zip(self._splits, self.shares, strict=True):
            factors = n * share * split.factors
            x = of_rows(split).detach().double()
            parts.append(torch.zeros_like(factors).index_put((split.rows,), factors[split.rows] * x))
        return torch.cat(parts)

    def _split_batch(self, at: Sequence[Tensor], batch: Any, share: float) -> Split:
        """The batch's loss as a sum over its samples; says once if they go one after another."""
        if not share:  # its loss is a mean over nothing
            nothing = torch.zeros(count(batch), dtype=torch.float64, device=self.device)
            return Split(nothing, nothing.nonzero().flatten(), lambda at: nothing[:0].to(self.dtype), "")
        split = None
        if self.objective.has_output_loss and not isinstance(self.objective.model, ModelWithLoss):
            with suppress(Exception):  # outputs that are no rows, or that torch cannot take apart
                output = lambda point, some: self._call(self._output, point, some)  # noqa: E731
                split = split_by_output(batch, at, output, self._loss_of_output, self.objective.loss_function)
        if split is None:
            split = split_by_sample(batch, at, self._loss, self.objective.loss_weight)
            self.has_slow_samples = bool(split.why_alone)
        if split.why_alone and not self.messages:
            self.messages.append(
                f"{NOT_TOGETHER} ({split.why_alone}): they are evaluated one after another, or in batches."
            )
        return split

    def _loss_of_output(self, output: Any, target: Any) -> Tensor:
        with self.deterministic():
            return self.objective.loss_of(output, target)

    def _curvatures(self, split: Split, at: Sequence[Tensor], v: Sequence[Tensor]) -> Tensor:
        t = torch.zeros((), dtype=self.dtype, device=self.device, requires_grad=True)
        losses = split.losses([p + t * x for p, x in zip(at, v, strict=True)])
        u = torch.ones_like(losses, requires_grad=True)
        return _derivative(_derivative(_derivative((u * losses).sum(), t), t), u)


@contextmanager
def plain_kernels() -> Iterator[None]:
    """Attention by plain operations, which have second derivatives and go through vmap.

    Without gradients nn.TransformerEncoder would compute nested tensors.
    """
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


def _has_shared_tensors(module: nn.Module) -> bool:
    """Whether a tensor has two names; without such, torch need not look for them at each evaluation."""
    named = [*module.named_parameters(remove_duplicate=False), *module.named_buffers(remove_duplicate=False)]
    return len({id(tensor) for _, tensor in named}) < len(named)


def _gradient_hooks(*modules: Any) -> dict[str, list[Callable]]:
    """Hooks on gradients, such as one that freezes rows, by the parameter's name: copies of a module have lost them."""
    hooks: dict[str, list[Callable]] = {}
    for module in modules:
        for name, p in module.named_parameters() if isinstance(module, nn.Module) else ():
            if p._backward_hooks:
                hooks.setdefault(plain_name(name), list(p._backward_hooks.values()))
    return hooks


def _derivative(y: Tensor, x: Tensor) -> Tensor:
    """dy/dx with its graph; 0 if y does not depend on x."""
    if not y.requires_grad:
        return torch.zeros_like(x)
    return torch.autograd.grad(y, x, create_graph=True, materialize_grads=True)[0]
