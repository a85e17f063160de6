"""One update: the compiled kernel against the eager reference, and both against the formula called by hand."""

import copy
import gc
import math
import weakref

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import steepest.rules.update as module
from steepest.descent.state import copy_state
from steepest.errors import InputError, TaskError
from steepest.rules import slots
from steepest.rules.rule import rule, scalar
from steepest.rules.textbook import RULES
from steepest.rules.trace import where
from steepest.rules.update import Update
from steepest.tasks.space import Space
from tests.oracles import SlowUpdate, Tensors, apart, furthest

SHAPES = {"one": (1,), "seven": (7,), "odd": (3, 11), "blocks": (32768 + 5,), "three": (2, 3, 5)}
"""Odd sizes, one of more than one block of the kernel."""
ROWS = (1, 0, 0, 2, 0)
OVERRIDES = ({}, {"weight_decay": 0.0}, {"weight_decay": 0.02, "lr_scale": 0.3})
EXACT = {torch.float32: 2e-6, torch.float64: 1e-14}
"""Kernel against eager after a few steps: a few roundings apart, ‖a − b‖ / ‖b‖."""
NAMES = list(SHAPES)


@pytest.fixture(params=["kernel", "eager"])
def path(request, monkeypatch):
    """Both ways an update can run."""
    if request.param == "eager":
        monkeypatch.setattr(module, "KernelGroup", module.EagerGroup)
    return request.param


def eagerly(monkeypatch, make):
    """What `make` makes, with everything on the eager path."""
    with monkeypatch.context() as patch:
        patch.setattr(module, "KernelGroup", module.EagerGroup)
        return make()


def point(dtype: torch.dtype, members: int | None = None, seed: int = 0) -> Tensors:
    generator = torch.Generator().manual_seed(seed)
    lead = () if members is None else (members,)
    parts = {
        name: torch.randn(*lead, *shape, generator=generator, dtype=torch.float64).to(dtype).requires_grad_()
        for name, shape in SHAPES.items()
    }
    return Tensors(parts, ROWS, OVERRIDES)


def give_gradients(at: Tensors, t: int, seed: int = 1) -> None:
    generator = torch.Generator().manual_seed(1000 * seed + t)
    for p in at.tensors():
        p.grad = torch.randn(p.shape, generator=generator, dtype=torch.float64).to(p.dtype)


def hypers_of(name: str, t: int, members: int | None = None) -> dict:
    """Hyperparameters of step t; for members an array [K] each, all different."""
    lr = {"adadelta": 1.0, "adopt": 0.1}.get(name, 0.01)  # their first steps are shorter than others'
    found = dict(RULES[name].hypers) | {"weight_decay": 0.1, "lr": lr / t}
    if members is None:
        return found
    shift = np.arange(members)
    return {
        k: v * (1 + 0.2 * shift) if k in ("lr", "weight_decay", "eps") else v * 0.97**shift for k, v in found.items()
    }


def of_member(hypers: dict, k: int) -> dict:
    return {name: float(value[k]) for name, value in hypers.items()}


def slow_ones(name: str, at: Tensors, member: int | None = None) -> dict[str, SlowUpdate]:
    return {
        n: SlowUpdate(RULES[name], p if member is None else p[member], OVERRIDES[row])
        for (n, p), row in zip(at.parts.items(), ROWS, strict=True)
    }


# -- Kernel, eager, by hand --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", RULES)
def test_kernel_is_eager_is_formula(name, dtype, monkeypatch):
    fast_at, slow_at = point(dtype), point(dtype)
    fast = Update(fast_at, RULES[name])
    slow = eagerly(monkeypatch, lambda: Update(slow_at, RULES[name]))
    truth = slow_ones(name, slow_at)
    for t in range(1, 6):
        hypers = hypers_of(name, t)
        give_gradients(fast_at, t)
        give_gradients(slow_at, t)
        moved = [fast.advance(hypers, 0.7), slow.advance(hypers, 0.7)]
        expected = math.sqrt(sum(truth[n].step(p.grad, hypers, 0.7) for n, p in slow_at.parts.items()))
        assert moved == pytest.approx([expected] * 2, rel=1e-5 if dtype is torch.float32 else 1e-12)
    assert furthest(fast_at.parts, slow_at.parts) <= EXACT[dtype]
    tolerance = 1e-5 if dtype is torch.float32 else 1e-12
    assert furthest(fast_at.parts, {n: s.w for n, s in truth.items()}) <= tolerance
    for slot, by in fast.slots.items():
        assert furthest(by, slow.slots[slot]) <= EXACT[dtype]
        assert furthest(by, {n: s.weight_slots()[slot] for n, s in truth.items()}) <= tolerance
    assert fast.scalars == slow.scalars
    assert fast.t == slow.t == 5


