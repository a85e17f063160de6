"""The loss on a plane, w(a, b) = w₀ + a u + b v, over a fixed sample: by the strategy that suits the model."""

import copy
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from steepest.analysis.landscape.planes import Plane, Points
from steepest.analysis.landscape.strategies import (
    MAX_ROW,
    PlaneSample,
    Sequential,
    Strategy,
    Vmap,
    agree,
    choose_strategy,
)
from steepest.curvature.loss_function import LossFunction, plain_kernels
from steepest.tasks import data

MIN_STRATEGY_POINTS = 65
"""With fewer points, preparing a strategy would take as long as half of the work."""
STRATEGY_SAMPLES = 12
"""Samples with which a strategy for few samples is chosen."""
NOTIFY_POINTS = 8 * MAX_ROW


class PlaneLoss:
    """The loss on a plane, over a surface's sample.

    Args:
        surface: the loss.
        plane: the plane.
        notify: told of points as they are evaluated; what it raises ends the evaluation.
    """

    @plain_kernels()
    def __init__(
        self, surface: LossFunction, plane: Plane, notify: Callable[[int], None] = lambda points: None
    ) -> None:
        self._sample = PlaneSample(surface, plane, list(surface.batches))
        self._strategy: Strategy | None = None
        self._is_plain = False
        self._notify = notify

    @property
    def samples(self) -> int:
        """Number of samples n."""
        return sum(data.count(batch) for batch in self._sample.batches)

    def losses(self, points: Points) -> np.ndarray:
        """L at K points [K], float64; points of one row should be adjacent."""
        return np.stack(self._run(points, per_sample=False), 1) @ self._sample.shares

    def per_sample_losses(self, points: Points) -> np.ndarray:
        """The loss of each sample at K points, [K, n] float64."""
        return np.concatenate(self._run(points, per_sample=True), 1)

    @plain_kernels()
    def subset(self, rows: Tensor) -> "PlaneLoss":
        """The same plane on some of the samples, by index."""
        other = copy.copy(self)
        whole = tuple(torch.cat(parts) for parts in zip(*self._sample.batches, strict=True))
        other._sample, other._strategy = self._sample.with_batches([tuple(x[rows] for x in whole)]), None
        other._notify = lambda points: self._notify(0)
        return other

    def as_one_batch(self, points: Points) -> "PlaneLoss | None":
        """The same with all samples in one batch, if these take hardly longer than a few, which vmap does not take."""
        surface = self._sample.surface
        if self.samples > surface.work().few_samples or surface.device.type != "cpu":
            return None
        some = self.subset(torch.arange(min(self.samples, STRATEGY_SAMPLES)))
        with plain_kernels():
            if isinstance(choose_strategy(some._sample, points, per_sample=True), Vmap):
                return None
        whole, first = self.subset(torch.arange(self.samples)), points[:1]
        whole._notify = self._notify
        return whole if agree(whole.losses(first), self.losses(first), surface.dtype) else None

    @plain_kernels()
    def _run(self, points: Points, per_sample: bool) -> list[np.ndarray]:
        """The losses by batch."""
        if self._strategy is None and len(points) >= MIN_STRATEGY_POINTS:
            self._strategy = choose_strategy(self._sample, points, per_sample)
        strategy = self._strategy or Sequential(self._sample)
        return [self._in_parts(strategy, batch, points, per_sample) for batch in range(len(self._sample.batches))]

    def _in_parts(self, strategy: "Strategy", batch: int, points: Points, per_sample: bool) -> np.ndarray:
        """A batch's losses, some rows of points at a time, so that there is progress to tell of."""
        losses = []
        for lo in range(0, len(points), NOTIFY_POINTS):
            losses.append(self._evaluate(strategy, batch, points[lo : lo + NOTIFY_POINTS], per_sample))
            self._notify(len(losses[-1]))
        return np.concatenate(losses)

    def _evaluate(self, strategy: "Strategy", batch: int, points: Points, per_sample: bool) -> np.ndarray:
        """A batch's losses; by plain passes, from here on, where the strategy raises."""
        if not self._is_plain:
            try:
                return strategy(batch, points, per_sample)
            except Exception:  # what holds where it was tried need not hold here; the user's model may raise anything
                self._is_plain, self._sample = True, self._sample.without_affine()
                self._strategy = Sequential(self._sample)
        return _finite_where_possible(Sequential(self._sample), batch, points, per_sample)


def _finite_where_possible(strategy: Strategy, batch: int, points: Points, per_sample: bool) -> np.ndarray:
    """The losses, NaN at points where the model raises, such as for a matrix that is singular there.

    Raises:
        Exception: the model's, where it raises at all of them.
    """
    try:
        return strategy(batch, points, per_sample)
    except Exception as error:
        first = error
    losses: list[np.ndarray | None] = []
    for k in range(len(points)):
        try:
            losses.append(strategy(batch, points[k : k + 1], per_sample)[0])
        except Exception:
            losses.append(None)
    one = next((x for x in losses if x is not None), None)
    if one is None:
        raise first
    return np.stack([np.full_like(one, np.nan) if x is None else x for x in losses])
