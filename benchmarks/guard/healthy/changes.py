"""Schedules, models and optimizers that change on the way."""

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value
from torch.nn import functional as F

import steepest as sd
from benchmarks.guard.healthy.losses import ADAM
from benchmarks.guard.healthy.training import (
    CHOICE,
    REPORT,
    SAMPLES,
    Steps,
    Stream,
    Training,
    classification,
    dense,
    generator,
    kind,
    regression,
    split,
)  # fmt: skip

MOMENTUM = {"rule": "momentum", "batch_size": 32, "steps": 2400}


def _plain(seed: int, settings: dict, baseline: float = 0.3) -> Training:
    x, y = regression(seed)
    return Training(sd.Task(dense(16, 64, 1, seed=seed), loss=F.mse_loss, **split(x, y)), settings, baseline)


@kind("restarts", CHOICE)
def restarts(seed: int) -> Training:
    return _plain(seed, {**MOMENTUM, "lr": 0.03, "schedule": "cosine_restarts(300)"})


@kind("one cycle to a high rate", REPORT)
def one_cycle(seed: int) -> Training:
    return _plain(seed, {**MOMENTUM, "lr": 0.1, "schedule": "one_cycle"})


@kind("a hot warmup", CHOICE)
def hot_warmup(seed: int) -> Training:
    return _plain(seed, {**MOMENTUM, "lr": 0.06, "schedule": "warmup(60%) >> cosine"})


@kind("steps of the rate, up and down", REPORT)
def steps_of_the_rate(seed: int) -> Training:
    return _plain(seed, {**MOMENTUM, "lr": 0.05, "schedule": "0.1 * constant(30%) >> constant(30%) >> 0.1 * constant"})


@kind("a layer that is set free", REPORT)
def unfreezing(seed: int) -> Training:
    x, y = classification(seed, classes=8, spread=2.0)
    net = dense(16, 64, 64, 8, activation=nn.Tanh, seed=seed)
    net[0].requires_grad_(False)

    def body(step) -> None:
        if step.t == 800:
            net[0].requires_grad_(True)

    return Training(sd.Task(net, loss=F.cross_entropy, **split(x, y)), {**ADAM, "lr": 3e-3}, 1.5, body)


class _Dropout(nn.Module):
    def __init__(self, seed: int) -> None:
        super().__init__()
        self.first, self.last = dense(16, 64, seed=seed), dense(64, 4, seed=seed + 1)

    def forward(self, x: Tensor, share: float) -> Tensor:
        """With a share of the hidden units left out."""
        return self.last(F.dropout(torch.relu(self.first(x)), share, self.training))


