"""Diagnoses: of records written by hand, of short real descents, and of whatever a record can be."""

import dataclasses
import math
import re

import hypothesis.extra.numpy as arrays
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torch.nn.functional import mse_loss

import steepest as sd
from steepest.analysis.diagnosis.diagnose import diagnose_record
from steepest.analysis.diagnosis.findings import (
    CANNOT_TELL,
    CONTRADICTION,
    EXPLODING,
    FORGETTING,
    HEALTHY,
    IGNORES_WEIGHTS,
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
from steepest.analysis.diagnosis.symptoms import Symptoms
from steepest.analysis.diagnosis.thresholds import NOISE_EXCESS, percent
from steepest.records.config import Config
from steepest.records.run import COLUMNS, Event, Measurement, Record, Steps

T = 400
t = np.arange(1.0, T + 1)


def record_of(loss, grad_norm=1.0, lr=0.1, update_norm=None, validation=(), events=(), before=None, **config):
    """A record of gradient descent, w ← w − α ∇L; `before` is the validation loss before the first step."""
    loss = np.asarray(loss, np.float64)
    n = len(loss)
    g, a = np.broadcast_to(grad_norm, n).astype(float), np.broadcast_to(lr, n).astype(float)
    u = a * g if update_norm is None else np.broadcast_to(update_norm, n).astype(float)
    times = np.arange(1.0, n + 1)
    every = n // max(1, len(validation))
    measurements = tuple(
        Measurement((i + 1) * every, i + 1.0, "validation", "loss", v) for i, v in enumerate(validation)
    )
    if before is not None:
        measurements = (Measurement(0, 0.0, "validation", "loss", before), *measurements)
    config = {"rule": "gradient_descent", "lr": 0.1, "batch_size": 32, "samples": 1000, "steps": n, **config}
    return Record(
        "id",
        "name",
        "done",
        "",
        0.0,
        Config.from_json(config),
        {},
        Steps(times, times, a, loss, g, u),
        measurements,
        tuple(events),
    )


def noise(scale, seed=0):
    return scale * np.random.default_rng(seed).standard_normal(T)


def healthy_run(scale=0.02):
    """2 → 0.05, as steps of a sound rate have it; what they promise is what they keep and the noise's part."""
    return 0.05 + 1.95 * np.exp(-t / 40) + noise(scale) * 0.05, np.sqrt(1.95 / 40 / 0.1 * np.exp(-t / 40)) + 0.3


def test_a_sound_run_is_healthy():
    loss, g = healthy_run()
    assert diagnose_record(record_of(loss, g)).kinds == (HEALTHY,)


def test_a_learning_rate_that_predicts_a_small_decrease_is_too_low():
    diagnosis = diagnose_record(record_of(2 - 1e-3 * t / T + noise(0.01), lr=1e-5))
    assert diagnosis.kind == TOO_SLOW
    assert diagnosis.advice == "Try lr = 0.3 to 1 (now 0.1), or measure: `steepest find-lr`."


def test_a_loss_that_does_not_change_is_a_plateau():
    assert diagnose_record(record_of(2 + noise(0.01), grad_norm=1.0, lr=0.2)).kind == PLATEAU


def test_weights_that_hardly_moved_had_too_low_a_learning_rate():
    """Half of the loss has gone, and what is left no longer falls: the loss alone says nothing."""
    loss, columns = 1 + np.exp(-t / 20) + noise(0.01), {"grad_norm": np.sqrt(np.exp(-t / 20)) + 0.1, "lr": 0.05}
    assert diagnose_record(record_of(loss, weights=100_000, **columns)).kind == TOO_SLOW
    assert diagnose_record(record_of(loss, weights=100, **columns)).kind == HEALTHY


@pytest.mark.parametrize(("components", "kind"), [(1, PLATEAU), (50, TOO_SLOW)])
def test_gradients_of_few_components_are_a_plateau(components, kind):
    g = np.linalg.norm(np.random.default_rng(1).standard_normal((T, components)), axis=1) / math.sqrt(components)
    assert diagnose_record(record_of(2 + noise(0.05), grad_norm=g, lr=1e-3)).kind == kind


@pytest.mark.parametrize("components", [1, 2, 10])
def test_gradient_q05_ratio_is_the_quantile_of_chi(components):
    g = np.linalg.norm(np.random.default_rng(0).standard_normal((40_000, components)), axis=1)
    expected = stats.chi.ppf(0.05, components) / stats.chi.ppf(0.5, components)
    assert Symptoms(record_of(np.ones(len(g)), grad_norm=g)).gradient_q05_ratio == pytest.approx(expected, rel=0.05)


def test_distance_per_weight():
    assert Symptoms(record_of(2 + noise(0.1), update_norm=0.5, weights=16)).distance_per_weight == pytest.approx(
        0.5 * T / 4
    )
    assert math.isnan(Symptoms(record_of(2 + noise(0.1))).distance_per_weight)


def test_overfitting_is_reported_after_an_explosion():
    loss = np.where(t < 20, 2.0, 0.7 - 0.2 * t / T + 60 * np.exp(-(t - 20) / 8)) + noise(0.01)
    regain = (1.5, 1.0, 0.8, 0.9, 1.2, 3.0)
    diagnosis = diagnose_record(record_of(loss, np.where(t < 60, 50.0, 0.5), batch_size="full", validation=regain))
    assert diagnosis.kinds == (OSCILLATING, OVERFITTING)


def test_the_batch_separates_noise_from_too_high_a_learning_rate():
    start = 2 * np.exp(-t / 10)
    loss = 0.8 + start + noise(0.1)
    assert diagnose_record(record_of(loss, grad_norm=2.0, lr=0.2)).kind == NOISE_LIMITED
    zigzag = 0.8 + start + 0.5 * (t % 2) * (1 - np.exp(-t / 50))
    assert diagnose_record(record_of(zigzag, grad_norm=2.0, lr=0.2, batch_size="full")).kind == OSCILLATING


def test_a_loss_that_stays_above_its_start_has_exploded():
    loss = np.concatenate([[2.0, 2.0], np.full(T - 2, 30.0)]) + noise(0.1)
    assert diagnose_record(record_of(loss, np.where(t < 5, 500.0, 2.0))).kind == EXPLODING


def test_where_batches_differ_the_initial_loss_is_the_validation_loss():
    """A batch of two happens to lose 4 at first; all lose 1 before the first step, and 1.5 at the end."""
    loss = 1.5 + noise(0.6)
    loss[0] = 4.0
    columns = {"grad_norm": 30.0, "lr": 0.2, "batch_size": 2}
    s = Symptoms(record_of(loss, validation=(1.6, 1.5), before=1.0, **columns))
    assert s.decrease == pytest.approx(-0.5, abs=0.1)
    assert s.validation_decrease == -0.5
    assert s.peak_rise < 1
    assert Symptoms(record_of(loss, **columns)).decrease > 0.5
    assert Symptoms(record_of(loss, validation=(1.6, 1.5), before=1.0, batch_size=500)).scale == loss[0]


@pytest.mark.parametrize(("end", "kind"), [(0.9, NOISE_LIMITED), (1.3, EXPLODING)])
def test_the_validation_loss_separates_noise_from_an_explosion(end, kind):
    """The batches' losses alone say the same of both."""
    diagnosis = diagnose_record(record_of(1 + noise(0.5), 30.0, 0.2, validation=(1.0, end), before=1.0, batch_size=2))
    assert diagnosis.kind == kind


def test_the_loss_has_fallen_as_far_as_on_data_not_trained_on():
    loss = np.abs(0.1 + noise(1.5))
    s = Symptoms(record_of(loss, validation=(0.3, 0.1), before=2.0, batch_size=2))
    assert s.decrease == s.validation_decrease == pytest.approx(0.95)
    assert math.isnan(Symptoms(record_of(loss, before=2.0)).validation_decrease)  # nothing was measurements since


def test_losses_that_are_not_finite_have_exploded():
    loss, g = healthy_run()
    loss[300:] = np.nan
    assert diagnose_record(record_of(loss, g)).kind == EXPLODING


def test_a_bad_batch_is_no_explosion():
    loss, g = healthy_run()
    loss[200] = np.nan
    assert diagnose_record(record_of(loss, g)).kind == HEALTHY


def test_a_rewind_is_an_explosion():
    loss, g = healthy_run()
    diagnosis = diagnose_record(record_of(loss, g, events=[Event(50, "rewind", "the loss doubled", "back to step 40")]))
    assert diagnosis.kind == EXPLODING
    assert diagnosis.sentence == "The guard rewound once: the loss doubled."
    assert diagnosis.advice.startswith("Try lr = 0.01 to 0.0033 (now 0.1)")
    assert diagnose_record(record_of(loss, g, events=[Event(50, "clip", "an outlier", "clipped")])).kind == HEALTHY


def test_overfitting_comes_first_or_beside():
    loss, g = healthy_run()
    regain = (1.5, 1.0, 0.8, 0.9, 1.2, 1.4)
    assert diagnose_record(record_of(loss, g, validation=regain)).kinds == (OVERFITTING,)
    slow = 2 - 1.2 * t / T + noise(0.01)
    assert diagnose_record(record_of(slow, lr=0.01, validation=regain)).kinds == (TOO_SLOW, OVERFITTING)


def test_a_validation_loss_that_rises_with_the_training_loss_is_no_overfitting():
    loss = np.where(t < 200, 2 * np.exp(-t / 30), 0.5 + 0.5 * t / T) + 0.1
    assert OVERFITTING not in diagnose_record(record_of(loss, validation=(1.0, 0.5, 0.3, 0.8, 1.0, 1.2))).kinds


def test_without_validation_there_is_no_regain():
    loss, g = healthy_run()
    assert math.isnan(Symptoms(record_of(loss, g)).validation_regain)


@pytest.mark.parametrize("n", [0, 1, 3, 19])
def test_a_short_run_is_undecided(n):
    diagnosis = diagnose_record(record_of(np.linspace(2, 1, n)))
    assert diagnosis.kind == TOO_SHORT
    assert str(diagnosis) == f"Too short to diagnose: {n} finite steps, 20 needed."


def test_a_run_that_goes_on_is_diagnosed_so_far():
    loss, g = healthy_run()
    words = str(diagnose_record(record_of(loss, g, steps=4000)))
    assert words.startswith("So far, after 400 of 4,000 steps. No problem found.\n  the loss fell by 97")
    assert "problem" not in words.partition("found.")[2]  # a healthy run has numbers without bounds


def test_the_evidence_stands_below_the_sentence_with_the_bounds_of_the_problem():
    diagnosis = diagnose_record(record_of(2 - 1e-3 * t / T + noise(0.01), lr=1e-5))
    first, *lines = str(diagnosis).splitlines()
    assert first.startswith("Learning rate too low: the steps were too small")
    assert lines == [f"  {indicator}" for indicator in diagnosis.evidence]
    assert lines[0].endswith("× the initial loss (problem below 14×)")
    assert diagnosis.evidence[0].value < diagnosis.evidence[0].limit
    plateau = diagnose_record(record_of(2 + noise(0.01), grad_norm=1.0, lr=0.2))
    assert "× the initial loss (problem above 14×)" in str(plateau)


def test_quotients_without_a_denominator_are_not_printed():
    """The loss never falls; the last gradients are 0."""
    never_falls = NOISE_EXCESS.indicator(Symptoms(record_of(2 + 1e-4 * t, lr=1e-5)))
    assert str(never_falls) == "loss excess from gradient noise: —"
    flat = diagnose_record(record_of(2 + 0 * t, grad_norm=np.where(t < 200, 1.0, 0.0), lr=1e-5))
    assert "largest / mean late gradient norm: —" in str(flat)
    assert not re.search(r"e\+|inf|nan", str(flat))


@pytest.mark.parametrize(
    ("share", "text"),
    [(0.9876, "98.8 %"), (453, "> 1,000 %"), (6e297, "> 1,000 %"), (-11, "< −1,000 %"), (math.nan, "—")],
)
def test_a_share_has_three_digits_and_a_cap(share, text):
    assert percent(share) == text


@pytest.mark.parametrize("done", ["the rate stays: it was the data; 3 batches from step 310 on are passed over",
                                  "lr unchanged; cause: bad data; skipping 3 batches from step 310"])  # fmt: skip
def test_a_rewind_because_of_bad_data_is_advised_as_data(done):
    loss, g = healthy_run()
    diagnosis = diagnose_record(record_of(loss, g, events=[Event(320, "rewind", "the loss doubled", done)]))
    assert diagnosis.kind == EXPLODING
    assert diagnosis.sentence == "The guard rewound once because of bad batches: the loss doubled."
    assert diagnosis.advice == "Check the data of the batches that the guard skipped: 3 batches from step 310."


@pytest.mark.parametrize(("end", "words"), [(1.9, "only 5"), (2.1, "5")])
def test_a_run_without_gain_says_where_the_loss_ends(end, words):
    loss = np.where(t < 5, 2.0, np.where(t < 100, 60.0, end))
    diagnosis = diagnose_record(record_of(loss, np.where(t < 20, 500.0, 2.0)))
    assert diagnosis.kind == EXPLODING
    side = "below" if end < 2 else "above"
    assert diagnosis.sentence.startswith(f"Large steps ruined the run: the loss ends {words}")
    assert diagnosis.sentence.endswith(f"% {side} where it began.")


def test_losses_below_zero_are_diagnosed_like_others():
    loss, g = healthy_run()
    assert diagnose_record(record_of(loss - 1.5, g)).kind == HEALTHY
    assert diagnose_record(record_of(loss - 100, g, lr=0.1)).kind == diagnose_record(record_of(loss - 100, g)).kind


def test_the_start_is_the_loss_before_the_point_moves():
    wild = np.concatenate([[2.0], np.full(T - 1, 300.0)])
    s = Symptoms(record_of(wild, grad_norm=50.0, batch_size=1))
    assert s.scale * (1 + s.max_rise) == pytest.approx(300)
    assert s.scale == pytest.approx(2)


def test_the_remaining_gain_is_measured_at_a_high_learning_rate():
    """L = 3 − b log τ gains b log 10 on ten times the way; what falls as the rate falls says nothing of it."""
    rates = 0.1 * np.where(t <= 300, 1.0, 0.1)
    way = np.cumsum(rates)
    s = Symptoms(record_of(3 - 0.2 * np.log(way / 0.1) - 0.5 * (t > 300), lr=rates, batch_size="full"))
    gain = 0.2 * math.log(10) / s.scale
    assert s.remaining_gain == pytest.approx(gain / (s.decrease + gain))


def test_a_slope_gives_the_predicted_decrease_and_chance_does_not():
    falls = Symptoms(record_of(2 - 0.5 * t / T + noise(0.01), grad_norm=1.0, lr=0.5 / T))
    assert falls.decrease_ratio == pytest.approx(1, rel=0.05)
    assert Symptoms(record_of(2 + noise(0.01), grad_norm=1.0, lr=0.1)).decrease_ratio < 1e-3


def test_the_start_ends_where_the_point_jumps():
    loss = np.where(t < 3, 2.0, 30.0)
    assert Symptoms(record_of(loss, np.where(t < 2, 1.0, 10.0), batch_size=1)).start_steps == 2


def test_batch_spread_separates_noise_from_a_divergent_step():
    loss, columns = 2.2 - 0.2 * (t < 2), {"grad_norm": np.where(t < 5, 30.0, 2.0), "lr": 0.2}
    assert diagnose_record(record_of(loss + noise(1.0), **columns)).kind == NOISE_LIMITED
    assert diagnose_record(record_of(loss + noise(0.05), **columns)).kind == EXPLODING


@pytest.mark.parametrize("beta", [0.0, 0.5, 0.9])
def test_noise_excess_is_that_of_a_parabola_at_rest(beta):
    """L = ½ w², gradient w + noise: the momentum's mean loss at rest, against ¼ κ ‖Δw‖ ‖∇L‖."""
    random, lr = np.random.default_rng(0), 0.02 * (1 - beta)
    w, v = np.zeros(4000), np.zeros(4000)
    rows = []
    for _ in range(400):
        g = w + random.standard_normal(len(w))
        v = beta * v + g
        w = w - lr * v
        rows.append((0.5 * (w**2).mean(), np.sqrt((g**2).mean()), lr * np.sqrt((v**2).mean())))
    loss, g, u = np.array(rows).T
    stages = [{"rule": "momentum", "hypers": {"beta": beta}}]
    s = Symptoms(record_of(loss, g, lr, u, rule="momentum", stages=stages))
    assert s.noise_excess * s.scale == pytest.approx(loss[-40:].mean(), rel=0.15)


# -- Real descents -----------------------------------------------------------------------------------------------------


def line(noise=0.3):
    """A linear function with noise, of ten columns."""
    random = torch.Generator().manual_seed(0)
    x = torch.randn(512, 10, generator=random)
    y = x @ torch.ones(10, 1) + noise * torch.randn(512, 1, generator=random)
    return sd.Task(lambda seed: torch.nn.Linear(10, 1), loss=mse_loss, data=(x, y), validation=(x[:64], y[:64]))


def record_of_descent(task, lr, batch_size, seed=0):
    """The record of 200 steps of gradient descent."""
    choices = {"rule": "gradient_descent", "schedule": "constant", "guard": False, "steps": 200}
    steps = list(sd.descend(task, lr=lr, batch_size=batch_size, seed=seed, **choices))
    columns = (np.array(column, float) for column in zip(*(s[:6] for s in steps), strict=True))
    config = {"rule": "gradient_descent", "lr": lr, "batch_size": batch_size, "samples": 512, "steps": 200}
    return Record("id", "name", "done", "", 0.0, Config.from_json(config), {}, Steps(*columns))


@pytest.mark.parametrize(
    ("lr", "batch_size", "kind"),
    [
        (1e-4, 32, TOO_SLOW),
        (3e-2, 32, HEALTHY),
        (2.0, 32, EXPLODING),
        (1e-4, "full", TOO_SLOW),
        (1e-1, "full", HEALTHY),
    ],
)
def test_real_descents(lr, batch_size, kind):
    assert diagnose_record(record_of_descent(line(), lr, batch_size)).kind == kind


@pytest.mark.parametrize("seed", range(5))
def test_a_noise_floor_is_found_and_a_larger_batch_ends_it(seed):
    """Of single samples L comes to rest σ² α d/(1 − α (d + 2)) above its least (Widrow and Hoff's rule, inputs normal):
    4.2 of the 10 that can be gained, for d = 10, α = 0.03 and σ = 3. Of 128 samples it is less than 0.1."""
    assert diagnose_record(record_of_descent(line(noise=3.0), 0.03, 1, seed)).kind == NOISE_LIMITED
    assert diagnose_record(record_of_descent(line(noise=3.0), 0.03, 128, seed)).kind == HEALTHY


# -- Whatever a record can be ------------------------------------------------------------------------------------------

anything = st.floats(width=64, allow_nan=True, allow_infinity=True)
configs = st.fixed_dictionaries(
    {},
    optional={
        "rule": st.sampled_from(["adam", "momentum", "stage(adam) >> stage(momentum)"]),
        "lr": st.one_of(st.none(), st.floats(1e-6, 10.0)),
        "batch_size": st.one_of(st.none(), st.just("full"), st.integers(1, 100)),
        "samples": st.one_of(st.none(), st.integers(1, 5000)),
        "weights": st.integers(0, 10),
        "metric": st.sampled_from(["loss", "accuracy"]),
        "better": st.sampled_from(["lower", "higher"]),
        "reduction": st.sampled_from([None, "sum"]),
        "steps": st.integers(1, 100),
        "stages": st.lists(st.fixed_dictionaries({"hypers": st.fixed_dictionaries({"beta": st.floats(0, 1)})})),
    },
)


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 60).flatmap(lambda n: arrays.arrays(float, (6, n), elements=anything)), configs, st.data())
def test_every_record_has_a_diagnosis(columns, config, data):
    values = data.draw(st.lists(st.tuples(anything, anything), max_size=5))
    measurements = tuple(
        Measurement(t, float(t), "validation", metric, value)
        for t, pair in enumerate(values)
        for metric, value in zip(("loss", "accuracy"), pair, strict=True)
    )
    record = Record("id", "name", "running", "", 0.0, Config.from_json(config), {}, Steps(*columns), measurements)
    assert str(sd.diagnose(record))


