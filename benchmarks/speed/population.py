"""Many descents at once on the demo's network: the time per member, its growth with their number, and memory.

On convolutions batching may lose: there the members run sequentially, at the cost of as many single runs.
"""

import dataclasses
import functools
import statistics
import time
from collections.abc import Callable

import torch
from torch import nn
from torch.nn.functional import cross_entropy, interpolate

import steepest as sd
from benchmarks.problems import networks
from benchmarks.report import check, span, table
from benchmarks.speed.fresh import run_fresh
from benchmarks.speed.loops import plain
from benchmarks.speed.memory import resident
from benchmarks.timing import clock, samples
from steepest.descent.loop import Descent
from steepest.descent.population.dispatch import run_descents
from steepest.descent.population.population import Plan, Population
from steepest.descent.settings import Settings, resolve
from steepest.tasks import load
from steepest.tasks.digits import images

TITLE = "Many descents at once"

MEMBERS = 64
ROUNDS = 240
COUNTS = (4, 8, 16, 32, 64)


def measure() -> list[str]:
    """Lines of the report."""
    return [*_steps(), "", *_growth(), "", *_memory(), "", *_convolutions()]


def _settings(task: sd.Task, count: int, steps: int = 10_000) -> list[Settings]:
    rates = [1e-4 * 10 ** (3 * k / max(1, count - 1)) for k in range(count)]
    return [resolve(task, rule="adam", lr=lr, batch_size=64, steps=steps) for lr in rates]


def _population(task: sd.Task, count: int) -> Callable[[], None]:
    """A step of a population after its first ones, as a recorded graph."""
    members = Population(task, _settings(task, count), Plan())
    for _ in range(4):
        members.step()
    members._trace()
    return members.step


def _single_step(task: sd.Task) -> Callable[[], None]:
    settings = _settings(task, 1)[0]
    descent = Descent(task, settings, task.copy(0))
    descent.model.train()
    for _ in range(4):
        descent.step()
    return lambda: descent.step() and None


def _plain(task: sd.Task) -> Callable[[], None]:
    x, y = task.data
    loop = plain(task.copy(0), x, y, 64, cross_entropy)
    for _ in range(4):
        next(loop)
    return lambda: next(loop)


def _step_times(steps: dict[str, Callable[[], None]]) -> dict[str, list[float]]:
    """Seconds of a step, in each round."""
    return samples({name: clock(step) for name, step in steps.items()}, ROUNDS)


def _steps() -> list[str]:
    task = load("digits")
    member, single, torch_loop = (
        f"a member's step, {MEMBERS} batched",
        "a step of one descent",
        "a step of a plain loop",
    )
    times = _step_times({member: _population(task, MEMBERS), single: _single_step(task), torch_loop: _plain(task)})
    times[member] = [s / MEMBERS for s in times[member]]
    middle = {name: statistics.median(values) for name, values in times.items()}
    rows = [[n, span(s), span(min(times[n])), f"{s / middle[torch_loop]:.3f}"] for n, s in middle.items()]
    ratio, minimum = middle[member] / middle[torch_loop], min(times[member])
    return [
        f"The demo's network, batches of 64, {MEMBERS} learning rates of Adam; medians of {ROUNDS} steps in turns. "
        "The minimum approximates the time on a quiet machine.",
        "",
        *table(["what", "median", "minimum", "÷ plain loop"], rows),
        "",
        f"Targets: ≤ 0.1 of the plain loop's step: met {check(ratio, 0.1)}; ≤ 140 µs on a quiet machine: met "
        f"{check(minimum, 140e-6)}.",
    ]


def _growth() -> list[str]:
    task = load("digits")
    times = _step_times({str(n): _population(task, n) for n in COUNTS})
    middle = {n: statistics.median(values) for n, values in times.items()}
    rows = [[count, span(s), span(s / int(count))] for count, s in middle.items()]
    growth = middle[str(COUNTS[-1])] / middle[str(COUNTS[0])]
    linear = growth / (COUNTS[-1] / COUNTS[0])
    return [
        "Time by number of members.",
        "",
        *table(["members", "a step of all", "per member"], rows),
        "",
        f"From {COUNTS[0]} to {COUNTS[-1]} members the time grows by a factor of {growth:.1f}, {linear:.2f} of linear "
        f"growth; target ≤ 1: met {check(linear, 1.0)}.",
    ]