@pytest.mark.parametrize("name", RULES)
def test_members_are_single_points(name, path):
    """Five members with hyperparameters of their own are five updates alone."""
    K = 5
    at = point(torch.float64, K)
    update = Update(at, RULES[name], members=K)
    truth = [slow_ones(name, at, k) for k in range(K)]
    for t in range(1, 5):
        hypers = hypers_of(name, t, K)
        give_gradients(at, t)
        scale = np.linspace(0.5, 1.5, K)
        norms = update.norm()
        moved = update.advance(hypers, scale)
        for k in range(K):
            squares = [truth[k][n].step(p.grad[k], of_member(hypers, k), scale[k]) for n, p in at.parts.items()]
            assert moved[k] == pytest.approx(math.sqrt(sum(squares)), rel=1e-12)
            flat = torch.cat([p.grad[k].flatten() for p in at.tensors()])
            assert norms[k] == pytest.approx(flat.norm().item(), rel=1e-12)
    for k in range(K):
        assert furthest({n: p[k] for n, p in at.parts.items()}, {n: s.w for n, s in truth[k].items()}) <= 1e-12
        for slot, by in update.slots.items():
            theirs = {n: s.weight_slots()[slot] for n, s in truth[k].items()}
            assert furthest({n: v[k] for n, v in by.items()}, theirs) <= 1e-12
    assert update.t.tolist() == [4] * K


@pytest.mark.parametrize("name", RULES)
def test_members_in_float32(name, monkeypatch):
    K = 5
    fast_at, slow_at = point(torch.float32, K), point(torch.float32, K)
    fast = Update(fast_at, RULES[name], members=K)
    slow = eagerly(monkeypatch, lambda: Update(slow_at, RULES[name], members=K))
    for t in range(1, 4):
        for at, update in ((fast_at, fast), (slow_at, slow)):
            give_gradients(at, t)
            update.advance(hypers_of(name, t, K))
    assert furthest(fast_at.parts, slow_at.parts) <= EXACT[torch.float32]


@pytest.mark.parametrize("name", RULES)
def test_nan_in_one_member(name, path):
    """Its weights, slots, t and scalars stay bit for bit; the others go on as if alone."""
    K, bad, good = 3, 1, [0, 2]
    at, clean_at = point(torch.float32, K), point(torch.float32, K)
    update, clean = Update(at, RULES[name], members=K), Update(clean_at, RULES[name], members=K)
    hypers = hypers_of(name, 1, K)
    for t in range(1, 4):
        give_gradients(at, t)
        give_gradients(clean_at, t)
        if t == 2:
            at.parts["odd"].grad[bad, 1] = float("nan")
            before, weights = copy_state(update.state()), [p.detach().clone() for p in at.tensors()]
        norm = update.norm()
        assert (np.isnan(norm) == [False, t == 2, False]).all()
        moved = update.advance(hypers, np.where(np.isfinite(norm), 1.0, np.nan))
        clean.advance(hypers)
        if t == 2:
            after = update.state()
            assert moved[bad] == 0
            assert (moved[good] > 0).all()
            assert after["t"].tolist() == [2, 1, 2]
            assert all(torch.equal(p[bad], w[bad]) for p, w in zip(at.tensors(), weights))
            for slot, by in after["slots"].items():
                assert all(torch.equal(v[bad], before["slots"][slot][n][bad]) for n, v in by.items())
            for row, old in zip(after["scalars"], before["scalars"]):
                assert all(a[bad] == b[bad] for a, b in zip(row, old))
    for p, q in zip(at.tensors(), clean_at.tensors()):
        assert torch.equal(p[good], q[good])
    for slot, by in update.slots.items():
        assert all(torch.equal(v[good], clean.slots[slot][n][good]) for n, v in by.items())
    assert update.t.tolist() == [3, 2, 3]


