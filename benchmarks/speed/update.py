"""An AdamW update with clipping: ours against torch's fused AdamW after `clip_grad_norm_`.

Ours refreshes all addresses in every call, as in training. The rows differ in what the caches hold.
"""

from collections.abc import Callable

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from benchmarks.report import check, span, table
from benchmarks.speed.weights import GPT2, RESNET, Weights
from benchmarks.timing import seconds
from steepest.rules.rule import Rule
from steepest.rules.textbook import adamw
from steepest.rules.update import Update
from steepest.tasks.digits import images, network
from steepest.tasks.space import Space

TITLE = "An AdamW update with clipping"

HEADER = ("weights", "caches", "ours", "torch fused + clip", "ours ÷ theirs", "target", "met")
MAX_SECONDS, MAX_RATIO = 25e-6, 0.125
"""Targets for the small network: one of them is enough."""


def measure() -> list[str]:
    """Lines of the report."""
    how = (
        "Norm, clip and rule, with fresh addresses. Caches: *hot*, right after the same update; *cold*, right after a "
        "forward and backward pass of the same network (64-128-128-10, batch 64), gradients new; *evicted*, after "
        "64 MB were written; *beyond*, larger than caches."
    )
    rows = [_small("hot", 2000), _small("cold", 2000), _small("evicted", 200)]
    rows += [_large("8 million in 159", RESNET, 60, 0.5), _large("124 million in 146", GPT2, 15, 0.7)]
    return [how, "", *table(HEADER, rows)]


def _small(caches: str, rounds: int) -> list[str]:
    """A row for the demo's network."""
    networks = {"ours": network(0), "theirs": network(0)}
    passes = {name: backward(net) for name, net in networks.items()}
    for run in passes.values():
        run()
    contenders = {"ours": ours(networks["ours"]), "theirs": theirs(networks["theirs"])}
    trash = torch.zeros(16 << 20)
    before = {"hot": contenders, "cold": passes, "evicted": dict.fromkeys(contenders, lambda: trash.add_(1.0))}
    a, b = seconds(contenders, rounds, before[caches]).values()
    ratio = min(a / MAX_SECONDS, a / b / MAX_RATIO)
    words = f"≤ {span(MAX_SECONDS)}, or ≤ {MAX_RATIO} ×"
    target = ["", ""] if caches == "evicted" else [words, check(ratio, 1.0)]
    return ["26 thousand in 6", caches, span(a), span(b), f"{a / b:.3f}", *target]


def _large(name: str, shapes: list[tuple[int, ...]], rounds: int, limit: float) -> list[str]:
    """A row for weights larger than the caches."""
    a, b = seconds({"ours": ours(Weights(shapes)), "theirs": theirs(Weights(shapes))}, rounds).values()
    return [name, "beyond", span(a), span(b), f"{a / b:.3f}", f"≤ {limit} ×", check(a / b, limit)]


def backward(net: nn.Module) -> Callable[[], None]:
    """A forward and backward pass on 64 digits that leaves new gradients in the network's parameters."""
    x, y = (part[:64] for part in images())
    parameters = list(net.parameters())

    def run() -> None:
        for p in parameters:
            p.grad = None
        cross_entropy(net(x), y).backward()

    return run


def ours(module: nn.Module, rule: Rule = adamw) -> Callable[[], None]:
    """Norm, clip and rule."""
    update, hypers = Update(Space(module), rule), dict(rule.hypers)

    def run() -> None:
        norm = update.norm()
        update.advance(hypers, min(1.0, 1.0 / (norm + 1e-6)))

    return run


def theirs(module: nn.Module) -> Callable[[], None]:
    """torch's fastest: a pass for the norm, one that scales, a fused one."""
    parameters = list(module.parameters())
    optimizer = torch.optim.AdamW(parameters, lr=1e-3, fused=True)

    def run() -> None:
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()

    return run
