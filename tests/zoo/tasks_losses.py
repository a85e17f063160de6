"""Losses that are no plain mean over samples, or more than one function of an output."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

import steepest as sd
from steepest.tasks.with_loss import ModelWithLoss
from tests.zoo.case import Case
from tests.zoo.datasets import classes, generator, series, table, words
from tests.zoo.tasks_basic import dense


def encoder() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 24), nn.ReLU(), nn.Linear(24, 8))


def views(n: int, seed: int = 0):
    """Two noisy views of each of n things."""
    x, _ = classes(n, k=8, seed=seed)
    g = generator(seed + 7)
    return x + 0.3 * torch.randn(n, 6, generator=g), x + 0.3 * torch.randn(n, 6, generator=g)


def info_nce(model, batch):
    a, b = (F.normalize(model(view), dim=1) for view in batch)
    return F.cross_entropy(a @ b.T / 0.5, torch.arange(len(a)))


def contrastive() -> sd.Task:
    return sd.Task(encoder(), views(256), objective=info_nce, validation=views(64, 1))


def triples(n: int, seed: int = 0):
    x, y = classes(n, k=4, seed=seed)
    g, rows = generator(seed + 3), []
    for label in y.tolist():
        same, other = (y == label).nonzero().flatten(), (y != label).nonzero().flatten()
        rows.append(
            (same[torch.randint(len(same), (), generator=g)], other[torch.randint(len(other), (), generator=g)])
        )
    positive, negative = (torch.stack(part) for part in zip(*rows))
    return x, x[positive], x[negative]


def triplet_loss(model, batch):
    return F.triplet_margin_loss(*(model(part) for part in batch))


def triplet() -> sd.Task:
    return sd.Task(encoder(), triples(256), objective=triplet_loss, validation=triples(64, 1))


def gaps(n: int, seed: int = 0):
    """Series [n, 11, 1], what follows at each step, and whether that is known; a third is not."""
    x, _ = series(n, seed=seed)
    known = torch.rand(n, 11, 1, generator=generator(seed + 2)) < torch.rand(n, 1, 1, generator=generator(seed + 4))
    return x[:, :-1], x[:, 1:], known.float().index_fill(1, torch.tensor([0]), 1.0)


class Follow(nn.Module):
    def __init__(self):
        super().__init__()
        self.gru, self.out = nn.GRU(1, 12, batch_first=True), nn.Linear(12, 1)

    def forward(self, x):
        return self.out(self.gru(x)[0])


def masked_loss(model, batch):
    x, y, known = batch
    return ((model(x) - y) ** 2 * known).sum() / known.sum()


def masked() -> sd.Task:
    torch.manual_seed(0)
    return sd.Task(Follow(), gaps(192), objective=masked_loss, validation=gaps(64, 1))


def tags(n: int, seed: int = 0):
    """Texts, and the next word of some of their words; the others have the label −100."""
    text = words(n, seed=seed)
    share = torch.rand(n, 1, generator=generator(seed + 1))
    ignored = torch.rand(n, 11, generator=generator(seed + 2)) < share
    return text[:, :-1], text[:, 1:].masked_fill(ignored.index_fill(1, torch.tensor([0]), False), -100)


def tagger() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Embedding(16, 12), nn.Linear(12, 24), nn.Tanh(), nn.Linear(24, 16))


def tag_loss(output, target):
    return F.cross_entropy(output.flatten(0, 1), target.flatten(), ignore_index=-100)


def ignored() -> sd.Task:
    held = DataLoader(TensorDataset(*tags(75, 1)), batch_size=10)
    return sd.Task(tagger(), tags(192), tag_loss, validation=held)


def ignored_in_parts() -> sd.Task:
    return sd.Task(tagger(), tags(192), tag_loss, validation=tags(64, 1))


WEIGHTS = torch.tensor([0.2, 1.0, 5.0])


def class_weights() -> sd.Task:
    held = DataLoader(TensorDataset(*classes(95, seed=1)), batch_size=10)
    return sd.Task(dense(outputs=3), classes(320), nn.CrossEntropyLoss(weight=WEIGHTS), validation=held)


def sum_loss() -> sd.Task:
    return sd.Task(dense(), table(320), nn.MSELoss(reduction="sum"), validation=table(1500, seed=1))


def smoothing() -> sd.Task:
    return sd.Task(
        dense(outputs=3), classes(320), nn.CrossEntropyLoss(label_smoothing=0.1), validation=classes(90, seed=1)
    )


class Uncertainty(nn.Module):
    """Kendall et al. 2018: the log variances of two tasks are learned with the model."""

    def __init__(self):
        super().__init__()
        self.log_var = nn.Parameter(torch.zeros(2))

    def forward(self, output, target):
        errors = ((output - target) ** 2).mean(0)
        return (torch.exp(-self.log_var) * errors + self.log_var).sum()


class Both(nn.Module):
    def __init__(self, net, criterion):
        super().__init__()
        self.net, self.criterion = net, criterion


def both(model, loss) -> nn.Module:
    """What is trained: of a run, its model has the loss with it."""
    return Both(model.model, model.loss) if isinstance(model, ModelWithLoss) else Both(model, loss)


def pairs(n: int, seed: int = 0):
    x, y = table(n, seed=seed)
    return x, torch.cat([y, 4 * x[:, :1] + torch.randn(n, 1, generator=generator(seed + 9))], 1)


def learned_weights() -> sd.Task:
    return sd.Task(dense(outputs=2), pairs(320), loss=Uncertainty(), validation=pairs(80, 1))


def pinball(output, target):
    levels = torch.tensor([0.1, 0.5, 0.9])
    off = target - output
    return torch.maximum(levels * off, (levels - 1) * off).mean()


def quantiles() -> sd.Task:
    return sd.Task(dense(outputs=3), table(320), pinball, validation=table(80, seed=1))


class TwoHeads(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.value, self.label = nn.Linear(6, 24), nn.Linear(24, 1), nn.Linear(24, 3)

    def forward(self, x):
        h = torch.relu(self.body(x))
        return {"value": self.value(h), "label": self.label(h)}


class TwoTargets(Dataset):
    def __init__(self, n: int, seed: int):
        self.x, self.label = classes(n, seed=seed)
        self.value = torch.sin(self.x[:, :1])

    def __len__(self):
        return len(self.x)

    def __getitem__(self, i):
        return self.x[i], {"value": self.value[i], "label": self.label[i]}


def two_losses(output, target):
    return F.mse_loss(output["value"], target["value"]) + F.cross_entropy(output["label"], target["label"])


def label_accuracy(output, target):
    return (output["label"].argmax(1) == target["label"]).double().mean()


def multi_task() -> sd.Task:
    torch.manual_seed(0)
    return sd.Task(
        TwoHeads(), TwoTargets(256, 0), two_losses, validation=TwoTargets(90, 1), metrics={"accuracy": label_accuracy}
    )


def two_heads_accuracy(model, batches):
    ((x, target),) = batches
    return float(label_accuracy(model(x), target))


def pinn_loss(model, batch):
    """u'' + u = 0 with u(0) = 0 and u'(0) = 1, whose solution is the sine."""
    (x,) = batch
    x = x.clone().requires_grad_()
    u = model(x)
    (du,) = torch.autograd.grad(u.sum(), x, create_graph=True)
    (ddu,) = torch.autograd.grad(du.sum(), x, create_graph=True)
    zero = torch.zeros(1, 1, requires_grad=True)
    at_zero = model(zero)
    (slope,) = torch.autograd.grad(at_zero.sum(), zero, create_graph=True)
    return ((ddu + u) ** 2).mean() + (at_zero**2).sum() + ((slope - 1) ** 2).sum()


