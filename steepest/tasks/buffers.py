"""Saves and restores a module's buffers, so that a skipped step leaves them unchanged."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

SMALL_BUFFER_NUMEL = 4096
"""Elements of a buffer that is copied before every step, as a batch norm's are; larger ones only after a change."""


class Buffers:
    """A model's buffers, saved before a step and restored if the step is skipped.

    After one batch with a NaN, a BatchNorm's running statistics stay NaN whatever happens to the weights.
    """

    def __init__(self, model: nn.Module) -> None:
        entries = [(m, key, b) for m in model.modules() for key, b in m._buffers.items() if b is not None]
        unique = list({id(b): (m, key, b) for m, key, b in entries}.values())
        self._places = [(m._buffers, key) for m, key, _ in unique]
        self._always = {
            i for i, (m, _, b) in enumerate(unique) if b.numel() <= SMALL_BUFFER_NUMEL or isinstance(m, _NormBase)
        }
        self._live = set(range(len(unique)))
        self._copies: list[tuple[Tensor, int, Tensor | None]] = []

    def __bool__(self) -> bool:
        return bool(self._places)

    @torch.no_grad()
    def save(self, all: bool = False) -> None:
        """Copies the buffers that may change, or all."""
        now: list[Any] = [holder[key] for holder, key in self._places]
        self._copies = [(b, b._version, b.clone() if all or i in self._live else None) for i, b in enumerate(now)]

    def detect_changes(self) -> None:
        """Records, after a step, which buffers change.

        A tensor's version is not enough: torch's batch norm writes its running mean without increasing it.
        """
        for i, ((holder, key), (before, version, copy)) in enumerate(zip(self._places, self._copies, strict=True)):
            if i in self._always:
                continue
            if holder[key] is not before or before._version != version or _differ(before, copy):
                self._live.add(i)
            else:
                self._live.discard(i)

    @torch.no_grad()
    def restore_unless(self, live: Tensor) -> None:
        """Restores the buffers if `live`, a boolean tensor on their device, is False; without synchronisation."""
        for (holder, key), (before, _, copy) in zip(self._places, self._copies, strict=True):
            if copy is not None:
                now: Any = holder[key]
                before.copy_(torch.where(live, now, copy))
                holder[key] = before

    @torch.no_grad()
    def restore(self) -> None:
        """Restores the buffers, also those that were assigned anew."""
        for (holder, key), (before, _, copy) in zip(self._places, self._copies, strict=True):
            holder[key] = before
            if copy is not None and _differ(before, copy):
                before.copy_(copy)


def _differ(now: Tensor, copy: Tensor | None) -> bool:
    return copy is not None and not torch.equal(now, copy)
