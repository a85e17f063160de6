"""Compiled kernels: object code on disk, loaded without a compiler, run on torch's own threads.

A kernel is a C function of one pointer, to its arguments. Its object code is made once by numba and kept in a folder
that only the user can write, under a name made of everything it depends on; loading it (`formula.loader`) takes a
millisecond and needs neither numba nor LLVM. The parallel form is a call of the OpenMP library that torch has already
loaded, with torch's number of threads: no second thread pool, nothing to set or restore.
"""

import contextlib
import ctypes
import functools
import hashlib
import os
import platform
import stat
import tempfile
import warnings
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from steepest.rules.backends.loader import Image

RUNTIME = (
    "numba_gil_ensure", "numba_gil_release", "numba_unpickle", "numba_do_raise", "numba_runtime_build_excinfo_struct",
    "NRT_Free", "NRT_MemInfo_call_dtor",
)  # fmt: skip
"""Symbols that numba's object code names on paths that ours never takes."""
TEAM = ("omp_get_thread_num", "omp_get_num_threads")

CPU_IDENTITY = ("vendor_id", "cpu family", "model", "stepping", "flags", "CPU ", "Features")
"""Lines of /proc/cpuinfo that tell which instructions a processor has; those of Arm begin with "CPU "."""

_forked = False


def _in_child() -> None:
    global _forked
    _forked = True


os.register_at_fork(after_in_child=_in_child)


class Kernel:
    """A loaded kernel.

    Args:
        code: object code.
        symbol: name of its function, `void (int64_t* arguments)`.
    """

    def __init__(self, code: bytes, symbol: str) -> None:
        try:
            self._held: Any = Image(code, _resolve)
            self.address = self._held.address(symbol)
        except (LookupError, OSError):
            self._held, self.address = _by_llvm(code, symbol)
        self.serial = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(self.address)

    def parallel(self, arguments: int, threads: int) -> None:
        """Runs on a team of torch's OpenMP threads; the arguments say that it is one."""
        team = openmp()
        assert team is not None, "no OpenMP library: callers ask `threads()` first"
        team(self.address, arguments, threads, 0)


def _resolve(symbol: str) -> int:
    """The address of a symbol that object code refers to."""
    process = ctypes.CDLL(None)
    if symbol in TEAM and openmp():
        return _address(getattr(ctypes.CDLL(_openmp_path()), symbol))
    if symbol in RUNTIME or symbol in TEAM:
        return _address(process.abort)
    try:
        return _address(getattr(process, symbol))
    except AttributeError:
        raise LookupError(symbol) from None


def _by_llvm(code: bytes, symbol: str) -> tuple[Any, int]:
    """Loaded by LLVM, where our own loader does not know the processor: what keeps it alive, and its address."""
    from llvmlite import binding

    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
    for name in (*RUNTIME, *TEAM):
        binding.add_symbol(name, _resolve(name))
    machine = binding.Target.from_default_triple().create_target_machine(jit=True, codemodel="jitdefault")
    engine = binding.create_mcjit_compiler(binding.parse_assembly(""), machine)
    engine.add_object_file(binding.ObjectFileRef.from_data(code))
    engine.finalize_object()
    return engine, engine.get_function_address(symbol)


def _address(function: Any) -> int:
    return ctypes.cast(function, ctypes.c_void_p).value or 0


# -- Threads -----------------------------------------------------------------------------------------------------------


@functools.cache
def _openmp_path() -> str | None:
    """The OpenMP library that torch brought, else what the process has loaded."""
    brought = sorted((Path(torch.__file__).parent / "lib").glob("libgomp*.so*"))
    return str(brought[0]) if brought else None


@functools.cache
def openmp() -> Callable | None:
    """GNU OpenMP's `GOMP_parallel(function, argument, threads, flags)`, or None where it is not found (said once)."""
    with contextlib.suppress(OSError, AttributeError):
        team = ctypes.CDLL(_openmp_path()).GOMP_parallel
        team.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint]
        team.restype = None
        return team
    warnings.warn(
        "no GNU OpenMP library was found beside torch: updates of large models run on one thread",
        RuntimeWarning,
        stacklevel=2,
    )
    return None


def threads(weights: int, serial_below: int = 1 << 16) -> int:
    """How many threads an update of so many weights runs on.

    One for few weights, where a team costs more than it gives; in a forked child, where OpenMP's threads no longer
    exist; and where there is no OpenMP.
    """
    if weights < serial_below or _forked:
        return 1
    count = torch.get_num_threads()
    return count if count > 1 and openmp() else 1


# -- Cache -------------------------------------------------------------------------------------------------------------


def cached(text: str, build: Callable[[], tuple[bytes, str]]) -> Kernel:
    """The kernel described by `text`: from disk, else built and put there.

    Args:
        text: everything the object code depends on, but processor and versions, which are added here.
        build: makes (object code, name of its function).
    """
    folder = cache_folder()
    path = folder / f"{_key(text)}.o" if folder else None
    stored = _read(path) if path else None
    if stored is None:
        stored = build()
        if path:
            _write(path, *stored)
    return Kernel(*stored)


def _key(text: str) -> str:
    parts = (text, platform.system(), platform.machine(), _processor(), version("llvmlite"), version("numba"))
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]


@functools.cache
def _processor() -> str:
    """Model and features of the processor, as the kernel tells them, else as LLVM does."""
    try:
        first = Path("/proc/cpuinfo").read_text().partition("\n\n")[0].splitlines()
        return "\n".join(line for line in first if line.startswith(CPU_IDENTITY))
    except OSError:
        from llvmlite import binding

        return f"{binding.get_host_cpu_name()} {binding.get_host_cpu_features().flatten()}"


def cache_folder() -> Path | None:
    """Where kernels are kept: `$STEEPEST_CACHE`, else `steepest/kernels` in the user's cache folder.

    None where there is no folder that the user alone can write: object code is run, so nobody else may put it there.
    """
    base = os.environ.get("STEEPEST_CACHE") or os.path.join(
        os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache"), "steepest", "kernels"
    )
    folder = Path(base)
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = folder.stat()
    except OSError:
        return None
    others_write = bool(found.st_mode & (stat.S_IWGRP | stat.S_IWOTH))
    mine = not hasattr(os, "getuid") or found.st_uid == os.getuid()
    return folder if mine and not others_write and os.access(folder, os.W_OK) else None


def _read(path: Path) -> tuple[bytes, str] | None:
    """What is stored, or None where there is nothing or it is damaged."""
    try:
        digest, symbol, code = path.read_bytes().split(b"\n", 2)
    except (OSError, ValueError):
        return None
    if hashlib.sha256(symbol + code).hexdigest().encode() != digest:
        return None
    return code, symbol.decode()


def _write(path: Path, code: bytes, symbol: str) -> None:
    """By rename, so that another process sees all of it or nothing; a full disk only costs the cache."""
    digest = hashlib.sha256(symbol.encode() + code).hexdigest()
    with contextlib.suppress(OSError):
        handle, temporary = tempfile.mkstemp(dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(f"{digest}\n{symbol}\n".encode() + code)
            os.replace(temporary, path)
        except OSError:
            os.unlink(temporary)
