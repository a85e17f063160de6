"""Searches and races on a local Ray cluster of one node, and of two with a processor each, beside this process."""

import statistics
import time
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import nn
from torch.nn.functional import cross_entropy

import steepest as sd
from benchmarks.report import ABSENT, span, table
from steepest.tasks.digits import images

TITLE = "On a Ray cluster"
ROUNDS = 3
SEEDS = 4


def convolutions(seed: int) -> nn.Module:
    """A network whose step takes about 20 ms on one processor."""
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, 32, 3, padding=1), nn.ReLU(), nn.Flatten(),
        nn.Linear(32 * 64, 10),
    )  # fmt: skip


def dense(seed: int) -> nn.Module:
    """A small network, whose descents are batched."""
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10))


def tasks() -> dict[str, sd.Task]:
    """By the network's name."""
    x, y = images()
    x = x.reshape(-1, 1, 8, 8)
    return {
        name: sd.Task(net, (x[:1400], y[:1400]), cross_entropy, validation=(x[1400:], y[1400:]))
        for name, net in (("dense", dense), ("convolutions", convolutions))
    }


def cases() -> dict[str, Callable[[str | None], object]]:
    """What is measured, by its name: a function of where it runs, which returns what has to be the same."""
    by_name = tasks()

    def search(task: sd.Task, on: str | None) -> object:
        return replace(sd.find_lr(task, "adam", batch_size=64, epochs=6, on=on).record, seconds=0.0, paths=())

    def race(task: sd.Task, on: str | None) -> object:
        found = sd.race(task, ["adam", "momentum"], SEEDS, batch_size=64, epochs=3, on=on)
        return [(c.lr, c.loss.tolist()) for c in found.curves]

    return {
        **{f"find_lr, {name}": lambda on, task=task: search(task, on) for name, task in by_name.items()},
        **{f"race of 2 × {SEEDS}, {name}": lambda on, task=task: race(task, on) for name, task in by_name.items()},
    }


def measure() -> list[str]:
    """Lines of the report."""
    try:
        import ray
        from ray.cluster_utils import Cluster
    except ImportError:
        return [f"ray is {ABSENT}."]
    torch.set_num_threads(1)
    start = time.perf_counter()
    nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    ray.init(address=nodes.address, log_to_driver=False)
    begin_s = time.perf_counter() - start
    first_s, call_s = _calls()
    times: dict[str, dict[str, list[float]]] = {name: {"here": [], "one": [], "two": []} for name in cases()}
    same = dict.fromkeys(times, True)
    for count in ("one", "two"):
        if count == "two":
            nodes.add_node(num_cpus=1)
            _calls()
        for name, run in cases().items():
            for _ in range(ROUNDS):
                results = [_timed(run, on, times[name][where]) for on, where in ((None, "here"), ("ray", count))]
                same[name] &= results[0] == results[1]
    ray.shutdown()
    nodes.shutdown()
    rows = []
    for name, by in times.items():
        here, one, two = (statistics.median(by[where]) for where in ("here", "one", "two"))
        numbers = "bit for bit" if same[name] else "no"
        rows.append([name, span(here), span(one), f"{one / here:.2f}", span(two), f"{two / here:.2f}", numbers])
    head = ["", "this process", "one node", "ratio", "two nodes", "ratio", "the same numbers"]
    words = (
        f"To start a local cluster took {span(begin_s)}, its first call {span(first_s)}, since a process of the node "
    )
    words += f"imports torch and Steepest, and a later call that does nothing {span(call_s)}."
    return [*table(head, rows), "", f"Medians of {ROUNDS}; this process has one thread, a node one processor. {words}"]


def nothing(task: sd.Task, report: Callable[[int], None]) -> None:
    """A call that does nothing."""


def _calls() -> tuple[float, float]:
    """Seconds of the first call, after which all nodes have a process, and of a later one."""
    from steepest.distributed.cluster import cluster_of

    task, cluster = tasks()["dense"], cluster_of("ray")
    assert cluster is not None
    times: list[float] = []
    for count in (2, *[1] * 20):
        start = time.perf_counter()
        cluster.run(nothing, task, [()] * count)
        times.append(time.perf_counter() - start)
    return times[0], statistics.median(times[1:])


def _timed(run: Callable[[str | None], object], on: str | None, times: list[float]) -> object:
    start = time.perf_counter()
    result = run(on)
    times.append(time.perf_counter() - start)
    return result
