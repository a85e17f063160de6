"""A verdict in the light of the run's record."""

from dataclasses import replace

import numpy as np
import pytest

from steepest.analysis.conclusion import conclude, run_verdict
from steepest.records.config import Config
from steepest.records.run import COLUMNS, Event, Record, Steps
from steepest.records.verdict import DESCENDING, DIVERGED, UNDECIDED, Number, Verdict

T = 400
t = np.arange(1.0, T + 1)
STATIONARY = Verdict(
    UNDECIDED, "Stationary: no step tried lowers the loss (0.05) measurably.", "Run `steepest locate RUN`."
)


def record(loss, g=1.0, lr=0.1, events=(), **config):
    g = np.broadcast_to(g, T).astype(float)
    noise = 0.001 * np.random.default_rng(0).standard_normal(T)
    steps = Steps(t, t, np.full(T, lr), loss + noise, g, lr * g)
    config = {"lr": lr, "batch_size": 32, "samples": 1000, "steps": T, **config}
    return Record("digits-28b7", "digits", "done", "", 0.0, Config(**config), {}, steps, (), tuple(events))


FELL = record(0.05 + 1.95 * np.exp(-t / 40), np.sqrt(49 * np.exp(-t / 40)) + 0.3)


def test_a_healthy_run_whose_loss_fell_has_converged():
    verdict = conclude(STATIONARY, FELL)
    assert verdict.headline == "Converged"
    assert verdict.sentence == "Converged: no step tried lowers the loss (0.05) measurably."
    assert verdict.kind == UNDECIDED
    assert verdict.advice == "Run `steepest locate digits-28b7`."


def test_a_run_that_gained_nothing_has_not_converged():
    """A network whose units are all inactive: the loss stays where it began."""
    verdict = conclude(STATIONARY, record(2 + 0 * t, lr=0.2))
    assert verdict.headline == "Stationary"
    assert verdict.sentence.endswith("Stuck on a plateau: the steps were large enough, but the loss did not change.")
    assert verdict.advice.startswith("Check the start")


def test_a_rewind_is_named():
    rewind = Event(50, "rewind", "the loss doubled", "back to step 40")
    verdict = conclude(STATIONARY, replace(FELL, events=(rewind,)))
    assert verdict.sentence.endswith("The guard rewound once: the loss doubled.")


def test_a_run_whose_loss_rose_tenfold_has_diverged():
    descending = Verdict("DESCENDING", "Still descending: …", "Train longer.")
    verdict = conclude(descending, record(1 + 40 * np.minimum(1, t / 200)))
    assert (verdict.kind, verdict.headline) == ("DIVERGED", "Diverged")
    assert verdict.sentence.endswith("times as high as it began.")
    assert verdict.advice.startswith("Restart with a lower lr")
    ruined = conclude(descending, record(1 + 4 * np.minimum(1, t / 200)))
    assert ruined.kind == "DESCENDING"
    assert ruined.sentence.startswith("Still descending: … Large steps ruined the run")
    assert ruined.advice.startswith("Try lr = 0.01")


@pytest.mark.parametrize("steps", [0, 1, 3, T])
@pytest.mark.parametrize("loss", [np.nan, np.inf])
def test_a_run_that_never_was_finite_keeps_its_kind(steps, loss):
    """NaN weights or data: there is no finite step that a rise could be measured from."""
    whole = record(np.full(T, loss), np.nan)
    few = Steps(*(getattr(whole.steps, name)[:steps] for name in COLUMNS))
    verdict = replace(STATIONARY, kind=DIVERGED, sentence="Diverged: the weights are not finite.")
    for one in (verdict, replace(STATIONARY, sentence="Still descending: one step lowers the loss.")):
        assert conclude(one, replace(whole, steps=few)).kind == one.kind
    headline = "Not finite from step 1" if steps else STATIONARY.headline
    assert conclude(STATIONARY, replace(whole, steps=few)).headline == headline
    if steps:
        assert "lr" not in conclude(verdict, replace(whole, steps=few)).advice
        assert "Not finite from step 1" in conclude(verdict, replace(whole, steps=few)).sentence


def test_other_verdicts_keep_their_words():
    verdict = Verdict("SADDLE", "At a saddle: …", "Train on.")
    assert conclude(verdict, FELL) == verdict


def test_a_run_without_a_verdict_has_none():
    assert run_verdict(FELL) is None


# -- Verdicts of version 0.1 -------------------------------------------------------------------------------------------

OLD = {
    "kind": UNDECIDED,
    "sentence": "No step that was tried lowers the loss of 0.02184 clearly: undecided.",
    "advice": "A short look cannot tell a minimum: `steepest locate RUN` looks longer.",
    "numbers": [
        ["loss", 0.02, 0.01, 0.03, None, "on samples"],
        ["noise scale", float("inf"), 74.0, float("inf"), 64.0, ""],
    ],
    "products": 48,
}


def test_a_stored_verdict_of_before_opens_with_its_words_and_the_new_labels():
    verdict = run_verdict(replace(FELL, verdict=Verdict.of(OLD)))
    assert verdict.headline == "Stationary"
    assert verdict.sentence == OLD["sentence"]
    assert verdict.advice.endswith("`steepest locate digits-28b7` looks longer.")
    assert verdict.number("training loss").value == 0.02
    assert "  noise scale ≥ 74 (your batch: 64)" in str(verdict)
    assert Verdict.of(verdict.describe()) == verdict


def test_an_old_label_still_finds_its_number_and_warns():
    with pytest.warns(DeprecationWarning, match="'loss' is now called 'training loss'"):
        assert Verdict.of(OLD).number("loss").value == 0.02


def test_the_trend_begins_where_the_objective_changed():
    """A fall from a level that another objective had set tells nothing of what longer training gains."""
    number = Number("training loss", 1.0, 0.99, 1.01)
    changed = record(np.where(t < 150, 0.9, 1 + 40 * np.exp(-(t - 150) / 15)))
    accept = Event(152, "accept", "loss rising", "new level accepted")
    verdict = replace(STATIONARY, numbers=(number,))
    runs = {is_known: replace(changed, events=(accept,) * is_known) for is_known in (False, True)}
    longer = {is_known: conclude(verdict, run).ending.longer.value for is_known, run in runs.items()}
    assert abs(longer[True]) < 0.05 < longer[False]


def test_a_run_that_was_never_finite_is_not_descending_on_the_few_samples_that_are():
    """A log of 0 in each batch; the samples of the look have none."""
    descending = Verdict(DESCENDING, "Still descending: one gradient step lowers the training loss.", "Train longer.")
    verdict = conclude(descending, record(np.full(T, np.inf), g=np.nan))
    assert (verdict.headline, verdict.ending) == ("Not finite from step 1", None)
    assert "descending" not in verdict.sentence
    assert "Look for NaN" in verdict.advice
