"""A formula as a CPU kernel: one pass over the weights in place, compiled by numba and vectorised by LLVM.

The loop vectorises under three conditions; without any one of them it is 3 to 8 times slower:

1. the inner loop runs over *slices*, in a separate function;
2. it contains no float64: member values are hoisted (`rules.hoist`), literals are cast;
3. fastmath without `nnan` and `ninf`, so that a NaN is propagated.

A slot below the smallest normal number is set to 0, as happens to a dead unit's momentum after 800 steps: denormal
numbers are many times slower, and the update of such a network took twice as long.

A kernel reads a table with one row per block of at most `BLOCK_SIZE` weights: its tensor, its start in the tensor, its
length, and its member. Weight, gradient and slots of a tensor have an address each and the same layout; every tensor
has a row of hyperparameters for each member. So groups and members are rows, not special cases.

Weights and gradients of bfloat16 are converted chunk by chunk (`backends.bfloat16`), within the caches; between the
conversions the loop is that of float32, so its results are too. Master weights are one slot more, the first one.
"""

import functools
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from steepest.rules.backends import bfloat16
from steepest.rules.backends.object_code import Kernel, load_or_build
from steepest.rules.rounding import CHUNK_SIZE, Rounding
from steepest.rules.trace import CONSTANT, WEIGHT, Program

BLOCK_SIZE = 1 << 15
"""Weights per block, which is one row of the table."""

# Squares are summed in the weights' precision within a chunk of `CHUNK_SIZE` and in float64 over the chunks. In float32
# a sum of 32 thousand nearly equal squares was off by 2e-5 on a processor with eight lanes.

TABLE_COLUMNS = 4
"""Tensor, start in it, length, member."""

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

FLAGS: dict[str, Any] = {"fastmath": {"contract", "reassoc", "arcp", "nsz"}, "error_model": "numpy"}

