"""The most memory that training a model of 124 million weights takes: `sd.fit` against the least loop.

Each side trains in a process of its own, and what counts is how far the most that it ever had resident (`VmHWM`) lies
above what was resident before the model was made (`VmRSS`); Linux says both. So weights, gradients, slots, activations
and, of `sd.fit`, the writing of the end are in it. The task's model is a function of the seed: of a module the task
would remember the start, which is asked for and not counted.
"""

import itertools
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import steepest as sd
from benchmarks.report import met, table
from benchmarks.speed.fresh import printed
from benchmarks.speed.loops import least
from benchmarks.speed.timing import medians

TITLE = "Memory of training 124 million weights"

STEPS, BATCH, WIDTH, CLASSES = 3, 2, 768, 50257
ROUNDS = 3
LIMIT = 1.05
LEAST = "least loop (flat weights, fused AdamW)"
SIDES = {LEAST: "train_least", "torch.optim.AdamW, fused": "train_torch", "sd.fit": "train"}


def measure() -> list[str]:
    """Lines of the report."""
    code = "from benchmarks import memory; print(memory.growth(memory.{}))"
    sides = {name: lambda side=side: printed(code.format(side)) for name, side in SIDES.items()}
    found = medians(sides, ROUNDS)
    floor, own = found[LEAST], found["sd.fit"]
    rows = [[name, f"{size / 2**20:,.0f} MiB", f"{size / floor:.3f}", "", ""] for name, size in found.items()]
    rows[-1][-2:] = [f"≤ {LIMIT} × least loop", met(own / floor, LIMIT)]
    how = (
        f"Most resident memory above what was resident before the model was made; {STEPS} steps of AdamW, batches of "
        f"{BATCH}, each in a process of its own, median of {ROUNDS}."
    )
    return [how, "", *table(("training with", "memory", "÷ least loop", "target", "met"), rows)]


class Block(nn.Module):
    """The linear maps of a block of GPT-2 small, on one token."""

    def __init__(self) -> None:
        super().__init__()
        self.attention, self.projection = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.up, self.down = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.projection(sum(self.attention(x).chunk(3, -1)))
        return x + self.down(self.up(x).relu())


def model(seed: int) -> nn.Module:
    """Twelve blocks and the map to GPT-2's vocabulary: 124 million weights."""
    torch.manual_seed(seed)
    return nn.Sequential(*[Block() for _ in range(12)], nn.Linear(WIDTH, CLASSES, bias=False))


def growth(trained: Callable[[Tensor, Tensor], None]) -> float:
    """Bytes that a training adds to this process at most."""
    x, y = torch.randn(8, WIDTH), torch.randint(CLASSES, (8,))
    before = resident("VmRSS")
    trained(x, y)
    return resident("VmHWM") - before


def resident(what: str) -> float:
    """Bytes: VmRSS are resident now, VmHWM were at most so far."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * float(next(line for line in lines if line.startswith(what)).split()[1])


def train(x: Tensor, y: Tensor) -> None:
    task = sd.Task(model, data=(x, y), loss=cross_entropy, validation=(x, y), name="memory")
    with tempfile.TemporaryDirectory() as runs:
        sd.fit(task, rule="adamw", batch_size=BATCH, steps=STEPS, guard=False, locate=False, runs=runs)


def train_least(x: Tensor, y: Tensor) -> None:
    for _ in itertools.islice(least(model(0), x, y, BATCH), STEPS):
        pass


def train_torch(x: Tensor, y: Tensor) -> None:
    net = model(0)
    optimizer = torch.optim.AdamW(net.parameters(), fused=True)
    for chosen in torch.arange(len(x)).split(BATCH)[:STEPS]:
        optimizer.zero_grad()
        cross_entropy(net(x[chosen]), y[chosen]).backward()
        optimizer.step()
