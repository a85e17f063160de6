"""The loss of a batch as a sum over its samples:

    L(w) = Σ aᵢ ℓᵢ(w)        ℓᵢ: the loss of sample i alone

A mean has aᵢ = 1/n and a sum aᵢ = 1; with class weights aᵢ = cᵢ / Σc, and a sample whose loss is a mean over nothing
(its label is ignored) has aᵢ = 0. Where the loss is a function of the model's outputs o, the aᵢ follow from gradients
with respect to them, ∂L/∂oᵢ = aᵢ ∂ℓᵢ/∂oᵢ; else from what `count` counts. Both are checked: at other outputs too,
since √(mean of squares) has such factors at any point, but others at each.

Samples are evaluated together (vmap) where that gives what plain evaluation gives, and else one after another.
"""

import copy
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.func import vmap

from steepest.errors import TaskError
from steepest.tasks.batch_tree import count, has_rows, map_tensors

MEAN_ULPS = 1e3
"""Σ aᵢ ℓᵢ and the batch's loss that differ by fewer ulps differ by rounding."""
PROBE_SAMPLES = 32
"""Samples that are evaluated together and one by one, before all are evaluated together. With class weights, the losses
of `reduction="none"` are others than those of single samples, but only in classes whose weight is not 1."""
OUTPUT_SCALE = 0.75
"""Factor of the outputs at which the factors aᵢ are found again."""

NOT_TOGETHER = "torch cannot evaluate samples of this task together"
MAX_REASON = 140

Evaluate = Callable[[Sequence[Tensor], Any], Any]
"""(the point, a batch) -> the model's output on it and the target, or the loss."""


class Split(NamedTuple):
    """A batch's loss as a sum over its samples.

    Attributes:
        factors: aᵢ [n], float64.
        rows: indices [m] of the samples with aᵢ ≠ 0.
        losses: the point -> ℓᵢ of these rows [m], with their graph.
        why_alone: why samples go one after another, in words; empty where they go together.
    """

    factors: Tensor
    rows: Tensor
    losses: Callable[[Sequence[Tensor]], Tensor]
    why_alone: str


def split_by_output(
    batch: Any, at: Sequence[Tensor], output: Evaluate, loss: Callable[[Any, Any], Tensor], function: Callable
) -> Split:
    """Splits a loss that is a function of the model's outputs: one pass of the model serves all samples.

    Args:
        batch: whose samples are the rows of its tensors.
        at: a point where the loss is finite.
        output: (point, batch) -> the model's output and the target, with a row for each sample.
        loss: (output, target) -> the loss.
        function: the same as the task has it, which may take `reduction="none"`; what it then gives is checked.

    Raises:
        TaskError: the loss is no such sum.
    """
    n = count(batch)
    outputs, target = output(at, batch)
    outputs = map_tensors(outputs, Tensor.detach)
    by_vmap = vmap(lambda o, t: loss(*_row((o, t))))
    ways = (lambda o, t: _separate_losses(function, o, t)), by_vmap
    by_rows, why = _together(ways, loss, (outputs, target), n)
    factors, certain = _factors(outputs, target, loss, by_rows, n)
    if not why and not _is_plain(factors):
        by_rows, why = _together((by_vmap,), loss, (outputs, target), n)
        factors, certain = _factors(outputs, target, loss, by_rows, n)
    again = map_tensors(outputs, lambda x: OUTPUT_SCALE * x if x.is_floating_point() else x)
    factors_again, certain_again = _factors(again, target, loss, by_rows, n)
    both = certain & certain_again
    if not torch.allclose(factors[both], factors_again[both], rtol=1e-4):
        raise TaskError(_no_sum("its samples' parts depend on the other samples"))
    factors = _complete(torch.where(certain, factors, factors_again), certain | certain_again)
    rows = factors.nonzero().flatten()
    some = _take(target, rows, n)

    def losses(point: Sequence[Tensor]) -> Tensor:
        return by_rows(_take(output(point, batch)[0], rows, n), some, len(rows))

    for one in (outputs, again):
        _check(factors[rows], by_rows(_take(one, rows, n), some, len(rows)), loss(one, target))
    return Split(factors, rows, losses, why)


