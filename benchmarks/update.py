"""One update of AdamW with clipping: ours against torch's fused AdamW after `clip_grad_norm_`."""

import torch
from torch import nn

from benchmarks.timing import medians
from steepest.rules import adamw
from steepest.space import Space
from steepest.update import Update

SHAPES = {
    "26 thousand in 6": [(128, 64), (128,), (128, 128), (128,), (10, 128), (10,)],
    "8 million in 159": [(128, 128, 3, 3), (128,), (128,)] * 53,
    "124 million in 146": [(50257, 768), (1024, 768)]
    + [
        (768,),
        (768,),
        (2304, 768),
        (2304,),
        (768, 768),
        (768,),
        (768,),
        (768,),
        (3072, 768),
        (3072,),
        (768, 3072),
        (768,),
    ]
    * 12,
}


class Weights(nn.Module):
    """Parameters of given shapes, with gradients."""

    def __init__(self, shapes: list[tuple[int, ...]]) -> None:
        super().__init__()
        self.all = nn.ParameterList([nn.Parameter(torch.randn(s) * 0.02) for s in shapes])
        for p in self.all:
            p.grad = torch.randn_like(p) * 1e-3


def measure() -> list[str]:
    """Lines of the report."""
    lines = ["| weights | caches | ours | torch fused + clip | ours ÷ theirs |", "|---|---|---|---|---|"]
    for name, shapes in SHAPES.items():
        for cold in (0, 64 << 20) if name.startswith("26") else (0,):
            ours, theirs = Weights(shapes), Weights(shapes)
            rounds = {"26": 2000, "8 ": 60, "12": 8}[name[:2]]
            if cold:
                rounds = 200
            found = medians({"ours": _ours(ours), "theirs": _theirs(theirs)}, rounds, cold_bytes=cold)
            a, b = (1e6 * found[k] for k in ("ours", "theirs"))
            lines.append(f"| {name} | {'cold' if cold else 'hot'} | {a:,.1f} µs | {b:,.1f} µs | {a / b:.3f} |")
    return lines


def _ours(module: nn.Module):
    update, hypers = Update(Space(module), adamw), dict(adamw.hypers)

    def step():
        norm = update.norm()
        update.advance(hypers, min(1.0, 1.0 / (norm + 1e-6)))

    return step


def _theirs(module: nn.Module):
    parameters = list(module.parameters())
    optimizer = torch.optim.AdamW(parameters, lr=1e-3, fused=True)

    def step():
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()

    return step
