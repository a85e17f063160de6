"""What the numbers of a run's record show, before anybody judges them.

Eight of them carry most of what can be told without the model:

- *promised*, Σ ‖Δw‖ ‖∇L‖: by how much the loss would have fallen had every step gone straight down a slope that stays
  as it is. A timid run promised little and kept it; one that jumps across its valley, or after the noise of its
  batches, promised a hundred times what it kept.
- *hovering*, ¼ √((1 + β)/(1 − β)) ‖Δw‖ ‖∇L‖ of a step: by how much the loss lies above what it would be with a rate
  of 0, if all of a gradient is chance. For L = ½ h w² and gradient noise of variance σ², w ← w − α g comes to rest
  around ½ h E w² = ¼ α σ² for α h ≪ 1; momentum makes the step's length 1/√(1 − β²) and the rate 1/(1 − β) of it
  (Mandt, Hoffman and Blei 2017, arXiv:1704.04289, section 4.1).
- *yielded*, the slope of the loss over Σ ‖Δw‖ ‖∇L‖, with its error: 1 down a slope without noise, 0 on a plateau.
- *varied*, by which share of their mean the losses of batches differ. Where a point was thrown to a region in which
  units are dead or saturated, they differ little: noise is not what keeps the loss up.
- *coherence* of Adam's steps, ‖Δw‖ / (α √N): how large a gradient is beside those that its second moment remembers.
- *travelled*, Σ ‖Δw‖ / √N: how far a weight has gone. What a network starts with is of the order of 0.1, and who has
  not gone so far has learned little else, whatever the unit of the loss.
- *narrow*, the gradient norm when it is small, beside what it usually is. A norm of many components hardly varies;
  where units are dead or saturated, or all weights near 0, only a few biases have a gradient, and chance brings it
  near 0.
- *net*, the fall of the validation loss since before the first step. The losses of a few samples say little of where a
  run began, and where it ended; whether noise keeps a loss up or an explosion threw it there, only this tells.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from steepest.descent.guard.running_stats import MAD
from steepest.records.config import Config, StageConfig
from steepest.records.run import COLUMNS, Measurement, Record, Steps

Values = NDArray[np.float64]

SAMPLES = 256
"""The loss at the start is a mean over so many samples, of steps before which the point has hardly moved; where these
have fewer, it is the validation loss before the first step."""
MOVED, LEAPT = 4.0, 2.0
"""The point has moved once steps have promised 4 times their loss, or one of them 2 times. On a parabola, L = ½ h w², a
step to its floor promises α ‖∇L‖² = 2 L, and one across it, to where the loss is as high again, 4 L."""
TENTH = 0.1
"""Share of the steps that a running mean covers."""
LEAST = 10
"""Steps that it covers at least."""
HIGH = 0.5
"""Share of the greatest rate from which a rate is high."""
LAST = 3.0
"""The last part of the way is that in which it grew by this factor."""
TINY = 1e-300
BY_SECOND_MOMENT = frozenset({"adam", "adamw", "amsgrad", "nadam"})


@dataclass(frozen=True)
class Symptoms:
    """Numbers of a run. Losses are those of its batches, in units of `scale`.

    Attributes:
        scale: size of the loss at the start, or of its greatest fall where it starts near 0.
        kept: fall of the loss from the start to the mean of the last tenth; of the validation loss where that is more,
            for what is not trained on falls no further.
        error: standard error of that, from the differences of neighbours at the end.
        net: fall of the validation loss from the start, relative to what it was there; NaN where it was not measured.
        fall: the greatest fall, to the least mean of a tenth.
        rise: the greatest rise above the start, of a mean of a tenth.
        promised: Σ ‖Δw‖ ‖∇L‖.
        hovering: what the last steps at half of the greatest rate or more keep the loss above, if gradients are chance.
        swing: deviation of a loss from its neighbours in the last fifth; where the batch is full, it is no noise.
        first: steps that the loss at the start is a mean over.
        left: share of its fall that the loss would gain on ten times the way, Σ lr, as its last part at half of the
            greatest rate or more foretells: what falls as the rate falls is the noise's end, not the way's doing.
        yielded: share of what was promised that the loss fell by, by the line through all steps, two standard errors
            above it, so that it is small only where a fall would have been seen.
        burst: the greatest gradient norm, relative to the mean of the second half.
        narrow: the 5 % quantile of the gradient norm, relative to its median, in the second half.
        coherence: of the steps in the second half; 1 where the rule has no second moment.
        travelled: Σ ‖Δw‖ / √N, the way of a weight; NaN where N is not known.
        batch: samples of a step.
        full: whether a batch has all the samples.
        lost: share of the validation loss's fall that is lost again at the end; NaN where that cannot be told.
        fell_on: whether the training loss has fallen, by two standard errors, since the validation loss was least.
    """

    scale: float
    kept: float
    error: float
    net: float
    fall: float
    rise: float
    promised: float
    hovering: float
    swing: float
    first: int
    left: float
    yielded: float
    burst: float
    narrow: float
    coherence: float
    travelled: float
    batch: float
    full: bool
    lost: float
    fell_on: bool

    @property
    def varied(self) -> float:
        """Deviation of a batch's loss, relative to their mean at the end."""
        return self.swing / max(1 - self.kept, TINY)

    @property
    def noise(self) -> float:
        """What noise keeps the loss up by: `hovering`, too much where not all of a gradient is chance, and what is left
        of the loss, too much where it cannot fall to 0, in geometric mean."""
        return math.sqrt(max(self.hovering * (1 - self.kept), 0.0))

    @property
    def soared(self) -> float:
        """The greatest rise above a start that was three standard errors higher than was seen."""
        doubt = 0.0 if self.full else 3 * self.varied / math.sqrt(self.first)
        return (self.rise - doubt) / (1 + doubt)