@pytest.mark.parametrize("column", ["loss", "grad_norm", "update_norm"])
@pytest.mark.parametrize("steps", [1, 60])
def test_numbers_near_the_largest_float_have_a_diagnosis(column, steps):
    columns = {name: np.linspace(1.0, 2.0, steps) for name in COLUMNS} | {column: np.full(steps, 1.7e308)}
    config = Config(batch_size="full", samples=2000, weights=3, steps=steps)
    assert str(sd.diagnose(Record("id", "name", "running", "", 0.0, config, {}, Steps(**columns))))


@settings(max_examples=40, deadline=None)
@given(arrays.arrays(float, 40, elements=st.floats(0.1, 10.0)), st.floats(0.01, 100.0))
def test_the_unit_of_the_loss_does_not_matter(loss, unit):
    """L → c L at rate α / c is the same descent: gradients are c times as long, steps as long as before."""
    one, other = record_of(loss, lr=0.1), record_of(unit * loss, grad_norm=unit, lr=0.1 / unit)
    assert diagnose_record(other).kinds == diagnose_record(one).kinds


# -- What no learning rate does ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("loss", "gradient"), [(math.nan, math.nan), (math.inf, math.nan), (1.03, math.nan)])
@pytest.mark.parametrize("steps", [2, 3, 144])
def test_not_finite_from_the_first_step_is_said_without_advice_on_the_rate(loss, gradient, steps):
    found = diagnose_record(record_of([loss] * steps, gradient))
    assert found.kind == NEVER_FINITE
    assert found.sentence.startswith("Not finite from step 1: ")
    assert ("the gradient" in found.sentence) == math.isfinite(loss)
    assert "lr" not in found.words()
    assert "find-lr" not in found.words()


