"""Loss functions on samples of a task's data."""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import nn

from steepest import seeds
from steepest.curvature.loss_function import LossFunction
from steepest.tasks.batch_tree import count, tensors
from steepest.tasks.data import disjoint_samples, in_batches, is_in_memory, is_iterable, take
from steepest.tasks.task import Task

CHUNK_SAMPLES = 512
"""Samples in a batch of a fixed sample: a product over 1,293 digits takes 1.5 to 1.8 × a loss and gradient in batches
of 512, 2.1 to 2.2 in batches of 256 and 1.8 to 2.1 in one (float64 and float32, one core of a shared AMD EPYC)."""
PROBE_ROWS = 8
"""Rows of a Dataset that are read twice to see whether it draws them at random."""
DRAWN_SAMPLES = "The Dataset draws its samples at random: the loss is that of the samples drawn here, once."


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
    source = task.data if data is None else data
    parts = disjoint_samples(source, sizes, chunk, seed)
    functions = tuple(LossFunction(task, batches, dtype, model) for batches in parts)
    if draws_at_random(source):
        for function in functions:
            function.messages.append(DRAWN_SAMPLES)
    return functions


def first_batches(source: Iterable[Any], samples: int, seed: int = 0) -> list[Any]:
    """The first batches of an iterable: so many samples in all, at least, or all that there are."""
    batches, total = list[Any](), 0
    with seeds.ours(seed, "sample"):
        for batch in in_batches(source, 0):
            batches.append(batch)
            total += count(batch)
            if total >= samples:
                break
    return batches


def draws_at_random(source: Any) -> bool:
    """Whether a map-style Dataset gives other samples with other random numbers; tried on a few."""
    if source is None or is_in_memory(source) or is_iterable(source):
        return False
    draws = []
    for seed in (0, 1):
        with seeds.ours(seed, "samples at random"):
            draws.append(tensors(take(source, list(range(min(PROBE_ROWS, len(source)))))))
    same = (x.shape == y.shape and bool(((x == y) | (x != x)).all()) for x, y in zip(*draws, strict=True))
    return not all(same)  # a NaN differs from itself
