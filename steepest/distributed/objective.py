"""L(w) and ∇L(w) of a batch whose parts lie on several processes: one reduction a step.

before:  each process runs its own part, whose loss is scaled by its weight aᵣ
sum:     Σ aᵣ gᵣ, the buffers of the first process, Σ aᵣ Lᵣ, Σ aᵣ, and which signals have come
after:   the same gradient, loss and buffers on all processes, as on one that saw the whole batch
"""

import math
import signal
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from operator import methodcaller
from typing import Any

import torch
from torch import Tensor

from steepest.distributed.flat import FlatSum
from steepest.distributed.processes import Processes
from steepest.distributed.shards import check_layout, reshard, shards_of
from steepest.distributed.weights import PartWeights
from steepest.errors import TaskError
from steepest.tasks import Objective, Task, batch_tree
from steepest.tasks.batches import Batches, EmptyPart
from steepest.tasks.evaluation import Evaluation, evaluation_mode
from steepest.tasks.forward import Forward, Pass
from steepest.tasks.objective import PRECISIONS

SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR1", "SIGUSR2") if hasattr(signal, name))
"""That end a run after the present step, on all processes at once; an earlier one wins."""
WEIGHT_ROUNDING = 1e-6
"""Difference of a sum of weights from 1 that rounding explains."""


class JointObjective:
    """The loss of a model on batches of which each process has a part.

    Attributes:
        signal: that has come to this process; 0 without one.
        agreed_signal: that all processes know of since the last gradient; 0 without one.
        is_checkpoint_due: whether the first process wants a checkpoint that all of them write.
        agreed_checkpoint: whether all know that it does, since the last gradient.

    Args:
        processes: that share batches.
        task: of the descent.
        objective: of the model.
        precision: of the forward pass.
        scale: of the weights, so that those of a whole batch are about 1 together.
    """

    def __init__(
        self, processes: Processes, task: Task, objective: Objective, precision: str | None, scale: float
    ) -> None:
        device = next(iter(objective.model.parameters())).device
        self._processes, self._objective, self._scale = processes, objective, scale
        self._forward = Forward(objective.model, task, PRECISIONS[precision], device.type)
        self._weigh = PartWeights(task, objective, processes)
        self._buffers = [
            (m._buffers, key) for m in objective.model.modules() for key, b in m._buffers.items()
            if b is not None and b.is_floating_point()
        ]  # fmt: skip
        self._flat: FlatSum | None = None
        self._norm = 0.0
        check_layout(objective.model, processes)
        self._shards = list(shards_of(objective.model).values())
        self._factor = float(processes.count if self._shards else 1)  # FSDP takes the mean over the processes
        self.signal = self.agreed_signal = 0
        self.is_checkpoint_due = self.agreed_checkpoint = False

    def gradient(self, batches: Sequence[Any], tensors: Iterable[Tensor]) -> float:
        """Writes ∇L(w) of the whole batch to the tensors' `.grad`, and returns L(w).

        Args:
            batches: this process's parts of the micro-batches of one step.
            tensors: the weights; their old gradients are dropped.

        Raises:
            TaskError: as `Objective.gradient`.
            ProcessError: another process has failed.
        """
        tensors = [] if self._shards else list(tensors)
        for p in self._shards or tensors:
            p.grad = None
        value = weight = 0.0
        for batch in batches:
            one, share = self._run(batch)
            by = self._scale if self._weigh.is_sum and share else share
            if share or self._shards:
                self._forward.backward(one.loss * (by * self._factor), one.batch)
            if share:
                value, weight = value + one.loss.item() * by, weight + share
        return self._reduce(tensors, value, weight)

    def _run(self, batch: Any) -> tuple[Pass, float]:
        """Output, target and loss on a part of a micro-batch, and its weight; 0 of a part without samples."""
        is_empty = isinstance(batch, EmptyPart)
        one = self._forward(batch.like if is_empty else batch)
        weight = self._weigh(one)  # called on all processes, since it may exchange numbers
        return one, 0.0 if is_empty else self._scale * weight

    def _reduce(self, tensors: list[Tensor], value: float, weight: float) -> float:
        gradients: list[Tensor | None] = [p.grad for p in tensors]
        buffers: list[Any] = [holder[key] for holder, key in self._buffers]
        flat = self._flat
        if flat is None or not flat.fits([*tensors, *buffers]):
            flat = self._flat = FlatSum(self._processes, [*tensors, *buffers], 5 + len(SIGNALS))
        own = buffers if self._processes.is_first else [None] * len(buffers)
        absent = sum(g is None for g in gradients)
        flags = [float(self.signal == s) for s in SIGNALS]
        parts = [p.grad._local_tensor for p in self._shards if p.grad is not None]
        norms = torch._foreach_norm(parts, 2, torch.float64) if parts else ()  # type: ignore[attr-defined]
        square = torch.stack(norms).square().sum().item() if norms else 0.0
        is_due = float(self.is_checkpoint_due and self._processes.is_first)
        numbers = flat.sum([*gradients, *own], [value, weight, absent, square, is_due, *flags])
        value, total, absent, square, is_due, *flags = numbers
        self.agreed_checkpoint = bool(is_due)
        self.agreed_signal = next((s for s, flag in zip(SIGNALS, flags, strict=True) if flag), 0)
        if not total:
            raise TaskError("A step must have at least one sample with weight in the loss, got none on any process.")
        factor = 1 / self._scale if self._weigh.is_sum else 1 / total
        if abs(factor - 1) > WEIGHT_ROUNDING:
            flat.scale(factor, len(tensors))
        self._norm = _root(square) * factor
        self._give_gradients_to_shards(factor)
        is_absent = self._absent_everywhere(gradients) if absent else [False] * len(tensors)
        for p, view, is_none in zip(tensors, flat.views, is_absent, strict=False):
            p.grad = None if is_none else view
        if not self._processes.is_first:
            with torch.no_grad():
                for b, view in zip(buffers, flat.views[len(tensors) :], strict=True):
                    b.copy_(view)
        return value * factor

    def _give_gradients_to_shards(self, factor: float) -> None:
        for p in self._shards:
            part = None if p.grad is None else p.grad._local_tensor
            if part is not None and abs(factor - 1) > WEIGHT_ROUNDING:
                part.mul_(factor)
            p._local_tensor.grad = part

    def whole_norm(self, norm: float) -> float:
        """The norm of what lies on all processes together, from that of the part on this one."""
        if not self._shards:
            return norm
        square = torch.tensor([norm * norm], dtype=torch.float64)
        self._processes.sum(square)
        return _root(square.item())

    def gradient_norm(self, update: Any) -> float:
        """‖∇L(w)‖ of the last gradient: that of shards was summed with the loss."""
        return self._norm if self._shards else update.norm()

    def _absent_everywhere(self, gradients: Sequence[Tensor | None]) -> list[bool]:
        """For each gradient whether no process has it: that weight stays where it is."""
        have = torch.tensor([float(g is not None) for g in gradients])
        self._processes.sum(have)
        return [count == 0 for count in have.tolist()]

    @torch.no_grad()
    def value(self, batches: Sequence[Any]) -> float:
        """L(w) of the whole batch, without its gradient."""
        values, weights = [], []
        for batch in batches:
            one, weight = self._run(batch)
            values.append(one.loss.item())
            weights.append(weight)
        reshard(self._objective.model)
        if self._weigh.is_sum:
            own = sum(v for v, a in zip(values, weights, strict=True) if a)
            return math.fsum(self._processes.gather(own))
        total = sum(weights)
        mean = sum(v * a for v, a in zip(values, weights, strict=True) if a) / total if total else math.nan
        return self._processes.weighted_mean(mean, total)

    @torch.no_grad()
    def evaluate(self, batches: Iterable[Any], metrics: Mapping[str, Callable]) -> dict[str, float]:
        """The loss and metrics of a whole split, as `Objective.evaluate`; each process runs some of the batches.

        The results are those of one process, bit for bit: every process gets all outputs, in their order.
        """
        objective, count = self._objective, self._processes.count
        objective.note = ""
        with evaluation_mode(objective.model):
            split = Evaluation(objective, metrics)
            for some in _in_turn(batches, count):
                own = some[min(self._processes.rank, len(some) - 1)]  # a sharded model runs on all at once
                one = self._forward.in_evaluation(own, measures=bool(metrics))
                passes = self._processes.gather(_without_batch(one))
                for batch, (output, target, loss) in zip(some, passes, strict=False):
                    split.add(Pass(batch, output, target, loss))
            reshard(objective.model)
            return split.results()


