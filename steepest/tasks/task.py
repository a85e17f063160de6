"""A task: a model, a loss and data, and the point where every descent starts."""

import copy
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from steepest import seeds
from steepest.errors import InputError, TaskError
from steepest.records.arguments import check_arguments
from steepest.tasks import data as sources
from steepest.tasks import lazy_layers, module_state
from steepest.tasks.forward import Forward
from steepest.tasks.metric import Direction, Metric, accuracy, direction_of_name, metric
from steepest.tasks.module_copy import copy_module, copy_with_module, require_grad_as
from steepest.tasks.module_state import ModuleState
from steepest.tasks.space import Space
from steepest.tasks.with_loss import ModelWithLoss, stateful_module, with_loss

__all__ = ["Metric", "Task", "accuracy", "metric"]

VALIDATION_SHARE = 0.1


class Task:
    """A model, a loss and data.

    A task stores the weights, buffers and extra state that its model has at this moment. All training starts there, so
    that settings are compared from the same start. Lazy layers get their weights when the task is made, by a pass over
    a batch of the validation data.

    Args:
        model: a module, or a function `seed -> module` (a new start for each seed).
        data: a tuple of tensors, arrays or tables (the last is the target), a dict of them, a Dataset, or an iterable
            of batches; None if the objective needs no data.
        loss: `loss(output, target)`. If it is a module with parameters (or a method or partial of one), they are
            trained with the model, under names that begin with `loss.`.
        objective: `objective(model, batch)`, any other scalar; pass exactly one of loss and objective.
        validation: like data; used for choices, such as the learning rate. Default: a tenth of the data.
        test: like data; used for final figures only.
        metrics: functions `(outputs, targets) -> number` by name; the first one is the run's metric. They get what the
            model gives, of all samples: tensors, tuples, dicts. See `metric` for which direction is better.
        augment: `(batch, generator) -> batch`, for training only.
        count: `batch -> number` of items that the batch's loss is a mean over, such as tokens. Default: samples, which
            are the rows of the batch's last element, or of its key labels, label or target.
        recipe: default settings of `fit` for this task.
        name: name of the task, from which runs are named.
        predict: `(model, batch) -> (output, target)`, what metrics are measured on, and `loss` where that is passed.
            Default with `loss`: `model(*inputs)` and the target of a batch `(*inputs, target)`.

    Attributes:
        module: the module that is trained: the model, with its loss where that is trained too; None if `model` is a
            function.

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
        metrics: Mapping[str, Callable[[Any, Any], Any]] | None = None,
        augment: Callable[[Any, torch.Generator], Any] | None = None,
        count: Callable[[Any], float] | None = None,
        recipe: Mapping[str, Any] | None = None,
        name: str | None = None,
        predict: Callable[[nn.Module, Any], tuple[Any, Any]] | None = None,
    ) -> None:
        check_arguments({"metrics": metrics, "recipe": recipe, "count": count, "name": name})
        if (loss is None) == (objective is None):
            got = "both" if loss else "neither"
            raise TaskError(f"Task needs exactly one of loss(output, target) and objective(model, batch), got {got}")
        if not callable(model):
            raise TaskError(f"Task: model must be a module or a function seed -> module, got {type(model).__name__}")
        self.model, self.loss, self.objective, self.predict = model, loss, objective, predict
        self.metrics = {k: m if isinstance(m, Metric) else metric(m) for k, m in (metrics or {}).items()}
        if self.metrics and loss is None and predict is None:
            raise TaskError(
                "Task: metrics need outputs and targets. Pass loss= in place of objective=, or "
                "predict=f with f(model, batch) -> (output, target), or drop metrics."
            )
        self.augment, self.count, self.recipe = augment, count or sources.count, dict(recipe or {})
        self.name = name or (type(model).__name__.lower() if isinstance(model, nn.Module) else "task")
        self.source: str | None = None  # a built-in name, or the path of its file
        self.source_hash: str | None = None  # SHA-256 of the file
        self._split(data, validation, test)
        self._generators = sources.generator_states(self.data)
        self.module = with_loss(model, loss) if isinstance(model, nn.Module) else None
        self._lazy = [] if self.module is None else lazy_layers.lazy_names(self.module)
        self._why_lazy = "" if self.module is None else self._first_pass(self.module)
        stateful = stateful_module(loss) if self.module is None else self.module
        self._start = None if stateful is None else module_state.read(stateful)
        self._fingerprint = None if self.module is None else _tensor_versions(self.module)

    def direction(self, name: str) -> Direction:
        """Which direction of a metric is better: as its `better` says, else by the words of its name.

        Args:
            name: of the metric, or "loss".

        Raises:
            InputError: neither says.
        """
        own = self.metrics.get(name)
        better = self.direction_or_none(name)
        if better is None:
            function = getattr(own and own.function, "__name__", "f")
            raise InputError(
                f"metric '{name}': say better=, as in sd.metric({function}, better='higher') or better='lower'. Its "
                "name does not say which direction is better."
            )
        return better

    def direction_or_none(self, name: str) -> Direction | None:
        """The same, but None where neither says."""
        own = self.metrics.get(name)
        return direction_of_name(name) if own is None or own.better is None else own.better

    def build(self, seed: int) -> nn.Module:
        """The module that is trained, at its start: the task's own, reset, or a new one for the seed."""
        sources.restore_generators(self._generators)
        if self.module is not None:
            self._check_shapes(self.module)
            _restore(self.module, self._start or ModuleState())
            return self.module
        model = self._make(seed)
        stateful = None if isinstance(model, ModelWithLoss) else stateful_module(self.loss)
        if stateful is not None:
            _restore(stateful, self._start or ModuleState())
        return with_loss(model, self.loss)

    def _make(self, seed: int) -> nn.Module:
        assert not isinstance(self.model, nn.Module)
        with seeds.ours(seed, "model"):
            model = self.model(seed)
            if isinstance(model, nn.Module):
                lazy_layers.check_shapes(model, self._first_pass(with_loss(model, self.loss)))
        if not isinstance(model, nn.Module):
            raise TaskError(f"Task: model(seed) must return a torch.nn.Module, got {type(model).__name__}")
        return model

    def _first_pass(self, module: nn.Module) -> str:
        """Initialises lazy layers; returns why some are still lazy."""

        def run(module: nn.Module, batch: Any) -> None:
            Forward(module, self, None, "cpu")(batch)

        return lazy_layers.initialise(module, run, self.validation, self.data)

    def _check_shapes(self, module: nn.Module) -> None:
        """Raises a TaskError while there are lazy layers; a pass that the user has made since then is the start."""
        if self._why_lazy:
            lazy_layers.check_shapes(module, self._why_lazy)
            self._start, self._why_lazy = module_state.read(module), ""
            self._fingerprint = _tensor_versions(module)

    @contextmanager
    def unchanged_on_error(self) -> Iterator[None]:
        """If the block fails, the task's model is as it was before, whatever `build` has done to it."""
        module = stateful_module(self.loss) if self.module is None else self.module
        if module is None:
            yield
            return
        is_ours = self._fingerprint is not None and _tensor_versions(module) == self._fingerprint
        try:
            with module_state.unchanged_on_error(module):
                yield
        except BaseException:
            if is_ours:
                self.remember_weights(module)
            raise

    def copy(self, seed: int) -> nn.Module:
        """A separate copy of the module that is trained, at its start.

        Raises:
            TaskError: the module cannot be copied.
        """
        sources.restore_generators(self._generators)
        if self.module is None:
            return self._with_own_loss(self._make(seed))
        self._check_shapes(self.module)
        try:
            module = copy_module(self.module)
        except Exception as error:  # deepcopy runs the user's code
            raise TaskError(
                f"Task: the model cannot be copied ({type(error).__name__}: {error}), and several descents need a "
                "model each. Pass model as a function seed -> module."
            ) from error
        _restore(module, self._start or ModuleState())
        return module

    def _with_own_loss(self, model: nn.Module) -> nn.Module:
        """A new model with a copy of the loss at its start."""
        own = stateful_module(self.loss)
        if isinstance(model, ModelWithLoss) or own is None:
            return model
        loss = copy_with_module(self.loss, own)
        other = stateful_module(loss)
        assert other is not None
        require_grad_as(own, other)
        _restore(other, self._start or ModuleState())
        return with_loss(model, loss)

    def apart(self, share: float, seed: int) -> "Task":
        """The same task with a share of its training data as validation data, and without test data.

        Raises:
            TaskError: the data is an iterable of batches, or has too few samples.
        """
        if self.data is None:
            return self
        if sources.is_iterable(self.data):
            raise TaskError("An iterable of batches cannot be split. Pass a Dataset or tensors.")
        other = copy.copy(self)
        other.data, other.validation = sources.set_aside(self.data, share, seed)
        other.test, other._held_out = None, 0
        return other

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
        other.model, other.module, other._start, other._fingerprint = model_at_point, None, None, None
        return other

    def remember_weights(self, model: nn.Module) -> None:
        """Records the weights that our own training left, so that `build` reports only the user's changes."""
        if model is self.module:
            self._fingerprint = _tensor_versions(model)

    def validation_note(self) -> str:
        """For the user, if the validation split was taken from the data; else empty."""
        if not self._held_out:
            return ""
        samples = self._held_out + (sources.length(self.data) or 0)
        share = 100 * self._held_out / samples
        return f"No validation= given: holding out {self._held_out:,} of {samples:,} samples ({share:.0f} %)."

    def lazy_note(self) -> str:
        """For the user, if the task has initialised lazy layers; else empty."""
        if not self._lazy or self._why_lazy:
            return ""
        more = f" and {len(self._lazy) - 3} more" if len(self._lazy) > 3 else ""
        return f"Lazy layers: {', '.join(self._lazy[:3])}{more} initialised by a pass over one batch."

    def change_note(self) -> str:
        """For the user, if the module's weights were changed elsewhere, which `build` resets; else empty."""
        if self.module is None or _tensor_versions(self.module) == self._fingerprint:
            return ""
        now = {**module_state.parameters_of(self.module), **module_state.buffers_of(self.module)}
        start = (self._start or ModuleState()).tensors
        if all(name in now and _is_equal(now[name], x) for name, x in start.items()):
            return ""
        return (
            "The model's weights changed since Task(...) was created. This run starts from the original ones; create a "
            "new Task, or pass start=, to use the new ones."
        )

    def _split(self, data: Any, validation: Any, test: Any) -> None:
        self._held_out = 0
        splits = {"data": data, "validation": validation, "test": test}
        data, validation, test = (sources.in_memory(split, what) for what, split in splits.items())
        for what, split in zip(splits, (data, validation, test)):
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
    tensors = [x for x in (*model.parameters(), *model.buffers()) if is_lazy(x) or x.layout is torch.strided]
    return [(id(x), x._version, x.data_ptr()) for x in tensors if not is_lazy(x)]
