"""Numbers of bfloat16 in kernels, which numba does not have: unsigned 16-bit integers, converted by their bits.

A bfloat16 is the upper half of a float32. The functions are those of `rules.rounding`, as instructions of LLVM that
vectorise.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from steepest.rules.rounding import CHUNK_SIZE, FACTORS, SHIFTS, SPACING, Rounding

FILES = (Path(__file__), Path(__file__).parents[1] / "rounding.py")
SOURCE = "\n".join(path.read_text(encoding="utf-8") for path in FILES)
"""The text on which a kernel with such numbers depends."""
INFINITY, QUIET = 0x7F800000, 0x40
"""The bits of infinity in float32, above which are NaNs; the bit in bfloat16 by which a NaN stays one."""


def loops(rounding: Rounding) -> str:
    """The loops over a chunk that come before and after that of float32: `read` and `write`."""
    way = "stochastic" if rounding.is_stochastic else "nearest"
    old = f"master_of_{way}(w32[i], w[i])" if rounding.has_master else "widen(w[i])"
    key, new = (", key", "stochastic(w32[i], key, i)") if rounding.is_stochastic else ("", "nearest(w32[i])")
    return f"""

def read(w, g, w32, g32):
    for i in range(w.size):
        w32[i] = {old}
        g32[i] = widen(g[i])

def write(w, w32{key}):
    for i in range(w.size):
        w[i] = {new}
"""


def conversions() -> dict[str, Callable]:
    """The functions by the names that a kernel's source uses."""
    from llvmlite import ir
    from numba import types

    half, word, real = ir.IntType(16), ir.IntType(32), ir.FloatType()

    def upper(b: Any, bits: Any) -> Any:
        return b.trunc(b.lshr(bits, word(16)), half)

    def widen(b: Any, w: Any) -> Any:
        return b.bitcast(b.shl(b.zext(w, word), word(16)), real)

    def unless_nan(b: Any, bits: Any, result: Any) -> Any:
        magnitude = b.and_(bits, word(0x7FFFFFFF))
        nan = b.or_(upper(b, bits), half(QUIET))
        return b.select(b.icmp_unsigned(">", magnitude, word(INFINITY)), nan, upper(b, result))

    def nearest(b: Any, x: Any) -> Any:
        bits = b.bitcast(x, word)
        odd = b.and_(b.lshr(bits, word(16)), word(1))
        return unless_nan(b, bits, b.add(bits, b.add(odd, word(0x7FFF))))

    def stochastic(b: Any, x: Any, key: Any, i: Any) -> Any:
        bits = b.bitcast(x, word)
        random = mix(b, b.add(key, b.mul(b.trunc(i, word), word(SPACING))))
        return unless_nan(b, bits, b.add(bits, b.lshr(random, word(16))))

    def master_of_nearest(b: Any, master: Any, w: Any) -> Any:
        return b.select(b.icmp_unsigned("==", nearest(b, master), w), master, widen(b, w))

    def master_of_stochastic(b: Any, master: Any, w: Any) -> Any:
        steps_up = b.sub(w, upper(b, b.bitcast(master, word)))
        return b.select(b.icmp_unsigned("<=", steps_up, half(1)), master, widen(b, w))

    def mix(b: Any, x: Any) -> Any:
        for shift, factor in zip(SHIFTS, (*FACTORS, 1), strict=True):
            x = b.xor(x, b.lshr(x, word(shift)))
            x = b.mul(x, word(factor))
        return x

    def key(b: Any, place: Any, step: Any, chunk: Any) -> Any:
        parameter = mix(b, b.mul(b.trunc(place, word), word(SPACING)))
        parameter = mix(b, b.add(parameter, b.fptoui(step, word)))
        return mix(b, b.add(parameter, b.trunc(chunk, word)))

    low, index, x = types.uint16, types.int64, types.float32
    return {
        "widen": _intrinsic(x(low), widen),
        "nearest": _intrinsic(low(x), nearest),
        "stochastic": _intrinsic(low(x, types.uint32, index), stochastic),
        "master_of_nearest": _intrinsic(x(x, low), master_of_nearest),
        "master_of_stochastic": _intrinsic(x(x, low), master_of_stochastic),
        "random_key": _intrinsic(types.uint32(index, x, index), key),
        "scratch": _scratch(),
    }


def _scratch() -> Callable:
    """A function that returns the address of a chunk of float32 on the stack, another one wherever it is written."""
    from llvmlite import ir
    from numba import types
    from numba.core import cgutils
    from numba.extending import intrinsic

    @intrinsic
    def scratch(typing_context: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            memory = cgutils.alloca_once(builder, ir.ArrayType(ir.FloatType(), CHUNK_SIZE))
            return builder.ptrtoint(memory, ir.IntType(64))

        return types.int64(), generate

    return scratch


def _intrinsic(signature: Any, instructions: Callable) -> Any:
    """A function that kernels call, made of instructions."""
    from numba.extending import intrinsic

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return instructions(builder, *arguments)

    def one(typing_context: Any, a: Any) -> Any:
        return signature, generate

    def two(typing_context: Any, a: Any, b: Any) -> Any:
        return signature, generate

    def three(typing_context: Any, a: Any, b: Any, c: Any) -> Any:
        return signature, generate

    return intrinsic((one, two, three)[len(signature.args) - 1])
