"""Every rule against the library that people use for it, on the gradients of a real network."""

import contextlib
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import pytorch_optimizer
import schedulefree
import torch
from torch import Tensor, nn

from steepest.errors import InputError, UnknownNameError
from steepest.rules.rule import Rule
from steepest.rules.textbook import RULES, find_rule
from steepest.rules.update import Update
from steepest.tasks.space import Space
from tests.oracles import SlowUpdate, furthest

STEPS = 400
"""More than the longest warmup of a rule here, and two of the rate's waves."""
TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-12}
"""Of ‖ours − theirs‖ / ‖theirs‖, the largest over the parameters."""


@dataclass(frozen=True)
class Peer:
    """Another library's form of a rule: how to make it, and the rate and hyperparameters that both get."""

    make: Callable[..., torch.optim.Optimizer]
    lr: float
    hypers: dict[str, float]
    weight_decay: float = 0.01


def _torch(kind: type, **given: Any) -> Callable[..., torch.optim.Optimizer]:
    return lambda groups: kind(groups, **given)


def _schedule_free(groups: list[dict]) -> torch.optim.Optimizer:
    optimizer = schedulefree.AdamWScheduleFree(groups, betas=(0.9, 0.99), foreach=False)
    optimizer.train()
    return optimizer


ADAM = {"beta1": 0.9, "beta2": 0.99, "eps": 1e-8}
BETAS = (0.9, 0.99)
PEERS: dict[str, Peer] = {
    "gradient_descent": Peer(_torch(torch.optim.SGD), 0.05, {}),
    "momentum": Peer(_torch(torch.optim.SGD, momentum=0.8), 0.01, {"beta": 0.8}),
    "nesterov": Peer(_torch(torch.optim.SGD, momentum=0.8, nesterov=True), 0.01, {"beta": 0.8}),
    "adagrad": Peer(_torch(torch.optim.Adagrad, eps=1e-10), 0.02, {"eps": 1e-10}),
    # eps outside the root, as torch has it and as the lecture has none
    "rmsprop": Peer(_torch(torch.optim.RMSprop, alpha=0.95), 1e-3, {"beta": 0.95}),
    "adam": Peer(_torch(torch.optim.Adam, betas=BETAS), 1e-3, ADAM),
    "adamw": Peer(_torch(torch.optim.AdamW, betas=BETAS), 1e-3, ADAM, weight_decay=0.1),
    # the largest v is kept before its bias correction, as torch has it
    "amsgrad": Peer(_torch(torch.optim.Adam, betas=BETAS, amsgrad=True), 1e-3, ADAM),
    "nadam": Peer(_torch(torch.optim.NAdam, betas=BETAS, momentum_decay=0.01), 1e-3, {**ADAM, "decay": 0.01}),
    # eps is added to |g| inside the maximum, as torch has it
    "adamax": Peer(_torch(torch.optim.Adamax, betas=BETAS), 1e-3, ADAM),
    "radam": Peer(_torch(torch.optim.RAdam, betas=BETAS), 1e-3, ADAM),
    "adadelta": Peer(_torch(torch.optim.Adadelta, rho=0.8), 0.5, {"rho": 0.8}),
    # the clip counts the steps that move, as in the authors' code
    "adopt": Peer(
        _torch(pytorch_optimizer.ADOPT, betas=BETAS, clip_lambda=lambda t: (t - 1) ** 0.25), 1e-3, ADAM | {"eps": 1e-6}
    ),
    "ademamix": Peer(
        _torch(pytorch_optimizer.AdEMAMix, betas=(0.9, 0.99, 0.999), alpha=4.0, t_alpha_beta3=300.0,
               weight_decouple=True),
        1e-3, {**ADAM, "beta3": 0.999, "alpha": 4.0, "warmup": 300.0}, weight_decay=0.1,
    ),
    "rprop": Peer(_torch(torch.optim.Rprop, etas=(0.4, 1.1)), 1e-3, {"eta_minus": 0.4, "eta_plus": 1.1}, 0.0),
    "asgd": Peer(_torch(torch.optim.ASGD, lambd=1e-3, t0=100.0), 0.02, {"lambd": 1e-3, "t0": 100.0}),
    "lion": Peer(
        _torch(pytorch_optimizer.Lion, betas=(0.9, 0.99), weight_decouple=True),
        1e-4, {"beta1": 0.9, "beta2": 0.99}, weight_decay=0.1,
    ),
    # weight decay beside the sign, m ← β m + (1 − β) g
    "signum": Peer(
        _torch(pytorch_optimizer.SignSGD, momentum=0.9, weight_decouple=True), 1e-4, {"beta": 0.9}, weight_decay=0.1
    ),
    "schedule_free_adamw": Peer(_schedule_free, 2e-3, ADAM, weight_decay=0.1),
}  # fmt: skip


