"""Diagnoses of logs that lack numbers: what the whole record says is never ruled out, and nothing is made up."""

import dataclasses
import itertools
import math

import hypothesis.extra.numpy as arrays
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from steepest.analysis.diagnosis import partial
from steepest.analysis.diagnosis.diagnose import diagnose_record
from steepest.analysis.diagnosis.findings import (
    CANNOT_TELL,
    DIAGNOSIS_HEADLINES,
    EXPLODING,
    HEALTHY,
    MIXED_LABELS,
    NEVER_FINITE,
    NO_GRADIENT,
    NOISE_LIMITED,
    OSCILLATING,
    OVERFITTING,
    PLATEAU,
    TOO_SHORT,
    TOO_SLOW,
)
from steepest.records.config import Config
from steepest.records.run import COLUMNS, SIZE_OF_BATCH, SIZE_OF_DATA, SIZE_OF_MODEL, Measurement, Steps
from tests.analysis.diagnosis.test_diagnose import T, healthy_run, noise, record_of, t

SIZES = (SIZE_OF_DATA, SIZE_OF_MODEL, SIZE_OF_BATCH)
LACKS = [("update_norm",), ("grad_norm", "update_norm"), ("lr", "grad_norm", "update_norm"), ("lr",), ()]


def without(record, *gaps, every=1, sizes=SIZES):
    """The record as a log that lacks columns and sizes, with a value every so many steps."""
    columns = {name: getattr(record.steps, name)[every - 1 :: every] for name in COLUMNS}
    columns |= {name: np.full(len(columns["t"]), math.nan) for name in gaps}
    config = Config(steps=record.config.steps, lr=record.config.lr)
    return dataclasses.replace(record, steps=Steps(**columns), config=config, gaps=(*gaps, *sizes))


def is_possible(kind, diagnosis):
    """Whether a diagnosis has a finding of a kind, or names it as possible."""
    words = "no problem" if kind == HEALTHY else DIAGNOSIS_HEADLINES[kind]
    possible = next((f.sentence for f in diagnosis.findings if f.kind == CANNOT_TELL), "")
    return kind in diagnosis.kinds or words.lower() in possible.lower()


loss, g = healthy_run()
RECORDS = {
    HEALTHY: record_of(loss, g),
    TOO_SLOW: record_of(2 - 1e-3 * t / T + noise(0.01), lr=1e-5),
    PLATEAU: record_of(2 + noise(0.01), grad_norm=1.0, lr=0.2),
    NOISE_LIMITED: record_of(1 + np.exp(-t / 20) + noise(0.4), 2 + 0.1 * noise(1), lr=0.1, batch_size=8),
    OSCILLATING: record_of(2 + (-1) ** t, grad_norm=4.0, batch_size="full"),
    EXPLODING: record_of(np.where(t < 50, 2.0, 40.0) + noise(0.1), 3.0, lr=1.0),
    OVERFITTING: record_of(loss, g, validation=[1, 0.5, 0.4, 0.7, 0.9, 1.1, 1.3, 1.5], before=2.0),
    MIXED_LABELS: record_of(loss, g, validation=[2.1, 2.3, 2.6, 3.0], before=2.0),
    NO_GRADIENT: record_of(2 + noise(0.01), grad_norm=0.0),
}


@pytest.mark.parametrize("gaps", LACKS)
@pytest.mark.parametrize("kind", RECORDS)
def test_what_the_whole_record_says_is_not_ruled_out(kind, gaps):
    whole = diagnose_record(RECORDS[kind])
    for every in (1, 5):
        assert is_possible(whole.kind, diagnose_record(without(RECORDS[kind], *gaps, every=every))) or (
            kind == NO_GRADIENT and "grad_norm" in gaps  # nobody can see it then
        )


def test_a_record_that_lacks_nothing_is_diagnosed_as_before():
    for record in RECORDS.values():
        assert partial.fill(record) is record
        assert diagnose_record(record).gaps == ()


@pytest.mark.parametrize("gaps", LACKS[:3])
def test_what_needs_the_missing_numbers_is_not_said(gaps):
    for kind in (TOO_SLOW, PLATEAU, NOISE_LIMITED):
        diagnosis = diagnose_record(without(RECORDS[kind], *gaps))
        assert diagnosis.kinds == (CANNOT_TELL,)
        assert diagnosis.sentence.startswith(f"Cannot tell without {', '.join(gaps)}. Possible: ")
        assert diagnosis.evidence == ()
        assert str(diagnosis).endswith(f"Not in the log: {', '.join((*gaps, *SIZES))}.")


@pytest.mark.parametrize("gaps", LACKS[:3])
def test_what_the_losses_alone_show_is_said(gaps):
    assert diagnose_record(without(RECORDS[HEALTHY], *gaps)).kinds == (HEALTHY,)
    exploded = diagnose_record(without(RECORDS[EXPLODING], *gaps))
    assert exploded.kinds == (EXPLODING,)
    assert not any(math.isnan(one.value) for one in exploded.evidence)
    assert diagnose_record(without(RECORDS[OVERFITTING], *gaps)).kind == OVERFITTING
    nan = record_of(np.where(t < 300, 2.0, math.nan))
    assert diagnose_record(without(nan, *gaps)).sentence == (
        "The loss exploded: 101 logged values had a non-finite loss, gradient or update."
    )


