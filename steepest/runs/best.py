"""The best point of a run by its validation metric."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from steepest.descent.state import get_fields, set_fields

BEST_FIELDS = {"higher": "higher", "value": "value", "t": "t", "tensors": "tensors", "since": "since"}
"""Keys of the stored state, which are part of the format, and the attributes that they hold."""


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
        """The state, nested."""
        return get_fields(self, BEST_FIELDS)

    def load(self, state: Mapping[str, Any]) -> None:
        """Restores the result of `state`."""
        set_fields(self, BEST_FIELDS, state)