def test_a_loss_that_becomes_infinite_later_has_exploded():
    assert diagnose_record(record_of([1.0] * 10 + [math.inf] * 100)).kind == EXPLODING
    assert diagnose_record(record_of([math.nan] + [1.0, 0.9] * 40)).kind != NEVER_FINITE  # one bad batch


def test_a_gradient_of_exactly_zero_is_no_plateau():
    found = diagnose_record(record_of([1.0, 1.1] * 40, 0.0))
    assert found.kind == NO_GRADIENT
    assert "all 80 steps" in found.sentence
    assert diagnose_record(record_of([1.0, 1.1] * 40, [0.0, 1e-12] * 40)).kind != NO_GRADIENT


class Rounded(torch.nn.Linear):
    """No gradient passes a rounding: torch gives 0, not an error."""

    def forward(self, x):
        return super().forward(x).round()


@pytest.mark.parametrize(
    ("model", "loss", "kind"),
    [
        (Rounded(3, 1), mse_loss, NO_GRADIENT),
        (torch.nn.Linear(3, 1), lambda out, y: (out - out.detach()).norm() + mse_loss(out, y), HEALTHY),
        (torch.nn.Linear(3, 1), lambda out, y: (out - out.detach()).abs().sqrt().sum(), NEVER_FINITE),
        (torch.nn.Linear(3, 1), lambda out, y: out.sum().log() * 0 / 0, NEVER_FINITE),
    ],
)
def test_of_real_descents(model, loss, kind, tmp_path):
    x = torch.randn(80, 3, generator=torch.Generator().manual_seed(0))
    run = sd.fit(
        sd.Task(model, (x, x[:, :1]), loss), "adam", 0.05, batch_size=10, epochs=10, guard=False, runs=tmp_path
    )
    assert diagnose_record(run.record).kind == kind
    assert kind == HEALTHY or run.verdict is None or str(run.verdict)


