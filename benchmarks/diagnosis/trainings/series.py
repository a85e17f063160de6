"""A training at many rates and batch sizes, and what tasks are made with."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

import steepest as sd
from benchmarks.problems import networks
from benchmarks.problems.problems import COSINE, Problem

CONSTANT = "constant"
ONES, TWOS, THREES, FOURS, FIVES, SIXES, EIGHTS = ((n, 8 * n, 64 * n) for n in (1, 2, 3, 4, 5, 6, 8))
FULL = ("full",)
TO_FULL = (*TWOS, "full")
FEW = (2, 16, "full")
RATES = (-6, -5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 6)
COARSE = (-6, -4, -3, -2, -1, 0, 1, 2, 3, 5)
EDGE = (-3, -2, -1, 0, 0.5, 1, 1.5, 2, 2.5, 3, 3.5, 4)
"""Finer where a full batch begins to oscillate."""

dense = functools.partial(functools.partial, networks.dense)
"""What builds a network of dense layers from a seed."""


@dataclass(frozen=True)
class Series:
    """A problem at many rates and batch sizes.

    Attributes:
        problem: its rate is the middle of the grid; its batch size is not used.
        batches: sizes, each about eight times the one before; the last is only compared with, unless it is "full".
        start: the task with a start from which it can be learned, where its own is a plateau.
        rates: half decades from the middle of the grid.
    """

    problem: Problem
    batches: tuple[int | str, ...]
    start: Callable[[], sd.Task] | None = None
    rates: tuple[float, ...] = RATES


def series(
    task: Callable[[], sd.Task], rule: str, lr: float, schedule: str, steps: int,
    batches: tuple[int | str, ...] = TWOS, start: Callable[[], sd.Task] | None = None,
    rates: tuple[float, ...] = RATES,
) -> Series:  # fmt: skip
    shape = "cosine" if schedule == COSINE else "constant"
    name = f"{task.__name__}-{rule}-{shape}".replace("_", "-")
    return Series(Problem(name, task, rule, lr, schedule, 0, steps), batches, start, rates)


def split(x: Tensor, y: Tensor, samples: int, seed: int) -> dict[str, Any]:
    """Data of so many samples and validation of 400 others, for a Task."""
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))
    train, validation = order[:samples], order[samples : samples + 400]
    return {"data": (x[train], y[train]), "validation": (x[validation], y[validation])}


def mislabelled(y: Tensor, share: float, classes: int, seed: int) -> Tensor:
    """Labels, of which a share is drawn at random."""
    random = torch.Generator().manual_seed(seed)
    wrong = torch.rand(len(y), generator=random) < share
    return torch.where(wrong, torch.randint(classes, y.shape, generator=random), y)


def started(build: Callable[[int], nn.Module], change: Callable[[Tensor], Tensor], seed: int) -> nn.Module:
    """A network whose parameters have been changed."""
    net = build(seed)
    with torch.no_grad():
        for p in net.parameters():
            p.copy_(change(p))
    return net


def changed(build: Callable[[int], nn.Module], change: Callable[[Tensor], Tensor]) -> Callable[[int], nn.Module]:
    """Builds networks whose parameters have been changed."""
    return functools.partial(started, build, change)


def lowered(p: Tensor, shift: float) -> Tensor:
    """Biases, or what is as long as they are."""
    return p - shift if p.dim() == 1 and len(p) > 2 else p
