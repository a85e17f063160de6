"""What data may be: arrays, tables, dicts, lists of batches, streams and loaders with samplers of their own."""

import dataclasses

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset, WeightedRandomSampler
from transformers import BatchEncoding

import steepest as sd
from steepest.curvature import gradient_noise
from steepest.errors import TaskError
from steepest.tasks import batch_tree, data
from steepest.tasks.batches import Batches
from steepest.tasks.task import Task


class Table:
    """What a pandas DataFrame or Series has."""

    def __init__(self, values):
        self.values = values

    def to_numpy(self):
        return self.values


@dataclasses.dataclass(frozen=True)
class Row:
    x: torch.Tensor
    labels: torch.Tensor


class Rows(Dataset):
    def __init__(self, make):
        self.make = make

    def __len__(self):
        return len(samples()[0])

    def __getitem__(self, i):
        x, y = samples()
        return self.make(x[i], y[i])


class Endless(IterableDataset):
    def __iter__(self):
        while True:
            yield from zip(*samples(), strict=True)


def samples(n=60):
    g = torch.Generator().manual_seed(0)
    return torch.randn(n, 4, generator=g), torch.randint(3, (n,), generator=g)


def network():
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return nn.Linear(4, 3)


def losses(source, size=None, **given):
    task = Task(network(), source, F.cross_entropy, validation=samples(), **given)
    return [s.loss for s in sd.descend(task, "adam", lr=0.01, batch_size=size, steps=9)]


def in_memory():
    x, y = samples()
    read_only = x.numpy().copy()
    read_only.setflags(write=False)
    return {
        "arrays": (x.numpy(), y.numpy()),
        "list of arrays": [x.numpy(), y.numpy()],
        "array and tensor": (x.numpy(), y),
        "tables": (Table(x.numpy()), Table(y.numpy())),
        "read-only": (read_only, y),
        "backwards": (x.numpy()[::-1].copy()[::-1], y),
        "big-endian": (x.numpy().astype(">f4"), y),
    }


@pytest.mark.parametrize("kind", list(in_memory()))
def test_arrays_and_tables_are_tensors(kind):
    assert losses(in_memory()[kind], 16) == losses(samples(), 16)
    assert data.fingerprint(data.in_memory(in_memory()[kind])) == data.fingerprint(samples())


def test_arrays_are_not_copied():
    x = np.zeros((5, 2), np.float32)
    tensor = data.in_memory((x, np.zeros(5)))[0]
    x[3, 1] = 7
    assert tensor[3, 1] == 7


def test_columns_of_texts_are_refused():
    frame = Table(np.array([[1.0, "a"], [2.0, "b"]], dtype=object))
    with pytest.raises(
        TaskError, match=r"data\[0\] must be numbers, got Table of dtype object \(float, str\)\. Encode"
    ):
        Task(network(), (frame, np.zeros(2)), F.cross_entropy)


def predict(model, batch):
    return model(batch["x"]), batch["labels"]


def test_a_dict_has_dict_rows():
    x, y = samples()
    rows = {"x": x, "labels": y.numpy()}
    assert losses(rows, 16, predict=predict) == losses(samples(), 16)
    task = Task(network(), rows, objective=lambda m, b: F.cross_entropy(m(b["x"]), b["labels"]))
    assert {type(part) for part in Batches(task.data, 7)(3)} == {dict}
    assert [data.length(split) for split in (task.data, task.validation)] == [54, 6]
    assert [len(b["x"]) for b in Batches(task.data, 10, accumulate=3)(1)] == [4, 3, 3]
    blocks = gradient_noise.disjoint(task, 8, 40)
    assert [b["x"].shape for b in blocks] == [(5, 4)] * 8
    assert data.fingerprint(task.data).startswith("54 samples, ")