@pytest.mark.parametrize("guard", [True, False])
def test_weights_that_begin_as_nan(guard, tmp_path):
    """The run ends, its verdict and its diagnosis are read, in words."""
    x = torch.randn(80, 3, generator=torch.Generator().manual_seed(0))
    model = torch.nn.Linear(3, 1)
    torch.nn.init.constant_(model.weight, math.nan)
    task = sd.Task(model, (x, x[:, :1]), mse_loss)
    run = sd.fit(task, "adam", 0.05, batch_size=10, epochs=4, guard=guard, runs=tmp_path)
    assert run.verdict.kind == "DIVERGED"
    assert "lr" not in run.verdict.advice
    assert diagnose_record(run.record).kind == NEVER_FINITE
    run.film(tmp_path / "film.html")


# -- Faults of the loss, the labels and the metric ---------------------------------------------------------------------


def test_a_loss_that_stays_the_same_while_the_weights_move_ignores_them():
    columns = {"grad_norm": 0.0, "update_norm": 0.1, "weights": 100}
    found = diagnose_record(record_of(2 + noise(0.1), validation=(1.5, 1.5, 1.5), before=1.5, **columns))
    assert found.kind == IGNORES_WEIGHTS
    assert "lr" not in found.words()
    assert (
        diagnose_record(record_of(2 + noise(0.1), validation=(1.5, 1.6, 1.5), before=1.5, **columns)).kind
        == NO_GRADIENT
    )