DRIVER = """
def kernel(arguments):
    d = carray(arguments, (13,))
    parts, table, W, G, S, R, H = d[0], d[1], d[2], d[3], d[4], d[5], d[6]
    places, count, width, sums, parallel, team = d[7], d[8], d[9], d[10], d[11], d[12]
    first, stride = 0, 1
    if parallel != 0:
        first, stride = thread(), threads()
    {setup}
    bounds = carray(integers(parts), (team + 1,))
    for part in range(first, team, stride):
        for b in range({order}):
            row = carray(integers(table + b * TABLE_COLUMNS * 8), (TABLE_COLUMNS,))
            p, lo, n = row[0], row[1], row[2]
            r = carray(integers(R + p * 8), (1,))[0] + row[3]
            wp = carray(integers(W + p * 8), (1,))[0] + lo * WEIGHT_SIZE
            gp = carray(integers(G + p * 8), (1,))[0]
            h = carray(floats(H + r * width * SIZE), (width,))
            out = carray(doubles(sums + b * 16), (2,))
            out[0] = 0.0
            out[1] = 0.0
            if gp != 0 and h[0] == h[0]:
                gp += lo * WEIGHT_SIZE
                for c in range(0, n, CHUNK_SIZE):
                    m = min(CHUNK_SIZE, n - c)
                    {before}
                    first_sum, second_sum = block({arguments})
                    {after}
                    out[0] += first_sum
                    out[1] += second_sum
    if parallel == 0:
        total = carray(doubles(sums + bounds[team] * 16), (2,))
        total[0] = 0.0
        for b in range(bounds[team]):
            total[0] += carray(doubles(sums + b * 16), (2,))[0]
"""
READ_ROWS = """
def kernel(arguments):
    d = carray(arguments, (10,))
    count, width, G, owners, S, sizes, R = d[0], d[1], d[2], d[3], d[4], d[5], d[6]
    values, firsts, rows = d[7], d[8], d[9]
    used = 0
    for p in range(count):
        if carray(integers(G + p * 8), (1,))[0] == 0:
            continue
        row = carray(integers(R + p * 8), (1,))
        row[0] = used
        for q in range(width):
            slot = carray(integers(S + (p * width + q) * 8), (1,))[0]
            value = carray(doubles(values + (used * width + q) * 8), (1,))
            if carray(integers(sizes + (p * width + q) * 8), (1,))[0] == 4:
                value[0] = carray(singles(slot), (1,))[0]
            else:
                value[0] = carray(doubles(slot), (1,))[0]
        owner = carray(integers(owners + p * 8), (1,))[0]
        for r in range(used - 1, -1, -1):
            same = carray(integers(owners + carray(integers(firsts + r * 8), (1,))[0] * 8), (1,))[0] == owner
            for q in range(width):
                new = carray(doubles(values + (used * width + q) * 8), (1,))[0]
                same = same and carray(doubles(values + (r * width + q) * 8), (1,))[0] == new
            if same:
                row[0] = r
                break
        if row[0] == used:
            carray(integers(firsts + used * 8), (1,))[0] = p
            used += 1
    carray(integers(rows), (1,))[0] = used
"""
WRITE_ROWS = """
def kernel(arguments):
    d = carray(arguments, (8,))
    count, width, G, S, sizes, R, values = d[0], d[1], d[2], d[4], d[5], d[6], d[7]
    for p in range(count):
        if carray(integers(G + p * 8), (1,))[0] == 0:
            continue
        row = carray(integers(R + p * 8), (1,))[0]
        for q in range(width):
            slot = carray(integers(S + (p * width + q) * 8), (1,))[0]
            new = carray(doubles(values + (row * width + q) * 8), (1,))[0]
            if carray(integers(sizes + (p * width + q) * 8), (1,))[0] == 4:
                carray(singles(slot), (1,))[0] = new
            else:
                carray(doubles(slot), (1,))[0] = new
"""
WEIGHTS_SLICE = "carray(weights({} + c * WEIGHT_SIZE), (m,))"
"""The current chunk of the weights or gradients, given their address."""
SCRATCH_SLICE = "carray(floats({}), (m,))"
"""A chunk of numbers on the stack, given its address."""
FORWARDS, BACKWARDS = "bounds[part], bounds[part + 1]", "bounds[part + 1] - 1, bounds[part] - 1, -1"
"""Of a thread's blocks. The norm reads them forwards and the update backwards, so that the update begins with gradients
that are still in the caches."""
SLOT_SLICE = "carray(floats(carray(integers(S + (p + {} * count) * 8), (1,))[0] + (lo + c) * SIZE), (m,))"
"""The current chunk of a slot. Inlined, as every function takes 0.15 s to compile."""
KEY = "random_key(carray(integers(places + p * 8), (1,))[0], h[width - 1], (lo + c) // CHUNK_SIZE)"
"""The key of the current chunk's random numbers: of the parameter's place, the step and the chunk."""


def advance_kernel(
    program: Program, slots: tuple[str, ...], dtype: torch.dtype, rounding: Rounding | None = None
) -> Kernel:
    """The kernel of a rule's program.

    For every block with a gradient, unless the gradient scale of its row is NaN, it scales the gradient, applies the
    formula, writes weights and slots, and stores Σ(w_new − w)² and Σ w_new² in `sums`.

    Args:
        program: the traced formula; its outputs are w and the slots, scalar ones included.
        slots: names of the slots per weight, in the order of the outputs; "" for a scalar slot.
        dtype: of weights and gradients: float32, float64, or bfloat16 with float32 slots.
        rounding: of weights in bfloat16. The master weights are the first slot, which is not in `slots`; a row of
            hyperparameters ends with the step if rounding is stochastic.
    """
    source, count, order = _block_source(program, slots), sum(map(bool, slots)), BACKWARDS
    hypers = [f"h[{k}]" for k in range(1 + len(program.hoisted))]
    w, g = map(WEIGHTS_SLICE.format, ("wp", "gp"))
    if rounding is None:
        return _kernel(source, ", ".join([w, g, *map(SLOT_SLICE.format, range(count)), *hypers]), dtype, order)
    first = int(rounding.has_master)
    setup = "w32, g32 = scratch(), scratch()"
    wide = [SLOT_SLICE.format(0) if first else SCRATCH_SLICE.format("w32"), SCRATCH_SLICE.format("g32")]
    before = f"read({w}, {g}, {', '.join(wide)})"
    after = f"write({w}, {wide[0]}{f', {KEY}' * rounding.is_stochastic})"
    arguments = ", ".join([*wide, *map(SLOT_SLICE.format, range(first, first + count)), *hypers])
    return _kernel(source + bfloat16.loops(rounding), arguments, dtype, order, (setup, before, after))


