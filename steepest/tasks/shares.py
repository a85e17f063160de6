"""What each batch counts for in the loss of several: L(all) = Σ sᵢ L(batchᵢ), found from the loss itself.

A loss is a function of outputs and targets. If it is a weighted mean or a sum over samples, its gradient with respect
to the outputs of batch i is sᵢ times that of the batch alone. So a batch is joined with a few fixed samples r, and

    aᵢ = sᵢ / sᵣ        in units of one sample

compares it with every other batch: aᵢ = nᵢ for a mean over samples, the sum of weights for class weights, the number of
labels that are not ignored for masks. Then sᵢ = aᵢ / Σ a; for a sum, sᵢ = 1.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import Tensor, nn

from steepest import seeds
from steepest.errors import TaskError
from steepest.tasks import batch_tree
from steepest.tasks.buffers import Buffers
from steepest.tasks.with_loss import stateful_module

Reduction = Literal["mean", "sum", "other"]
LossOfOutput = Callable[[Any, Any], Tensor]

REFERENCE_SAMPLES = 2
"""Samples that all batches are compared with; losses that squeeze their outputs do not take one."""
PARALLEL_TOLERANCE = 1e-3
"""Relative difference of two gradients that rounding may cause."""
EQUAL_TOLERANCE = 1e-5
"""Relative difference of two weights that rounding may cause."""


class MixError(TaskError):
    """A loss on several batches that is no weighted sum of its values on each."""


class LossWeights:
    """The weights aᵢ of batches, one after another, from their outputs and targets.

    Attributes:
        reduction: "mean" over samples, "sum", "other" (class weights, masks); None before a batch was seen.
    """

    def __init__(self) -> None:
        self.reduction: Reduction | None = None
        self._reference: tuple[Any, Any, int] | None = None

    def weigh(self, loss: LossOfOutput, output: Any, target: Any, n: float) -> float | None:
        """The weight aᵢ of a batch in samples: n for a mean over them; 1 for a sum; 0 if its loss is over nothing.

        None where it cannot be told: the loss has no gradient, or there is no batch yet to compare a NaN with.

        Args:
            loss: of outputs and targets.
            output, target: of the batch; only their values matter.
            n: its samples.

        Raises:
            MixError: the loss mixes samples of different batches.
            TaskError: outputs or targets cannot be joined with those of other batches.
        """
        size = int(n)
        output = batch_tree.map_tensors(output, _plain)
        own_value, own = _gradients(loss, output, target, size)
        if self._reference is None:
            self._reference = _choose_reference(output, target, own, size)
            if self._reference is None:
                return None
        row_output, row_target, rows = self._reference
        row_value, row = _gradients(loss, row_output, row_target, rows)
        both = batch_tree.join((row_output, output), (rows, size)), batch_tree.join((row_target, target), (rows, size))
        value, gradients = _gradients(loss, both[0], both[1], rows + size)
        if len(gradients) != len(row):
            raise batch_tree.JoinError("parts of the output have no row for each sample")
        if not math.isfinite(value) or not row:
            return None
        of_row, of_batch = zip(*(_cut(g, rows / (rows + size)) for g in gradients), strict=True)
        alpha_row, alpha = _ratio(of_row, row), math.nan
        if math.isfinite(own_value) and any(bool(g.any()) for g in own):
            alpha = _ratio(of_batch, own)
            if math.isnan(alpha):
                return None
            if abs(alpha * own_value + alpha_row * row_value - value) > PARALLEL_TOLERANCE * abs(value):
                raise MixError(MIX_WORDS)
        return self._conclude(alpha_row, alpha, rows, n, math.isnan(own_value))

    def _conclude(self, alpha_row: float, alpha: float, rows: int, n: float, is_nan: bool) -> float | None:
        """The weight from the shares of the reference and of the batch, NaN if the batch has no gradient."""
        if math.isnan(alpha):
            if abs(alpha_row - 1) < PARALLEL_TOLERANCE and not is_nan:  # a sum, or a mean over nothing
                return {"sum": 1.0, "other": 0.0}.get(self.reduction or "")
            weight = rows * (1 - alpha_row) / alpha_row
            if abs(weight - n) <= PARALLEL_TOLERANCE * n:
                return n
            self.reduction = "other"
            return 0.0 if weight < EQUAL_TOLERANCE * n else weight
        if abs(alpha_row - 1) < PARALLEL_TOLERANCE and abs(alpha - 1) < PARALLEL_TOLERANCE:
            self.reduction = "sum"
            return 1.0
        if abs(alpha_row + alpha - 1) > PARALLEL_TOLERANCE:
            raise MixError(MIX_WORDS)
        weight = rows * alpha / alpha_row
        if abs(weight - n) <= EQUAL_TOLERANCE * n and self.reduction in (None, "mean"):
            self.reduction = "mean"
            return n
        self.reduction = "other"
        return weight

    def weigh_alone(self, loss: LossOfOutput, output: Any, target: Any, n: float) -> float | None:
        """The same for a batch that cannot be joined with others, from its own samples; None if they differ."""
        own = LossWeights()
        weight = own.weigh(loss, output, target, n)
        if own.reduction == "mean" and self._reference is not None:
            _, row_target, rows = self._reference
            batch_tree.join((row_target, target), (rows, int(n)))  # rows of other lengths may weigh differently
        if own.reduction not in ("mean", "sum"):
            return None
        self.reduction = own.reduction
        return weight


MIX_WORDS = (
    "The loss of several batches together is no weighted sum of their losses: it mixes the samples of a batch, as a "
    "contrastive loss does, or has parts with different weights. Use accumulate=1, or say with count= what weights a "
    "batch."
)


def combine(values: Sequence[Any], weights: Sequence[float], reduction: Reduction | None) -> Any:
    """L(all) from the batches' losses and weights aᵢ; a batch of weight 0 is left out."""
    if reduction == "sum":
        return sum(values[1:], values[0])
    total = sum(weights)
    parts = [value * a / total for value, a in zip(values, weights, strict=True) if a]
    return sum(parts[1:], parts[0])


