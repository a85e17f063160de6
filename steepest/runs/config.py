"""A run's configuration: every choice that was made, as it is recorded and as it is read again."""

import copy
import hashlib
from collections.abc import Mapping
from typing import Any

from torch import nn

from steepest.descent.guard.guard import Guard
from steepest.descent.loop import Descent
from steepest.descent.settings import Settings, resolve
from steepest.descent.stages import Stages, stage
from steepest.errors import InputError
from steepest.rules.textbook import RULES
from steepest.schedule import as_schedule
from steepest.tasks import data
from steepest.tasks.space import Space
from steepest.tasks.task import Task

KEEPS = ("last", "best")
RECORDED = ("batch_size", "clip", "accumulate", "average", "precision", "groups", "no_decay", "seed")


def make_config(
    task: Task,
    descent: Descent,
    start: Any,
    keep: str,
    stop_after: int | None,
    checkpoint_every: int | str,
    locate: bool = True,
) -> dict[str, Any]:
    """Everything that was chosen, as JSON.

    Raises:
        InputError: a choice that cannot be meant.
    """
    if keep not in KEEPS:
        raise InputError(f"keep={keep!r} is given; expected is 'last' or 'best'")
    if stop_after is not None and (not isinstance(stop_after, int) or stop_after < 1):
        raise InputError(f"stop_after={stop_after!r} is given; expected is a number of measurements, or None")
    _check_interval(checkpoint_every)
    settings = descent.settings.describe()
    if settings["lr"] is None:
        settings["lr"] = descent.base_rate
    metric, better = next(((n, m.better) for n, m in task.metrics.items()), ("loss", "lower"))
    return {
        "task": task.name,
        "source": task.source,
        **settings,
        "keep": keep,
        "stop_after": stop_after,
        "checkpoint_every": checkpoint_every,
        "locate": locate,
        "device": str(descent.device),
        "steps": descent.steps,
        "steps_per_epoch": descent.steps_per_epoch,
        "samples": descent.batches.samples,
        "weights": descent.space.size,
        "metric": metric,
        "better": better,
        "start": (start if isinstance(start, str) else getattr(start, "id", None)) or "the task's",
        **identity(task, descent.model),
        "parameters": list(descent.space.names),
    }


def identity(task: Task, model: nn.Module) -> dict[str, str]:
    """What a checkpoint is of: the model's shapes, and the data."""
    space = Space(model)
    shapes = "\n".join(f"{name} {tuple(x.shape)} {x.dtype}" for name, x in (*space.named(), *model.named_buffers()))
    digest = hashlib.sha256(shapes.encode()).hexdigest()[:16]
    return {"model": f"{space.size} weights, {digest}", "data": data.fingerprint(task.data)}


def settings_of(
    task: Task, config: Mapping[str, Any], rule: Any, epochs: int | None, steps: int | None, device: str
) -> Settings:
    """The recorded choices.

    Args:
        task: the run's.
        config: as `make_config` gave it.
        rule: the run's, where it is not a built-in one.
        epochs, steps: another length.
        device: "auto" for the recorded one.

    Raises:
        InputError: a rule that is not the run's.
    """
    if epochs is None and steps is None:
        epochs = config.get("epochs")
        steps = None if epochs is not None else config["steps"]
    kept = {name: config.get(name) for name in RECORDED}
    guard = config["guard"]
    if guard is not None:
        guard = Guard.of(guard)
    stages = _stages(config, rule)
    bare = copy.copy(task)
    bare.recipe = {}  # what it says is recorded, where it was followed
    settings = resolve(
        bare, rule=stages, lr=config["lr"], schedule=config["schedule"],
        epochs=epochs, steps=steps, guard=guard if guard is not None else False,
        device=config["device"] if device == "auto" else device, **kept,
    )  # fmt: skip
    described = settings.describe()["stages"]
    if described != config["stages"]:
        raise InputError(f"rule={rule!r} is not the run's: it was {config['stages']}, given is {described}")
    return settings


def _stages(config: Mapping[str, Any], rule: Any) -> Stages:
    """The recorded stages; of built-in rules from their names and hyperparameters."""
    if rule is not None:
        return rule if isinstance(rule, Stages) else stage(rule)
    parts = []
    for part in config["stages"]:
        if part["rule"] not in RULES:
            raise InputError(f"the run's rule {part['rule']} is not a built-in one; give it again: fit(..., rule=...)")
        hypers = {k: as_schedule(v) if isinstance(v, str) else v for k, v in part["hypers"].items()}
        parts += stage(RULES[part["rule"]](**hypers), part.get("length"), part.get("lr")).parts
    return Stages(tuple(parts))


def _check_interval(given: int | str) -> None:
    try:
        value = given if isinstance(given, int) else float(given.removesuffix("s"))
    except (ValueError, AttributeError):
        value = 0
    if not value > 0:
        raise InputError(f"checkpoint_every={given!r} is given; expected is a number of steps, or seconds as '30 s'")
