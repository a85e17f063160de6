"""L(w) and ∇L(w) on a batch, at one point: the point the model is at.

L(w) = Σ nᵢ Lᵢ(w) / Σ nᵢ        over micro-batches i, weighted by what each loss is a mean over
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

PRECISIONS = {None: None, "float32": None, "bfloat16": torch.bfloat16}

EXPECTED_COUNT = "expected is the number of samples or tokens that the batch's loss is a mean over, 0 or more"


class Objective:
    """The loss of a model as a function of its weights.

    Args:
        model: maps a batch's inputs to an output.
        loss: `loss(output, target)`, a mean over the batch; or None where `whole` is given.
        whole: `whole(model, batch)`, for anything else.
        count: what a batch's loss is a mean over: samples, or tokens.
        precision: None (as the model is), "float32" (the same), or "bfloat16": forward pass and loss under autocast,
            weights and updates as they are.
        device: where it runs.

    Raises:
        InputError: unknown precision.
    """

    def __init__(
        self,
        model: nn.Module,
        loss: Callable | None,
        whole: Callable | None,
        count: Callable[[Any], float],
        precision: str | None = None,
        device: str = "cpu",
    ) -> None:
        if precision not in PRECISIONS:
            raise InputError(
                f"precision={precision!r} is given; expected is 'bfloat16' (autocast) or 'float32'; for float64 make "
                "model and data float64"
            )
        self.model, self._loss, self._whole, self._count = model, loss, whole, count
        self._cast = PRECISIONS[precision]
        self._device = torch.device(device).type

    def of(self, model: nn.Module) -> "Objective":
        """The same objective of another module."""
        other = copy.copy(self)
        other.model = model
        return other

    def loss(self, batch: Any) -> Tensor:
        """L(w) on a batch, as a tensor that knows its gradient.

        Raises:
            TaskError: not a scalar, or without a gradient.
        """
        return self._forward(batch)[1]

    def gradient(self, batches: Sequence[Any], tensors: Iterable[Tensor]) -> float:
        """Leaves ∇L(w) in the tensors' `.grad`, and returns L(w) before the step.

        A micro-batch that counts nothing is passed over: its loss is a mean over nothing.

        Args:
            batches: the micro-batches of one step.
            tensors: the weights, whose old gradients are dropped.

        Raises:
            TaskError: a loss that `loss` refuses, or micro-batches that cannot be weighted.
        """
        return self.backward(batches, tensors).item()

    def backward(self, batches: Sequence[Any], tensors: Iterable[Tensor]) -> Tensor:
        """What `gradient` does, with L(w) left where it is: a device goes on without being waited for."""
        for p in tensors:
            p.grad = None
        if len(batches) == 1:
            value = self.loss(batches[0])
            _backward(value)
            return value.detach()
        counts = [self.counted(batch) for batch in batches]
        total = sum(counts)
        if not total:
            raise TaskError(_nothing_counts(f"each of the {len(counts)} micro-batches of a step"))
        parts = []
        for batch, n in zip(batches, counts, strict=True):
            if n:
                value = self.loss(batch)
                _backward(value * (n / total))
                parts.append(value.detach().double() * n / total)
        return sum(parts[1:], parts[0])

    @property
    def is_of_outputs(self) -> bool:
        """Whether the loss is of the model's outputs, so that the model need not be called for each sample."""
        return self._loss is not None

    def each(self, batch: Any) -> Tensor:
        """The loss of every sample of a batch by itself [n]; the model sees them together where the loss is of outputs.

        Where samples do not look at one another (a batch norm in eval mode does not let them), their mean is `loss`.
        """
        if self._loss is None:
            return vmap(lambda one: self.loss(data.map_tensors(one, lambda x: x[None])))(batch)
        output = self.model(*batch[:-1])
        loss = self._loss
        return vmap(lambda *one: loss(*data.map_tensors(one, lambda x: x[None])))(output, batch[-1])

    @torch.no_grad()
    def value(self, batches: Sequence[Any]) -> float:
        """L(w) over the micro-batches of one step, without its gradient."""
        counts = [self._count(batch) for batch in batches]
        return sum(self.loss(batch).item() * n for batch, n in zip(batches, counts, strict=True)) / sum(counts)

    @torch.no_grad()
    def evaluate(self, batches: Iterable[Any], metrics: Mapping[str, Callable]) -> dict[str, float]:
        """Mean loss ("loss") and metrics over all the batches, each sample once.

        Metrics get all outputs and all targets, not batch means; outputs that autocast made bfloat16 reach them as
        float32. Mode, buffers and random state are as before afterwards.

        Raises:
            TaskError: a loss that `loss` refuses, or batches that cannot be weighted.
        """
        total, weight, measured = 0.0, 0.0, 0
        outputs: list[Any] = []
        targets: list[Tensor] = []
        with _undisturbed(self.model):
            for batch in batches:
                n = self.counted(batch)
                output, value = self._forward(batch)
                if metrics and self._loss is not None:
                    outputs.append(output)
                    targets.append(batch[-1])
                if n:
                    total, weight = total + value.item() * n, weight + n
                measured += 1
        if measured and not weight:
            raise TaskError(_nothing_counts(f"each of the {measured} batches that are measured"))
        found = {"loss": total / weight if weight else float("nan")}
        if outputs:
            whole, target = torch.cat(outputs), torch.cat(targets)
            whole = whole.float() if whole.dtype is self._cast else whole
            found |= {name: float(metric(whole, target)) for name, metric in metrics.items()}
        return found

    def counted(self, batch: Any) -> float:
        """What a batch's loss is a mean over."""
        given = self._count(batch)
        try:
            n = float(given)
        except (TypeError, ValueError, RuntimeError):  # the last is torch's, for several numbers
            n = math.nan
        if not 0 <= n < math.inf:
            raise TaskError(f"count(batch) gave {given!r:.80}; {EXPECTED_COUNT}")
        return n

    def _forward(self, batch: Any) -> tuple[Any, Tensor]:
        """Output and loss on a batch, under autocast where that is asked for; `whole` shows no output."""
        if self._cast is None:
            output, value = self._passed(batch)
        else:
            with torch.autocast(self._device, dtype=self._cast):
                output, value = self._passed(batch)
        if not isinstance(value, Tensor) or value.dim() != 0:
            raise TaskError(_not_scalar(value))
        return output, value

    def _passed(self, batch: Any) -> tuple[Any, Any]:
        if self._whole is not None:
            return None, self._whole(self.model, batch)
        assert self._loss is not None
        output = self.model(*batch[:-1])
        return output, self._loss(output, batch[-1])


