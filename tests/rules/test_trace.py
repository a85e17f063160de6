"""Formulas: what can be written, what it means, and what is said of the rest."""

import inspect
import math
import re

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import njit, types
from torch import Tensor, nn

from steepest.errors import FormulaError
from steepest.rules import hoist
from steepest.rules import trace as sd
from steepest.rules.backends import eager
from steepest.rules.backends.compiler import FLAGS
from steepest.rules.backends.cpu import _block_source
from steepest.rules.rule import Rule, W, rule, scalar, with_average, with_uncorrected_average
from steepest.rules.textbook import RULES
from steepest.rules.update import Update
from tests.oracles import SlowUpdate, Tensors, apart, hoisted_values, takes_t

HYPERS = {"lr": 0.1, "k": 0.75}


def three_ways(own: Rule, w: Tensor, g: Tensor, steps: int = 3) -> tuple[Tensor, Tensor, Tensor]:
    """The weights after some steps: compiled kernel, eager program, formula called directly."""
    fast = w.clone().requires_grad_()
    update = Update(Tensors({"w": fast}), own)
    for t in range(1, steps + 1):
        fast.grad = g * t
        update.advance({**own.hypers, **HYPERS})
    return fast.detach(), *two_ways(own, w, g, steps)


def two_ways(own: Rule, w: Tensor, g: Tensor, steps: int = 3) -> tuple[Tensor, Tensor]:
    """Likewise without the kernel, which takes seconds to build."""
    slow, state = SlowUpdate(own, w), [w.clone(), *(SlowUpdate(own, w).slots)]
    names = [s.name for s in own.slots]
    for t in range(1, steps + 1):
        known = {k: v for k, v in HYPERS.items() if k in own.hypers}
        slow.step(g * t, known)
        values = {**own.hypers, **known, "t": t, **dict(zip(names, state[1:]))}
        members = [
            n for n, place in own.program.inputs.items() if own.program.instructions[place].kind == sd.MEMBER_VALUE
        ]
        hoisted = hoisted_values(own.program, {n: float(values[n]) for n in members})
        weights = {"w": state[0], "g": g * t, **dict(zip(names, state[1:]))}
        state = eager.evaluate(own.program, weights, hoisted)
    return torch.as_tensor(state[0]), slow.w


def same(own: Rule) -> None:
    generator = torch.Generator().manual_seed(0)
    w = torch.randn(101, generator=generator, dtype=torch.float64)
    g = torch.randn(101, generator=generator, dtype=torch.float64)
    w[:4], g[:4] = torch.tensor([0.0, 1.0, -1.0, 2.0]), torch.tensor([0.0, 0.0, 1.0, 2.0])
    kernel, program, called = three_ways(own, w, g)
    assert apart(kernel, called) <= 1e-14
    assert apart(program, called) <= 1e-14
    assert not torch.equal(called, w)


# -- What can be written -----------------------------------------------------------------------------------------------


def of(change) -> Rule:
    """The rule `w ← w − lr · change(w, g, k)`."""

    @rule
    def made(w, g, *, lr, k=0.5):
        return w - lr * change(w, g, k)

    return made