# -- The network -------------------------------------------------------------------------------------------------------


def network() -> nn.Sequential:
    """2-24-24-1 with a norm, from one fixed start."""
    with torch.random.fork_rng():
        torch.manual_seed(5)
        return nn.Sequential(
            nn.Linear(2, 24), nn.Tanh(), nn.Linear(24, 24), nn.LayerNorm(24), nn.Tanh(), nn.Linear(24, 1)
        )


def data() -> tuple[Tensor, Tensor]:
    """A noisy surface over the square."""
    generator = torch.Generator().manual_seed(6)
    x = torch.rand(256, 2, generator=generator) * 4 - 2
    y = torch.sin(x[:, :1] * 2) * x[:, 1:] + 0.1 * torch.randn(256, 1, generator=generator)
    return x, y


def rate(lr: float, t: int) -> float:
    """A rate that differs at every step, by a warm-up and waves."""
    return lr * min(1.0, t / 50) * (0.6 + 0.4 * math.cos(t / 30))


@pytest.fixture(scope="module")
def gradients() -> list[list[Tensor]]:
    """The mini-batch gradients of 400 steps of training, float64."""
    net, (x, y) = network().double(), data()
    x, y, found = x.double(), y.double(), []
    optimizer = torch.optim.Adam(net.parameters(), 3e-3)
    generator = torch.Generator().manual_seed(7)
    for _ in range(STEPS):
        batch = torch.randint(len(x), (32,), generator=generator)
        optimizer.zero_grad()
        nn.functional.mse_loss(net(x[batch]), y[batch]).backward()
        found.append([p.grad.clone() for p in net.parameters()])
        optimizer.step()
    return found


