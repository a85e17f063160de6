"""Metrics: functions of all outputs and targets that are measured, not minimised, and which direction is better."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor

from steepest.errors import InputError, TaskError

Direction = Literal["higher", "lower"]

HIGHER_WORDS = frozenset(("accuracy", "acc", "auc", "f1", "precision", "recall", "r2", "iou", "dice", "bleu", "rouge"))
LOWER_WORDS = frozenset(("loss", "error", "err", "mse", "rmse", "mae", "nll", "perplexity", "wer"))
"""Words in the names of metrics that say which direction is better."""


@dataclass(frozen=True)
class Metric:
    """A function of all outputs and targets; `better` is "higher", "lower", or None for "as its name says"."""

    function: Callable[[Any, Any], Any]
    better: Direction | None = None

    def __call__(self, output: Any, target: Any) -> float:
        return as_number(self.function(output, target), getattr(self.function, "__name__", "metric"))


def metric(function: Callable[[Any, Any], Any], better: Direction | None = None) -> Metric:
    """Makes a metric from a function.

    Args:
        function: `(outputs, targets) -> number`, over a whole split.
        better: "higher" or "lower"; None: by the words of its name in `metrics={...}`, such as accuracy or error.

    Raises:
        InputError: `better` is neither.

    >>> error = metric(lambda output, target: (output - target).abs().max(), better="lower")
    """
    if better not in ("higher", "lower", None):
        raise InputError(f"better must be 'higher' or 'lower', got {better!r}")
    return Metric(function, better)


def direction_of_name(name: str) -> Direction | None:
    """Which direction of a metric is better by the words of its name; None if they do not say, or contradict.

    >>> [direction_of_name(n) for n in ("val_acc", "top1_error", "RMSE", "score", "acc_loss")]
    ['higher', 'lower', 'lower', None, None]
    """
    words = {w.lower() for w in re.findall(r"[A-Z]+(?![a-z])\d*|[A-Z]?[a-z]+\d*", name)}
    words |= {word.rstrip("0123456789") for word in words}
    is_higher, is_lower = bool(words & HIGHER_WORDS), bool(words & LOWER_WORDS)
    if is_higher == is_lower:
        return None
    return "higher" if is_higher else "lower"


def as_number(value: Any, name: str) -> float:
    """The value of a metric as a float; NaN is one.

    Raises:
        TaskError: it is no number.
    """
    try:
        return float(value)
    except (TypeError, ValueError, RuntimeError):  # torch raises RuntimeError for a tensor of several numbers
        got = f"a tensor of shape {tuple(value.shape)}" if isinstance(value, Tensor) else f"{value!r:.80}"
        raise TaskError(
            f"metric {name}(outputs, targets) must return a number, got {got}. Return one, such as by .mean()."
        ) from None


def _accuracy(output: Tensor, target: Tensor) -> float:
    """Share of samples whose largest output is the target class; with one output, whose sign is the target's."""
    if output.dim() > target.dim() and output.shape[1] > 1:
        return (output.argmax(1) == target).double().mean().item()
    return ((output.reshape(target.shape) > 0) == (target > 0.5)).double().mean().item()


accuracy = Metric(_accuracy, "higher")
