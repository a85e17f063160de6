"""What moves the point in a stage: one of our rules, or a torch optimizer."""

from typing import Any

from steepest.descent.settings import Settings
from steepest.errors import InputError
from steepest.optim.split import Split
from steepest.records.config import UncorrectedAverage
from steepest.rules.rule import Rule, with_average, with_uncorrected_average
from steepest.rules.torch_optimizer import TorchOptimizer
from steepest.rules.update import Update
from steepest.tasks.space import Space


def make_optimizer(
    space: Space, rule: Any, lr: float | None, settings: Settings, steps: int
) -> tuple[Update | TorchOptimizer, float, dict[str, Any]]:
    """An update with fresh state, its base learning rate, and its hyperparameters.

    Args:
        space: the weights that it moves.
        rule: one of ours, or a function `params -> torch.optim.Optimizer`.
        lr: base learning rate; None for the rule's default.
        settings: of the descent.
        steps: of the descent.

    Raises:
        InputError: a setting that the rule does not support.
    """
    if isinstance(rule, Rule):
        rule, base_lr, hypers = resolve_rule(rule, lr, settings)
        return Update(space, rule, steps=steps), base_lr, hypers
    update = TorchOptimizer(space, (lambda _: rule(space.module)) if isinstance(rule, Split) else rule)
    for name, value in (("average", settings.average), ("groups", settings.groups)):
        if value is not None:
            kind = type(update.optimizer).__name__
            raise InputError(f"{name} needs a rule of Steepest, got torch's {kind}. Drop {name}={value!r}.")
    if update.needs_closure and settings.clip is not None:
        kind = type(update.optimizer).__name__
        raise InputError(f"clip cannot be used with {kind}, which searches along a line. Drop clip={settings.clip!r}.")
    return update, _base_lr(lr, update.lr, "of torch"), {}


def resolve_rule(rule: Rule, lr: float | None, settings: Settings) -> tuple[Rule, float, dict[str, Any]]:
    """The rule with the settings' average, its base learning rate, and its hyperparameters."""
    if settings.average is not None:
        is_old = isinstance(settings.average, UncorrectedAverage)
        rule = (with_uncorrected_average if is_old else with_average)(rule, settings.average)
    return rule, _base_lr(lr, rule.hypers["lr"], rule.name), dict(rule.hypers)


def _base_lr(lr: float | None, default: Any, rule: str) -> float:
    lr = default if lr is None else lr
    if lr is None:
        raise InputError(f"Rule {rule} has no default learning rate. Pass lr.")
    if is_schedule(lr):
        raise InputError(f"Rule {rule}: lr must be a number, got a schedule. Pass the factor as schedule=.")
    return float(lr)


def is_schedule(value: Any) -> bool:
    """Whether a hyperparameter follows a schedule."""
    return hasattr(value, "bind")
