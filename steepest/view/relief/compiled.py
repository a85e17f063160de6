"""Compiling by numba, kept where the update kernels are kept."""

from collections.abc import Callable
from typing import Any

from numba import config, njit  # pyright: ignore[reportPrivateImportUsage]

from steepest.formula.machine import cache_folder


def compiled(*signatures: str) -> Callable[[Callable], Any]:
    """A decorator: the function compiled for these signatures, from disk where it was compiled before.

    numba reads the folder of its cache when a function is decorated; its own choice, beside the source or in a folder
    that others may write, is not made.
    """

    def decorate(function: Callable) -> Any:
        folder, before = cache_folder(), config.CACHE_DIR  # pyright: ignore[reportAttributeAccessIssue]
        config.CACHE_DIR = str(folder or "")  # pyright: ignore[reportAttributeAccessIssue]
        try:
            return njit(list(signatures), cache=folder is not None, error_model="numpy", nogil=True)(function)
        finally:
            config.CACHE_DIR = before  # pyright: ignore[reportAttributeAccessIssue]

    return decorate
