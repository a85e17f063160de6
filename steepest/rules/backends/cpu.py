"""A formula as a CPU kernel: one pass over the weights in place, compiled by numba and vectorised by LLVM.

The loop vectorises under three conditions; without any one of them it is 3 to 8 times slower:

1. the inner loop runs over *slices*, in a separate function;
2. it contains no float64: member values are hoisted (`rules.hoist`), literals are cast;
3. fastmath without `nnan` and `ninf`, so that a NaN is propagated.

A slot below the smallest normal number is set to 0, as happens to a dead unit's momentum after 800 steps: denormal
numbers are many times slower, and the update of such a network took twice as long.

A block has at most `BLOCK_SIZE` weights; `backends.block_loop` goes over them.
"""

import functools

import numpy as np
import torch

from steepest.rules.backends.block_loop import BACKWARDS, BLOCK_WORDS, FORWARDS, Pass, block_loop
from steepest.rules.backends.compiler import kernel_of
from steepest.rules.backends.object_code import Kernel
from steepest.rules.rounding import Rounding
from steepest.rules.trace import CONSTANT, WEIGHT, Program

BLOCK_SIZE = 1 << 15
"""Weights per block, which is one row of the table."""

EXPRESSIONS = {
    "add": "{} + {}", "sub": "{} - {}", "mul": "{} * {}", "div": "{} / {}", "neg": "-{}", "pow": "{} ** {}",
    "sqrt": "sqrt({})", "exp": "exp({})", "log": "log({})", "abs": "fabs({})",
    "sign": "(F(1) if {0} > 0 else (F(-1) if {0} < 0 else {0}))",
    "maximum": "({0} if {0} > {1} or {0} != {0} else {1})",
    "minimum": "({0} if {0} < {1} or {0} != {0} else {1})",
    "where": "({1} if {0} else {2})",
    "lt": "{} < {}", "le": "{} <= {}", "gt": "{} > {}", "ge": "{} >= {}", "eq": "{} == {}", "ne": "{} != {}",
    "not": "not {}", "and": "{} and {}", "or": "{} or {}",
}  # fmt: skip

READ_ROWS = """
def kernel(arguments):
    d = carray(arguments, (10,))
    count, width, G, owners, S, sizes, R = d[0], d[1], d[2], d[3], d[4], d[5], d[6]
    values, firsts, rows = d[7], d[8], d[9]
    used = 0
    for p in range(count):
        if integer(G + p * 8) == 0:
            continue
        mine = used
        for q in range(width):
            slot, value = integer(S + (p * width + q) * 8), values + (used * width + q) * 8
            if integer(sizes + (p * width + q) * 8) == 4:
                write_double(value, float64(single(slot)))
            else:
                write_double(value, double(slot))
        for r in range(used - 1, -1, -1):
            same = integer(owners + integer(firsts + r * 8) * 8) == integer(owners + p * 8)
            for q in range(width):
                new = double(values + (used * width + q) * 8)
                same = same and double(values + (r * width + q) * 8) == new
            if same:
                mine = r
                break
        write_integer(R + p * 8, mine)
        if mine == used:
            write_integer(firsts + used * 8, p)
            used += 1
    write_integer(rows, used)
"""
WRITE_ROWS = """
def kernel(arguments):
    d = carray(arguments, (8,))
    count, width, G, S, sizes, R, values = d[0], d[1], d[2], d[4], d[5], d[6], d[7]
    for p in range(count):
        if integer(G + p * 8) == 0:
            continue
        row = integer(R + p * 8)
        for q in range(width):
            slot = integer(S + (p * width + q) * 8)
            new = double(values + (row * width + q) * 8)
            if integer(sizes + (p * width + q) * 8) == 4:
                write_single(slot, F(new))
            else:
                write_double(slot, new)
"""
BLOCK = """
def kernel(words):
    n = words[0]
    h = carray(floats(words[1]), ({hypers},))
    first, second = block({arguments})
    write_double(words[2], double(words[2]) + first)
    write_double(words[2] + 8, double(words[2] + 8) + second)
"""
"""What the loop over blocks calls: the inner loop with slices of a chunk."""
SLICE = "carray(floats(words[{}]), (n,))"


