"""Functions compiled by torch: forced onto the CPU, against the eager reference, with and without the compiler."""

import logging
import math
import shutil
from contextlib import nullcontext

import numpy as np
import pytest
import torch
from torch.profiler import ProfilerActivity, profile

from steepest.descent.state import copy_state
from steepest.rules import compiled_group
from steepest.rules import update as module
from steepest.rules.backends import torch_compile
from steepest.rules.compiled_group import CompiledGroup
from steepest.rules.rule import with_average
from steepest.rules.textbook import RULES
from steepest.rules.update import Update
from tests.oracles import Tensors, furthest
from tests.rules.test_update import EXACT, SHAPES, give_gradients, hypers_of, point

needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="there is no C++ compiler (g++)")
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")


@pytest.fixture(autouse=True)
def on_cpu(monkeypatch):
    """Compiled functions take the place of the CPU's kernels."""
    monkeypatch.setattr(torch_compile, "DEVICE_TYPES", ("cpu", "cuda"))
    monkeypatch.setattr(torch_compile, "_failures", [])
    monkeypatch.setattr(logging.getLogger("torch.__trace"), "propagate", False)  # pytest would format its records


@pytest.fixture
def uncompiled():
    """The same functions, run by Python: their text is what is tested."""
    before = torch.compiler.set_stance("force_eager")
    with before:
        yield


READS = {"aten::_local_scalar_dense", "aten::item", "aten::is_nonzero"}
"""Operations that fetch a number from a tensor, for which a device would have to be waited for."""


FEW = ("odd", "one", "blocks")
"""One tensor of each row of overrides, in the order of the rows, as a space has them."""


def few(at):
    """A point of few tensors, which compile sooner."""
    return Tensors({name: at.parts[name] for name in FEW}, (0, 1, 2), at.overrides)


def pair(rule, dtype=torch.float32, members=None, monkeypatch=None, take=lambda at: at):
    """Two points and their updates, compiled and eager."""
    points = take(point(dtype, members)), take(point(dtype, members))
    own = Update(points[0], rule, members)
    assert all(isinstance(group, CompiledGroup) for group, _ in own._groups)
    with monkeypatch.context() as patch:
        patch.setattr(torch_compile, "DEVICE_TYPES", ())
        patch.setattr(module, "KernelGroup", module.EagerGroup)
        reference = Update(points[1], rule, members)
    return points, own, reference


def check_equal(points, own, reference, tolerance):
    assert furthest(points[0].parts, points[1].parts) <= tolerance
    for slot, by in own.slots.items():
        assert furthest(by, reference.slots[slot]) <= tolerance


def compare(rule, dtype, monkeypatch, take=lambda at: at, steps=4, scale=0.7):
    """Both ways take the same steps; the update's own numbers are equal too."""
    points, own, reference = pair(rule, dtype, None, monkeypatch, take)
    tolerance = EXACT[dtype]
    for t in range(1, steps + 1):
        hypers = {**rule.hypers, **hypers_of(rule.name, t)}
        for p in points:
            give_gradients(p, t)
        norms = [u.norm() for u in (own, reference)]
        assert norms[0] == pytest.approx(norms[1], rel=1e-12)
        moved = [u.advance(hypers, scale) for u in (own, reference)]
        assert moved[0] == pytest.approx(moved[1], rel=max(1e-12, 10 * tolerance))
        for mine, theirs in zip(own.parameter_norms().items(), reference.parameter_norms().items(), strict=True):
            assert mine[0] == theirs[0]
            assert mine[1] == pytest.approx(theirs[1], rel=max(1e-12, 10 * tolerance))
    check_equal(points, own, reference, tolerance)
    assert own.t == reference.t == steps
    assert own.scalars == reference.scalars


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", RULES)
def test_the_text_is_the_formula(name, dtype, monkeypatch, uncompiled):
    compare(RULES[name], dtype, monkeypatch)


