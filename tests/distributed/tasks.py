"""Small tasks whose losses weigh the parts of a batch in different ways, and how each is trained."""

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

import steepest as sd

SAMPLES, FEATURES, CLASSES = 150, 8, 3


def data():
    random = torch.Generator().manual_seed(0)
    x = torch.randn(SAMPLES, FEATURES, generator=random)
    return x, (x @ torch.randn(FEATURES, CLASSES, generator=random)).argmax(1)


def network(*, norm=False, dropout=0.0):
    torch.manual_seed(0)
    middle = [nn.BatchNorm1d(16)] if norm else []
    return nn.Sequential(nn.Linear(FEATURES, 16), *middle, nn.Tanh(), nn.Dropout(dropout), nn.Linear(16, CLASSES))


def task(loss=F.cross_entropy, source=None, model=None, **choices):
    x, y = data()
    validation = {"validation": (x[:40], y[:40]), "metrics": {"accuracy": sd.accuracy}}
    return sd.Task(model or network(), source or (x, y), loss, **{**validation, **choices})


def with_ignored_labels():
    x, y = data()
    return task(source=(x, torch.where(x[:, 0] > 0.3, -100, y)))


def with_class_weights():
    return task(nn.CrossEntropyLoss(weight=torch.tensor([1.0, 5.0, 0.2])))


def of_a_sum():
    return task(nn.CrossEntropyLoss(reduction="sum"))


def with_counts():
    """Each sample counts as many items as its label says."""

    def loss(output, target):
        counts = target + 1.0
        return (F.cross_entropy(output, target, reduction="none") * counts).sum() / counts.sum()

    return task(loss, count=lambda batch: float((batch[-1] + 1).sum()))


def of_an_objective():
    return task(None, objective=lambda model, batch: F.cross_entropy(model(batch[0]), batch[1]), metrics=None)


def of_a_dataset():
    return task(source=TensorDataset(*data()))


def of_a_loader():
    return task(source=DataLoader(TensorDataset(*data()), 33, shuffle=True))


def with_an_unused_part():
    """A layer that only some samples reach, so that a process may have no gradient of it."""

    class Branch(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.first, self.second, self.idle = (nn.Linear(FEATURES, CLASSES) for _ in range(3))

        def forward(self, x):
            rows = (x[:, 0] > 2.0).nonzero().flatten()
            output = self.second(x)
            return output.index_add(0, rows, self.first(x[rows])) if len(rows) else output

    return task(model=Branch())


def shard(model, **policies):
    """FSDP2, as its users call it: each layer, then the whole."""
    from torch.distributed.fsdp import fully_shard

    for layer in model:
        if isinstance(layer, nn.Linear):
            fully_shard(layer, **policies)
    return fully_shard(model, **policies)


def of_a_sharded_model(**policies):
    return task(model=shard(network(), **policies))


def of_a_large_model():
    """A model that no process ever holds whole: made without memory, sharded, then filled."""

    def make(seed):
        with torch.device("meta"):
            model = network()
        shard(model).to_empty(device="cpu")
        for layer in model:
            if isinstance(layer, nn.Linear):
                layer.reset_parameters()
        return model

    return task(model=make)


def tuned(**choices):
    """The arguments of a short run."""
    return {"rule": "adam", "lr": 0.01, "schedule": "cosine", "batch_size": 33, "steps": 24, "locate": False, **choices}


SHARDED = {
    "plain": {},
    "clip and average": {"accumulate": 2, "clip": 0.5, "average": 0.9, "keep": "best"},
    "explosion": {"rule": "momentum", "lr": 30.0, "schedule": "warmup(90%)", "steps": 120, "measure_every": 60,
                  "guard": sd.Guard(snapshot_every=10)},
}  # fmt: skip
"""Runs of a sharded model, which are those of one in one piece on as many processes."""
SAME = {
    "labels": (task, {}),
    "full batch": (task, {"batch_size": "full"}),
    "micro-batches": (task, {"accumulate": 3}),
    "ignored labels": (with_ignored_labels, {}),
    "class weights": (with_class_weights, {}),
    "sum": (of_a_sum, {"lr": 0.001}),
    "counts": (with_counts, {"accumulate": 2}),
    "objective": (of_an_objective, {"average": 0.9}),
    "dataset": (of_a_dataset, {"accumulate": 2}),
    "loader": (of_a_loader, {"batch_size": None}),
    "unused part": (with_an_unused_part, {"rule": sd.stage("adam", "50%") >> sd.stage("momentum")}),
    "torch optimizer": (task, {"rule": lambda params: torch.optim.SGD(params, lr=0.1, momentum=0.9), "lr": 0.1}),
    "closure": (task, {"rule": lambda params: torch.optim.LBFGS(params, max_iter=4), "lr": 1.0,
                       "batch_size": "full", "steps": 3, "schedule": "constant"}),
}  # fmt: skip
"""Runs whose losses on several processes are those of one, to rounding."""
