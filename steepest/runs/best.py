"""The best point of a run by its validation metric."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor


@dataclass
class BestPoint:
    """The best point by validation, and the measurements since. The names of the attributes are part of the format.

    Attributes:
        higher: whether a higher value is better.
        value, t: of the best measurement.
        tensors: weights and buffers there, where they are wanted.
        since: measurements without improvement.
    """

    higher: bool
    value: float | None = None
    t: int = 0
    tensors: dict[str, Tensor] | None = None
    since: int = 0

    def is_better(self, value: float) -> bool:
        """Whether a value is better than all before; NaN is not."""
        if self.value is None:
            return value == value
        return value > self.value if self.higher else value < self.value

    def update(self, t: int, value: float, tensors: Mapping[str, Tensor] | None) -> None:
        """Takes a measurement; copies the tensors if it is better."""
        if not self.is_better(value):
            self.since += 1
            return
        self.value, self.t, self.since = value, t, 0
        self.tensors = None if tensors is None else {k: v.detach().clone() for k, v in tensors.items()}
