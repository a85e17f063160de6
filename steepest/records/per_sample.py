"""A run's losses per sample, so that those of a batch and of a whole split can be compared.

A loss that is a sum grows with the number of samples: the record has it as torch gives it.
"""

import dataclasses

from steepest.records.run import Measurement, Record, Steps

PER_SAMPLE = "loss per sample"
"""What a curve then shows."""


def is_sum(record: Record) -> bool:
    """Whether the run's loss is a sum over samples, of known numbers of them."""
    return record.config.reduction == "sum" and bool(_batch(record))


def per_sample(record: Record) -> Record:
    """The record with the losses of a sum, and their gradients, divided by the samples of a batch or of the split.

    Any other record is given back as it is.
    """
    if not is_sum(record):
        return record
    batch, s = _batch(record), record.steps
    steps = Steps(s.t, s.epoch, s.lr, s.loss / batch, s.grad_norm / batch, s.update_norm)
    return dataclasses.replace(
        record, steps=steps, measurements=tuple(_divide(m, record) for m in record.measurements)
    )  # fmt: skip


def _batch(record: Record) -> float:
    """Samples of a step, on average; 0 if they are not known."""
    config = record.config
    if isinstance(config.batch_size, int):
        return float(min(config.batch_size, config.samples or config.batch_size))
    per_epoch = 1 if config.batch_size == "full" else config.steps_per_epoch
    return (config.samples or 0) / max(1, per_epoch)


def _divide(m: Measurement, record: Record) -> Measurement:
    config = record.config
    samples = {"validation": config.validation_samples, "test": config.test_samples}.get(m.split)
    return m._replace(value=m.value / samples) if m.name == "loss" and samples else m
