"""The symptoms of a run: the numbers of its record that the diagnosis decides by.

Eight of them carry most of what the record can tell without the model:

- *predicted_decrease*, Σ ‖Δw‖ ‖∇L‖: how far the loss would have fallen had every step gone straight down a constant
  slope. With too low a learning rate the prediction is small and comes true; a run that jumps across its valley, or
  follows the noise of its batches, predicts a hundred times the decrease that it gets.
- *noise_excess*, ¼ √((1 + β)/(1 − β)) ‖Δw‖ ‖∇L‖ of a step: how far the loss lies above the loss at learning rate 0, if
  the gradient is nothing but noise. For L = ½ h w² and gradient noise of variance σ², w ← w − α g settles around
  ½ h E w² = ¼ α σ² for α h ≪ 1; momentum makes the step's length 1/√(1 − β²) and the learning rate 1/(1 − β) of it
  (Mandt, Hoffman and Blei 2017, arXiv:1704.04289, section 4.1).
- *decrease_ratio*, the slope of the loss over Σ ‖Δw‖ ‖∇L‖, plus its error: 1 down a slope without noise, 0 on a
  plateau.
- *batch_spread*, the spread of the batches' losses relative to their mean. After a step that diverged to where units
  are inactive or saturated it is small, and noise is not what keeps the loss up.
- *coherence* of Adam's steps, ‖Δw‖ / (α √N): the gradient's size relative to those that its second moment remembers.
- *distance_per_weight*, Σ ‖Δw‖ / √N. Initial weights are of the order of 0.1; a network whose weights have moved less
  has learned little, whatever the unit of the loss.
- *gradient_q05_ratio*, the gradient norm when it is small relative to its usual size. A norm of many components hardly
  varies; where units are inactive or saturated, or all weights near 0, only a few biases have a gradient, and chance
  brings its norm near 0.
- *validation_decrease*, the fall of the validation loss since before the first step. The losses of a few samples say
  little about the start and the end of a run; only this separates noise from an explosion.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from steepest.descent.guard.running_stats import MAD
from steepest.records.config import Config, StageConfig
from steepest.records.run import COLUMNS, Measurement, Record, Steps

Values = NDArray[np.float64]

START_SAMPLES = 256
"""The initial loss is a mean over this many samples, of steps before which the point hardly moved; if these have fewer,
it is the validation loss before the first step."""
MAX_START_DECREASE, MAX_START_STEP = 4.0, 2.0
"""The point has moved once its steps predict a decrease of 4 × their loss, or one step predicts 2 ×. On a parabola,
L = ½ h w², a step to the minimum predicts α ‖∇L‖² = 2 L, and one across it, to where the loss is as high again, 4 L."""
WINDOW_SHARE, MIN_WINDOW = 0.1, 10
"""Steps of a running mean: this share of the run, and at least so many."""
HIGH_LR_SHARE = 0.5
"""A learning rate is high from this share of the largest one."""
LAST_PART_GROWTH = 3.0
"""The last part of a run is that in which the cumulative learning rate grew by this factor."""
TINY_GRADIENT = 1e-300
RULES_WITH_SECOND_MOMENT = frozenset({"adam", "adamw", "amsgrad", "nadam"})


class Symptoms:
    """Numbers of a run with at least one finite step. Losses are those of its batches, in units of `scale`.

    Attributes:
        scale: the initial loss, or the largest fall if the loss starts near 0.
        decrease: from the start to the mean of the last tenth; that of the validation loss if it is larger, since data
            that is not trained on falls no further.
        decrease_error: its standard error, from the differences of neighbours at the end.
        validation_decrease: fall of the validation loss, relative to its initial value; NaN if it was not measured.
        max_fall: the largest fall, to the smallest mean of a tenth.
        max_rise: the largest rise above the start, of a mean of a tenth.
        predicted_decrease: Σ ‖Δw‖ ‖∇L‖.
        noise_excess: excess loss of the last steps at a high learning rate, if gradients are nothing but noise.
        oscillation: deviation of a loss from its neighbours in the last fifth; for full batches it is not noise.
        start_steps: steps that the initial loss is a mean over.
        remaining_gain: share of its fall that the loss would gain with 10 × the cumulative learning rate, extrapolated
            from the last part at a high learning rate: what falls while the learning rate decays is noise that ends.
        trend, trend_errors: what that fit gives for 3 × the cumulative learning rate, and its size in standard errors.
        decrease_ratio: decrease / predicted decrease, by a line through all steps, plus two standard errors, so that it
            is small only where a fall would have been measured.
        peak_gradient_ratio: the largest gradient norm / the mean of the second half.
        gradient_q05_ratio: 5 % quantile / median of the gradient norm in the second half.
        coherence: of the steps in the second half; 1 if the rule has no second moment.
        distance_per_weight: Σ ‖Δw‖ / √N; NaN if N is not known.
        batch_size: samples of a step; all samples if the batch size is not known.
        is_full_batch: whether a batch has all samples.
        validation_regain: share of the validation loss's fall that is lost again at the end; NaN if not known.
        is_train_falling: whether the training loss has fallen, by two standard errors, since the validation loss was
            smallest.
    """

    @np.errstate(all="ignore")
    def __init__(self, record: Record) -> None:
        config, mask = record.config, finite(record.steps)
        s = Steps(*(getattr(record.steps, name)[mask] for name in COLUMNS))
        slopes = s.update_norm * s.grad_norm
        window = min(len(s), max(MIN_WINDOW, int(WINDOW_SHARE * len(s))))
        means = np.convolve(s.loss, np.full(window, 1 / window), "valid")
        batch, samples = config.batch_size, config.samples
        length = batch if isinstance(batch, int) else samples
        self.batch_size = float(length) if isinstance(length, int) and length > 0 else float(START_SAMPLES)
        has_all = isinstance(batch, int) and isinstance(samples, int) and batch >= samples
        self.is_full_batch = has_all or batch == "full"
        start, self.start_steps = _start(s.loss, slopes, self.batch_size)
        validation, initial, self.validation_decrease = _validation(record)
        is_late = bool(record.gaps) and len(s) > 0 and s.t[0] > 1  # the log begins after the start
        if math.isfinite(initial) and (is_late or self.start_steps * self.batch_size < START_SAMPLES):
            start, self.start_steps = initial, math.ceil(START_SAMPLES / self.batch_size)
        end, lowest = float(means[-1]), float(means.min())
        scale = self.scale = max(abs(start), start - lowest, TINY_GRADIENT)
        self.decrease = float(np.fmax((start - end) / scale, self.validation_decrease))
        self.oscillation = _oscillation(s.loss[-2 * window :]) / scale
        self.decrease_error = self.oscillation * math.sqrt(2 / window)
        self.max_fall, self.max_rise = (start - lowest) / scale, (float(means.max()) - start) / scale
        self.predicted_decrease = float(slopes.sum()) / scale
        high = np.flatnonzero(np.abs(s.lr) >= HIGH_LR_SHARE * np.abs(s.lr).max())[-1] + 1
        self.noise_excess = _excess_factor(config) * float(slopes[max(0, high - window) : high].mean()) / scale
        self.remaining_gain = _remaining_gain(s, start - end)
        trend, trend_error = _trend(s)
        self.trend, self.trend_errors = math.log(LAST_PART_GROWTH) * trend / scale, trend / trend_error
        slope, slope_error = fit_line(np.cumsum(slopes), s.loss)
        self.decrease_ratio = max(-slope, 0.0) + 2 * slope_error
        late = s.grad_norm[len(s) // 2 :]
        self.peak_gradient_ratio = float(s.grad_norm.max()) / max(float(late.mean()), TINY_GRADIENT)
        self.gradient_q05_ratio = float(np.quantile(late, 0.05)) / max(float(np.median(late)), TINY_GRADIENT)
        self.coherence = _coherence(config, s)
        self.distance_per_weight = float(s.update_norm.sum()) / math.sqrt(config.weights or math.nan)
        reference = initial if math.isfinite(initial) else start
        self.validation_regain, train_fall = _validation_regain(validation, reference, s.t[window - 1 :], means)
        self.is_train_falling = train_fall / scale >= 2 * self.decrease_error
        self.is_train_lower = (start - end) / scale > 2 * self.decrease_error

    @property
    def display(self) -> "Symptoms":
        """The symptoms as evidence shows them: themselves, unless a log lacks what they follow from."""
        return self

    @property
    def batch_spread(self) -> float:
        """Deviation of the batches' losses, relative to their mean at the end."""
        return self.oscillation / max(1 - self.decrease, TINY_GRADIENT)

    @property
    def likely_excess(self) -> float:
        """Excess loss from gradient noise: the geometric mean of two upper bounds, `noise_excess` (part of a gradient
        is signal) and the loss that is left (it may not be able to fall to 0)."""
        return math.sqrt(max(self.noise_excess * (1 - self.decrease), 0.0))

    @property
    def peak_rise(self) -> float:
        """The largest rise above the start, if the start was three standard errors higher than measured."""
        doubt = 0.0 if self.is_full_batch else 3 * self.batch_spread / math.sqrt(self.start_steps)
        return (self.max_rise - doubt) / (1 + doubt)


