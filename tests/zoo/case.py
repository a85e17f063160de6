"""A task of the zoo: what Steepest is given, and beside it what plain PyTorch needs to train the same."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset, IterableDataset, default_collate

import steepest as sd

VERBS = (
    "descend", "fit", "resume", "open", "find_lr", "auto", "race", "locate", "diagnose", "film", "command line",
)  # fmt: skip
EVERY = "every"
"""The key of a refusal that holds for all verbs."""


def samples(batch: Any) -> float:
    """Samples of a batch: the length of its last element, the target."""
    last = batch[-1] if isinstance(batch, tuple | list) else batch
    return float(len(last))


def joined(data: Any) -> list[Any]:
    """All samples of a split in batches: one of tensors or of a Dataset, those that an iterable gives."""
    if data is None:
        return [None]
    if isinstance(data, Tensor):
        return [(data,)]
    if isinstance(data, tuple | list) and all(isinstance(x, Tensor) for x in data):
        return [tuple(data)]
    if isinstance(data, Dataset) and not isinstance(data, IterableDataset):
        rows = default_collate([data[i] for i in range(len(data))])
        return [tuple(rows) if isinstance(rows, list) else rows]
    return [tuple(batch) if isinstance(batch, list) else batch for batch in data]


@dataclass(frozen=True)
class Case:
    """A kind of task.

    Attributes:
        name: in the table.
        make: the task, fresh and seeded.
        loss: `(model, batch) -> loss`, as a plain loop has it.
        rule, lr, batch_size, epochs, steps: of the training.
        options: further arguments of `descend` and `fit`, such as precision.
        optimizer: `(parameters, lr) -> Optimizer` of the plain loop, where the rule has no peer by name.
        system: `(model, loss module) -> module` that a plain loop trains; the model unless the loss has parameters.
        weight: what a batch's loss is a mean over; None where all batches are summed.
        batches: the samples of a split, as batches of the plain loop.
        metric: the first metric's truth, `(model, batches) -> number`.
        tolerance: of losses against the plain loop's, relative.
        has_own_noise: whether a population draws other random numbers than one member (dropout and the like).
        evaluation_noise: relative, of a loss in evaluation mode that is random.
        curves_only: regex of the reason why its film has no surface; empty where it has one.
        races: the two contenders of the race; the first is the rule.
        healthy: kinds of diagnosis beside those that plain trainings confirm.
        refuses: (regex of the error, reason) by verb.
        skip: why it cannot be tried here, such as a package that is not installed.
    """

    name: str
    make: Callable[[], sd.Task]
    loss: Callable[[nn.Module, Any], Tensor]
    rule: Any = "adam"
    lr: float = 1e-2
    batch_size: int | str | None = 32
    epochs: int | None = 5
    steps: int | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    optimizer: Callable[[Iterable[Tensor], float], torch.optim.Optimizer] | None = None
    system: Callable[[nn.Module, Any], nn.Module] = lambda model, loss: model
    weight: Callable[[Any], float] | None = samples
    batches: Callable[[Any], list[Any]] = joined
    metric: Callable[[nn.Module, list[Any]], float] | None = None
    tolerance: float = 1e-4
    has_own_noise: bool = False
    evaluation_noise: float = 0.0
    curves_only: str = ""
    races: tuple[Any, Any] = ("adam", "momentum")
    healthy: tuple[str, ...] = ()
    refuses: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    skip: str = ""

    @property
    def length(self) -> dict[str, int]:
        """The length of the training as arguments."""
        return {"epochs": self.epochs} if self.steps is None else {"steps": self.steps}

    @property
    def settings(self) -> dict[str, Any]:
        """The training as arguments of `descend` and `fit`."""
        given = {"batch_size": self.batch_size} if self.batch_size is not None else {}
        return {"rule": self.rule, "lr": self.lr, **given, **self.length, **self.options}

    def without(self, *names: str) -> dict[str, Any]:
        """The settings without some."""
        return {name: value for name, value in self.settings.items() if name not in names}
