"""Whether older weights are better on the batches of now: asked after a rewind, where batches cannot be repeated.

The older weights stay where they are while they are judged. If they took steps, the fault that the guard rewound for (a
learning rate that is still too high) would spoil them too, and they would seem as bad as the newer ones.
"""

import math
from dataclasses import dataclass, field
from typing import Any

from steepest.descent.guard.guard import Guard
from steepest.descent.guard.recovery import OUTLIER_DEVIATIONS, WORLD_SHARE
from steepest.descent.guard.thresholds import ALARM_RISE

PROBE_STEPS = 8
"""Steps after a rewind on whose batches the older weights are judged."""
WAIT_STEPS = 50
"""Steps for which the older weights wait at most until batches are as usual again: bad data may be over by then."""


@dataclass
class Probe:
    """The older weights while they are judged.

    Attributes:
        t: the step before the rewind.
        state, guards: of the loop and its guards then, with the newer weights.
        guard: that called for the rewind; the losses that it sees judge.
        level: the running mean of the loss before the rewind, as the guard measures it.
        best: its best value until the snapshot.
        usual: up to where a batch's loss was as usual then.
        levels: of the older weights on the batches since.
    """

    t: int
    state: dict[str, Any]
    guards: list[dict[str, Any] | None]
    guard: Guard
    level: float
    best: float = math.inf
    usual: float = -math.inf
    levels: list[float] = field(default_factory=list)

    def begin(self) -> None:
        """Takes from the guard, as it was at the snapshot, what was usual then."""
        self.best, self.usual = self.guard.best_mean, self.guard.usual_level(OUTLIER_DEVIATIONS)

    def add(self, loss: float) -> None:
        """Takes the loss of a batch at the older weights."""
        self.levels.append(self.guard.level(loss) if math.isfinite(loss) else math.inf)

    @property
    def is_over(self) -> bool:
        """Whether it is known which weights are better, or enough batches have been waited for."""
        return len(self.levels) >= PROBE_STEPS and (self.are_older_better or len(self.levels) >= WAIT_STEPS)

    @property
    def are_older_better(self) -> bool:
        """Whether the older weights are as usual on the last batches, or undo more than half of the loss's rise."""
        last = self.levels[-PROBE_STEPS:]
        gain = self.level - sum(last) / len(last)
        return max(last) <= self.usual or gain > max(ALARM_RISE, WORLD_SHARE * (self.level - self.best))
