"""What is to be learned: a model, a loss and data, and the point where every descent starts."""

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from steepest import seeds
from steepest.errors import InputError, TaskError
from steepest.tasks import data as sources
from steepest.tasks.space import Space

VALIDATION_SHARE = 0.1


@dataclass(frozen=True)
class Metric:
    """A number that is watched and not minimised: a function of all outputs and targets, and which way is better."""

    function: Callable[[Tensor, Tensor], Any]
    better: str = "higher"

    def __call__(self, output: Tensor, target: Tensor) -> float:
        return float(self.function(output, target))


def metric(function: Callable[[Tensor, Tensor], Any], better: str = "higher") -> Metric:
    """A metric of one's own.

    Args:
        function: `(outputs, targets) -> number`, of a whole split.
        better: "higher" or "lower".

    Raises:
        InputError: `better` is something else.

    >>> error = metric(lambda output, target: (output - target).abs().max(), better="lower")
    """
    if better not in ("higher", "lower"):
        raise InputError(f"better={better!r} is given; expected is 'higher' or 'lower'")
    return Metric(function, better)


def _accuracy(output: Tensor, target: Tensor) -> float:
    """Share of samples whose greatest output is the target's; of one output, of those on its side of 0."""
    if output.dim() > target.dim() and output.shape[1] > 1:
        return (output.argmax(1) == target).double().mean().item()
    return ((output.reshape(target.shape) > 0) == (target > 0.5)).double().mean().item()


accuracy = Metric(_accuracy)


