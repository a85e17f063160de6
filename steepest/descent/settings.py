"""How a task is trained: every choice, resolved and checked before the first step."""

import copy
import inspect
import math
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch

from steepest.descent.guard.guard import Guard
from steepest.descent.stages import Stage, Stages, stage
from steepest.errors import InputError
from steepest.records.arguments import KINDS, check, check_arguments
from steepest.records.config import Config, StageConfig
from steepest.rules.rule import Rule
from steepest.rules.textbook import adam, find_rule
from steepest.schedule import Length, Schedule, as_schedule
from steepest.tasks import NORMS_AND_BIASES, Batches, Task
from steepest.tasks.data import is_iterable, length

DEFAULT_SCHEDULE = "warmup(5%) >> cosine"
DEFAULT_BATCH = 64
MEASURED_SHARE = Length(5, "%")
"""Of the run, from one measurement to the next for data without a length."""


@dataclass(frozen=True)
class Settings:
    """The choices for one descent. `resolve` makes them.

    Attributes:
        stages: update rules in their order; one rule is one stage.
        lr: base learning rate of the first stage; None for a torch optimizer at its default.
        schedule: factor of the learning rate over the whole run.
        batch_size: samples per step, "full", or None for data that brings its own batches.
        epochs, steps: length of the run; one of them.
        clip: largest gradient norm; a longer gradient is scaled down to it.
        accumulate: micro-batches per step.
        average: β of a running average of the weights.
        precision: of the forward pass and the loss.
        groups: hyperparameters by glob on parameter names.
        no_decay: parameters without weight decay.
        guard: of the descent, or None.
        measure_every: steps, or a length such as "2 epochs" or "5%", from one measurement of the validation split to
            the next; None for an epoch, and 5 % of the run for data without a length.
        seed: of the order of data, the randomness in a step, and the start where the model is a function.
        device: "auto", "cpu" or "cuda".
    """

    stages: Stages
    lr: float | None = None
    schedule: Schedule | None = None
    batch_size: int | str | None = None
    epochs: int | None = None
    steps: int | None = None
    clip: float | None = None
    accumulate: int = 1
    average: float | None = None
    precision: str | None = None
    groups: Mapping[str, Mapping[str, float]] | None = None
    no_decay: Any = NORMS_AND_BIASES
    guard: Guard | None = None
    measure_every: int | str | None = None
    seed: int = 0
    device: str = "auto"

    def __post_init__(self) -> None:
        for name in ("epochs", "steps"):
            value = getattr(self, name)
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
                raise InputError(f"{name} must be an integer ≥ 1, got {value!r}")
        if self.epochs is None and self.steps is None:
            raise InputError(
                "The run must have a length, got neither epochs nor steps. Pass one: epochs=20, or --epochs 20."
            )
        if self.epochs is not None and self.steps is not None:
            raise InputError("Pass either epochs or steps, not both.")
        for name, domain in (("lr", "a positive number or 'auto'"), ("clip", "positive")):
            value = getattr(self, name)
            if value is not None and not (_is_number(value) and value > 0):
                raise InputError(f"{name} must be {domain}, got {value!r}")
        if self.measure_every is not None:
            _measure_length(self.measure_every)
        if isinstance(self.seed, bool) or not isinstance(self.seed, int):
            raise InputError(f"seed must be an integer, got {self.seed!r}")

    @property
    def rule_name(self) -> str:
        """Name of the rule, or the stages as text."""
        first, *later = self.stages.parts
        return str(self.stages) if later else describe_stage(first).rule

    def describe(self) -> Config:
        """The choices as they are recorded; what only the run knows is left at its default."""
        return Config(
            rule=self.rule_name, lr=self.lr, schedule=str(self.schedule), batch_size=self.batch_size,
            epochs=self.epochs, steps=self.steps or 0, clip=self.clip, average=self.average, precision=self.precision,
            groups=self.groups and {k: dict(v) for k, v in self.groups.items()}, accumulate=self.accumulate,
            no_decay=self.no_decay, guard=self.guard and self.guard.describe(), seed=self.seed,
            measure_every=self.measure_every,
            stages=tuple(map(describe_stage, self.stages.parts)),
        )  # fmt: skip


def resolve(task: Task, default_schedule: str = DEFAULT_SCHEDULE, **arguments: Any) -> Settings:
    """Settings for a task: each argument that is given, else the task's recipe, else the default.

    The first stage's learning rate is the stage's own, else `lr`, else the recipe's, else the rule's default.

    Args:
        task: the task to train.
        default_schedule: where neither argument nor recipe has one.
        arguments: of `fit`. None means "not given", and so does a default that the recipe overrides.

    Raises:
        InputError: an invalid recipe or argument.
    """
    check("task", task, KINDS["task"])
    arguments = check_arguments(arguments)
    for name in task.recipe:
        if name not in RECIPE:
            raise InputError(f"task {task.name}: recipe must only have the keys {', '.join(RECIPE)}, got '{name}'")
    recipe = dict(task.recipe)
    arguments = {name: value for name, value in arguments.items() if _is_given(name, value, recipe)}
    if "epochs" in arguments or "steps" in arguments:
        recipe = {k: v for k, v in recipe.items() if k not in ("epochs", "steps")}
    if not has_recipe_lr(task, arguments.get("rule")):
        recipe.pop("lr", None)  # a learning rate belongs to its rule
    choices = {"rule": adam, "schedule": default_schedule, **recipe, **arguments}
    if "batch_size" not in choices and task.data is not None and not is_iterable(task.data):
        choices["batch_size"] = min(DEFAULT_BATCH, length(task.data) or DEFAULT_BATCH)
    stages, choices["lr"] = _resolve_lr(_stages(choices.pop("rule")), choices.get("lr"))
    choices["schedule"] = as_schedule(choices["schedule"])
    choices["guard"] = make_guard(choices.get("guard", False))
    return Settings(stages, **choices)


