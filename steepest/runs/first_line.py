"""The first line of a run: every choice that acts, and where it comes from."""

from collections.abc import Mapping
from typing import Any

from steepest.descent.loop import Descent
from steepest.descent.settings import has_recipe_lr
from steepest.descent.stages import Stages
from steepest.records.config import Config
from steepest.rules.textbook import RULES
from steepest.runs.config import AUTO
from steepest.tasks import Task
from steepest.view.format import number

BY_CALL, BY_RECIPE, BY_DEFAULT, BY_SEARCH = "given", "recipe", "default", "found"
"""Where a choice comes from: an argument, the task's recipe, the default, a search before the run."""
OTHERS = {"clip": None, "accumulate": 1, "average": None, "precision": None, "groups": None, "keep": "last",
          "stop_after": None, "measure_every": None}  # fmt: skip
"""Choices that are said only where they differ from these values."""


def first_line(task: Task, arguments: Mapping[str, Any], descent: Descent, config: Config, default_guard: bool) -> str:
    """Rule, lr, schedule, batch size, length, weights and guard, each with its origin.

    Args:
        task: the run's.
        arguments: of `fit`, by name.
        descent: at its start.
        config: of the run.
        default_guard: the argument that stands for none.
    """
    c, origin = config, lambda name, default=None: _origin(task, arguments, name, default)
    choices = [(c.rule, origin("rule"))]
    if c.lr is not None:
        choices.append((f"lr {number(c.lr)}", _origin_of_lr(task, arguments, descent)))
    choices.append((f"schedule {c.schedule}", origin("schedule")))
    if task.data is not None:
        size = "the data's own batches" if c.batch_size is None else f"batch size {c.batch_size}"
        choices.append((size, BY_CALL if c.batch_size is None else origin("batch_size")))
    length = f"{c.steps:,} steps" if c.epochs is None else f"{c.epochs:,} epochs = {c.steps:,} steps"
    choices.append((length, BY_CALL if arguments["epochs"] or arguments["steps"] else BY_RECIPE))
    for name, default in OTHERS.items():
        if (value := getattr(c, name)) != default:
            choices.append((f"{name} {value}", origin(name, default)))
    if c.start != Config.start:
        choices.append((f"start {c.start}", BY_CALL))
    guard = "off" if descent.recovery is None else "reporting" if descent.recovery.guard.report else "on"
    choices.append((f"guard {guard}", BY_DEFAULT if arguments["guard"] is default_guard else BY_CALL))
    words = ", ".join(f"{choice} ({where})" for choice, where in choices)
    return f"Training {c.weights:,} weights: {words}."


def idle_note(descent: Descent, stop_after: int | None) -> str:
    """For the user, if what looks at measurements comes too late to act in this run; else empty."""
    count = (descent.steps - 1) // descent.measure_every
    idle = [f"stop_after={stop_after}"] if stop_after is not None and stop_after > count else []
    idle += ["a plateau"] if not count and any(bound.watches for bound in descent.bound_schedules()) else []
    if not idle:
        return ""
    times = "once" if count == 1 else f"{count} times"
    words = " and ".join(idle)
    return f"No effect in this run: {words}, since it is measured {times} before its end. Pass measure_every=."


def _origin(task: Task, arguments: Mapping[str, Any], name: str, default: Any) -> str:
    value = arguments[name]
    if value is not None and value != default:
        return BY_CALL
    return BY_RECIPE if name in task.recipe else BY_DEFAULT


def _origin_of_lr(task: Task, arguments: Mapping[str, Any], descent: Descent) -> str:
    if arguments["lr"] == AUTO:
        return BY_SEARCH
    rule = arguments["rule"]
    in_stage = isinstance(rule, Stages) and rule.parts[0].lr is not None
    if arguments["lr"] is not None or in_stage:
        return BY_CALL
    if has_recipe_lr(task, rule):
        return BY_RECIPE
    return BY_CALL if _has_own_lr(descent.stage.rule) else BY_DEFAULT


def _has_own_lr(rule: Any) -> bool:
    """Whether a built-in rule was given another learning rate than its default, or is not built in."""
    usual = RULES.get(getattr(rule, "name", ""))
    return usual is None or rule.hypers["lr"] != usual.hypers["lr"]