@pytest.mark.parametrize(("validation", "is_mixed"), [((2.1, 2.6, 3.5), True), ((1.2, 1.6, 3.5), False)])
def test_labels_out_of_order_are_learned_by_heart_and_never_carry_over(validation, is_mixed):
    loss, g = healthy_run()
    kinds = diagnose_record(record_of(loss, g, validation=validation, before=2.0, samples=1000)).kinds
    assert (kinds == (MIXED_LABELS,)) == is_mixed
    assert (OVERFITTING in kinds) != is_mixed


@pytest.mark.parametrize("seed", [0, 1])
def test_shuffled_labels_of_a_real_descent(seed, tmp_path):
    random = torch.Generator().manual_seed(seed)
    x = torch.randn(1300, 30, generator=random)
    y = (x[:, :3].argmax(1))[torch.randperm(1300, generator=random)]
    model = torch.nn.Sequential(torch.nn.Linear(30, 256), torch.nn.ReLU(), torch.nn.Linear(256, 3))
    task = sd.Task(model, (x[:1000], y[:1000]), torch.nn.functional.cross_entropy, validation=(x[1000:], y[1000:]))
    run = sd.fit(task, "adam", 0.01, batch_size=50, epochs=25, guard=False, runs=tmp_path, seed=seed, locate=False)
    assert diagnose_record(run.record).kind == MIXED_LABELS


