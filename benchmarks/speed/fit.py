"""Whole calls of `sd.fit`, beside the least loop and a usual one that do as many epochs.

A step is (time of 180 epochs − time of 30) ÷ steps between them: what happens once cancels. The guard, evaluation of
64 samples after each epoch, the record and stored points are in it. The look at the end is a run with `locate` less one
without.
"""

import gc
import statistics
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
from benchmarks.timing import samples
from steepest.tasks.digits import network

TITLE = "Whole calls of sd.fit"

SAMPLES, BATCH, VALIDATION = 1792, 64, 64
STEPS_PER_EPOCH = SAMPLES // BATCH
SHORT, LONG, WHOLE = 30, 180, 60
"""Epochs of the two runs whose difference is a step, and of the runs that are compared as a whole."""
ROUNDS = 11
STEP_LIMIT, WHOLE_LIMIT = 1.15, 0.35
LOOK_SHARE, LOOK_S = 0.1, 1.0
"""The look at the end takes at most this share of the run, or so many seconds."""


def measure() -> list[str]:
    """Lines of the report."""
    _fit(2), _loop(2), _loop(2, plain)
    step = {"fit": lambda: _step(_fit), "least": lambda: _step(_loop)}
    ours, least, step_ratios = _compare(*samples(step, ROUNDS).values())
    run = {"fit": lambda: _fit(WHOLE), "plain": lambda: _loop(WHOLE, plain)}
    whole, plain_s, whole_ratios = _compare(*samples(run, ROUNDS).values())
    ends = samples({"with": lambda: _fit(WHOLE, locate=True), "without": lambda: _fit(WHOLE)}, ROUNDS)
    look = statistics.median(a - b for a, b in zip(*ends.values(), strict=True))
    most = max(LOOK_SHARE * whole, LOOK_S)
    rows = [
        ["a step of `fit` ÷ one of the least loop", f"{1e6 * ours:.0f} ÷ {1e6 * least:.0f} µs", *_shown(step_ratios),
         f"≤ {STEP_LIMIT}", check(statistics.median(step_ratios), STEP_LIMIT)],
        ["`fit`, 60 epochs ÷ a plain loop", f"{whole:.2f} ÷ {plain_s:.2f} s", *_shown(whole_ratios),
         f"≤ {WHOLE_LIMIT}", check(statistics.median(whole_ratios), WHOLE_LIMIT)],
        ["the look at the end", f"{look:.2f} s", f"{100 * look / whole:.0f} %", "", f"≤ {most:.2f} s",
         check(look, most)],
    ]  # fmt: skip
    how = (
        f"{SAMPLES:,} × 64 inputs, network 64-128-128-10, batches of {BATCH}, Adam; {VALIDATION} samples are measured "
        "after each epoch. `fit` and the least loop gather once an epoch. The plain loop: DataLoader, Adam, schedule, "
        f"clipping, log. Medians of {ROUNDS} rounds; a ratio is of two that ran one after the other, since the "
        "machine's speed changes within minutes."
    )
    return [how, "", *table(("what", "measured", "ratio", "quartiles", "target", "met"), rows)]


def _compare(ours: list[float], other: list[float]) -> tuple[float, float, list[float]]:
    """Both medians, and the ratio of each round."""
    return statistics.median(ours), statistics.median(other), [a / b for a, b in zip(ours, other, strict=True)]


def _shown(ratios: list[float]) -> tuple[str, str]:
    """The median and the quartiles of ratios, as cells."""
    low, middle, high = statistics.quantiles(ratios, n=4)
    return f"{middle:.2f}", f"{low:.2f} to {high:.2f}"


def _step(run: Callable[[int], float]) -> float:
    """Seconds of a step: of a long run without those of a short one."""
    return (run(LONG) - run(SHORT)) / ((LONG - SHORT) * STEPS_PER_EPOCH)


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
