"""Whole calls of `sd.fit`, beside the least loop and a usual one that do as many epochs.

A step is (time of 180 epochs − time of 30) ÷ steps between them: what happens once cancels. The guard, evaluation of
64 samples after each epoch, the record and stored points are in it. The look at the end is a run with `locate` less one
without.
"""

import gc
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import islice

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

import steepest as sd
from benchmarks.report import check, table
from benchmarks.speed.loops import gathered, plain
from benchmarks.timing import medians
from steepest.tasks.digits import network

TITLE = "Whole calls of sd.fit"

SAMPLES, BATCH, VALIDATION = 1792, 64, 64
STEPS_PER_EPOCH = SAMPLES // BATCH
SHORT, LONG, WHOLE = 30, 180, 60
"""Epochs of the two runs whose difference is a step, and of the runs that are compared as a whole."""
ROUNDS = 7
STEP_LIMIT, WHOLE_LIMIT = 1.15, 0.35
LOOK_SHARE, LOOK_S = 0.1, 1.0
"""The look at the end takes at most this share of the run, or so many seconds."""


def measure() -> list[str]:
    """Lines of the report."""
    _fit(2), _loop(2), _loop(2, plain)
    contenders = {
        "fit, 30 epochs": lambda: _fit(SHORT),
        "fit, 180 epochs": lambda: _fit(LONG),
        "least loop, 30 epochs": lambda: _loop(SHORT),
        "least loop, 180 epochs": lambda: _loop(LONG),
        "fit, 60 epochs": lambda: _fit(WHOLE),
        "fit, 60 epochs, with the look at the end": lambda: _fit(WHOLE, locate=True),
        "plain loop, 60 epochs": lambda: _loop(WHOLE, plain),
    }
    t = medians(contenders, ROUNDS)
    steps = (LONG - SHORT) * STEPS_PER_EPOCH
    ours, least = ((t[f"{name}, 180 epochs"] - t[f"{name}, 30 epochs"]) / steps for name in ("fit", "least loop"))
    whole, plain_s = t["fit, 60 epochs"], t["plain loop, 60 epochs"]
    look = t["fit, 60 epochs, with the look at the end"] - whole
    most = max(LOOK_SHARE * whole, LOOK_S)
    rows = [
        ["a step of `fit` ÷ one of the least loop", f"{1e6 * ours:.0f} ÷ {1e6 * least:.0f} µs", f"{ours / least:.2f}",
         f"≤ {STEP_LIMIT}", check(ours / least, STEP_LIMIT)],
        ["`fit`, 60 epochs ÷ a plain loop", f"{whole:.2f} ÷ {plain_s:.2f} s", f"{whole / plain_s:.2f}",
         f"≤ {WHOLE_LIMIT}", check(whole / plain_s, WHOLE_LIMIT)],
        ["the look at the end", f"{look:.2f} s", f"{100 * look / whole:.0f} %", f"≤ {most:.2f} s", check(look, most)],
    ]  # fmt: skip
    how = (
        f"{SAMPLES:,} × 64 inputs, network 64-128-128-10, batches of {BATCH}, Adam; {VALIDATION} samples are measured "
        "after each epoch. `fit` and the least loop gather once an epoch. The plain loop: DataLoader, Adam, schedule, "
        f"clipping, log. Medians of {ROUNDS} rounds in which all take turns."
    )
    return [how, "", *table(("what", "measured", "ratio", "target", "met"), rows)]


def _data() -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(0)
    return torch.randn(SAMPLES, 64, generator=random), torch.randint(10, (SAMPLES,), generator=random)


def _fit(epochs: int, locate: bool = False) -> float:
    gc.collect()
    x, y = _data()
    with tempfile.TemporaryDirectory() as runs:
        task = sd.Task(network(0), (x, y), cross_entropy, validation=(x[:VALIDATION], y[:VALIDATION]))
        start = time.perf_counter()
        sd.fit(task, "adam", 1e-3, batch_size=BATCH, epochs=epochs, locate=locate, runs=runs)
        return time.perf_counter() - start


def _loop(epochs: int, loop: Callable[..., Iterator[None]] = gathered) -> float:
    gc.collect()
    x, y = _data()
    net, start = network(0), time.perf_counter()
    for _ in islice(loop(net, x, y, BATCH), epochs * STEPS_PER_EPOCH):
        pass
    return time.perf_counter() - start
