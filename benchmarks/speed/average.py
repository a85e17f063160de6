"""The same update with a running average of the weights and the norms of each parameter, against separate passes.

Ours does all of it in the norm's pass and the rule's. torch's are `clip_grad_norm_`, fused AdamW, `_foreach_lerp_` into
the averages, `_foreach_norm` of the weights, and `_foreach_norm` of the updates, for which the weights must be copied
before the step and subtracted after it. The copy is once a fresh clone each step, as one would write it, and once into
buffers that are kept, which is the fastest there is.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from benchmarks.report import met, span, table
from benchmarks.speed.timing import seconds
from benchmarks.speed.update import theirs
from benchmarks.speed.weights import GPT2, Weights, copy
from steepest.rules.rule import with_average
from steepest.rules.textbook import adamw
from steepest.rules.update import Update
from steepest.tasks.space import Space

TITLE = "An update of AdamW with clipping, running average and norms of each parameter"

BETA = 0.999
BYTES = 40
"""A weight: its gradient for the norm (4), then w, m, v and average read and written (32), the gradient read (4)."""
ROUNDS = 12


def measure() -> list[str]:
    """Lines of the report."""
    module, peer = Weights(GPT2), Weights(GPT2)
    count = module.count
    sides = {
        "ours, two passes": _ours(module),
        "torch, separate passes, weights cloned": _passes(peer, _clone),
        "torch, separate passes, weights copied into kept buffers": _passes(peer, _kept(peer)),
        "copy": copy(count),
    }
    found = seconds(sides, ROUNDS)
    floor = BYTES / 8 * found.pop("copy")
    own, *theirs = found.values()
    least = min(theirs)
    how = (
        f"{count / 1e6:.0f} million weights in 146 tensors; the floor is {BYTES} bytes a weight at the bandwidth of a "
        f"copy of as many in the same run ({BYTES * count / floor / 1e9:.1f} GB/s): {span(floor)}."
    )
    rows = [[name, span(s), f"{own / s:.3f}", f"{s / floor:.2f}"] for name, s in found.items()]
    targets = [
        ["ours ÷ the faster of torch's", f"{own / least:.3f}", "≤ 0.6", met(own / least, 0.6)],
        ["ours ÷ floor", f"{own / floor:.2f}", "≤ 1", met(own / floor, 1.0)],
    ]
    lines = table(("an update of", "time", "ours ÷ it", "÷ floor"), rows)
    return [how, "", *lines, "", *table(("target", "found", "goal", "met"), targets)]


def _ours(module: nn.Module) -> Callable[[], object]:
    rule = with_average(adamw, BETA)
    update, hypers = Update(Space(module), rule), dict(rule.hypers)

    def run() -> object:
        norm = update.norm()
        update.advance(hypers, min(1.0, 1.0 / (norm + 1e-6)))
        return update.parameter_norms()

    return run


def _passes(module: nn.Module, copied: Callable[[list[Tensor]], list[Tensor]]) -> Callable[[], object]:
    """torch's passes, given how the weights are copied before the step."""
    weights = [p.detach() for p in module.parameters()]
    averages = [w.clone() for w in weights]
    step = theirs(module)

    def run() -> object:
        moved = copied(weights)
        step()
        torch._foreach_lerp_(averages, weights, 1 - BETA)
        torch._foreach_sub_(moved, weights)
        return torch.stack(torch._foreach_norm(weights)), torch.stack(torch._foreach_norm(moved))

    return run


def _clone(weights: list[Tensor]) -> list[Tensor]:
    return [w.clone() for w in weights]


def _kept(module: nn.Module) -> Callable[[list[Tensor]], list[Tensor]]:
    buffers = [torch.zeros_like(p) for p in module.parameters()]

    def copied(weights: list[Tensor]) -> list[Tensor]:
        torch._foreach_copy_(buffers, weights)
        return buffers

    return copied