def test_too_few_samples_to_learn_from_are_no_labels_out_of_order(tmp_path):
    """The network learns them by heart, and what it learns holds for no others."""
    random = torch.Generator().manual_seed(0)
    x = torch.randn(160, 30, generator=random)
    y = (x[:, :3].argmax(1) + torch.randint(2, (160,), generator=random)) % 3
    model = torch.nn.Sequential(torch.nn.Linear(30, 64), torch.nn.ReLU(), torch.nn.Linear(64, 3))
    task = sd.Task(model, (x[:60], y[:60]), torch.nn.functional.cross_entropy, validation=(x[60:], y[60:]))
    run = sd.fit(task, "adam", 0.01, batch_size=10, epochs=20, guard=False, runs=tmp_path, locate=False)
    assert diagnose_record(run.record).kind != MIXED_LABELS


def test_a_network_that_an_explosion_left_at_chance_has_learned_nothing_by_heart():
    loss = np.where(t < 20, 40.0, 2.3) + noise(0.01)
    record = record_of(loss, 1.0, validation=(2.3, 2.3, 2.31, 2.3), before=2.3, samples=2000)
    assert MIXED_LABELS not in diagnose_record(record).kinds


@pytest.mark.parametrize(
    ("start", "validation", "is_forgetting"),
    [
        ("run before", (1.6, 1.4, 1.3), True),
        ("run before", (1.6, 1.2, 1.05), False),  # it comes back nearly to where it was
        ("run before", (0.9, 1.2, 1.4), False),  # it was better first: it overfits
        ("the task's", (1.6, 1.4, 1.3), False),  # weights that nobody has trained know nothing
    ],
)
def test_trained_weights_that_never_come_back_to_their_start_forget(start, validation, is_forgetting):
    loss, g = healthy_run()
    found = diagnose_record(record_of(loss, g, validation=validation, before=1.0, start=start, lr=0.1))
    assert (found.kinds == (FORGETTING,)) == is_forgetting
    assert ("was 1 before the first step, and 1.3 at best after it" in found.sentence) == is_forgetting
    assert ("lr = 0.01 to 0.001" in found.advice) == is_forgetting


