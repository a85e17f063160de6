"""The best point, its metric, patience, and how often they are measured."""

import copy
import math

import pytest
import torch
from torch import nn
from torch.nn.functional import mse_loss
from torch.utils.data import IterableDataset
from typer.testing import CliRunner

import steepest as sd
from steepest.cli import app
from steepest.records.config import Config


def overfits(metrics=None, model=None):
    """Few noisy samples: the validation loss falls and rises again."""
    torch.manual_seed(0)
    x, other = torch.randn(30, 10), torch.randn(200, 10)
    y, clean = (z[:, :1] + (0.5 * torch.randn(len(z), 1) if len(z) == 30 else 0) for z in (x, other))
    net = model or nn.Sequential(nn.Linear(10, 64), nn.ReLU(), nn.Linear(64, 1))
    return sd.Task(net, (x, y), mse_loss, validation=(other, clean), metrics=metrics, name="small")


def fit(task, runs, **given):
    defaults = {"rule": "adam", "lr": 0.02, "schedule": "constant", "batch_size": 10, "epochs": 20, "locate": False}
    return sd.fit(task, **{**defaults, **given}, runs=runs)


def measure(run, task, function):
    x, y = task.validation
    with torch.no_grad():
        return float(function(run.model.eval()(x), y))


def largest_error(output, target):
    return (output - target).abs().max().item()


@pytest.mark.parametrize("metric", ["loss", "error", "r2"])
@pytest.mark.parametrize("choice", [{"keep": "best"}, {"keep": "best", "stop_after": 3}, {"average": 0.9}, {}], ids=str)
def test_the_metric_is_that_of_the_model_that_is_left(metric, choice, tmp_path, capsys):
    def r2(output, target):
        return 1 - (mse_loss(output, target) / target.var(correction=0)).item()

    function = {"loss": mse_loss, "error": largest_error, "r2": r2}[metric]
    kind = sd.metric(function, better="lower" if metric == "error" else "higher")
    task = overfits(None if metric == "loss" else {metric: kind})
    run = fit(task, tmp_path, **choice)
    values = [m.value for m in run.metrics if m.name == metric and m.t > 0]
    if "keep" in choice:
        assert run.metric == (max if metric == "r2" else min)(values) != values[-1]
        assert f"validation {metric} " in capsys.readouterr().err.split("Restored the best weights")[1]
    assert run.metric == pytest.approx(measure(run, task, function), rel=1e-5)
    stored = sd.open(run.id, tmp_path)
    assert stored.metric == run.metric
    shown = CliRunner().invoke(app, ["runs", "--runs", str(tmp_path)], env={"COLUMNS": "200"}).output
    assert f"{run.metric:.3g}" in shown
    assert f"{run.metric:.3g}" in sd.compare(run, fit(task, tmp_path, epochs=1)).sentence


def test_a_longer_run_has_its_own_best(tmp_path):
    task = overfits()
    run = fit(task, tmp_path, keep="best", epochs=2)
    longer = sd.resume(run, epochs=20)
    assert longer.record.config.end_step > run.record.config.end_step
    assert longer.metric == min(m.value for m in longer.metrics if m.t > 0)


def test_the_best_has_its_buffers_and_extra_state(tmp_path):
    class Counted(nn.Sequential):
        calls = 0

        def forward(self, x):
            self.calls += self.training
            return super().forward(x)

        def get_extra_state(self):
            return {"calls": self.calls}

        def set_extra_state(self, state):
            self.calls = state["calls"]

    task = overfits(model=Counted(nn.Linear(10, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Linear(64, 1)))
    run = fit(task, tmp_path, keep="best")
    end = run.record.config.end_step
    assert task.model.calls == end < 60
    assert task.model[1].num_batches_tracked == end


# -- NaN ---------------------------------------------------------------------------------------------------------------


def values_in_turn(*values):
    """A metric with given values, the one before the first step included; the last one is repeated."""
    left = list(values)
    return lambda output, target: left.pop(0) if len(left) > 1 else left[0]


@pytest.mark.parametrize("better", ["higher", "lower"])
def test_nan_is_no_improvement(better, tmp_path):
    nan = math.nan
    metric = sd.metric(values_in_turn(nan, nan, 3.0, nan, 3.0, nan), better=better)
    run = fit(overfits({"m": metric}), tmp_path, keep="best", stop_after=3)
    assert (run.status, len(run.losses), run.record.config.end_step, run.metric) == ("stopped", 15, 6, 3.0)
    assert run.events[-1].done == "stopped early; best 3 at step 6"


def test_nan_alone(tmp_path, capsys):
    task = overfits({"m": sd.metric(values_in_turn(math.nan), better="higher")})
    run = fit(task, tmp_path, keep="best", stop_after=3)
    assert (run.status, len(run.losses)) == ("stopped", 9)
    assert run.events[-1].done == "stopped early; every one was NaN"
    assert "Every measurement of m was NaN, so the last weights are kept." in capsys.readouterr().err
    assert math.isnan(run.metric)
    assert torch.equal(run.point, torch.cat([p.flatten() for p in task.model.parameters()]))


# -- measure_every -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("every", "expected"),
    [
        (None, [0, 3, 6, 9, 12]),
        (5, [0, 5, 10, 12]),
        ("5", [0, 5, 10, 12]),
        ("2 epochs", [0, 6, 12]),
        ("25%", [0, 3, 6, 9, 12]),
        ("0.5 epochs", [0, 2, 4, 6, 8, 10, 12]),
        (100, [0, 12]),
    ],
)
def test_when_it_is_measured(every, expected, tmp_path):
    run = fit(overfits(), tmp_path, epochs=4, measure_every=every)
    assert [m.t for m in run.metrics] == expected
    assert run.record.config.measure_every == every
    assert [m.t for m in sd.resume(run, epochs=5).metrics][: len(expected) - 1] == expected[:-1]


