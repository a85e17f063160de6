"""Batch-norm statistics at the point that a rule reports.

    μ, σ² of each layer's inputs: the mean over training batches, at the reported weights

The running statistics of training are those of the weights that took the steps. A running average of weights, or the
point of a schedule-free rule, has others, so they are computed anew, as `torch.optim.swa_utils.update_bn` does
(Izmailov et al. 2018, arXiv:1803.05407, section 3.2). The other layers are in evaluation mode, as they are measured.
"""

from collections import deque
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parameter import is_lazy
from torch.utils._pytree import tree_leaves

from steepest.descent.settings import Settings
from steepest.rules.rule import Rule
from steepest.tasks import Batches, Buffers, Task, data, module_state

MEASURED_SAMPLES, END_SAMPLES = 4096, 32_768
"""Training samples, at most, for a measurement during the run, and for its last step."""
RECENT_BYTES = 256 << 20
"""Of batches of an iterable that are kept for the statistics, since it cannot give them again."""


def norm_layers(model: nn.Module) -> list[_BatchNorm]:
    """The batch norms with running statistics."""
    return [
        m for m in model.modules()
        if isinstance(m, _BatchNorm) and m.track_running_stats and isinstance(m.running_mean, Tensor)
        and not is_lazy(m.running_mean)
    ]  # fmt: skip


class NormStatistics:
    """Computes the statistics for a descent; the same for the same step, whatever was measured before.

    For an iterable the batches are the last ones of the training; after a run is resumed, those since then.

    Attributes:
        keeps_batches: whether it has to see each batch of the training.

    Args:
        task, settings: of the descent.
        model: that is trained.
        device: of the batches.
    """

    def __init__(self, task: Task, settings: Settings, model: nn.Module, device: torch.device) -> None:
        self._task, self._settings, self._device = task, settings, device
        reports = settings.average is not None or any(
            isinstance(part.rule, Rule) and part.rule.evaluate is not None for part in settings.stages.parts
        )
        must_keep = reports and data.is_iterable(task.data) and bool(norm_layers(model))
        self._recent = deque[Any]() if must_keep else None
        self.keeps_batches = must_keep
        self._batches: Batches | None = None
        self._last: tuple[int, list[Tensor]] = (-1, [])

    def see(self, batches: list[Any]) -> None:
        """Takes the batches of a training step; keeps the last ones of an iterable."""
        if self._recent is None:
            return
        self._recent.extend(batches)
        sizes = [(data.count(b), sum(getattr(x, "nbytes", 0) for x in tree_leaves(b))) for b in self._recent]
        samples, memory = map(sum, zip(*sizes, strict=True))
        for n, size in sizes[:-1]:
            if samples - n < MEASURED_SAMPLES and memory <= RECENT_BYTES:
                break
            samples, memory = samples - n, memory - size
            self._recent.popleft()

    def update(self, descent: Any) -> None:
        """Writes the statistics at the model's present weights into its batch norms.

        Args:
            descent: the `Descent`, whose model is at the point that its rule reports.
        """
        layers = norm_layers(descent.model)
        if not layers or self._task.data is None:
            return
        own = [b for layer in layers for b in layer.buffers(recurse=False)]
        if self._last[0] != descent.t or [x.shape for x in self._last[1]] != [b.shape for b in own]:
            limit = END_SAMPLES if descent.t == descent.steps else MEASURED_SAMPLES
            batches = self._some_batches(limit)
            if not batches:
                return
            self._last = (descent.t, _measure(descent, layers, own, batches))
        with torch.no_grad():
            for b, value in zip(own, self._last[1], strict=True):
                b.copy_(value)

    def _some_batches(self, limit: int) -> list[Any]:
        """Batches of the training data with `limit` samples, if there are as many; without a short one at the end."""
        if self._recent is not None:
            return list(self._recent)
        if data.is_iterable(self._task.data):
            return []
        if self._batches is None:
            s = self._settings
            self._batches = Batches(
                self._task.data, s.batch_size, s.seed, accumulate=s.accumulate, augment=self._task.augment,
                device=self._device,
            )  # fmt: skip
        batches: list[Any] = []
        samples = 0
        for t in range(1, (self._batches.steps_per_epoch or 1) + 1):
            if samples >= limit:
                break
            parts = self._batches(t)
            batches += [b for b in parts if not batches or 2 * data.count(b) >= data.count(batches[0])]
            samples += sum(map(data.count, parts))
        return batches


def _measure(descent: Any, layers: list[_BatchNorm], own: list[Tensor], batches: list[Any]) -> list[Tensor]:
    """Copies of the layers' buffers after they have seen the batches; the model is left as it was."""
    model, task = descent.model, descent.task
    modes, momenta = [(m, m.training) for m in model.modules()], [layer.momentum for layer in layers]
    buffers, extra = Buffers(model), module_state.read_extra(model)[0]
    buffers.save(all=True)
    model.eval()
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # the mean over all batches
        layer.train()
    try:
        with descent.random.of_step(0), torch.set_grad_enabled(task.objective is not None):  # it may differentiate
            for batch in batches:
                descent.objective.loss(batch)
        return [b.detach().clone() for b in own]
    finally:
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum
        for module, training in modes:
            module.training = training
        buffers.restore()
        module_state.write_extra(model, extra)