@contextlib.contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    """NAdam of torch keeps its product of momenta in the default dtype."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


GROUPS = {"2.*": {"lr_scale": 0.3}}
"""The middle layer learns at 0.3 of the rate; biases and the norm have no weight decay, which is the default."""


def groups(net: nn.Module, weight_decay: float) -> list[dict]:
    """The same groups for the peer: each parameter is one, with its factor of the rate."""
    return [
        {"params": [p], "lr": 0.0, "weight_decay": weight_decay if p.dim() > 1 else 0.0, "scale": scale}
        for name, p in net.named_parameters()
        for scale in [0.3 if name.startswith("2.") else 1.0]
    ]


class Theirs:
    """The peer, with the rate of each group set before a step."""

    def __init__(self, net: nn.Module, peer: Peer) -> None:
        self.peer, self.optimizer = peer, peer.make(groups(net, peer.weight_decay))

    def step(self, t: int) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = rate(self.peer.lr, t) * group["scale"]
        self.optimizer.step()


class Ours:
    """Our rule, by the same interface."""

    def __init__(self, net: nn.Module, name: str, peer: Peer) -> None:
        self.update = Update(Space(net, GROUPS), RULES[name])
        self.hypers = {**RULES[name].hypers, **peer.hypers, "weight_decay": peer.weight_decay}
        self.lr = peer.lr

    def step(self, t: int) -> None:
        self.update.advance({**self.hypers, "lr": rate(self.lr, t)})


# -- The tests ---------------------------------------------------------------------------------------------------------


def test_every_rule_has_a_peer():
    assert set(PEERS) == set(RULES)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", RULES)
def test_same_gradients_same_weights(name, dtype, gradients):
    with default_dtype(dtype):
        mine, yours = network().to(dtype), network().to(dtype)
        ours, theirs = Ours(mine, name, PEERS[name]), Theirs(yours, PEERS[name])
        for t, recorded in enumerate(gradients, 1):
            for p, q, g in zip(mine.parameters(), yours.parameters(), recorded):
                p.grad, q.grad = g.to(dtype), g.to(dtype)  # of each its own: schedulefree writes into it
            ours.step(t)
            theirs.step(t)
        assert furthest(dict(mine.named_parameters()), dict(yours.named_parameters())) <= TOLERANCE[dtype]
        if name == "schedule_free_adamw":
            reported = ours.update.reported_weights(ours.hypers)
            theirs.optimizer.eval()
            assert furthest(reported, list(yours.parameters())) <= TOLERANCE[dtype]
        elif name == "asgd":
            averages = [theirs.optimizer.state[p]["ax"] for p in yours.parameters()]
            assert furthest(ours.update.reported_weights(ours.hypers), averages) <= TOLERANCE[dtype]
        else:
            assert ours.update.reported_weights(ours.hypers) is None
    assert ours.update.t == STEPS


@pytest.mark.parametrize("name", RULES)
def test_same_loss_curve(name):
    x, y = data()
    curves = []
    for make in (lambda net: Ours(net, name, PEERS[name]), lambda net: Theirs(net, PEERS[name])):
        net = network()
        stepper, curve = make(net), []
        for t in range(1, 101):
            net.zero_grad()
            loss = nn.functional.mse_loss(net(x), y)
            loss.backward()
            curve.append(loss.item())
            stepper.step(t)
        curves.append(curve)
    assert curves[0] == pytest.approx(curves[1], rel=1e-3)
    assert curves[0][-1] < curves[0][0]


@pytest.mark.parametrize("name", ["schedule_free_adamw", "adam"])
def test_rate_zero_at_first(name):
    """A warm-up may begin at 0: nothing moves, and nothing is divided by 0."""
    rule = RULES[name]
    net = network()
    before = [p.detach().clone() for p in net.parameters()]
    update = Update(Space(net), rule)
    for lr in (0.0, 1e-3):
        for p in net.parameters():
            p.grad = torch.ones_like(p)
        moved = update.advance({**rule.hypers, "lr": lr})
        assert (moved == 0.0) is (lr == 0.0)
        assert torch.isfinite(torch.cat([p.flatten() for p in net.parameters()])).all()
    assert furthest(before, list(net.parameters())) > 0


@pytest.mark.parametrize("name", RULES)
def test_default_rate(name):
    """Every rule brings a rate of its own, and goes downhill with it on a bowl."""
    rule = RULES[name]
    slow = SlowUpdate(rule, torch.tensor([1.0, -2.0]))
    for _ in range(50):
        slow.step(slow.w, {})
    assert rule.hypers["lr"] > 0
    assert slow.w.norm() < torch.tensor([1.0, -2.0]).norm()


@pytest.mark.parametrize("name", RULES)
def test_says_what_it_is(name):
    rule = RULES[name]
    assert rule.summary.endswith(".")
    assert any(year in rule.citation for year in map(str, range(1847, 2026)))
    assert rule.source.startswith(f"def {name}(w, g") or rule.source.startswith(f"def {name}(\n    w, g")
    assert '"""' not in rule.source


def test_named():
    assert find_rule("adam") is RULES["adam"]
    assert find_rule(RULES["lion"]) is RULES["lion"]
    with pytest.raises(UnknownNameError, match=r"Unknown rule 'lyon'. Did you mean 'lion'"):
        find_rule("lyon")
    with pytest.raises(InputError, match=r"rule must be a name such as 'adam', a rule such as sd.adam\(\), .*, got 3"):
        find_rule(3)  # type: ignore[arg-type]


def test_other_hyperparameters():
    rule = RULES["momentum"](beta=0.5)
    assert isinstance(rule, Rule)
    assert rule.hypers["beta"] == 0.5
    assert RULES["momentum"].hypers["beta"] == 0.9
    assert repr(rule) == "momentum(lr=0.01, beta=0.5, weight_decay=0.0)"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"bta": 0.5}, "Unknown hyperparameter 'bta' of momentum. Did you mean 'beta'"),
        ({"beta": 1.0}, "beta of momentum must be at least 0 and below 1, got 1"),
        ({"beta": float("nan")}, "beta of momentum must be a finite number or a schedule, got nan"),
        ({"lr": 0}, "lr of momentum must be a positive number, such as 1e-3, got 0"),
        ({"lr": "fast"}, "lr of momentum must be a finite number or a schedule, got 'fast'"),
        ({"lr": True}, "lr of momentum must be a finite number or a schedule, got True"),
        ({"weight_decay": -1}, "weight_decay of momentum must be at least 0, got -1"),
    ],
)
def test_refuses_what_cannot_be_meant(given, message):
    with pytest.raises(InputError, match=message):
        RULES["momentum"](**given)