OPERATIONS = {
    "add": lambda w, g, k: w + g + 1,
    "sub": lambda w, g, k: 1 - w - g - 2,
    "mul": lambda w, g, k: 3 * w * g * k,
    "div": lambda w, g, k: w / (2 + g * g) + g / 3 + 2 / (1 + w * w) + g / k,
    "neg": lambda w, g, k: -w + (-k) + (+g),
    "sqrt": lambda w, g, k: sd.sqrt(w * w + k) + sd.sqrt(k) + sd.sqrt(2.0),
    "half_power": lambda w, g, k: (w * w + 1) ** 0.5,
    "odd_power": lambda w, g, k: (w * w + 1) ** 1.7 + (w * w + 1) ** k,
    "power_of_number": lambda w, g, k: 2.0**w + k**g + k**3 + 2**k,
    "abs": lambda w, g, k: abs(w) + sd.abs(g) + sd.abs(k - 1),
    "sign": lambda w, g, k: sd.sign(w) + sd.sign(g) * sd.sign(k - 1) + sd.sign(-3),
    "exp": lambda w, g, k: sd.exp(-abs(w)) + sd.exp(k) + sd.exp(0.1),
    "log": lambda w, g, k: sd.log(1 + w * w) + sd.log(k) + sd.log(2.0),
    "maximum": lambda w, g, k: sd.maximum(w, g) + sd.maximum(w, 0.0) + sd.maximum(k, g) + sd.maximum(k, 0.2),
    "minimum": lambda w, g, k: sd.minimum(w, g) + sd.minimum(0.0, w) + sd.minimum(g, k) + sd.minimum(0.2, k),
    "maximum_of_two": lambda w, g, k: sd.maximum(w, g),
    "minimum_of_two": lambda w, g, k: sd.minimum(w, g),
    "lt": lambda w, g, k: sd.where(w < g, w, 0.5),
    "le": lambda w, g, k: sd.where(w <= 0, g, -g),
    "gt": lambda w, g, k: sd.where(w > k, 1.0, g),
    "ge": lambda w, g, k: sd.where(g >= 1, w, g),
    "eq": lambda w, g, k: sd.where(w == 1, 5.0, g),
    "ne": lambda w, g, k: sd.where(w != 1, w, 7.0),
    "reversed": lambda w, g, k: sd.where(w > 0.3, w, g) + sd.where(k >= g, w, g),
    "numbers": lambda w, g, k: g * sd.where(w > 0, 0.1, 0.7),
    "members": lambda w, g, k: sd.where(w > 0, k, 2 * k) * g,
    "and": lambda w, g, k: sd.where((w > 0) & (g > 0), w, g),
    "or": lambda w, g, k: sd.where((w > 0) | (g > 0), 2 * w, g),
    "not": lambda w, g, k: sd.where(~(w > 0), w, 2 * g),
    "nested": lambda w, g, k: sd.where(w > 0, sd.where(g > 0, 1.0, w), sd.minimum(abs(g), 3.0)),
    "condition_on_member": lambda w, g, k: sd.where(k > 0.5, g, w) + sd.where((k > 0.5) & (w > 0), 1.0, g),
    "not_on_member": lambda w, g, k: sd.where(~(k > 0.5) if isinstance(k, sd.Symbol) else not k > 0.5, w, g),
    "number_chosen_by_member": lambda w, g, k: sd.where(k > 0.5, 0.3, 0.9) * g,
    "infinite": lambda w, g, k: sd.minimum(abs(w), math.inf) + sd.maximum(g, -math.inf),
    "numpy_number": lambda w, g, k: np.float64(0.3) * w + g * np.float32(0.5) + np.float64(2) / (1 + w * w),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_operation(name):
    generator = torch.Generator().manual_seed(0)
    w, g = torch.randn(2, 101, generator=generator, dtype=torch.float64)
    w[:4], g[:4] = torch.tensor([0.0, 1.0, -1.0, 2.0]), torch.tensor([0.0, 0.0, 1.0, 2.0])
    program, called = two_ways(of(OPERATIONS[name]), w, g)
    assert apart(program, called) <= 1e-14
    assert not torch.equal(called, w)


SEVERAL = [list(OPERATIONS)[i : i + 6] for i in range(0, len(OPERATIONS), 6)]


def in_slots(names: list[str], w: Tensor, g: Tensor) -> list[tuple[str, Tensor, Tensor]]:
    """Of each operation its values by a kernel and by hand: one kernel has several, for building takes long."""
    scope = {f"f{i}": OPERATIONS[name] for i, name in enumerate(names)}
    slots = ", ".join(f"s{i}=0.0" for i in range(len(names)))
    values = ", ".join(f"f{i}(w, g, k)" for i in range(len(names)))
    exec(f"def made(w, g, {slots}, *, lr, k=0.5):\n    return w - lr * g, {values}", scope)
    own = rule(scope["made"])
    fast = w.clone().requires_grad_()
    update, slow = Update(Tensors({"w": fast}), own), SlowUpdate(own, w)
    fast.grad = g
    update.advance({**own.hypers, **HYPERS})
    slow.step(g, HYPERS)
    return [(name, update.slots[f"s{i}"]["w"], slow.slots[i]) for i, name in enumerate(names)]


@pytest.mark.parametrize("names", SEVERAL, ids=" ".join)
def test_operations_in_a_kernel(names):
    generator = torch.Generator().manual_seed(0)
    w, g = torch.randn(2, 101, generator=generator, dtype=torch.float64)
    w[:4], g[:4] = torch.tensor([0.0, 1.0, -1.0, 2.0]), torch.tensor([0.0, 0.0, 1.0, 2.0])
    for name, kernel, called in in_slots(names, w, g):
        assert apart(kernel, called) <= 1e-14, name
        assert not torch.equal(called, torch.zeros_like(called)), name


def everything(w, g, k):
    """All the operations in one formula."""
    return sum(change(w, g, k) for change in OPERATIONS.values())


def test_operations_in_float32():
    """The kernel of the same source for another dtype; the truth is in float64."""
    w, g = torch.randn(2, 4099, generator=torch.Generator().manual_seed(0))
    kernel, program, called = three_ways(of(everything), w, g, steps=1)
    assert kernel.dtype is torch.float32
    assert apart(kernel, called) <= 1e-6
    assert apart(program, called) <= 1e-6


def test_there_is_no_float64_in_the_loop_over_float32():
    """It would cost the vectors: the types that numba finds for every value in the inner loop."""
    program = of(everything).program
    scope = {name: getattr(np, name) for name in ("sqrt", "exp", "log", "fabs")} | {"F": np.float32}
    exec(_block_source(program, ()), scope)
    array = types.Array(types.float32, 1, "C")
    signature = (array, array, *(types.float32 for _ in range(1 + len(program.hoisted))))
    block = njit(**FLAGS)(scope["block"])
    block.compile(signature)
    found = block.overloads[signature].type_annotation.typemap
    named = {name: kind for name, kind in found.items() if re.fullmatch(r"(x\d+|new|step|moved|length)[.\d]*", name)}
    assert named.keys() >= {f"x{n}" for n, i in enumerate(program.instructions) if i.kind == sd.WEIGHT}
    assert set(named.values()) == {types.float32, types.boolean}


def not_finite() -> tuple[Tensor, Tensor]:
    w, g = torch.linspace(0.4, 0.9, 16, dtype=torch.float64), torch.linspace(-0.3, 0.8, 16, dtype=torch.float64)
    w[[1, 4]], g[[2, 5]], w[6], g[7] = math.nan, math.nan, math.inf, -math.inf
    return w, g


@pytest.mark.parametrize("name", OPERATIONS)
def test_what_is_not_finite_shows(name):
    """NaN and infinity in a weight or a gradient come out where they do by hand, and nowhere else."""
    program, called = two_ways(of(OPERATIONS[name]), *not_finite(), steps=1)
    assert torch.equal(program.isnan(), called.isnan())
    ordinary = ~called.isnan()
    assert torch.allclose(program[ordinary], called[ordinary], rtol=1e-14, atol=0)


@pytest.mark.parametrize("names", SEVERAL, ids=" ".join)
def test_what_is_not_finite_shows_in_a_kernel(names):
    for name, kernel, called in in_slots(names, *not_finite()):
        assert not (called.isnan() & ~kernel.isnan()).any(), name
        assert not kernel[[0, 3, 8, 15]].isnan().any(), name
        if name == "sign":  # torch's own makes 0 of NaN; the kernel must not hide it
            assert kernel[[1, 2, 4, 5]].isnan().all()
        ordinary = ~(kernel.isnan() | called.isnan())
        assert torch.allclose(kernel[ordinary], called[ordinary], rtol=1e-14, atol=0), name


OF_HYPERPARAMETERS = {
    "arithmetic": lambda k: (k + 1) * (k - 2) / (3 + k) - (-k) + 2 / k,
    "power": lambda k: k**3 + 2**k + k**0.7 + k**-1,
    "functions": lambda k: sd.sqrt(k) + sd.exp(-k) + sd.log(k) + sd.abs(k - 1),
    "sign": lambda k: sd.sign(k - 0.5),
    "maximum": lambda k: sd.maximum(k, 0.5) + 10 * sd.maximum(1.0, k),
    "minimum": lambda k: sd.minimum(k, 0.5) + 10 * sd.minimum(1.0, k),
    "lt": lambda k: sd.where(k < 0.5, k, 3.0),
    "le": lambda k: sd.where(k <= 0.5, k, 3.0),
    "gt": lambda k: sd.where(k > 0.5, k, 3.0),
    "ge": lambda k: sd.where(k >= 0.5, k, 3.0),
    "eq": lambda k: sd.where(k == 0.5, k, 3.0),
    "ne": lambda k: sd.where(k != 0.5, k, 3.0),
    "and": lambda k: sd.where((k > 0.3) & (k < 1), k, 3.0),
    "or": lambda k: sd.where((k < 0.3) | (k > 1), k, 3.0),
    "not": lambda k: sd.where(~(k > 0.5) if isinstance(k, sd.Symbol) else not k > 0.5, k, 3.0),
    "infinite": lambda k: sd.minimum(k, math.inf) + sd.maximum(k, -math.inf),
}


@pytest.mark.parametrize("name", OF_HYPERPARAMETERS)
def test_of_hyperparameters_alone(name):
    """In floats for one point and in arrays for members, as Python computes it."""
    change, ks = OF_HYPERPARAMETERS[name], [0.25, 0.5, 0.75, 2.0]
    program = sd.trace(lambda *, k: change(k), [], [], ["k"])
    place = program.hoisted.index(*program.outputs)
    expected = pytest.approx([change(k) for k in ks], rel=1e-14)
    assert [hoisted_values(program, {"k": k})[place] for k in ks] == expected
    assert hoisted_values(program, {"k": np.array(ks)}, hoist.ARRAYS)[place].tolist() == expected


POWERS = [-16, -5, -2, -1, 0, 1, 2, 3, 4, 7, 11, 16, 17, -17]


def test_integer_powers():
    generator = torch.Generator().manual_seed(1)
    w = 0.9 + 0.2 * torch.rand(33, generator=generator, dtype=torch.float64)  # so that no power hides another
    own = of(lambda w, g, k: sum((1 + i / 7) * w**n for i, n in enumerate(POWERS)))
    kernel, program, called = three_ways(own, w, torch.zeros(33, dtype=torch.float64), steps=1)
    assert apart(kernel, called) <= 1e-14
    assert apart(program, called) <= 1e-14


@pytest.mark.parametrize("n", POWERS)
def test_small_powers_are_products(n):
    powers = [i for i in of(lambda w, g, k: w**n).program.instructions if i.op == "pow"]
    assert bool(powers) is (n == 0 or abs(n) > 16)  # products vectorise, powers do not


@given(st.recursive(
    st.sampled_from(["w", "g", "k", "0.5", "-2.0"]),
    lambda x: st.one_of(
        st.tuples(st.sampled_from(["({} + {})", "({} - {})", "({} * {})", "maximum({}, {})", "minimum({}, {})"]), x, x),
        st.tuples(st.sampled_from(["abs({0})", "sign({0})", "sqrt(abs({0}))", "(-{0})", "({0}) ** 2"]), x, x),
        st.tuples(st.sampled_from(["where(w > {}, {}, g)", "where({} <= g, {}, w)"]), x, x),
    ).map(lambda made: made[0].format(made[1], made[2])),
    max_leaves=8,
))  # fmt: skip
@settings(max_examples=150, deadline=None, derandomize=True, database=None)
def test_any_formula_means_what_it_says(text):
    """The traced program of a random expression against Python's own evaluation of it."""
    functions = {n: getattr(sd, n) for n in ("maximum", "minimum", "abs", "sign", "sqrt", "where")}
    own = of(lambda w, g, k: eval(text, {**functions, "w": w, "g": g, "k": k}))
    generator = torch.Generator().manual_seed(2)
    w, g = torch.randn(2, 16, generator=generator, dtype=torch.float64)
    hoisted = hoisted_values(own.program, HYPERS)
    found = torch.as_tensor(eager.evaluate(own.program, {"w": w, "g": g}, hoisted)[0])
    expected = own.formula(w, g, **HYPERS)
    assert torch.allclose(found, expected, rtol=1e-12, atol=1e-12)


def test_closures_helpers_and_plain_if():
    factor, nesterov = 0.25, True

    def smoothed(old, new, beta):
        return beta * old + (1 - beta) * new

    @rule
    def own(w, g, m=0.0, *, lr, beta=0.9):
        m = smoothed(m, g, beta)
        step = factor * m
        if nesterov:
            step = step + g
        for _ in range(2):
            step = step * 0.5
        return w - lr * step, m

    same(own)


def test_all_kinds_of_slots():
    @rule
    def own(w, g, start=W, m=1.5, count=scalar(2.0), *, t, lr):
        m = 0.5 * m + g
        count = count + 1 / t
        return w - lr * (m / count + 0.1 * (w - start)), start, m, count

    assert [(s.name, s.is_scalar) for s in own.slots] == [("start", False), ("m", False), ("count", True)]
    w = torch.ones(5, dtype=torch.float64)
    g = torch.arange(5, dtype=torch.float64)
    update = Update(Tensors({"w": w}), own)
    slow = SlowUpdate(own, w)
    for _ in range(3):
        w.grad = g
        update.advance({"lr": 0.1})
        slow.step(g, {"lr": 0.1})
    assert apart(w, slow.w) <= 1e-14
    assert update.scalars == [[pytest.approx(slow.slots[2])]]
    assert takes_t(own)


def test_in_place_operators():
    @rule
    def own(w, g, *, lr):
        g *= 2.0
        w -= lr * g
        return w

    w = torch.ones(3, dtype=torch.float64, requires_grad=True)
    w.grad = torch.ones(3, dtype=torch.float64)
    Update(Tensors({"w": w}), own).advance({"lr": 0.25})
    assert w.tolist() == [0.5] * 3


def test_what_depends_on_hyperparameters_alone_is_computed_once():
    """Bias corrections leave the loop, in float64; equal subexpressions are kept once."""
    program = RULES["adam"].program
    in_loop = [i.op for i in program.instructions if i.kind == sd.WEIGHT]
    assert "pow" not in in_loop
    assert in_loop.count("div") == 1  # the one by the root: those by corrections are products
    values = {**RULES["adam"].hypers, "t": 3}
    hoisted = hoisted_values(program, values)
    assert 1 - 0.999 in hoisted
    own = of(lambda w, g, k: sd.sqrt(w * g) + (w * g) ** 0.5)
    assert [i.op for i in own.program.instructions].count("sqrt") == 1  # a half power too, and powers do not vectorise
    assert "pow" not in [i.op for i in own.program.instructions]


def test_what_is_not_used_is_left_out():
    @rule
    def own(w, g, *, lr, k=0.5, unused=0.1):
        _ = sd.exp(w) + unused
        return w - 2 * g * lr

    assert [i.op for i in own.program.instructions if i.op not in ("input", "constant")] == ["mul", "mul", "sub"]
    assert [name for name in own.program.inputs if name not in ("w", "g")] == ["lr"]
    assert len(own.program.hoisted) == 1  # literals stand in the loop


def test_equal_texts_equal_programs():
    first, second = (of(lambda w, g, k: w * g + k) for _ in range(2))
    assert first.program.text == second.program.text
    assert first.program.text != of(lambda w, g, k: w * g - k).program.text


def test_a_rule_may_report_another_point():
    """`evaluate` is a formula like the rule's, of slots, hyperparameters and t; it may take them all in one."""

    def ahead(w, v, n, *, t, **hypers):
        return w - sd.where(t > 1, hypers["lr"], 0.0) * hypers["k"] * v + n

    @rule(evaluate=ahead)
    def own(w, g, v=0.0, n=scalar(1.0), *, t, lr, k=0.5):
        v = 0.5 * v + g
        return w - lr * v, v, n + 1 / t

    w = torch.linspace(-1, 1, 5, dtype=torch.float64)
    update, slow = Update(Tensors({"w": w}), own), SlowUpdate(own, w)
    for t in (1, 2, 3):
        w.grad = torch.cos(w + t)
        update.advance({"lr": 0.1, "k": 0.25})
        slow.step(w.grad, {"lr": 0.1, "k": 0.25})
        expected = ahead(slow.w, *slow.slots, t=t, lr=0.1, k=0.25)
        assert apart(update.reported_weights({"lr": 0.1, "k": 0.25})[0], expected) <= 1e-14


AVERAGES = {
    "corrected": (
        with_average,
        lambda t, beta: [beta ** (t - i) * (1 - beta) / (1 - beta**t) for i in range(1, t + 1)],
    ),
    "of Steepest 0.1": (
        with_uncorrected_average,
        lambda t, beta: [beta ** (t - i) * (1 - beta) for i in range(1, t + 1)],
    ),
}
"""The formula, and the shares of the points after steps 1 … t by definition; what is missing to 1 is the start's."""


@pytest.mark.parametrize("formula", AVERAGES)
@pytest.mark.parametrize("name", ["gradient_descent", "momentum", "adam", "nadam"])
def test_average_of_weights(name, formula):
    """Beside a rule that moves as it did: without slots, with one, with two, with a scalar one; some of them with t."""
    make, shares = AVERAGES[formula]
    w = torch.linspace(-1, 1, 9, dtype=torch.float64)
    alone, points = SlowUpdate(RULES[name], w), [w.clone()]
    update = Update(Tensors({"w": w}), make(RULES[name], 0.8))
    hypers = dict(update.rule.hypers)
    for t in range(1, 7):
        w.grad = torch.cos(torch.arange(9, dtype=torch.float64) * t)
        update.advance(hypers)
        alone.step(w.grad, {})
        points.append(alone.w.clone())
        parts = shares(t, 0.8)
        expected = sum(share * point for share, point in zip([1 - sum(parts), *parts], points, strict=True))
        assert apart(update.reported_weights(hypers)[0], expected) <= 1e-13
    assert apart(w, alone.w) <= 1e-13


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("beta", [0.0, 0.9, 0.9999])
def test_the_first_average_is_the_first_point(beta, dtype):
    w = torch.randn(50, dtype=dtype, generator=torch.Generator().manual_seed(0))
    w.grad = torch.ones(50, dtype=dtype)
    update = Update(Tensors({"w": w}), with_average(RULES["momentum"], beta))
    update.advance({**update.rule.hypers, "lr": 0.1})
    assert torch.equal(update.reported_weights(update.rule.hypers)[0], w)


# -- What cannot, and what is said -------------------------------------------------------------------------------------


def helper_that_branches(x):
    return x if x > 0 else -x  # ERROR HERE: helper


def branching(w, g, *, lr):
    if g > 0:  # ERROR HERE
        return w
    return w - lr * g


def branching_on_t(w, g, *, t, lr):
    return w - lr * g if t > 5 else w  # ERROR HERE


def branching_in_helper(w, g, *, lr):
    return w - lr * helper_that_branches(g)


def chained(w, g, *, lr):
    return sd.where(0 < w < 1, g, w)  # ERROR HERE


def and_(w, g, *, lr):
    return sd.where((w > 0) and (g > 0), g, w)  # ERROR HERE


def builtin_max(w, g, *, lr):
    return w - lr * max(g, 0.0)  # ERROR HERE


def math_sqrt(w, g, *, lr):
    return w - lr * math.sqrt(g)  # ERROR HERE


def math_of_hyper(w, g, *, lr):
    return w - math.exp(lr) * g  # ERROR HERE


def torch_sqrt(w, g, *, lr):
    return w - lr * torch.sqrt(g)  # ERROR HERE


def torch_functional(w, g, *, lr):
    return w - lr * nn.functional.relu(g)  # ERROR HERE


def np_sqrt(w, g, *, lr):
    return w - lr * np.sqrt(g)  # ERROR HERE


def np_sum(w, g, *, lr):
    return w - lr * g / np.sum(g)  # ERROR HERE


def iterating(w, g, *, lr):
    return sum(w - lr * x for x in g)  # ERROR HERE


def indexing(w, g, *, lr):
    return w - lr * g[0]  # ERROR HERE


def method(w, g, *, lr):
    return w - lr * g.norm()  # ERROR HERE


def with_tensor(w, g, *, lr):
    return w - lr * g * torch.ones(3)  # ERROR HERE


def with_text(w, g, *, lr):
    return w - lr * g * "2"  # ERROR HERE


def with_bool(w, g, *, lr):
    return sd.where(True, g, w)  # ERROR HERE


def modulo(w, g, *, lr):
    return w % 2  # ERROR HERE


def forgot_return(w, g, *, lr):  # ERROR HERE
    w = w - lr * g


TRACING = {
    branching: "Write sd.where(condition, a, b) instead of if",
    branching_on_t: "Write sd.where(condition, a, b) instead of if",
    branching_in_helper: "Write sd.where",
    chained: "sd.where",
    and_: "instead of if / and / or",
    builtin_max: "max / min",
    math_sqrt: "math.* and float() need numbers, but this value is symbolic. Write sd.sqrt",
    math_of_hyper: "sd.exp",
    torch_sqrt: "torch.sqrt needs tensors, but a formula describes one weight. Write sd.sqrt.",
    torch_functional: "torch.relu needs tensors, but a formula describes one weight. A formula may use",
    np_sqrt: "sd.sqrt",
    np_sum: "sd.sqrt, sign, abs",
    iterating: "a formula describes one weight, which cannot be iterated or indexed",
    indexing: "a formula describes one weight, which cannot be iterated or indexed",
    method: "sd.sqrt, sign, abs",
    with_tensor: "A formula may use its arguments, numbers",
    with_text: "a formula cannot use str '2'. A formula may use",
    with_bool: "cannot use bool True",
    modulo: "A formula may use its arguments, numbers, + - * / **",
    forgot_return: "cannot use NoneType None",
}


@pytest.mark.parametrize("formula", TRACING, ids=lambda f: f.__name__)
def test_names_the_line_and_what_to_write(formula):
    own = rule(formula)
    with pytest.raises(FormulaError, match=re.escape(TRACING[formula])) as error:
        _ = own.program
    marked = helper_that_branches if formula is branching_in_helper else formula
    lines, first = inspect.getsourcelines(marked)
    line = first + next(n for n, text in enumerate(lines) if "ERROR HERE" in text)
    assert f"{__file__}:{line}, in {marked.__name__}" in str(error.value)


def test_evaluate_that_cannot_be_lowered():
    def reports(w, *, lr):
        return w if w > 0 else -w

    own = rule(evaluate=reports)(lambda w, g, *, lr: w - lr * g)
    line = reports.__code__.co_firstlineno + 1
    with pytest.raises(FormulaError, match=re.escape(f"{__file__}:{line}, in reports: ")):
        _ = own.evaluation


def too_few(w, g, m=0.0, *, lr):
    return w - lr * g


def too_many(w, g, *, lr):
    return w - lr * g, g


def scalar_of_weights(w, g, s=scalar(0.0), *, lr):
    return w - lr * g, s + g * g


OUTPUTS = {
    too_few: "rule too_few must return w, m, in this order, got 1 value",
    too_many: "rule too_many must return w, in this order, got 2 values",
    scalar_of_weights: "slot s of rule scalar_of_weights is sd.scalar (one number per member), so it must not",
}


@pytest.mark.parametrize("formula", OUTPUTS, ids=lambda f: f.__name__)
def test_outputs_must_fit_the_slots(formula):
    with pytest.raises(FormulaError, match=re.escape(OUTPUTS[formula])) as error:
        _ = rule(formula).program
    assert f"{__file__}:{formula.__code__.co_firstlineno}" in str(error.value)


def _signatures() -> dict:
    def stars(w, g, *slots, lr):
        return w

    def keywords(w, g, *, lr, **others):
        return w

    def other_names(x, y, *, lr):
        return x

    def no_gradient(w, *, lr):
        return w

    def no_start(w, g, m, *, lr):
        return w, m

    def odd_start(w, g, m="zero", *, lr):
        return w, m

    def bool_start(w, g, m=False, *, lr):
        return w, m

    def no_rate(w, g, *, beta=0.9):
        return w

    def positional_rate(w, g, lr=0.1):
        return w

    def no_default(w, g, *, lr, beta):
        return w

    return {
        stars: "*args and **kwargs are not allowed. Name each slot and each hyperparameter.",
        keywords: "*args and **kwargs are not allowed. Name each slot and each hyperparameter.",
        other_names: "the first two parameters must be w (weight) and g (gradient)",
        no_gradient: "must be w (weight) and g (gradient)",
        no_start: "slot m must have a starting value: a number, sd.W or sd.scalar(number)",
        odd_start: "slot m must have a starting value",
        bool_start: "slot m must have a starting value",
        no_rate: "the keyword-only parameter lr (learning rate) is missing. Write (w, g, *, lr).",
        positional_rate: "the keyword-only parameter lr (learning rate) is missing",
        no_default: "hyperparameter beta must have a default value",
    }


@pytest.mark.parametrize(("formula", "message"), _signatures().items(), ids=lambda x: getattr(x, "__name__", ""))
def test_signature(formula, message):
    with pytest.raises(FormulaError, match=re.escape(message)) as error:
        rule(formula)
    assert f"{__file__}:{formula.__code__.co_firstlineno}, rule {formula.__name__}" in str(error.value)


def test_functions_on_numbers_and_tensors():
    assert sd.sqrt(4.0) == 2.0
    assert sd.sign(-3) == -1.0
    assert sd.sign(0.0) == 0.0
    assert sd.where(False, 1.0, 2.0) == 2.0
    x = torch.tensor([-1.0, 2.0])
    assert sd.maximum(x, 0.0).tolist() == [0.0, 2.0]
    assert sd.where(x > 0, 0.5, 0.25).tolist() == [0.25, 0.5]
    assert sd.where(x > 0, x, 0.5).tolist() == [0.5, 2.0]
