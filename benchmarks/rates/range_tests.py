"""Other ways to find a learning rate: range tests, which raise it step by step and watch the loss; and Prodigy.

- Lightning: its own `Tuner(...).lr_find` at its defaults: 1e-8 to 1 in 100 steps, then the steepest descent.
- torch-lr-finder: the package's own `LRFinder` as its manual uses it: 1e-7 to 10 in 100 steps, then the steepest
  descent.
- fastai: its suggestions `valley` (the default), `steep` and `minimum`, after their published description: 1e-7 to 10
  in 100 steps, the loss smoothed by 0.98, stopped at four times its best; without the first tenth and the last five
  points.
- default rate: the rule's default, without a search.
- Prodigy (Mishchenko and Defazio 2024, arXiv:2306.06101): an Adam that adapts its learning rate as it trains, in place
  of the rule; at its rate of 1, with `safeguard_warmup`, as its authors advise where there is a warmup.

All train the problem's own model by the problem's own rule, from the initial weights and on the data of the full run.
"""

import contextlib
import math
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import steepest as sd
from benchmarks.problems.problems import Problem
from benchmarks.speed.frameworks import quiet
from steepest.rules.textbook import find_rule

ITERATIONS = 100


@dataclass(frozen=True)
class Choice:
    """What a method chooses.

    Attributes:
        problem: with the choice; None where the method gives no learning rate.
        steps: of the search.
        way: "together" where members were batched.
    """

    problem: Problem | None
    steps: int
    way: str = ""


Finder = Callable[[Problem, int], Choice]
"""Of a problem and a seed."""


def _at(problem: Problem, rate: float | None, steps: int) -> Choice:
    return Choice(None if rate is None else replace(problem, lr=rate), steps)