def finite(steps: Steps) -> NDArray[np.bool_]:
    """Which steps have nothing but finite numbers [steps]."""
    return np.logical_and.reduce([np.isfinite(getattr(steps, name)) for name in COLUMNS])


@np.errstate(all="ignore")
def symptoms(record: Record) -> Symptoms:
    """The symptoms of a run that has a finite step or more."""
    sound = finite(record.steps)
    s = Steps(*(getattr(record.steps, name)[sound] for name in COLUMNS))
    slopes = s.update_norm * s.grad_norm
    window = min(len(s), max(LEAST, int(TENTH * len(s))))
    means = np.convolve(s.loss, np.full(window, 1 / window), "valid")
    batch = _batch(record.config)
    start, steps = _start(s.loss, slopes, batch)
    held, before, net = _validation(record)
    if math.isfinite(before) and steps * batch < SAMPLES:
        start, steps = before, math.ceil(SAMPLES / batch)
    end, least = float(means[-1]), float(means.min())
    scale = max(abs(start), start - least, TINY)
    late = s.grad_norm[len(s) // 2 :]
    high = np.flatnonzero(np.abs(s.lr) >= HIGH * np.abs(s.lr).max())[-1] + 1
    swing = _swing(s.loss[-2 * window :]) / scale
    error = swing * math.sqrt(2 / window)
    began = before if math.isfinite(before) else start
    lost, since = _overfitting(held, began, s.t[window - 1 :], means)
    return Symptoms(
        scale=scale,
        kept=float(np.fmax((start - end) / scale, net)),
        error=error,
        net=net,
        fall=(start - least) / scale,
        rise=(float(means.max()) - start) / scale,
        promised=float(slopes.sum()) / scale,
        hovering=_hovering(record.config) * float(slopes[max(0, high - window) : high].mean()) / scale,
        swing=swing,
        first=steps,
        left=_left(s, start - end),
        yielded=_yielded(s, slopes),
        batch=batch,
        burst=float(s.grad_norm.max()) / max(float(late.mean()), TINY),
        narrow=float(np.quantile(late, 0.05)) / max(float(np.median(late)), TINY),
        coherence=_coherence(record.config, s),
        travelled=float(s.update_norm.sum()) / math.sqrt(record.config.weights or math.nan),
        full=_is_full(record.config),
        lost=lost,
        fell_on=since / scale >= 2 * error,
    )


def _start(losses: Values, slopes: Values, batch: float) -> tuple[float, int]:
    """Mean loss of the first samples, as long as the point has hardly moved; and of how many steps."""
    n = max(1, min(math.ceil(SAMPLES / batch), len(losses) // 10))
    promised = slopes[: n - 1] / np.maximum(np.abs(losses[: n - 1]), TINY)
    moved = (np.cumsum(promised) > MOVED) | (promised > LEAPT)
    n = int(np.argmax(moved)) + 1 if moved.any() else n
    return float(losses[:n].mean()), n


def _validation(record: Record) -> tuple[list[Measurement], float, float]:
    """The validation losses, that before the first step and their fall from there; NaN where it was not measured."""
    held = record.series("validation", "loss")
    if len(held) < 2 or held[0].t > 0:
        return held, math.nan, math.nan
    before = held[0].value
    return held, before, (before - held[-1].value) / max(abs(before), TINY)


def _swing(losses: Values) -> float:
    """Standard deviation of a loss around its trend, from the differences of neighbours."""
    return MAD * float(np.median(np.abs(np.diff(losses)))) / math.sqrt(2) if len(losses) > 1 else 0.0


def _left(s: Steps, fall: float) -> float:
    """b log 10 / (fall + b log 10), where in the last part of the way, τ = Σ lr, the loss falls by b log τ."""
    rates = np.abs(s.lr)
    way, high = np.cumsum(rates), (rates > 0) & (rates >= HIGH * rates.max())
    part = high & (way * LAST >= way[high].max(initial=0.0))
    gain = -math.log(10) * _line(np.log(way[part]), s.loss[part])[0]
    return gain / (fall + gain) if gain > 0 and fall + gain > 0 else 0.0


def _yielded(s: Steps, slopes: Values) -> float:
    """−dL/dP and two standard errors, P = Σ ‖Δw‖ ‖∇L‖."""
    slope, error = _line(np.cumsum(slopes), s.loss)
    return max(-slope, 0.0) + 2 * error


def _line(x: Values, y: Values) -> tuple[float, float]:
    """Slope of the line of least squares and its standard error; 0 and ∞ where there is none."""
    if len(x) < 3 or (spread := float(np.square(x - x.mean()).sum())) == 0:
        return 0.0, math.inf
    slope = float((x - x.mean()) @ y) / spread
    rest = y - y.mean() - slope * (x - x.mean())
    return slope, math.sqrt(float(rest @ rest) / (len(x) - 2) / spread)


def _hovering(config: Config) -> float:
    """¼ √((1 + β)/(1 − β))."""
    beta = _beta(config)
    return 0.25 * math.sqrt((1 + beta) / (1 - beta))


def _coherence(config: Config, s: Steps) -> float:
    """‖Δw‖ / (α √N) of the steps in the second half, as a median."""
    weights = config.weights
    moved = (s.lr > 0) & (np.arange(len(s)) >= len(s) // 2)
    if config.rule not in BY_SECOND_MOMENT or not weights or not moved.any():
        return 1.0
    return float(np.median(s.update_norm[moved] / s.lr[moved])) / math.sqrt(weights)


def _overfitting(series: Sequence[Measurement], start: float, t: Values, means: Values) -> tuple[float, float]:
    """Share of the validation loss's fall that is lost again, and by how much the training loss fell meanwhile."""
    values = np.array([m.value for m in series])
    if len(values) < 3 or not np.isfinite(values).all():
        return math.nan, math.nan
    least = int(values.argmin())
    fall = start - float(values[least])
    if fall <= 0:
        return math.nan, math.nan
    then = means[min(int(np.searchsorted(t, series[least].t)), len(means) - 1)]
    return float(values[-1] - values[least]) / fall, float(then - means[-1])


# -- Configuration -----------------------------------------------------------------------------------------------------


def _batch(config: Config) -> float:
    """Samples of a step; as many as there are where it is not known."""
    batch, samples = config.batch_size, config.samples
    known = batch if isinstance(batch, int) else samples
    return float(known) if isinstance(known, int) and known > 0 else float(SAMPLES)


def _is_full(config: Config) -> bool:
    batch, samples = config.batch_size, config.samples
    return batch == "full" or (isinstance(batch, int) and isinstance(samples, int) and batch >= samples)


def _beta(config: Config) -> float:
    """Share of the last stage's momentum that stays at a step; 0 where it is not a number."""
    last = config.stages[-1] if config.stages else StageConfig()
    hypers = last.hypers or {}
    beta = hypers.get("beta1", hypers.get("beta", 0.0))
    by_moment = last.rule == "rmsprop"  # whose beta is the second moment's
    return beta if isinstance(beta, float) and 0 <= beta < 1 and not by_moment else 0.0