def split_by_sample(batch: Any, at: Sequence[Tensor], loss: Evaluate, weight: Callable[[Any], float]) -> Split:
    """Splits a loss that is the mean over its samples, or over what they count: the model sees one sample at a time.

    Args:
        batch: whose samples are the rows of its tensors.
        at: a point where the loss is finite.
        loss: of a batch at a point.
        weight: what a sample counts.

    Raises:
        TaskError: the loss is no such mean.
    """
    n = count(batch)
    try:
        weights = torch.tensor([weight(_take(batch, slice(i, i + 1), n)) for i in range(n)], dtype=torch.float64)
    except IndexError as error:
        raise TaskError(f"the batches of this task cannot be split into samples: {error}") from error
    rows = weights.nonzero().flatten()
    some = _take(batch, rows, n) if len(rows) < n else batch
    ways = (vmap(lambda one: loss(at, _row(one))),)
    by_rows, why = _together(ways, lambda one: loss(at, one), (some,), len(rows))
    losses, whole = by_rows(some, len(rows)), loss(at, batch)
    factors = weights / weights.sum()
    if _is_sum(torch.ones_like(losses), losses, whole) and not _is_sum(factors[rows], losses, whole):
        factors = (weights != 0).double()
    _check(factors[rows], losses, whole)
    if why:
        singles = [_take(some, slice(i, i + 1), len(rows)) for i in range(len(rows))]
        return Split(factors, rows, lambda point: torch.stack([loss(point, one) for one in singles]), why)
    return Split(factors, rows, lambda point: vmap(lambda one: loss(point, _row(one)))(some), why)


# -- Together or one after another -------------------------------------------------------------------------------------


def _together(
    ways: Sequence[Callable[..., Tensor]], plain: Callable[..., Tensor], samples: tuple[Any, ...], n: int
) -> tuple[Callable[..., Tensor], str]:
    """A function (samples, n) -> losses [n], and why it goes one after another; empty where it goes together.

    A few samples are evaluated in each way and one by one, until both agree: torch may raise for some samples together,
    and it may be wrong without an error.
    """

    def alone(*samples_and_count: Any) -> Tensor:
        *parts, k = samples_and_count
        return torch.stack([plain(*(_take(x, slice(i, i + 1), k) for x in parts)) for i in range(k)])

    rows, why = torch.linspace(0, n - 1, min(PROBE_SAMPLES, n)).round().long(), ""
    few, k = tuple(_take(x, rows, n) for x in samples), len(rows)
    reference = alone(*few, k)
    for way in ways:
        try:
            losses = way(*few)
        except Exception as error:  # this runs the user's code, and torch and that can raise anything
            why = reason(error)
            continue
        if losses.shape == reference.shape and _agree(losses, reference):
            return lambda *samples_and_count, way=way: way(*samples_and_count[:-1]), ""
        why = "the values would be different"
    return alone, why


def reason(error: Exception) -> str:
    """The first sentence of an error, without a full stop, shortened."""
    words = str(error).partition("\n")[0].partition(". ")[0].removeprefix("vmap: ").rstrip(".")
    return words if len(words) <= MAX_REASON else f"{words[:MAX_REASON]}…"


def _separate_losses(loss: Callable, output: Any, target: Any) -> Tensor:
    """The loss with `reduction="none"`, averaged for each sample [n]; raises what a loss without that raises."""
    if isinstance(loss, nn.Module):
        loss = copy.copy(loss)
        loss.reduction = "none"
        values = loss(output, target)
    else:
        values = loss(output, target, reduction="none")
    return values if values.dim() == 1 else values.flatten(1).mean(1)


def _agree(x: Tensor, y: Tensor) -> bool:
    limit = MEAN_ULPS * torch.finfo(y.dtype).eps
    largest = y[y.isfinite()].abs().max().item() if bool(y.isfinite().any()) else 0.0
    return torch.allclose(x.to(y.dtype), y, rtol=limit, atol=limit * largest, equal_nan=True)


