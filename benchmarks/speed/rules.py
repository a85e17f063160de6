"""Every rule on 8 million weights, against the time that its memory traffic takes, and against its peer.

A rule reads and writes each weight and each slot and reads the gradient; the norm reads the gradient once more.
"""

import importlib
from collections.abc import Callable
from typing import Any

from torch import nn

from benchmarks.report import ABSENT, check, span, table
from benchmarks.speed.update import ours
from benchmarks.speed.weights import RESNET, Weights, copy
from benchmarks.timing import seconds
from steepest.rules.rule import Rule
from steepest.rules.textbook import RULES
from steepest.rules.update import Update
from steepest.tasks.space import Space

TITLE = "Every rule against its floor and its peer"

ROUNDS = 25
LIMIT = 1.3
"""Times the floor."""

PEERS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "gradient_descent": ("torch.optim", "SGD", {}),
    "momentum": ("torch.optim", "SGD", {"momentum": 0.9}),
    "nesterov": ("torch.optim", "SGD", {"momentum": 0.9, "nesterov": True}),
    "adagrad": ("torch.optim", "Adagrad", {}),
    "rmsprop": ("torch.optim", "RMSprop", {}),
    "adam": ("torch.optim", "Adam", {}),
    "adamw": ("torch.optim", "AdamW", {}),
    "amsgrad": ("torch.optim", "Adam", {"amsgrad": True}),
    "nadam": ("torch.optim", "NAdam", {}),
    "adamax": ("torch.optim", "Adamax", {}),
    "lion": ("pytorch_optimizer", "Lion", {}),
    "signum": ("pytorch_optimizer", "SignSGD", {"momentum": 0.9}),
    "schedule_free_adamw": ("schedulefree", "AdamWScheduleFree", {}),
}
"""Package, class and the arguments that make it the same rule; the rest by default."""

HEADER = (
    "rule", "bytes per weight", "rule alone", "÷ floor", "with norm", "÷ floor", f"both ≤ {LIMIT}", "peer", "its step",
    "rule alone ÷ peer",
)  # fmt: skip


def measure() -> list[str]:
    """Lines of the report."""
    how = (
        f"{Weights(RESNET).count / 1e6:.1f} million float32 weights in 159 tensors. Floor: the rule's bytes at the "
        "bandwidth of a copy in the same run; 4 bytes more with the norm. A ratio below 1 is no mistake: a copy also "
        "fetches the cache lines that it overwrites, which are not counted; an update has read them anyway. Peers "
        "have their default settings."
    )
    return [how, "", *table(HEADER, [_row(rule) for rule in RULES.values()])]


def _row(rule: Rule) -> list[str]:
    module, peer = Weights(RESNET), _peer(rule)
    contenders = {"alone": _alone(module, rule), "whole": ours(module, rule), "copy": copy(module.count)}
    times = seconds(contenders | ({"peer": peer} if peer else {}), ROUNDS)
    size = traffic(rule)
    alone, whole = times["alone"], times["whole"]
    floor, floor_whole = (times["copy"] * b / 8 for b in (size, size + 4))
    verdict = check(max(alone / floor, whole / floor_whole), LIMIT)
    own = [span(alone), f"{alone / floor:.2f}", span(whole), f"{whole / floor_whole:.2f}"]
    theirs = [span(times["peer"]), f"{alone / times['peer']:.3f}"] if peer else [ABSENT, ""]
    return [rule.name, str(size), *own, verdict, ".".join(PEERS[rule.name][:2]), *theirs]


def traffic(rule: Rule) -> int:
    """Bytes per weight that a rule must move in float32, without the norm."""
    return 12 + 8 * sum(not slot.is_scalar for slot in rule.slots)


def _alone(module: nn.Module, rule: Rule) -> Callable[[], object]:
    """The rule without norm and clipping."""
    update, hypers = Update(Space(module), rule), dict(rule.hypers)
    return lambda: update.advance(hypers)


def _peer(rule: Rule) -> Callable[[], object] | None:
    """A step of the rule's peer on weights of its own; None if the package is not installed."""
    package, name, arguments = PEERS[rule.name]
    try:
        make = getattr(importlib.import_module(package), name)
    except ModuleNotFoundError:
        return None
    optimizer = make(Weights(RESNET).parameters(), lr=rule.hypers["lr"], **arguments)
    if package == "schedulefree":
        optimizer.train()
    return optimizer.step
