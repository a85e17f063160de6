"""An AdamW update of weights in bfloat16, with clipping: ours with master weights, and the usual loop around torch's.

The usual loop keeps float32 masters of its own: gradients are cast, clipped by `clip_grad_norm_`, torch's fused AdamW
steps the masters, and these are copied to the weights. Where `deepspeed` can be imported, its DeepSpeedCPUAdam takes
the place of torch's in a third loop; it compiles when it is first made, which needs g++ and ninja.
"""

import statistics
from collections.abc import Callable

import torch
from torch import nn

import steepest as sd
from benchmarks.report import check, span, table
from benchmarks.speed.weights import GPT2, RESNET, Weights
from benchmarks.timing import clock, samples

TITLE = "An AdamW update of weights in bfloat16"

HEADER = ("weights", "ours", "usual loop", "ratio", "quartiles", "target", "met", "DeepSpeedCPUAdam", "ratio")
LIMIT, CLIP = 0.7, 1.0
SIZES = {"8 million in 159": (RESNET, 40), "124 million in 146": (GPT2, 15)}
"""Shapes and rounds."""


def measure() -> list[str]:
    """Lines of the report."""
    how = (
        "Ours: `sd.optim.clip_grad_norm_` on gradients in bfloat16, and a step of `sd.optim.AdamW(..., "
        "master_weights=True)`. The usual loop: gradients cast to float32, torch's `clip_grad_norm_`, fused AdamW on "
        "float32 masters, copied back. A ratio is of two updates that ran one after the other; medians. The second "
        "rows are without clipping."
    )
    rows = [row for name in SIZES for row in _rows(name)]
    return [how, "", *table(HEADER, rows)]


def _rows(name: str) -> list[list[str]]:
    shapes, rounds = SIZES[name]
    rows = []
    for clip in (CLIP, None):
        contenders = {"ours": clock(ours(shapes, clip)), "usual": clock(usual(shapes, clip, _fused))}
        if (make := _deepspeed()) is not None:
            contenders["DeepSpeed"] = clock(usual(shapes, clip, make))
        samples(contenders, 2)
        a, b, *others = samples(contenders, rounds).values()
        ratios = [x / y for x, y in zip(a, b, strict=True)]
        low, middle, high = statistics.quantiles(ratios, n=4)
        target = [f"≤ {LIMIT} ×", check(middle, LIMIT)] if clip else ["", ""]
        words = [span(statistics.median(a)), span(statistics.median(b)), f"{middle:.3f}", f"{low:.2f} to {high:.2f}"]
        peer = [cell for c in others for cell in (span(statistics.median(c)), f"{_ratio(a, c):.3f}")]
        rows.append([name if clip else "the same, not clipped", *words, *target, *(peer or ["not installed", ""])])
    return rows


def _ratio(a: list[float], b: list[float]) -> float:
    return statistics.median(x / y for x, y in zip(a, b, strict=True))


def _fused(masters: list[nn.Parameter]) -> torch.optim.Optimizer:
    return torch.optim.AdamW(masters, lr=1e-3, fused=True)


def _deepspeed() -> Callable[[list[nn.Parameter]], torch.optim.Optimizer] | None:
    """What makes DeepSpeed's optimizer; None where it is not installed."""
    try:
        from deepspeed.ops.adam import DeepSpeedCPUAdam  # pyright: ignore[reportMissingImports]
    except ImportError:
        return None
    return lambda masters: DeepSpeedCPUAdam(masters, lr=1e-3, weight_decay=0.01)


def ours(shapes: list[tuple[int, ...]], clip: float | None, **options: bool) -> Callable[[], None]:
    """An update by one kernel."""
    parameters = _parameters(shapes)
    optimizer = sd.optim.AdamW(parameters, lr=1e-3, master_weights=True, **options)

    def run() -> None:
        if clip:
            sd.optim.clip_grad_norm_(parameters, clip)
        optimizer.step()

    return run


def usual(
    shapes: list[tuple[int, ...]], clip: float | None, make: Callable[[list[nn.Parameter]], torch.optim.Optimizer]
) -> Callable[[], None]:
    """An update of float32 masters by another optimizer."""
    parameters = _parameters(shapes)
    masters = [nn.Parameter(p.detach().float()) for p in parameters]
    for m in masters:
        m.grad = torch.zeros_like(m)
    optimizer = make(masters)

    @torch.no_grad()
    def run() -> None:
        for p, m in zip(parameters, masters, strict=True):
            m.grad.copy_(p.grad)
        if clip:
            nn.utils.clip_grad_norm_(masters, clip)
        optimizer.step()
        for p, m in zip(parameters, masters, strict=True):
            p.copy_(m)

    return run


def _parameters(shapes: list[tuple[int, ...]]) -> list[nn.Parameter]:
    parameters = []
    for p in Weights(shapes).all:
        new = nn.Parameter(p.detach().bfloat16())
        new.grad = p.grad.bfloat16()
        parameters.append(new)
    return parameters
