"""The best point of a run by its validation metric."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from steepest.tasks import module_state
from steepest.tasks.module_state import ModuleState


@dataclass
class BestPoint:
    """The best point by validation, and the measurements since. The names of the attributes are part of the format.

    Attributes:
        higher: whether a higher value is better.
        value, t: of the best measurement.
        tensors: weights and buffers there, where they are wanted.
        since: measurements without improvement; NaN is none.
        extra: extra state there.
    """

    higher: bool
    value: float | None = None
    t: int = 0
    tensors: dict[str, Tensor] | None = None
    since: int = 0
    extra: Mapping[str, Any] | None = None

    def is_better(self, value: float) -> bool:
        """Whether a value is better than all before; NaN is not."""
        if self.value is None:
            return value == value
        return value > self.value if self.higher else value < self.value

    def update(self, t: int, value: float, state: ModuleState | None) -> None:
        """Takes a measurement; copies the state if it is better."""
        if not self.is_better(value):
            self.since += 1
            return
        self.value, self.t, self.since = value, t, 0
        if state is not None:
            self.tensors = {k: v.detach().clone() for k, v in state.tensors.items()}
            self.extra = state.extra

    def restore(self, model: nn.Module) -> bool:
        """Moves a model to the best point; False where there is none."""
        if self.tensors is None:
            return False
        tensors = {module_state.plain_name(name): x for name, x in self.tensors.items()}
        module_state.write(model, ModuleState(tensors, extra=self.extra or {}))
        return True
