"""Whether older weights are better on the batches of now: asked after a rewind, where batches cannot be repeated.

The older weights stay where they are while they are judged. If they took steps, the fault that the guard rewound for (a
learning rate that is still too high) would spoil them too, and they would seem as bad as the newer ones. Where they are
as bad, the data or the objective have changed, for a while or for good: the newer weights go on, and the older ones are
asked once more later. Bad data are over by then, and the older weights have seen none of them.
"""

import math
from dataclasses import dataclass, field
from typing import Any

from steepest.descent.guard.guard import Guard
from steepest.descent.guard.recovery import OUTLIER_DEVIATIONS, WORLD_SHARE
from steepest.descent.guard.snapshots import Snapshot
from steepest.descent.guard.thresholds import ALARM_RISE

PROBE_STEPS, FEW_STEPS = 8, 3
"""Batches on which the older weights are judged; so many are enough where none of them is as usual."""
SECOND_LOOK_STEPS = 60
"""After which the older weights are asked once more."""


@dataclass
class Probe:
    """Older weights while they are judged.

    Attributes:
        t: the last step of the newer weights.
        state, guards: of the loop and its guards then.
        guard: that called for the rewind; the losses that it sees judge.
        level: the running mean of the loss of the newer weights, as the guard measures it.
        snapshot: with the older weights.
        is_first: whether it is asked after a rewind, and not once more later.
        usual: up to where a batch's loss was as usual at the snapshot.
        least, enough: gains over the newer weights that are needed where batches are as usual; that do otherwise.
        levels: of the older weights on the batches since.
    """

    t: int
    state: dict[str, Any]
    guards: list[dict[str, Any] | None]
    guard: Guard
    level: float
    snapshot: Snapshot
    is_first: bool = True
    usual: float = -math.inf
    least: float = -math.inf
    enough: float = math.inf
    levels: list[float] = field(default_factory=list)

    def begin(self) -> None:
        """Takes from the guard, as it was at the snapshot, what was usual then."""
        self.usual = self.guard.usual_level(OUTLIER_DEVIATIONS)
        if self.is_first:
            self.enough = max(ALARM_RISE, WORLD_SHARE * (self.level - self.guard.best_mean))
        else:
            self.least = 0.0

    def add(self, loss: float) -> None:
        """Takes the loss of a batch at the older weights."""
        self.levels.append(self.guard.level(loss) if math.isfinite(loss) else math.inf)

    @property
    def is_over(self) -> bool:
        """Whether it is known which weights are better."""
        is_clear = len(self.levels) >= FEW_STEPS and min(self.levels) > self.usual and self._gain <= self.enough
        return is_clear or len(self.levels) >= PROBE_STEPS

    @property
    def are_older_better(self) -> bool:
        """Whether the older weights are as usual on the batches of now, or undo enough of the rise of the loss."""
        return self._gain > (self.least if max(self.levels) <= self.usual else self.enough)

    @property
    def _gain(self) -> float:
        return self.level - sum(self.levels) / len(self.levels)
