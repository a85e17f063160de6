"""Data that change, are rare, wrong, ordered, or drawn by the model itself."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import steepest as sd
from benchmarks.guard.healthy.losses import ADAM
from benchmarks.guard.healthy.training import (
    CHOICE,
    REPORT,
    SAMPLES,
    VALIDATION,
    Stream,
    Training,
    classification,
    dense,
    generator,
    kind,
    regression,
    split,
)  # fmt: skip

STEPS = 2000


@kind("a class of 1 % with a large weight", CHOICE)
def rare_class(seed: int) -> Training:
    x, _ = regression(seed)
    y = ((x[:, 0] + x[:, 1]) > 3.3).long()
    loss = nn.CrossEntropyLoss(weight=torch.tensor([1.0, 100.0]))
    return Training(sd.Task(dense(16, 32, 2, seed=seed), loss=loss, **split(x, y)), {**ADAM, "batch_size": 16}, 0.5)


@kind("label noise of 40 %", REPORT)
def label_noise(seed: int) -> Training:
    x, y = classification(seed)
    random = generator(seed + 1)
    wrong = torch.rand(len(y), generator=random) < 0.4
    noisy = torch.where(wrong, torch.randint(4, y.shape, generator=random), y)
    task = sd.Task(dense(16, 64, 4, seed=seed), loss=F.cross_entropy, **split(x, noisy))
    return Training(task, {**ADAM, "steps": 2500}, 1.35)


@kind("domains in order", CHOICE)
def domains(seed: int) -> Training:
    """Four domains one after another, each with its own inputs and targets; measured on the last one."""
    random = generator(seed)
    maps = torch.randn(4, 16, 1, generator=random)
    shifts = 2 * torch.randn(4, 16, generator=random)

    def draw(t: int, random: torch.Generator, domain: int | None = None) -> tuple[Tensor, Tensor]:
        d = min(3, 4 * (t - 1) // STEPS) if domain is None else domain
        x = torch.randn(32, 16, generator=random) + shifts[d]
        return x, x @ maps[d] * (1 + d)

    validation = [draw(1, random, 3) for _ in range(8)]
    task = sd.Task(dense(16, 64, 1, seed=seed), loss=F.mse_loss, data=Stream(draw, seed, STEPS), validation=validation)
    return Training(task, {"rule": "adam", "lr": 3e-3, "schedule": "constant", "steps": STEPS}, 20.0)


@kind("tasks in turn, scales 100 apart", REPORT)
def tasks_in_turn(seed: int) -> Training:
    """Two tasks for one network, a hundred steps each; the targets of the second are ten times larger."""
    maps = torch.randn(2, 16, 1, generator=generator(seed))

    def draw(t: int, random: torch.Generator) -> tuple[Tensor, Tensor]:
        task = (t - 1) // 100 % 2
        x = torch.randn(32, 16, generator=random)
        x[:, 0] = task
        return x, x @ maps[task] * (1, 10)[task]

    random = generator(seed + 2)
    validation = [draw(1 + 100 * k, random) for k in range(8)]
    task = sd.Task(dense(16, 64, 1, seed=seed), loss=F.mse_loss, data=Stream(draw, seed, STEPS), validation=validation)
    return Training(task, {"rule": "adam", "lr": 3e-3, "schedule": "constant", "steps": STEPS}, 300.0)


class _Reader(nn.Module):
    def __init__(self, seed: int) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.memory, self.out = nn.GRU(2, 24, batch_first=True), nn.Linear(24, 1)

    def forward(self, x: Tensor) -> Tensor:
        """The sum of the marked numbers of a sequence."""
        return self.out(self.memory(x)[0][:, -1])


@kind("curriculum of length", REPORT)
def curriculum(seed: int) -> Training:
    def draw(t: int, random: torch.Generator, length: int | None = None) -> tuple[Tensor, Tensor]:
        n = 4 + 4 * ((t - 1) // 400) if length is None else length
        x = torch.randn(32, n, 2, generator=random)
        x[..., 1] = (torch.rand(32, n, generator=random) < 0.5).float()
        return x, x.prod(-1).sum(1, keepdim=True)

    validation = [draw(1, generator(seed + 3), 20) for _ in range(4)]
    task = sd.Task(_Reader(seed), loss=F.mse_loss, data=Stream(draw, seed, STEPS), validation=validation)
    return Training(task, {"rule": "adam", "lr": 3e-3, "schedule": "constant", "steps": STEPS}, 7.0)


@kind("adversarial examples", CHOICE)
def adversarial(seed: int) -> Training:
    def objective(model: nn.Module, batch: tuple[Tensor, ...]) -> Tensor:
        x, y = batch
        with torch.enable_grad():
            moved = x.detach().requires_grad_()
            (slope,) = torch.autograd.grad(F.cross_entropy(model(moved), y), moved)
        return F.cross_entropy(model(x + 0.3 * slope.sign()), y)

    x, y = classification(seed)
    task = sd.Task(dense(16, 64, 4, seed=seed), objective=objective, **split(x, y))
    return Training(task, {**ADAM, "rule": "momentum", "lr": 0.05}, 0.8)


class _Policy(nn.Module):
    def __init__(self, seed: int, heads: int) -> None:
        super().__init__()
        self.net = dense(8, 32, 4 + heads, seed=seed)
        self.register_buffer("best", torch.randn(8, 4, generator=generator(seed)))

    def forward(self, state: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Log-probabilities, rewards of sampled actions, and what the other outputs are."""
        output = self.net(state)
        log_p = F.log_softmax(output[:, :4], 1)
        action = torch.multinomial(log_p.exp(), 1)
        reward = (action.squeeze(1) == (state @ self.best).argmax(1)).float()
        return log_p.gather(1, action).squeeze(1), reward, output[:, 4:]


