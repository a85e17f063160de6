"""The peak memory of training a model of 124 million weights: `sd.fit` against the minimal loop.

Linux reports the peak resident memory (`VmHWM`) and the resident memory before the model was made (`VmRSS`). The task's
model is a function of the seed; of a module the task would also store the initial weights.
"""

import itertools
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import steepest as sd
from benchmarks.report import check, table
from benchmarks.speed.fresh import run_fresh
from benchmarks.speed.loops import minimal
from benchmarks.timing import medians

TITLE = "Memory of training 124 million weights"

STEPS, BATCH, WIDTH, CLASSES = 3, 2, 768, 50257
ROUNDS = 3
LIMIT = 1.05
MINIMAL = "minimal loop (weights in one vector, fused AdamW)"
CONTENDERS = {MINIMAL: "train_minimal", "torch.optim.AdamW, fused": "train_torch", "sd.fit": "train"}


def measure() -> list[str]:
    """Lines of the report."""
    code = "from benchmarks.speed import memory; print(memory.growth(memory.{}))"
    contenders = {name: lambda f=f: run_fresh(code.format(f)) for name, f in CONTENDERS.items()}
    sizes = medians(contenders, ROUNDS)
    floor, own = sizes[MINIMAL], sizes["sd.fit"]
    rows = [[name, f"{size / 2**20:,.0f} MiB", f"{size / floor:.3f}", "", ""] for name, size in sizes.items()]
    rows[-1][-2:] = [f"≤ {LIMIT} × minimal loop", check(own / floor, LIMIT)]
    how = (
        f"Peak resident memory above that before the model was made; {STEPS} steps of AdamW, batches of {BATCH}, each "
        f"contender in a process of its own, median of {ROUNDS}."
    )
    return [how, "", *table(("training with", "memory", "÷ minimal loop", "target", "met"), rows)]


class Block(nn.Module):
    """The linear layers of a block of GPT-2 small, on one token."""

    def __init__(self) -> None:
        super().__init__()
        self.attention, self.projection = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.up, self.down = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.projection(sum(self.attention(x).chunk(3, -1)))
        return x + self.down(self.up(x).relu())


def model(seed: int) -> nn.Module:
    """Twelve blocks and the layer to GPT-2's vocabulary: 124 million weights."""
    torch.manual_seed(seed)
    return nn.Sequential(*[Block() for _ in range(12)], nn.Linear(WIDTH, CLASSES, bias=False))


def growth(training: Callable[[Tensor, Tensor], None]) -> float:
    """Bytes that a training adds to this process's memory at its peak."""
    x, y = torch.randn(8, WIDTH), torch.randint(CLASSES, (8,))
    before = resident("VmRSS")
    training(x, y)
    return resident("VmHWM") - before


def resident(what: str) -> float:
    """Resident memory in bytes: "VmRSS" now, "VmHWM" at its peak so far."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return 1024 * float(next(line for line in lines if line.startswith(what)).split()[1])


def train(x: Tensor, y: Tensor) -> None:
    task = sd.Task(model, data=(x, y), loss=cross_entropy, validation=(x, y), name="memory")
    with tempfile.TemporaryDirectory() as runs:
        sd.fit(task, rule="adamw", batch_size=BATCH, steps=STEPS, guard=False, locate=False, runs=runs)


def train_minimal(x: Tensor, y: Tensor) -> None:
    for _ in itertools.islice(minimal(model(0), x, y, BATCH), STEPS):
        pass


def train_torch(x: Tensor, y: Tensor) -> None:
    net = model(0)
    optimizer = torch.optim.AdamW(net.parameters(), fused=True)
    for batch in torch.arange(len(x)).split(BATCH)[:STEPS]:
        optimizer.zero_grad()
        cross_entropy(net(x[batch]), y[batch]).backward()
        optimizer.step()
