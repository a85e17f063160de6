"""Steps that are calm whatever follows: the guard lets them through at once, and counts them several at a time.

Until the medians are computed again, the next n steps raise the sum of excesses S by n (z* − drift) at most, if none
has an excess above z*. So no alarm is possible below the loss at which

    z* = drift + (threshold − S) / n
"""

import math
from collections.abc import Callable, Iterable
from typing import NamedTuple

from steepest.descent.guard.backoff import Backoff, JumpDetector
from steepest.descent.guard.levels import RateLevels
from steepest.descent.guard.running_stats import (
    LEAST_NORM,
    NO_LIMITS,
    REFRESH_STEPS,
    GradientLimits,
    GradientNorms,
    RunningStats,
)
from steepest.descent.guard.thresholds import (
    CUSUM_DRIFT,
    DEVIATION_OFFSET,
    MAX_EXCESS,
    MAX_SKIPS_IN_A_ROW,
    MEAN_DECAY,
    MIN_CLIP_LOG_RATIO,
    USUAL_DEVIATIONS,
    Thresholds,
)

MAX_LOG = 700.0
"""e to this power is a float64."""
CALM_RATIO = 1.7
"""Largest change of the learning rate within calm steps; its square is below that of a jump (`backoff.JUMP_RATIO`)."""
INSIDE = 1 - 1e-6
"""Share of the limits, so that rounding cannot make a calm step anything else."""


class Alarm(NamedTuple):
    """An alarm after which the learning rate is lowered.

    Attributes:
        step: at which it was lowered.
        mean, best: the running mean and its best then.
    """

    step: int
    mean: float
    best: float


class Calm(NamedTuple):
    """Limits of calm steps, and the steps that were within them.

    Attributes:
        loss: largest loss.
        norm: largest gradient norm.
        least_lr, largest_lr: between which the schedule does not jump.
        room: steps that are let through at most.
        steps: (loss, gradient norm, learning rate) of those that were.
    """

    loss: float
    norm: float
    least_lr: float
    largest_lr: float
    room: int
    steps: list[tuple[float, float, float]]


def calm_limits(
    losses: RunningStats, cusum: float, threshold: float, bounds: GradientLimits, lr: float, room: int
) -> Calm | None:
    """The limits of the next steps; None where no medians are known yet.

    Args:
        losses: levels (log L) of the last steps.
        cusum: the sum of their excesses, S.
        threshold: of S, for an alarm.
        bounds: of the gradient's norm.
        lr: of the last step.
        room: n, steps until the medians are computed again.
    """
    if not (lr > 0 and losses.deviation < math.inf):
        return None
    z = CUSUM_DRIFT + INSIDE * (threshold - cusum) / room
    level = losses.median + z * (losses.deviation + DEVIATION_OFFSET)
    loss, norm = math.exp(min(level, MAX_LOG)), math.exp(min(bounds.clip, MAX_LOG))
    return Calm(INSIDE * loss, INSIDE * norm, lr / CALM_RATIO, lr * CALM_RATIO, room, [])


def is_at_full_lr(backoff: Backoff) -> bool:
    """Whether the guard leaves the learning rate as it is, and goes on to in the next steps."""
    return backoff.cut == backoff.divisor == 1 and backoff.factor(1.0) == 1 and not backoff.is_on_probation


class CalmSteps:
    """What a `Guard` does with calm steps, and how it follows losses."""

    thresholds: Thresholds
    report: bool
    _step: int
    _cusum: float
    _mean: float
    _best_mean: float
    _probation_end: int
    _asinh_scale: float | None
    _alarm: Alarm | None
    _calm: Calm | None
    _learning_until: int
    _losses: RunningStats
    _norms: GradientNorms
    _jumps: JumpDetector
    _backoff: Backoff
    _levels: RateLevels
    level: Callable[[float], float]

    @property
    def is_passive(self) -> bool:
        """Whether the guard acts on nothing but gradients that are not finite."""
        raise NotImplementedError

    def admits(self, loss: float, grad_norm: float, lr: float) -> bool:
        """Whether a step is calm, and then counts it; of another one nothing is known."""
        calm = self._calm
        if calm is None or not (
            0 < loss <= calm.loss and grad_norm <= calm.norm and calm.least_lr <= lr <= calm.largest_lr
        ):
            return False
        calm.steps.append((loss, grad_norm, lr))
        if len(calm.steps) == calm.room:
            self._settle()
        return True

    def _settle(self) -> None:
        """Counts the steps that were let through as calm."""
        calm, self._calm = self._calm, None
        if calm is None or not calm.steps:
            return
        losses, norms, lrs = zip(*calm.steps, strict=True)
        n = len(losses)
        self._step += n
        self._jumps.pass_by(lrs)
        self._backoff.step(n)
        self._norms.add_calm([math.log(max(norm, LEAST_NORM)) for norm in norms])
        self._follow(map(math.log, losses), is_alert=True)
        if n == calm.room:
            self._refresh(lrs[-1])
            self._calm = self._next_calm(lrs[-1])

    def _refresh(self, lr: float) -> None:
        self._losses.refresh()
        self._levels.add(lr, self._mean, self._best_mean)
        self._norms.refresh()

    def _next_calm(self, lr: float) -> Calm | None:
        """Limits of calm steps after one with this learning rate; None while anything is not as usual."""
        is_special = self._alarm is not None or self._probation_end > self._step or self._asinh_scale is not None
        if is_special or not (self._is_armed and is_at_full_lr(self._backoff)):
            return None
        room = REFRESH_STEPS - self._step % REFRESH_STEPS
        return calm_limits(self._losses, self._cusum, self.thresholds.alarm_threshold, self.bounds, lr, room)

    def _follow(self, levels: Iterable[float], is_alert: bool) -> None:
        """Takes the levels of steps: the sum of their excesses, the running mean and, where alert, its best."""
        losses, cusum, mean, best = self._losses, self._cusum, self._mean, self._best_mean
        median, scale, append = losses.median, losses.deviation + DEVIATION_OFFSET, losses.values.append
        for level in levels:
            z = min((level - median) / scale, MAX_EXCESS)
            cusum = max(0.0, cusum + z - CUSUM_DRIFT) if scale < math.inf else 0.0
            append(level)
            mean = level if math.isnan(mean) else MEAN_DECAY * mean + (1 - MEAN_DECAY) * level
            if is_alert:
                best = min(best, mean)
        self._cusum, self._mean, self._best_mean = cusum, mean, best

    @property
    def _is_armed(self) -> bool:
        return self._step > self.thresholds.warmup_steps and self._step > self._learning_until

    @property
    def mean(self) -> float:
        """Running mean of the loss's level (log L, or asinh where losses are not positive)."""
        self._settle()
        return self._mean

    @property
    def best_mean(self) -> float:
        """The best running mean of the loss's level so far."""
        self._settle()
        return self._best_mean

    def usual_level(self, deviations: float) -> float:
        """The level so many robust deviations above the median of the last losses."""
        self._settle()
        return self._losses.median + deviations * (self._losses.deviation + DEVIATION_OFFSET)

    def _is_usual(self, loss: float) -> bool:
        """Whether the loss is like those before it."""
        return math.isfinite(loss) and self.level(loss) <= self.usual_level(USUAL_DEVIATIONS)

    @property
    def bounds(self) -> GradientLimits:
        """Limits of the next step's gradient."""
        self._settle()
        if self.is_passive or not self._is_armed:
            return NO_LIMITS
        return self._norms.limits(self.thresholds.clip_deviations, MIN_CLIP_LOG_RATIO, MAX_SKIPS_IN_A_ROW)
