"""A module's buffers, saved and restored around what must not change them."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

SMALL = 4096
"""Buffers of so many elements are copied before every step, as are those of a batch norm; larger ones where they are
seen to change."""


class Buffers:
    """A model's buffers, so that a step that is not taken leaves them as they were.

    A BatchNorm that has seen one batch with a NaN stays NaN for ever, whatever happens to the weights.
    """

    def __init__(self, model: nn.Module) -> None:
        held = [(m, key, b) for m in model.modules() for key, b in m._buffers.items() if b is not None]
        unique = list({id(b): (m, key, b) for m, key, b in held}.values())
        self._places = [(m._buffers, key) for m, key, _ in unique]
        self._always = {i for i, (m, _, b) in enumerate(unique) if b.numel() <= SMALL or isinstance(m, _NormBase)}
        self._live = set(range(len(unique)))
        self._saved: list[tuple[Tensor, int, Tensor | None]] = []

    def __bool__(self) -> bool:
        return bool(self._places)

    @torch.no_grad()
    def save(self, all: bool = False) -> None:
        """Copies those that may change, or all."""
        now: list[Any] = [holder[key] for holder, key in self._places]
        self._saved = [(b, b._version, b.clone() if all or i in self._live else None) for i, b in enumerate(now)]

    def notice(self) -> None:
        """Called after a step that was taken: learns which buffers change.

        A tensor's version alone does not tell: torch's batch norm writes its running mean without counting it up.
        """
        for i, ((holder, key), (before, version, kept)) in enumerate(zip(self._places, self._saved, strict=True)):
            if i in self._always:
                continue
            if holder[key] is not before or before._version != version or _differ(before, kept):
                self._live.add(i)
            else:
                self._live.discard(i)

    @torch.no_grad()
    def restore_unless(self, live: Tensor) -> None:
        """Puts back what was saved where `live`, one truth on their device, does not hold; nobody waits for it."""
        for (holder, key), (before, _, kept) in zip(self._places, self._saved, strict=True):
            if kept is not None:
                now: Any = holder[key]
                before.copy_(torch.where(live, now, kept))
                holder[key] = before

    @torch.no_grad()
    def restore(self) -> None:
        """Puts back what was saved; also a buffer that was assigned anew."""
        for (holder, key), (before, _, kept) in zip(self._places, self._saved, strict=True):
            holder[key] = before
            if kept is not None and _differ(before, kept):
                before.copy_(kept)


def _differ(now: Tensor, kept: Tensor | None) -> bool:
    return kept is not None and not torch.equal(now, kept)