def reduction_by_parts(loss: Callable[[Any], float], batch: Any) -> Reduction:
    """Whether a loss is a mean or a sum over samples, from its values on a batch and on two parts of it."""
    n = batch_tree.count(batch)
    k = n // 3 or 1
    whole, one, other = loss(batch), loss(batch_tree.slice(batch, 0, k)), loss(batch_tree.slice(batch, k, n))
    values: dict[Reduction, float] = {"mean": (k * one + (n - k) * other) / n, "sum": one + other}
    close: list[Reduction] = [kind for kind, value in values.items() if abs(value - whole) <= 1e-4 * abs(whole)]
    return close[0] if close else "other"


@contextmanager
def unchanged_state(loss: Any) -> Iterator[None]:
    """Leaves the buffers of a loss and the random state as they were."""
    module = stateful_module(loss)
    buffers = Buffers(nn.Module() if module is None else module)
    buffers.save(all=True)
    try:
        with seeds.ours(0, "shares"):
            yield
    finally:
        buffers.restore()


# -- Gradients with respect to outputs ---------------------------------------------------------------------------------


def _plain(x: Tensor) -> Tensor:
    return x.detach().float() if x.is_floating_point() and x.dtype.itemsize < 4 else x.detach()


def _gradients(loss: LossOfOutput, output: Any, target: Any, n: int) -> tuple[float, list[Tensor]]:
    """The loss and its gradient with respect to each floating tensor of the output that has rows for n samples."""
    output = batch_tree.map_tensors(output, lambda x: x.detach().requires_grad_(_is_real(x)))
    inputs = [x for x in batch_tree.tensors(output) if x.requires_grad and batch_tree.rows_per_sample(x, n)]
    with torch.enable_grad():
        value = loss(output, target)
        if not value.requires_grad:
            return value.item(), []
        if not inputs:
            raise batch_tree.JoinError("outputs have no row for each sample")
        gradients = torch.autograd.grad(value, inputs, allow_unused=True)
    gradients_or_zero = [torch.zeros_like(x) if g is None else g for x, g in zip(inputs, gradients, strict=True)]
    return value.item(), gradients_or_zero


def _is_real(x: Tensor) -> bool:
    return x.is_floating_point() or x.is_complex()


def _choose_reference(output: Any, target: Any, own: Sequence[Tensor], n: int) -> tuple[Any, Any, int] | None:
    """The samples of a batch with the largest gradient; None if it has none."""
    sizes = [_row_norms(g, n) for g in own]
    sizes = [x for x in sizes if x is not None]
    if not sizes:
        return None
    norms = torch.stack(sizes).sum(0)
    if not bool(torch.isfinite(norms).all()) or not bool(norms.any()):
        return None
    rows = min(REFERENCE_SAMPLES, n)
    low = min(int(norms.argmax()), n - rows)

    def cut(tree: Any) -> Any:
        return batch_tree.map_rows(tree, n, lambda x: _rows(x, n, low, low + rows), lambda x: x[low : low + rows])

    return cut(output), cut(target), rows


def _row_norms(g: Tensor, n: int) -> Tensor | None:
    return g.reshape(n, -1).double().norm(dim=1).cpu() if batch_tree.rows_per_sample(g, n) and g.numel() else None


def _rows(x: Any, n: int, low: int, high: int) -> Any:
    """Copies of some samples of a leaf that has rows for n of them."""
    rows = batch_tree.rows_per_sample(x, n)
    if not rows:
        return x
    part = x[low * rows : high * rows]
    return part.clone() if isinstance(part, Tensor) else part.copy()


def _cut(g: Tensor, share: float) -> tuple[Tensor, Tensor]:
    size = round(share * len(g))
    return g[:size], g[size:]


def _ratio(these: Sequence[Tensor], those: Sequence[Tensor]) -> float:
    """α for which these = α those.

    Raises:
        MixError: there is none.
    """
    a, b = (torch.cat([g.double().reshape(-1) for g in part]) for part in (these, those))
    square = float(b @ b)
    if square == 0:
        return 0.0
    alpha = float(a @ b) / square
    if float((a - alpha * b).norm()) > PARALLEL_TOLERANCE * float(a.norm()):
        raise MixError(MIX_WORDS)
    return alpha
