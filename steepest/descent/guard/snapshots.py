"""Snapshots of a descent in host memory: three of them, farther apart the older they are.

A snapshot is good only once the descent has gone on for an interval without an alarm: one taken on the way up an
explosion is useless. States are nested dictionaries of numbers and copied tensors; this module reads their sizes only.
"""

import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from torch.utils._pytree import tree_leaves

MAX_SPREAD = 4
"""An older snapshot is replaced once the newest lies more than this many intervals after it."""
MAX_REWINDS = 3
"""Rewinds to one snapshot before an older one is used."""


class Snapshot(NamedTuple):
    """The state of a descent after step t."""

    t: int
    state: dict[str, Any]


@dataclass
class Snapshots:
    """The snapshots of one descent.

    Attributes:
        every: steps between two snapshots; None until it is chosen.
        single: keep only one, where memory is short.
        good: those after which nothing alarmed for an interval, newest first.
        candidate: the last one, which is not yet good.
        rewinds: how often the newest good one has been used.
    """

    every: int | None = None
    single: bool = False
    good: list[Snapshot] = field(default_factory=list)
    candidate: Snapshot | None = None
    rewinds: int = 0

    def take(self, t: int, state: dict[str, Any]) -> None:
        """Adds a snapshot; the candidate before it becomes good."""
        if self.single:
            self.good = [Snapshot(t, state)]
            return
        if self.candidate is not None:
            self._promote(self.candidate)
        self.candidate = Snapshot(t, state)

    def _promote(self, snapshot: Snapshot) -> None:
        older = self.good
        if len(older) == 2:
            is_far = snapshot.t - older[1].t > MAX_SPREAD * (self.every or 1)
            older = older[:1] if is_far else older[1:]
        self.good, self.rewinds = [snapshot, *older], 0

    def back(self) -> Snapshot:
        """The newest good snapshot; the one before it after MAX_REWINDS."""
        self.candidate = None
        if self.rewinds >= MAX_REWINDS and len(self.good) > 1:
            del self.good[0]
            self.rewinds = 0
        self.rewinds += 1
        return self.good[0]

    def best(self, level: Callable[[dict[str, Any]], float]) -> Snapshot:
        """The good snapshot whose state has the lowest level."""
        return min(self.good, key=lambda snapshot: level(snapshot.state))

    def state(self) -> dict[str, Any]:
        """The state, nested; its keys are part of the format."""
        good, candidate = [list(snapshot) for snapshot in self.good], self.candidate and list(self.candidate)
        return {"every": self.every, "single": self.single, "used": self.rewinds, "good": good, "pending": candidate}

    def load(self, state: Mapping[str, Any]) -> None:
        """Restores the result of `state`."""
        self.every, self.single, self.rewinds = state["every"], state["single"], state["used"]
        self.good = [Snapshot(*snapshot) for snapshot in state["good"]]
        self.candidate = Snapshot(*state["pending"]) if state["pending"] else None


def bytes_of(state: Any) -> int:
    """The bytes of all tensors in a nested state.

    >>> import torch
    >>> bytes_of({"weights": [torch.zeros(3)], "t": 1})
    12
    """
    return sum(getattr(x, "nbytes", 0) for x in tree_leaves(state))


def machine_memory() -> float:
    """Bytes of the machine's memory; infinite where the system does not tell."""
    names = getattr(os, "sysconf_names", {})  # Windows has none
    if not {"SC_PAGE_SIZE", "SC_PHYS_PAGES"} <= names.keys():
        return math.inf
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