# -- With the compiler -------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.long
@needs_compiler
def test_fifty_steps_are_compiled_once_and_wait_for_nothing(monkeypatch):
    """With another learning rate, and another `t`, in each; one is skipped. Rows of groups, an average, norms."""
    rule = with_average(RULES["adamw"], 0.9)
    points, own, reference = pair(rule, torch.float32, None, monkeypatch, few)
    own.keep_on_device()
    scales = [torch.tensor(math.nan if t == 20 else 0.7, dtype=torch.float64) for t in range(51)]
    for t in range(1, 51):
        for p in points:
            give_gradients(p, t)
        hypers = {**rule.hypers, **hypers_of("adamw", t)}
        calls = profile(activities=[ProfilerActivity.CPU]) if t in (3, 20) else nullcontext()
        with calls, torch.compiler.set_stance("fail_on_recompile" if t > 2 else "default"):
            norm = own.norm()
            moved = own.advance(hypers, scales[t])
            norms = own.parameter_norms()
        if isinstance(calls, profile):
            names = {event.name for event in calls.events()}
            assert names
            assert not names & READS
        assert float(norm) == pytest.approx(reference.norm(), rel=1e-12)
        assert float(moved) == pytest.approx(reference.advance(hypers, float(scales[t])), rel=1e-5)
        if t != 20:
            for mine, theirs in zip(norms.values(), reference.parameter_norms().values(), strict=True):
                assert [float(x) for x in mine] == pytest.approx(theirs, rel=1e-5)
    assert not torch_compile._failures
    assert int(own.t) == reference.t == 49
    check_equal(points, own, reference, 1e-5)


@pytest.mark.slow
@pytest.mark.long
@needs_compiler
def test_conditions_are_compiled(monkeypatch):
    compare(RULES["rprop"], torch.float32, monkeypatch, few)
    assert not torch_compile._failures


@pytest.mark.slow
@pytest.mark.long
@needs_compiler
def test_fewer_members_are_not_compiled_again(monkeypatch):
    for K in (4, 3, 2):
        with torch.compiler.set_stance("default" if K == 4 else "fail_on_recompile"):
            points, own, reference = pair(RULES["momentum"], torch.float64, K, monkeypatch, few)
            for t in range(1, 3):
                hypers = hypers_of("momentum", t, K)
                for p in points:
                    give_gradients(p, t)
                assert own.norm() == pytest.approx(reference.norm(), rel=1e-12)
                scale = np.array([0.5, np.nan if t == 2 else 1.0, 1.5, 1.0][:K])
                moved = [u.advance(hypers, scale) for u in (own, reference)]
                assert moved[0] == pytest.approx(moved[1], rel=1e-12)
        check_equal(points, own, reference, 1e-13)
        assert not torch_compile._failures


@pytest.mark.long
@pytest.mark.slow
@needs_compiler
def test_half_precision_with_the_compiler():
    check_half_precision(few(point(torch.bfloat16)))
    assert not torch_compile._failures


@needs_cuda
def test_on_cuda(monkeypatch):
    """The same on a GPU, where torch itself says if a step waits for the device."""
    points = [
        Tensors({n: p.detach().cuda().requires_grad_() for n, p in point(torch.float32).parts.items()}) for _ in "ab"
    ]
    own, reference = Update(points[0], RULES["nadam"]), Update(points[1], RULES["nadam"], steps=1)
    own.keep_on_device()
    for t in range(1, 6):
        for p in points:
            generator = torch.Generator("cuda").manual_seed(t)
            for w in p.tensors():
                w.grad = torch.randn(w.shape, generator=generator, device="cuda")
        torch.cuda.set_sync_debug_mode("error" if t > 1 else "default")
        norm = own.norm()
        moved = own.advance(hypers_of("nadam", t), torch.where(norm <= 1.0, 1.0, 1.0 / norm))
        torch.cuda.set_sync_debug_mode("default")
        theirs = reference.norm()
        assert float(norm) == pytest.approx(theirs, rel=1e-6)
        assert float(moved) == pytest.approx(reference.advance(hypers_of("nadam", t), min(1.0, 1.0 / theirs)), rel=1e-4)
    assert not torch_compile._failures
    check_equal(points, own, reference, 1e-5)


