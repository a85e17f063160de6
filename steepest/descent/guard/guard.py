"""The guard: numbers in, verdict out. It never touches a tensor, so it can be used in any loop:

    call = guard.judge(loss, grad_norm)      # go | clip | skip | lower | rewind | stop
    lr = lr * guard.rate

What it looks for, from the mildest to the gravest (robust: median and MAD, the median absolute deviation × 1.4826):

1. A gradient that is not finite: the step is skipped. Three in a row are a divergence, or three in twenty steps while
   the loss rises; with calm losses in between they are bad batches.
2. log ‖g‖ beyond 6 robust deviations of the last 128 accepted steps, and beyond 30 × their median: the gradient is
   clipped to that level; one twice as far out (at least 900 ×) is noise, and its step is skipped.
3. Divergence, by a cumulative sum of the loss's excess over its own noise (Page 1954, doi:10.1093/biomet/41.1-2.100):

       z = min((log L − median₂₀₀) / (MAD₂₀₀ + 0.02), 4),   S ← max(0, S + z − 1)

   An alarm is S > 8 while the running mean of log L lies log 1.25 above its best. One bad batch adds 3 at most. An
   alarm first lowers the rate, for 50 steps at most; only a loss that still rises then, or stays up, or is not finite,
   is a rewind. At a rate on trial an alarm is one: that is a rate to which the schedule jumps from below a third of it
   and which no step had before, for 50 steps or until it jumps back (there S > 4 and log 1.1 are an alarm), and one
   that is tried after a rewind.

Who rewinds tells the guard why it happened (`rewound`), and a rate that was too high backs off
(`steepest.descent.guard.backoff`).
Losses at or below zero are measured by asinh instead of log. Reaching the edge of stability is no alarm. The thresholds
and what chose them: `steepest.descent.guard.thresholds`.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from steepest.descent.guard.backoff import ABOVE_ALL, BACK, Backoff, Pace
from steepest.descent.guard.running_stats import NO_LIMITS, REFRESH, GradientLimits, Norms, RunningStats
from steepest.descent.guard.thresholds import (
    BORNE,
    CAP,
    CHANCE,
    DOUBLED,
    DRIFT,
    FLOOR,
    IN_A_ROW,
    MEAN,
    ON_TRIAL,
    RISE,
    Thresholds,
)
from steepest.errors import InputError
from steepest.records.run import CLIP, GO, LOWER, REWIND, SKIP, STOP, Call

RATE, DATA = "rate", "data"
GOING = Call(GO)
TOGETHER = 20
"""Steps within which three gradients that are not finite are one divergence, where the loss rises too."""
PARTS = ("_norms", "_losses", "_backoff", "_pace")


class Guard:
    """Watches losses and gradient norms, one step after another.

    Attributes:
        rate: factor of the learning rate for the step that was judged, in (0, 1]; separate from the schedule.
        mean: running mean of the loss's level (log L, or asinh where losses are not positive).
        rewinds: how often a rewind was called for so far.

    Args:
        watch: report, and act on nothing but gradients that are not finite.
        snapshot_every: steps between snapshots; None lets the run choose once, by its own time.
        thresholds: when it acts, by name; see `Thresholds`.

    Raises:
        InputError: a threshold that does not exist or cannot be meant.

    >>> guard = Guard()
    >>> guard.judge(2.3, 1.0).kind, guard.judge(2.3, float("nan")).kind
    ('go', 'skip')
    """

    def __init__(self, *, watch: bool = False, snapshot_every: int | None = None, **thresholds: float) -> None:
        if snapshot_every is not None and snapshot_every < 1:
            raise InputError(f"Guard: snapshot_every={snapshot_every} is given; expected is a number of steps")
        self.thresholds = Thresholds.given(thresholds)
        self.watch, self.snapshot_every = watch, snapshot_every
        self._norms, self._losses = Norms(128), RunningStats(200)
        self._scale: float | None = None  # of the asinh, once a loss was not positive
        self._seen, self._sum, self._bad = 0, 0.0, list[int]()  # the last three steps that were not finite
        self.mean, self._best = math.nan, math.inf
        self._alarm: list[Any] | None = None  # when, running mean, best: then
        self._last_alarm = -(1 << 40)
        self._expected, self._began = 0, math.inf  # the running mean at the last rewind
        self._backoff = Backoff(self.thresholds.quiet, self.thresholds.warm)
        self._pace, self._verdict = Pace(), 0  # the step at which a rate above all before is judged
        self.rewinds, self._fruitless, self._record, self._failing = 0, 0, math.inf, 1.0

    # -- judging -------------------------------------------------------------------------------------------------------

    def judge(
        self, loss: float, grad_norm: float, lr: float = 1.0, bounds: GradientLimits | None = None, ahead: int = 0
    ) -> Call:
        """What to do with a step that has this loss and this gradient norm.

        Args:
            loss: of the step's batch, before the update.
            grad_norm: ‖g‖ before clipping.
            lr: the step's learning rate, `rate` not in it. Where it is given, a jump of the schedule that fails is
                taken back for as long as it lasts.
            bounds: that the step was held to already, where its numbers are read only now.
            ahead: steps that were taken after it until now; a lowered rate cannot have helped these.
        """
        self._seen += 1
        change = self._pace.step(lr)
        if change:
            self._jumped(change)
        self._backoff.step()
        if not math.isfinite(loss) or not math.isfinite(grad_norm):
            return self._not_finite(loss, grad_norm)
        log_norm = math.log(max(grad_norm, 1e-300))
        limit, far = bounds or self.bounds
        outlying = self._norms.note(log_norm, limit)
        call = self._diverging(loss, ahead)
        if self._seen % REFRESH == 0:
            self._losses.look()
            self._norms.look()
        if call is not None:
            return call
        if outlying:
            bound = math.exp(limit)
            seen = f"gradient norm {grad_norm:.3g}, its usual bound is {bound:.3g}"
            if log_norm > far:
                return Call(SKIP, seen=seen, done="the step was not taken")
            return Call(CLIP, bound, seen, "clipped to it")
        return GOING

    def _jumped(self, change: str) -> None:
        """A jump of the schedule above all before puts the rate on trial, until it jumps back or for a while."""
        if change == ABOVE_ALL and self._is_armed and self._backoff.divisor == 1:
            self._verdict, self._began = self._seen + self.thresholds.lowered, self.mean
        elif change == BACK:
            self._verdict = min(self._verdict, self._seen)

    @property
    def _is_armed(self) -> bool:
        return self._seen > self.thresholds.armed and self._seen > self._expected

    @property
    def bounds(self) -> GradientLimits:
        """What the next step's gradient is held to."""
        if self.watch or not self._is_armed:
            return NO_LIMITS
        return self._norms.bounds(self.thresholds.outlier, BORNE, IN_A_ROW)

    def _not_finite(self, loss: float, grad_norm: float) -> Call:
        seen = f"the gradient is not finite (norm {grad_norm:.4g}, loss {loss:.4g})"
        self._bad = [*self._bad[-2:], self._seen]
        many = len(self._bad) == 3 and self._bad[-1] - self._bad[0] < TOGETHER
        in_a_row = many and self._bad[-1] - self._bad[0] == 2  # finite losses in between, and calm: some bad batches
        if (in_a_row or (many and not self.is_quiet)) and not self.watch:
            self._bad = []
            return self._rewind(f"{seen}, three times in twenty steps")
        return Call(SKIP, seen=seen, done="the step was not taken")

    def _diverging(self, loss: float, ahead: int) -> Call | None:
        level = math.log(loss) if self._scale is None and loss > 0 else self.level(loss)
        window = self._losses
        z = min((level - window.median) / (window.deviation + FLOOR), CAP)
        self._sum = max(0.0, self._sum + z - DRIFT) if window.deviation < math.inf else 0.0
        window.values.append(level)
        self.mean = level if math.isnan(self.mean) else MEAN * self.mean + (1 - MEAN) * level
        if not self._is_armed:
            return None
        if self._alarm is not None:
            return self._lowered()
        self._best = min(self._best, self.mean)
        share, rise = (1.0, RISE) if self._verdict < self._seen else ON_TRIAL
        failed = self._is_on_trial and self._has_failed()
        if not failed and (self._sum <= share * self.thresholds.alarm or self.mean <= self._best + rise):
            return None
        return self._alarmed(loss, ahead)

    @property
    def _is_on_trial(self) -> bool:
        """Whether this rate has not worked yet: it is tried after a rewind, or it has just jumped above all before."""
        return self._backoff.is_trying or self._verdict >= self._seen

    def _has_failed(self) -> bool:
        """On trial less is enough for an alarm: twice the loss that it began at, or at the end more than chance."""
        deviation = self._losses.deviation
        borne = CHANCE * deviation if self._verdict == self._seen else max(DOUBLED, deviation)
        return self.mean > self._began + borne

    def _alarmed(self, loss: float, ahead: int) -> Call:
        """The first alarm lowers the rate; one soon after that did not help."""
        t = self.thresholds
        self._sum = 0.0
        seen = f"the loss rises: {loss:.4g}, its running mean is {math.exp(self.mean - self._best):.3g} × its best"
        if self._seen - self._last_alarm < 4 * t.lowered and not self.watch:
            return self._rewind(f"{seen}, and lowering the rate has not helped")
        if self._is_on_trial and not self.watch:
            return self._rewind(f"{seen}, at a rate on trial")
        self._alarm, self._last_alarm = [self._seen + ahead, self.mean, self._best], self._seen
        self._backoff.alarm(t.lowered)
        if self.watch:
            return Call(LOWER, seen=seen, done="nothing: the guard only watches")
        return Call(LOWER, seen=seen, done=f"the rate is multiplied by {t.lower:g} for up to {t.lowered} steps")

    def _lowered(self) -> Call | None:
        """While the rate is lowered after an alarm: has it helped?"""
        assert self._alarm is not None
        since, mean, best = self._alarm
        age = self._seen - since
        if age <= 0:  # the rate was not lowered yet
            self._alarm = [since, self.mean, best]
            return None
        if self.mean <= best + RISE / 2:
            self._alarm, self._sum = None, 0.0
            return None
        rises = self.mean > mean + DOUBLED or (age >= 12 and self.mean > mean + RISE)
        if not rises and age < self.thresholds.lowered:
            return None
        self._alarm, self._sum = None, 0.0
        if self.watch or (not rises and self.mean - best < 0.5 * (mean - best)):
            return None
        how = "still rises" if rises else "stays up"
        return self._rewind(f"the loss {how} at a lowered rate: {math.exp(self.mean - best):.3g} × its best")

    def level(self, loss: float) -> float:
        """log L; asinh(L / s) once a loss was not positive, s being the median of |L| so far."""
        if self._scale is None:
            if loss > 0:
                return math.log(loss)
            sizes = sorted(math.exp(x) for x in self._losses.values) or [1.0]
            self._scale = max(abs(loss), sizes[len(sizes) // 2], 1e-12)
            old = [math.asinh(math.exp(x) / self._scale) for x in self._losses.values]
            self._losses.values.extend(old)
            if old:
                self._losses.look()
                self.mean = self._best = sum(old[-10:]) / len(old[-10:])
        return math.asinh(loss / self._scale)

    # -- rewinding -----------------------------------------------------------------------------------------------------

    def _rewind(self, seen: str) -> Call:
        t, self.rewinds = self.thresholds, self.rewinds + 1
        self._failing = self._pace.jump
        self._fruitless = 0 if self._best < self._record - 1e-3 else self._fruitless + 1
        self._record = min(self._record, self._best)
        if self.rewinds > t.rewinds or self._fruitless > t.fruitless:
            many = f"after {self.rewinds - 1} rewinds"
            return Call(STOP, seen=seen, done=f"stopped on the best snapshot {many}: going back has not helped")
        return Call(REWIND, seen=seen)

    def rewound(self, cause: str, lost: int = 0) -> str:
        """Told by who has gone back to a snapshot, and has put `state` of then back.

        Args:
            cause: "rate" where the batches look as usual from the snapshot; "data" where they are outliers there too.
            lost: steps that are to be done again.

        Returns:
            what is done about it, in words.
        """
        self._alarm, self._sum, self._last_alarm = None, 0.0, -(1 << 40)
        self._began, self._bad = self.mean, []
        self._backoff.alarm(lost)
        if cause == DATA:
            return "the rate stays: it was the data"
        return self._backoff.fail(self._failing)

    @property
    def rate(self) -> float:
        return self._factor(self._pace.jump)

    def rate_for(self, lr: float) -> float:
        """`rate` of a next step at this learning rate, before it is judged."""
        return self._factor(self._pace.after(lr))

    def _factor(self, jump: float) -> float:
        if self.watch:
            return 1.0
        return self._backoff.factor(jump) * (1.0 if self._alarm is None else self.thresholds.lower)

    @property
    def is_calm(self) -> bool:
        """Whether there is nothing that the next steps should be watched for one by one."""
        if self._alarm is not None or self._is_on_trial or self._norms.outliers or self.rate < 1 or self._sum >= CAP:
            return False
        return not self._bad or self._seen - self._bad[-1] >= TOGETHER

    @property
    def is_quiet(self) -> bool:
        """Whether nothing alarms at the moment: a snapshot taken now may turn out to be a good one."""
        return self._alarm is None and self._sum < self.thresholds.alarm / 2

    def expect_change(self, steps: int = 200) -> None:
        """Announces that the loss may jump: another curriculum, another rule. The guard learns anew what is usual.

        Args:
            steps: for which it only learns, and judges nothing but what is not finite.
        """
        self._expected = self._seen + min(steps, self._losses.values.maxlen or steps)
        self._norms, self._losses = Norms(128), RunningStats(200)
        self._sum, self._alarm, self.mean, self._best, self._scale = 0.0, None, math.nan, math.inf, None
        self._began, self._verdict, self._pace = math.inf, 0, Pace()

    # -- state ---------------------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Everything it remembers, as JSON."""
        found = {k: v for k, v in vars(self).items() if k not in ("thresholds", "watch", "snapshot_every")}
        return {**found, **{k: found[k].state_dict() for k in PARTS}}

    def load_state_dict(self, state: Mapping[str, Any], *, rewinding: bool = False) -> None:
        """Restores what `state_dict` gave.

        Args:
            state: of a guard.
            rewinding: keep what is known of earlier rewinds and of the rate, which a rewind must not forget.

        Raises:
            InputError: it is not a guard's.
        """
        if set(state) != set(self.state_dict()):
            raise InputError("this state is not from a guard of this version")
        kept = ("rewinds", "_fruitless", "_record", "_backoff", "_failing") if rewinding else ()
        for name, value in state.items():
            if name in PARTS and name not in kept:
                getattr(self, name).load_state_dict(value)
            elif name not in kept:
                setattr(self, name, value)

    def describe(self) -> dict[str, Any]:
        """Its arguments, as JSON."""
        return {"watch": self.watch, "snapshot_every": self.snapshot_every, **asdict(self.thresholds)}
