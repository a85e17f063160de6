"""One batch: the model's output on it, its target, and its loss."""

import copy
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from steepest.errors import SteepestError, TaskError
from steepest.tasks import batch_tree
from steepest.tasks.misfit import add_shapes, broadcast_words, dtype_words
from steepest.tasks.with_loss import parts

if TYPE_CHECKING:
    from steepest.tasks.task import Task

GRAD_ERROR = re.compile(r"require grad|requires_grad|grad_fn")
"""In torch's messages about tensors that it cannot differentiate."""


ONES: dict[torch.dtype, Tensor] = {}
"""The gradient of a loss with respect to itself, by dtype."""


class Pass(NamedTuple):
    """A batch with the model's output on it, its target and its loss."""

    batch: Any
    output: Any
    target: Any
    loss: Tensor


class Forward:
    """Maps a batch to output, target and loss.

    Args:
        model: maps a batch's inputs to an output; with the loss where that is trained too.
        task: with the loss, or an objective in its place.
        autocast_dtype: of autocast; None without.
        device: device type for autocast.
    """

    def __init__(self, model: nn.Module, task: "Task", autocast_dtype: torch.dtype | None, device: str) -> None:
        self.model, self._loss, self._objective, self._predict = model, task.loss, task.objective, task.predict
        self._autocast_dtype, self._device = autocast_dtype, device
        self._needs_grad = False
        self._writes: dict[bool, bool] = {}
        self._is_usual = task.objective is None and task.predict is None and autocast_dtype is None
        self._model, own_loss = parts(model)
        self._function: Any = own_loss or task.loss

    def with_model(self, model: nn.Module) -> "Forward":
        """The same for another module."""
        other = copy.copy(self)
        other.model = model
        other._model, own_loss = parts(model)
        other._function = own_loss or self._loss
        return other

    def __call__(self, batch: Any, measures: bool = False) -> Pass:
        """Output, target and loss on a batch; of an objective the first two only where it is measured.

        The batch stays as it is, also where the model writes into its input.

        Raises:
            TaskError: the loss is not a scalar tensor, or data and weights have different dtypes.
            Exception: of the model or the loss, with a note of the batch's shapes.
        """
        writes = self._writes.get(self.model.training)
        try:
            if writes is False and self._is_usual and type(batch) is tuple and torch.is_grad_enabled():
                output = self._model(*batch[:-1])  # a step of training takes no detour
                return Pass(batch, output, batch[-1], _scalar(self._function(output, batch[-1])))
            own = self._own(batch)
            one = self._run_with_or_without_grad(lambda: self._autocast(lambda: self._run(own, measures)))
            if own is batch:
                return one
            if writes is None and not _is_transformed():
                self._writes[self.model.training] = any(x._version for x in batch_tree.tensors(own))
                if self.has_output_loss and (words := broadcast_words(one, self.loss_function)):
                    warnings.warn(words, stacklevel=1)  # one place: it is said once
            return one._replace(batch=batch)
        except SteepestError:
            raise
        except Exception as error:  # of the user's code
            if isinstance(error, RuntimeError) and (words := dtype_words(error, self.model, batch)):
                raise words from error
            add_shapes(error, batch)
            raise

    def in_evaluation(self, batch: Any, measures: bool) -> Pass:
        """A batch in evaluation mode.

        Raises:
            TaskError: the model has a loss in training mode only, as some detectors have.
        """
        try:
            return self(batch, measures)
        except SteepestError:
            raise
        except Exception as error:  # any error of the user's code
            if not self._works_in_training(batch) or self._works(batch):  # or it came once, whatever the mode
                raise
            words = f"{type(error).__name__}: {error}".partition("\n")[0]
            raise TaskError(
                f"The loss must also be defined in evaluation mode, in which the validation data is measured, got "
                f"{words}. Let the model give what the loss needs in both modes."
            ) from error

    def _works_in_training(self, batch: Any) -> bool:
        self.model.train()
        try:
            return self._works(batch)
        finally:
            self.model.eval()

    def _works(self, batch: Any) -> bool:
        try:
            self(batch)
        except Exception:  # any error of the user's code: the first one is raised again
            return False
        return True

    def backward(self, value: Tensor, batch: Any) -> None:
        """The backward pass of a batch's loss.

        Raises:
            TaskError: it does not depend on a weight, or data and weights have different dtypes.
        """
        if not value.requires_grad:
            raise TaskError(
                "The loss does not depend on any trainable weight. Is something detached, under no_grad, or converted "
                "to a number?"
            )
        try:
            _run_backward(value)
        except RuntimeError as error:
            words = dtype_words(error, self.model, batch)
            if words is None:
                raise
            raise words from error

    @property
    def has_output_loss(self) -> bool:
        """Whether the loss is a function of outputs and targets."""
        return self._loss is not None

    @property
    def loss_function(self) -> Callable[[Any, Any], Any]:
        """The loss of outputs and targets, with the parameters that are trained."""
        function = parts(self.model)[1] or self._loss
        assert function is not None
        return function

    def loss_of(self, output: Any, target: Any) -> Tensor:
        """The loss of outputs and targets."""
        return self._autocast(lambda: _scalar(self.loss_function(output, target)))

    def output(self, batch: Any) -> tuple[Any, Any]:
        """Output and target of a batch, which stays as it is.

        Raises:
            TaskError: the batch has no inputs before its target, or `predict` returns something else.
        """
        return self._output(self._own(batch))

    def _own(self, batch: Any) -> Any:
        """The batch; copies of its tensors where the model writes into its input, or where that is not known yet."""
        writes = self._writes.get(self.model.training)
        return batch if writes is False else batch_tree.map_tensors(batch, Tensor.clone)

    def _output(self, batch: Any) -> tuple[Any, Any]:
        model = parts(self.model)[0]
        if self._predict is not None:
            pair = self._predict(model, batch)
            if not isinstance(pair, tuple | list) or len(pair) != 2:
                got = batch_tree.describe(pair)
                raise TaskError(f"predict(model, batch) must return (output, target), got {got}")
            return pair[0], pair[1]
        if not isinstance(batch, tuple | list) or not batch:
            raise TaskError(
                f"loss= needs batches (*inputs, target), got {batch_tree.describe(batch)}. Pass objective=f with "
                "f(model, batch) -> loss, or predict=f with f(model, batch) -> (output, target)."
            )
        return model(*batch[:-1]), batch[-1]

    def _run(self, batch: Any, measures: bool) -> Pass:
        if self._objective is None:
            output, target = self._output(batch)
            return Pass(batch, output, target, _scalar(self.loss_function(output, target)))
        value = _scalar(self._objective(self.model, batch))
        output, target = self._output(batch) if measures else (None, None)
        return Pass(batch, output, target, value)

    def _autocast(self, run: Callable[[], Any]) -> Any:
        """Runs under autocast if the precision asks for it."""
        if self._autocast_dtype is None:
            return run()
        with torch.autocast(self._device, dtype=self._autocast_dtype):
            return run()

    def _run_with_or_without_grad(self, run: Callable[[], Pass]) -> Pass:
        """Runs with gradients where they are off but the objective differentiates inside.

        It may differentiate by its input, as a physics-informed one does, or by weights, as one that learns to learn.
        """
        if self._needs_grad and not torch.is_grad_enabled():
            return _run_with_grad(run)
        try:
            return run()
        except RuntimeError as error:
            is_tried = torch.is_grad_enabled() and any(p.requires_grad for p in self.model.parameters())
            if is_tried or not needs_grad(error):
                raise
        try:
            one = _run_with_grad(run)
        except RuntimeError as error:
            if not needs_grad(error):
                raise
            with _weights_that_require_grad(self.model):
                return _run_with_grad(run)
        self._needs_grad = True
        return one