# -- What a step may bring ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", RULES)
def test_members(name, monkeypatch, uncompiled):
    """Members with hyperparameters of their own, one of which skips a step."""
    K = 3
    points, own, reference = pair(RULES[name], torch.float64, K, monkeypatch)
    for t in range(1, 4):
        hypers = hypers_of(name, t, K)
        for p in points:
            give_gradients(p, t)
        assert own.norm() == pytest.approx(reference.norm(), rel=1e-12)
        scale = np.array([0.5, np.nan if t == 2 else 1.0, 1.5])
        moved = [u.advance(hypers, scale) for u in (own, reference)]
        assert moved[0] == pytest.approx(moved[1], rel=1e-12)
        if name != "adopt" or t > 1:  # its first step only measures
            assert (moved[0] == 0).tolist() == [False, t == 2, False]
        for mine, theirs in zip(own.parameter_norms().values(), reference.parameter_norms().values(), strict=True):
            assert all(m == pytest.approx(n, rel=1e-12) for m, n in zip(mine, theirs, strict=True))
    check_equal(points, own, reference, 1e-13)
    assert own.t.tolist() == reference.t.tolist() == [3, 2, 3]


@pytest.mark.parametrize("take", [few, lambda at: at], ids=["rows in order", "other rows"])
@pytest.mark.parametrize("name", RULES)
def test_numbers_on_the_device(name, take, monkeypatch, uncompiled):
    """Learning rate, scale and the count of steps as tensors; a NaN scale skips a step, bit for bit."""
    points, own, reference = pair(RULES[name], torch.float32, None, monkeypatch, take)
    own.keep_on_device()
    for t in range(1, 6):
        for p in points:
            give_gradients(p, t)
        norm = own.norm()
        assert isinstance(norm, torch.Tensor)
        assert float(norm) == pytest.approx(reference.norm(), rel=1e-12)
        scale = math.nan if t == 3 else 0.7
        before = copy_state(own.state()), [p.detach().clone() for p in points[0].tensors()]
        moved = own.advance(hypers_of(name, t), torch.tensor(scale, dtype=torch.float64))
        assert float(moved) == pytest.approx(reference.advance(hypers_of(name, t), scale), rel=1e-5)
        if t == 3:
            after = copy_state(own.state())
            assert (after["t"], after["scalars"]) == (before[0]["t"], before[0]["scalars"])
            assert all(torch.equal(p, w) for p, w in zip(points[0].tensors(), before[1], strict=True))
            for slot, by in after["slots"].items():
                assert all(torch.equal(v, before[0]["slots"][slot][n]) for n, v in by.items())
    check_equal(points, own, reference, EXACT[torch.float32])
    assert int(own.t) == reference.t == 4
    for mine, theirs in zip(own.scalars, reference.scalars, strict=True):
        assert [float(x) for x in mine] == pytest.approx(theirs, rel=1e-12)


def test_the_reference_can_take_over(monkeypatch, uncompiled):
    """A state goes from one way to the other and back."""
    points, own, reference = pair(RULES["nadam"], torch.float64, monkeypatch=monkeypatch)
    for t in range(1, 4):
        give_gradients(points[0], t)
        own.advance(hypers_of("nadam", t))
    with torch.no_grad():
        for p, q in zip(*(x.tensors() for x in points), strict=True):
            q.copy_(p)
    reference.load(copy_state(own.state()))
    for u, p in ((own, points[0]), (reference, points[1])):
        give_gradients(p, 4)
        u.advance(hypers_of("nadam", 4))
    check_equal(points, own, reference, 1e-14)