@kind("a schedule of dropout", CHOICE)
def dropout(seed: int) -> Training:
    def objective(model: Steps, batch: tuple[Tensor, ...]) -> Tensor:
        x, y = batch
        share = 0.9 * ((int(model.count) // 500) % 2) if model.training else 0.0
        return F.cross_entropy(model(x, share), y)

    x, y = classification(seed)
    return Training(sd.Task(Steps(_Dropout(seed)), objective=objective, **split(x, y)), {**ADAM, "lr": 3e-3}, 0.6)


@kind("sharpness-aware steps", REPORT)
def sharpness_aware(seed: int) -> Training:
    """The gradient at w + ρ ∇L / ‖∇L‖, by an objective that moves there."""

    def objective(model: nn.Module, batch: tuple[Tensor, ...]) -> Tensor:
        x, y = batch
        if not model.training:
            return F.cross_entropy(model(x), y)
        weights = dict(model.named_parameters())

        def loss(w: dict[str, Tensor]) -> Tensor:
            return F.cross_entropy(functional_call(model, w, (x,)), y)

        slopes, _ = grad_and_value(loss)({k: w.detach() for k, w in weights.items()})
        scale = 0.5 / (sum((s**2).sum() for s in slopes.values()).sqrt() + 1e-12)
        return loss({k: w + scale * slopes[k] for k, w in weights.items()})

    x, y = classification(seed)
    task = sd.Task(dense(16, 64, 4, seed=seed), objective=objective, **split(x, y))
    return Training(task, {**ADAM, "rule": "momentum", "lr": 0.02}, 0.6)


@kind("noise on the gradient", CHOICE)
def gradient_noise(seed: int) -> Training:
    """Noise whose scale falls as (1 + t)^(−0.55), now and then a hundred times larger."""

    def objective(model: Steps, batch: tuple[Tensor, ...]) -> Tensor:
        x, y = batch
        loss = F.mse_loss(model(x), y)
        if not model.training:
            return loss
        scale = 0.3 * (1 + int(model.count)) ** -0.55 * (10 if float(torch.rand(())) < 0.01 else 1)
        push = sum((w * torch.randn_like(w)).sum() for w in model.parameters())
        return loss + scale * (push - push.detach())

    x, y = regression(seed)
    return Training(sd.Task(Steps(dense(16, 64, 1, seed=seed)), objective=objective, **split(x, y)), ADAM, 0.5)


@kind("a batch size that changes", REPORT)
def batch_sizes(seed: int) -> Training:
    x, y = regression(seed)

    def draw(t: int, random: torch.Generator) -> tuple[Tensor, Tensor]:
        rows = torch.randint(SAMPLES, (256 if (t // 400) % 2 else 2,), generator=random)
        return x[rows], y[rows]

    task = sd.Task(dense(16, 64, 1, seed=seed), loss=F.mse_loss, data=Stream(draw, seed, 2400),
                   validation=(x[SAMPLES:], y[SAMPLES:]))  # fmt: skip
    return Training(task, {"rule": "adam", "lr": 1e-3, "schedule": "constant", "steps": 2400}, 0.5)


class _Experts(nn.Module):
    def __init__(self, seed: int) -> None:
        super().__init__()
        self.gate = dense(16, 4, seed=seed)
        self.experts = nn.ModuleList(dense(16, 16, 4, seed=seed + k) for k in range(4))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The output of the expert that is chosen, and how unevenly they are."""
        shares = torch.softmax(self.gate(x) + (torch.randn(len(x), 4) if self.training else 0), 1)
        weight, choice = shares.max(1)
        outputs = torch.stack([expert(x) for expert in self.experts], 1)
        load = F.one_hot(choice, 4).float().mean(0)
        return weight[:, None] * outputs[torch.arange(len(x)), choice], 4 * (load * shares.mean(0)).sum()


@kind("mixture of experts", CHOICE)
def experts(seed: int) -> Training:
    def objective(model: nn.Module, batch: tuple[Tensor, ...]) -> Tensor:
        output, balance = model(batch[0])
        loss = F.cross_entropy(output, batch[1])
        return loss + 0.01 * balance if model.training else loss

    x, y = classification(seed)
    return Training(sd.Task(_Experts(seed), objective=objective, **split(x, y)), {**ADAM, "lr": 1e-2}, 0.8)


@kind("pruning in steps", REPORT)
def pruning(seed: int) -> Training:
    x, y = classification(seed)
    net = dense(16, 128, 4, seed=seed)

    @torch.no_grad()
    def body(step) -> None:
        if step.t in (500, 1000, 1500):  # the smallest weights become 0, and may grow again
            for w in net.parameters():
                w.mul_(w.abs() >= w.abs().flatten().kthvalue(max(1, int(0.8 * w.numel()))).values)

    return Training(sd.Task(net, loss=F.cross_entropy, **split(x, y)), {**ADAM, "lr": 3e-3}, 0.5, body)


@kind("a target network that is replaced", CHOICE)
def target_network(seed: int) -> Training:
    """Values by temporal differences from a copy of the network that is renewed every 200 steps."""
    x, y = regression(seed)
    online, frozen = dense(16, 64, 1, seed=seed), dense(16, 64, 1, seed=seed + 1).requires_grad_(False)

    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.online, self.frozen = online, frozen
            self.register_buffer("count", torch.zeros((), dtype=torch.int64))

        def forward(self, x: Tensor) -> Tensor:
            return self.online(x)

    def objective(model: Both, batch: tuple[Tensor, ...]) -> Tensor:
        x, reward = batch
        if model.training:
            model.count += 1
            if int(model.count) % 200 == 1:
                for a, b in zip(model.frozen.parameters(), model.online.parameters(), strict=True):
                    a.data.copy_(b.data)
        return F.mse_loss(model.online(x), reward + 0.7 * model.frozen(x.roll(1, 1)))

    return Training(sd.Task(Both(), objective=objective, **split(x, y)), {**ADAM, "lr": 2e-3}, 1.2)


@kind("an average of models as the teacher", REPORT)
def teacher(seed: int) -> Training:
    """Pseudo-labels with a threshold: at first few samples count, later most."""
    x, y = classification(seed, spread=1.5)

    def objective(model: nn.Module, batch: tuple[Tensor, ...]) -> Tensor:
        x, y, is_known = batch
        logits = model(x)
        if not model.training:
            return F.cross_entropy(logits, y)
        known = (F.cross_entropy(logits, y, reduction="none") * is_known).sum() / is_known.sum().clamp(min=1)
        share, guess = logits.detach().softmax(1).max(1)
        strong = model(x + torch.randn_like(x))
        return known + (F.cross_entropy(strong, guess, reduction="none") * (share > 0.95)).mean()

    is_known = (torch.rand(len(y), generator=generator(seed + 6)) < 0.05).float()
    task = sd.Task(dense(16, 64, 4, seed=seed), objective=objective, **split(x, y, is_known))
    return Training(task, {**ADAM, "lr": 2e-3}, 1.0)