WIDTH = 600
"""Of the layers of a dense network of 1.1 million weights."""
FEW, MANY = 4, 16


def wide() -> sd.Task:
    """Random data, 600-600-600-600-10."""
    random = torch.Generator().manual_seed(0)
    x, y = torch.randn(64, WIDTH, generator=random), torch.randint(0, 10, (64,), generator=random)
    build = functools.partial(networks.dense, widths=(WIDTH, WIDTH, WIDTH, WIDTH, 10))
    return sd.Task(build, (x, y), cross_entropy, validation=(x, y))


def peak(count: int) -> int:
    """Bytes at the peak of a population of `count` members, above those before it; in a fresh process."""
    task = wide()
    before = resident("VmRSS")
    settings = [resolve(task, rule="adam", lr=1e-3, batch_size=8, steps=5) for _ in range(count)]
    members = Population(task, settings, Plan())
    for _ in range(3):
        members.step()
    return resident("VmHWM") - before


def _memory() -> list[str]:
    few, many = (
        run_fresh(f"from benchmarks.speed import population; print(population.peak({n}))") for n in (FEW, MANY)
    )
    size = sum(p.numel() for p in wide().copy(0).parameters())
    own = 4 * 4 * size  # weights, gradient, two slots of Adam, float32
    each = (many - few) / (MANY - FEW)
    return [
        f"Memory of a network of {size / 1e6:.1f} million weights with Adam, from {FEW} to {MANY} members: "
        f"{each / 2**20:.1f} MiB per member, {each / own:.2f} × weights, gradient and slots ({own / 2**20:.1f} MiB); "
        "the rest are activations and temporaries of the backward pass.",
    ]


def small() -> sd.Task:
    """Digits as pictures of 8 × 8, two convolutions with BatchNorm."""
    x, y = images()
    return sd.Task(networks.convolution, (x.reshape(-1, 1, 8, 8), y), cross_entropy)


def large() -> sd.Task:
    """Digits as pictures of 32 × 32, 32 and 64 channels."""
    x, y = images()

    def build(seed: int) -> nn.Module:
        torch.manual_seed(seed)
        first = nn.Conv2d(1, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU()
        second = nn.Conv2d(32, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU()
        return nn.Sequential(*first, *second, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))

    return sd.Task(build, (interpolate(x.reshape(-1, 1, 8, 8), scale_factor=4), y), cross_entropy)


def _convolutions() -> list[str]:
    """The whole time of a convolution's members, including the choice of the strategy, against single runs."""
    rows = []
    for make, count, steps in ((small, 8, 120), (large, 4, 100)):
        task = make()
        settings = [dataclasses.replace(s, batch_size=32) for s in _settings(task, count, steps)]
        ratios = []
        for _ in range(5):
            start = time.perf_counter()
            (way,) = run_descents(task, settings).strategies
            total = time.perf_counter() - start
            ratios.append(total / sum(_single(task, s) for s in settings))
        ratio = statistics.median(ratios)
        rows.append([str(make.__doc__), f"{count} × {steps}", way.name, f"{ratio:.2f}", check(ratio, 1.05)])
    how = "Convolutions: the whole time, including the choice between batched and sequential, ÷ that of single runs."
    return [how, "", *table(["task", "members × steps", "choice", "÷ single runs", "≤ 1.05"], rows)]


def _single(task: sd.Task, settings: Settings) -> float:
    """Seconds of one run with evaluation at its end."""
    start = time.perf_counter()
    descent = Descent(task, settings, task.copy(0))
    for _ in descent:
        pass
    descent.measure()
    return time.perf_counter() - start