class Task:
    """A model, a loss and data.

    A task remembers the weights and buffers its model had when it was made: everything that trains it starts there, so
    that two settings are compared from the same start.

    Args:
        model: a module, or a function `seed -> module` (a new start for each seed).
        data: a tuple of tensors (the last is the target), a torch Dataset, or an iterable of batches; None where the
            objective needs none.
        loss: `loss(output, target)`, a mean over the batch.
        objective: `objective(model, batch)`, for anything else; exactly one of the two.
        validation: like data; what choices look at. Without it a tenth of the data is set aside.
        test: like data; what final figures look at.
        metrics: by name; the first one is the run's metric.
        augment: `(batch, generator) -> batch`, for training only.
        count: `batch -> number`: what its loss is a mean over, where that is not samples (tokens).
        recipe: settings that `fit` uses where it is told nothing.
        name: of the task, for the runs' names.

    Raises:
        TaskError: what is given cannot be trained; says why.
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
            given = "both" if loss else "neither"
            raise TaskError(
                f"Task: {given} of loss(output, target) and objective(model, batch) given; give exactly one"
            )
        if not callable(model):
            raise TaskError(f"Task: model is {type(model).__name__}; expected is a module or a function seed -> module")
        self.model, self.loss, self.objective = model, loss, objective
        self.metrics = {k: m if isinstance(m, Metric) else metric(m) for k, m in (metrics or {}).items()}
        if self.metrics and loss is None:
            raise TaskError("Task: metrics need outputs and targets, so they go with loss=, not with objective=")
        self.augment, self.count, self.recipe = augment, count or sources.count, dict(recipe or {})
        self.name = name or (type(model).__name__.lower() if isinstance(model, nn.Module) else "task")
        self.source: str | None = None  # a built-in name, or the file it comes from
        self._split(data, validation, test)
        self._start = _state(model) if isinstance(model, nn.Module) else None
        self._left = _marks(model) if isinstance(model, nn.Module) else None

    def build(self, seed: int) -> nn.Module:
        """The model at its start: the task's own module, reset, or a new one for the seed."""
        if not isinstance(self.model, nn.Module):
            with seeds.ours(seed, "model"):
                model = self.model(seed)
            if not isinstance(model, nn.Module):
                raise TaskError(f"Task: model(seed) gave {type(model).__name__}; expected is a torch.nn.Module")
            return model
        _restore(self.model, self._start or {})
        return self.model

    def copy(self, seed: int) -> nn.Module:
        """A model of its own at the start, so that the task's stays as it is.

        Raises:
            TaskError: the module cannot be copied; says what to do.
        """
        if not isinstance(self.model, nn.Module):
            return self.build(seed)
        try:
            model = copy.deepcopy(self.model)
        except Exception as error:  # whatever the user's module makes of it
            raise TaskError(
                f"Task: its model cannot be copied ({type(error).__name__}: {error}); several descents need a model "
                "each: give model as a function seed -> module"
            ) from error
        _restore(model, self._start or {})
        return model

    def apart(self, share: float, seed: int) -> "Task":
        """The same task with a share of its data as validation: nothing that this one is judged by is in it.

        Raises:
            TaskError: data that brings its own batches, or too little of it.
        """
        if self.data is None:
            return self
        if sources.is_iterable(self.data):
            raise TaskError("data that brings its own batches cannot be split; give a Dataset or tensors")
        data, validation = sources.set_aside(self.data, share, seed)
        return Task(
            self.model, data, self.loss, self.objective, validation, None, self.metrics, self.augment, self.count,
            self.recipe, self.name,
        )  # fmt: skip

    def at(self, point: Tensor) -> "Task":
        """The same task with another start; this one, and its model, stay as they are.

        Args:
            point: w [N], where every descent then starts, whatever its seed.
        """

        def begun(seed: int) -> nn.Module:
            model = self.copy(seed)
            Space(model).scatter(point)
            return model

        moved = copy.copy(self)
        moved.model, moved._start, moved._left = begun, None, None
        return moved

    def leave(self, model: nn.Module) -> None:
        """Called when we have trained the model, so that only others' changes are noticed."""
        if model is self.model:
            self._left = _marks(model)

    def validation_note(self) -> str:
        """For the user, if the validation split was taken from the data; else empty."""
        if not self._held_out:
            return ""
        samples = self._held_out + (sources.length(self.data) or 0)
        share = 100 * self._held_out / samples
        return f"No validation= given: holding out {self._held_out:,} of {samples:,} samples ({share:.0f} %)."

    def change_note(self) -> str:
        """For the user, if the module's weights were changed elsewhere, which `build` resets; else empty."""
        if not isinstance(self.model, nn.Module) or _marks(self.model) == self._left or self._at_start():
            return ""
        return (
            "The model's weights changed since Task(...) was created. This run starts from the original ones; create a "
            "new Task, or pass start=, to use the new ones."
        )

    def _split(self, data: Any, validation: Any, test: Any) -> None:
        self._held_out = 0
        for what, given in (("data", data), ("validation", validation), ("test", test)):
            sources.check(given, what)
        if data is not None and validation is None:
            if sources.is_iterable(data):
                raise TaskError("Task: data brings its own batches, so validation= must be given too")
            data, validation = sources.set_aside(data, VALIDATION_SHARE)
            self._held_out = sources.length(validation) or 0
        self.data, self.validation, self.test = data, validation, test

    def _at_start(self) -> bool:
        assert isinstance(self.model, nn.Module)
        now, start = self.model.state_dict(keep_vars=True), self._start or {}
        return all(name in now and torch.equal(now[name].detach().to(x), x) for name, x in start.items())


def _state(model: nn.Module) -> dict[str, Tensor]:
    """Copies of the weights and buffers, each once."""
    tensors = (*model.named_parameters(), *model.named_buffers())
    return {name: x.detach().clone() for name, x in tensors if not isinstance(x, nn.parameter.UninitializedParameter)}


@torch.no_grad()
def _restore(model: nn.Module, state: Mapping[str, Tensor]) -> None:
    tensors = dict((*model.named_parameters(), *model.named_buffers()))
    for name, x in state.items():
        tensors[name].copy_(x)


def _marks(model: nn.Module) -> list[tuple[int, int, int]]:
    """What changes when somebody writes the weights: identity, version and address of each tensor."""
    strided = [x for x in (*model.parameters(), *model.buffers()) if x.layout is torch.strided]
    known = [x for x in strided if not isinstance(x, nn.parameter.UninitializedParameter)]
    return [(id(x), x._version, x.data_ptr()) for x in known]
