"""Which points of a descent are kept: evenly many of them, and those at events, within a number of bytes.

A film, and the principal plane of a path (from the points' Gram matrix), need no more than a few hundred points of a
descent of any length.
"""

import math

import numpy as np
import torch

from steepest.records.run import Path, Step
from steepest.tasks.space import Space

POINTS, EVENTS = 160, 40
"""Points at most, the two ends not counted; and those at events beside them."""
PATH_BYTES = 128 << 20
"""Of weights as float32, of which a fifth is for events; of a model so large that fewer than FEWEST points fit, none
are kept."""
MIN_POINTS = 3


class Thinning:
    """Says of each step whether its point is kept.

    Attributes:
        every: steps from one point to the next; 0 where none are kept.

    Args:
        size: weights of the model.
        steps: of the descent.
        block: the steps between two points are a multiple of this.
        budget: bytes for all points.
    """

    def __init__(self, size: int, steps: int, block: int = 1, budget: int = PATH_BYTES) -> None:
        fitting = budget // (4 * size)
        count = min(POINTS, fitting - fitting // 5)
        self.every = 0 if count < MIN_POINTS else block * max(1, math.ceil(steps / (count * block)))
        self._left = min(EVENTS, fitting // 5)

    def takes(self, t: int, happened: bool = False) -> bool:
        """Whether the point after step t is kept.

        Args:
            t: the step.
            happened: an event at it.
        """
        if self.every and t % self.every == 0:
            return True
        if not happened or not self.every or not self._left:
            return False
        self._left -= 1
        return True


class PathRecorder:
    """The points of a descent in memory.

    Args:
        space: where its weights are.
        steps: of it.
    """

    def __init__(self, space: Space, steps: int) -> None:
        self._space, self._thinning = space, Thinning(space.size, steps)
        self._points: list[np.ndarray] = []
        self._losses: list[float] = []
        self._t: list[int] = []
        self._taken = 0
        self._wanted = self._thinning.every > 0

    def note(self, step: Step) -> None:
        """One more step is done: its loss is that of the point before it."""
        if self._wanted:
            self._losses.append(step.loss)
            self._wanted = False
        self._taken += 1
        if self._thinning.takes(self._taken, step.event is not None):
            self.add()

    def add(self) -> None:
        """Keeps the point as it is now, unless it is the last one already."""
        if self._thinning.every and self._t[-1:] != [self._taken]:
            self._points.append(self._space.gather().to("cpu", torch.float32).numpy())
            self._t.append(self._taken)
            self._wanted = True

    def path(self, name: str) -> Path:
        """What was kept; the loss of a point is that of the step after it, of the last one that of the last step."""
        losses = self._losses + [self._losses[-1] if self._losses else math.nan] * (len(self._t) - len(self._losses))
        points = np.stack(self._points) if self._points else np.empty((0, self._space.size), np.float32)
        return Path(name, points, np.array(losses), np.array(self._t, np.int64))
