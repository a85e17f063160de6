"""Compiling by numba, kept where the update kernels are kept."""

from collections.abc import Callable
from typing import Any

from numba import config, njit  # pyright: ignore[reportPrivateImportUsage]

from steepest.rules.backends.object_code import cache_folder


def jit(*signatures: str, fused: bool = False) -> Callable[[Callable], Any]:
    """A decorator: the function compiled for these signatures, or for what it is called with where none is given; from
    disk where it was compiled before. Where it may be `fused`, a product and a sum are one operation, rounded once, and
    the terms of a sum are added in whatever order.

    numba reads the folder of its cache when a function is decorated; its own choice, beside the source or in a folder
    that others may write, is not made.
    """

    def decorate(function: Callable) -> Any:
        folder, before = cache_folder(), config.CACHE_DIR  # pyright: ignore[reportAttributeAccessIssue]
        config.CACHE_DIR = str(folder or "")  # pyright: ignore[reportAttributeAccessIssue]
        try:
            return njit(
                list(signatures) or None,
                cache=folder is not None,
                error_model="numpy",
                nogil=True,
                fastmath={"contract", "reassoc", "nsz"} if fused else False,
            )(function)
        finally:
            config.CACHE_DIR = before  # pyright: ignore[reportAttributeAccessIssue]

    return decorate
