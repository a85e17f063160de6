"""An AdamW update with a running average of the weights and the norms of each parameter, against separate passes.

Ours does it all in the pass for the norm and the pass of the rule. torch's passes are `clip_grad_norm_`, fused AdamW,
`_foreach_lerp_` into the averages, `_foreach_norm` of the weights, and `_foreach_norm` of the updates, for which the
weights are copied before the step and subtracted after it.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from benchmarks.report import check, span, table
from benchmarks.speed.update import theirs
from benchmarks.speed.weights import GPT2, Weights, copy
from benchmarks.timing import seconds
from steepest.rules.rule import with_average
from steepest.rules.textbook import adamw
from steepest.rules.update import Update
from steepest.tasks.space import Space

TITLE = "An AdamW update with clipping, running average and norms of each parameter"

BETA = 0.999
BYTES = 40
"""Per weight: its gradient for the norm (4), w, m, v and average read and written (32), the gradient again (4)."""
ROUNDS = 12


def measure() -> list[str]:
    """Lines of the report."""
    module, peer = Weights(GPT2), Weights(GPT2)
    count = module.count
    contenders = {
        "ours, two passes": _ours(module),
        "torch, separate passes, weights cloned": passes(peer, _clone),
        "torch, separate passes, weights copied into buffers": passes(peer, buffer_copy(peer)),
        "copy": copy(count),
    }
    times = seconds(contenders, ROUNDS)
    floor = BYTES / 8 * times.pop("copy")
    own, *others = times.values()
    best = min(others)
    how = (
        f"{count / 1e6:.0f} million weights in 146 tensors. The floor is {BYTES} bytes per weight at the bandwidth of "
        f"a copy of as many weights in the same run ({BYTES * count / floor / 1e9:.1f} GB/s): {span(floor)}."
    )
    rows = [[name, span(s), f"{own / s:.3f}", f"{s / floor:.2f}"] for name, s in times.items()]
    targets = [
        ["ours ÷ the faster of torch's", f"{own / best:.3f}", "≤ 0.6", check(own / best, 0.6)],
        ["ours ÷ floor", f"{own / floor:.2f}", "≤ 1", check(own / floor, 1.0)],
    ]
    lines = table(("update", "time", "ours ÷ it", "÷ floor"), rows)
    return [how, "", *lines, "", *table(("ratio", "value", "target", "met"), targets)]


def _ours(module: nn.Module) -> Callable[[], object]:
    rule = with_average(adamw, BETA)
    update, hypers = Update(Space(module), rule), dict(rule.hypers)

    def run() -> object:
        norm = update.norm()
        update.advance(hypers, min(1.0, 1.0 / (norm + 1e-6)))
        return update.parameter_norms()

    return run


def passes(module: nn.Module, save: Callable[[list[Tensor]], list[Tensor]]) -> Callable[[], object]:
    """torch's passes; `save` copies the weights before the step."""
    weights = [p.detach() for p in module.parameters()]
    averages = [w.clone() for w in weights]
    step = theirs(module)

    def run() -> object:
        updates = save(weights)
        step()
        torch._foreach_lerp_(averages, weights, 1 - BETA)
        torch._foreach_sub_(updates, weights)
        return torch.stack(torch._foreach_norm(weights)), torch.stack(torch._foreach_norm(updates))

    return run


def _clone(weights: list[Tensor]) -> list[Tensor]:
    return [w.clone() for w in weights]


def buffer_copy(module: nn.Module) -> Callable[[list[Tensor]], list[Tensor]]:
    buffers = [torch.zeros_like(p) for p in module.parameters()]

    def save(weights: list[Tensor]) -> list[Tensor]:
        torch._foreach_copy_(buffers, weights)
        return buffers

    return save
