"""What `fit` is arguments for as a recorded configuration, and a recorded configuration as settings again."""

import copy
import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from steepest.descent.guard.guard import Guard
from steepest.descent.loop import Descent
from steepest.descent.settings import CHOICES, Settings, resolve
from steepest.descent.stages import Stage, Stages, stage
from steepest.errors import InputError
from steepest.records.config import Config
from steepest.rules.textbook import RULES
from steepest.schedule import as_schedule
from steepest.tasks import data
from steepest.tasks.space import NORMS_AND_BIASES, Space
from steepest.tasks.task import Task

AUTO = "auto"
KEEPS = ("last", "best")
SETTINGS_FIELDS = (
    "lr",
    "schedule",
    "batch_size",
    "clip",
    "accumulate",
    "average",
    "precision",
    "groups",
    "no_decay",
    "seed",
)


@dataclass(frozen=True)
class Request:
    """The arguments of `fit` that a resumed run already has, with the defaults of `fit`.

    Raises:
        InputError: an invalid argument.
    """

    lr: float | str | None = None
    schedule: Any = None
    batch_size: int | str | None = None
    clip: float | None = None
    accumulate: int = 1
    average: float | None = None
    precision: str | None = None
    groups: Mapping[str, Mapping[str, float]] | None = None
    no_decay: str | Sequence[str] | None = NORMS_AND_BIASES
    guard: bool | str | Guard = True
    seed: int = 0
    keep: str = "last"
    stop_after: int | None = None
    checkpoint_every: int | str = "30 s"
    locate: bool = True
    start: Any = None
    name: str | None = None
    notes: str | None = None

    def __post_init__(self) -> None:
        if self.keep not in KEEPS:
            raise InputError(f"keep must be 'last' or 'best', got {self.keep!r}")
        if self.stop_after is not None and (not isinstance(self.stop_after, int) or self.stop_after < 1):
            raise InputError(f"stop_after must be a number of measurements ≥ 1, or None, got {self.stop_after!r}")
        checkpoint_interval(self.checkpoint_every)

    def refuse_changes(self, run: str) -> None:
        """Raises an InputError if an argument differs from its default."""
        changes = [f.name for f in dataclasses.fields(self) if getattr(self, f.name) != f.default]
        if changes:
            raise InputError(
                f"resume cannot change {', '.join(changes)}. Drop it, or start a new run with start={run!r}."
            )

    def settings(self, task: Task, **others: Any) -> Settings:
        """The settings of the descent; `lr="auto"` is left for a search.

        Args:
            task: the task to train.
            others: rule, epochs, steps and device.
        """
        arguments = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name in CHOICES}
        return resolve(task, **arguments | {"lr": None if self.lr == AUTO else self.lr}, **others)


def make_config(task: Task, descent: Descent, request: Request) -> Config:
    """Every choice of a run."""
    metric, better = next(((n, m.better) for n, m in task.metrics.items()), ("loss", "lower"))
    start = request.start
    return dataclasses.replace(
        descent.settings.describe(), task=task.name, source=task.source, lr=descent.base_lr, keep=request.keep,
        stop_after=request.stop_after, checkpoint_every=request.checkpoint_every, locate=request.locate,
        device=str(descent.device), steps=descent.steps, steps_per_epoch=descent.steps_per_epoch,
        samples=descent.batches.samples, weights=descent.space.size, metric=metric, better=better,
        start=(start if isinstance(start, str) else getattr(start, "id", None)) or Config.start,
        parameters=tuple(descent.space.names), **identity(task, descent.model),
    )  # fmt: skip


def identity(task: Task, model: nn.Module) -> dict[str, str]:
    """What a checkpoint is of: the model's shapes, and the data."""
    space = Space(model)
    shapes = "\n".join(f"{name} {tuple(x.shape)} {x.dtype}" for name, x in (*space.named(), *model.named_buffers()))
    digest = hashlib.sha256(shapes.encode()).hexdigest()[:16]
    return {"model": f"{space.size} weights, {digest}", "data": data.fingerprint(task.data)}


def settings_of(
    task: Task, config: Config, rule: Any = None, epochs: int | None = None, steps: int | None = None
) -> Settings:
    """The recorded choices.

    Args:
        task: the run's.
        config: the run's.
        rule: the run's, where it is not built in.
        epochs, steps: another length.

    Raises:
        InputError: the rule is not the run's.
    """
    if epochs is None and steps is None:
        epochs = config.epochs
        steps = config.steps if epochs is None else None
    bare = copy.copy(task)
    bare.recipe = {}  # the configuration has what was used of it
    settings = resolve(
        bare, rule=_recorded_stages(config) if rule is None else rule, epochs=epochs, steps=steps, device=config.device,
        guard=False if config.guard is None else Guard.of(config.guard),
        **{name: getattr(config, name) for name in SETTINGS_FIELDS},
    )  # fmt: skip
    description = settings.describe()
    if (description.stages, description.lr) != (config.stages, config.lr):
        names = ", ".join(part.rule for part in config.stages)
        raise InputError(f"rule must be the run's: {names} with lr {config.lr} and its hyperparameters, got {rule!r}")
    return settings


def _recorded_stages(config: Config) -> Stages:
    """The recorded stages, of built-in rules."""
    stages: tuple[Stage, ...] = ()
    for part in config.stages:
        if part.rule not in RULES:
            raise InputError(f"The run's rule {part.rule} is not built in. Pass it again: resume(..., rule=...).")
        hypers = {k: as_schedule(v) if isinstance(v, str) else v for k, v in (part.hypers or {}).items()}
        stages += stage(RULES[part.rule](**hypers), part.length, part.lr).parts
    return Stages(stages)


def checkpoint_interval(every: int | str) -> tuple[float, int | None]:
    """`checkpoint_every` as (seconds, None) or (0, steps).

    Raises:
        InputError: it is neither a number of steps nor seconds as text.
    """
    try:
        interval = (0.0, every) if isinstance(every, int) else (float(every.removesuffix("s")), None)
    except (ValueError, AttributeError):
        interval = (0.0, None)
    if not (interval[1] or interval[0]) > 0:
        raise InputError(f"checkpoint_every must be a number of steps, or seconds such as '30 s', got {every!r}")
    return interval