def advance_pass(
    program: Program, slots: tuple[str, ...], dtype: torch.dtype, rounding: Rounding | None = None
) -> Pass:
    """The pass of a rule's program.

    For every block with a gradient, unless the gradient scale of its row is NaN, it scales the gradient, applies the
    formula, writes weights and slots, and stores Σ(w_new − w)² and Σ w_new² in `sums`.

    Args:
        program: the traced formula; its outputs are w and the slots, scalar ones included.
        slots: names of the slots per weight, in the order of the outputs; "" for a scalar slot.
        dtype: of weights and gradients: float32, float64, or bfloat16 with float32 slots.
        rounding: of weights in bfloat16. The master weights are the first slot, which is not in `slots`; a row of
            hyperparameters ends with the step if rounding is stochastic.
    """
    source, count = _block_source(program, slots), sum(map(bool, slots))
    hypers = [f"h[{k}]" for k in range(1 + len(program.hoisted))]
    slices = [SLICE.format(3 + k) for k in range(2)] + [SLICE.format(BLOCK_WORDS + k) for k in range(count)]
    block = _block(source, ", ".join([*slices, *hypers]), len(hypers), dtype if rounding is None else torch.float32)
    has_master = rounding is not None and rounding.has_master
    return Pass(block_loop(dtype, rounding), block, BACKWARDS, count + has_master)


def norm_pass(dtype: torch.dtype) -> Pass:
    """The pass that stores Σg² of every block in `sums`; it does not read the weights.

    A block whose sum is not finite in float32 is summed again in float64, so the norm of a finite gradient is finite.
    """
    source = """
def block(g):
    total = F(0)
    for i in range(g.size):
        x = {g}
        total += x * x
    if not isfinite(total):
        return exact(g), 0.0
    return float(total), 0.0

def exact(g):
    total = 0.0
    for i in range(g.size):
        x = float64({g})
        total += x * x
    return total
"""
    source = source.replace("{g}", "widen(g[i])" if dtype is torch.bfloat16 else "g[i]")
    block = _block(source, SLICE.format(4).replace("floats", "weights"), 1, dtype)
    return Pass(block_loop(dtype), block, FORWARDS, 0)


@functools.lru_cache(maxsize=256)
def _block(source: str, arguments: str, hypers: int, dtype: torch.dtype) -> Kernel:
    return kernel_of(source + BLOCK.format(arguments=arguments, hypers=hypers), dtype)


@functools.cache
def rows_kernels() -> tuple[Kernel, Kernel]:
    """Two kernels that read and write the scalar state of tensors, such as their counts of steps, by address.

    Reading gives tensors with a gradient that have the same owner and the same scalars the same row; `values` are the
    scalars of each row, and `firsts` its first tensor. Writing gives each tensor the scalars of its row.
    """
    return kernel_of(READ_ROWS, torch.float32), kernel_of(WRITE_ROWS, torch.float32)


def _block_source(program: Program, slots: tuple[str, ...]) -> str:
    """The inner loop: reads the slots, applies the formula, writes the slots."""
    hypers = [f"x{n}" for n in program.hoisted]
    lines = [f"def block({', '.join(['w', 'g', *(f's_{s}' for s in slots if s), 'scale', *hypers])}):"]
    lines += ["    moved = F(0)", "    length = F(0)", "    for i in range(w.size):"]
    inputs = program.inputs
    for n, i in enumerate(program.instructions):
        if i.kind == WEIGHT:
            lines.append(f"        x{n} = {_expression(program, n, i.value if i.op == 'input' else None)}")
    names = ["w", *slots]
    for name, place in zip(names, program.outputs, strict=True):
        if name and name != "w":
            value = _operand(program, place)
            lines.append(f"        s_{name}[i] = F(0) if fabs({value}) < TINY else {value}")
    old = f"x{inputs['w']}" if "w" in inputs else "w[i]"
    lines.append(f"        new = {_operand(program, program.outputs[0])}")
    lines.append(f"        step = new - {old}")
    lines += ["        moved += step * step", "        length += new * new", "        w[i] = new"]
    return "\n".join([*lines, "    return float(moved), float(length)"])


def _expression(program: Program, place: int, name: str | None) -> str:
    i = program.instructions[place]
    if name is None:
        return EXPRESSIONS[i.op].format(*(_operand(program, a) for a in i.args))
    return {"w": "w[i]", "g": "g[i] * scale"}.get(name, f"s_{name}[i]")


def _operand(program: Program, place: int) -> str:
    i = program.instructions[place]
    if i.kind == CONSTANT and i.op == "constant":
        return f"F({i.value!r})" if np.isfinite(i.value) else f"F(float('{i.value}'))"
    return f"x{place}"
