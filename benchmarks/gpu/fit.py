"""Whole runs of `sd.fit` on the device, whose losses are those of a CPU to rounding."""

import tempfile

import numpy as np
import torch

import steepest as sd
from benchmarks.gpu.place import Place
from benchmarks.report import check, table
from steepest.tasks import load

TOLERANCE = 1e-3
EARLY = 100
"""Steps within which rounding has not grown: a training is chaotic."""


def lines(place: Place) -> list[str]:
    """Lines of the report."""
    torch.backends.cuda.matmul.allow_tf32 = False
    steps = max(place.steps, 2 * EARLY) if place.is_large else place.steps
    own, other = (_run(device, steps) for device in (str(place.device), "cpu"))
    gap = np.abs(own.losses[:EARLY] - other.losses[:EARLY]) / np.abs(other.losses[:EARLY])
    rows = [
        [device, f"{run.losses[-1]:.4f}", f"{run.metric:.2%}", str(len(run.events))]
        for device, run in ((str(place.device), own), ("cpu", other))
    ]
    return [
        f"The digits, {steps:,} steps of AdamW with clip and average, guard on; the same seed.",
        "",
        *table(["device", "last training loss", "validation accuracy", "events"], rows),
        "",
        f"Largest relative difference of the losses in the first {len(gap)} steps: {gap.max():.1e}; at most "
        f"{TOLERANCE:g}: {check(float(gap.max()), TOLERANCE)}.",
    ]


def _run(device: str, steps: int) -> sd.Run:
    return sd.fit(
        load("digits"), rule="adamw", lr=1e-3, batch_size=64, steps=steps, clip=1.0, average=0.99, device=device,
        locate=False, runs=tempfile.mkdtemp(),
    )  # fmt: skip
