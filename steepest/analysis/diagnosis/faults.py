"""Faults that no learning rate causes or mends: of the loss, the labels and the metric, as a record shows them.

- *loss ignores the weights*: the weights moved, and the loss on the same data is the same to the last bit every time.
  A loss whose gradient is 0 and whose weights stayed is another fault, "no gradient".
- *labels out of order*: the training loss fell by MEMORY_FALL below the validation loss before the first step, and the
  validation loss never fell: what was learnt holds for the training samples alone. A run that overfits is different:
  its validation loss falls first; but of fewer than MIN_TRAINING_SAMPLES there may be too little to learn for others.
  Of a network that cannot learn its samples by heart, such labels make a plateau.
- *metric contradicts the loss*: the validation loss fell by CLEAR_FALL, and the metric got worse with it. The other way
  round is usual: a classifier that grows too sure of itself gains accuracy while its loss rises.
- *forgetting*: weights that were trained before lose what they knew: the validation loss before the first step is lower
  than every later one, by FORGETTING_RISE.
"""

import math

import numpy as np

from steepest.analysis.diagnosis.symptoms import Symptoms, Values, finite
from steepest.analysis.diagnosis.thresholds import RISE_MAX
from steepest.records.run import Record

MIN_MEASUREMENTS = 3
MIN_DISTANCE = 1e-3
"""Distance moved per weight from which rounding to 32 bits does not hide what it does to a loss."""
MEMORY_FALL, MAX_VALIDATION_FALL = 0.4, 0.02
"""Fall of the training loss, and of the validation loss at most, where labels are out of order."""
MIN_TRAINING_SAMPLES = 1000
"""Training samples from which they should teach something of others. Without this, and the comparison with the loss
before the first step, 42 runs on right labels were named, of 24 trainings of `benchmarks/diagnosis/trainings`."""
CLEAR_FALL, MIN_PAIRS, MAX_CORRELATION, MIN_VALUES = 0.2, 4, -0.7, 2
"""Fall of the validation loss, measurements, and rank correlation of loss and metric (in the direction in which both
get worse) where the metric contradicts the loss; of more than two different values, which a single sample may make."""
CLEAR_CHANGE = 0.5
"""Share of itself by which a metric changes that never once got better, as one that soon is as bad as it can be."""
FORGETTING_RISE = 0.1
"""Share of its start above which the validation loss of trained weights stays when they forget."""


def loss_ignores_weights(record: Record) -> bool:
    """Whether the loss on the same data stayed the same to the last bit while the weights moved."""
    distance = float(np.nansum(record.steps.update_norm)) / math.sqrt(record.config.weights or math.inf)
    if not distance >= MIN_DISTANCE:
        return False
    values = [m.value for m in record.series("validation", "loss")]
    if len(values) < MIN_MEASUREMENTS and record.config.batch_size == "full":
        values = list(record.steps.loss)
    return len(values) >= MIN_MEASUREMENTS and math.isfinite(values[0]) and len(set(values)) == 1


def labels_out_of_order(record: Record, s: Symptoms) -> bool:
    """Whether the training loss fell far and the validation loss never did, since before the first step."""
    series = record.series("validation", "loss")
    values = np.array([m.value for m in series])
    is_known = len(values) >= MIN_MEASUREMENTS and series[0].t == 0 and np.isfinite(values).all()
    if not is_known or (record.config.samples or 0) < MIN_TRAINING_SAMPLES:
        return False
    loss = record.steps.loss[finite(record.steps)]
    is_memorised = float(loss[-max(1, len(loss) // 10) :].mean()) < (1 - MEMORY_FALL) * values[0]
    never_fell = values[1:].min() > values[0] - MAX_VALIDATION_FALL * abs(values[0])
    has_exploded = s.max_rise > RISE_MAX  # then the validation loss may be high for good, whatever the labels
    return bool(never_fell and is_memorised and s.is_train_lower and not (_has_trained_start(record) or has_exploded))


def forgets_start(record: Record) -> bool:
    """Whether a run from trained weights never came back to the validation loss that it began with."""
    series = record.series("validation", "loss")
    values = np.array([m.value for m in series])
    if not _has_trained_start(record) or len(values) < MIN_MEASUREMENTS or series[0].t or not np.isfinite(values).all():
        return False
    return bool(values[1:].min() > values[0] + FORGETTING_RISE * abs(values[0]))


def _has_trained_start(record: Record) -> bool:
    """Whether the run began from weights that it was given; it may then overfit at once."""
    return record.config.start not in ("", "the task's")


def metric_contradicts_loss(record: Record) -> bool:
    """Whether the metric got worse as the validation loss fell."""
    name, better = record.config.metric, record.config.better
    if name == "loss" or better is None:
        return False
    metric = {m.t: m.value for m in record.series("validation", name)}
    pairs = [(m.value, metric[m.t]) for m in record.series("validation", "loss") if m.t in metric]
    if len(pairs) < MIN_PAIRS or not np.isfinite(pairs).all():
        return False
    loss, values = np.array(pairs).T
    badness = values if better == "lower" else -values
    fell = loss[0] - loss[-1] > CLEAR_FALL * abs(loss[0])
    is_clear = abs(badness[-1] - badness[0]) > CLEAR_CHANGE * max(abs(badness[0]), abs(badness[-1]))
    only_worse = is_clear and bool((np.diff(badness) >= 0).all())
    varies = len(set(badness)) > MIN_VALUES and _rank_correlation(loss, badness) < MAX_CORRELATION
    return bool(fell and badness[-1] > badness[0] and (only_worse or varies))


def _rank_correlation(a: Values, b: Values) -> float:
    """Spearman's; 0 where one of them does not vary."""
    ranks = np.array([[0.5 * ((x < v).sum() + (x <= v).sum()) for v in x] for x in (a, b)])
    return float(np.corrcoef(ranks)[0, 1]) if (ranks.std(1) > 0).all() else 0.0