def test_the_norm_of_the_gradient_tells_that_there_is_none():
    assert diagnose_record(without(RECORDS[NO_GRADIENT], "update_norm")).kind == NO_GRADIENT
    assert diagnose_record(without(RECORDS[NO_GRADIENT], "grad_norm", "update_norm")).kind == CANNOT_TELL


def test_labels_out_of_order_are_possible_where_the_number_of_samples_is_not_known():
    diagnosis = diagnose_record(without(RECORDS[MIXED_LABELS], "update_norm"))
    assert diagnosis.kind == CANNOT_TELL
    assert "labels seem out of order" in diagnosis.sentence


def test_a_loss_that_is_not_finite_from_the_first_value_on():
    record = record_of(np.full(T, math.nan))
    at_once = diagnose_record(without(record, "update_norm"))
    assert (at_once.kind, at_once.sentence) == (NEVER_FINITE, "Not finite from step 1: the loss is nan.")
    later = diagnose_record(without(record, "update_norm", every=10))
    assert later.kind == CANNOT_TELL  # it may have exploded before
    assert later.sentence == "Not finite from step 10 on, the first one in the log: the loss is nan."
    before = dataclasses.replace(without(record, "update_norm", every=10),
                                 measurements=(Measurement(0, 0.0, "validation", "loss", 2.0),))  # fmt: skip
    assert diagnose_record(before).kind == EXPLODING


def test_the_fall_before_the_first_value_is_not_known():
    """The loss falls in the first steps and then stays, or explodes in them and comes down: the log cannot tell."""
    fall = record_of(0.1 + 2 * np.exp(-t / 5) + noise(0.001), 0.1)
    assert diagnose_record(fall).kind == HEALTHY
    blast = record_of(np.where(t < 3, 2.0, 2 + 1e4 * np.exp(-t / 40)), 3.0, lr=1.0)
    assert diagnose_record(blast).kind == EXPLODING
    for record, kind in ((fall, HEALTHY), (blast, EXPLODING)):
        log = without(record, "update_norm", every=15)
        assert diagnose_record(log).kind == CANNOT_TELL
        assert is_possible(kind, diagnose_record(log))
        start = tuple(Measurement(s, 0.0, "validation", "loss", x) for s, x in ((0, 2.0), (T, record.steps.loss[-1])))
        assert diagnose_record(dataclasses.replace(log, measurements=start)).kind == kind


def test_while_the_rate_warms_up_nothing_has_exploded():
    """The first value comes at a third of the rate: the loss has fallen since the start by what the log shows."""
    record = record_of(0.05 + 2 * np.exp(-t / 60) + noise(0.001), 0.1, lr=0.1 * np.minimum(t / 30, 1))
    assert diagnose_record(without(record, "update_norm", every=10)).kinds == (HEALTHY,)
    constant = dataclasses.replace(record, steps=dataclasses.replace(record.steps, lr=np.full(T, 0.1)))
    assert diagnose_record(without(constant, "update_norm", every=10)).kind == CANNOT_TELL


def test_a_short_log_says_how_many_values_it_has():
    diagnosis = diagnose_record(without(RECORDS[HEALTHY], "update_norm", every=40))
    assert (diagnosis.kind, diagnosis.steps, diagnosis.planned) == (TOO_SHORT, 400, 400)
    assert diagnosis.sentence == "Too short to diagnose: 10 finite logged values, 20 needed."


def test_candidates_are_all_combinations_of_what_is_asked_for():
    record = partial.fill(without(RECORDS[PLATEAU], "lr", "grad_norm", "update_norm"))
    names = ("distance_per_weight", "gradient_q05_ratio", "is_full_batch")
    seen = [tuple(getattr(one, name) for name in names) for one in partial.candidates(record)]
    assert sorted(seen) == sorted(itertools.product(*(partial.BOTH_SIDES[name] for name in names)))
    asked = [one.is_full_batch and one.batch_size for one in partial.candidates(record)]
    assert asked == [False, *partial.BOTH_SIDES["batch_size"]]


numbers = st.floats(allow_nan=True, allow_infinity=True)


@settings(max_examples=40)
@given(
    arrays.arrays(np.float64, st.tuples(st.just(4), st.integers(0, 60)), elements=numbers),
    st.sampled_from(LACKS), st.sampled_from([1, 10]),
)  # fmt: skip
def test_any_log_has_a_diagnosis(columns, gaps, every):
    n = columns.shape[1]
    times = np.arange(every, every * n + 1, every, dtype=float)
    steps = Steps(times, times, *columns)
    steps = dataclasses.replace(steps, **{name: np.full(n, math.nan) for name in gaps})
    record = dataclasses.replace(RECORDS[HEALTHY], steps=steps, config=Config(), gaps=(*gaps, *SIZES))
    diagnosis = diagnose_record(record)
    assert len(set(diagnosis.kinds)) == len(diagnosis.kinds)
    assert str(diagnosis)
