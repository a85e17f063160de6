"""The version of Steepest: `pyproject.toml` is the one place where it is written; this reads what was installed."""

from importlib.metadata import PackageNotFoundError, version


def own_version() -> str:
    """The version that is installed; empty for a copy of the source that was never installed.

    >>> own_version().count(".") >= 2 or own_version() == ""
    True
    """
    try:
        return version("steepest")
    except PackageNotFoundError:
        return ""
