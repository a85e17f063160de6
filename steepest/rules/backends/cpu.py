"""A formula as a CPU kernel: one pass over the weights where they lie, written by numba, vectorised by LLVM.

Three things make the loop vectorise; without any one of them it is 3 to 8 times slower:

1. the inner loop runs over *slices*, in a function of its own;
2. no float64 in it: member values are hoisted (`formula.hoist`), literals are cast;
3. fastmath without `nnan` and `ninf`, so that a NaN still shows.

A slot that decays below the smallest normal number becomes 0, as a dead unit's momentum does after 800 steps: what lies
between the two costs the processor many times as much, and such a network's update took twice as long.

A kernel reads a table with one row per block of at most `BLOCK` weights: which tensor it belongs to, where it begins
there, how long it is, where its slots begin, and which row of hyperparameters is its. So groups and members are rows,
not cases.
"""

import functools
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from steepest.rules.backends.object_code import Kernel, cached
from steepest.rules.trace import CONSTANT, WEIGHT, Program

BLOCK = 1 << 15
"""Weights a block: one row of the table."""

CHUNK = 1 << 11
"""Weights whose squares are summed in the weights' own precision; the sums of the chunks are added in float64. A sum of
32 thousand nearly equal squares in float32 was off by 2e-5 where the processor has eight lanes."""

TABLE = 5
"""Columns of the table: tensor, start in it, length, start of the slots, row of hyperparameters."""