def test_nan_is_not_hidden(path):
    """A gradient that is not finite reaches the weights, if the caller does not skip the step."""
    at = point(torch.float32)
    update = Update(at, RULES["adam"])
    give_gradients(at, 1)
    at.parts["odd"].grad[0, 0] = float("nan")
    at.parts["seven"].grad[3] = float("inf")
    assert math.isnan(update.norm())
    update.advance(hypers_of("adam", 1))
    assert at.parts["odd"].isnan().sum() == 1
    assert at.parts["seven"].isnan().sum() == 1
    assert at.parts["blocks"].isfinite().all()


# -- Scale, skip, norms ------------------------------------------------------------------------------------------------


def test_skip(path):
    at = point(torch.float32)
    update = Update(at, RULES["nadam"])
    give_gradients(at, 1)
    update.advance(hypers_of("nadam", 1))
    before, weights = copy_state(update.state()), [p.detach().clone() for p in at.tensors()]
    assert update.advance(hypers_of("nadam", 2), float("nan")) == 0.0
    after = update.state()
    assert after["t"] == before["t"] == 1
    assert after["scalars"] == before["scalars"]
    assert all(torch.equal(a, b) for a, b in zip(at.tensors(), weights))
    assert all(torch.equal(v, before["slots"][s][n]) for s, by in after["slots"].items() for n, v in by.items())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_norms(dtype, path):
    at = point(dtype)
    update = Update(at, RULES["adam"])
    give_gradients(at, 1)
    old = {n: p.detach().clone() for n, p in at.parts.items()}
    rel = 1e-5 if dtype is torch.float32 else 1e-12
    assert update.norm() == pytest.approx(torch.cat([p.grad.flatten() for p in at.tensors()]).norm().item(), rel=rel)
    moved = update.advance(hypers_of("adam", 1))
    norms = update.parameter_norms()
    assert list(norms) == NAMES
    for n, p in at.parts.items():
        assert norms[n][0] == pytest.approx((p.detach() - old[n]).norm().item(), rel=rel * 10)
        assert norms[n][1] == pytest.approx(p.detach().norm().item(), rel=rel)
    assert moved == pytest.approx(math.sqrt(sum(m**2 for m, _ in norms.values())), rel=1e-12)


def test_norms_of_members(path):
    K = 3
    at = point(torch.float64, K)
    update = Update(at, RULES["momentum"], members=K)
    give_gradients(at, 1)
    old = {n: p.detach().clone() for n, p in at.parts.items()}
    moved = update.advance(hypers_of("momentum", 1, K), np.array([1.0, np.nan, 1.0]))
    norms = update.parameter_norms()
    for n, p in at.parts.items():
        assert norms[n][0] == pytest.approx((p.detach() - old[n]).flatten(1).norm(dim=1).tolist(), rel=1e-12)
        assert norms[n][1][[0, 2]] == pytest.approx(p.detach().flatten(1).norm(dim=1)[[0, 2]].tolist(), rel=1e-12)
        assert norms[n][1][1] == 0
    assert moved == pytest.approx(np.sqrt(sum(m**2 for m, _ in norms.values())), rel=1e-12)


@pytest.mark.parametrize("entry", [1e25, 3e38])
def test_large_gradients_have_a_norm(entry, path):
    """Squares beyond float32 are summed in float64; clipping by that norm then works."""
    at = Tensors(point(torch.float32).parts)
    update = Update(at, RULES["gradient_descent"])
    for p in at.tensors():
        p.grad = torch.full_like(p, entry)
    weights = sum(p.numel() for p in at.tensors())
    norm = update.norm()
    assert norm == pytest.approx(float(np.float32(entry)) * math.sqrt(weights), rel=1e-6)
    moved = update.advance({"lr": 1.0, "weight_decay": 0.0}, 1.0 / norm)
    assert moved == pytest.approx(1.0, rel=1e-4)


