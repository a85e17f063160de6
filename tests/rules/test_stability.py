"""Stability limits against the rules' own formulas: the linear map of a step, and real descents on quadratics."""

import math

import numpy as np
import pytest
import torch

from steepest.errors import InputError
from steepest.rules.rule import rule, with_average
from steepest.rules.stability import PreconditionedHessian, limit, preconditioner
from steepest.rules.textbook import RULES
from steepest.rules.update import Update
from steepest.schedule import parse
from steepest.tasks.space import Space
from tests.oracles import SlowUpdate, takes_t

SIGNS = ("lion", "signum")
LR = 0.01
STILL = {"adagrad": "s", "rmsprop": "v", "adam": "v", "adamw": "v", "amsgrad": "v", "nadam": "v", "adamax": "u",
         "radam": "v",
         "adopt": "v",
         "schedule_free_adamw": "v"}  # fmt: skip
"""The slot that is held still: at 1, which small gradients do not change when the others' share of it is 1e-16."""
HYPERS = {"beta2": math.nextafter(1, 0), "eps": 0.0, "weight_decay": 0.0}
LATE = 10**18
UNKNOWN = ("adadelta", "ademamix", "rprop", "asgd")
"""Rules whose limit is not known: `limit` says None."""
LIMITED = [name for name in RULES if name not in (*SIGNS, *UNKNOWN)]


def held(name: str, lr: float = LR, **hypers: float):
    """A rule of which only the linear part is left, and its slots late in a run."""
    found = RULES[name]
    frozen = {k: v for k, v in {**HYPERS, **hypers}.items() if k in found.hypers}
    if name == "rmsprop":
        frozen["beta"] = HYPERS["beta2"]
    slots = {s.name: 0.0 for s in found.slots}
    slots |= {k: 1.0 for k in (STILL.get(name), "v_max") if k in slots}
    slots |= {k: v for k, v in {"mu_product": 0.0, "weight_sum": 1e30, "lr_max": lr}.items() if k in slots}
    return found(lr=lr, **frozen), slots


def radius(name: str, curvature: float, t: int = LATE, **hypers: float) -> float:
    """The spectral radius of one step on λw²/2, by the formula itself applied to each unit of weight and memory."""
    found, slots = held(name, **hypers)
    if "beta2" in found.hypers and "v" in slots:
        slots["v"] = 1 - found.hypers["beta2"] ** t  # so that v̂ = 1
    moving = ["w", *(s for s in slots if slots[s] == 0.0 and s != "mu_product")]
    size, columns = 1e-12, []
    for unit in moving:
        state = {"w": 0.0, **slots} | {unit: size}
        values = {k: torch.tensor(v, dtype=torch.float64) for k, v in state.items()}
        w = values.pop("w")
        given = {**found.hypers, **({"t": t} if takes_t(found) else {})}
        new = found.formula(w, curvature * w, *values.values(), **given)
        after = dict(zip(["w", *slots], new if isinstance(new, tuple) else (new,)))
        columns.append([float(after[m]) / size for m in moving])
    return float(abs(np.linalg.eigvals(np.array(columns).T)).max())


def growth(name: str, curvature: float, steps: int) -> tuple[float, float]:
    """|w| on λw²/2 relative to its start: the largest on the way, and at the end; or as it passes a thousand.

    Beyond that the gradients are no longer small beside the slot that is held still.
    """
    found, slots = held(name)
    slow, largest = SlowUpdate(found, torch.tensor([1e-12])), 0.0
    if name == "schedule_free_adamw":
        slots["z"] = 1e-12
    slow.slots = [torch.full((1,), v, dtype=torch.float64) for v in slots.values()]
    slow.t = LATE
    for _ in range(steps):
        slow.step(curvature * slow.w, {})
        largest = max(largest, slow.w.abs().item() / 1e-12)
        if largest > 1000:
            break
    return largest, slow.w.abs().item() / 1e-12


