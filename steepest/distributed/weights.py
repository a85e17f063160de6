"""What a part of a batch counts in the loss of the whole batch.

The processes see different parts, so their losses are averaged by weight: samples for a mean over samples, labels that
are not ignored for cross entropy, what `Task(count=)` says. For any other loss of outputs and targets the weight
follows from the loss (`tasks.shares`), by comparison with a few samples of the first process, which all of them get.
"""

import copy
import functools
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from steepest.distributed.processes import Processes
from steepest.tasks import Objective, Task, data
from steepest.tasks.forward import Pass
from steepest.tasks.shares import LossWeights, unchanged_state

MEANS = (
    F.mse_loss, F.l1_loss, F.smooth_l1_loss, F.huber_loss, F.binary_cross_entropy, F.binary_cross_entropy_with_logits,
    F.soft_margin_loss,
)  # fmt: skip
"""Functions of torch that, as they are, are a mean over samples."""
MEAN_MODULES = (
    nn.MSELoss, nn.L1Loss, nn.SmoothL1Loss, nn.HuberLoss, nn.BCELoss, nn.BCEWithLogitsLoss, nn.SoftMarginLoss,
)  # fmt: skip
LABEL_LOSSES = (F.cross_entropy, F.nll_loss)
"""Functions of torch that are a mean over the labels that are not ignored."""
LABEL_MODULES = (nn.CrossEntropyLoss, nn.NLLLoss)
IGNORED_LABEL = -100
"""`ignore_index` of torch's losses."""


class PartWeights:
    """The weights of parts of batches, in the same units on all processes.

    Args:
        task: of the descent.
        objective: of its model.
        processes: that share batches.
    """

    def __init__(self, task: Task, objective: Objective, processes: Processes) -> None:
        self._objective, self._processes = objective, processes
        loss = objective.loss_function if objective.has_output_loss else None
        self._has_count = not objective.shares_follow_from_loss
        self._are_samples = task.count is data.count and (loss is None or _is_mean(loss))
        self._ignore_index = None if loss is None or task.predict is not None else _ignored_label(loss)
        self._weights = LossWeights()

    @property
    def is_sum(self) -> bool:
        """Whether the loss of all parts is the sum of theirs; known after the first part."""
        return self._weights.reduction == "sum"

    def __call__(self, one: Pass) -> float:
        """The weight of a part; 0 where its loss is a mean over nothing.

        Raises:
            TaskError: it cannot be told.
        """
        target = one.target
        if self._are_samples or self._has_count:
            return self._objective.loss_weight(one.batch)
        if self._ignore_index is not None and isinstance(target, Tensor) and not target.is_floating_point():
            return float((target != self._ignore_index).sum())
        return self._weigh(one)

    def _weigh(self, one: Pass) -> float:
        """The weight in units of one sample of the first process."""
        loss, samples = self._objective.loss_of, self._objective.samples_or_none(one) or 1
        with unchanged_state(self._objective.loss_function):
            self._weights = copy.copy(self._processes.from_first(lambda: _reference(loss, one, samples)))
            weight = self._weights.weigh(loss, one.output, one.target, samples)
        if weight is None:
            return 0.0 if bool(one.loss.isnan()) else float(samples)
        return weight


def _reference(loss: Any, one: Pass, samples: int) -> LossWeights:
    """Weights that compare with samples of this part."""
    weights = LossWeights()
    weights.weigh(loss, one.output, one.target, samples)
    return weights


def _is_mean(loss: Any) -> bool:
    if isinstance(loss, MEAN_MODULES):
        has_weights = any(getattr(loss, name, None) is not None for name in ("weight", "pos_weight"))
        return loss.reduction == "mean" and not has_weights
    return loss in MEANS


def _ignored_label(loss: Any) -> int | None:
    """The label that a cross entropy over labels leaves out of its mean; None for another loss."""
    if isinstance(loss, LABEL_MODULES) and loss.reduction == "mean" and loss.weight is None:
        return loss.ignore_index
    if isinstance(loss, functools.partial) and loss.func in LABEL_LOSSES and not loss.args:
        is_plain = loss.keywords.keys() <= {"ignore_index", "label_smoothing"}
        return loss.keywords.get("ignore_index", IGNORED_LABEL) if is_plain else None
    return IGNORED_LABEL if loss in LABEL_LOSSES else None
