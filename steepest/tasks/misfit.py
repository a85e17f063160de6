"""Data, model and loss that do not fit each other: what is said of it."""

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from steepest.errors import TaskError
from steepest.tasks import batch_tree
from steepest.tasks.shares import unchanged_state

if TYPE_CHECKING:
    from steepest.tasks.forward import Pass

DTYPE_ERROR = re.compile(r"dtype|scalar type|Double|Float|Long|Byte|not implemented for")
"""In torch's messages about tensors of different dtypes."""
WANTS_CLASSES, WANTS_SHARES = re.compile(r"target dtype to be Long|scalar type Long"), re.compile("class probabilities")
"""In torch's messages about a target that is no class index, and about one that is no probability."""
DIFFERENT = 1e-3
"""From this relative difference on, a loss of [n, 1] and [n] is another one than that of [n] and [n]."""


def shapes(batch: Any) -> str:
    """Dtypes and shapes of a batch's tensors, and the range of whole numbers.

    >>> shapes((torch.zeros(3, 2), torch.tensor([4, 0, 1])))
    'float32 [3, 2], int64 [3] from 0 to 4'
    """
    words = [_describe(x) for x in batch_tree.tensors(batch)]
    return ", ".join(words[:6]) + (", …" if len(words) > 6 else "")


def _describe(x: Tensor) -> str:
    is_whole = not (x.is_floating_point() or x.is_complex() or x.dtype == torch.bool) and x.numel()
    values = f" from {int(x.min())} to {int(x.max())}" if is_whole else ""
    return f"{name(x.dtype)} {list(x.shape)}{values}"


def name(dtype: torch.dtype) -> str:
    """A dtype's name without the library's."""
    return str(dtype).removeprefix("torch.")


def add_shapes(error: Exception, batch: Any) -> None:
    """Adds the batch's shapes to an error of the user's code, once."""
    note = "The batch of this error, inputs and target: "
    if not any(words.startswith(note) for words in getattr(error, "__notes__", ())):
        error.add_note(f"{note}{shapes(batch) or batch_tree.describe(batch)}.")


def dtype_words(error: RuntimeError, model: nn.Module, batch: Any) -> TaskError | None:
    """The error in words, if it is about dtypes, and data and weights or target and loss do not match."""
    line = str(error).partition("\n")[0]
    if isinstance(error, TaskError) or not DTYPE_ERROR.search(line):
        return None
    target = batch[-1] if isinstance(batch, tuple | list) and batch else None
    if isinstance(target, Tensor) and (WANTS_CLASSES.search(line) or WANTS_SHARES.search(line)):
        return _target_words(line, target)
    weights = {p.dtype for p in model.parameters() if p.is_floating_point()}
    own = {x.dtype for x in batch_tree.tensors(batch)}
    floats = {d for d in own if d.is_floating_point}
    is_labels = "Long" in line or "Int" in line
    if not is_labels and floats and floats <= weights:
        return None
    data, model_words = (", ".join(sorted(map(name, kinds))) for kinds in (own, weights))
    labels = "class labels to int64" if is_labels else "arrays by x.astype('float32'), tensors by x.float()"
    return TaskError(
        f"The data must have dtypes that fit the model's weights, {model_words}, got {data} ({line}). Convert the data "
        f"({labels}), or the model (model.double())."
    )


def _target_words(line: str, target: Tensor) -> TaskError:
    """A target that is neither class indices nor class probabilities."""
    got = f"{name(target.dtype)} {list(target.shape)} ({line})"
    if WANTS_SHARES.search(line):
        todo = "Convert it: y.argmax(1) makes indices of it, y.float() probabilities."
        return TaskError(
            f"The target must be class indices, [samples] of int64, or class probabilities, got {got}. {todo}"
        )
    todo = "Convert it by y.long(), or use a loss for numbers, such as F.mse_loss."
    return TaskError(f"The target must be class indices of int64, got {got}. {todo}")


def broadcast_words(one: "Pass", loss: Callable[[Any, Any], Any]) -> str:
    """What is wrong where output [n, 1] and target [n], or the reverse, become [n, n] in a loss; else empty.

    It is so where the loss is another one once both have one shape. The loss keeps its state, and the random numbers
    are the same for both, and the caller's again afterwards.
    """
    output, target = one.output, one.target
    if not (isinstance(output, Tensor) and isinstance(target, Tensor) and target.is_floating_point()):
        return ""
    a, b = tuple(output.shape), tuple(target.shape)
    if (a != (*b, 1) and b != (*a, 1)) or target.numel() < 2:
        return ""
    try:
        with torch.no_grad():
            values = [_value(loss, x, target) for x in (output, output.reshape(b))]
    except Exception:  # it takes outputs of this shape only, so it knows what it does
        return ""
    if not abs(values[1] - values[0]) > DIFFERENT * abs(values[0]):  # also where one is NaN
        return ""
    a, b = ("".join(("[n", *(f", {k}" for k in shape[1:]), "]")) for shape in (a, b))
    return (
        f"The model's output has the shape {a} and the target {b}, so the loss compares every output with every "
        "target. Give them one shape, such as y[:, None] or output.squeeze(-1)."
    )


def _value(loss: Callable[[Any, Any], Any], output: Tensor, target: Tensor) -> float:
    with unchanged_state(loss):
        return float(loss(output, target))
