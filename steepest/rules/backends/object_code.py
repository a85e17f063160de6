"""Compiled kernels: object code cached on disk, loaded without a compiler, run on torch's threads.

A kernel is a C function of one pointer, to its arguments. numba compiles it once; the object code is stored in a folder
that only the user can write, under a hash of everything it depends on. Loading it (`backends.loader`) takes a
millisecond and needs neither numba nor LLVM. The parallel form calls the OpenMP library that torch has already loaded,
with torch's number of threads: there is no second thread pool, and nothing to set or restore.
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
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from steepest.rules.backends.loader import Image

RUNTIME = (
    "numba_gil_ensure", "numba_gil_release", "numba_unpickle", "numba_do_raise", "numba_runtime_build_excinfo_struct",
    "NRT_Free", "NRT_MemInfo_call_dtor",
)  # fmt: skip
"""Symbols in numba's object code that our kernels never call."""
SERIAL_BELOW = 1 << 16
"""Weights below which a team of threads costs more than it saves."""
OPENMP = ("omp_get_thread_num", "omp_get_num_threads")

CPU_IDENTITY = ("vendor_id", "cpu family", "model", "stepping", "flags", "CPU ", "Features")
"""Lines of /proc/cpuinfo that identify the instruction set; on Arm they begin with "CPU "."""

_is_forked = False


def _in_child() -> None:
    global _is_forked
    _is_forked = True


if hasattr(os, "register_at_fork"):  # Windows has no fork
    os.register_at_fork(after_in_child=_in_child)


class Kernel:
    """A loaded kernel.

    Args:
        code: object code.
        symbol: name of its function, `void (int64_t* arguments)`.
    """

    def __init__(self, code: bytes, symbol: str) -> None:
        try:
            self._owner: Any = Image(code, _resolve)
            self.address = self._owner.address(symbol)
        except (LookupError, OSError):
            self._owner, self.address = _by_llvm(code, symbol)
        self.serial = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(self.address)

    def parallel(self, arguments: int, threads: int) -> None:
        """Runs on a team of torch's OpenMP threads, for which the arguments must be made."""
        team = openmp()
        assert team is not None, "no OpenMP library: call `threads()` first"
        team(self.address, arguments, threads, 0)


@functools.cache
def can_load() -> bool:
    """Whether object code can call this process's C library, as it must; else updates run in torch, and it is said."""
    try:
        ctypes.CDLL(None)
    except (OSError, TypeError):  # Windows has no handle to all of a process's libraries
        warnings.warn(
            f"Compiled updates are not available on {platform.system()}: PyTorch runs them, more slowly",
            RuntimeWarning,
            stacklevel=2,
        )
        return False
    return True


def _resolve(symbol: str) -> int:
    """The address of a symbol to which object code refers."""
    process = ctypes.CDLL(None)
    if symbol in OPENMP and openmp():
        return _address(getattr(ctypes.CDLL(_openmp_path()), symbol))
    if symbol in RUNTIME or symbol in OPENMP:
        return _address(process.abort)
    try:
        return _address(getattr(process, symbol))
    except AttributeError:
        raise LookupError(symbol) from None


def _by_llvm(code: bytes, symbol: str) -> tuple[Any, int]:
    """Loads by LLVM, for processors that our loader does not support: the owner of the code, and the address."""
    from llvmlite import binding

    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
    for name in (*RUNTIME, *OPENMP):
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
    """The OpenMP library in torch's package; None for the one that the process has loaded."""
    paths = sorted((Path(torch.__file__).parent / "lib").glob("libgomp*.so*"))
    return str(paths[0]) if paths else None


@functools.cache
def openmp() -> Callable | None:
    """GNU OpenMP's `GOMP_parallel(function, argument, threads, flags)`, or None with a warning if it is missing."""
    with contextlib.suppress(OSError, AttributeError):
        team = ctypes.CDLL(_openmp_path()).GOMP_parallel
        team.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint]
        team.restype = None
        return team
    warnings.warn(
        "torch has no GNU OpenMP library: updates of large models run on one thread",
        RuntimeWarning,
        stacklevel=2,
    )
    return None


def threads(weights: int, serial_below: int = SERIAL_BELOW) -> int:
    """The number of threads for an update of this many weights.

    One for few weights, for which a team costs more than it saves; in a forked child, where OpenMP's threads no longer
    exist; and without OpenMP.
    """
    if weights < serial_below or _is_forked:
        return 1
    count = torch.get_num_threads()
    return count if count > 1 and openmp() else 1


# -- Cache -------------------------------------------------------------------------------------------------------------


def load_or_build(text: str, build: Callable[[], tuple[bytes, str]]) -> Kernel:
    """The kernel described by `text`: loaded from disk, or built and stored there.

    Args:
        text: everything on which the object code depends, except processor and versions, which are added here.
        build: returns (object code, name of its function).
    """
    folder = cache_folder()
    path = folder / f"{_key(text)}.o" if folder else None
    entry = _read(path) if path else None
    if entry is None:
        entry = build()
        if path:
            _write(path, *entry)
    return Kernel(*entry)


@functools.cache
def version(package: str) -> str:
    """A package's version, read once: that takes 2 ms."""
    return metadata.version(package)


def _key(text: str) -> str:
    parts = (text, platform.system(), platform.machine(), _processor(), version("llvmlite"), version("numba"))
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]


@functools.cache
def _processor() -> str:
    """Model and features of the processor, from /proc/cpuinfo or else from LLVM."""
    try:
        first = Path("/proc/cpuinfo").read_text(encoding="utf-8").partition("\n\n")[0].splitlines()
        return "\n".join(line for line in first if line.startswith(CPU_IDENTITY))
    except OSError:
        from llvmlite import binding

        return f"{binding.get_host_cpu_name()} {binding.get_host_cpu_features().flatten()}"


def cache_folder() -> Path | None:
    """The folder of the kernels: `$STEEPEST_CACHE`, or `steepest/kernels` in the user's cache folder.

    None if there is no folder that only the user can write: object code is executed, so no one else may write it.
    """
    base = os.environ.get("STEEPEST_CACHE") or os.path.join(
        os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache"), "steepest", "kernels"
    )
    folder = Path(base)
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = folder.stat()
    except OSError:
        return None
    others_write = bool(status.st_mode & (stat.S_IWGRP | stat.S_IWOTH))
    mine = not hasattr(os, "getuid") or status.st_uid == os.getuid()
    return folder if mine and not others_write and os.access(folder, os.W_OK) else None


def _read(path: Path) -> tuple[bytes, str] | None:
    """The stored object code and name, or None if there is none or it is damaged."""
    try:
        digest, symbol, code = path.read_bytes().split(b"\n", 2)
    except (OSError, ValueError):
        return None
    if hashlib.sha256(symbol + code).hexdigest().encode() != digest:
        return None
    return code, symbol.decode()


def _write(path: Path, code: bytes, symbol: str) -> None:
    """Writes by rename, so that other processes see all of it or nothing; a full disk is no error."""
    digest = hashlib.sha256(symbol.encode() + code).hexdigest()
    with contextlib.suppress(OSError):
        handle, temporary = tempfile.mkstemp(dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(f"{digest}\n{symbol}\n".encode() + code)
            os.replace(temporary, path)
        except OSError:
            os.unlink(temporary)