def share(
    processes: Processes, task: Task, objective: Objective, batches: Batches, precision: str | None
) -> JointObjective | None:
    """The objective of several processes, each with its part of the batches, or of shards; None for others."""
    batches.rank, batches.ranks = processes.rank, processes.count
    if not processes.are_several and not shards_of(objective.model):
        return None
    return JointObjective(processes, task, objective, precision, 1 / (batches.batch_size or 1))


def norms_of(joint: JointObjective | None) -> tuple[Any, Any]:
    """‖∇L(w)‖ from an update that has the gradient, and any other norm from that of the part on this process."""
    return (methodcaller("norm"), float) if joint is None else (joint.gradient_norm, joint.whole_norm)


def _root(square: float) -> float:
    return math.sqrt(square) if math.isfinite(square) else square


def _without_batch(one: Pass) -> tuple[Any, Any, Tensor]:
    """Output, target and loss, to be sent; the batch is everywhere already."""
    move = lambda tree: batch_tree.map_tensors(tree, lambda x: x.detach().cpu())  # noqa: E731
    return move(one.output), move(one.target), one.loss.detach().cpu()


def _in_turn(batches: Iterable[Any], count: int) -> Iterator[list[Any]]:
    """The batches, so many at a time."""
    iterator = iter(batches)
    while some := list(islice(iterator, count)):
        yield some
