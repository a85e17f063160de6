"""A step of a plain PyTorch loop, watched and alone, in turn; and how it ends."""

import statistics
import tempfile
import time
from collections.abc import Sequence

import torch
from torch import nn

import steepest as sd
from benchmarks.report import check, span, table, yes

TITLE = "A watched loop"

STEPS, FIRST, PAIRS, LIMIT = 500, 100, 9, 1.03
WIDTHS = (256, 1024, 1024, 10)


def measure() -> Sequence[str]:
    """The section's lines."""
    pairs = [(_train(False), _train(True)) for _ in range(PAIRS)]
    ratios = sorted(watched[0] / alone[0] for alone, watched in pairs)
    ratio, size = statistics.median(ratios), sum(p.numel() for p in _network().parameters())
    alone, watched = (statistics.median(pair[i][0] for pair in pairs) for i in (0, 1))
    is_equal = all(torch.equal(a[1], b[1]) for a, b in pairs)
    least = min(pair[1][0] for pair in pairs) / min(pair[0][0] for pair in pairs)
    rows = [
        (f"{size:,} weights, AdamW, batches of 128", span(alone), span(watched),
         f"{ratio:.3f} ({ratios[0]:.3f} to {ratios[-1]:.3f})", f"≤ {LIMIT}", check(ratio, LIMIT)),
        ("the same, least times", "", "", f"{least:.3f}", "", ""),
        ("the same weights at the end", "", "", yes(is_equal), "yes", yes(is_equal)),
    ]  # fmt: skip
    return table(("what", "a step alone", "watched", f"ratio of {PAIRS} pairs", "target", "met"), rows)


def _network() -> nn.Sequential:
    torch.manual_seed(0)
    parts = [layer for a, b in zip(WIDTHS, WIDTHS[1:], strict=False) for layer in (nn.Linear(a, b), nn.ReLU())]
    return nn.Sequential(*parts[:-1])


def _train(is_watched: bool) -> tuple[float, torch.Tensor]:
    """Seconds of a step, and the weights at the end."""
    model, random = _network(), torch.Generator().manual_seed(1)
    x = torch.randn(2048, WIDTHS[0], generator=random)
    y = (x @ torch.randn(WIDTHS[0], WIDTHS[-1], generator=random)).argmax(1)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    with tempfile.TemporaryDirectory() as folder:
        run = sd.watch(model, optimizer, runs=folder) if is_watched else None
        start = 0.0
        for t in range(STEPS):
            if t == FIRST:  # without the steps that make the optimizer's state and most points of the path
                start = time.perf_counter()
            i = torch.randint(len(x), (128,), generator=random)
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(x[i]), y[i])
            loss.backward()
            optimizer.step() if run is None else run.step(loss)
        seconds = (time.perf_counter() - start) / (STEPS - FIRST)
        if run is not None:
            run.close()
    return seconds, nn.utils.parameters_to_vector(model.parameters()).detach()
