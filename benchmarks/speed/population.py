"""Many descents at once on the demo's network: a member's step beside a step alone, and what members cost.

64 learning rates of Adam descend on digits together. Beside them, a step of one descent of ours, and of a plain loop of
torch (DataLoader, Adam). They take turns. A convolution shows where a population may lose: there the choice falls on
one after another, and costs as many single runs.
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
from benchmarks.problems import networks, problems
from benchmarks.report import met, span, table
from benchmarks.speed.fresh import printed
from benchmarks.speed.loops import plain
from benchmarks.speed.memory import resident
from steepest.descent.loop import Descent
from steepest.descent.population.dispatch import run_descents
from steepest.descent.population.population import Plan, Population
from steepest.descent.settings import Settings, resolve
from steepest.tasks import load

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
    """A step of a population that is warm, and recorded."""
    made = Population(task, _settings(task, count), Plan())
    for _ in range(4):
        made.step()
    made._trace()
    return made.step


def _alone(task: sd.Task) -> Callable[[], None]:
    settings = _settings(task, 1)[0]
    descent = Descent(task, settings, task.copy(0))
    descent.model.train()
    for _ in range(4):
        descent.step()
    return lambda: [None for _ in (descent.step(),)] and None


def _plain(task: sd.Task) -> Callable[[], None]:
    x, y = task.data
    loop = plain(task.copy(0), x, y, 64, cross_entropy)
    for _ in range(4):
        next(loop)
    return lambda: next(loop)


def _in_turns(steps: dict[str, Callable[[], None]]) -> dict[str, list[float]]:
    """Seconds of a step, in each round."""
    found: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(ROUNDS):
        for name, step in steps.items():
            began = time.perf_counter()
            step()
            found[name].append(time.perf_counter() - began)
    return found


def _steps() -> list[str]:
    task = load("digits")
    seen = _in_turns({"together": _population(task, MEMBERS), "alone": _alone(task), "plain": _plain(task)})
    seen["together"] = [s / MEMBERS for s in seen["together"]]
    usual = {name: statistics.median(values) for name, values in seen.items()}
    names = {
        "together": f"a member's step, {MEMBERS} together",
        "alone": "a step of one descent",
        "plain": "a step of a plain loop of torch",
    }
    rows = [
        [words, span(usual[n]), span(min(seen[n])), f"{usual[n] / usual['plain']:.3f}"] for n, words in names.items()
    ]
    ratio, quickest = usual["together"] / usual["plain"], min(seen["together"])
    return [
        f"The demo's network, batches of 64, {MEMBERS} learning rates of Adam; medians of {ROUNDS} steps in turns. "
        "The quickest step is the nearest that a shared machine comes to a quiet one.",
        "",
        *table(["what", "time", "quickest", "÷ plain loop"], rows),
        "",
        f"Targets: ≤ 0.1 of the plain loop's step: met {met(ratio, 0.1)}; ≤ 140 µs on a quiet machine: met "
        f"{met(quickest, 140e-6)}.",
    ]


def _growth() -> list[str]:
    task = load("digits")
    seen = {n: statistics.median(v) for n, v in _in_turns({str(n): _population(task, n) for n in COUNTS}).items()}
    rows = [[count, span(s), span(s / int(count))] for count, s in seen.items()]
    first, last = seen[str(COUNTS[0])], seen[str(COUNTS[-1])]
    linear = last / first / (COUNTS[-1] / COUNTS[0])
    return [
        "What members cost.",
        "",
        *table(["members", "a step of all", "of each"], rows),
        "",
        f"From {COUNTS[0]} to {COUNTS[-1]} members the time grew {last / first:.1f} times, {linear:.2f} of linear; "
        f"target ≤ 1: met {met(linear, 1.0)}.",
    ]


WIDTH = 600
"""Of a dense network of 1.1 million weights."""
FEW, MANY = 4, 16


def wide() -> sd.Task:
    """Random data, 600-600-600-600-10."""
    random = torch.Generator().manual_seed(0)
    x, y = torch.randn(64, WIDTH, generator=random), torch.randint(0, 10, (64,), generator=random)
    build = functools.partial(networks.dense, widths=(WIDTH, WIDTH, WIDTH, WIDTH, 10))
    return sd.Task(build, (x, y), cross_entropy, validation=(x, y))


def peak(count: int) -> int:
    """Bytes that a population of so many takes at most, above what was resident before; in a fresh process."""
    task = wide()
    before = resident("VmRSS")
    made = Population(task, [resolve(task, rule="adam", lr=1e-3, batch_size=8, steps=5) for _ in range(count)], Plan())
    for _ in range(3):
        made.step()
    return resident("VmHWM") - before


def _memory() -> list[str]:
    few, many = (printed(f"from benchmarks import population; print(population.peak({n}))") for n in (FEW, MANY))
    size = sum(p.numel() for p in wide().copy(0).parameters())
    own = 4 * 4 * size  # weights, gradient, two slots of Adam, float32
    each = (many - few) / (MANY - FEW)
    return [
        f"Memory of a network of {size / 1e6:.1f} million weights with Adam, from {FEW} to {MANY} members: "
        f"{each / 2**20:.1f} MiB a member, {each / own:.2f} × weights, gradient and slots ({own / 2**20:.1f} MiB); "
        "what is above 1 are activations and what the backward pass needs at once.",
    ]


def small() -> sd.Task:
    """Digits as pictures of 8 × 8, two convolutions with BatchNorm."""
    x, y = problems.images()
    return sd.Task(networks.convolution, (x.reshape(-1, 1, 8, 8), y), cross_entropy)


def large() -> sd.Task:
    """Digits as pictures of 32 × 32, 32 and 64 channels."""
    x, y = problems.images()

    def build(seed: int) -> nn.Module:
        torch.manual_seed(seed)
        first = nn.Conv2d(1, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU()
        second = nn.Conv2d(32, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU()
        return nn.Sequential(*first, *second, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))

    return sd.Task(build, (interpolate(x.reshape(-1, 1, 8, 8), scale_factor=4), y), cross_entropy)


def _convolutions() -> list[str]:
    """All that is spent on a convolution's members, the measuring of both ways included, beside single runs."""
    rows = []
    for make, count, steps in ((small, 8, 120), (large, 4, 100)):
        task = make()
        settings = [dataclasses.replace(s, batch_size=32) for s in _settings(task, count, steps)]
        ratios = []
        for _ in range(5):
            began = time.perf_counter()
            (way,) = run_descents(task, settings).strategies
            spent = time.perf_counter() - began
            ratios.append(spent / sum(_single(task, s) for s in settings))
        ratio = statistics.median(ratios)
        rows.append([str(make.__doc__), f"{count} × {steps}", way.name, f"{ratio:.2f}", met(ratio, 1.05)])
    head = "Convolutions: all that was spent, the measuring of both ways included, ÷ single runs one after another."
    return [head, "", *table(["what", "members × steps", "the choice", "÷ single runs", "≤ 1.05"], rows)]


def _single(task: sd.Task, settings: Settings) -> float:
    """Seconds of one run, measured at its end."""
    began = time.perf_counter()
    descent = Descent(task, settings, task.copy(0))
    for _ in descent:
        pass
    descent.measure()
    return time.perf_counter() - began


if __name__ == "__main__":
    torch.set_num_threads(1)
    print("\n".join(measure()))