@contextmanager
def _weights_that_require_grad(model: nn.Module) -> Iterator[None]:
    """Inside, all parameters require gradients."""
    others = [p for p in model.parameters() if not p.requires_grad]
    try:
        for p in others:
            p.requires_grad_()
        yield
    finally:
        for p in others:
            p.requires_grad_(False)


def needs_grad(error: RuntimeError) -> bool:
    """Whether torch says that it cannot differentiate, as where gradients are off."""
    return bool(GRAD_ERROR.search(str(error)))


def _run_backward(value: Tensor) -> None:
    """`value.backward()`; on the CPU without what that does in Python first, which takes as long as ten operations."""
    if type(value) is not Tensor or value.device.type != "cpu":
        value.backward()
        return
    one = ONES.get(value.dtype)
    if one is None or one._version:  # a backward pass has written into it
        one = ONES[value.dtype] = torch.ones((), dtype=value.dtype)
    torch.autograd.Variable._execution_engine.run_backward(
        (value,), (one,), False, False, (), allow_unreachable=True, accumulate_grad=True
    )


def _is_transformed() -> bool:
    """Whether a function is being mapped or differentiated by torch.func, where versions of tensors say nothing."""
    return torch._C._functorch.peek_interpreter_stack() is not None  # type: ignore[attr-defined]


def _run_with_grad(run: Callable[[], Pass]) -> Pass:
    with torch.enable_grad():
        one = run()
    output, target = (batch_tree.map_tensors(x, Tensor.detach) for x in (one.output, one.target))
    return Pass(one.batch, output, target, one.loss.detach())


def _scalar(value: Any) -> Tensor:
    if not isinstance(value, Tensor):
        raise TaskError(f"The loss must be a scalar tensor, got {type(value).__name__} {value!r:.80}")
    if value.dim() != 0:
        got = f"shape {tuple(value.shape)}. Take its mean, as reduction='mean' does."
        raise TaskError(f"The loss must be a scalar tensor, got {got}")
    return value
