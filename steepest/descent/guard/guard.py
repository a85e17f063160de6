"""The guard: judges each step by two numbers, the loss and the gradient's norm. It works in any training loop:

    call = guard.judge(loss, grad_norm)      # go | clip | skip | lower | rewind | stop
    lr = lr * guard.rate

What it detects, from mild to severe (robust: median, and MAD, the median absolute deviation × 1.4826):

1. A non-finite gradient: the step is skipped. Three in a row are a divergence, as are three in twenty steps while the
   loss rises; with calm losses in between they are bad batches. While the loss itself is as usual they are overflows,
   of which 25 in a row are skipped.
2. log ‖g‖ beyond 6 robust deviations of the last 128 accepted steps, and beyond 30 × their median: the gradient is
   clipped to that level. One twice as far out (at least 900 ×) is noise, and its step is skipped.
3. Divergence, by a cumulative sum of the loss's excess over its own noise (Page 1954, doi:10.1093/biomet/41.1-2.100):

       z = min((log L − median₂₀₀) / (MAD₂₀₀ + 0.02), 4),   S ← max(0, S + z − 1)

   An alarm is S > 8 while the running mean of log L lies log 1.25 above its best. One bad batch adds 3 at most. An
   alarm first lowers the learning rate for up to 50 steps; the guard rewinds if the loss then still rises, stays up, or
   is not finite. On probation an alarm rewinds at once. A learning rate is on probation when the schedule jumps to it
   from below a third and no step had it before, for 50 steps or until the schedule drops back (there S > 4 and log 1.1
   are an alarm), and when it is tried after a rewind.

After a rewind the caller says what caused it (`on_rewind`); if the learning rate did, it backs off
(`steepest.descent.guard.backoff`). Losses at or below zero are measured by asinh instead of log. Reaching the edge of
stability is no alarm. Thresholds and their evidence: `steepest.descent.guard.thresholds`.
"""

import math
import warnings
from collections.abc import Mapping
from typing import Any

from steepest.descent.guard import thresholds as limits
from steepest.descent.guard.backoff import DROP_BACK, NEW_MAXIMUM, Backoff, JumpDetector
from steepest.descent.guard.calm import Alarm, Calm, CalmSteps
from steepest.descent.guard.format import LATER_KEYS, NUMBERS, PARTS, REWIND_KEEPS
from steepest.descent.guard.levels import RateLevels
from steepest.descent.guard.running_stats import LEAST_NORM, REFRESH_STEPS, GradientLimits, GradientNorms, RunningStats
from steepest.descent.guard.thresholds import Thresholds, rename
from steepest.descent.state import get_fields, set_fields
from steepest.errors import InputError
from steepest.records.run import ASIDE, CLIP, GO, LOWER, REWIND, SKIP, STOP, Call

BY_RATE, BY_DATA = "rate", "data"
"""Causes of a rewind."""
GO_CALL = Call(GO)
NON_FINITE_WINDOW = 20
"""Steps within which three non-finite gradients are one divergence if the loss rises too."""
NEVER = -(1 << 40)