@pytest.mark.parametrize("absent", [["odd"], NAMES])
def test_no_gradient_no_step(absent, path):
    """Weights without a gradient stay, slots too, and weight decay does not touch them."""
    at = point(torch.float32)
    update = Update(at, RULES["adamw"])
    give_gradients(at, 1)
    for name in absent:
        at.parts[name].grad = None
    before = {n: p.detach().clone() for n, p in at.parts.items()}
    present = [p.grad.double().square().sum().item() for p in at.tensors() if p.grad is not None]
    assert update.norm() == pytest.approx(math.sqrt(sum(present)), rel=1e-5)
    update.advance(hypers_of("adamw", 1))
    for name, p in at.parts.items():
        assert torch.equal(p, before[name]) is (name in absent)
        assert bool(update.slots["m"][name].any()) is (name not in absent)
    assert set(update.parameter_norms()) == set(NAMES) - set(absent)


# -- Where the weights lie ---------------------------------------------------------------------------------------------


def test_gradient_in_another_order(path):
    """channels_last weights with plain gradients and the reverse."""
    generator = torch.Generator().manual_seed(3)
    w, g = (torch.randn(4, 3, 5, 5, generator=generator, dtype=torch.float64) for _ in range(2))
    last = torch.channels_last
    expected = SlowUpdate(RULES["adam"], w)
    expected.step(g, {"lr": 0.1})
    for weight, gradient in (
        (w.clone().to(memory_format=last), g.clone()),
        (w.clone(), g.clone().to(memory_format=last)),
        (w.clone().to(memory_format=last), g.clone().to(memory_format=last)),
        (w.clone().transpose(0, 3).contiguous().transpose(0, 3), g.clone()),
        (w.clone(), g[:1, :1, :1, :1].expand_as(g)),
    ):
        weight.requires_grad_()
        weight.grad = gradient
        update = Update(Tensors({"w": weight}), RULES["adam"])
        norm = update.norm()
        assert norm == pytest.approx(gradient.norm().item(), rel=1e-12)
        stride, address = weight.stride(), weight.data_ptr()
        update.advance({**RULES["adam"].hypers, "lr": 0.1})
        if gradient.stride(0):
            assert apart(weight, expected.w) <= 1e-13
            assert apart(update.slots["v"]["w"], expected.slots[1]) <= 1e-13
        else:
            assert apart(update.slots["m"]["w"], 0.1 * gradient) <= 1e-13
        assert (weight.stride(), weight.data_ptr()) == (stride, address)


def test_weights_with_gaps():
    """A weight that is a part of a larger tensor: only that part moves."""
    whole = torch.ones(6, 8, dtype=torch.float64)
    part = whole[1:4, 2:7].requires_grad_()
    part.grad = torch.ones(3, 5, dtype=torch.float64)
    update = Update(Tensors({"part": part}), RULES["momentum"])
    update.advance({**RULES["momentum"].hypers, "lr": 0.5})
    expected = torch.ones(6, 8, dtype=torch.float64)
    expected[1:4, 2:7] = 0.5
    assert torch.equal(whole, expected)


def test_empty_and_scalar_tensors(path):
    parts = {"empty": torch.zeros(0, 3), "number": torch.tensor(2.0), "last": torch.ones(3)}
    for p in parts.values():
        p.requires_grad_()
        p.grad = torch.ones_like(p)
    update = Update(Tensors(parts), RULES["gradient_descent"])
    assert update.norm() == pytest.approx(2.0)
    update.advance({"lr": 0.5, "weight_decay": 0.0})
    assert parts["number"].item() == 1.5
    norms = update.parameter_norms()
    assert norms["number"] == pytest.approx((0.5, 1.5))
    assert norms["last"] == pytest.approx((0.5 * math.sqrt(3), 0.5 * math.sqrt(3)))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision(dtype):
    at = Tensors({"w": torch.ones(5, dtype=dtype).requires_grad_(), "x": torch.ones(3).requires_grad_()})
    for p in at.tensors():
        p.grad = torch.ones_like(p)
    update = Update(at, RULES["momentum"])
    assert update.norm() == pytest.approx(math.sqrt(8))
    moved = update.advance({**RULES["momentum"].hypers, "lr": 0.5})
    assert torch.equal(at.parts["w"], torch.full((5,), 0.5, dtype=dtype))
    assert torch.equal(at.parts["x"], torch.full((3,), 0.5))
    assert moved == pytest.approx(0.5 * math.sqrt(8))
    assert update.slots["v"]["w"].dtype is dtype