def test_inputs_may_be_a_tree():
    x, y = samples()

    class Siamese(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = network()

        def forward(self, pair):
            return self.body(pair["a"]) + self.body(pair["b"])

    task = Task(Siamese(), ({"a": x, "b": x.flip(0)}, y), F.cross_entropy)
    assert len([*sd.descend(task, "adam", lr=0.01, batch_size=8, steps=7)]) == 7
    assert set(task.data[0]) == {"a", "b"}


def rows():
    return {
        "dict": (lambda x, y: {"x": x, "labels": y}, predict),
        "encoding": (lambda x, y: BatchEncoding({"x": x, "labels": y}), predict),
        "dataclass": (Row, lambda model, batch: (model(batch.x), batch.labels)),
        "numpy": (lambda x, y: {"x": x.numpy(), "labels": int(y)}, predict),
    }


@pytest.mark.parametrize("kind", list(rows()))
def test_rows_of_a_dataset(kind):
    make, output = rows()[kind]
    assert losses(Rows(make), 16, predict=output) == losses(samples(), 16)


def test_a_list_of_batches_is_no_list_of_tensors():
    x, y = samples()
    tuples = [(x[i : i + 20], y[i : i + 20]) for i in range(0, 60, 20)]
    dicts = [{"x": a, "labels": b} for a, b in tuples]
    assert data.is_iterable(tuples)
    assert data.is_iterable(dicts)
    assert not data.is_iterable([x, y])
    assert losses(tuples) == losses(dicts, predict=predict)
    assert [batch_tree.count(b) for b in data.in_batches(dicts, 1)] == [20, 20, 20]


@pytest.mark.parametrize("target", [1, 2.0, torch.tensor(1), np.float64(3)])
def test_a_list_of_samples_is_refused(target):
    with pytest.raises(
        TaskError, match=r"must be an iterable of batches, got a list of tuple .* Pass a DataLoader of it"
    ):
        Task(network(), [(torch.zeros(4), target)] * 20, F.cross_entropy, validation=samples())


def test_endless_data():
    loader = DataLoader(Endless(), batch_size=10)
    assert len(losses(loader)) == 9
    parts = data.disjoint_samples(loader, [25, 10], 10)
    assert [[len(b[1]) for b in part] for part in parts] == [[10, 10, 10], [10]]
    task = Task(network(), loader, F.cross_entropy, validation=samples())
    with pytest.raises(sd.InputError, match=r"epochs needs data with a length; this iterable has none. Pass steps"):
        sd.descend(task, "adam", lr=0.01, epochs=2)


# -- Loaders -----------------------------------------------------------------------------------------------------------


def shuffled(seed=7):
    return DataLoader(TensorDataset(*samples()), 16, shuffle=True, generator=torch.Generator().manual_seed(seed))


def weighted():
    weights = torch.linspace(0.1, 1, 60)
    sampler = WeightedRandomSampler(weights, 48, generator=torch.Generator().manual_seed(3))
    return DataLoader(TensorDataset(*samples()), 16, sampler=sampler)


@pytest.mark.parametrize("make", [shuffled, weighted])
def test_a_samplers_own_generator_is_the_users(make):
    loader = make()
    task = Task(network(), loader, F.cross_entropy, validation=samples())
    runs = [[s.loss for s in sd.descend(task, "momentum", lr=0.01, schedule="constant", steps=9)] for _ in range(2)]
    assert runs[0] == runs[1]
    model, plain = network(), []
    optimizer, source = torch.optim.SGD(model.parameters(), 0.01, momentum=0.9), make()
    while len(plain) < 9:
        for x, y in source:
            loss = F.cross_entropy(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            plain.append(loss.item())
    assert runs[0] == pytest.approx(plain[:9], rel=1e-5)


@pytest.mark.parametrize("make", [shuffled, weighted])
def test_it_resumes(make, tmp_path):
    task = Task(network(), make(), F.cross_entropy, validation=samples())
    given = {"lr": 0.01, "schedule": "constant", "runs": tmp_path, "locate": False}
    whole = sd.fit(task, "adam", epochs=4, **given)
    part = sd.fit(task, "adam", epochs=2, **given)
    longer = sd.resume(part.id, task, epochs=4, runs=tmp_path)
    assert list(longer.losses) == list(whole.losses)


def test_a_weighted_sampler_without_a_generator_follows_the_seed():
    loader = DataLoader(TensorDataset(*samples()), 16, sampler=WeightedRandomSampler(torch.ones(60), 48))
    assert losses(loader) == losses(loader)


class Noisy(Rows):
    def __getitem__(self, i):
        x, y = super().__getitem__(i)
        return x + torch.rand(()), y


def test_persistent_workers_begin_anew_with_each_run():
    loader = DataLoader(Noisy(lambda x, y: (x, y)), 30, num_workers=1, persistent_workers=True)
    assert losses(loader) == losses(loader)