class Guard(CalmSteps):
    """Judges losses and gradient norms, one step after another.

    Attributes:
        rate: factor of the learning rate of the last judged step, in (0, 1]; multiplies the schedule.
        rewinds: how many rewinds it has called for.

    Args:
        report: only report; act on nothing but non-finite gradients.
        snapshot_every: steps between snapshots; None lets the run choose, by the bytes of a snapshot.
        watch: deprecated name of `report`.
        thresholds: when it acts, by name; see `Thresholds`.

    Raises:
        InputError: an unknown threshold, or a value that is not positive.

    >>> guard = Guard()
    >>> guard.judge(2.3, 1.0).kind, guard.judge(2.3, float("nan")).kind
    ('go', 'skip')
    """

    def __init__(
        self, *, report: bool = False, snapshot_every: int | None = None, watch: bool | None = None, **thresholds: float
    ) -> None:
        if snapshot_every is not None and snapshot_every < 1:
            raise InputError(f"Guard: snapshot_every must be an integer ≥ 1, got {snapshot_every}")
        if watch is not None:
            warnings.warn("Guard(watch=) is deprecated. Use report.", DeprecationWarning, stacklevel=2)
        self.thresholds = Thresholds.of(thresholds)
        self.report, self.snapshot_every = report or bool(watch), snapshot_every
        self._step, self.rewinds, self._failed_rewinds, self._lowest_mean = 0, 0, 0, math.inf
        self._backoff = Backoff(self.thresholds.recovery_steps, self.thresholds.rewarmup_steps)
        self._levels, self._is_aside = RateLevels(), False
        self._norms = GradientNorms(128)
        self._failed_jump = 1.0  # the jump of the schedule at the last rewind
        self._non_finite_steps: list[int] = []  # the last three
        self._last_alarm = NEVER
        self._calm: Calm | None = None
        self._before_rewind: tuple[int, int, float] | None = None  # while a call may be taken back
        self._forget()

    def _forget(self) -> None:
        """Resets the statistics."""
        self._norms = GradientNorms(128, self._norms.highest)
        self._losses, self._jumps = RunningStats(200), JumpDetector()
        self._asinh_scale: float | None = None  # once a loss was not positive
        self._mean, self._best_mean, self._cusum = math.nan, math.inf, 0.0
        self._alarm: Alarm | None = None
        self._learning_until, self._probation_end = 0, 0
        self._initial_mean = math.inf  # where probation began, or at the last rewind

    # -- judging -------------------------------------------------------------------------------------------------------

    def judge(
        self, loss: float, grad_norm: float, lr: float = 1.0, bounds: GradientLimits | None = None, ahead: int = 0
    ) -> Call:
        """What to do with a step that has this loss and this gradient norm.

        Args:
            loss: of the step's batch, before the update.
            grad_norm: ‖g‖ before clipping.
            lr: the step's learning rate without `rate`. If it is given, a jump of the schedule that fails is divided
                out until the schedule drops back.
            bounds: the limits that the step was already held to, where its numbers are read only later.
            ahead: steps taken since; a lowered learning rate cannot have helped these.
        """
        if bounds is None and self.admits(loss, grad_norm, lr):
            return GO_CALL
        self._settle()
        self._before_rewind = None
        call = self._judge(loss, grad_norm, lr, bounds, ahead)
        self._calm = self._next_calm(lr)
        return call

    def _judge(self, loss: float, grad_norm: float, lr: float, bounds: GradientLimits | None, ahead: int) -> Call:
        self._step += 1
        change = self._jumps.step(lr)
        if change:
            self._set_probation(change)
        self._backoff.step()
        if not math.isfinite(loss) or not math.isfinite(grad_norm):
            return self._judge_non_finite(loss, grad_norm)
        log_norm = math.log(max(grad_norm, LEAST_NORM))
        clip, skip = bounds or self.bounds
        is_outlier = self._norms.add(log_norm, clip)
        call = self._judge_loss(loss, ahead)
        if self._step % REFRESH_STEPS == 0:
            self._refresh(lr)
        if call is not None:
            return call
        if not is_outlier:
            return GO_CALL
        threshold = math.exp(clip)
        if log_norm > skip:
            reason = f"gradient norm {grad_norm:.3g}, far above the clipping threshold {threshold:.3g}"
            return Call(SKIP, seen=reason, done="step skipped")
        return Call(CLIP, threshold, f"norm {grad_norm:.3g}, threshold {threshold:.3g}", "gradient clipped")

    def _set_probation(self, change: str) -> None:
        """Begins probation where the schedule jumps to a new maximum, and ends it where it drops back."""
        if change == NEW_MAXIMUM and self._is_armed and self._backoff.divisor == 1:
            self._probation_end, self._initial_mean = self._step + self.thresholds.lowered_steps, self._mean
        elif change == DROP_BACK:
            self._probation_end = min(self._probation_end, self._step)

    def _judge_non_finite(self, loss: float, grad_norm: float) -> Call:
        reason = f"non-finite gradient (norm {grad_norm:.3g}, loss {loss:.3g})"
        self._non_finite_steps = steps = [*self._non_finite_steps[1 - limits.MAX_OVERFLOWS :], self._step]
        since = steps[-1] - steps[-3] if len(steps) > 2 else NON_FINITE_WINDOW
        is_in_a_row = since == 2  # otherwise calm losses in between: bad batches
        is_divergence = is_in_a_row or (since < NON_FINITE_WINDOW and not self.is_quiet)
        if self._is_armed and self._is_usual(loss):  # the weights are good, and a skipped step leaves them so
            is_divergence = len(steps) == limits.MAX_OVERFLOWS and steps[-1] - steps[0] == limits.MAX_OVERFLOWS - 1
        if is_divergence and not self.report:
            self._non_finite_steps = []
            return self.call_rewind(f"{reason}, three in {NON_FINITE_WINDOW} steps", is_finite=False)
        return Call(SKIP, seen=reason, done="step skipped")

    def _judge_loss(self, loss: float, ahead: int) -> Call | None:
        level = math.log(loss) if self._asinh_scale is None and loss > 0 else self.level(loss)
        is_armed = self._is_armed
        self._follow([level], is_alert=is_armed and self._alarm is None)
        if not is_armed or self._is_aside:
            return None
        if self._alarm is not None:
            return self._judge_at_lower_lr(self._alarm)
        share, rise = 1.0, limits.ALARM_RISE
        if self._probation_end >= self._step:
            share, rise = limits.PROBATION_ALARM_SHARE, limits.PROBATION_RISE
        highest = max(self._best_mean + rise, self._levels.before(self._jumps.last) + limits.DOUBLE_AFTER)
        is_alarm = self._cusum > share * self.thresholds.alarm_threshold and self._mean > highest
        if not is_alarm and not (self._is_on_probation and self._has_failed()):
            return None
        return self._raise_alarm(loss, ahead)

    @property
    def _is_on_probation(self) -> bool:
        """Whether the learning rate has not been stable yet: tried after a rewind, or a jump to a new maximum."""
        return self._backoff.is_on_probation or self._probation_end >= self._step

    def _has_failed(self) -> bool:
        """On probation: whether the running mean has doubled, or at its end lies higher than chance explains."""
        deviation = self._losses.deviation
        is_end = self._probation_end == self._step
        return self._mean > self._initial_mean + (
            limits.PROBATION_DEVIATIONS * deviation if is_end else max(limits.DOUBLE_AFTER, deviation)
        )

    def _raise_alarm(self, loss: float, ahead: int) -> Call:
        """The first alarm lowers the learning rate; one soon after it, or on probation, rewinds."""
        t = self.thresholds
        self._cusum = 0.0
        reason = f"loss rising ({loss:.3g}; {self._describe_rise(self._best_mean)})"
        if not self.report:
            if self._step - self._last_alarm < 4 * t.lowered_steps:
                return self.call_rewind(f"{reason}; a lower lr did not help")
            if self._is_on_probation:
                return self.call_rewind(f"{reason} at an lr that has not been stable yet")
        self._alarm, self._last_alarm = Alarm(self._step + ahead, self._mean, self._best_mean), self._step
        self._backoff.alarm(t.lowered_steps)
        action = "report only" if self.report else f"lr × {t.lr_factor:g} for up to {t.lowered_steps} steps"
        return Call(LOWER, seen=reason, done=action)

    def _judge_at_lower_lr(self, alarm: Alarm) -> Call | None:
        """Whether the lowered learning rate has helped."""
        age = self._step - alarm.step
        if age <= 0:  # the learning rate was not lowered yet
            self._alarm = alarm._replace(mean=self._mean)
            return None
        if self._mean <= alarm.best + limits.ALARM_RISE / 2:
            self._alarm, self._cusum = None, 0.0
            return None
        is_rising = self._mean > alarm.mean + limits.DOUBLE_AFTER or (
            age >= 12 and self._mean > alarm.mean + limits.ALARM_RISE
        )
        if not is_rising and age < self.thresholds.lowered_steps:
            return None
        self._alarm, self._cusum = None, 0.0
        usual = min(0.5 * (alarm.mean - alarm.best), limits.FORGIVEN_RISE)
        if self.report or (not is_rising and self._mean - alarm.best < usual):
            return None
        how = "still rising" if is_rising else "still high"
        return self.call_rewind(f"loss {how} at the lowered lr ({self._describe_rise(alarm.best)})")

    def _describe_rise(self, best: float) -> str:
        """How far the running mean of the loss lies above its best; after a loss ≤ 0 there is no ratio."""
        scale = self._asinh_scale
        if scale is None:
            return f"running mean {math.exp(self._mean - best):.3g}× its best"
        return f"running mean rose from {math.sinh(best) * scale:.3g} to {math.sinh(self._mean) * scale:.3g}"

    def level(self, loss: float) -> float:
        """log L; asinh(L / s) once a loss was not positive, where s is the median of |L| so far."""
        self._settle()
        if self._asinh_scale is None:
            if loss > 0:
                return math.log(loss)
            sizes = sorted(math.exp(x) for x in self._losses.values) or [1.0]
            self._asinh_scale = max(abs(loss), sizes[len(sizes) // 2], 1e-12)
            levels = [math.asinh(math.exp(x) / self._asinh_scale) for x in self._losses.values]
            self._losses.values.extend(levels)
            if levels:
                self._losses.refresh()
                self._mean = self._best_mean = sum(levels[-10:]) / len(levels[-10:])
        return math.asinh(loss / self._asinh_scale)

    # -- rewinding -----------------------------------------------------------------------------------------------------

    def call_rewind(self, reason: str, is_finite: bool = True) -> Call:
        """A rewind, or where too many have not helped, that the guard steps aside; a stop where nothing is finite."""
        self._before_rewind = self.rewinds, self._failed_rewinds, self._lowest_mean
        t, self.rewinds = self.thresholds, self.rewinds + 1
        self._failed_jump = self._jumps.jump
        self._failed_rewinds = 0 if self._best_mean < self._lowest_mean - 1e-3 else self._failed_rewinds + 1
        self._lowest_mean = min(self._lowest_mean, self._best_mean)
        if self.rewinds > t.rewinds or self._failed_rewinds > t.max_failed_rewinds:
            if not is_finite:
                return Call(STOP, seen=reason, done=f"stopped after {self.rewinds - 1} rewinds")
            self.step_aside()
            words = f"{self.rewinds - 1} rewinds have not helped: the guard steps aside, and the run goes on without it"
            return Call(ASIDE, seen=reason, done=words)
        return Call(REWIND, seen=reason)

    def accept(self) -> None:
        """Takes back the last call: the objective or the data have changed, and the statistics begin again."""
        if self._before_rewind is not None:
            self.rewinds, self._failed_rewinds, self._lowest_mean = self._before_rewind
        self.reset_statistics(self.thresholds.warmup_steps)

    def step_aside(self) -> None:
        """From now on acts on nothing but gradients that are not finite."""
        self._is_aside = True
        self._backoff = Backoff(self.thresholds.recovery_steps, self.thresholds.rewarmup_steps)
        self.reset_statistics(0)

    @property
    def is_passive(self) -> bool:
        """Whether it acts on nothing but gradients that are not finite: it only reports, or has stepped aside."""
        return self.report or self._is_aside

    def on_rewind(self, cause: str, repeated_steps: int = 0) -> str:
        """Call this after a rewind to a snapshot, once its state is loaded with `rewinding=True`.

        Args:
            cause: "data" where the losses of the same batches are outliers from the snapshot too; otherwise "rate".
            repeated_steps: steps that are repeated.

        Returns:
            the reaction, in words.
        """
        self._settle()
        self._alarm, self._cusum, self._last_alarm = None, 0.0, NEVER
        self._initial_mean, self._non_finite_steps = self._mean, []
        self._backoff.alarm(repeated_steps)
        return "cause: bad data; lr unchanged" if cause == BY_DATA else self._backoff.fail(self._failed_jump)

    def rewound(self, cause: str, lost: int = 0) -> str:
        """Deprecated name of `on_rewind`."""
        warnings.warn("Guard.rewound is deprecated. Use on_rewind.", DeprecationWarning, stacklevel=2)
        return self.on_rewind(cause, lost)

    @property
    def rate(self) -> float:
        self._settle()
        return self._factor(self._jumps.jump)

    def rate_for(self, lr: float) -> float:
        """`rate` of a next step with this learning rate, before it is judged."""
        calm = self._calm
        if calm is not None and calm.least_lr <= lr <= calm.largest_lr:
            return 1.0
        self._settle()
        return self._factor(self._jumps.jump_after(lr))

    def _factor(self, jump: float) -> float:
        if self.is_passive:
            return 1.0
        return self._backoff.factor(jump) * (1.0 if self._alarm is None else self.thresholds.lr_factor)

    @property
    def is_calm(self) -> bool:
        """Whether the next steps need not be judged one by one."""
        self._settle()
        is_raised = self._cusum >= limits.MAX_EXCESS or self._norms.outliers
        if self._alarm is not None or self._is_on_probation or is_raised or self.rate < 1:
            return False
        return not self._non_finite_steps or self._step - self._non_finite_steps[-1] >= NON_FINITE_WINDOW

    @property
    def is_quiet(self) -> bool:
        """Whether nothing is close to an alarm, so that a snapshot taken now may be a good one."""
        self._settle()
        return self._alarm is None and self._cusum < self.thresholds.alarm_threshold / 2

    def reset_statistics(self, steps: int = 200) -> None:
        """Announces that the loss may jump, as at a new curriculum or update rule.

        Args:
            steps: for which the guard only learns what is usual, and acts on nothing but non-finite gradients.
        """
        self._settle()
        until = self._step + min(steps, self._losses.values.maxlen or steps)
        self._forget()
        self._learning_until = until

    def expect_change(self, steps: int = 200) -> None:
        """Deprecated name of `reset_statistics`."""
        warnings.warn("Guard.expect_change is deprecated. Use reset_statistics.", DeprecationWarning, stacklevel=2)
        self.reset_statistics(steps)

    # -- state ---------------------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """The whole state, as JSON."""
        self._settle()
        parts = {key: getattr(self, name).state_dict() for key, name in PARTS.items()}
        return {**parts, **get_fields(self, NUMBERS), "_alarm": self._alarm and list(self._alarm)}

    def load_state_dict(self, state: Mapping[str, Any], *, rewinding: bool = False) -> None:
        """Restores the result of `state_dict`.

        Args:
            state: of a guard.
            rewinding: keep the record of earlier rewinds and the state of the learning rate.

        Raises:
            InputError: it is not a guard's.
        """
        if set(state) | LATER_KEYS != {*PARTS, *NUMBERS, "_alarm"}:
            raise InputError("Guard: the state must be from a guard of this version, got other keys")
        self._calm = None
        keep = (REWIND_KEEPS if rewinding else set()) | (LATER_KEYS - set(state))
        set_fields(self, {key: name for key, name in NUMBERS.items() if key not in keep}, state)
        self._alarm = state["_alarm"] and Alarm(*state["_alarm"])
        for key in PARTS.keys() - keep:
            getattr(self, PARTS[key]).load_state_dict(state[key])

    def describe(self) -> dict[str, Any]:
        """Its arguments, as JSON, by the names that configurations are stored with."""
        return {"watch": self.report, "snapshot_every": self.snapshot_every, **self.thresholds.describe()}

    @classmethod
    def of(cls, description: Mapping[str, Any]) -> "Guard":
        """The guard that `describe` described."""
        values: dict[str, Any] = {"report" if k == "watch" else k: value for k, value in rename(description).items()}
        return cls(**values)