def _row(sample: Any) -> Any:
    """A sample as a batch of one."""
    if type(sample) is tuple:
        return tuple(_row(x) for x in sample)
    return map_tensors(sample, lambda x: x[None])


def _take(batch: Any, rows: Tensor | slice, n: int) -> Any:
    """Some of the n samples."""
    return map_tensors(batch, lambda x: x[rows] if has_rows(x, n) else x)


# -- Factors -----------------------------------------------------------------------------------------------------------


def _factors(
    outputs: Any, target: Any, loss: Callable[[Any, Any], Tensor], by_rows: Callable[..., Tensor], n: int
) -> tuple[Tensor, Tensor]:
    """aᵢ [n], float64, from gradients with respect to the outputs, and where they are certain: not where both are 0."""
    leaves = list[Tensor]()

    def leaf(x: Tensor) -> Tensor:
        if not x.is_floating_point():
            return x
        leaves.append(x.detach().requires_grad_())
        return leaves[-1]

    with torch.enable_grad():
        outputs = map_tensors(outputs, leaf)
        if not leaves:
            raise TaskError(_no_sum("the output has no number with a gradient"))
        of_batch = torch.autograd.grad(loss(outputs, target), leaves, allow_unused=True)
        of_rows = torch.autograd.grad(by_rows(outputs, target, n).sum(), leaves, allow_unused=True)
    pairs = [(g, h) for g, h in zip(of_batch, of_rows, strict=True) if g is not None and h is not None]
    if not pairs or any(len(g) != n for g, _ in pairs):
        raise TaskError(_no_sum("the output has no row for each sample"))
    whole, alone = (torch.cat([x.detach().reshape(n, -1).double() for x in parts], 1) for parts in zip(*pairs))
    is_ignored = ~alone.isfinite().all(1) & (whole == 0).all(1)
    alone = torch.where(is_ignored[:, None], 0.0, alone)
    squares = alone.square().sum(1)
    factors = torch.where(squares > 0, (whole * alone).sum(1) / squares, 0.0)
    return factors, (squares > 0) | is_ignored


def _is_plain(factors: Tensor) -> bool:
    """Whether they are those of a mean over samples, or of a sum."""
    return abs(float(factors.sum()) - 1) < 1e-6 or bool(((factors - 1).abs() < 1e-6).all())


def _complete(factors: Tensor, certain: Tensor) -> Tensor:
    """The factors where they are certain; where they are alike, exactly, and for the others too.

    A sample's factor is not known where its loss does not change with the output, such as that of an inactive hinge.
    """
    some = factors[certain & (factors != 0)]
    if not len(some):
        return factors
    n = len(some) + int((~certain).sum())
    exact = next((x for x in (1 / n, 1.0) if torch.allclose(some, some.new_tensor(x), rtol=1e-4, atol=0.0)), None)
    if exact is None:
        return torch.where(certain, factors, 0.0)
    return torch.where(certain & (factors == 0), factors, exact)


def _check(factors: Tensor, losses: Tensor, whole: Tensor) -> None:
    """Raises a TaskError unless Σ aᵢ ℓᵢ is the batch's loss."""
    if not _is_sum(factors, losses, whole):
        total = float(factors.to(losses.device) @ losses.detach().double())
        raise TaskError(_no_sum(f"it is {whole.item():.6g}, and its samples' parts add up to {total:.6g}"))


def _is_sum(factors: Tensor, losses: Tensor, whole: Tensor) -> bool:
    parts = factors.to(losses.device) * losses.detach().double()
    largest = max([abs(whole.item()), *parts.abs().tolist()])
    return abs(float(parts.sum()) - whole.item()) <= MEAN_ULPS * torch.finfo(losses.dtype).eps * largest


def _no_sum(why: str) -> str:
    return (
        "the loss of a batch must be the mean over its samples, or over what count(batch) counts, or another sum of "
        f"its samples' own losses, got one that mixes samples or draws random numbers: {why}"
    )
