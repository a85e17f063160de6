"""Films from records: no network, no store."""

import json
from dataclasses import replace

import numpy as np
import pytest

from steepest.records.config import Config
from steepest.records.run import Event, History, Measurement, Path, Record, Steps
from steepest.records.search import Curve, RaceResult
from steepest.records.surfaces import Axis, Grid, LossSurfaces, Mark, Projection
from steepest.records.verdict import Number, Verdict
from steepest.view.film import document, film
from steepest.view.film.schema import FilmEvent

CONFIG = Config.from_json({
    "stages": [{"rule": "adam", "hypers": {"beta1": 0.9}}], "lr": 3e-3, "schedule": "warmup(5%) >> cosine",
    "batch_size": 64, "weights": 26122, "metric": "accuracy", "steps": 60,
})  # fmt: skip


def steps(n, loss=None):
    t = np.arange(1.0, n + 1)
    return Steps(t, t / 20, np.full(n, 3e-3), 1 / t if loss is None else loss, np.ones(n), np.ones(n))


def history(n=60, loss=None, **given):
    events = (Event(30, "rewind", "diverging since 28", "went back to step 20"), Event(40, "clip", "38 σ", "clipped"))
    measured = (Measurement(20, 1.0, "validation", "loss", 0.5), Measurement(40, 2.0, "validation", "accuracy", 0.9))
    record = Record("digits-1", "digits", "done", "", 1.0, CONFIG, {}, steps(n, loss), measured, events)
    return History(
        Record(**{**vars(record), **given}),
        {30: 20},
        Path("digits", np.zeros((3, 2)), np.ones(3), np.array([0, 30, 60])),
    )


def ground():
    axis = Axis("component 1", -1, 1, 3)
    loss = np.array([[1, 2, np.inf], [np.nan, 0.5, 1], [1, 1, 1]])
    grid = Grid("principal", axis, axis, loss, None, "words", marks=(Mark("saddle", 0, 0, 0.5, "saddle"),))
    shadow = Projection(np.array([0.0, 0.1]), np.array([1.0, 0.2]), np.array([3.0, 0.0]))
    kept = np.array([0, 2])
    return LossSurfaces({"principal": grid}, {"principal": {"digits-1": shadow}}, {"digits-1": np.array([2.0, 0.5])},
                  {"digits-1": kept}, np.array([0.1, 4.0]))  # fmt: skip


def test_a_run():
    verdict = Verdict("SADDLE", "At a saddle.", "Train on: `steepest`.")
    made = film.of_run(history(), ground(), verdict)
    assert (made.kind, made.title, made.steps, made.live) == ("run", "digits", 60, False)
    assert made.subtitle == "26,122 weights · adam · lr 0.003 · warmup(5%) >> cosine · batch 64 · seed 0"
    assert made.headline == "90.0 % validation accuracy, after the loss exploded once."
    why, todo = made.advice.split("\n")
    assert why == "It exploded at a learning rate of 0.0030. The guard went back and undid 10 of 60 steps."
    assert todo == "Next time: `--lr 0.0003`, or let it be measured: `--lr auto`."
    (member,) = made.members.values()
    assert (member.name, member.rule, member.hyper) == ("digits", "adam", {"beta1": 0.9, "lr": 3e-3})
    assert member.mathml.startswith("<math")
    assert member.eigenvalues == (0.1, 4.0)
    assert member.verdict == verdict
    rewind, clip, end = member.events
    assert (end.t, end.kind, end.text) == (60, "end", "finished")
    assert rewind == FilmEvent(
        30, "rewind", "went back to step 20: diverging since 28", 20, "diverging since 28", "went back to step 20"
    )
    assert (clip.seen, clip.done, clip.step) == ("38 σ", "clipped", 30)
    assert member.attempts == ((0, 20, True), (20, 30, False), (30, 60, True))
    assert member.result == (("Validation accuracy", "90.0 %", ""), ("Train loss", "0.018", "validation 0.50"))
    assert clip.to is None
    assert set(member.curves) == {"loss", "lr", "grad_norm", "held_out", "metric"}
    assert member.metric == ("accuracy", "%", "lower", None)
    assert member.curves["held_out"].mid.tolist() == [0.5]
    assert member.t.tolist() == [0, 60]
    assert member.loss.tolist() == [2.0, 0.5]
    assert member.on["principal"].off.tolist() == [3, 0]
    assert made.surfaces["principal"].marks[0].kind == "saddle"
    np.testing.assert_array_equal(made.surfaces["principal"].loss, ground().grids["principal"].loss)
    json.dumps(document.encode(made), allow_nan=False)


def test_a_run_without_surfaces_has_its_curves():
    (member,) = film.of_run(history()).members.values()
    assert member.on == {}
    assert len(member.curves["loss"].t) == 60


def test_a_run_that_goes_on():
    made = film.of_run(history(30, status="running"), live=True)
    assert made.live
    assert made.steps == 60 + 10  # ten were done twice
    assert made.headline == "90.0 % validation accuracy at step 20 of 60."
    assert made.advice == ""


