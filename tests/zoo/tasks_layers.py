"""Modules that are more than a function of their weights: parametrizations, state, randomness, hooks."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import parametrizations, weight_norm
from torch.utils.checkpoint import checkpoint

import steepest as sd
from tests.zoo.case import EVERY, Case
from tests.zoo.datasets import classes, table, words
from tests.zoo.tasks_basic import cross_entropy, mse


def on_table(net: nn.Module) -> sd.Task:
    return sd.Task(net, table(320), F.mse_loss, validation=table(80, seed=1))


def on_classes(net: nn.Module) -> sd.Task:
    return sd.Task(net, classes(320), F.cross_entropy, validation=classes(90, seed=1))


def normed() -> sd.Task:
    torch.manual_seed(0)
    first = parametrizations.weight_norm(nn.Linear(6, 16))
    return on_table(nn.Sequential(first, nn.Tanh(), nn.Linear(16, 1)))


def normed_by_hook() -> sd.Task:
    torch.manual_seed(0)
    return on_table(nn.Sequential(weight_norm(nn.Linear(6, 16)), nn.Tanh(), nn.Linear(16, 1)))


def spectral() -> sd.Task:
    torch.manual_seed(0)
    first = parametrizations.spectral_norm(nn.Linear(6, 16))
    return on_table(nn.Sequential(first, nn.Tanh(), nn.Linear(16, 1)))


def orthogonal() -> sd.Task:
    torch.manual_seed(0)
    inside = parametrizations.orthogonal(nn.Linear(12, 12, bias=False))
    return on_table(nn.Sequential(nn.Linear(6, 12), nn.Tanh(), inside, nn.Tanh(), nn.Linear(12, 1)))


class Skipping(nn.Module):
    """Stochastic depth: while training, a block is left out now and then."""

    def __init__(self):
        super().__init__()
        self.into, self.out = nn.Linear(6, 16), nn.Linear(16, 3)
        self.blocks = nn.ModuleList(nn.Linear(16, 16) for _ in range(2))

    def forward(self, x):
        h = self.into(x)
        for block in self.blocks:
            if self.training and torch.rand(()) < 0.2:
                continue
            h = h + torch.relu(block(h))
        return self.out(h)


def stochastic_depth() -> sd.Task:
    torch.manual_seed(0)
    return on_classes(Skipping())


class AlwaysDropout(nn.Module):
    """Monte Carlo dropout: it drops in evaluation, too."""

    def __init__(self):
        super().__init__()
        self.into, self.out = nn.Linear(6, 32), nn.Linear(32, 3)

    def forward(self, x):
        return self.out(F.dropout(torch.relu(self.into(x)), 0.1, training=True))


def mc_dropout() -> sd.Task:
    torch.manual_seed(0)
    return on_classes(AlwaysDropout())


def lazy() -> sd.Task:
    torch.manual_seed(0)
    return on_table(nn.Sequential(nn.LazyLinear(16), nn.Tanh(), nn.LazyLinear(1)))


def lazy_after_a_pass() -> sd.Task:
    torch.manual_seed(0)
    net = nn.Sequential(nn.LazyLinear(16), nn.Tanh(), nn.LazyLinear(1))
    net(torch.zeros(2, 6))
    return on_table(net)


class Unused(nn.Module):
    def __init__(self):
        super().__init__()
        self.net, self.spare = nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, 1)), nn.Linear(6, 6)

    def forward(self, x):
        return self.net(x)


def unused() -> sd.Task:
    torch.manual_seed(0)
    return on_table(Unused())


class Counting(nn.Module):
    """Its nonlinearity fades in over the first calls, which it counts in its extra state."""

    def __init__(self):
        super().__init__()
        self.into, self.out, self.calls = nn.Linear(6, 16), nn.Linear(16, 1), 0

    def forward(self, x):
        self.calls += self.training
        share = min(1.0, self.calls / 60)
        h = self.into(x)
        return self.out(h + share * (torch.tanh(h) - h))

    def get_extra_state(self):
        return {"calls": self.calls}

    def set_extra_state(self, state):
        self.calls = state["calls"]


def counting() -> sd.Task:
    torch.manual_seed(0)
    return on_table(Counting())


class Checkpointed(nn.Module):
    def __init__(self):
        super().__init__()
        self.into, self.block = nn.Linear(6, 16), nn.Sequential(nn.Linear(16, 16), nn.Tanh())
        self.out = nn.Linear(16, 1)

    def forward(self, x):
        return self.out(checkpoint(self.block, torch.tanh(self.into(x)), use_reentrant=False))


def checkpointed() -> sd.Task:
    torch.manual_seed(0)
    return on_table(Checkpointed())


class Teacher(nn.Module):
    """A student that also follows the running average of itself, whose weights are frozen but change."""

    def __init__(self):
        super().__init__()
        self.student, self.teacher = nn.Linear(6, 8), nn.Linear(6, 8)
        self.out = nn.Linear(8, 1)
        self.teacher.load_state_dict(self.student.state_dict())
        self.teacher.requires_grad_(False)

    @torch.no_grad()
    def follow(self):
        for p, q in zip(self.teacher.parameters(), self.student.parameters()):
            p.lerp_(q, 0.05)

    def forward(self, x):
        if self.training:
            self.follow()
        h = torch.tanh(self.student(x))
        return self.out(h), ((h - torch.tanh(self.teacher(x))) ** 2).mean(1)


def taught(output, target):
    value, distance = output
    return F.mse_loss(value, target) + 0.1 * distance.mean()


def teacher() -> sd.Task:
    torch.manual_seed(0)
    return sd.Task(Teacher(), table(320), taught, validation=table(80, seed=1))


def compiled() -> sd.Task:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, 1))
    return on_table(torch.compile(net, backend="eager"))


def hooked() -> sd.Task:
    """Hooks change what goes in and what comes out."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, 1))
    net[0].register_forward_hook(lambda module, inputs, output: output.clamp(-2, 2))
    net[2].register_forward_pre_hook(lambda module, inputs: (2 * inputs[0],))
    return on_table(net)


