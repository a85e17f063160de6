"""States of a descent in host memory, to go back to: three of them, the older the further apart.

A state is good only once the descent has gone on from it for a while without an alarm: a snapshot taken on the way up
an explosion is no help. States are nested dictionaries of numbers and copied tensors; nothing here looks into them.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

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


@dataclass
class Best:
    """The best point by validation, and how long ago it was.

    Attributes:
        higher: whether a higher value is better.
        value, t: of the best measurement.
        tensors: weights and buffers there, where they are kept.
        since: measurements without a gain.
    """

    higher: bool
    value: float | None = None
    t: int = 0
    tensors: dict[str, Tensor] | None = None
    since: int = 0

    def is_gain(self, value: float) -> bool:
        """Whether this measurement is better than all before; one that is not a number is not."""
        if self.value is None:
            return value == value
        return value > self.value if self.higher else value < self.value

    def note(self, t: int, value: float, tensors: Mapping[str, Tensor] | None) -> None:
        """Takes a measurement; the tensors are copied where it is a gain."""
        if not self.is_gain(value):
            self.since += 1
            return
        self.value, self.t, self.since = value, t, 0
        self.tensors = None if tensors is None else {k: v.detach().clone() for k, v in tensors.items()}

    def state(self) -> dict[str, Any]:
        """Everything, nested."""
        return dict(vars(self))

    def load(self, state: Mapping[str, Any]) -> None:
        """Restores what `state` gave."""
        vars(self).update(state)


# -- Nested states -----------------------------------------------------------------------------------------------------


def pack(nested: Any, tensors: dict[str, Tensor], path: str = "") -> Any:
    """The state as JSON; its tensors go into `tensors` under their paths, and are named there by these.

    >>> held = {}
    >>> pack({"t": 3, "w": torch.zeros(2)}, held), list(held)
    ({'t': 3, 'w': {'$tensor': 'w'}}, ['w'])
    """
    if isinstance(nested, Tensor):
        tensors[path] = nested
        return {"$tensor": path}
    if isinstance(nested, Mapping):
        if all(isinstance(k, str) for k in nested):
            return {k: pack(v, tensors, _below(path, k)) for k, v in nested.items()}
        return {"$items": [[k, pack(v, tensors, _below(path, f"#{i}"))] for i, (k, v) in enumerate(nested.items())]}
    if isinstance(nested, list | tuple):
        parts = [pack(v, tensors, f"{path}/{i}") for i, v in enumerate(nested)]
        return {"$tuple": parts} if isinstance(nested, tuple) else parts
    if nested is None or isinstance(nested, bool | int | float | str):
        return nested
    raise TypeError(f"{path} is {type(nested).__name__}")


def _below(path: str, key: str) -> str:
    """A key's path; what separates keys is escaped in them, so that no two have one path (as in RFC 6901)."""
    key = key.replace("~", "~0").replace("/", "~1")
    return f"{path}/{key}" if path else key


def unpack(packed: Any, tensors: Mapping[str, Tensor]) -> Any:
    """The state that `pack` took apart."""
    if isinstance(packed, list):
        return [unpack(v, tensors) for v in packed]
    if not isinstance(packed, dict):
        return packed
    if "$tensor" in packed:
        return tensors[packed["$tensor"]]
    if "$items" in packed:
        return {k: unpack(v, tensors) for k, v in packed["$items"]}
    if "$tuple" in packed:
        return tuple(unpack(v, tensors) for v in packed["$tuple"])
    return {k: unpack(v, tensors) for k, v in packed.items()}
