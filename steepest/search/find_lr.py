"""The learning rate by measurement, with its figure."""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from steepest.descent.settings import resolve
from steepest.distributed.cluster import cluster_of
from steepest.distributed.group import refuse_several
from steepest.records.arguments import check_arguments
from steepest.records.run import Path as DescentPath
from steepest.records.search import Search, Trial
from steepest.search.rungs import run_search
from steepest.tasks.space import NORMS_AND_BIASES
from steepest.tasks.task import Task
from steepest.view.figures.searches import rates_figure
from steepest.view.notebook import search_card
from steepest.view.terminal import SearchDisplay


class Rates:
    """The result of a learning-rate search.

    Attributes:
        record: all results; this object has its attributes, too.
        best: the learning rate to train with.
        low, high: the lowest and the highest value tried that work.
        fails: the lowest value that failed; None where none did.
        table: all values tried, by length of run.
        sentence: the result in words.
        steps: of all short runs together.
        seconds: duration of the search.
        way: how the short runs were run: "together" (batched) or "one after another" (sequential).
        paths: the recorded points of the short runs; empty for a large model.
    """

    record: Search
    best: float
    low: float
    high: float
    fails: float | None
    table: tuple[Trial, ...]
    sentence: str
    steps: int
    seconds: float
    way: str
    paths: tuple[DescentPath, ...]

    def __init__(self, record: Search) -> None:
        vars(self).update(vars(record), record=record)

    def figure(self, path: str | Path) -> Path:
        """Writes final loss against learning rate, with the regions: .png, .svg or .pdf."""
        return rates_figure(self.record, path)

    def _repr_html_(self) -> str:
        return search_card(self.record)

    def __repr__(self) -> str:
        return f"<Rates {self.record.rule}: {self.best:.3g}; worked from {self.low:.3g} to {self.high:.3g}>"


def find_lr(
    task: Task,
    rule: Any = None,
    schedule: Any = None,
    batch_size: int | str | None = None,
    epochs: int | None = None,
    steps: int | None = None,
    *,
    between: tuple[float, float] | None = None,
    budget: int | str | None = None,
    clip: float | None = None,
    accumulate: int = 1,
    average: float | None = None,
    precision: str | None = None,
    groups: Mapping[str, Mapping[str, float]] | None = None,
    no_decay: str | Sequence[str] | None = NORMS_AND_BIASES,
    seed: int = 0,
    device: str = "auto",
    way: str | None = None,
    progress: bool = False,
    on: str | None = None,
) -> Rates:
    """Searches the learning rate for a run: short runs at many values, each with its own warmup and decay, are compared
    by their validation losses.

    Two rungs: half decades around the rule's usual learning rate for 5 % of the run; then the best of these and four
    quarter decades below it for 20 %. The choice is that rung's best ÷ 1.8. It costs about 1.5 runs in steps, and much
    less in time where the runs can be batched. Of a run of fewer than 400 steps, where 5 % are too few, the second rung
    takes half, is widened both ways and divided by 1.3, for 3 to 10 runs in all. Up to 60 steps, both rungs are whole
    runs, and the choice is the best of them. The same seed gives the same rate. The task's model is not changed.

    Args:
        task: that the run trains.
        rule, schedule, batch_size, epochs, steps, clip, accumulate, average, precision, groups, no_decay, seed, device:
            of the run, as `fit` has them.
        between: lowest and highest value to try.
        budget: steps in all, or seconds as text ("60 s"), which are counted as work, not by a clock, so that the same
            seed gives the same learning rate; by default 15 % of a run of more than ten minutes.
        way: "together" (batched) or "one after another" (sequential); by default the faster one.
        progress: show the progress in the terminal.
        on: "ray" runs the short runs on the Ray cluster that this process is connected to; the numbers are the same.

    Returns:
        Rates: `best`, `low`, `high`, `fails`, `table`, `sentence`, `figure(path)`.

    Raises:
        SteepestError: settings, model or data that cannot be used; no learning rate that was tried works.
        KeyboardInterrupt: Ctrl-C, with the short runs that have ended as its `table`.

    >>> import torch, steepest as sd
    >>> x = torch.randn(300, 4, generator=torch.Generator().manual_seed(0))
    >>> y = x @ torch.tensor([[1.0], [-2.0], [3.0], [0.5]])
    >>> net = torch.nn.Linear(4, 1)
    >>> task = sd.Task(net, (x, y), loss=torch.nn.functional.mse_loss)
    >>> rates = sd.find_lr(task, "gradient_descent", batch_size="full", steps=100)
    >>> 0.1 < rates.best < 1.0
    True
    """
    refuse_several("sd.find_lr", "Call it before, in a program of its own.")
    limits = check_arguments({"between": between, "budget": budget, "way": way, "progress": progress, "on": on})
    settings = resolve(
        task, rule=rule, schedule=schedule, batch_size=batch_size, epochs=epochs, steps=steps, clip=clip,
        accumulate=accumulate, average=average, precision=precision, groups=groups, no_decay=no_decay, seed=seed,
        device=device,
    )  # fmt: skip
    progress, on = limits.pop("progress"), limits.pop("on")
    cluster = cluster_of(on, settings.device, live=progress)
    with SearchDisplay() if progress else nullcontext() as display:
        return Rates(run_search(task, settings, watch=display, cluster=cluster, **limits))
