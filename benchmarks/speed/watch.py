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

BATCHES, BLOCK, LIMIT = {128: 1600, 512: 800}, 10, 1.03
"""Steps of each loop by batch size; after BLOCK steps it is the other's turn, since the machine's speed changes within
seconds. What watching costs follows from the weights, and a step's time from the batch as well."""
FIRST = 100
"""Steps before the clock begins: they make the optimizer's state, kernels and most points of the path."""
WIDTHS = (256, 1024, 1024, 10)


def measure() -> Sequence[str]:
    """The section's lines."""
    how = f"Steps of each loop in turn, {BLOCK} by {BLOCK}; the first ratio is of all of their time."
    rows = [row for batch in BATCHES for row in _rows(batch)]
    return [how, "", *table(("what", "a step alone", "watched", "ratio", "target", "met"), rows)]


def _rows(batch: int) -> list[tuple[str, ...]]:
    with tempfile.TemporaryDirectory() as folder:
        loops = [_Loop(None, batch), _Loop(folder, batch)]
        for _ in range(BATCHES[batch] // BLOCK):
            for loop in loops:
                loop.advance(BLOCK)
        alone, watched = loops
        if watched.run is not None:
            watched.run.close()
    alone_s, watched_s = (sum(loop.seconds) for loop in loops)
    pairs = sorted(b / a for a, b in zip(alone.seconds, watched.seconds, strict=True))
    size, is_equal = sum(p.numel() for p in alone.model.parameters()), torch.equal(alone.weights(), watched.weights())
    steps, ratio = BLOCK * len(pairs), watched_s / alone_s
    low, middle, high = statistics.quantiles(pairs, n=4)
    what = f"{size:,} weights, AdamW, batches of {batch}; {steps:,} steps"
    return [
        (what, span(alone_s / steps), span(watched_s / steps), f"{ratio:.3f}", f"≤ {LIMIT}", check(ratio, LIMIT)),
        (f"{BLOCK} steps ÷ the {BLOCK} beside them, median", "", "", f"{middle:.3f} ({low:.3f} to {high:.3f})", "", ""),
        ("the same weights at the end", "", "", yes(is_equal), "yes", yes(is_equal)),
    ]


class _Loop:
    """A plain training loop, watched if it has a folder for the record.

    Attributes:
        seconds: of each block of steps, without the first ones.
    """

    def __init__(self, folder: str | None, batch: int) -> None:
        torch.manual_seed(0)
        self._batch = batch
        parts = [layer for a, b in zip(WIDTHS, WIDTHS[1:], strict=False) for layer in (nn.Linear(a, b), nn.ReLU())]
        self.model, self.random = nn.Sequential(*parts[:-1]), torch.Generator().manual_seed(1)
        self.x = torch.randn(2048, WIDTHS[0], generator=self.random)
        self.y = (self.x @ torch.randn(WIDTHS[0], WIDTHS[-1], generator=self.random)).argmax(1)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-3)
        self.run = None if folder is None else sd.watch(self.model, self.optimizer, runs=folder)
        self.seconds: list[float] = []
        self._t = 0

    def advance(self, steps: int) -> None:
        """Takes steps."""
        start = time.perf_counter()
        for _ in range(steps):
            i = torch.randint(len(self.x), (self._batch,), generator=self.random)
            self.optimizer.zero_grad()
            loss = nn.functional.cross_entropy(self.model(self.x[i]), self.y[i])
            loss.backward()
            self.optimizer.step() if self.run is None else self.run.step(loss)
        self._t += steps
        if self._t > FIRST:
            self.seconds.append(time.perf_counter() - start)

    def weights(self) -> torch.Tensor:
        """All weights, as one vector."""
        return nn.utils.parameters_to_vector(self.model.parameters()).detach()