def norm_kernel(dtype: torch.dtype) -> Kernel:
    """The kernel that stores Σg² of every block in `sums`; it does not read the weights.

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
    return _kernel(source, WEIGHTS_SLICE.format("gp"), dtype)


def rows_kernels() -> tuple[Kernel, Kernel]:
    """Two kernels that read and write the scalar state of tensors, such as their counts of steps, by address.

    Reading gives tensors with a gradient that have the same owner and the same scalars the same row; `values` are the
    scalars of each row, and `firsts` its first tensor. Writing gives each tensor the scalars of its row.
    """
    return _rows_kernel(READ_ROWS), _rows_kernel(WRITE_ROWS)


@functools.cache
def _rows_kernel(driver: str) -> Kernel:
    text = "\n".join([Path(__file__).read_text(encoding="utf-8"), driver])
    return load_or_build(hashlib.sha256(text.encode()).hexdigest(), lambda: _build("", driver, torch.float64))


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


@functools.lru_cache(maxsize=256)
def _kernel(
    source: str, arguments: str, dtype: torch.dtype, order: str = FORWARDS,
    statements: tuple[str, str, str] = ("pass", "pass", "pass"),
) -> Kernel:  # fmt: skip
    """The kernel of a block; the statements come at the start, and before and after each chunk."""
    driver = DRIVER.replace("{order}", order).replace("{arguments}", arguments)
    for place, statement in zip(("setup", "before", "after"), statements, strict=True):
        driver = driver.replace(f"{{{place}}}", statement)
    conversions = bfloat16.SOURCE if dtype is torch.bfloat16 else ""
    text = "\n".join([Path(__file__).read_text(encoding="utf-8"), source, driver, str(dtype), conversions])
    return load_or_build(hashlib.sha256(text.encode()).hexdigest(), lambda: _build(source, driver, dtype))


def _build(source: str, driver: str, dtype: torch.dtype) -> tuple[bytes, str]:
    """Object code of a kernel and the name of its function."""
    from numba import carray, cfunc, njit, types  # pyright: ignore[reportPrivateImportUsage]

    real = np.float64 if dtype is torch.float64 else np.float32
    element = types.float64 if dtype is torch.float64 else types.float32
    weight = types.uint16 if dtype is torch.bfloat16 else element
    scope: dict[str, Any] = {name: getattr(np, name) for name in ("sqrt", "exp", "log", "fabs", "isfinite", "float64")}
    scope |= {
        "F": real,
        "TINY": np.finfo(real).tiny,
        "SIZE": np.dtype(real).itemsize,
        "WEIGHT_SIZE": dtype.itemsize,
        "CHUNK_SIZE": CHUNK_SIZE,
        "TABLE_COLUMNS": TABLE_COLUMNS,
    }
    scope |= {"carray": carray, "integers": _pointer(types.int64), "floats": _pointer(element)}
    scope |= {"weights": _pointer(weight), "doubles": _pointer(types.float64), "singles": _pointer(types.float32)}
    scope |= {"thread": types.ExternalFunction("omp_get_thread_num", types.int32())}
    scope |= {"threads": types.ExternalFunction("omp_get_num_threads", types.int32())}
    if dtype is torch.bfloat16:
        scope |= bfloat16.conversions()
    exec(source + driver, scope)
    if "exact" in scope:
        scope["exact"] = njit(error_model="numpy")(scope["exact"])
    for name in ("block", "read", "write"):
        if name in scope:
            scope[name] = njit(**FLAGS)(scope[name])
    function: Any = cfunc(types.void(types.CPointer(types.int64)), **FLAGS)(scope["kernel"])
    return function._library.serialize_using_object_code()[2][0], function._wrapper_name


def _pointer(element: Any) -> Callable:
    """An intrinsic that converts an address to a typed pointer."""
    from numba import types
    from numba.extending import intrinsic

    @intrinsic
    def pointer(typing_context: Any, address: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            return builder.inttoptr(args[0], context.get_value_type(types.CPointer(element)))

        return types.CPointer(element)(types.int64), generate

    return pointer
