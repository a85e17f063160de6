"""Which points of a descent are stored: evenly spaced ones, and those at events, within a number of bytes.

A film, and the principal plane of a path (from the points' Gram matrix), need no more than a few hundred points.
"""

import math

import numpy as np
import torch

from steepest.records.run import Path, Step
from steepest.tasks.space import Space

POINTS, EVENT_POINTS = 160, 40
"""Maximum number of evenly spaced points, the two ends not counted, and of additional points at events."""
PATH_BYTES = 128 << 20
"""Of weights as float32, a fifth of them for events; a model with room for fewer than MIN_POINTS has no path."""
MIN_POINTS = 3


class PointSelection:
    """Selects the steps whose points are stored.

    Attributes:
        every: steps from one point to the next; 0 where none are stored.

    Args:
        size: weights of the model.
        steps: of the descent.
        block: the steps between two points are a multiple of this.
        budget: bytes for all points.
    """

    def __init__(self, size: int, steps: int, block: int = 1, budget: int = PATH_BYTES) -> None:
        room = budget // (4 * size)
        count = min(POINTS, room - room // 5)
        self.every = 0 if count < MIN_POINTS else block * max(1, math.ceil(steps / (count * block)))
        self._events_left = min(EVENT_POINTS, room // 5)

    def selects(self, t: int, has_event: bool = False) -> bool:
        """Whether the point after step t is stored."""
        if self.every and t % self.every == 0:
            return True
        if not has_event or not self.every or not self._events_left:
            return False
        self._events_left -= 1
        return True


class PathRecorder:
    """The points of a descent in memory.

    Args:
        space: of its weights.
        steps: of the descent.
    """

    def __init__(self, space: Space, steps: int) -> None:
        self._space, self._selection = space, PointSelection(space.size, steps)
        self._points: list[np.ndarray] = []
        self._losses: list[float] = []
        self._t: list[int] = []
        self._steps = 0
        self._needs_loss = self._selection.every > 0

    def restart(self, space: Space) -> None:
        """Begins another path, in the space of other weights, with the next point that is due."""
        self._space, self._points, self._losses, self._t = space, [], [], []
        self._needs_loss = False

    def add_step(self, step: Step) -> None:
        """Takes a completed step: its loss is that of the point before it."""
        if self._needs_loss:
            self._losses.append(step.loss)
            self._needs_loss = False
        self._steps += 1
        if self._selection.selects(self._steps, step.event is not None):
            self.add_point()

    def add_point(self) -> None:
        """Stores the present point, unless it is already the last one."""
        if self._selection.every and self._t[-1:] != [self._steps]:
            self._points.append(self._space.gather().to("cpu", torch.float32).numpy())
            self._t.append(self._steps)
            self._needs_loss = True

    def path(self, name: str) -> Path:
        """The stored points; a point's loss is that of the step after it, the last point's that of the last step."""
        losses = self._losses + [self._losses[-1] if self._losses else math.nan] * (len(self._t) - len(self._losses))
        points = np.stack(self._points) if self._points else np.empty((0, self._space.size), np.float32)
        return Path(name, points, np.array(losses), np.array(self._t, np.int64))