OPERATIONS = {
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
    d = carray(arguments, (10,))
    parts, table, W, G, H, width, sums, parallel, flat = d[0], d[1], d[2], d[3], d[4], d[5], d[6], d[7], d[8]
    team = d[9]
    first, stride = 0, 1
    if parallel != 0:
        first, stride = thread(), threads()
    bounds = carray(integers(parts), (team + 1,))
    for part in range(first, team, stride):
        for b in range({order}):
            row = carray(integers(table + b * TABLE * 8), (TABLE,))
            p, lo, n, at, r = row[0], row[1] * SIZE, row[2], row[3] * SIZE, row[4]
            wp = carray(integers(W + p * 8), (1,))[0] + lo
            gp = carray(integers(G + p * 8), (1,))[0]
            h = carray(floats(H + r * width * SIZE), (width,))
            out = carray(doubles(sums + b * 16), (2,))
            out[0] = 0.0
            out[1] = 0.0
            if gp != 0 and h[0] == h[0]:
                gp += lo
                for c in range(0, n, CHUNK):
                    m = min(CHUNK, n - c)
                    moved, length = block({given})
                    out[0] += moved
                    out[1] += length
    if parallel == 0:
        total = carray(doubles(sums + bounds[team] * 16), (2,))
        total[0] = 0.0
        for b in range(bounds[team]):
            total[0] += carray(doubles(sums + b * 16), (2,))[0]
"""
PIECE = "carray(floats({} + c * SIZE), (m,))"
"""A chunk of what begins at an address. Written out, for each function of its own takes 0.15 s to compile."""


def advance_kernel(program: Program, slots: tuple[str, ...], dtype: torch.dtype) -> Kernel:
    """The kernel of a rule's program.

    For every block with a gradient, unless its row's gradient scale is NaN: scales the gradient, applies the formula,
    writes weights and slots, and leaves in `sums` Σ(w_new − w)² and Σ w_new².

    Args:
        program: the traced formula; its outputs are w and the slots, scalar ones included.
        slots: names of the slots per weight, in order of the outputs; scalar slots are "".
        dtype: float32 or float64.
    """
    source = _block_source(program, slots)
    starts = ["wp", "gp", *(f"carray(integers(flat + {k * 8}), (1,))[0] + at" for k in range(sum(map(bool, slots))))]
    hypers = [f"h[{k}]" for k in range(1 + len(program.hoisted))]
    given = ", ".join([*map(PIECE.format, starts), *hypers])
    return _kernel(source, given, dtype, "bounds[part + 1] - 1, bounds[part] - 1, -1")


def norm_kernel(dtype: torch.dtype) -> Kernel:
    """The kernel that leaves Σg² of every block in `sums`; the weights are not read.

    A block whose sum is not finite in float32 is summed again in float64, so that only a gradient that is itself not
    finite has a norm that is not.
    """
    source = """
def block(g):
    total = F(0)
    for i in range(g.size):
        total += g[i] * g[i]
    if not isfinite(total):
        return exact(g), 0.0
    return float(total), 0.0

def exact(g):
    total = 0.0
    for i in range(g.size):
        total += float64(g[i]) * float64(g[i])
    return total
"""
    return _kernel(source, PIECE.format("gp"), dtype)


def _block_source(program: Program, slots: tuple[str, ...]) -> str:
    """The inner loop: the formula, with slots read before and written after."""
    kept = [s for s in slots if s]
    hypers = [f"x{n}" for n in program.hoisted]
    lines = [f"def block({', '.join(['w', 'g', *(f's_{s}' for s in kept), 'scale', *hypers])}):"]
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
        return OPERATIONS[i.op].format(*(_operand(program, a) for a in i.args))
    return {"w": "w[i]", "g": "g[i] * scale"}.get(name, f"s_{name}[i]")


def _operand(program: Program, place: int) -> str:
    i = program.instructions[place]
    if i.kind == CONSTANT and i.op == "constant":
        return f"F({i.value!r})" if np.isfinite(i.value) else f"F(float('{i.value}'))"
    return f"x{place}"


@functools.lru_cache(maxsize=256)
def _kernel(
    source: str, given: str, dtype: torch.dtype, order: str = "bounds[part], bounds[part + 1]"
) -> Kernel:  # fmt: skip
    """The kernel of a block. The norm goes through the blocks forwards and the update backwards: it begins where the
    caches still hold the gradient."""
    driver = DRIVER.replace("{order}", order).replace("{given}", given)
    text = "\n".join([Path(__file__).read_text(), source, driver, str(dtype)])
    return cached(hashlib.sha256(text.encode()).hexdigest(), lambda: _build(source, driver, dtype))


def _build(source: str, driver: str, dtype: torch.dtype) -> tuple[bytes, str]:
    """Object code of a kernel and the name of its function."""
    from numba import carray, cfunc, njit, types  # pyright: ignore[reportPrivateImportUsage]

    real = np.float32 if dtype is torch.float32 else np.float64
    element = types.float32 if dtype is torch.float32 else types.float64
    scope: dict[str, Any] = {name: getattr(np, name) for name in ("sqrt", "exp", "log", "fabs", "isfinite", "float64")}
    scope |= {"F": real, "TINY": np.finfo(real).tiny, "SIZE": np.dtype(real).itemsize, "TABLE": TABLE, "CHUNK": CHUNK}
    scope |= {"carray": carray, "integers": _pointer(types.int64), "floats": _pointer(element)}
    scope |= {"doubles": _pointer(types.float64)}
    scope |= {"thread": types.ExternalFunction("omp_get_thread_num", types.int32())}
    scope |= {"threads": types.ExternalFunction("omp_get_num_threads", types.int32())}
    exec(source + driver, scope)
    if "exact" in scope:
        scope["exact"] = njit(error_model="numpy")(scope["exact"])
    scope["block"] = njit(**FLAGS)(scope["block"])
    made: Any = cfunc(types.void(types.CPointer(types.int64)), **FLAGS)(scope["kernel"])
    return made._library.serialize_using_object_code()[2][0], made._wrapper_name


def _pointer(element: Any) -> Callable:
    """An intrinsic that makes a typed pointer of an address."""
    from numba import types
    from numba.extending import intrinsic

    @intrinsic
    def pointer(typing_context: Any, address: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            return builder.inttoptr(args[0], context.get_value_type(types.CPointer(element)))

        return types.CPointer(element)(types.int64), generate

    return pointer
