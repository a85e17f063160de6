"""A training step of the demo's network, recorded numbers and guard included, against a bare step in a CUDA graph."""

from collections.abc import Callable, Iterator
from itertools import islice

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from benchmarks.gpu.place import Place
from benchmarks.report import check, span, table
from benchmarks.speed.loops import bare, gathered
from steepest.descent import async_loop
from steepest.descent.guard.guard import Guard
from steepest.descent.loop import Descent
from steepest.descent.settings import resolve
from steepest.tasks import load
from steepest.tasks.digits import images, network

BATCH = 64
GOAL = 1.3
WARM_UP = 64
"""Steps before the clock starts, in which functions are compiled."""


def lines(place: Place) -> list[str]:
    """Lines of the report."""
    x, y = (part[: 28 * BATCH].to(place.device) for part in images())
    graph = _graph(network(0).to(place.device), x[:BATCH], y[:BATCH])
    steps = {
        "ours, guard included": _ours(place),
        "forward and backward in a CUDA graph": graph,
        "forward and backward": _next(bare(network(0).to(place.device), x, y, BATCH)),
        "the least loop (fused AdamW)": _next(gathered(network(0).to(place.device), x, y, BATCH)),
    }
    if graph is None:
        del steps["forward and backward in a CUDA graph"]
    count = max(16, place.steps // 16 // 16 * 16)  # whole blocks of the asynchronous loop
    times = place.medians(steps, count, 5)
    base = times["forward and backward in a CUDA graph" if graph else "forward and backward"]
    rows = [[name, span(s), f"{s / base:.2f}"] for name, s in times.items()]
    goal = f"Goal: ours ≤ {GOAL} × the graph: met {check(times['ours, guard included'] / base, GOAL)}."
    return [
        f"64-128-128-10, batches of {BATCH}, Adam. The graph replays one batch; ours takes new ones.",
        "",
        *table(["step", "time", "÷ the bare step"], rows),
        "",
        goal if graph else "There is no CUDA graph on this device; the goal is not asked.",
    ]


def _ours(place: Place) -> Callable[[], object]:
    task = load("digits")
    steps = 1_000_000
    settings = resolve(
        task, rule="adam", lr=1e-3, schedule="constant", batch_size=BATCH, steps=steps, guard=Guard(),
        device=str(place.device),
    )  # fmt: skip
    descent = Descent(task, settings, task.copy(0))
    taken = async_loop.steps(descent)
    for _ in islice(taken, WARM_UP):
        pass
    return _next(taken)


def _next(steps: Iterator[object]) -> Callable[[], object]:
    return lambda: next(steps)


def _graph(net: nn.Module, x: Tensor, y: Tensor) -> Callable[[], object] | None:
    """A forward and backward pass as a CUDA graph; None on another device."""
    if x.device.type != "cuda":
        return None
    parameters = list(net.parameters())

    def run() -> None:
        for p in parameters:
            p.grad = None
        cross_entropy(net(x), y).backward()

    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            run()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        run()
    return graph.replay