@pytest.mark.parametrize("on_device", [False, True])
def test_gradients_that_come_and_go(monkeypatch, uncompiled, on_device):
    """Each set of parameters with a gradient is a function of its own, up to a limit; then the reference runs."""
    points, own, reference = pair(RULES["adamw"], torch.float64, monkeypatch=monkeypatch)
    if on_device:
        own.keep_on_device()
    forms = []
    monkeypatch.setattr(torch_compile, "advance_function", spy(torch_compile.advance_function, forms))
    names = list(SHAPES)
    for t in range(1, 9):
        for p in points:
            give_gradients(p, t)
            for name in (names[t % 5], *names[: t // 5]):
                p.parts[name].grad = None
        assert float(own.norm()) == pytest.approx(reference.norm(), rel=1e-12)
        moved = [float(u.advance(hypers_of("adamw", t))) for u in (own, reference)]
        assert moved[0] == pytest.approx(moved[1], rel=1e-12)
        norms = own.parameter_norms()
        assert norms.keys() == reference.parameter_norms().keys()
        for mine, theirs in zip(norms.values(), reference.parameter_norms().values(), strict=True):
            assert [float(x) for x in mine] == pytest.approx(theirs, rel=1e-12)
    check_equal(points, own, reference, 1e-13)
    assert len(set(forms)) == compiled_group.MAX_PATTERNS
    assert [int(own.steps(i)) for i in range(5)] == [reference.steps(i) for i in range(5)]


def spy(function, calls):
    def call(*arguments):
        calls.append(arguments[-1])
        return function(*arguments)

    return call


def test_many_tensors_are_parts_that_share_functions(monkeypatch, uncompiled):
    forms = []
    monkeypatch.setattr(torch_compile, "advance_function", spy(torch_compile.advance_function, forms))
    parts = {f"p{i}": torch.randn(3, 2).requires_grad_() for i in range(2 * torch_compile.PART_SIZE + 3)}
    at = Tensors(parts)
    update = Update(at, RULES["momentum"])
    before = [p.detach().clone() for p in at.tensors()]
    for p in at.tensors():
        p.grad = torch.ones_like(p)
    assert update.norm() == pytest.approx(math.sqrt(6 * len(parts)))
    assert update.advance({**RULES["momentum"].hypers, "lr": 0.5}) == pytest.approx(0.5 * math.sqrt(6 * len(parts)))
    assert all(torch.equal(p, w - 0.5) for p, w in zip(at.tensors(), before, strict=True))
    assert len(forms) == 3
    assert len(set(forms)) == 2
    assert len(update.parameter_norms()) == len(parts)


LAYOUTS = {
    "channels_last": lambda: torch.randn(4, 3, 5, 5).to(memory_format=torch.channels_last),
    "transposed": lambda: torch.randn(6, 4).t(),
    "number": lambda: torch.tensor(2.0),
    "empty": lambda: torch.zeros(0, 3),
    "one row of thousands": lambda: torch.randn(2521),  # a prime: no rows of an even size
    "rows": lambda: torch.randn(40, 768),
    "sizes of one": lambda: torch.randn(1, 5, 1, 2),
}


def test_layouts(monkeypatch, uncompiled):
    points = [Tensors({name: make().requires_grad_() for name, make in LAYOUTS.items()}) for _ in range(2)]
    with torch.no_grad():
        for p, q in zip(*(x.tensors() for x in points), strict=True):
            q.copy_(p)
    own = Update(points[0], RULES["adamw"])
    monkeypatch.setattr(torch_compile, "DEVICE_TYPES", ())
    other = Update(points[1], RULES["adamw"])
    for t in range(1, 4):
        for p in points:
            give_gradients(p, t)  # contiguous ones, whatever the weight's strides are
        assert own.norm() == pytest.approx(other.norm(), rel=1e-5)
        assert own.advance(hypers_of("adamw", t)) == pytest.approx(other.advance(hypers_of("adamw", t)), rel=1e-5)
    assert own.parameter_norms().keys() == set(LAYOUTS)
    del points[0].parts["empty"], points[1].parts["empty"]
    assert furthest(points[0].parts, points[1].parts) <= EXACT[torch.float32]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_computed_in_float32(dtype, uncompiled):
    check_half_precision(point(dtype))


def check_half_precision(at):
    """The formula in float32, weights and slots rounded after each step."""
    dtype = at.tensors()[0].dtype
    update, rule = Update(at, RULES["adamw"]), RULES["adamw"]
    w = {n: p.detach().clone() for n, p in at.parts.items()}
    m, v = ({n: torch.zeros_like(p) for n, p in w.items()} for _ in range(2))
    overrides = dict(zip(at.names, (at.overrides[row] for row in at.rows), strict=True))
    for t in range(1, 5):
        give_gradients(at, t)
        hypers = hypers_of("adamw", t)
        update.advance(hypers)
        for n, p in at.parts.items():
            own = hypers | {k: x for k, x in overrides[n].items() if k != "lr_scale"}
            own["lr"] *= overrides[n].get("lr_scale", 1.0)
            new = rule.formula(w[n].float(), p.grad.float(), m[n].float(), v[n].float(), t=t, **own)
            w[n], m[n], v[n] = (x.to(dtype) for x in new)
    resolution = torch.finfo(dtype).eps
    assert furthest(at.parts, w) <= resolution  # a few roundings fall the other way
    assert furthest(update.slots["v"], v) <= resolution


def test_other_tensors_run_as_before(uncompiled):
    """Complex weights and a part of a larger tensor are not compiled; both are in one update with one that is."""
    whole = torch.ones(6, 8)
    parts = {
        "plain": torch.ones(3).requires_grad_(),
        "complex": torch.ones(3, dtype=torch.complex64).requires_grad_(),
        "part": whole[1:4, 2:7].requires_grad_(),
    }
    update = Update(Tensors(parts), RULES["momentum"])
    for p in parts.values():
        p.grad = torch.ones_like(p)
    kinds = {n: type(g).__name__ for g, own in update._groups for n in (list(parts)[i] for i in own)}
    assert kinds["plain"] == "CompiledGroup"
    assert "CompiledGroup" not in (kinds["complex"], kinds["part"])
    for _ in range(2):
        norm = update.norm()
        assert float(norm) == pytest.approx(math.sqrt(3 + 3 + 15))
        update.advance({**RULES["momentum"].hypers, "lr": 0.5})
        update.keep_on_device()
    assert torch.allclose(parts["plain"], torch.full((3,), 1 - 0.5 - 0.95))
    assert torch.allclose(parts["complex"].real, parts["plain"])
    assert torch.allclose(whole[1:4, 2:7], parts["plain"].detach()[0].expand(3, 5))
    assert (whole == 1).sum() == 48 - 15


def test_a_short_descent_is_not_compiled():
    assert not any(
        isinstance(g, CompiledGroup) for g, _ in Update(point(torch.float32), RULES["adam"], None, False)._groups
    )


@pytest.mark.parametrize("on_device", [False, True])
def test_what_cannot_be_compiled_is_said_once_and_goes_on(monkeypatch, on_device):
    """As without Triton: the first function fails before it has changed anything."""

    def fail(*arguments):
        raise RuntimeError("Cannot find a working triton installation.\nMore.")

    points, own, reference = pair(RULES["nadam"], torch.float32, None, monkeypatch, few)
    if on_device:
        own.keep_on_device()
    for name in ("advance_function", "norm_function"):
        monkeypatch.setattr(torch_compile, name, lambda *form: fail)
    for t in range(1, 4):
        for p in points:
            give_gradients(p, t)
        if t == 1:
            with pytest.warns(RuntimeWarning, match=r"could not compile the update.*Cannot find a working triton"):
                norm = own.norm()
        else:
            norm = own.norm()
        assert float(norm) == pytest.approx(reference.norm(), rel=1e-12)
        own.advance(hypers_of("nadam", t), 0.7)
        reference.advance(hypers_of("nadam", t), 0.7)
    check_equal(points, own, reference, EXACT[torch.float32] if on_device else 0)
    assert not isinstance(Update(points[0], RULES["adam"])._groups[0].group, CompiledGroup)