@pytest.mark.parametrize("name", LIMITED)
@pytest.mark.parametrize("beta", [0.0, 0.5, 0.9])
def test_limit_is_where_the_formula_turns_unstable(name, beta):
    hypers = {k: beta for k in ("beta", "beta1") if k in RULES[name].hypers and name != "rmsprop"}
    value = limit(held(name)[0](**hypers), LR).value
    assert radius(name, value, **hypers) == pytest.approx(1, abs=1e-9)
    assert radius(name, 1.001 * value, **hypers) > 1 + 1e-7
    assert radius(name, 0.999 * value, **hypers) <= 1


@pytest.mark.parametrize("name", ["adamw", "schedule_free_adamw"])
def test_decay_beside_the_step(name):
    value = limit(held(name, weight_decay=20.0)[0], LR).value
    assert value < limit(held(name)[0], LR).value
    assert radius(name, value, weight_decay=20.0) == pytest.approx(1, abs=1e-9)


def test_nadams_momentum_warms_up():
    """The limit at step t is that of the momentum it has then."""
    found = held("nadam")[0]
    assert limit(found, LR, t=500).value < limit(found, LR, t=5000).value < limit(found, LR).value
    assert radius("nadam", limit(found, LR, t=500).value, t=500) == pytest.approx(1, abs=1e-5)  # mu moves meanwhile
    assert radius("nadam", 1.001 * limit(found, LR, t=500).value, t=500) > 1


@pytest.mark.parametrize("name", LIMITED)
def test_real_descents_settle_below_and_run_away_above(name):
    value = limit(held(name)[0], LR).value
    assert growth(name, 0.9 * value, 1500)[1] < 0.9
    assert growth(name, 1.1 * value, 1500)[0] > 1000


@pytest.mark.parametrize("name", UNKNOWN)
def test_an_unknown_limit_is_none(name):
    assert limit(RULES[name], LR) is None


@pytest.mark.parametrize("name", SIGNS)
@pytest.mark.parametrize("curvature", [1.0, 1e3, 1e9])
def test_sign_rules_neither_settle_nor_run_away(name, curvature):
    found = RULES[name](lr=LR)
    slow = SlowUpdate(found, torch.tensor([0.1234567]))
    seen = []
    for _ in range(1000):
        slow.step(curvature * slow.w, {})
        seen.append(slow.w.abs().item())
    assert limit(found, LR) is None
    assert LR / 4 < max(seen[-200:]) < 20 * LR


def test_known_values():
    assert limit(RULES["adam"], 1e-3).value == pytest.approx(38 / 1e-3)
    assert limit(RULES["momentum"], 0.1).value == pytest.approx(38)
    assert limit(RULES["nesterov"], 0.1).value == pytest.approx(3.8 / 0.28)
    assert limit(RULES["gradient_descent"], 0.1) == (found := limit(with_average(RULES["gradient_descent"], 0.9), 0.1))
    assert found is not None
    assert not found.preconditioned


def test_rules_of_ones_own_are_not_known():
    @rule
    def adam(w, g, *, lr=0.1):
        return w - lr * g

    assert limit(adam, 0.1) is None
    net = torch.nn.Linear(2, 1)
    update = Update(Space(net), adam)
    for p in net.parameters():
        p.grad = torch.ones_like(p)
    update.advance(dict(adam.hypers))
    with pytest.raises(InputError, match=r"rule must be one of Steepest's .*, got adam"):
        preconditioner(update, adam.hypers)


def test_refuses_what_cannot_be_meant():
    with pytest.raises(InputError, match="lr must be positive, got 0"):
        limit(RULES["adam"], 0)
    with pytest.raises(InputError, match=r"beta1 of adam must be a number, got .*cosine"):
        limit(RULES["adam"](beta1=0.9 * parse("cosine")), 0.1)
    with pytest.raises(InputError, match="has taken a step"):
        preconditioner(Update(Space(torch.nn.Linear(2, 1)), RULES["adam"]), RULES["adam"].hypers)
    with pytest.raises(InputError, match="P must be positive, got 2 entries"):
        PreconditionedHessian(torch.eye(3), torch.tensor([0.0, 1.0, -1.0]))
    with pytest.raises(InputError, match=r"P must have shape \(3,\), got \(2,\)"):
        PreconditionedHessian(torch.eye(3), torch.ones(2))


