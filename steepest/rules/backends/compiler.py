"""Compilation of kernels by numba: what their source may name, and object code from it.

A kernel is `kernel(arguments)`, a C function of one pointer to integers. Every operation on memory that is a function
of numba takes long to compile, so single numbers are read and written by instructions of LLVM.
"""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from steepest.rules.backends import bfloat16
from steepest.rules.backends.object_code import Kernel, load_or_build

FLAGS: dict[str, Any] = {"fastmath": {"contract", "reassoc", "arcp", "nsz"}, "error_model": "numpy"}
INNER = "block", "read", "write"
"""Functions of a source that the kernel calls: loops over slices, which vectorise."""


def kernel_of(source: str, dtype: torch.dtype, **constants: int) -> Kernel:
    """The kernel of a source, from the cache if it is there.

    Args:
        source: of `kernel`, and of the functions that it calls.
        dtype: of the weights.
        constants: that the source names.
    """
    conversions = bfloat16.SOURCE if dtype is torch.bfloat16 else ""
    text = "\n".join([Path(__file__).read_text(encoding="utf-8"), source, str(dtype), str(constants), conversions])
    return load_or_build(hashlib.sha256(text.encode()).hexdigest(), lambda: _build(source, dtype, constants))


def _build(source: str, dtype: torch.dtype, constants: dict[str, int]) -> tuple[bytes, str]:
    """Object code of a kernel and the name of its function."""
    from numba import carray, cfunc, njit, types  # pyright: ignore[reportPrivateImportUsage]

    real = np.float64 if dtype is torch.float64 else np.float32
    element = types.float64 if dtype is torch.float64 else types.float32
    weight = types.uint16 if dtype is torch.bfloat16 else element
    scope: dict[str, Any] = {name: getattr(np, name) for name in ("sqrt", "exp", "log", "fabs", "isfinite", "float64")}
    scope |= {"F": real, "TINY": np.finfo(real).tiny, "SIZE": np.dtype(real).itemsize, "WEIGHT_SIZE": dtype.itemsize}
    scope |= constants
    scope |= {"carray": carray, "floats": _pointer(element), "weights": _pointer(weight)}
    scope |= {"thread": types.ExternalFunction("omp_get_thread_num", types.int32())}
    scope |= {"threads": types.ExternalFunction("omp_get_num_threads", types.int32())}
    scope |= {"integer": _load(types.int64), "real": _load(element)}
    scope |= {"single": _load(types.float32), "double": _load(types.float64)}
    scope |= {"write_integer": _store(types.int64), "write_single": _store(types.float32)}
    scope |= {"write_double": _store(types.float64)}
    scope |= {"stack": _stack(), "call": _call()}
    if dtype is torch.bfloat16:
        scope |= bfloat16.conversions()
    exec(source, scope)
    if "exact" in scope:
        scope["exact"] = njit(error_model="numpy")(scope["exact"])
    for name in INNER:
        if name in scope:
            scope[name] = njit(**FLAGS)(scope[name])
    function: Any = cfunc(types.void(types.CPointer(types.int64)), **FLAGS)(scope["kernel"])
    return function._library.serialize_using_object_code()[2][0], function._wrapper_name


def _pointer(element: Any) -> Callable:
    """A function that makes a typed pointer of an address."""
    from numba import types
    from numba.extending import intrinsic

    @intrinsic
    def pointer(typing_context: Any, address: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            return builder.inttoptr(args[0], context.get_value_type(types.CPointer(element)))

        return types.CPointer(element)(types.int64), generate

    return pointer


def _load(element: Any) -> Callable:
    """A function that reads a number at an address."""
    from numba import types
    from numba.extending import intrinsic

    @intrinsic
    def load(typing_context: Any, address: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            return builder.load(builder.inttoptr(args[0], context.get_value_type(types.CPointer(element))))

        return element(types.int64), generate

    return load


def _store(element: Any) -> Callable:
    """A function that writes a number at an address."""
    from numba import types
    from numba.extending import intrinsic

    @intrinsic
    def store(typing_context: Any, address: Any, value: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            builder.store(args[1], builder.inttoptr(args[0], context.get_value_type(types.CPointer(element))))
            return context.get_dummy_value()

        return types.void(types.int64, element), generate

    return store


def _stack() -> Callable:
    """A function that gives the address of so many integers on the stack, which stay until the kernel returns."""
    from llvmlite import ir
    from numba import types
    from numba.extending import intrinsic

    @intrinsic
    def stack(typing_context: Any, count: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            return builder.ptrtoint(builder.alloca(ir.IntType(64), size=args[0]), ir.IntType(64))

        return types.int64(types.int64), generate

    return stack


def _call() -> Callable:
    """A function that calls the kernel at an address with the address of its arguments."""
    from llvmlite import ir
    from numba import types
    from numba.extending import intrinsic

    @intrinsic
    def call(typing_context: Any, address: Any, arguments: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            pointer = ir.IntType(64).as_pointer()
            kernel = ir.FunctionType(ir.VoidType(), [pointer]).as_pointer()
            builder.call(builder.inttoptr(args[0], kernel), [builder.inttoptr(args[1], pointer)])
            return context.get_dummy_value()

        return types.void(types.int64, types.int64), generate

    return call
