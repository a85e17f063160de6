"""The norm of gradients by the kernel: one pass over them, on torch's threads, in float64 beyond chunks of 2,048."""

import math
import threading
from collections.abc import Sequence

import torch
from torch import Tensor

from steepest.rules.backends.object_code import can_load
from steepest.rules.memory import is_plain
from steepest.rules.rounding import Rounding
from steepest.rules.tensor_groups import KernelGroup
from steepest.rules.textbook import RULES

KERNEL_DTYPES = (torch.float32, torch.float64, torch.bfloat16)
GROUPS = 8
"""Lists of gradients that each thread remembers by their sizes."""


class _Groups(threading.local):
    """The groups of a thread, by dtype and sizes of their tensors; a group has one place for a step's addresses."""

    def __init__(self) -> None:
        self.by_sizes: dict[tuple, KernelGroup] = {}


_groups = _Groups()


def gradient_norm(gradients: Sequence[Tensor]) -> float | None:
    """‖g‖ over all gradients, or None where torch has to compute it.

    That is where one is no plain tensor on the CPU in float32, float64 or bfloat16, where all squares vanish, while
    torch.compile traces, and on a system that cannot load kernels.

    Args:
        gradients: of any shapes and dtypes.
    """
    if torch.compiler.is_compiling() or not can_load():
        return None
    by_dtype: dict[torch.dtype, list[Tensor]] = {}
    for g in gradients:
        if not is_plain(g, KERNEL_DTYPES):
            return None
        by_dtype.setdefault(g.dtype, []).append(g)
    return math.sqrt(sum(map(_squares, by_dtype.values()))) or None


def _squares(gradients: list[Tensor]) -> float:
    """Σ‖g‖² of tensors of one dtype."""
    dtype, groups = gradients[0].dtype, _groups.by_sizes
    key = (dtype, *map(Tensor.numel, gradients))
    group = groups.pop(key, None)
    if group is None:
        rounding = Rounding(has_master=False, is_stochastic=False) if dtype is torch.bfloat16 else None
        group = KernelGroup(RULES["gradient_descent"], None, gradients, [], rounding)
        if len(groups) == GROUPS:
            del groups[next(iter(groups))]
    groups[key] = group  # the last one that was used is the last one to go
    group.read(gradients, gradients)
    return group.squares()