# -- Preconditioners ---------------------------------------------------------------------------------------------------

STEPS = 7
DECAYED = 0.01


def rectification(beta2: float, t: int) -> float:
    """r √(1 − β₂ᵗ), as in algorithm 2 of the paper; 1 on what divides where RAdam does not."""
    end = 2 / (1 - beta2) - 1
    rho = end - 2 * t * beta2**t / (1 - beta2**t)
    assert rho > 5, "the test needs a step late enough"
    return math.sqrt((rho - 4) * (rho - 2) * end * (1 - beta2**t) / ((end - 4) * (end - 2) * rho))


def expected(name: str, g: np.ndarray, h: dict) -> np.ndarray:
    """P from all the gradients [STEPS, N] that a rule was shown, written out."""
    past = np.arange(STEPS - 1, -1, -1)[:, None]
    if name == "adagrad":
        return np.sqrt((g**2).sum(0)) + h["eps"]
    if name == "rmsprop":
        return np.sqrt((1 - h["beta"]) * (h["beta"] ** past * g**2).sum(0)) + h["eps"]
    if name == "adamax":
        return (h["beta2"] ** past * (abs(g) + h["eps"])).max(0) * (1 - h["beta1"] ** STEPS)
    if name == "adopt":
        shares = np.where(past == STEPS - 1, 1.0, 1 - h["beta2"])  # the first gradient begins the average
        return np.maximum(np.sqrt((shares * h["beta2"] ** past * g**2).sum(0)), h["eps"])
    if name not in STILL:
        return np.ones(g.shape[1])
    v = [(1 - h["beta2"]) * (h["beta2"] ** past[-n:] * g[:n] ** 2).sum(0) for n in range(1, STEPS + 1)]
    last = np.max(v, 0) if name == "amsgrad" else v[-1]
    if name == "radam":
        return (np.sqrt(last) + h["eps"]) * (1 - h["beta1"] ** STEPS) / rectification(h["beta2"], STEPS)
    root = np.sqrt(last / (1 - h["beta2"] ** STEPS)) + h["eps"]
    return root if name in ("nadam", "schedule_free_adamw") else root * (1 - h["beta1"] ** STEPS)


@pytest.mark.parametrize("name", RULES)
def test_preconditioner_is_what_the_gradients_say(name):
    net = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Linear(4, 2)).double()
    space = Space(net, {"1.*": {"lr_scale": 0.25}})
    update, hypers = Update(space, RULES[name]), {**RULES[name].hypers, "weight_decay": 0.0}
    generator, shown = torch.Generator().manual_seed(1), []
    for _ in range(STEPS):
        for p in net.parameters():
            p.grad = torch.randn(p.shape, dtype=p.dtype, generator=generator)
        shown.append(torch.cat([p.grad.reshape(-1) for p in net.parameters()]).numpy())
        update.advance(hypers)
    scale = np.repeat([1.0, 0.25], [16, 10])
    found = preconditioner(update, hypers)
    np.testing.assert_allclose(found.numpy(), expected(name, np.array(shown), hypers) / scale, rtol=1e-12)


def test_preconditioned_hessian_against_the_dense_one():
    generator = torch.Generator().manual_seed(2)
    a = torch.randn(6, 6, dtype=torch.float64, generator=generator)
    h, p, v = a + a.T, torch.rand(6, dtype=torch.float64, generator=generator) + 0.1, a[0]
    dense = torch.diag(p**-0.5) @ (h + 0.3 * torch.eye(6)) @ torch.diag(p**-0.5)
    operator = PreconditionedHessian(h, p, decay=0.3)
    assert operator.shape == (6, 6)
    torch.testing.assert_close(operator @ v, dense @ v)
