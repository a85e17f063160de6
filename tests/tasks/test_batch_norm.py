"""A batch of one sample is refused before the first step where batch norm cannot be trained on it."""

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import steepest as sd
from steepest.errors import InputError
from steepest.tasks.task import Task


def samples(n=65):
    g = torch.Generator().manual_seed(0)
    return torch.randn(n, 3, generator=g), torch.randn(n, 1, generator=g)


def network():
    return nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 1))


def descend(data, model=None, **given):
    task = Task(network() if model is None else model, data, nn.functional.mse_loss, validation=samples(20))
    return [s.loss for s in sd.descend(task, "adam", lr=0.01, **{"steps": 20, **given})]


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (
            {"batch_size": 64},
            r"All batches .*\(batch_size=64 for 65 samples\): BatchNorm1d \(1\) needs .* 63, 65, 62\.",
        ),
        (
            {"batch_size": 8, "accumulate": 8},
            r"All micro-batches .*batch_size=8 and accumulate=8 .*batch_size 22, 23, 24",
        ),
        ({"batch_size": 1}, r"Use batch_size 3, 5, 6\."),
    ],
)
def test_a_batch_of_one_is_refused_with_the_sizes_that_work(given, says):
    model = network()
    before = {name: x.clone() for name, x in model.state_dict().items()}
    state = torch.get_rng_state()
    with pytest.raises(InputError, match=says):
        descend(samples(), model, **given)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(x, before[name]) for name, x in model.state_dict().items())


@pytest.mark.parametrize("size", [63, 65, 62, 3, 5, 6])
def test_the_sizes_that_are_suggested_work(size):
    assert len(descend(samples(), batch_size=size)) == 20


def test_a_run_that_ends_before_that_batch_is_not_refused():
    assert len(descend(samples(), batch_size=16, steps=4)) == 4
    with pytest.raises(InputError, match="more than one sample"):
        descend(samples(), batch_size=16, steps=5)


def test_loaders():
    data = TensorDataset(*samples())
    with pytest.raises(
        InputError, match=r"batch_size=64 .*Make the DataLoader with drop_last=True, or with batch_size 63"
    ):
        descend(DataLoader(data, 64))
    assert len(descend(DataLoader(data, 64, drop_last=True))) == 20
    x, y = samples()
    with pytest.raises(InputError, match=r"\(the data's batches\).* Join that batch with another one, or leave it out"):
        descend([(x[:64], y[:64]), (x[64:], y[64:])])


class Frozen(nn.Sequential):
    def train(self, mode=True):
        super().train(mode)
        self[1].eval()
        return self


@pytest.mark.parametrize("kind", ["images", "frozen", "no batch norm"])
def test_what_works_with_one_sample_is_not_refused(kind):
    x, y = samples()
    if kind == "images":
        convolution = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(36, 1))
        losses = descend((x[:, :, None, None].expand(-1, -1, 5, 5), y), convolution, batch_size=64)
    elif kind == "frozen":
        losses = descend((x, y), Frozen(*network()), batch_size=64)
    else:
        losses = descend((x, y), nn.Sequential(nn.Linear(3, 8), nn.LayerNorm(8), nn.Linear(8, 1)), batch_size=64)
    assert len(losses) == 20
