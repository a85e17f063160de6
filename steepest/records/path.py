"""Where a descent went, for a view."""

from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class Path:
    """Where a descent went: points in weight space and the losses there.

    Attributes:
        name: what to call it in a legend.
        points: [P, D].
        losses: [P] float64; empty where nothing is known of them.
        t: steps taken when it was there [P]; empty where every step has its point.
    """

    name: str
    points: np.ndarray
    losses: np.ndarray = field(default_factory=lambda: np.empty(0))
    t: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))