@pytest.mark.parametrize(
    ("status", "words"), [("done", "after 60 steps"), ("interrupted",) * 2, ("failed", "failed at step 60 of 60")]
)
def test_a_run_without_a_verdict(status, words):
    made = film.of_run(replace(history(status=status, events=()), back={}))
    assert made.headline.startswith(f"90.0 % validation accuracy, {words}")


def test_the_page_gets_the_numbers_that_it_has_room_for():
    given = (
        Number("loss", 1, 1, 1),
        Number("smallest Hessian eigenvalue", -0.83, -0.9, -0.8, words="held back"),
        Number("noise scale", np.inf, 20, np.inf, 64),
        Number("sharpness", 300, 290, 310, 500, "2 / lr"),
    )
    shown = document.quantities(Verdict("SADDLE", "", "", given))
    assert [n.name for n in shown] == ["λ_min", "λ_P"]
    assert [n.reference for n in shown] == [0, 500]


@pytest.mark.parametrize("n", [1, 7, 4096, 4097, 1_000_003])
def test_no_spike_is_lost(n):
    random = np.random.default_rng(n)
    values = np.exp(0.1 * random.normal(size=n))
    spikes = random.choice(n, min(n, 20), replace=False)
    values[spikes] = 50 + np.arange(len(spikes))
    curve = film.run_series(np.arange(1.0, n + 1), values, log=True)
    t, lo, hi, mid = curve.t, curve.lo, curve.hi, curve.mid
    assert len(t) == len(lo) == len(hi) == len(mid) <= 4096
    assert set(hi[hi >= 50]) <= set(values[spikes])
    for spike in spikes:
        assert hi[np.searchsorted(t, spike + 1, "right") - 1] >= values[spike]
    assert (lo <= hi).all()
    assert (np.diff(t) > 0).all()
    if n > 100:
        assert mid.max() < 2


def test_what_is_no_number_is_a_gap_and_infinity_is_above_all():
    curve = film.run_series(np.arange(5.0), np.array([1, np.nan, np.inf, 2, 1]), log=True, window=1)
    for values in (curve.lo, curve.mid, curve.hi):
        np.testing.assert_array_equal(values, [1, np.nan, np.inf, 2, 1])


def test_one_nan_in_a_long_run_is_a_gap():
    values = np.ones(10_000)
    values[7001] = np.nan
    curve = film.run_series(np.arange(1.0, 10_001), values, log=True)
    (bucket,) = np.flatnonzero(np.isnan(curve.mid))
    assert curve.t[bucket] <= 7002 < curve.t[bucket + 1]
    assert curve.hi[bucket] == 1


def contest(claimed=True):
    t = np.array([10, 20, 30])
    ends = {"adam": (0.2, 0.1, 0.3), "momentum": (0.5, 0.4, 0.6)}
    curves = tuple(
        Curve(side, seed, 0.1, t, np.array([1.0, 0.7, end]), np.empty(0), 1e-3)
        for side, mine in ends.items() for seed, end in enumerate(mine)
    )  # fmt: skip
    words = "adam's final loss is 0.4× that of momentum"
    numbers = "(95 % interval 0.3 to 0.5; 3 seeds each; p = 0.001)"
    none = "No difference detected in final loss (3 seeds each)."
    verdict = f"{words} {numbers}. More. {none}" if claimed else none
    paths = tuple(Path(film.path_name(c), np.zeros((2, 4)), np.zeros(2), np.array([0, 30])) for c in curves)
    return RaceResult(("adam", "momentum"), curves, 0.5, True, (), verdict, "", 0, paths)


def test_a_race():
    shadow = Projection(np.zeros(2), np.zeros(2), np.zeros(2))
    names = ["adam, seed 0", "momentum, seed 0"]
    found = LossSurfaces(ground().grids, {"principal": dict.fromkeys(names, shadow)}, dict.fromkeys(names, np.ones(2)),
                   dict.fromkeys(names, np.arange(2)))  # fmt: skip
    made = film.of_race(contest(), found, "digits")
    assert made.kind == "race"
    assert made.headline == "adam's final loss is 0.4× that of momentum."
    assert "seed 0 of 3" in made.advice
    assert list(made.members) == ["adam", "momentum"]
    momentum = made.members["momentum"]
    assert momentum.t.tolist() == [0, 30]
    assert momentum.hyper == {"lr": 0.1}
    assert momentum.events == (FilmEvent(30, "target", "reached a loss of 0.5"),)


def test_the_seed_in_the_middle_is_shown_of_every_side():
    assert {curve.seed for curve in film.display_runs(contest()).values()} == {0}
    assert film.of_race(contest(claimed=False)).headline == ("adam and momentum: no difference detected in final loss.")


def test_a_film_is_one_page(tmp_path):
    made = film.of_run(history(), ground(), Verdict("SADDLE", "</script> < a saddle", ""))
    html = document.write(made, tmp_path / "film.html").read_text()
    text = html.split('id="film">')[1].split("</script>")[0]
    assert json.loads(text) == document.encode(made)
