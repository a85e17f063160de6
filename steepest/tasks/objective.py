"""L(w) and ∇L(w) on a batch, at the model's current weights.

L(w) = Σ nᵢ Lᵢ(w) / Σ nᵢ        over micro-batches i, weighted by the number of samples or tokens that Lᵢ is a mean over
"""

import copy
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import vmap

from steepest import seeds
from steepest.errors import InputError, TaskError
from steepest.tasks import data
from steepest.tasks.buffers import Buffers
from steepest.tasks.task import Task

PRECISIONS = {None: None, "float32": None, "bfloat16": torch.bfloat16}


class Objective:
    """The loss of a model as a function of its weights.

    Args:
        model: maps a batch's inputs to an output.
        task: with the loss, or an objective in its place, and the number of items that a batch's loss is a mean over.
        precision: None (the model's own), "float32" (the same), or "bfloat16": forward pass and loss under autocast;
            weights and updates keep their dtype.
        device: device type for autocast.

    Raises:
        InputError: the precision is unknown.
    """

    def __init__(self, model: nn.Module, task: Task, precision: str | None = None, device: str = "cpu") -> None:
        if precision not in PRECISIONS:
            raise InputError(
                f"precision must be 'bfloat16' or 'float32', got {precision!r}. For float64, convert model and data."
            )
        self.model, self._loss, self._whole, self._count = model, task.loss, task.objective, task.count
        self._autocast_dtype = PRECISIONS[precision]
        self._device = torch.device(device).type

    def with_model(self, model: nn.Module) -> "Objective":
        """The same objective for another module."""
        other = copy.copy(self)
        other.model = model
        return other

    def loss(self, batch: Any) -> Tensor:
        """L(w) on a batch, with its graph.

        Raises:
            TaskError: the loss is not a scalar tensor.
        """
        return self._forward(batch)[1]

    def gradient(self, batches: Sequence[Any], tensors: Iterable[Tensor]) -> float:
        """Writes ∇L(w) to the tensors' `.grad` and returns L(w).

        Micro-batches with weight 0 are skipped: their loss is a mean over nothing.

        Args:
            batches: the micro-batches of one step.
            tensors: the weights; their old gradients are dropped.

        Raises:
            TaskError: the loss is not a scalar or has no gradient, or the micro-batches cannot be weighted.
        """
        return self.backward(batches, tensors).item()

    def backward(self, batches: Sequence[Any], tensors: Iterable[Tensor]) -> Tensor:
        """The same as `gradient`, but L(w) stays on its device, without synchronisation."""
        for p in tensors:
            p.grad = None
        if len(batches) == 1:
            value = self.loss(batches[0])
            _backward(value)
            return value.detach()
        counts = [self.loss_weight(batch) for batch in batches]
        total = sum(counts)
        if not total:
            raise TaskError(_no_weight(f"each of the {len(counts)} micro-batches of a step"))
        parts = []
        for batch, n in zip(batches, counts, strict=True):
            if n:
                value = self.loss(batch)
                _backward(value * (n / total))
                parts.append(value.detach().double() * n / total)
        return sum(parts[1:], parts[0])

    @property
    def has_output_loss(self) -> bool:
        """Whether the loss is a function of the model's outputs, so that one pass serves all samples."""
        return self._loss is not None

    def output(self, batch: Any) -> Any:
        """The model's output on a batch."""
        return self.model(*batch[:-1])

    def output_loss(self, output: Any, target: Any) -> Tensor:
        """The loss as a function of the model's output; only where `has_output_loss`."""
        assert self._loss is not None
        return self._loss(output, target)

    def per_sample_losses(self, batch: Any) -> Tensor:
        """The loss of each sample of a batch [n], by one pass of the model if the loss is a function of its outputs.

        If samples are independent (a batch norm in training mode couples them), the mean is `loss`.
        """
        if self._loss is None:
            return vmap(lambda sample: self.loss(data.map_tensors(sample, lambda x: x[None])))(batch)
        output = self.model(*batch[:-1])
        loss = self._loss
        return vmap(lambda *sample: loss(*data.map_tensors(sample, lambda x: x[None])))(output, batch[-1])

    @torch.no_grad()
    def value(self, batches: Sequence[Any]) -> float:
        """L(w) over the micro-batches of one step, without its gradient."""
        counts = [self._count(batch) for batch in batches]
        return sum(self.loss(batch).item() * n for batch, n in zip(batches, counts, strict=True)) / sum(counts)

    @torch.no_grad()
    def evaluate(self, batches: Iterable[Any], metrics: Mapping[str, Callable]) -> dict[str, float]:
        """Mean loss ("loss") and metrics over all the batches, each sample once.

        A metric gets all outputs and all targets, not batch means; bfloat16 outputs of autocast are converted to
        float32. Training mode, buffers and random state are restored afterwards.

        Raises:
            TaskError: the loss is not a scalar, or the batches cannot be weighted.
        """
        total, weight, count = 0.0, 0.0, 0
        outputs: list[Any] = []
        targets: list[Tensor] = []
        with _evaluation_mode(self.model):
            for batch in batches:
                n = self.loss_weight(batch)
                output, value = self._forward(batch)
                if metrics and self._loss is not None:
                    outputs.append(output)
                    targets.append(batch[-1])
                if n:
                    total, weight = total + value.item() * n, weight + n
                count += 1
        if count and not weight:
            raise TaskError(_no_weight(f"each of the {count} evaluation batches"))
        results = {"loss": total / weight if weight else float("nan")}
        if outputs:
            output, target = torch.cat(outputs), torch.cat(targets)
            output = output.float() if output.dtype is self._autocast_dtype else output
            results |= {name: float(metric(output, target)) for name, metric in metrics.items()}
        return results

    def loss_weight(self, batch: Any) -> float:
        """The weight of a batch's loss: the number of samples or tokens it is a mean over.

        Raises:
            TaskError: `count(batch)` is not a finite number ≥ 0.
        """
        count = self._count(batch)
        try:
            n = float(count)
        except (TypeError, ValueError, RuntimeError):  # torch raises RuntimeError for a tensor of several numbers
            n = math.nan
        if not 0 <= n < math.inf:
            raise TaskError(
                f"count(batch) must return the number of samples or tokens that the batch's loss is a mean over, "
                f"got {count!r:.80}"
            )
        return n

    def _forward(self, batch: Any) -> tuple[Any, Tensor]:
        """Output and loss on a batch, under autocast if the precision asks for it; the output is None with `whole`."""
        if self._autocast_dtype is None:
            output, value = self._run(batch)
        else:
            with torch.autocast(self._device, dtype=self._autocast_dtype):
                output, value = self._run(batch)
        if not isinstance(value, Tensor):
            raise TaskError(f"The loss must be a scalar tensor, got {type(value).__name__} {value!r:.80}")
        if value.dim() != 0:
            got = f"shape {tuple(value.shape)}. Take its mean, as reduction='mean' does."
            raise TaskError(f"The loss must be a scalar tensor, got {got}")
        return output, value

    def _run(self, batch: Any) -> tuple[Any, Any]:
        if self._whole is not None:
            return None, self._whole(self.model, batch)
        assert self._loss is not None
        output = self.model(*batch[:-1])
        return output, self._loss(output, batch[-1])


