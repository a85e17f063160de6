"""L(w) and ∇L(w) on a batch, at the model's current weights.

L(w) = Σ sᵢ Lᵢ(w)        over micro-batches i, with the shares sᵢ that make it the loss of all their samples

With `count=` and for an objective, sᵢ = nᵢ / Σ n: n is the number of samples or tokens that Lᵢ is a mean over. For a
loss of outputs and targets the shares follow from the loss itself (`shares`).
"""

import copy
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import vmap

from steepest.errors import InputError, TaskError
from steepest.tasks import batch_tree, data
from steepest.tasks.evaluation import Evaluation, evaluation_mode, no_weight, weighted_mean
from steepest.tasks.forward import Forward, Pass
from steepest.tasks.shares import LossWeights, MixError, Reduction, combine, reduction_by_parts, unchanged_state
from steepest.tasks.task import Task

PRECISIONS = {None: None, "float32": None, "bfloat16": torch.bfloat16}


class Objective:
    """The loss of a model as a function of its weights.

    Attributes:
        model: the module whose weights are meant, with the loss where that is trained too.
        note: what could not be told about the last batches, in words; else empty.
        has_output_loss: whether the loss is a function of the model's outputs, so that one pass serves all samples.
        shares_follow_from_loss: whether the weights of batches are found from the loss; else `count` says them.

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
        self.model, self._count, self._has_count = model, task.count, task.count is not data.count
        self._autocast_dtype = PRECISIONS[precision]
        self._forward = Forward(model, task, self._autocast_dtype, torch.device(device).type)
        self.has_output_loss = self._forward.has_output_loss
        self.shares_follow_from_loss = self.has_output_loss and not self._has_count
        self._weights, self.note = LossWeights(), ""

    def with_model(self, model: nn.Module) -> "Objective":
        """The same objective for another module."""
        other = copy.copy(self)
        other.model, other._forward, other._weights = model, self._forward.with_model(model), LossWeights()
        return other

    def loss(self, batch: Any) -> Tensor:
        """L(w) on a batch, with its graph.

        Raises:
            TaskError: the loss is not a scalar tensor.
        """
        return self._forward(batch).loss

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
        tensors = list(tensors) if len(batches) > 1 else tensors
        for p in tensors:
            p.grad = None
        if len(batches) == 1:
            value = self.loss(batches[0])
            self._forward.backward(value, batches[0])
            return value.detach()
        if self.shares_follow_from_loss:
            return self._accumulate(batches, tensors)
        counts = self._counts(batches, f"each of the {len(batches)} micro-batches of a step")
        total = sum(counts)
        values = []
        for batch, n in zip(batches, counts, strict=True):
            if n:
                value = self.loss(batch)
                self._forward.backward(value * (n / total), batch)
                values.append(value.detach().double())
        return combine(values, [n for n in counts if n], None)

    def _accumulate(self, batches: Sequence[Any], tensors: Iterable[Tensor]) -> Tensor:
        """Micro-batches whose shares follow from the loss: weighted in samples, and the sum scaled at the end.

        They are compared with each other only, so that a resumed run weights them as one that was never stopped.
        """
        self._weights = LossWeights()
        total = sum(self.count_or_none(batch) or 1.0 for batch in batches)
        values: list[Tensor] = []
        weights: list[float] = []
        nothing: list[Pass] = []

        def add(one: Pass, weight: float) -> None:
            self._forward.backward(one.loss if self._is_sum else one.loss * (weight / total), one.batch)
            values.append(one.loss.detach().double())
            weights.append(weight)

        for batch in batches:
            one = self._forward(batch)
            weight = self._weigh(one)
            if weight is None and bool(one.loss.isnan()):
                nothing.append(one)  # a mean over nothing, or a NaN: the others tell
            elif weight != 0:
                add(one, self._samples(one) if weight is None else weight)
        for one in nothing:
            if self._weigh(one) is None:
                add(one, 1.0)
        if self._is_sum or sum(weights) == total:
            return combine(values, weights, self.reduction)
        for p in tensors:
            if p.grad is not None:
                p.grad.mul_(total / sum(weights))
        return combine(values, weights, self.reduction)

    def step_shares(self, passes: Sequence[Pass]) -> list[float]:
        """The shares sᵢ of a step's micro-batches, as `gradient` has them; 0 for one that is skipped.

        Raises:
            TaskError: the micro-batches cannot be weighted.
        """
        if not self.shares_follow_from_loss:
            return self._as_shares(self._counts([one.batch for one in passes], "each micro-batch of a step"))
        self._weights = LossWeights()
        return self._as_shares(self._weigh_all(passes, self._weigh)[0])

    def forward(self, batch: Any) -> Pass:
        """Output, target and loss of a batch, with their graphs."""
        return self._forward(batch)

    def output(self, batch: Any) -> tuple[Any, Any]:
        """The model's output on a batch, and its target."""
        return self._forward.output(batch)

    @property
    def loss_function(self) -> Callable[[Any, Any], Any]:
        """The loss of outputs and targets, as the task has it."""
        return self._forward.loss_function

    def per_sample_losses(self, batch: Any) -> Tensor:
        """The loss of each sample of a batch [n], by one pass of the model if the loss is a function of its outputs.

        If samples are independent (a batch norm in training mode couples them), the mean is `loss`.
        """
        if not self.has_output_loss:
            return vmap(lambda sample: self.loss(data.map_tensors(sample, lambda x: x[None])))(batch)
        loss = self.loss_function
        return vmap(lambda *sample: loss(*data.map_tensors(sample, lambda x: x[None])))(*self.output(batch))

    @torch.no_grad()
    def value(self, batches: Sequence[Any]) -> float:
        """L(w) over the micro-batches of one step, without its gradient."""
        if len(batches) == 1:
            return weighted_mean([self.loss(batches[0]).item()], [self.count_or_none(batches[0]) or 1.0])
        self.note = ""
        passes = [self._forward(batch) for batch in batches]
        weights = self.weights(passes)
        values = [one.loss.item() for one in passes]
        return self.combine(values, weights)

    # -- Shares --------------------------------------------------------------------------------------------------------

    @property
    def _is_sum(self) -> bool:
        return self.shares_follow_from_loss and self.reduction == "sum"

    @property
    def reduction(self) -> Reduction | None:
        """Whether the loss is a "mean" over samples, a "sum", or "other"; None before it is known."""
        return self._weights.reduction

    def shares(self, batches: Sequence[Any]) -> list[float]:
        """The shares sᵢ of batches with L(all) = Σ sᵢ L(batchᵢ), at evaluation; a batch of weight 0 has share 0.

        With `count=`, and for an objective, nᵢ / Σ n. Else they follow from the loss: nᵢ / Σ n for a mean over samples,
        1 for a sum, the share of the weights for masks and class weights; nᵢ / Σ n where the loss mixes the samples of
        a batch or the outputs cannot be joined (`note` says so).

        Raises:
            TaskError: the batches cannot be weighted.
        """
        self.note = ""
        if len(batches) == 1:
            return [1.0]
        if not self.shares_follow_from_loss:
            weights = self._counts(batches, f"each of the {len(batches)} batches")
        else:
            with evaluation_mode(self.model), torch.no_grad():
                weights = self.weights(self._forward(batch) for batch in batches)
        return self._as_shares(weights)

    def _as_shares(self, weights: Sequence[float]) -> list[float]:
        if self._is_sum:
            return [1.0 if weight else 0.0 for weight in weights]
        if not sum(weights):
            raise TaskError(no_weight(f"each of the {len(weights)} batches"))
        return [weight / sum(weights) for weight in weights]

    def find_reduction(self, batch: Any) -> Reduction:
        """Whether the loss is a "mean" over samples, a "sum", or "other", from one batch of at least two samples.

        With `count=` it is a mean over what that counts.
        """
        if self._has_count:
            return "mean"
        with evaluation_mode(self.model), torch.no_grad():
            if self.has_output_loss:
                if self.reduction is None:
                    self.weights([self._forward(batch)])
                return self.reduction or "other"
            self._weights.reduction = reduction_by_parts(lambda part: self._forward(part).loss.item(), batch)
            return self._weights.reduction

    def per_sample(self, loss: float, samples: float) -> float:
        """A loss on so many samples as a value that can be compared with one on another number: a sum is divided."""
        return loss / samples if self.reduction == "sum" else loss

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

    def count_or_none(self, batch: Any) -> float | None:
        """The weight of a batch's loss; None if its samples cannot be counted."""
        try:
            return self.loss_weight(batch)
        except TaskError:
            if self._has_count:
                raise
            return None

    def _counts(self, batches: Sequence[Any], what: str) -> list[float]:
        counts = [self.loss_weight(batch) for batch in batches]
        if not sum(counts):
            raise TaskError(no_weight(what))
        return counts

    def _samples(self, one: Pass) -> int:
        """The samples of a batch: those of its target."""
        n = batch_tree.samples(one.target)
        return data.count(one.batch) if n is None else n

    def samples_or_none(self, one: Pass) -> int | None:
        """The samples of a batch; None if they cannot be counted."""
        try:
            return None if one.target is None else self._samples(one)
        except TaskError:
            return None

    def combine(self, values: Sequence[float], weights: Sequence[float]) -> float:
        """The loss of all batches from their losses and weights."""
        return sum(values) if self._is_sum else weighted_mean(values, weights)

    def loss_of(self, output: Any, target: Any) -> Tensor:
        """The loss of outputs and targets."""
        return self._forward.loss_of(output, target)

    def without_autocast(self, x: Tensor) -> Tensor:
        """A tensor in float32 where autocast made it."""
        return x.float() if x.dtype is self._autocast_dtype else x

    def _weigh(self, one: Pass) -> float | None:
        """The weight of a batch from the loss.

        Raises:
            TaskError: it cannot be told, in words that ask for `count=`.
        """
        n = self._samples(one)
        with unchanged_state(self._forward.loss_function):
            try:
                return self._weights.weigh(self._forward.loss_of, one.output, one.target, n)
            except MixError:
                raise
            except Exception as error:  # rows of different shapes, or the user's loss takes no other batch sizes
                weight = self._weigh_alone(one, n)
                if weight is None:
                    raise TaskError(
                        "What each batch counts for in the loss cannot be told, as their outputs cannot be joined "
                        f"({str(error).partition(chr(10))[0]}). Pass Task(count=batch -> number of samples or tokens "
                        "that its loss is a mean over), or use accumulate=1."
                    ) from error
                return weight

    def _weigh_alone(self, one: Pass, n: float) -> float | None:
        try:
            return self._weights.weigh_alone(self._forward.loss_of, one.output, one.target, n)
        except Exception:  # of the user's loss
            return None

    def mixes_samples(self, one: Pass) -> bool:
        """Whether the loss of several batches is no weighted sum of their losses."""
        try:
            self._weigh(one)
        except TaskError as error:
            return isinstance(error, MixError)
        return False

    def weights(self, passes: Iterable[Pass]) -> list[float]:
        """The weights of batches from the loss where they can be told, else their samples, which `note` says."""
        if not self.shares_follow_from_loss:
            return [self.loss_weight(one.batch) for one in passes]
        weights, samples = self._weigh_all(passes, self._weight_or_note)
        return samples if self.note else weights

    def _weigh_all(
        self, passes: Iterable[Pass], weigh: Callable[[Pass], float | None]
    ) -> tuple[list[float], list[float]]:
        """Weights of batches, which are their samples where `weigh` cannot tell; and their samples."""
        weights: list[float | None] = []
        samples: list[float] = []
        nothing: dict[int, Pass] = {}
        for i, one in enumerate(passes):
            samples.append(self._samples(one))
            weights.append(weigh(one))
            if weights[-1] is None and bool(one.loss.isnan()):
                nothing[i] = one  # a mean over nothing, or a NaN: the others tell
        for i, one in nothing.items():
            weights[i] = weigh(one)
        return [n if weight is None else weight for n, weight in zip(samples, weights, strict=True)], samples

    def _weight_or_note(self, one: Pass) -> float | None:
        if self.note:
            return None
        try:
            return self._weigh(one)
        except TaskError as error:
            self.note = f"The loss of several batches is their mean by samples: {error}"
            return None

    # -- Evaluation ----------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def evaluate(self, batches: Iterable[Any], metrics: Mapping[str, Callable]) -> dict[str, float]:
        """The loss of all the batches together ("loss") and metrics, each sample once.

        A loss of outputs and targets is evaluated on all of them together. A metric gets all outputs and all targets,
        not batch means; bfloat16 outputs of autocast are converted to float32. Where outputs of different batches
        cannot be joined, both are means over batches by samples, and `note` says so. Training mode, buffers and random
        state are restored afterwards.

        Raises:
            TaskError: the loss is not a scalar, a metric is no number, or the batches cannot be weighted.
        """
        self.note = ""
        with evaluation_mode(self.model):
            split = Evaluation(self, metrics)
            for batch in batches:
                split.add(self._forward.in_evaluation(batch, measures=bool(metrics)))
            return split.results()


class Loss(nn.Module):
    """A module whose output is a batch's loss, so that `functional_call` makes any objective a function of weights."""

    def __init__(self, objective: Objective, function: Callable[[Any], Any] | None = None) -> None:
        super().__init__()
        self.model, self._function = objective.model, function or objective.loss

    def forward(self, batch: Any) -> Any:
        return self._function(batch)
