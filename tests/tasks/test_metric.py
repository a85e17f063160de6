"""Which direction of a metric is better: what was said, else the words of its name, else it is asked for."""

import pytest
import torch
from torch import nn

import steepest as sd
from steepest.tasks.metric import as_number, direction_of_name


def task(**metrics):
    g = torch.Generator().manual_seed(0)
    x = torch.randn(40, 3, generator=g)
    with torch.random.fork_rng():
        return sd.Task(nn.Linear(3, 1), (x, x.sum(1, keepdim=True)), nn.functional.mse_loss, metrics=metrics)


def mean(output, target):
    return (output - target).abs().mean()


@pytest.mark.parametrize(
    ("name", "better"),
    [
        ("val_acc", "higher"), ("top5-accuracy", "higher"), ("acc5", "higher"), ("F1", "higher"), ("avg f1", "higher"),
        ("R2", "higher"), ("rougeL", "higher"), ("meanIoU", None), ("iou", "higher"), ("BLEU4", "higher"),
        ("top1_error", "lower"), ("RMSE", "lower"), ("testLoss", "lower"), ("wer", "lower"), ("MSELoss", "lower"),
        ("acc_loss", None), ("score", None), ("accumulate", None), ("terror", None), ("", None),
    ],
)  # fmt: skip
def test_words_of_a_name(name, better):
    assert direction_of_name(name) == better


def test_what_was_said_is_before_the_name():
    given = task(error=sd.metric(mean, better="higher"), mae=mean, score=mean)
    assert given.direction("error") == "higher"
    assert given.direction("mae") == "lower"
    assert given.direction("loss") == "lower"
    assert given.direction_or_none("score") is None
    with pytest.raises(
        sd.InputError, match=r"metric 'score': say better=, as in sd.metric\(mean, better='higher'\) or"
    ):
        given.direction("score")


@pytest.mark.parametrize("choice", [{"keep": "best"}, {"stop_after": 2}])
def test_an_unknown_direction_is_asked_for_before_anything_is_trained(choice, tmp_path):
    given = task(score=mean)
    before = given.model.weight.detach().clone()
    with torch.no_grad():
        given.model.weight += 1
    with pytest.raises(sd.InputError, match="metric 'score': say better="):
        sd.fit(given, lr=0.01, epochs=2, runs=tmp_path, locate=False, **choice)
    assert torch.equal(given.model.weight, before + 1)


def test_an_unknown_direction_is_asked_for_by_nothing_else(tmp_path):
    run = sd.fit(task(score=mean), lr=0.01, epochs=2, runs=tmp_path, locate=False)
    assert run.status == "done"
    assert run.record.config.better is None
    assert sd.open(run.id, runs=tmp_path).record.config.better is None


def test_a_race_asks_before_it_runs():
    with pytest.raises(sd.InputError, match="metric 'score': say better="):
        sd.race(task(score=mean), ["adam", "momentum"], epochs=1, seeds=2, lr=0.01)


@pytest.mark.parametrize("value", [None, torch.zeros(3), "high", [1.0, 2.0]])
def test_a_metric_that_is_no_number(value, tmp_path):
    with pytest.raises(sd.TaskError, match=r"metric wer\(outputs, targets\) must return a number, got "):
        sd.fit(task(wer=lambda o, t: value), lr=0.01, epochs=1, runs=tmp_path, locate=False)


def test_numbers_of_every_kind():
    assert [as_number(v, "") for v in (True, torch.tensor(2), torch.tensor([[3.0]]), 4)] == [1.0, 2.0, 3.0, 4.0]
    assert str(as_number(torch.tensor(float("nan")), "")) == "nan"