def test_data_without_a_length_is_measured_every_twentieth(tmp_path):
    class Stream(IterableDataset):
        def __iter__(self):
            g = torch.Generator().manual_seed(0)
            while True:
                x = torch.randn(8, 10, generator=g)
                yield x, x[:, :1]

    held = torch.randn(20, 10)
    task = sd.Task(nn.Linear(10, 1), Stream(), mse_loss, validation=(held, held[:, :1]), name="stream")
    run = fit(task, tmp_path, batch_size=None, epochs=None, steps=60, stop_after=4, lr=1e-12)
    assert run.status == "stopped"
    assert [m.t for m in run.metrics] == [0, 3, 6, 9, 12, 15][: len(run.metrics)]
    with pytest.raises(sd.InputError, match="measure_every='2 epochs' needs data with a length"):
        fit(task, tmp_path, batch_size=None, epochs=None, steps=60, measure_every="2 epochs")


@pytest.mark.parametrize("every", [0, -1, 2.5, True, "often", "200%"])
def test_another_interval_is_refused(every, tmp_path):
    with pytest.raises(sd.InputError, match="measure_every: a"):
        fit(overfits(), tmp_path, measure_every=every)


def test_patience_without_a_measurement_is_refused(tmp_path):
    with pytest.raises(sd.InputError, match="stop_after=2 needs a measurement before the last step, got one every 60"):
        fit(overfits(), tmp_path, stop_after=2, measure_every=60)


def test_what_comes_too_late_to_act_is_said(tmp_path, capsys):
    fit(overfits(), tmp_path, epochs=3, stop_after=2)
    assert "No effect" not in capsys.readouterr().err
    fit(overfits(), tmp_path, epochs=3, stop_after=3)
    assert (
        "No effect in this run: stop_after=3, since it is measured 2 times before its end." in capsys.readouterr().err
    )
    fit(overfits(), tmp_path, epochs=1, schedule="plateau(0.5, patience=0)")
    assert "No effect in this run: a plateau, since it is measured 0 times before its end." in capsys.readouterr().err


def test_a_plateau_counts_measurements(tmp_path):
    """Of a loss that never falls: the factor is halved at the second measurement without improvement, and so on."""
    task = overfits(model=nn.Linear(10, 1))
    for every, expected in ((2, [4, 6, 8, 10]), (3, [6, 9])):
        steps = sd.descend(copy.deepcopy(task), "gradient_descent", 1e-30, "plateau(0.5, patience=0)", 10, steps=12,
                           measure_every=every)  # fmt: skip
        rates = [step.lr for step in steps]
        drops = [t for t in range(1, len(rates)) if rates[t] < rates[t - 1]]
        assert drops == expected


def test_a_configuration_of_before_measures_every_epoch():
    before = {"stages": [], "batch_size": 8, "steps": 60, "steps_per_epoch": 6}
    assert Config.from_json(before).measure_every is None
    endless = {"stages": [], "batch_size": None, "steps": 60, "steps_per_epoch": 60}
    assert Config.from_json(endless).measure_every == 60  # once, at the end
    assert Config.from_json(Config.from_json(endless).to_json()).measure_every == 60


# -- The first line ----------------------------------------------------------------------------------------------------


def test_a_run_begins_with_every_choice_and_its_origin(tmp_path, capsys):
    task = overfits()
    task.recipe = {"rule": "momentum", "lr": 0.05, "epochs": 2}
    sd.fit(task, schedule="cosine", runs=tmp_path, locate=False, clip=2.0, keep="best")
    first = capsys.readouterr().err.splitlines()[0]
    assert first == (
        "Training 769 weights: momentum (recipe), lr 0.05 (recipe), schedule cosine (given), batch size 30 (default), "
        "2 epochs = 2 steps (recipe), clip 2.0 (given), keep best (given), guard on (default)."
    )
    sd.fit(task, "adam", batch_size=10, steps=40, guard=False, lr="auto", runs=tmp_path, locate=False)
    line = next(words for words in capsys.readouterr().err.splitlines() if words.startswith("Training"))
    assert "adam (given), lr " in line
    assert "(found), schedule warmup(5%) >> cosine (default)" in line
    assert "40 steps (given), guard off (given)." in line
    for rule, origin in (("adam", "default"), (sd.adam(lr=0.01), "given"), (sd.stage("adam", lr=0.01), "given")):
        sd.fit(task, rule, batch_size=10, steps=2, runs=tmp_path, locate=False)
        assert f"({origin}), schedule" in capsys.readouterr().err.splitlines()[0]