@pytest.mark.parametrize(("better", "kind"), [("higher", CONTRADICTION), ("lower", HEALTHY)])
def test_a_metric_that_gets_worse_as_the_loss_falls(better, kind):
    loss, g = healthy_run()
    record = record_of(loss, g, validation=(1.5, 1.0, 0.7, 0.5), before=2.0, metric="score", better=better)
    metric = [Measurement(m.t, m.epoch, "validation", "score", m.value / 3) for m in record.measurements]
    found = diagnose_record(dataclasses.replace(record, measurements=(*record.measurements, *metric)))
    assert found.kind == kind
    assert ("score went from" in found.sentence) == (kind == CONTRADICTION)


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ((0.26, 0.0, 0.0, 0.0, 0.0), CONTRADICTION),  # as bad as it can be from the second measurement on
        ((0.95, 0.94, 0.94, 0.94, 0.94), HEALTHY),  # one of a hundred samples
        ((0.26, 0.0, 0.2, 0.0, 0.2), HEALTHY),  # it got better in between
    ],
)
def test_a_metric_that_is_soon_as_bad_as_it_can_be(values, kind):
    loss, g = healthy_run()
    record = record_of(loss, g, validation=(1.5, 1.0, 0.7, 0.5), before=2.0, metric="accuracy", better="higher")
    series = zip(record.measurements, values, strict=True)
    metric = [Measurement(m.t, m.epoch, "validation", "accuracy", value) for m, value in series]
    assert diagnose_record(dataclasses.replace(record, measurements=(*record.measurements, *metric))).kind == kind


