"""A task: a model, a loss and data, and the point where every descent starts."""

import copy
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from steepest import seeds
from steepest.errors import InputError, TaskError
from steepest.tasks import data as sources
from steepest.tasks import module_state
from steepest.tasks.module_copy import copy_module
from steepest.tasks.module_state import ModuleState
from steepest.tasks.space import Space

VALIDATION_SHARE = 0.1


@dataclass(frozen=True)
class Metric:
    """A function of all outputs and targets that is measured, not minimised; `better` is "higher" or "lower"."""

    function: Callable[[Tensor, Tensor], Any]
    better: str = "higher"

    def __call__(self, output: Tensor, target: Tensor) -> float:
        return float(self.function(output, target))


def metric(function: Callable[[Tensor, Tensor], Any], better: str = "higher") -> Metric:
    """Makes a metric from a function.

    Args:
        function: `(outputs, targets) -> number`, over a whole split.
        better: "higher" or "lower".

    Raises:
        InputError: `better` is neither.

    >>> error = metric(lambda output, target: (output - target).abs().max(), better="lower")
    """
    if better not in ("higher", "lower"):
        raise InputError(f"better must be 'higher' or 'lower', got {better!r}")
    return Metric(function, better)


def _accuracy(output: Tensor, target: Tensor) -> float:
    """Share of samples whose largest output is the target class; with one output, whose sign is the target's."""
    if output.dim() > target.dim() and output.shape[1] > 1:
        return (output.argmax(1) == target).double().mean().item()
    return ((output.reshape(target.shape) > 0) == (target > 0.5)).double().mean().item()


accuracy = Metric(_accuracy)


