"""Losses that are often 0, below 0, heavy-tailed, or sums of several."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import steepest as sd
from benchmarks.guard.healthy.training import (
    CHOICE,
    REPORT,
    SAMPLES,
    VALIDATION,
    Steps,
    Training,
    classification,
    dense,
    generator,
    kind,
    regression,
    split,
)  # fmt: skip

SGD = {"rule": "gradient_descent", "schedule": "constant"}
ADAM = {"rule": "adam", "lr": 1e-3, "schedule": "constant", "batch_size": 32, "steps": 2000}


def _signs(seed: int) -> tuple[Tensor, Tensor]:
    """Inputs and labels ±1 of a noisy half-space."""
    random = generator(seed)
    x = torch.randn(SAMPLES + VALIDATION, 10, generator=random)
    w = torch.randn(10, generator=random)
    return x, torch.sign(x @ w + 0.3 * torch.randn(len(x), generator=random))


@kind("hinge loss, single samples", CHOICE)
def hinge(seed: int) -> Training:
    def loss(output: Tensor, y: Tensor) -> Tensor:
        return torch.relu(1 - output.squeeze(-1) * y).mean()

    task = sd.Task(dense(10, 1, seed=seed), loss=loss, **split(*_signs(seed)))
    return Training(task, {**SGD, "lr": 0.05, "batch_size": 1, "steps": 3000}, 0.5)


@kind("perceptron, single samples", REPORT)
def perceptron(seed: int) -> Training:
    def loss(output: Tensor, y: Tensor) -> Tensor:
        return torch.relu(-output.squeeze(-1) * y).mean()

    task = sd.Task(dense(10, 1, seed=seed), loss=loss, **split(*_signs(seed)))
    return Training(task, {**SGD, "lr": 0.1, "batch_size": 1, "steps": 3000}, 0.2)


class _Triplets(nn.Module):
    def __init__(self, seed: int) -> None:
        super().__init__()
        self.embed = dense(16, 32, 8, seed=seed)

    def forward(self, anchor: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
        """Losses of triplets: most are 0 once the classes are apart."""
        a, p, n = (F.normalize(self.embed(x), dim=1) for x in (anchor, positive, negative))
        return F.triplet_margin_loss(a, p, n, margin=0.3)


@kind("triplet loss with a margin", REPORT)
def triplet(seed: int) -> Training:
    x, y = classification(seed, spread=0.8)
    random = generator(seed)
    order = torch.randperm(len(x), generator=random)
    same = torch.stack([order[y[order] == c][torch.randint(100, (1,), generator=random)[0]] for c in y])
    other = torch.stack([order[y[order] != c][torch.randint(100, (1,), generator=random)[0]] for c in y])
    task = sd.Task(_Triplets(seed), objective=lambda model, batch: model(*batch), **split(x, x[same], x[other]))
    return Training(task, {**ADAM, "batch_size": 4}, 0.1)


class _Pairs(nn.Module):
    def __init__(self, seed: int) -> None:
        super().__init__()
        self.left, self.right = dense(16, 32, 8, seed=seed), dense(16, 32, 8, seed=seed + 1)
        self.log_scale = nn.Parameter(torch.tensor(math.log(10.0)))

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """InfoNCE with a learned temperature."""
        a, b = F.normalize(self.left(x), dim=1), F.normalize(self.right(y), dim=1)
        logits = self.log_scale.exp().clamp(max=100) * a @ b.T
        target = torch.arange(len(x))
        return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2


@kind("contrastive loss with a learned temperature", CHOICE)
def contrastive(seed: int) -> Training:
    random = generator(seed)
    shared = torch.randn(SAMPLES + VALIDATION, 16, generator=random)
    views = [shared + 0.3 * torch.randn(shared.shape, generator=random) for _ in range(2)]
    task = sd.Task(_Pairs(seed), objective=lambda model, batch: model(*batch), **split(*views))
    return Training(task, {**ADAM, "lr": 3e-3}, 4.0)


@kind("single samples near interpolation", CHOICE)
def interpolation(seed: int) -> Training:
    x, y = regression(seed, noise=0.0)
    wide = dense(16, 256, 1, activation=nn.Tanh, seed=seed)
    task = sd.Task(wide, loss=F.mse_loss, data=(x[:40], y[:40]), validation=(x[:40], y[:40]))
    return Training(task, {**SGD, "lr": 0.01, "batch_size": 1, "steps": 4000}, 0.05)


def _focal(output: Tensor, y: Tensor) -> Tensor:
    log_p = F.logsigmoid(torch.where(y > 0, output.squeeze(-1), -output.squeeze(-1)))
    return (-((1 - log_p.exp()) ** 2) * log_p).mean()


@kind("focal loss, a class of 2 %", REPORT)
def focal(seed: int) -> Training:
    x, _ = regression(seed)
    y = ((x[:, 0] + x[:, 1]) > 2.9).float()
    task = sd.Task(dense(16, 32, 1, seed=seed), loss=_focal, **split(x, y))
    return Training(task, {**ADAM, "batch_size": 8}, 0.02)


@kind("heavy-tailed targets, squared error", CHOICE)
def heavy_tails(seed: int) -> Training:
    x, y = regression(seed)
    noisy = y + 0.5 * _student(seed, y.shape)
    data, validation = (x[:SAMPLES], noisy[:SAMPLES]), (x[SAMPLES:], y[SAMPLES:])
    task = sd.Task(dense(16, 64, 1, seed=seed), loss=F.mse_loss, data=data, validation=validation)
    return Training(task, {**ADAM, "batch_size": 16}, 1.0)


def _student(seed: int, shape: torch.Size) -> Tensor:
    """Student's t with two degrees of freedom, by its quantiles."""
    u = torch.rand(shape, generator=generator(seed + 7)).clamp(1e-4, 1 - 1e-4)
    return (2 * u - 1) / (2 * u * (1 - u)).sqrt()


