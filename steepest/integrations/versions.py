"""Whether a library is there, and new enough."""

from importlib.metadata import PackageNotFoundError, version

from steepest.errors import InputError


def require(library: str, least: str, extra: str = "") -> None:
    """Checks that a library is installed in a version that is known to work.

    Args:
        library: its name in the package index.
        least: the oldest version.
        extra: of Steepest, which installs it; the library's own name by default.

    Raises:
        InputError: it is missing or too old; says what to install.

    >>> require("torch", "2.7")
    """
    advice = f"pip install 'steepest[{extra or library}]'"
    try:
        own = version(library)
    except PackageNotFoundError:
        raise InputError(f"{extra or library} is not installed. Install it: {advice}") from None
    if _numbers(own) < _numbers(least):
        raise InputError(f"{library} must be {least} or newer, got {own}. Install it: {advice}")


def _numbers(text: str) -> list[int]:
    return [int("".join(c for c in part if c.isdigit()) or 0) for part in text.split("+")[0].split(".")[:3]]