class Task:
    """A model, a loss and data.

    A task stores the weights, buffers and extra state that its model has at this moment. All training starts there, so
    that settings are compared from the same start.

    Args:
        model: a module, or a function `seed -> module` (a new start for each seed).
        data: a tuple of tensors (the last is the target), a Dataset, or an iterable of batches; None if the objective
            needs no data.
        loss: `loss(output, target)`, a mean over the batch.
        objective: `objective(model, batch)`, any other scalar; pass exactly one of loss and objective.
        validation: like data; used for choices, such as the learning rate. Default: a tenth of the data.
        test: like data; used for final figures only.
        metrics: functions `(outputs, targets) -> number` by name; the first one is the run's metric.
        augment: `(batch, generator) -> batch`, for training only.
        count: `batch -> number` of items that the batch's loss is a mean over, such as tokens. Default: samples.
        recipe: default settings of `fit` for this task.
        name: name of the task, from which runs are named.

    Raises:
        TaskError: the task cannot be trained.
    """

    def __init__(
        self,
        model: nn.Module | Callable[[int], nn.Module],
        data: Any = None,
        loss: Callable[[Any, Any], Tensor] | None = None,
        objective: Callable[[nn.Module, Any], Tensor] | None = None,
        validation: Any = None,
        test: Any = None,
        metrics: Mapping[str, Callable[[Tensor, Tensor], Any]] | None = None,
        augment: Callable[[Any, torch.Generator], Any] | None = None,
        count: Callable[[Any], float] | None = None,
        recipe: Mapping[str, Any] | None = None,
        name: str | None = None,
    ) -> None:
        if (loss is None) == (objective is None):
            got = "both" if loss else "neither"
            raise TaskError(f"Task needs exactly one of loss(output, target) and objective(model, batch), got {got}")
        if not callable(model):
            raise TaskError(f"Task: model must be a module or a function seed -> module, got {type(model).__name__}")
        self.model, self.loss, self.objective = model, loss, objective
        self.metrics = {k: m if isinstance(m, Metric) else metric(m) for k, m in (metrics or {}).items()}
        if self.metrics and loss is None:
            raise TaskError(
                "Task: metrics need outputs and targets. Pass loss= in place of objective=, or drop metrics."
            )
        self.augment, self.count, self.recipe = augment, count or sources.count, dict(recipe or {})
        self.name = name or (type(model).__name__.lower() if isinstance(model, nn.Module) else "task")
        self.source: str | None = None  # a built-in name, or the path of its file
        self._split(data, validation, test)
        self._start = module_state.read(model) if isinstance(model, nn.Module) else None
        self._fingerprint = _tensor_versions(model) if isinstance(model, nn.Module) else None

    def build(self, seed: int) -> nn.Module:
        """The model at its start: the task's own module, reset, or a new one for the seed."""
        if not isinstance(self.model, nn.Module):
            with seeds.ours(seed, "model"):
                model = self.model(seed)
            if not isinstance(model, nn.Module):
                raise TaskError(f"Task: model(seed) must return a torch.nn.Module, got {type(model).__name__}")
            return model
        _restore(self.model, self._start or ModuleState())
        return self.model

    @contextmanager
    def unchanged_on_error(self) -> Iterator[None]:
        """If the block fails, the task's model is as it was before, whatever `build` has done to it."""
        if not isinstance(self.model, nn.Module):
            yield
            return
        is_ours = _tensor_versions(self.model) == self._fingerprint
        try:
            with module_state.unchanged_on_error(self.model):
                yield
        except BaseException:
            if is_ours:
                self.remember_weights(self.model)
            raise

    def copy(self, seed: int) -> nn.Module:
        """A separate copy of the model at its start.

        Raises:
            TaskError: the module cannot be copied.
        """
        if not isinstance(self.model, nn.Module):
            return self.build(seed)
        try:
            model = copy_module(self.model)
        except Exception as error:  # deepcopy runs the user's code
            raise TaskError(
                f"Task: the model cannot be copied ({type(error).__name__}: {error}), and several descents need a "
                "model each. Pass model as a function seed -> module."
            ) from error
        _restore(model, self._start or ModuleState())
        return model

    def apart(self, share: float, seed: int) -> "Task":
        """The same task with a share of its training data as validation data, and without test data.

        Raises:
            TaskError: the data is an iterable of batches, or has too few samples.
        """
        if self.data is None:
            return self
        if sources.is_iterable(self.data):
            raise TaskError("An iterable of batches cannot be split. Pass a Dataset or tensors.")
        data, validation = sources.set_aside(self.data, share, seed)
        return Task(
            self.model, data, self.loss, self.objective, validation, None, self.metrics, self.augment, self.count,
            self.recipe, self.name,
        )  # fmt: skip

    def at(self, point: Tensor | ModuleState) -> "Task":
        """The same task with another start; this one and its model are unchanged.

        Args:
            point: w [N], or weights, buffers and extra state, where every descent starts, whatever its seed.
        """

        def model_at_point(seed: int) -> nn.Module:
            model = self.copy(seed)
            if isinstance(point, ModuleState):
                module_state.write(model, point)
            else:
                Space(model).scatter(point)
            return model

        other = copy.copy(self)
        other.model, other._start, other._fingerprint = model_at_point, None, None
        return other

    def remember_weights(self, model: nn.Module) -> None:
        """Records the weights that our own training left, so that `build` reports only the user's changes."""
        if model is self.model:
            self._fingerprint = _tensor_versions(model)

    def validation_note(self) -> str:
        """For the user, if the validation split was taken from the data; else empty."""
        if not self._held_out:
            return ""
        samples = self._held_out + (sources.length(self.data) or 0)
        share = 100 * self._held_out / samples
        return f"No validation= given: holding out {self._held_out:,} of {samples:,} samples ({share:.0f} %)."

    def change_note(self) -> str:
        """For the user, if the module's weights were changed elsewhere, which `build` resets; else empty."""
        if not isinstance(self.model, nn.Module) or _tensor_versions(self.model) == self._fingerprint:
            return ""
        now = {**module_state.parameters_of(self.model), **module_state.buffers_of(self.model)}
        start = (self._start or ModuleState()).tensors
        if all(name in now and _is_equal(now[name], x) for name, x in start.items()):
            return ""
        return (
            "The model's weights changed since Task(...) was created. This run starts from the original ones; create a "
            "new Task, or pass start=, to use the new ones."
        )

    def _split(self, data: Any, validation: Any, test: Any) -> None:
        self._held_out = 0
        for what, split in (("data", data), ("validation", validation), ("test", test)):
            sources.check(split, what)
        if data is not None and validation is None:
            if sources.is_iterable(data):
                raise TaskError("Task: with an iterable as data, pass validation= too.")
            data, validation = sources.set_aside(data, VALIDATION_SHARE)
            self._held_out = sources.length(validation) or 0
        self.data, self.validation, self.test = data, validation, test


def _restore(model: nn.Module, state: ModuleState) -> None:
    """Resets a model.

    Raises:
        TaskError: its structure has changed since the task was made.
    """
    try:
        module_state.check(model, state, "Task: the model's start")
    except TaskError as error:
        raise TaskError(f"{error} Create a new Task after the model's structure has changed.") from None
    module_state.write(model, state)


def _is_equal(now: Tensor, start: Tensor) -> bool:
    return now.shape == start.shape and torch.equal(now.to(start), start)


def _tensor_versions(model: nn.Module) -> list[tuple[int, int, int]]:
    """Identity, version and address of each tensor: one of them changes when the tensor is written."""
    tensors = [x for x in (*model.parameters(), *model.buffers()) if x.layout is torch.strided]
    tensors = [x for x in tensors if not isinstance(x, nn.parameter.UninitializedParameter)]
    return [(id(x), x._version, x.data_ptr()) for x in tensors]
