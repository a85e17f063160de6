"""Compilation by numba, cached in the folder of the update kernels."""

from collections.abc import Callable
from typing import Any

from numba import config, njit  # pyright: ignore[reportPrivateImportUsage]

from steepest.rules.backends.object_code import cache_folder


def jit(*signatures: str, fuse: bool = False) -> Callable[[Callable], Any]:
    """A decorator that compiles a function, or loads it from the disk cache.

    Args:
        signatures: types to compile for at once; without any, each call with new types compiles.
        fuse: allow fused multiply-add (one rounding) and any order of summation.

    numba reads its cache folder when a function is decorated. Its default, next to the source or in a folder that
    others can write, is not used.
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
                fastmath={"contract", "reassoc", "nsz"} if fuse else False,
            )(function)
        finally:
            config.CACHE_DIR = before  # pyright: ignore[reportAttributeAccessIssue]

    return decorate
