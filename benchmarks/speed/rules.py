"""Every rule on 8 million weights, against the least time its bytes need, and against its peer.

A rule reads and writes each weight and each slot and reads the gradient: 12 bytes a weight and 8 a slot; with the norm
the gradient is read once more. The bandwidth is that of a copy of as many weights, measured in turn with the rule.
"""

import importlib
from collections.abc import Callable
from typing import Any

from torch import nn

from benchmarks.report import MISSING, met, span, table
from benchmarks.speed.timing import seconds
from benchmarks.speed.update import ours
from benchmarks.speed.weights import RESNET, Weights, copy
from steepest.rules.rule import Rule
from steepest.rules.textbook import RULES
from steepest.rules.update import Update
from steepest.tasks.space import Space

TITLE = "Every rule against its floor and its peer"

ROUNDS = 25
LIMIT = 1.3
"""Times the floor, for rules without powers and exponentials of weights; none of these has any."""

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
"""Package, class and what makes it the same rule; all else as its user gets it."""

HEADER = (
    "rule", "bytes a weight", "rule alone", "÷ floor", "with norm", "÷ floor", f"both ≤ {LIMIT}", "peer", "its step",
    "rule alone ÷ peer",
)  # fmt: skip


def measure() -> list[str]:
    """Lines of the report."""
    how = (
        f"{Weights(RESNET).count / 1e6:.1f} million float32 weights in 159 tensors. Floor: the bytes at the bandwidth "
        "of a copy in the same run; with the norm, 4 bytes more. A ratio below 1 is no mistake: a copy also fetches "
        "the lines that it overwrites, which are not among its bytes; an update has read them anyway. Peers with "
        "their default settings."
    )
    return [how, "", *table(HEADER, [_row(rule) for rule in RULES.values()])]


def _row(rule: Rule) -> list[str]:
    module, peer = Weights(RESNET), _peer(rule)
    sides = {"alone": _alone(module, rule), "whole": ours(module, rule), "copy": copy(module.count)}
    found = seconds(sides | ({"peer": peer} if peer else {}), ROUNDS)
    size = moved_bytes(rule)
    alone, whole = found["alone"], found["whole"]
    floor, floor_whole = (found["copy"] * b / 8 for b in (size, size + 4))
    reached = met(max(alone / floor, whole / floor_whole), LIMIT)
    own = [span(alone), f"{alone / floor:.2f}", span(whole), f"{whole / floor_whole:.2f}"]
    theirs = [span(found["peer"]), f"{alone / found['peer']:.3f}"] if peer else [MISSING, ""]
    return [rule.name, str(size), *own, reached, ".".join(PEERS[rule.name][:2]), *theirs]


def moved_bytes(rule: Rule) -> int:
    """Bytes a weight that a rule must move in float32, its norm not counted."""
    return 12 + 8 * sum(not slot.is_scalar for slot in rule.slots)


def _alone(module: nn.Module, rule: Rule) -> Callable[[], object]:
    """The rule, on gradients as they are."""
    update, hypers = Update(Space(module), rule), dict(rule.hypers)
    return lambda: update.advance(hypers)


def _peer(rule: Rule) -> Callable[[], object] | None:
    """A step of the rule's peer on weights of its own, or None where that is not installed."""
    package, name, arguments = PEERS[rule.name]
    try:
        made = getattr(importlib.import_module(package), name)
    except ModuleNotFoundError:
        return None
    optimizer = made(Weights(RESNET).parameters(), lr=rule.hypers["lr"], **arguments)
    if package == "schedulefree":
        optimizer.train()
    return optimizer.step
