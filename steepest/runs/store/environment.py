"""The environment of a run: part of its record, because other versions may give other bits."""

import platform
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch


def versions() -> dict[str, str]:
    """Versions of Python and packages, platform, processor and thread count.

    >>> sorted(versions())[:3]
    ['numba', 'numpy', 'platform']
    """
    packages = {name: _version(name) for name in ("steepest", "torch", "numpy", "numba")}
    machine = {"platform": platform.platform(), "processor": _processor(), "threads": str(torch.get_num_threads())}
    return {"python": platform.python_version(), **packages, **machine}


@cache
def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


@cache
def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
