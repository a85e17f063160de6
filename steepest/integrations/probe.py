"""Whether older weights are better on the batches of now: asked after a rewind, where batches cannot be repeated.

The older weights stay where they are while they are judged. If they took steps, the fault that the guard rewound for (a
learning rate that is still too high) would spoil them too, and they would seem as bad as the newer ones.
"""

import math
from dataclasses import dataclass, field
from typing import Any

from torch.optim import Optimizer

from steepest.descent.guard.recovery import WORLD_SHARE
from steepest.descent.guard.thresholds import ALARM_RISE

PROBE_STEPS = 8
"""Steps after a rewind on whose batches the older weights are judged."""


@dataclass
class Probe:
    """The older weights while they are judged.

    Attributes:
        t: the step before the rewind.
        state, guards: of the loop and its guards then, with the newer weights.
        optimizer: whose losses judge.
        level: the running mean of the loss before the rewind, as the guard measures it.
        best: its best value until the snapshot.
        levels: of the older weights on the batches since.
    """

    t: int
    state: dict[str, Any]
    guards: list[dict[str, Any] | None]
    optimizer: Optimizer
    level: float
    best: float
    levels: list[float] = field(default_factory=list)

    @property
    def is_over(self) -> bool:
        return len(self.levels) >= PROBE_STEPS

    @property
    def are_older_better(self) -> bool:
        """Whether the older weights undo more than half of the rise of the loss."""
        level = math.fsum(self.levels) / len(self.levels) if all(map(math.isfinite, self.levels)) else math.inf
        return self.level - level > max(ALARM_RISE, WORLD_SHARE * (self.level - self.best))
