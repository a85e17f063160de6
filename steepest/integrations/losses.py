"""The losses that a loop or a trainer gives, as numbers."""

import math
from typing import Any

from torch import Tensor

from steepest.errors import InputError


class Losses:
    """The losses of a trainer's micro-batches since its last step."""

    def __init__(self) -> None:
        self._parts: list[Any] = []
        self.is_sum = False

    def add(self, loss: Any, is_sum: bool = False) -> None:
        """Takes the loss of a micro-batch; a sum's parts add up to the step's loss, others are averaged."""
        self._parts.append(loss.detach() if isinstance(loss, Tensor) else loss)
        self.is_sum = is_sum

    @property
    def is_empty(self) -> bool:
        return not self._parts

    def clear(self) -> None:
        """Forgets them."""
        self._parts = []

    def take(self, result: Any = None) -> float:
        """The loss of the step; what its closure gave, where no other is known."""
        parts, self._parts = [number(x) for x in self._parts or [result]], []
        return math.fsum(parts) / (1 if self.is_sum else len(parts))


def number(value: Any) -> float:
    """A loss or metric as a float."""
    if isinstance(value, list | tuple):
        if not value:
            raise InputError("A loss or metric must be a number, or a list of them, got an empty list")
        return math.fsum(number(x) for x in value) / len(value)
    if value is None:
        raise InputError("run.step needs the loss of the step, got None. Pass it: run.step(loss).")
    if isinstance(value, Tensor) and value.numel() != 1:
        raise InputError(
            f"A loss or metric must be one number, got a tensor of shape {tuple(value.shape)}. Use .mean()."
        )
    try:
        if isinstance(value, bool | str) or (isinstance(value, Tensor) and value.dtype.is_complex):
            raise TypeError
        return float(value.detach() if isinstance(value, Tensor) else value)
    except (TypeError, ValueError) as error:
        raise InputError(f"A loss or metric must be a number, got {type(value).__name__}") from error
