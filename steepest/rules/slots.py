"""Memory for the slots of an update: one flat buffer per slot, device and dtype.

In a buffer the part of each tensor begins at a multiple of 64 bytes and has the tensor's strides.
"""

import ctypes
import itertools
import math
import mmap
from collections.abc import Sequence

import torch
from torch import Tensor

from steepest.rules.memory import is_dense
from steepest.rules.rule import Slot, W

ALIGNMENT_BYTES = 64  # a cache line
HUGE_PAGE_BYTES = 2 << 20


def make_slots(slots: Sequence[Slot], tensors: Sequence[Tensor]) -> list[list[Tensor]]:
    """For each slot a tensor for each of the tensors, which have one device and dtype, with the starting value."""
    unit = ALIGNMENT_BYTES // tensors[0].element_size() or 1
    sizes = (math.ceil(p.numel() / unit) * unit for p in tensors)
    *starts, length = itertools.accumulate(sizes, initial=0)
    views = []
    for slot in slots:
        flat = _zeros(length, tensors[0])
        views.append([_view(flat, at, p) for at, p in zip(starts, tensors, strict=True)])
        for view, p in zip(views[-1], tensors, strict=True):
            view.copy_(p.detach()) if slot.start is W else view.fill_(float(slot.start))
    return views


def _zeros(length: int, like: Tensor) -> Tensor:
    """A buffer of zeros; a large one in huge pages if the system has them, which saves address translations."""
    flat = torch.empty(length, dtype=like.dtype, device=like.device)
    if flat.device.type == "cpu" and flat.nbytes >= 2 * HUGE_PAGE_BYTES and hasattr(mmap, "MADV_HUGEPAGE"):
        start = -(-flat.data_ptr() // HUGE_PAGE_BYTES) * HUGE_PAGE_BYTES
        size = (flat.data_ptr() + flat.nbytes - start) // HUGE_PAGE_BYTES * HUGE_PAGE_BYTES
        advise = ctypes.CDLL(None).madvise
        advise(ctypes.c_void_p(start), ctypes.c_size_t(size), mmap.MADV_HUGEPAGE)  # before the first write; only a hint
    return flat.zero_()


def _view(flat: Tensor, at: int, like: Tensor) -> Tensor:
    """A slot of one tensor, with the tensor's strides; contiguous if the tensor is not dense."""
    if is_dense(like):
        return torch.as_strided(flat, like.shape, like.stride(), at)
    return flat[at : at + like.numel()].view(like.shape)
