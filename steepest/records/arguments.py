"""What the public functions take, by the argument's name: each name means the same in all of them.

Numbers of numpy and torch, as loops over arrays give them, are Python's from here on, so that they can be stored. What
a number may be, which names there are and what fits together is checked where it is used.
"""

import os
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch

from steepest.errors import InputError

COLLECTIONS = list | tuple | set | frozenset | Mapping
LARGEST = (1 << 63) - 1
NUMERIC = frozenset(
    (
        *("epochs", "steps", "step", "seeds", "seed", "accumulate", "stop_after", "products", "samples", "batch_size"),
        *("lr", "clip", "average", "measure_every", "checkpoint_every", "budget", "target", "alpha"),
    )
)


class Kind(NamedTuple):
    """What an argument must be.

    Attributes:
        fits: whether a value is that.
        words: what it is.
    """

    fits: Callable[[Any], bool]
    words: str


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) <= LARGEST


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _are_texts(value: Any) -> bool:
    return isinstance(value, str) or (isinstance(value, COLLECTIONS) and all(isinstance(one, str) for one in value))


def _is_pair(value: Any) -> bool:
    return isinstance(value, list | tuple) and len(value) == 2 and all(map(_is_number, value))


def _is_path(value: Any) -> bool:
    return isinstance(value, str | os.PathLike)


COUNT = Kind(lambda value: _is_whole(value) or isinstance(value, bool | float), "an integer of at most 2⁶³ − 1")
"""A number whose further limits have words of their own where it is used."""
A_WHOLE_NUMBER = Kind(_is_whole, "a whole number of at most 2⁶³ − 1")
A_NUMBER = Kind(_is_number, "a number")
A_TEXT = Kind(lambda value: isinstance(value, str), "text")
A_FLAG = Kind(lambda value: not isinstance(value, torch.Tensor | np.ndarray), "True or False")
A_MAPPING = Kind(lambda value: isinstance(value, Mapping), "a dict")
A_PATH = Kind(_is_path, "a path")
A_RUN = Kind(lambda value: isinstance(value, str) or hasattr(value, "record"), "a run or the id of one")

KINDS: dict[str, Kind] = {
    **dict.fromkeys(("epochs", "steps", "seed"), COUNT),
    **dict.fromkeys(("seeds", "accumulate", "stop_after", "products", "samples"), A_WHOLE_NUMBER),
    **dict.fromkeys(("average", "target", "alpha"), A_NUMBER),
    **dict.fromkeys(("name", "notes", "precision", "way", "on"), A_TEXT),
    **dict.fromkeys(("locate", "live", "progress"), A_FLAG),
    **dict.fromkeys(("metrics", "recipe"), A_MAPPING),
    **dict.fromkeys(("runs", "out"), A_PATH),
    **dict.fromkeys(("run", "start", "resume"), A_RUN),
    "between": Kind(_is_pair, "(low, high)"),
    "lr": Kind(lambda value: _is_number(value) or isinstance(value, str | Mapping), "a positive number or 'auto'"),
    "groups": Kind(
        lambda value: isinstance(value, Mapping) and _are_texts(value), "a dict from names of parameters to a dict"
    ),
    "planes": Kind(_are_texts, "names of planes"),
    "no_decay": Kind(_are_texts, "a pattern of parameters' names, or several"),
    "task": Kind(lambda value: hasattr(value, "recipe") and hasattr(value, "data"), "an sd.Task"),
    "device": Kind(lambda value: isinstance(value, str | torch.device), "the name of a device"),
    "count": Kind(callable, "a function of a batch"),
    "checkpoint_every": Kind(lambda value: _is_number(value) or isinstance(value, str), "steps, or seconds as text"),
}


def check_arguments(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments by name, their numbers as Python's.

    None means "not given" everywhere; what must be given is for `check`.

    Raises:
        InputError: a value is of a kind that this argument cannot have.

    >>> check_arguments({"lr": np.float32(0.5), "epochs": np.int64(3), "rule": "adam"})
    {'lr': 0.5, 'epochs': 3, 'rule': 'adam'}
    >>> check_arguments({"seeds": range(3)})
    Traceback (most recent call last):
    steepest.errors.InputError: seeds must be a whole number of at most 2⁶³ − 1, got range(0, 3)
    """
    return {name: _convert(name, value) for name, value in arguments.items()}


def _convert(name: str, value: Any) -> Any:
    if name in NUMERIC:
        value = _plain(value)
    elif isinstance(value, torch.device):
        value = str(value)
    if name in KINDS and value is not None:
        check(name, value, KINDS[name])
    return value


def check(name: str, value: Any, kind: Kind) -> None:
    """Raises an InputError where a value is not of its kind."""
    if not kind.fits(value):
        raise InputError(f"{name} must be {kind.words}, got {_show(value)}")


def _plain(value: Any) -> Any:
    """A number of numpy or torch as Python's."""
    is_number = isinstance(value, np.generic) or (isinstance(value, torch.Tensor | np.ndarray) and value.ndim == 0)
    return value.item() if is_number else value


def _show(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}…"