def test_slots_begin_at_cache_lines():
    for dtype in (torch.float32, torch.float64):
        update = Update(point(dtype), RULES["adam"])
        starts = [v.data_ptr() for by in update.slots.values() for v in by.values()]
        assert all((a - min(starts)) % slots.ALIGNMENT_BYTES == 0 for a in starts)


def test_misuse_is_seen_by_autograd(path):
    """Every weight's version goes up, so that a backward through a graph of before the step raises."""
    w = torch.ones(4, requires_grad=True)
    loss = (w * w).sum()
    w.grad = torch.ones(4)
    before = w._version
    update = Update(Tensors({"w": w}), RULES["gradient_descent"])
    update.advance(dict(RULES["gradient_descent"].hypers))
    assert w._version > before
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_sparse_gradient():
    embedding = nn.Embedding(10, 4, sparse=True)
    embedding(torch.tensor([1, 2])).sum().backward()
    with pytest.raises(
        TaskError, match=r"the gradient of weight must be dense, got torch\.sparse_coo\. .*sparse=False"
    ):
        Update(Space(embedding), RULES["adam"]).norm()


# -- State -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("members", [None, 3])
@pytest.mark.parametrize("name", ["nadam", "schedule_free_adamw"])
def test_state_goes_on(name, members, path):
    """A second update that loads the first one's state takes the same steps, bit for bit."""
    at = point(torch.float32, members)
    update = Update(at, RULES[name], members)
    for t in range(1, 3):
        give_gradients(at, t)
        update.advance(hypers_of(name, t, members))
    state, twin_at = copy.deepcopy(update.state()), copy.deepcopy(at)
    twin = Update(twin_at, RULES[name], members)
    twin.load(state)
    for t in range(3, 5):
        for a, u in ((at, update), (twin_at, twin)):
            give_gradients(a, t)
            u.advance(hypers_of(name, t, members))
    assert all(torch.equal(p, q) for p, q in zip(at.tensors(), twin_at.tensors()))
    assert np.array_equal(update.t, twin.t)
    assert np.array_equal(np.array(update.scalars), np.array(twin.scalars))
    assert state["t"] is not update.t  # a copy


@pytest.mark.parametrize("members", [None, 3])
def test_schedule_free_reports_its_average(members, path):
    """x, from its definition: the average of all z with the weights of their squared largest rates."""
    at = Tensors({"w": torch.ones(*((members,) if members else ()), 4, dtype=torch.float64).requires_grad_()})
    update = Update(at, RULES["schedule_free_adamw"], members)
    hypers = {**RULES["schedule_free_adamw"].hypers, "lr": 0.05}
    total, weight = torch.zeros_like(at.parts["w"]), 0.0
    for t in range(1, 8):
        at.parts["w"].grad = at.parts["w"].detach() * t
        update.advance({**hypers, "lr": 0.01 * t})
        total += (0.01 * t) ** 2 * update.slots["z"]["w"]
        weight += (0.01 * t) ** 2
    x = update.reported_weights(hypers)[0]
    beta = hypers["beta1"]
    assert apart(at.parts["w"], (1 - beta) * update.slots["z"]["w"] + beta * x) <= 1e-13
    assert apart(x, total / weight) <= 1e-13


def test_groups_have_scalar_slots_of_their_own(path):
    """The largest rate so far is a group's own: lr_scale changes a rate, not the weights of the average."""
    parts = {n: torch.ones(3, dtype=torch.float64).requires_grad_() for n in ("a", "b")}
    update = Update(Tensors(parts, (0, 1), ({}, {"lr_scale": 0.1})), RULES["schedule_free_adamw"])
    truth = [SlowUpdate(update.rule, p, o) for p, o in zip(parts.values(), ({}, {"lr_scale": 0.1}))]
    for _ in range(5):
        for p, slow in zip(parts.values(), truth):
            p.grad = p.detach() * 2
            slow.step(p.grad, {"lr": 0.05})
        update.advance({**update.rule.hypers, "lr": 0.05})
    assert furthest(list(parts.values()), [s.w for s in truth]) <= 1e-13


def test_nothing_is_kept_when_an_update_goes():
    net = nn.Linear(3, 3)
    update = Update(Space(net), RULES["adam"])
    net(torch.ones(1, 3)).sum().backward()
    update.norm()
    update.advance(dict(RULES["adam"].hypers))
    slots = [weakref.ref(own.slots[0][0]) for own, _ in update._groups]
    del update
    gc.collect()
    assert [s() for s in slots] == [None]