def lightning(problem: Problem, seed: int) -> Choice:
    """Lightning's own tuner on a module of the problem's model, loss and rule."""
    from lightning.pytorch import LightningModule, Trainer
    from lightning.pytorch.tuner import Tuner

    task, net, loader = _parts(problem, seed)

    class Module(LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net, self.lr = net, problem.lr

        def training_step(self, batch: Any) -> Tensor:
            return task.loss(self.net(batch[0]), batch[1])

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return _optimizer(problem, net)

    with _quiet(seed), tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(
            max_steps=problem.steps, max_epochs=-1, accelerator="cpu", default_root_dir=folder, logger=False,
            enable_progress_bar=False, enable_model_summary=False, enable_checkpointing=False,
        )  # fmt: skip
        finder = Tuner(trainer).lr_find(Module(), train_dataloaders=loader)
        return _at(problem, finder.suggestion(), len(finder.results["loss"]))


def torch_lr_finder(problem: Problem, seed: int) -> Choice:
    """The package's own range test; its plot makes the suggestion."""
    from matplotlib.figure import Figure

    with _quiet(seed):
        from torch_lr_finder import LRFinder

        task, net, loader = _parts(problem, seed)
        finder = LRFinder(net, _optimizer(problem, net), task.loss)
        finder.range_test(loader, start_lr=1e-7, end_lr=10, num_iter=ITERATIONS)
        steps = len(finder.history["loss"])
        try:
            _, rate = finder.plot(ax=Figure().subplots())
        except RuntimeError:  # it stopped too early for a suggestion
            rate = None
    return _at(problem, rate, steps)


def _parts(problem: Problem, seed: int) -> tuple[sd.Task, nn.Module, DataLoader]:
    task = problem.descent(seed).task
    random = torch.Generator().manual_seed(seed)
    loader = DataLoader(TensorDataset(*task.data), problem.batch_size, shuffle=True, drop_last=True, generator=random)
    return task, task.build(seed).train(), loader


def _optimizer(problem: Problem, net: nn.Module) -> torch.optim.Optimizer:
    return sd.optim.RuleOptimizer(net.parameters(), find_rule(problem.rule))


@contextlib.contextmanager
def _quiet(seed: int) -> Iterator[None]:
    """Without output, log and warnings; with random numbers from the seed."""
    with quiet(), torch.random.fork_rng():
        torch.manual_seed(seed)
        yield


# -- fastai's suggestions ---------------------------------------------------------------------------------------------

LOW, HIGH = 1e-7, 10.0
SMOOTHING = 0.98
MAX_RISE = 4.0
"""Times the best smoothed loss."""
SKIPPED_FIRST, SKIPPED_LAST = ITERATIONS // 10, 5

Pick = Callable[[Sequence[float], Sequence[float]], float]
"""From learning rates and smoothed losses to a learning rate."""


def fastai(pick: Pick) -> Finder:
    """A finder that measures fastai's curve and picks a learning rate from it."""

    def find(problem: Problem, seed: int) -> Choice:
        points = list(_curve(problem, seed))
        inner = points[SKIPPED_FIRST:-SKIPPED_LAST]
        finite = next((i for i, (_, loss) in enumerate(inner) if math.isnan(loss)), len(inner))
        if finite < 2:
            return _at(problem, None, len(points))
        rates, losses = zip(*inner[:finite], strict=True)
        return _at(problem, pick(rates, losses), len(points))

    return find


def _curve(problem: Problem, seed: int) -> Iterator[tuple[float, float]]:
    """(learning rate, smoothed loss) until the loss is four times its best."""
    growth = (HIGH / LOW) ** (1 / ITERATIONS)
    sweep = replace(problem, lr=LOW / growth, schedule=f"exponential({HIGH / LOW!r})", steps=ITERATIONS)
    mean, best = 0.0, math.inf
    for step in sweep.descent(seed, guard=False):
        mean = SMOOTHING * mean + (1 - SMOOTHING) * step.loss
        average = mean / (1 - SMOOTHING**step.t)
        yield step.lr, average
        best = min(best, average)
        if average > MAX_RISE * best:
            return


def valley(rates: Sequence[float], losses: Sequence[float]) -> float:
    """The middle of the longest valley: the longest falling subsequence of losses."""
    falls: list[int] = []  # length of the longest subsequence that ends here
    for i, loss in enumerate(losses):
        falls.append(1 + max((falls[j] for j in range(i) if losses[j] > loss), default=0))
    longest = max(falls)
    begin = falls.index(longest) - longest
    return rates[max(0, begin + longest // 3 + longest // 6)]


def steep(rates: Sequence[float], losses: Sequence[float]) -> float:
    """Where the loss falls most; the learning rates are equally spaced in their logarithm."""
    return min(zip(rates, losses, losses[1:]), key=lambda point: point[2] - point[1])[0]


def minimum(rates: Sequence[float], losses: Sequence[float]) -> float:
    """A tenth of the learning rate with the lowest loss."""
    return min(zip(rates, losses, strict=True), key=lambda point: point[1])[0] / 10


def default_rate(problem: Problem, seed: int) -> Choice:
    """The rule's default."""
    return _at(problem, find_rule(problem.rule).hypers["lr"], 0)


def prodigy(problem: Problem, seed: int) -> Choice:
    """Prodigy in place of the rule."""
    return Choice(replace(problem, rule=_prodigy, lr=1.0), 0)


def _prodigy(parameters: list[Tensor]) -> torch.optim.Optimizer:
    from pytorch_optimizer import Prodigy

    return Prodigy(parameters, lr=1.0, safeguard_warmup=True)


PEERS: dict[str, Finder] = {
    "Lightning": lightning,
    "torch-lr-finder": torch_lr_finder,
    "fastai valley": fastai(valley),
    "fastai steep": fastai(steep),
    "fastai minimum": fastai(minimum),
    "default rate": default_rate,
    "Prodigy": prodigy,
}
PACKAGES = {"Lightning": "lightning", "torch-lr-finder": "torch_lr_finder", "Prodigy": "pytorch_optimizer"}
"""Packages that they need."""
