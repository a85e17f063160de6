"""Data as people have it: arrays, loaders, streams, trees."""

import importlib.util
import itertools
import random
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset, WeightedRandomSampler

import steepest as sd
from steepest.tasks.data import in_batches
from tests.zoo.case import Case, joined
from tests.zoo.datasets import classes, generator, table
from tests.zoo.tasks_basic import cross_entropy, dense, mse


def arrays() -> sd.Task:
    x, y = (part.numpy() for part in table(320))
    v, w = (part.numpy() for part in table(80, seed=1))
    return sd.Task(dense(), (x, y), F.mse_loss, validation=(v, w))


def as_tensors(data):
    return [tuple(torch.as_tensor(part) for part in data)]


def frame() -> sd.Task:
    import pandas as pd

    x, y = table(400)
    rows = pd.DataFrame(x.numpy(), columns=list("abcdef")).assign(y=y.numpy()[:, 0])
    train, held = rows[:320], rows[320:]
    inputs = list("abcdef")
    return sd.Task(dense(), (train[inputs], train[["y"]]), F.mse_loss, validation=(held[inputs], held[["y"]]))


def as_values(data):
    return [tuple(torch.as_tensor(part.to_numpy()) for part in data)]


def batch_list() -> sd.Task:
    x, y = table(320)
    v, w = table(80, seed=1)
    return sd.Task(
        dense(), list(zip(x.split(32), y.split(32))), F.mse_loss, validation=list(zip(v.split(20), w.split(20)))
    )


class Rows(Dataset):
    def __init__(self, n: int, seed: int):
        self.x, self.y = classes(n, seed=seed)

    def __len__(self):
        return len(self.x)

    def __getitem__(self, i):
        return {"id": str(i), "features": self.x[i], "label": self.y[i]}


def collate(rows):
    return torch.stack([row["features"] for row in rows]), torch.stack([row["label"] for row in rows])


def workers() -> sd.Task:
    loader = DataLoader(Rows(192, 0), batch_size=32, shuffle=True, num_workers=1, collate_fn=collate)
    return sd.Task(
        dense(outputs=3), loader, F.cross_entropy,
        validation=DataLoader(Rows(80, 1), batch_size=32, collate_fn=collate),
    )  # fmt: skip


def stateful() -> sd.Task:
    from torchdata.stateful_dataloader import StatefulDataLoader

    loader = StatefulDataLoader(TensorDataset(*table(200)), batch_size=32, shuffle=True, generator=generator(3))
    return sd.Task(dense(), loader, F.mse_loss, validation=table(80, seed=1))


def weighted_sampler() -> sd.Task:
    x, y = classes(300)
    sampler = WeightedRandomSampler(1.0 / torch.bincount(y)[y].double(), 256)
    loader = DataLoader(TensorDataset(x, y), batch_size=32, sampler=sampler)
    return sd.Task(dense(outputs=3), loader, F.cross_entropy, validation=classes(90, seed=1))


class Stream(IterableDataset):
    def __iter__(self):
        for seed in itertools.count():
            yield from zip(*table(64, seed=seed + 10))


def endless() -> sd.Task:
    return sd.Task(dense(), DataLoader(Stream(), batch_size=32), F.mse_loss, validation=table(80, seed=1))


def first_batches(data):
    """Of an endless stream, the first ones."""
    return list(itertools.islice(map(tuple, data), 10)) if isinstance(data, DataLoader) else joined(data)


class Pairs(Dataset):
    """Two things, drawn when asked for, and whether they are of one class."""

    def __init__(self):
        self.x, self.y = classes(200, k=4)

    def __len__(self):
        return len(self.x)

    def __getitem__(self, i):
        same = random.random() < 0.5
        while True:
            j = random.randrange(len(self.x))
            if (self.y[i] == self.y[j]).item() == same:
                return self.x[i], self.x[j], torch.tensor(float(same))


class Siamese(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.scale = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 8)), nn.Linear(1, 1)

    def forward(self, a, b):
        return self.scale((self.body(a) - self.body(b)).pow(2).sum(1, keepdim=True))[:, 0]


def siamese() -> sd.Task:
    torch.manual_seed(0)
    (x, y), g = classes(160, k=4, seed=1), generator(5)
    other = torch.randperm(160, generator=g)
    held = (x, x[other], (y == y[other]).float())
    return sd.Task(Siamese(), Pairs(), F.binary_cross_entropy_with_logits, validation=held)


def siamese_loss(model, batch):
    return F.binary_cross_entropy_with_logits(model(*batch[:2]), batch[2])