def pinn() -> sd.Task:
    points = 3 * torch.rand(256, 1, generator=generator())
    held = 3 * torch.rand(64, 1, generator=generator(1))
    return sd.Task(dense(features=1), (points,), objective=pinn_loss, validation=(held,))


class Margin(nn.Module):
    def __init__(self):
        super().__init__()
        self.line = nn.Linear(6, 1)

    def forward(self, x):
        return self.line(x)[:, 0]


def halves(n: int, seed: int = 0):
    x, _ = table(n, seed=seed)
    return x, (x[:, 0] + 0.5 * x[:, 1] > 0).float() * 2 - 1


def hinge(output, target):
    return (1 - output * target).clamp_min(0).mean()


def hinge_single() -> sd.Task:
    torch.manual_seed(0)
    return sd.Task(Margin(), halves(200), hinge, validation=halves(80, 1))


def target_of(function):
    """A loss of output and target as a plain loop has it."""
    return lambda model, batch: function(model(batch[0]), batch[-1])


def rows(batch):
    return float(len(batch[0]))


def known(batch):
    return float(batch[2].sum())


def labelled(batch):
    return float((batch[1] != -100).sum())


CASES = (
    Case("contrastive", contrastive, info_nce, batch_size=32),
    Case("triplet", triplet, triplet_loss),
    Case("masked targets", masked, masked_loss, weight=known),
    Case("ignored labels", ignored, target_of(tag_loss), weight=labelled),
    Case(
        "ignored labels in two micro-batches", ignored_in_parts, target_of(tag_loss), weight=labelled,
        options={"accumulate": 2},
    ),
    Case(
        "class weights", class_weights, target_of(nn.CrossEntropyLoss(weight=WEIGHTS)),
        weight=lambda batch: float(WEIGHTS[batch[1]].sum()),
    ),
    Case("sum reduction", sum_loss, target_of(nn.MSELoss(reduction="sum")), weight=None, lr=5e-3, epochs=8),
    Case("label smoothing", smoothing, target_of(nn.CrossEntropyLoss(label_smoothing=0.1))),
    Case(
        "learned weights in the loss", learned_weights, lambda both, b: both.criterion(both.net(b[0]), b[1]),
        system=both,
    ),
    Case("quantile loss", quantiles, target_of(pinball)),
    Case("two tasks, dict outputs", multi_task, target_of(two_losses), weight=rows, metric=two_heads_accuracy),
    Case("PINN", pinn, pinn_loss, weight=rows, epochs=8),
    Case("hinge loss of single samples", hinge_single, target_of(hinge), rule="gradient_descent", lr=0.03,
         batch_size=1, epochs=2, races=("gradient_descent", "momentum")),
)  # fmt: skip
