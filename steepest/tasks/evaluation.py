"""The loss and metrics of a whole split, from the outputs of its batches."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import torch
from torch import finfo, nn

from steepest import seeds
from steepest.errors import TaskError
from steepest.tasks import batch_tree
from steepest.tasks.batch_tree import JoinError
from steepest.tasks.buffers import Buffers
from steepest.tasks.forward import Pass, needs_grad
from steepest.tasks.metric import Metric, as_number

if TYPE_CHECKING:
    from steepest.tasks.objective import Objective

OUTPUT_BYTES = 256 << 20
"""Outputs that are joined for the loss of a whole split, at most."""
JOIN_SAMPLES = 4096
"""Samples above which a loss that mixes samples, such as a contrastive one, is not evaluated on all at once."""
JOIN_ULPS = 32
"""The loss of joined outputs and the mean of the batches' losses that differ by fewer ulps differ by rounding."""


class Evaluation:
    """The evaluation of a split, one batch after another.

    Args:
        objective: whose loss it is.
        metrics: functions `(outputs, targets) -> number` by name.
    """

    def __init__(self, objective: "Objective", metrics: Mapping[str, Callable[[Any, Any], Any]]) -> None:
        self._objective, self._metrics = objective, metrics
        self._values: list[float] = []
        self._counts: list[float | None] = []
        self._passes: list[Pass] = []
        self._weights: list[float] | None = None
        self._bytes, self._ulps = 0, 0.0

    def add(self, one: Pass) -> None:
        """Takes a batch."""
        objective = self._objective
        self._values.append(one.loss.item())
        self._counts.append(objective.count_or_none(one.batch))
        self._batch = one.batch
        self._ulps = JOIN_ULPS * finfo(one.loss.dtype).eps if one.loss.is_floating_point() else 0.0
        if one.output is None or not (self._metrics or objective.shares_follow_from_loss):
            return
        if objective.samples_or_none(one._replace(batch=None)) is not None:
            one = one._replace(batch=None)  # its inputs are not needed any more
        self._bytes += sum(x.nbytes for x in batch_tree.tensors(one.output))
        self._passes.append(one)
        is_nothing = all(map(math.isnan, self._values))  # means over nothing, to which others cannot be compared
        if self._bytes <= OUTPUT_BYTES or is_nothing or not objective.shares_follow_from_loss:
            return
        weights = objective.weights(self._passes if self._weights is None else [one])
        self._weights = [*(self._weights or []), *weights]
        if not self._metrics:
            self._passes = []

    def results(self) -> dict[str, float]:
        """The loss and the metrics; a loss of NaN without batches."""
        if not self._values:
            return {"loss": float("nan")}
        return {"loss": self._loss(), **self._measure()}

    def _loss(self) -> float:
        objective, values, counts = self._objective, self._values, self._counts
        if len(values) == 1 and counts[0] is None:
            return values[0]
        numbers = [n for n in counts if n is not None]
        mean = weighted_mean(values, numbers) if len(numbers) == len(counts) and any(numbers) else None
        if not objective.shares_follow_from_loss:
            if mean is None and len(numbers) < len(counts):
                objective.loss_weight(self._batch)  # raises the error that asks for count=
            if mean is None:
                raise TaskError(no_weight(f"each of the {len(values)} evaluation batches"))
            return mean
        if len(values) == 1:
            return values[0] if mean is None else mean
        whole = self._joined_loss() if self._weights is None else None
        if whole is None:
            return self._weighted_loss()
        size = max(map(abs, values))
        return whole if mean is None or not abs(mean - whole) <= self._ulps * size else mean

    def _joined_loss(self) -> float | None:
        """The loss of all outputs and targets; None where they cannot be joined, or the loss takes no such batch."""
        samples = sum(self._objective.samples_or_none(one) or 0 for one in self._passes)
        if samples > JOIN_SAMPLES and self._objective.mixes_samples(self._passes[0]):
            return None
        try:
            output, target = self._join()
            return self._objective.loss_of(output, target).item()
        except Exception:  # the user's loss may raise anything where a part of the output is a list
            return None

    def _weighted_loss(self) -> float:
        objective = self._objective
        weights = self._weights or objective.weights(self._passes)
        if objective.note and None not in self._counts:
            weights = [n for n in self._counts if n is not None]
        return objective.combine(self._values, weights)

    def _join(self) -> tuple[Any, Any]:
        rows = [self._objective.samples_or_none(one) for one in self._passes]
        counts = [n for n in rows if n is not None]
        if len(counts) < len(rows):
            raise JoinError("the samples of the batches cannot be counted")
        return tuple(batch_tree.join([getattr(p, part) for p in self._passes], counts) for part in ("output", "target"))  # type: ignore[return-value]

    # -- Metrics -------------------------------------------------------------------------------------------------------

    def _measure(self) -> dict[str, float]:
        if not self._metrics or not self._passes:
            return {}
        try:
            output, target = self._join()
        except JoinError as error:
            return self._mean_metrics(error)
        return {name: self._metric(name, output, target) for name in self._metrics}

    def _metric(self, name: str, output: Any, target: Any) -> float:
        metric = self._metrics[name]
        function = metric.function if isinstance(metric, Metric) else metric
        output = batch_tree.map_tensors(output, self._objective.without_autocast)
        try:
            value = function(output, target)
        except RuntimeError as error:
            if not needs_grad(error):
                raise
            with torch.enable_grad():
                value = function(output, target)
        return as_number(value, name)

    def _mean_metrics(self, error: JoinError) -> dict[str, float]:
        """Means over batches by what they count."""
        counts = [n for n in self._counts if n is not None]
        if len(counts) < len(self._counts):
            self._objective.loss_weight(self._batch)
        self._objective.note = f"Metrics are means over batches by samples, as outputs cannot be joined: {error}"
        return {
            name: weighted_mean([self._metric(name, one.output, one.target) for one in self._passes], counts)
            for name in self._metrics
        }


def weighted_mean(values: Sequence[float], counts: Sequence[float]) -> float:
    """Σ nᵢ vᵢ / Σ nᵢ; what counts 0 is left out, as a mean over nothing is NaN."""
    return sum(value * n for value, n in zip(values, counts, strict=True) if n) / sum(counts)


def no_weight(batches: str) -> str:
    """The error where nothing counts."""
    return f"count(batch) must be positive for at least one batch, got 0 for {batches}. Remove batches without weight."


@contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """Eval mode with its own random numbers; training mode, buffers and random state are restored afterwards."""
    modes = [(m, m.training) for m in model.modules()]
    buffers = Buffers(model)
    buffers.save()
    model.eval()
    try:
        devices = range(torch.cuda.device_count()) if torch.cuda.is_available() else ()
        with torch.random.fork_rng(devices) if devices else nullcontext(), seeds.ours(0, "measure"):
            if devices:
                torch.cuda.manual_seed_all(0)
            yield
    finally:
        for module, training in modes:
            module.training = training
        buffers.restore()