class Loss(nn.Module):
    """A batch's loss as the output of a module that holds the model, so that any objective is a function of weights."""

    def __init__(self, objective: Objective, of: Callable[[Any], Tensor] | None = None) -> None:
        super().__init__()
        self.model, self._of = objective.model, of or objective.loss

    def forward(self, batch: Any) -> Tensor:
        return self._of(batch)


def _backward(value: Tensor) -> None:
    if not value.requires_grad:
        raise TaskError(
            "the loss has no gradient: it does not depend on trainable weights through torch operations; "
            "is something detached, under no_grad, or turned into numbers on the way?"
        )
    value.backward()


def _nothing_counts(batches: str) -> str:
    return f"count(batch) gave 0 for {batches}; {EXPECTED_COUNT}. Leave out data that counts nothing"


def _not_scalar(value: Any) -> str:
    if isinstance(value, Tensor):
        return (
            f"the loss is a tensor of shape {tuple(value.shape)}; expected is one number: "
            "take its mean (reduction='mean')"
        )
    return f"the loss is {type(value).__name__} {value!r:.80}; expected is a tensor with one number"


@contextmanager
def _undisturbed(model: nn.Module) -> Iterator[None]:
    """Eval mode for a while, with random numbers of its own; mode, buffers and random state are then as before."""
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