class GCN(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(6, 16), nn.Linear(16, 3)

    def forward(self, x, adjacency):
        h = torch.relu(torch.sparse.mm(adjacency, self.first(x)))
        return torch.sparse.mm(adjacency, self.second(h))


def graph() -> sd.Task:
    """One graph; labels of some of its nodes are known while training, those of others are for validation."""
    torch.manual_seed(0)
    x, y = classes(150)
    g = generator(2)
    a, b = torch.randint(150, (2, 1500), generator=g)
    keep = y[a] == y[b]
    edges = torch.stack(
        [torch.cat([a[keep], b[keep], torch.arange(150)]), torch.cat([b[keep], a[keep], torch.arange(150)])]
    )
    adjacency = torch.sparse_coo_tensor(edges, torch.ones(edges.shape[1]) / 5, (150, 150)).coalesce()
    known = torch.rand(150, generator=g) < 0.6
    return sd.Task(
        GCN(), [(x, adjacency, known, y)], objective=graph_loss, validation=[(x, adjacency, ~known, y)],
        count=lambda batch: int(batch[2].sum()),
    )  # fmt: skip


def graph_loss(model, batch):
    x, adjacency, known, y = batch
    return F.cross_entropy(model(x, adjacency)[known], y[known])


@dataclass
class Batch:
    features: Tensor
    target: Tensor


def as_batch(rows):
    return Batch(torch.stack([x for x, _ in rows]), torch.stack([y for _, y in rows]))


def dataclasses() -> sd.Task:
    load = lambda n, seed: DataLoader(list(zip(*table(n, seed=seed))), batch_size=32, collate_fn=as_batch)  # noqa: E731
    return sd.Task(dense(), load(320, 0), objective=batch_loss, validation=load(80, 1))


def batch_loss(model, batch):
    return F.mse_loss(model(batch.features), batch.target)


class Nested(Dataset):
    """((a, (b, c)), target): inputs in a tuple of a tuple."""

    def __init__(self, n: int, seed: int):
        self.x, self.y = table(n, seed=seed)

    def __len__(self):
        return len(self.x)

    def __getitem__(self, i):
        a, b, c = self.x[i].split(2)
        return (a, (b, c)), self.y[i]


class TakesNested(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = dense()

    def forward(self, inputs):
        a, (b, c) = inputs
        return self.net(torch.cat([a, b, c], 1))


def nested() -> sd.Task:
    return sd.Task(TakesNested(), Nested(320, 0), F.mse_loss, validation=Nested(80, 1))


class Pictures(Dataset):
    """A Dataset that augments with random numbers of its own, as transforms of torchvision do."""

    def __init__(self, n: int, seed: int, augment: bool):
        self.x, self.y = classes(n, seed=seed)
        self.augment = augment

    def __len__(self):
        return len(self.x)

    def __getitem__(self, i):
        return self.x[i] + (0.1 * torch.randn(6) if self.augment else 0.0), self.y[i]


def augmented() -> sd.Task:
    return sd.Task(dense(outputs=3), Pictures(256, 0, True), F.cross_entropy, validation=Pictures(90, 1, False))


def as_steepest_draws(data):
    """What is drawn when a Dataset is read once, as Steepest reads it: the same random numbers."""
    return list(in_batches(data, 512))


def targets(batch):
    return float(len(batch.target))


PANDAS = "" if importlib.util.find_spec("pandas") else "pandas is not installed"
CASES = (
    Case("numpy arrays", arrays, mse, batches=as_tensors),
    Case("DataFrame", frame, mse, batches=as_values, skip=PANDAS),
    Case("list of batches", batch_list, mse, batch_size=None),
    Case("DataLoader with workers and collate", workers, cross_entropy, batch_size=None, epochs=4, lr=2e-2),
    # Its generator goes on: neither a race nor a verdict on half of the samples sees the batches of a fresh loader.
    Case("StatefulDataLoader", stateful, mse, batch_size=None, has_own_noise=True, evaluation_noise=0.3),
    Case("WeightedRandomSampler", weighted_sampler, cross_entropy, batch_size=None),
    Case("endless IterableDataset", endless, mse, batch_size=None, epochs=None, steps=48, batches=first_batches),
    Case("siamese pairs drawn in __getitem__", siamese, siamese_loss, batches=as_steepest_draws),
    Case("a Dataset that augments", augmented, cross_entropy, batches=as_steepest_draws),
    Case(
        "sparse graph", graph, graph_loss, batch_size=None, epochs=40, weight=lambda batch: float(batch[2].sum())
    ),
    Case("dataclass batches", dataclasses, batch_loss, batch_size=None, weight=targets),
    Case("nested inputs", nested, lambda m, b: F.mse_loss(m(b[0]), b[1])),
)  # fmt: skip