class Loss(nn.Module):
    """A module whose output is a batch's loss, so that `functional_call` makes any objective a function of weights."""

    def __init__(self, objective: Objective, function: Callable[[Any], Tensor] | None = None) -> None:
        super().__init__()
        self.model, self._function = objective.model, function or objective.loss

    def forward(self, batch: Any) -> Tensor:
        return self._function(batch)


def _backward(value: Tensor) -> None:
    if not value.requires_grad:
        raise TaskError(
            "The loss does not depend on any trainable weight. Is something detached, under no_grad, or converted to "
            "a number?"
        )
    value.backward()


def _no_weight(batches: str) -> str:
    return f"count(batch) must be positive for at least one batch, got 0 for {batches}. Remove batches without weight."


@contextmanager
def _evaluation_mode(model: nn.Module) -> Iterator[None]:
    """Eval mode with its own random numbers; training mode, buffers and random state are restored afterwards."""
    modes = [(m, m.training) for m in model.modules()]
    buffers = Buffers(model)
    buffers.save()
    model.eval()
    try:
        devices = range(torch.cuda.device_count()) if torch.cuda.is_available() else ()
        with torch.random.fork_rng(devices), seeds.ours(0, "measure"):
            if devices:
                torch.cuda.manual_seed_all(0)
            yield
    finally:
        for module, training in modes:
            module.training = training
        buffers.restore()
