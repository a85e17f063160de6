"""What a film says of a run: never an end that was not, never advice against the verdict, no more digits than hold."""

from dataclasses import replace

import numpy as np
import pytest

from steepest.records.run import Event, Measurement
from steepest.records.surfaces import LossSurfaces
from steepest.records.verdict import VERDICT_HEADLINES, Number, Verdict
from steepest.view.film import attempts, film, metrics, moment, quantities
from tests.view.film.test_film import CONFIG, history, steps

ACCURACIES = [100, 130, 140]


def measured(n: int = 60, counts=ACCURACIES, **config):
    """A run of n steps, and of 144 validation samples of which so many were right."""
    at = np.linspace(0, n, len(counts)).astype(int).tolist()
    values = [Measurement(t, t / 20, "validation", "accuracy", count / 144) for t, count in zip(at, counts)]
    values += [Measurement(t, t / 20, "validation", "loss", 0.5 - t / 1000) for t in at]
    values.append(Measurement(n, n / 20, "test", "accuracy", 352 / 360))
    chosen = {"validation_samples": 144, "test_samples": 360, "better": "higher", **config}
    whole = history(n, events=(), measurements=tuple(values), config=replace(CONFIG, **chosen))
    return replace(whole, back={})


def said(made):
    return film.of_run(made).headline


VERDICTS = {
    kind: Verdict(kind, f"{words}, as it is.", "Do this: `steepest x`.") for kind, words in VERDICT_HEADLINES.items()
}


@pytest.mark.parametrize("kind", VERDICTS)
def test_a_headline_has_the_metric_and_the_end_in_twelve_words(kind):
    made = film.of_run(measured(), verdict=VERDICTS[kind])
    assert len(made.headline.split()) <= 12
    assert ("converged" in made.headline) is False  # a verdict says that itself
    if kind != "DIVERGED":
        assert made.headline.startswith("97.2 % validation accuracy, ")
    assert made.advice.split("\n")[-1] == "Do this: `steepest x`."


def test_converged_is_said_where_the_verdict_says_it():
    verdict = Verdict("UNDECIDED", "Converged, as far as a quick check can tell: no step lowers the loss.", "Look.")
    made = film.of_run(measured(), verdict=verdict)
    assert made.headline == "97.2 % validation accuracy, and training has converged."
    assert made.advice == "As far as a quick check can tell: no step lowers the loss.\nLook."


def rewound(*events, back, n=60):
    return replace(measured(n), back=back, record=replace(measured(n).record, events=events))


def test_explosions_are_counted_and_bad_batches_are_not_the_rate():
    once = rewound(Event(30, "rewind", "loss rising", "rewound to step 20; lr × 0.125"), back={30: 20})
    assert said(once) == "97.2 % validation accuracy, after the loss exploded once."
    data = rewound(Event(30, "rewind", "loss rising", "rewound to step 20; cause: bad data"), back={30: 20})
    made = film.of_run(data, verdict=VERDICTS["UNDECIDED"])
    assert made.headline == "97.2 % validation accuracy, after bad batches were undone once."
    assert "--lr" not in made.advice


@pytest.mark.parametrize(
    ("loss", "words"),
    [
        (np.full(60, np.nan), "The loss was never a finite number."),
        (np.where(np.arange(60) < 40, 1.0, np.nan), "The loss is not a finite number from step 41 on."),
        (np.where(np.arange(60) < 40, 1.0, np.inf), "The loss is not a finite number from step 41 on."),
        (np.where(np.arange(60) == 40, np.nan, 1.0), "97.2 % validation accuracy, after 60 steps."),
    ],
)
def test_a_loss_that_is_no_number(loss, words):
    made = measured()
    made = replace(made, record=replace(made.record, steps=steps(60, loss)))
    assert said(made) == words
    (member,) = film.of_run(made).members.values()
    np.testing.assert_array_equal(np.isnan(member.curves["loss"].mid), np.isnan(loss))


def test_results_have_the_interval_of_a_share_of_samples_only():
    (member,) = film.of_run(measured()).members.values()
    assert member.result == (
        ("Validation accuracy", "97.2 %", "93 – 99 %, 140 of 144"),
        ("Test accuracy", "97.8 %", "352 of 360"),
        ("Train loss", "0.018", "validation 0.44"),
    )
    unknown = film.of_run(measured(validation_samples=None)).members["run"]
    assert unknown.metric == ("accuracy", "%", "higher", None)
    assert unknown.result[0] == ("Validation accuracy", "97.2 %", "")
    odd = film.of_run(measured(counts=[100.3, 130.7])).members["run"]
    assert odd.metric.samples is None


def test_a_run_without_a_metric_is_told_by_its_loss():
    made = measured(metric="loss", better="lower")
    assert said(made) == "Validation loss 0.44, after 60 steps."
    member = film.of_run(made).members["run"]
    assert member.metric is None
    assert set(member.metrics) == {"metric accuracy"}
    bare = replace(made, record=replace(made.record, measurements=()))
    assert said(bare) == "Train loss 0.018, after 60 steps."


def test_every_metric_has_a_curve():
    made = measured()
    more = tuple(Measurement(t, 0.0, "validation", "f1_score", t / 100) for t in (0, 60))
    made = replace(made, record=replace(made.record, measurements=(*made.record.measurements, *more)))
    member = film.of_run(made).members["run"]
    assert member.curves["metric f1_score"].mid.tolist() == [0, 0.6]
    assert member.metrics["metric f1_score"] == ("f1_score", "", "", None)


