"""What `fit` is arguments for as a recorded configuration, and a recorded configuration as settings again."""

import copy
import dataclasses
import functools
import hashlib
import inspect
from typing import Any

from torch import nn

from steepest.descent.guard.guard import Guard
from steepest.descent.loop import Descent
from steepest.descent.settings import ARGUMENTS, Settings, resolve
from steepest.descent.stages import Stage, Stages, stage
from steepest.errors import InputError
from steepest.records.config import Config
from steepest.rules.textbook import RULES
from steepest.schedule import as_schedule
from steepest.tasks import Space, Task, data

AUTO = "auto"
RECORD_SETTINGS = [name for name in ARGUMENTS if name not in ("rule", "epochs", "steps", "guard", "device")]
"""Settings that are recorded as they are."""


def check_choices(task: Task, keep: str, stop_after: int | None, checkpoint_every: int | str) -> None:
    """Checks what `fit` is given besides the settings of the descent, before the model is changed.

    Raises:
        InputError: an invalid argument.
    """
    if keep not in ("last", "best"):
        raise InputError(f"keep must be 'last' or 'best', got {keep!r}")
    if stop_after is not None and (not isinstance(stop_after, int) or stop_after < 1):
        raise InputError(f"stop_after must be a number of measurements ≥ 1, or None, got {stop_after!r}")
    checkpoint_interval(checkpoint_every)
    if keep == "best" or stop_after is not None:
        task.direction(next(iter(task.metrics), "loss"))


def make_config(task: Task, descent: Descent, **choices: Any) -> Config:
    """Every choice of a run.

    Args:
        task: the run's.
        descent: at its start.
        choices: of the run besides the settings of the descent, by their names in the configuration.
    """
    metric = next(iter(task.metrics), "loss")
    _check_measurements(task, descent, choices.get("keep", "last"), choices.get("stop_after"))
    return dataclasses.replace(
        descent.settings.describe(), task=task.name, source=task.source, source_hash=task.source_hash,
        lr=descent.base_lr, device=str(descent.device),
        steps=descent.steps, steps_per_epoch=descent.steps_per_epoch, samples=descent.batches.samples,
        weights=descent.space.size, metric=metric, better=task.direction_or_none(metric),
        parameters=tuple(descent.space.names), last_checkpoint=0,
        **identity(task, descent.model), **_sample_counts(task), **choices,
    )  # fmt: skip


def _sample_counts(task: Task) -> dict[str, Any]:
    """The numbers of validation and test samples; and whether the loss of a batch is a sum over its samples."""
    splits = {"validation_samples": task.validation, "test_samples": task.test}
    counts = {name: samples for name, split in splits.items() if split is not None and (samples := data.length(split))}
    is_sum = task.loss is not None and task.count is data.count and "validation_samples" in counts
    # The model is not called to find out: a pass more may change what it counts.
    return counts | ({"reduction": "sum"} if is_sum and _reduction_by_name(task.loss) == "sum" else {})


def _reduction_by_name(loss: Any) -> str | None:
    """The reduction that a loss of torch, or one that is called as these are, is set to; None where it has none."""
    if isinstance(loss, functools.partial) and "reduction" in loss.keywords:
        return loss.keywords["reduction"]
    if isinstance(loss, nn.Module):
        return getattr(loss, "reduction", None)
    try:
        return inspect.signature(loss).parameters["reduction"].default
    except (KeyError, TypeError, ValueError):
        return None


def _check_measurements(task: Task, descent: Descent, keep: str, stop_after: int | None) -> None:
    """Refuses choices that look at measurements where none is made."""
    if keep != "best" and stop_after is None:
        return
    name = "keep='best'" if stop_after is None else f"stop_after={stop_after}"
    if task.validation is None and task.data is not None:
        raise InputError(f"{name} needs validation data, got none. Pass Task(validation=...), or drop it.")
    if stop_after is not None and descent.measure_every >= descent.steps:
        raise InputError(
            f"stop_after={stop_after} needs a measurement before the last step, got one every {descent.measure_every} "
            f"of {descent.steps} steps. Pass measure_every=, such as '5%', or drop it."
        )


def identity(task: Task, model: nn.Module) -> dict[str, str]:
    """What a checkpoint is of: the model's shapes, and the data."""
    return {"model": model_identity(model), "data": data.fingerprint(task.data)}


def model_identity(model: nn.Module) -> str:
    """The number of trained weights, and a fingerprint of all names and shapes."""
    space = Space(model)
    entries = [(name, shape, x.dtype) for (name, x), shape in zip(space.named(), space.shapes, strict=True)]
    entries += [(name, b.shape, b.dtype) for name, b in model.named_buffers()]
    shapes = "\n".join(f"{name} {tuple(shape)} {dtype}" for name, shape, dtype in entries)
    digest = hashlib.sha256(shapes.encode()).hexdigest()[:16]
    return f"{space.size} weights, {digest}"


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
        **{name: getattr(config, name) for name in RECORD_SETTINGS},
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