def test_group_hyperparameters():
    def row(**given):
        return Tensors({"w": torch.ones(2)}, (1,), ({}, given))

    with pytest.raises(InputError, match=r"groups cannot set lr, which follows the schedule. Use lr_scale"):
        Update(row(lr=0.1), RULES["adam"])
    with pytest.raises(InputError, match=r"Unknown hyperparameter 'beta3' of adam. Did you mean 'beta"):
        Update(row(beta3=0.1), RULES["adam"])

    @rule
    def plain(w, g, *, lr):
        return w - lr * g

    Update(row(weight_decay=0.0), plain)  # no weight decay to switch off: fine


# -- Formulas of the user's --------------------------------------------------------------------------------------------


@rule
def swapping(w, g, a=0.0, b=1.0, *, lr):
    """Two slots that change places, and weights that were a slot."""
    return w - lr * (g + a), b, a


@rule
def lagging(w, g, last=0.0, *, lr):
    """Goes where it would have gone a step ago."""
    return last, w - lr * g


@rule
def counting(w, g, total=0.0, n=scalar(0.0), *, t, lr, beta=0.5):
    """Conditions on members, on weights and on both; a slot that is one number for all weights."""
    late = where(t > 2, 1.0, 0.0)
    g = where(t > 2, g, 2 * g)
    g = where((g > 0) & (beta > 0.4), g, 0.5 * g)
    return w - lr * (g + late), t * 1.0, n + beta


@pytest.mark.parametrize("members", [None, 3])
@pytest.mark.parametrize("own", [swapping, lagging, counting])
def test_own_formulas(own, members, path):
    at = point(torch.float64, members)
    update = Update(at, own, members)
    ks = [None] if members is None else range(members)
    truth = [
        {n: SlowUpdate(own, p if k is None else p[k], OVERRIDES[r]) for (n, p), r in zip(at.parts.items(), ROWS)}
        for k in ks
    ]
    betas = {"beta": 0.5} if members is None else {"beta": np.array([0.5, 0.3, 0.6])}
    betas = betas if own is counting else {}
    for t in range(1, 5):
        give_gradients(at, t)
        update.advance({**own.hypers, "lr": 0.1, **betas})
        for k, slow in zip(ks, truth):
            mine = {b: v if k is None else float(v[k]) for b, v in betas.items()}
            for n, p in at.parts.items():
                slow[n].step(p.grad if k is None else p.grad[k], {"lr": 0.1, **mine})
    for k, slow in zip(ks, truth):
        part = {n: p if k is None else p[k] for n, p in at.parts.items()}
        assert furthest(part, {n: s.w for n, s in slow.items()}) <= 1e-13
        for slot, by in update.slots.items():
            for n, v in by.items():
                expected = torch.as_tensor(slow[n].weight_slots()[slot], dtype=torch.float64)
                assert apart(v if k is None else v[k], expected.expand_as(slow[n].w)) <= 1e-13


def flat(tensors: list[Tensor]) -> Tensor:
    return torch.cat([p.detach().flatten() for p in tensors])


def test_one_update_is_the_whole_space(path):
    """A network's update is the update of its weights as one vector."""
    net = nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 3)).double()
    space = Space(net, no_decay=None)
    update = Update(space, RULES["adamw"])
    slow = SlowUpdate(RULES["adamw"], space.gather())
    for _ in range(3):
        net.zero_grad()
        net(torch.ones(2, 5, dtype=torch.float64)).square().sum().backward()
        slow.step(flat([p.grad for p in space.tensors()]), {"lr": 0.01})
        update.advance({**RULES["adamw"].hypers, "lr": 0.01})
    assert apart(space.gather(), slow.w) <= 1e-13


def test_a_slot_that_decays_becomes_zero():
    """A dead unit's momentum would stay a denormal number for ever, and these are slow."""
    net = nn.Linear(1000, 1, bias=False)
    update = Update(Space(net), RULES["momentum"])
    for gradient in [1e-37] + 40 * [0.0]:
        net.weight.grad = torch.full_like(net.weight, gradient)
        update.advance({"lr": 1e-3, "beta": 0.9, "weight_decay": 0.0})
    assert not any(slot.any() for by in update.slots.values() for slot in by.values())
