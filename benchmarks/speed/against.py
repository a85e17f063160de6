"""This checkout against another one, in one run: `python -m benchmarks step --against DIR`.

Every measurement runs in fresh interpreters that take turns, one for each checkout. Only the public interface is used,
so that the other checkout may be an older version with other modules.
"""

import argparse
import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.report import span, table
from benchmarks.speed.fresh import ROOT, run_fresh

SETUP = """
import tempfile, time, torch, steepest as sd
from torch import nn
torch.manual_seed(0)
x, y = torch.randn(1293, 64), torch.randint(10, (1293,))
def build(seed):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 10))
task = sd.Task(build, (x, y), nn.functional.cross_entropy, validation=(x[:200], y[:200]), name="against")
def train(steps):
    with tempfile.TemporaryDirectory() as runs:
        sd.fit(task, rule="adamw", lr=1e-3, batch_size=64, steps=steps, locate=False, runs=runs)
def descend(steps):
    for _ in sd.descend(task, rule="adamw", lr=1e-3, batch_size=64, steps=steps):
        pass
def make_update(*widths):
    parameters = [nn.Parameter(torch.randn(n, n)) for n in widths]
    for p in parameters:
        p.grad = torch.randn_like(p)
    return sd.optim.AdamW(parameters, lr=1e-3).step
def measure_update(widths, count, threads, cold=False):
    torch.set_num_threads(threads)
    step, other = make_update(*widths), torch.randn(16_000_000)
    for _ in range(5):
        step()
    times = []
    for _ in range(count):
        if cold:
            other.mul_(1.0)  # 64 MB, larger than the caches
        start = time.perf_counter()
        step()
        times.append(time.perf_counter() - start)
    print(sorted(times)[count // 2])
def measure(call, count, warm_up):
    warm_up()
    start = time.perf_counter()
    call()
    print((time.perf_counter() - start) / count)
"""
START = "import time, torch; start = time.perf_counter(); import steepest; print(time.perf_counter() - start)"
CODES = {
    "import steepest, after torch": START,
    "a step of sd.descend": SETUP + "measure(lambda: descend(1000), 1000, lambda: descend(100))",
    "a step of sd.fit, guard and store included": SETUP + "measure(lambda: train(1000), 1000, lambda: train(100))",
    **{
        f"an update of {name}, {threads} thread{'s' * (threads > 1)}": SETUP
        + f"measure_update({widths}, {count}, {threads}, {cold})"
        for name, widths, count, cold in (
            ("26 thousand weights", [66] * 6, 3000, False),
            ("26 thousand weights, cold caches", [66] * 6, 300, True),
            ("8 million weights", [224] * 159, 60, False),
            ("124 million weights", [922] * 146, 9, False),
        )
        for threads in (1, 2)
    },
    "sd.find_lr, 100 steps": SETUP
    + "search = lambda: sd.find_lr(task, 'adam', batch_size=64, steps=100); measure(search, 1, search)",
}


def main(arguments: Sequence[str]) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks step", description=__doc__.split("\n")[0])
    parser.add_argument("--against", type=Path, required=True, metavar="DIR", help="another checkout")
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as here, tempfile.TemporaryDirectory() as there:
        caches = {ROOT: here, options.against.resolve(): there}
        rows = [_row(name, code, caches, options.rounds) for name, code in CODES.items()]
    print("\n".join(table(["measurement", "here", "there", "here ÷ there, median", "range"], rows)))


def _row(name: str, code: str, caches: dict[Path, str], rounds: int) -> list[str]:
    """Medians and paired ratios; the first round, which fills the caches, is not counted."""
    pairs = [[run_fresh(code, root, STEEPEST_CACHE=cache) for root, cache in caches.items()] for _ in range(rounds + 1)]
    here, there = zip(*pairs[1:], strict=True)
    ratios = [a / b for a, b in pairs[1:]]
    times = span(statistics.median(here)), span(statistics.median(there))
    return [name, *times, f"{statistics.median(ratios):.3f}", f"{min(ratios):.3f} to {max(ratios):.3f}"]
