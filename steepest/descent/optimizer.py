"""What moves the point in a stage: one of our rules, or another's optimizer, at its beginning."""

from typing import Any

from steepest.descent.settings import Settings
from steepest.errors import InputError
from steepest.rules.rule import Rule, with_average
from steepest.rules.torch_optimizer import TorchOptimizer
from steepest.rules.update import Update
from steepest.tasks.space import Space


def make_optimizer(
    space: Space, rule: Any, lr: float | None, settings: Settings
) -> tuple[Update | TorchOptimizer, float, dict[str, Any]]:
    """A rule at its beginning, its base rate, and its hyperparameters.

    Args:
        space: what it moves.
        rule: one of ours, or a function `params -> torch.optim.Optimizer`.
        lr: its base rate; None for its own default.
        settings: of the descent.

    Raises:
        InputError: a choice that does not go with the rule.
    """
    if isinstance(rule, Rule):
        rule, rate, hypers = resolve_rule(rule, lr, settings)
        return Update(space, rule), rate, hypers
    foreign = TorchOptimizer(space, rule)
    for name, given in (("average", settings.average), ("groups", settings.groups)):
        if given is not None:
            kind = type(foreign.optimizer).__name__
            raise InputError(f"{name}={given!r} goes with rules of Steepest, and {kind} is torch's; leave it out")
    return foreign, _rate(lr, foreign.lr, "of torch"), {}


def resolve_rule(rule: Rule, lr: float | None, settings: Settings) -> tuple[Rule, float, dict[str, Any]]:
    """The rule as the settings have it, its base rate, and its hyperparameters."""
    rule = rule if settings.average is None else with_average(rule, settings.average)
    return rule, _rate(lr, rule.hypers["lr"], rule.name), dict(rule.hypers)


def _rate(given: float | None, default: Any, rule: str) -> float:
    rate = default if given is None else given
    if rate is None:
        raise InputError(f"rule {rule} has no default rate; give lr")
    if is_schedule(rate):
        raise InputError(f"rule {rule}: lr is a schedule; give its base rate as a number, and schedule= beside it")
    return float(rate)


def is_schedule(value: Any) -> bool:
    """Whether a hyperparameter follows a schedule."""
    return hasattr(value, "bind")
