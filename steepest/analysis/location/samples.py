"""The samples of an analysis: one to choose directions, one to measure them, and blocks that show the noise."""

from typing import Any, NamedTuple

from torch import Tensor, nn

from steepest.analysis.location.evidence import EvaluationSample
from steepest.curvature import gradient_noise
from steepest.curvature.gradient_noise import BlockGradients
from steepest.curvature.loss_function import LossFunction
from steepest.curvature.samples import first_batches, sample_loss_functions
from steepest.errors import InputError, TaskError
from steepest.tasks import data
from steepest.tasks.task import Task

MIN_SAMPLES = 2 * gradient_noise.MIN_BLOCKS


class Samples(NamedTuple):
    """The samples of an analysis.

    Attributes:
        search: on which directions are chosen.
        evaluation: on which they are measured; the same if the task has no data.
    """

    search: LossFunction
    evaluation: EvaluationSample


def draw(task: Task, model: nn.Module, w: Tensor, samples: int, seed: int) -> Samples:
    """Draws two samples of a task's training data; of data that bring their own batches, the first ones.

    Args:
        task: whose loss it is.
        model: with the buffers that hold at the point.
        w: the point.
        samples: of both, at most.
        seed: of the draw.

    Raises:
        InputError: too few samples.
    """
    if task.data is None:
        only = LossFunction(task, [None], model=model)
        return Samples(only, EvaluationSample(only, w))
    if data.is_iterable(task.data):
        parts, is_held_back = _deal(task.data, samples, seed)
        search, other = (LossFunction(task, part, model=model) for part in parts)
        return Samples(search, EvaluationSample(other, w, is_held_back=is_held_back))
    half = min(samples, data.length(task.data) or 0) // 2
    _check_enough(2 * half)
    search, other = sample_loss_functions(task, (half, half), seed, model=model)
    evaluation = EvaluationSample(other, w)
    if evaluation.is_by_batch:  # an interval needs several batches
        chunk = max(1, half // gradient_noise.BLOCKS)
        small = sample_loss_functions(task, (half, half), seed, model=model, chunk=chunk)[1]
        evaluation = EvaluationSample(small, w, other)
    return Samples(search, evaluation)


def block_gradients(
    task: Task, model: nn.Module, w: Tensor, samples: int, seed: int, surface: LossFunction
) -> BlockGradients | None:
    """Gradients of disjoint blocks, which show the noise, in the units of a surface's loss.

    Returns:
        None where there are fewer than 8 blocks.
    """
    if task.data is None:
        return None
    if data.is_iterable(task.data):
        blocks = first_batches(task.data, samples, seed)[: gradient_noise.BLOCKS]
        if len(blocks) < gradient_noise.MIN_BLOCKS:
            return None
    else:
        blocks = gradient_noise.disjoint(task, samples=samples, seed=seed)
    gradients, sizes = gradient_noise.block_gradients(task, w, blocks, model=model)
    return _in_units_of(surface, gradients, sizes)


def _in_units_of(surface: LossFunction, gradients: Tensor, sizes: list[float]) -> BlockGradients:
    """The gradients as estimates of that of a surface: a sum grows with its samples."""
    scales = [1 / surface.share_of(size) for size in sizes]
    return gradients * gradients.new_tensor(scales)[:, None], sizes


def _deal(source: Any, samples: int, seed: int) -> tuple[tuple[list[Any], list[Any]], bool]:
    """The first batches in turn to two parts; one batch alone is cut in two, or is both, as a graph has to be."""
    batches = first_batches(source, samples, seed)
    _check_enough(sum(map(data.count, batches)))
    if len(batches) == 1:
        try:
            batches = data.split(batches[0], 2)
        except TaskError:
            return (batches, batches), False
    return (batches[::2], batches[1::2]), True


def _check_enough(count: int) -> None:
    if count < MIN_SAMPLES:
        raise InputError(f"locate needs at least {MIN_SAMPLES} samples (half are for evaluation), got {count}.")
