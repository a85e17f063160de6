"""What a run ran on: part of its record, since another version may give other bits."""

import os
import platform
import socket
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

BEAT = "beat"
"""A file in a run's folder that is touched while it runs, for other hosts cannot see its process."""
BEAT_S, SILENT_S = 5.0, 60.0


def versions() -> dict[str, str]:
    """Python, packages, platform, processor and thread count.

    >>> sorted(versions())[:3]
    ['numba', 'numpy', 'platform']
    """
    packages = {name: _version(name) for name in ("steepest", "torch", "numpy", "numba")}
    return {
        "python": platform.python_version(),
        **packages,
        "platform": platform.platform(),
        "processor": _processor(),
        "threads": str(torch.get_num_threads()),
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def process() -> tuple[str, int, str]:
    """(host, process, when that process was born): who runs a run."""
    return socket.gethostname(), os.getpid(), born(os.getpid())


def born(pid: int) -> str:
    """When a process began, in the kernel's ticks; "" where that is not known or the process is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""


def is_gone(host: str, pid: int, when: str, beat: Path) -> bool:
    """Whether a process has ended; one of another host (or container) has once it is silent."""
    if host != socket.gethostname():
        return _is_silent(beat)
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return bool(when) and born(pid) != when


def _is_silent(beat: Path) -> bool:
    try:
        return time.time() - beat.stat().st_mtime > SILENT_S
    except OSError:
        return False
