"""Whether a rise of the loss comes from the weights, or from the objective and the data.

A loss also rises because a term is switched on, another domain begins, or sequences get longer. The last good snapshot
tells: where its weights are as bad on the batches of now, nothing has happened to the weights. The batches, the random
numbers and what counts steps are those of now; buffers that the model learns, as running means, are the snapshot's.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from steepest.descent.guard.snapshots import Snapshot
from steepest.tasks import module_state
from steepest.tasks.buffers import Buffers

BATCHES = 8
"""Batches of now on which both points are compared."""


def batch_loss(descent: Any, t: int, batches: Sequence[Any] | None = None) -> float:
    """The loss of step t's batch at the present point, with its random numbers; leaves everything as it was.

    Args:
        descent: as it is now.
        t: a step.
        batches: of the step, where the data cannot give it again.
    """
    buffers = Buffers(descent.model)
    buffers.save()
    try:
        with descent.random.of_step(t):
            return (descent.joint or descent.objective).value(descent.batches(t) if batches is None else batches)
    finally:
        buffers.restore()


def losses(descent: Any, snapshot: Snapshot, t: int, batches: Sequence[Any]) -> tuple[float, float]:
    """Mean loss of the present weights, and of the snapshot's, on the batches of now.

    Args:
        descent: as it is now.
        snapshot: the last good one.
        t: the present step.
        batches: of the step.
    """

    def mean() -> float:
        if descent.batches.is_iterable:
            return batch_loss(descent, t, batches)
        steps = range(max(1, t - BATCHES + 1), t + 1)
        return math.fsum(batch_loss(descent, s) for s in steps) / len(steps)

    now = mean()
    with weights_of(snapshot, descent.model):
        return now, mean()


@contextmanager
def weights_of(snapshot: Snapshot, model: nn.Module) -> Iterator[None]:
    """The model has a snapshot's weights inside the block."""
    then = {**snapshot.state["weights"]}
    then |= {name: x for name, x in snapshot.state["buffers"].items() if _is_learned(x)}
    now = {**module_state.parameters_of(model), **module_state.buffers_of(model)}
    places = {name: x for name, x in now.items() if name in then}
    own = {name: x.detach().clone() for name, x in places.items()}
    _copy(then, places)
    try:
        yield
    finally:
        _copy(own, places)


def _is_learned(buffer: Tensor) -> bool:
    """Whether a buffer is part of what the model learns, and does not count steps."""
    return buffer.is_floating_point() and buffer.numel() > 1


@torch.no_grad()
def _copy(source: dict[str, Tensor], target: dict[str, Tensor]) -> None:
    for name, x in target.items():
        x.copy_(source[name])