def halved() -> sd.Task:
    """A hook halves a gradient, which then is not the derivative of the loss."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, 1))
    net[2].register_full_backward_hook(lambda module, into, out: (into[0] * 0.5,))
    return on_table(net)


class Round(torch.autograd.Function):
    """Rounds forward, and lets gradients pass."""

    @staticmethod
    def forward(ctx, x):
        return (4 * x).round() / 4

    @staticmethod
    def backward(ctx, g):
        return g


class Quantized(nn.Module):
    def __init__(self):
        super().__init__()
        self.into, self.out = nn.Linear(6, 24), nn.Linear(24, 1)

    def forward(self, x):
        return self.out(Round.apply(torch.tanh(self.into(x))))


def straight_through() -> sd.Task:
    torch.manual_seed(0)
    return on_table(Quantized())


class Experts(nn.Module):
    """Each row goes to the one expert that the gate likes best."""

    def __init__(self):
        super().__init__()
        self.gate, self.experts = nn.Linear(6, 3), nn.ModuleList(nn.Linear(6, 3) for _ in range(3))

    def forward(self, x):
        share = self.gate(x).softmax(-1)
        best = share.argmax(-1)
        out = x.new_zeros(len(x), 3)
        for k, expert in enumerate(self.experts):
            rows = (best == k).nonzero().flatten()
            if len(rows):
                out = out.index_add(0, rows, share[rows, k, None] * expert(x[rows]))
        return out


def experts() -> sd.Task:
    torch.manual_seed(0)
    return on_classes(Experts())


class Adapted(nn.Module):
    """A frozen network with batch norm that stays in eval mode, and low-rank adapters that are trained."""

    def __init__(self):
        super().__init__()
        self.backbone = nn.Sequential(nn.Linear(6, 24), nn.BatchNorm1d(24), nn.ReLU())
        self.backbone(torch.randn(200, 6))
        self.backbone.requires_grad_(False)
        self.down, self.up = nn.Linear(6, 4, bias=False), nn.Linear(4, 24, bias=False)
        self.head = nn.Linear(24, 3)
        nn.init.zeros_(self.up.weight)

    def train(self, mode: bool = True):
        super().train(mode)
        self.backbone.eval()
        return self

    def forward(self, x):
        return self.head(self.backbone(x) + self.up(self.down(x)))


def adapters() -> sd.Task:
    torch.manual_seed(0)
    return on_classes(Adapted())


class Sparse(nn.Module):
    def __init__(self):
        super().__init__()
        self.words, self.out = nn.Embedding(16, 8, sparse=True), nn.Linear(8, 16)

    def forward(self, x):
        return self.out(self.words(x))


def sparse_embedding() -> sd.Task:
    torch.manual_seed(0)
    text, held = words(160, 2), words(64, 2, seed=1)
    return sd.Task(Sparse(), (text[:, 0], text[:, 1]), F.cross_entropy, validation=(held[:, 0], held[:, 1]))


CASES = (
    Case("weight_norm, parametrized", normed, mse),
    Case("weight_norm, by hook", normed_by_hook, mse),
    Case("spectral_norm", spectral, mse, lr=2e-2),
    Case("orthogonal weights", orthogonal, mse),
    Case("stochastic depth", stochastic_depth, cross_entropy, has_own_noise=True),
    Case("Monte Carlo dropout", mc_dropout, cross_entropy, has_own_noise=True, evaluation_noise=0.1),
    Case("lazy layers", lazy, mse),
    Case("lazy layers after a pass", lazy_after_a_pass, mse),
    Case("unused parameters", unused, mse),
    Case("a model that counts its calls", counting, mse),
    Case("checkpointed activations", checkpointed, mse),
    Case("running teacher inside the model", teacher, lambda m, b: taught(m(b[0]), b[1])),
    Case("torch.compile", compiled, mse),
    Case("hooks", hooked, mse),
    Case("gradient changed by a hook", halved, mse),
    Case("custom autograd.Function", straight_through, mse),
    Case("mixture of experts", experts, cross_entropy),
    Case("frozen backbone with adapters", adapters, cross_entropy, epochs=8),
    Case(
        "sparse embedding",
        sparse_embedding,
        cross_entropy,
        rule="gradient_descent",
        lr=1.0,
        races=("gradient_descent", "momentum"),
        refuses={EVERY: (r"sparse=False", "the kernels take dense gradients")},
    ),
)