def has_recipe_lr(task: Task, rule: Any) -> bool:
    """Whether the task's recipe has a learning rate for this rule (or first stage); None is the recipe's own rule."""
    own = task.recipe.get("rule", adam)
    return "lr" in task.recipe and (rule is None or _first(rule) == _first(own))


def device(name: str) -> str:
    """Where a descent runs: "auto" is CUDA where it is available.

    Raises:
        InputError: torch cannot use the device.
    """
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).partition("\n")[0]
        raise InputError(f"Device {name!r} is not available ({reason}). Use 'cpu' or 'auto'.") from None
    return name


def make_batches(task: Task, settings: Settings, seed: int, device: torch.device) -> Batches:
    """The training batches of a seed."""
    s = settings
    return Batches(task.data, s.batch_size, seed, accumulate=s.accumulate, augment=task.augment, device=device)


def horizon(steps_per_epoch: int | None, settings: Settings) -> tuple[int, int]:
    """(steps of an epoch, steps of the run)."""
    if settings.steps is not None:
        return steps_per_epoch or settings.steps, settings.steps
    assert settings.epochs is not None
    if steps_per_epoch is None:
        raise InputError("epochs needs data with a length; this iterable has none. Pass steps.")
    return steps_per_epoch, steps_per_epoch * settings.epochs


def measure_interval(steps: int, steps_per_epoch: int | None, settings: Settings) -> int:
    """Steps from one measurement of the validation split to the next.

    Args:
        steps: of the run.
        steps_per_epoch: None for data without a length.
        settings: with `measure_every`.

    Raises:
        InputError: a length in epochs for data without a length.
    """
    every = settings.measure_every
    if every is None:
        return steps_per_epoch or MEASURED_SHARE.resolve(steps, 1)
    length = _measure_length(every)
    if length.unit == "epochs" and steps_per_epoch is None:
        raise InputError(
            f"measure_every={every!r} needs data with a length; this iterable has none. Pass steps or '5%'."
        )
    return length.resolve(steps, steps_per_epoch or 1)


def _measure_length(every: Any) -> Length:
    try:
        return Length.parse(every)
    except InputError as error:
        raise InputError(f"measure_every: {error}") from None


CHOICES = inspect.signature(Settings).parameters
ARGUMENTS = ("rule", *(name for name in CHOICES if name != "stages"))
"""Of `fit` and `descend`, for `resolve`."""
RECIPE = tuple(name for name in ARGUMENTS if name not in ("seed", "device"))


def _is_given(name: str, value: Any, recipe: Mapping[str, Any]) -> bool:
    if name in recipe and name in ("accumulate", "no_decay"):
        return value != CHOICES[name].default
    return value is not None or name == "no_decay"


def _stages(rule: Any) -> Stages:
    stages = rule if isinstance(rule, Stages) else stage(rule)
    return Stages(tuple(replace(part, rule=_rule(part.rule)) for part in stages.parts))


def _resolve_lr(stages: Stages, lr: Any) -> tuple[Stages, Any]:
    """The stages without a learning rate in the first, and that learning rate."""
    first, *later = stages.parts
    default = first.rule.hypers.get("lr") if isinstance(first.rule, Rule) else None
    candidates = (first.lr, lr, default if _is_number(default) else None)
    return Stages((replace(first, lr=None), *later)), next((x for x in candidates if x is not None), None)


def _first(rule: Any) -> Any:
    return _stages(rule).parts[0].rule


def make_guard(guard: Any) -> Guard | None:
    """The guard that an argument `guard` stands for, with a state of its own.

    Raises:
        InputError: it is none of these.
    """
    if isinstance(guard, Guard):
        return copy.deepcopy(guard)  # a guard has the state of one run
    if isinstance(guard, bool):
        return Guard() if guard else None
    if guard == "watch":
        warnings.warn('guard="watch" is deprecated. Use guard="report".', DeprecationWarning, stacklevel=4)
    if guard in ("report", "watch"):
        return Guard(report=True)
    raise InputError(f"guard must be True, False, 'report' or sd.Guard(...), got {guard!r}")


def _rule(rule: Any) -> Rule | Callable:
    if callable(rule) and not isinstance(rule, Rule):
        return rule  # params -> torch.optim.Optimizer
    rule = find_rule(rule)
    _ = rule.program  # raises now if the formula cannot be lowered
    return rule


def describe_stage(part: Stage) -> StageConfig:
    """A stage as it is recorded."""
    rule, length = part.rule, part.length and str(part.length)
    if not isinstance(rule, Rule):
        name = f"{getattr(rule, '__module__', '')}.{getattr(rule, '__qualname__', type(rule).__name__)}"
        return StageConfig(name, length=length, lr=part.lr)
    hypers = {k: v if _is_number(v) or v is None else str(v) for k, v in rule.hypers.items()}
    return StageConfig(rule.name, hypers, rule.source, length, part.lr)


def _is_number(x: Any) -> bool:
    return isinstance(x, int | float) and not isinstance(x, bool) and math.isfinite(x)
