"""Data, model and loss that do not fit each other."""

import math
import warnings

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import steepest as sd
from steepest.errors import TaskError

X = torch.randn(40, 6, generator=torch.Generator().manual_seed(0))
CLASSES, NUMBERS = (X[:, 0] > 0).long(), X[:, 0] * 2


def fit(model, loss, x, y):
    return sd.fit(sd.Task(model, loss=loss, data=(x, y), validation=(x, y)), lr=0.01, steps=2, batch_size=8)


def network(outputs=2):
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, outputs))


@pytest.mark.parametrize(
    ("x", "y", "words"),
    [
        (X, CLASSES.float(), r"must be class indices of int64, got float32 \[40\].*y\.long\(\)"),
        (X, F.one_hot(CLASSES), r"class probabilities, got int64 \[40, 2\].*y\.argmax\(1\)"),
        ((X * 10).byte(), CLASSES, r"got int64, uint8.*x\.float\(\)"),
        ((X * 10).int(), CLASSES, r"got int32, int64"),
        (X.double(), CLASSES, r"got float64, int64.*model\.double\(\)"),
    ],
    ids=["classes as floats", "one-hot classes", "bytes", "whole numbers", "float64"],
)
def test_dtypes_are_said(x, y, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(TaskError, match=words):
        fit(network(), F.cross_entropy, x, y)


@pytest.mark.parametrize(
    ("model", "loss", "y", "error", "note"),
    [
        (network(), F.cross_entropy, CLASSES + 1, IndexError, "float32 [40, 6], int64 [40] from 1 to 2."),
        (nn.Linear(7, 2), F.cross_entropy, CLASSES, RuntimeError, "float32 [40, 6], int64 [40] from 0 to 1."),
        (network(1), nn.BCEWithLogitsLoss(), CLASSES.float(), ValueError, "float32 [40, 6], float32 [40]."),
        (network(), lambda output, y: output.missing, CLASSES, AttributeError, "int64 [40] from 0 to 1."),
    ],
    ids=["a class too many", "other inputs", "a column and a row", "an error in the loss"],
)
def test_an_error_of_the_users_code_keeps_its_kind_and_has_the_shapes(
    model, loss, y, error, note, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error) as caught:
        fit(model, loss, X, y)
    (words,) = caught.value.__notes__
    assert words.startswith("The batch of this error, inputs and target: ")
    assert words.endswith(note)


@pytest.mark.parametrize("loss", [F.l1_loss, lambda output, y: ((output - y) ** 2).mean()], ids=["torch's", "own"])
@pytest.mark.parametrize("column", ["output", "target"])
@pytest.mark.filterwarnings("ignore:Using a target size")
def test_a_column_against_a_row_is_said_once(loss, column, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model, y = (
        (network(1), NUMBERS) if column == "output" else (nn.Sequential(network(1), nn.Flatten(0)), NUMBERS[:, None])
    )
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        fit(model, loss, X, y)
    ours = [str(w.message) for w in caught if "every output with every target" in str(w.message)]
    assert len(ours) == 1
    assert ("output has the shape [n, 1] and the target [n]" in ours[0]) == (column == "output")


@pytest.mark.parametrize(
    "loss",
    [
        lambda output, y: F.mse_loss(output[:, 0], y),
        lambda output, y: F.mse_loss(output.squeeze(), y),
        lambda output, y: F.mse_loss(output, y.view_as(output)),
        lambda output, y: F.mse_loss(F.dropout(output.flatten(), 0.5), y),
        lambda output, y: F.mse_loss(output.flatten(), y) * math.nan,
    ],
    ids=["a column of it", "squeezed", "the target's view", "flat, with random numbers", "not a number"],
)
def test_a_loss_that_fits_them_itself_is_left_alone(loss, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    fit(network(1), loss, X, NUMBERS)  # a warning is an error here


def test_the_look_at_shapes_draws_no_random_number(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def loss(output, y):
        return (F.dropout(output, 0.5) - y).abs().mean()

    with warnings.catch_warnings(record=True):
        warnings.simplefilter("always")
        one = fit(network(1), loss, X, NUMBERS)
    monkeypatch.setattr("steepest.tasks.forward.broadcast_words", lambda one, loss: "")
    two = fit(network(1), loss, X, NUMBERS)
    assert one.losses.tolist() == two.losses.tolist()