@kind("policy gradient", REPORT)
def policy_gradient(seed: int) -> Training:
    def objective(model: _Policy, batch: tuple[Tensor, ...]) -> Tensor:
        log_p, reward, _ = model(*batch)
        return -(log_p * (reward - 0.25)).mean() if model.training else -reward.mean()

    x = torch.randn(SAMPLES + VALIDATION, 8, generator=generator(seed + 4))
    return Training(sd.Task(_Policy(seed, 0), objective=objective, **split(x)), {**ADAM, "lr": 3e-3}, -0.5)


@kind("actor and critic", CHOICE)
def actor_critic(seed: int) -> Training:
    def objective(model: _Policy, batch: tuple[Tensor, ...]) -> Tensor:
        log_p, reward, value = model(*batch)
        if not model.training:
            return -reward.mean()
        advantage = reward - value.squeeze(1)
        return -(log_p * advantage.detach()).mean() + 0.5 * (advantage**2).mean() + 0.01 * log_p.mean()

    x = torch.randn(SAMPLES + VALIDATION, 8, generator=generator(seed + 4))
    return Training(sd.Task(_Policy(seed, 1), objective=objective, **split(x)), {**ADAM, "lr": 3e-3}, -0.5)


@kind("diffusion", REPORT)
def diffusion(seed: int) -> Training:
    net = dense(3, 64, 64, 2, seed=seed)

    def objective(model: nn.Module, batch: tuple[Tensor, ...]) -> Tensor:
        (x,) = batch
        time = torch.rand(len(x), 1)
        noise = torch.randn_like(x)
        signal = torch.cos(time * torch.pi / 2)
        return F.mse_loss(model(torch.cat([signal * x + (1 - signal**2).sqrt() * noise, time], 1)), noise)

    angle = 6.3 * torch.rand(SAMPLES + VALIDATION, generator=generator(seed))
    x = torch.stack([angle.cos(), angle.sin()], 1) * (1 + 0.1 * angle[:, None])
    return Training(sd.Task(net, objective=objective, **split(x)), ADAM, 0.8)


@kind("sparse rewards: most targets are 0", CHOICE)
def sparse_targets(seed: int) -> Training:
    x, _ = regression(seed)
    y = torch.where(x[:, :1] > 1.8, 10 * x[:, 1:2], torch.zeros(len(x), 1))
    return Training(
        sd.Task(dense(16, 64, 1, seed=seed), loss=F.mse_loss, **split(x, y)), {**ADAM, "batch_size": 2}, 4.0
    )


class _Language(nn.Module):
    def __init__(self, seed: int) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.embed, self.memory, self.out = (
                nn.Embedding(20, 16),
                nn.LSTM(16, 32, batch_first=True),
                nn.Linear(32, 20),
            )

    def forward(self, x: Tensor) -> Tensor:
        """Logits of the next symbol."""
        return self.out(self.memory(self.embed(x))[0]).transpose(1, 2)


@kind("masked symbols of sequences", REPORT)
def masked_symbols(seed: int) -> Training:
    """A Markov chain of 20 symbols; in a batch between 1 and all targets count."""
    random = generator(seed)
    chain = torch.softmax(3 * torch.randn(20, 20, generator=random), 1)
    symbols = [torch.randint(20, (SAMPLES + VALIDATION,), generator=random)]
    for _ in range(12):
        symbols.append(torch.multinomial(chain[symbols[-1]], 1, generator=random).squeeze(1))
    text = torch.stack(symbols, 1)
    target = text[:, 1:].clone()
    target[torch.rand(target.shape, generator=random) > torch.rand(len(target), 1, generator=random) ** 3] = -100
    target[:, 0] = text[:, 1]
    task = sd.Task(_Language(seed), loss=F.cross_entropy, **split(text[:, :-1], target))
    return Training(task, {**ADAM, "lr": 3e-3, "batch_size": 8}, 2.5)
