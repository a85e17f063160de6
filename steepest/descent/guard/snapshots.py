"""States of a descent in host memory, to go back to: three of them, the older the further apart.

A state is good only once the descent has gone on from it for a while without an alarm: a snapshot taken on the way up
an explosion is no help. States are nested dictionaries of numbers and copied tensors; nothing here looks into them.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

SPREAD = 4
"""An older snapshot stays until the newest lies so many intervals after it."""
OFTEN = 3
"""A snapshot is gone back to so often before an older one is."""


@dataclass
class Snapshots:
    """What is kept.

    Attributes:
        every: steps between two snapshots; None until it is chosen.
        single: keep one only, for want of memory.
        good: (t, state) that have survived, newest first.
        pending: (t, state) that has not yet.
        used: how often the newest good one has been gone back to.
    """

    every: int | None = None
    single: bool = False
    good: list[tuple[int, dict[str, Any]]] = field(default_factory=list)
    pending: tuple[int, dict[str, Any]] | None = None
    used: int = 0

    def take(self, t: int, state: dict[str, Any]) -> None:
        """Keeps a state; the one taken before has survived, since nothing has gone back past it."""
        if self.single:
            self.good = [(t, state)]
            return
        if self.pending is not None:
            self._promote(self.pending)
        self.pending = (t, state)

    def _promote(self, survivor: tuple[int, dict[str, Any]]) -> None:
        newest, *older = [survivor, *self.good]
        if len(older) == 2:
            far = newest[0] - older[1][0] > SPREAD * (self.every or 1)
            older = older[:1] if far else older[1:]
        self.good, self.used = [newest, *older][:2], 0

    def back(self) -> tuple[int, dict[str, Any]]:
        """The newest good state; at a second repeat the one before it."""
        self.pending = None
        if self.used >= OFTEN and len(self.good) > 1:
            del self.good[0]
            self.used = 0
        self.used += 1
        return self.good[0]

    def best(self, level: Callable[[dict[str, Any]], float]) -> tuple[int, dict[str, Any]]:
        """The good state of the lowest level."""
        return min(self.good, key=lambda g: level(g[1]))

    def state(self) -> dict[str, Any]:
        """Everything, nested."""
        return {
            "every": self.every,
            "single": self.single,
            "used": self.used,
            "good": [list(g) for g in self.good],
            "pending": self.pending and list(self.pending),
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Restores what `state` gave."""
        self.every, self.single, self.used = state["every"], state["single"], state["used"]
        self.good = [(t, held) for t, held in state["good"]]
        self.pending = (state["pending"][0], state["pending"][1]) if state["pending"] else None


# -- Nested states -----------------------------------------------------------------------------------------------------