def finite(steps: Steps) -> NDArray[np.bool_]:
    """Which steps have only finite numbers [steps]."""
    return np.logical_and.reduce([np.isfinite(getattr(steps, name)) for name in COLUMNS])


def _start(losses: Values, slopes: Values, batch: float) -> tuple[float, int]:
    """Mean loss of the first samples, while the point has hardly moved, and the number of steps in it."""
    n = max(1, min(math.ceil(START_SAMPLES / batch), len(losses) // 10))
    prediction = slopes[: n - 1] / np.maximum(np.abs(losses[: n - 1]), TINY_GRADIENT)
    has_moved = (np.cumsum(prediction) > MAX_START_DECREASE) | (prediction > MAX_START_STEP)
    n = int(np.argmax(has_moved)) + 1 if has_moved.any() else n
    return float(losses[:n].mean()), n


def _validation(record: Record) -> tuple[list[Measurement], float, float]:
    """The validation losses, the one before the first step, and the fall from there; NaN if it was not measured."""
    series = record.series("validation", "loss")
    if len(series) < 2 or series[0].t > 0:
        return series, math.nan, math.nan
    initial = series[0].value
    return series, initial, (initial - series[-1].value) / max(abs(initial), TINY_GRADIENT)


def _oscillation(losses: Values) -> float:
    """Standard deviation of a loss around its trend, from the differences of neighbours."""
    return MAD * float(np.median(np.abs(np.diff(losses)))) / math.sqrt(2) if len(losses) > 1 else 0.0


def _remaining_gain(s: Steps, fall: float) -> float:
    """b log 10 / (fall + b log 10), where the loss falls by b log τ in the last part of the run, τ = Σ lr."""
    gain = math.log(10) * _trend(s)[0]
    return gain / (fall + gain) if gain > 0 and fall + gain > 0 else 0.0


def _trend(s: Steps) -> tuple[float, float]:
    """b and its standard error, where the loss falls by b log τ in the last part of the run, τ = Σ lr."""
    lr = np.abs(s.lr)
    total, is_high = np.cumsum(lr), (lr > 0) & (lr >= HIGH_LR_SHARE * lr.max())
    part = is_high & (total * LAST_PART_GROWTH >= total[is_high].max(initial=0.0))
    slope, error = fit_line(np.log(total[part]), s.loss[part])
    return -slope, max(error, TINY_GRADIENT)


def fit_line(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Slope of the least-squares line and its standard error; 0 and ∞ if there is none."""
    if len(x) < 3 or (spread := float(np.square(x - x.mean()).sum())) == 0:
        return 0.0, math.inf
    slope = float((x - x.mean()) @ y) / spread
    rest = y - y.mean() - slope * (x - x.mean())
    return slope, math.sqrt(float(rest @ rest) / (len(x) - 2) / spread)


def _coherence(config: Config, s: Steps) -> float:
    """‖Δw‖ / (α √N) of the steps in the second half, as a median."""
    weights = config.weights
    mask = (s.lr > 0) & (np.arange(len(s)) >= len(s) // 2)
    if config.rule not in RULES_WITH_SECOND_MOMENT or not weights or not mask.any():
        return 1.0
    return float(np.median(s.update_norm[mask] / s.lr[mask])) / math.sqrt(weights)


def _validation_regain(series: Sequence[Measurement], start: float, t: Values, means: Values) -> tuple[float, float]:
    """Share of its fall that the validation loss regained, and how far the training loss fell meanwhile."""
    values = np.array([m.value for m in series])
    if len(values) < 3 or not np.isfinite(values).all():
        return math.nan, math.nan
    best = int(values.argmin())
    fall = start - float(values[best])
    if fall <= 0:
        return math.nan, math.nan
    then = means[min(int(np.searchsorted(t, series[best].t)), len(means) - 1)]
    return float(values[-1] - values[best]) / fall, float(then - means[-1])


# -- Configuration -----------------------------------------------------------------------------------------------------


def _excess_factor(config: Config) -> float:
    """¼ √((1 + β)/(1 − β)), β the momentum coefficient of the last stage; 0 if it is not a number."""
    last = config.stages[-1] if config.stages else StageConfig()
    hypers = last.hypers or {}
    beta = hypers.get("beta1", hypers.get("beta", 0.0))
    if last.rule == "rmsprop" or not (isinstance(beta, float) and 0 <= beta < 1):  # rmsprop's is of a second moment
        beta = 0.0
    return 0.25 * math.sqrt((1 + beta) / (1 - beta))