@pytest.mark.parametrize(("fall", "kind"), [(0.18, CANNOT_TELL), (0.5, TOO_SLOW)])
def test_too_slow_needs_a_loss_that_follows_the_steps(fall, kind):
    """The steps predict a decrease of 4.5: 4 % of it came true, or 11 %."""
    found = diagnose_record(record_of(2 - fall * t / T + noise(0.005), lr=4.5 / T))
    assert found.kind == kind
    assert "find-lr" in found.advice
    assert ("Try lr" in found.advice) == (kind == TOO_SLOW)


def test_a_rate_that_is_too_low_for_sure_is_never_left_open():
    """4 % of the prediction came true here too, but the steps predict less than the initial loss."""
    assert diagnose_record(record_of(2 - 0.04 * t / T + noise(0.001), lr=1.0 / T)).kind == TOO_SLOW


def test_a_run_that_exploded_first_has_no_labels_out_of_order(tmp_path):
    """Adam with a learning rate of 1 on right labels: it learns them by heart from far away."""
    random = torch.Generator().manual_seed(0)
    x = torch.randn(1200, 20, generator=random)
    y = x[:, :4].argmax(1)
    model = torch.nn.Sequential(torch.nn.Linear(20, 32), torch.nn.ReLU(), torch.nn.Linear(32, 4))
    task = sd.Task(model, (x[:1000], y[:1000]), torch.nn.functional.cross_entropy, validation=(x[1000:], y[1000:]))
    run = sd.fit(task, "adam", 1.0, "constant", "full", steps=300, guard=False, runs=tmp_path, locate=False)
    assert diagnose_record(run.record).kind != MIXED_LABELS