@kind("quantile loss of skewed targets", REPORT)
def quantile(seed: int) -> Training:
    def loss(output: Tensor, y: Tensor) -> Tensor:
        rest = y - output
        return torch.maximum(0.9 * rest, -0.1 * rest).mean()

    x, y = regression(seed)
    y = y + torch.randn(y.shape, generator=generator(seed + 3)).exp()
    return Training(sd.Task(dense(16, 64, 1, seed=seed), loss=loss, **split(x, y)), {**ADAM, "batch_size": 16}, 0.5)


class _Density(nn.Module):
    def __init__(self, seed: int) -> None:
        super().__init__()
        self.net = dense(16, 64, 2, seed=seed)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """−log density of a Gaussian, which falls below 0."""
        mean, log_variance = self.net(x).chunk(2, 1)
        return (0.5 * (log_variance + (y - mean) ** 2 * (-log_variance).exp())).mean()


@kind("loss that falls below 0", CHOICE)
def below_zero(seed: int) -> Training:
    x, y = regression(seed, noise=0.02)
    task = sd.Task(_Density(seed), objective=lambda model, batch: model(*batch), **split(0.5 * x, 0.1 * y))
    return Training(task, {**ADAM, "lr": 2e-3}, -0.5)


@kind("loss at rounding", REPORT)
def rounding(seed: int) -> Training:
    x = torch.randn(SAMPLES + VALIDATION, 8, generator=generator(seed))
    y = x @ torch.randn(8, 1, generator=generator(seed + 1))
    task = sd.Task(dense(8, 1, seed=seed), loss=F.mse_loss, **split(x, y))
    return Training(task, {**SGD, "lr": 0.1, "batch_size": "full", "steps": 2000}, 1e-10)


class _Autoencoder(nn.Module):
    def __init__(self, seed: int) -> None:
        super().__init__()
        self.encode, self.decode = dense(16, 32, 8, seed=seed), dense(4, 32, 16, seed=seed + 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Squared error and Kullback–Leibler divergence, both by sample."""
        mean, log_variance = self.encode(x).chunk(2, 1)
        code = mean + torch.randn_like(mean) * (log_variance / 2).exp()
        divergence = -0.5 * (1 + log_variance - mean**2 - log_variance.exp()).sum(1)
        return F.mse_loss(self.decode(code), x), divergence.mean()


def _autoencoder(seed: int, weight, baseline: float) -> Training:
    """A variational autoencoder whose second term has a weight by step; it is measured at the last weight."""

    def objective(model: Steps, batch: tuple[Tensor, ...]) -> Tensor:
        error, divergence = model(*batch)
        return error + weight(int(model.count) if model.training else 2000) * divergence

    x, _ = classification(seed)
    return Training(sd.Task(Steps(_Autoencoder(seed)), objective=objective, **split(x)), ADAM, baseline)


@kind("VAE with annealing", CHOICE)
def annealing(seed: int) -> Training:
    return _autoencoder(seed, lambda t: min(1.0, t / 1000), 8.0)


@kind("a term switched on", CHOICE)
def term_on(seed: int) -> Training:
    return _autoencoder(seed, lambda t: 0.0 if t < 400 else 3.0, 12.0)


@kind("a term switched on and off", REPORT)
def term_on_and_off(seed: int) -> Training:
    return _autoencoder(seed, lambda t: 20.0 if t // 300 % 2 else 0.01, 3.5)


@kind("ranking of pairs, hinge", REPORT)
def ranking(seed: int) -> Training:
    def objective(model: nn.Module, batch: tuple[Tensor, ...]) -> Tensor:
        x, y = batch
        scores = model(x).squeeze(-1)
        wins = (y.squeeze(-1)[:, None] > y.squeeze(-1)[None, :] + 0.5).float()
        return (torch.relu(1 - scores[:, None] + scores[None, :]) * wins).sum() / wins.sum().clamp(min=1)

    x, y = regression(seed)
    task = sd.Task(dense(16, 32, 1, seed=seed), objective=objective, **split(x, y))
    return Training(task, {**ADAM, "batch_size": 4}, 0.6)


@kind("counts by Poisson", REPORT)
def poisson(seed: int) -> Training:
    x, y = regression(seed)
    counts = torch.poisson((0.8 * y).exp().clamp(max=50), generator=generator(seed + 9))
    task = sd.Task(dense(16, 32, 1, seed=seed), loss=F.poisson_nll_loss, **split(x, counts))
    return Training(task, {**ADAM, "batch_size": 8}, 0.9)
