"""How a task is trained: every choice, made and checked before the first step."""

import copy
import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from steepest.descent.guard.guard import Guard
from steepest.descent.stages import Stages, stage
from steepest.errors import InputError
from steepest.rules.rule import Rule
from steepest.rules.textbook import adam, find_rule
from steepest.schedule import Schedule, as_schedule
from steepest.tasks.data import is_iterable, length
from steepest.tasks.space import NORMS_AND_BIASES
from steepest.tasks.task import Task

DEFAULT_SCHEDULE = "warmup(5%) >> cosine"
DEFAULT_BATCH = 64


@dataclass(frozen=True)
class Settings:
    """The choices of one descent.

    Attributes:
        stages: rules in their order; one rule is one stage.
        lr: base rate of the first stage, or None for its default.
        schedule: of the rate, over the whole run.
        batch_size: samples per step, "full", or None for data that brings its own batches.
        epochs, steps: how long; one of them.
        clip: greatest gradient norm that is let through.
        accumulate: micro-batches per step.
        average: share of a running average of the weights that stays at each step.
        precision: of forward pass and loss.
        groups: hyperparameters by glob on parameter names.
        no_decay: parameters without weight decay.
        guard: what watches the descent, or None.
        seed: of the order of data, of all randomness in a step, and of the start where the model is a function.
        device: where it runs.
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
    seed: int = 0
    device: str = "auto"

    def __post_init__(self) -> None:
        for name in ("epochs", "steps"):
            value = getattr(self, name)
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
                raise InputError(f"{name}={value!r} is given; expected is a whole number of at least 1")
        if (self.epochs is None) == (self.steps is None):
            given = "neither is given" if self.epochs is None else "both are given"
            raise InputError(f"epochs or steps must be said: {given}; give one of them")
        for name in ("lr", "clip"):
            value = getattr(self, name)
            if value is not None and not (_is_number(value) and value > 0):
                auto = ", or 'auto'" if name == "lr" else ""
                raise InputError(f"{name}={value!r} is given; expected is a number above 0{auto}")
        if isinstance(self.seed, bool) or not isinstance(self.seed, int):
            raise InputError(f"seed={self.seed!r} is given; expected is a whole number")

    def describe(self) -> dict[str, Any]:
        """The choices as JSON, in words where they are not numbers."""
        parts = [_described(rule) | _given(length=n and str(n), lr=lr) for rule, n, lr in self.stages.parts]
        lr = self.lr if self.lr is not None else parts[0].get("hypers", {}).get("lr")
        return {
            "rule": parts[0]["rule"] if len(parts) == 1 else str(self.stages),
            "lr": lr,
            "schedule": str(self.schedule),
            "batch_size": self.batch_size,
            **_given(epochs=self.epochs, steps=self.steps, clip=self.clip, average=self.average),
            **_given(precision=self.precision, groups=self.groups and {k: dict(v) for k, v in self.groups.items()}),
            "accumulate": self.accumulate,
            "no_decay": self.no_decay,
            "guard": self.guard and self.guard.describe(),
            "seed": self.seed,
            "stages": parts,
        }


def resolve(task: Task, **given: Any) -> Settings:
    """Settings for a task: what is given, else the task's recipe, else defaults.

    Args:
        task: what is to be trained.
        given: as the arguments of `fit`; None is "not said", and so is a default where the recipe says something else.

    Raises:
        InputError: a recipe or an argument that cannot be meant.
    """
    for name in task.recipe:
        if name not in RECIPE:
            raise InputError(f"task {task.name}: its recipe names '{name}'; expected are {', '.join(RECIPE)}")
    recipe = dict(task.recipe)
    said = {name: value for name, value in given.items() if _is_said(name, value, recipe)}
    if "epochs" in said or "steps" in said:
        recipe = {k: v for k, v in recipe.items() if k not in ("epochs", "steps")}
    if not brings_rate(task, said.get("rule")):
        recipe.pop("lr", None)  # a rate belongs to its rule
    chosen = {"rule": adam, "schedule": DEFAULT_SCHEDULE, **recipe, **said}
    if "batch_size" not in chosen and task.data is not None and not _brings_batches(task):
        chosen["batch_size"] = min(DEFAULT_BATCH, length(task.data) or DEFAULT_BATCH)
    stages = _stages(chosen.pop("rule"))
    chosen["schedule"] = as_schedule(chosen["schedule"])
    chosen["guard"] = _guard(chosen.get("guard", False))
    return Settings(stages, **chosen)


def brings_rate(task: Task, rule: Any) -> bool:
    """Whether the task's recipe has a learning rate for this rule, or the first of these stages; None is its own."""
    own = task.recipe.get("rule", adam)
    return "lr" in task.recipe and (rule is None or _first(rule) == _first(own))


def device(name: str) -> str:
    """Where a descent runs: "auto" is CUDA where there is one.

    Raises:
        InputError: torch cannot use it here.
    """
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).partition("\n")[0]
        raise InputError(
            f"device={name!r} cannot be used here ({reason}); expected is 'auto', 'cpu' or 'cuda'"
        ) from None
    return name


def horizon(steps_per_epoch: int | None, settings: Settings) -> tuple[int, int]:
    """(steps of an epoch, steps of the run)."""
    if settings.steps is not None:
        return steps_per_epoch or settings.steps, settings.steps
    assert settings.epochs is not None
    if steps_per_epoch is None:
        raise InputError(
            f"epochs={settings.epochs} is given and the data does not say how many batches it has (it has no length); "
            "give steps instead"
        )
    return steps_per_epoch, steps_per_epoch * settings.epochs


CHOICES = inspect.signature(Settings).parameters
RECIPE = ("rule", *(n for n in CHOICES if n not in ("stages", "seed", "device")))


def _is_said(name: str, value: Any, recipe: Mapping[str, Any]) -> bool:
    if name in recipe and name in ("accumulate", "no_decay"):
        return value != CHOICES[name].default
    return value is not None or name == "no_decay"


def _brings_batches(task: Task) -> bool:
    return is_iterable(task.data)


def _stages(rule: Any) -> Stages:
    if isinstance(rule, Stages):
        parts = tuple((_rule(r), n, lr) for r, n, lr in rule.parts)
        return Stages(parts)
    return stage(_rule(rule))


def _first(rule: Any) -> Any:
    return _stages(rule).parts[0][0]


def _guard(given: Any) -> Guard | None:
    if isinstance(given, Guard):
        return copy.deepcopy(given)  # a guard remembers one run
    if isinstance(given, bool):
        return Guard() if given else None
    if given == "watch":
        return Guard(report=True)
    raise InputError(f"guard={given!r} is given; expected is True, False, 'watch' or sd.Guard(...)")


def _rule(rule: Any) -> Rule | Callable:
    if callable(rule) and not isinstance(rule, Rule):
        return rule  # params -> torch.optim.Optimizer
    found = find_rule(rule)
    _ = found.program  # so that a formula that cannot be lowered is known now
    return found


def _described(rule: Any) -> dict[str, Any]:
    if not isinstance(rule, Rule):
        return {"rule": f"{getattr(rule, '__module__', '')}.{getattr(rule, '__qualname__', type(rule).__name__)}"}
    hypers = {k: v if _is_number(v) or v is None else str(v) for k, v in rule.hypers.items()}
    return {"rule": rule.name, "hypers": hypers, "formula": rule.source}


def _given(**values: Any) -> dict[str, Any]:
    return {k: v for k, v in values.items() if v is not None}


def _is_number(x: Any) -> bool:
    return isinstance(x, int | float) and not isinstance(x, bool) and math.isfinite(x)