@pytest.mark.parametrize("value", [1e-9, 1e9, -3.0, 0.0])
def test_values_of_any_size_are_short(value):
    info = metrics.MetricInfo("rmse", "", "lower", None)
    assert len(metrics.metric_text(info, value)) <= 10
    assert len(metrics.loss_text(value)) <= 10


def test_a_sum_over_samples_is_told_per_sample():
    made = measured(reduction="sum", samples=1000)
    member = film.of_run(made).members["run"]
    assert member.result[2] == ("Train loss", "0.00028", "validation 0.0031")


def test_attempts_cover_all_steps_and_nested_rewinds_undo_both():
    spans = attempts.split(100, {40: 30, 60: 10, 80: 70})
    assert (spans[0].first, spans[-1].last) == (0, 100)
    assert all(a.last == b.first for a, b in zip(spans, spans[1:]))
    assert attempts.final_length(spans) == attempts.own_step(100, {40: 30, 60: 10, 80: 70}) == 40
    kept = {t for a in spans if a.is_kept for t in range(a.first + 1, a.last + 1)}
    assert kept == {*range(1, 11), *range(61, 71), *range(81, 101)}


def test_a_moment_tells_no_end():
    member = film.of_run(measured()).members["run"]
    assert moment.headline_at(member, 45, 60) == "90.3 % validation accuracy at step 30 of 60"
    assert moment.headline_at(
        film.replace(member, curves={**member.curves, "metric": member.curves["lr"]}), 0.5, 60
    ) == ("Step 0 of 60")
    validation, test, train = moment.results_at(member, 45)
    assert validation == ("Validation accuracy", "90.3 %", "at step 30")
    assert test == ("Test accuracy", "—", "at the end")
    assert train.detail == "validation 0.47"
    assert moment.results_at(member, 60) == member.result


def reading(verdict, name):
    return next(q for q in quantities.quantities(verdict, "adam") if q.title == name)


def test_readings_agree_with_the_verdict():
    slope = Number("‖∇L‖², noise removed", 0.01, 0.002, 0.03)
    gain = Number("decrease by the best gradient step", 0.0017, 0.0012, 0.0021), Number("training loss", 0.0213, 0, 0)
    down = reading(Verdict("DESCENDING", "", "", (slope, *gain)), "Slope")
    assert (down.display, down.words, down.state) == ("not zero", "one more step lowers the loss by 8.0 %", "act")
    still = reading(Verdict("UNDECIDED", "", "", (slope,)), "Slope")
    assert (still.words, still.state) == ("but no step along it lowers the loss measurably", "ok")
    bent = Number("smallest Hessian eigenvalue", -0.83, -0.88, -0.78)
    assert reading(Verdict("SADDLE", "", "", (bent,)), "Smallest curvature").state == "act"
    assert reading(Verdict("UNDECIDED", "", "", (bent,)), "Smallest curvature").state == "ok"


@pytest.mark.parametrize(
    ("share", "display", "state"),
    [
        (0.002, "0.2 % of the limit", "ok"),
        (0.61, "61 % of the limit", "ok"),
        (0.97, "97 % of the limit", "act"),
        (3, "300 % of the limit", "act"),
    ],
)
def test_stability_is_a_share_of_the_limit(share, display, state):
    found = reading(Verdict("UNDECIDED", "", "", (Number("sharpness", 500 * share, 0, 0, 500),)), "Stability")
    assert (found.display, found.state) == (display, state)


def test_all_numbers_of_a_verdict_stand_in_one_order():
    numbers = [Number(name, 1.0, 0.5, 1.5, 64) for name in reversed(quantities.SYMBOLS) if "sq" not in name]
    titles = [q.title for q in quantities.quantities(Verdict("UNDECIDED", "", "", tuple(numbers)))]
    assert list(dict.fromkeys(titles)) == [
        "Slope", "Smallest curvature", "Largest curvature", "Stability", "Useful batch size",
    ]  # fmt: skip


def of(values, samples=120, name="error"):
    """What is known of a metric with these values."""
    measurements = tuple(Measurement(t, float(t), "validation", name, v) for t, v in enumerate(values))
    config = replace(CONFIG, metric=name, validation_samples=samples)
    return metrics.metric_info(history(3, events=(), measurements=measurements, config=config).record, name)


def test_a_loss_is_no_percentage_even_where_it_is_a_share_of_the_samples():
    assert (of([0.7, 0.5]).unit, of([0.7, 0.5]).samples) == ("%", 120)
    assert (of([0.7, 0.5], name="loss").unit, of([0.7, 0.5], name="loss").samples) == ("", None)


def test_a_number_near_a_share_of_the_samples_is_no_percentage():
    """One evaluation of another metric is near a whole number of samples now and then: no reason to call it a share."""
    assert of([0.7001]).unit == ""
    assert of([0.7001], name="accuracy").unit == "%"
    assert sum(of([value]).unit == "%" for value in np.random.default_rng(0).random(1000)) <= 1


@pytest.mark.parametrize(("values", "unit"), [([0.3], ""), ([0.3, 0.5, 0.7], "%")])
def test_with_many_samples_more_evaluations_must_be_shares_of_them(values, unit):
    assert of(np.float32(values).tolist(), 60_000).unit == unit


def test_a_film_without_surfaces_says_why():
    why = ("No curvature plane: the loss must be finite to measure curvature, got nan", "No path: none was stored.")
    made = film.of_run(measured(), LossSurfaces(messages=why))
    assert made.no_surface == f"{why[0]}. {why[1]}"
    assert film.of_run(measured()).no_surface == ""  # none was tried: the page says how
