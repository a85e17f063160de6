"""The front door: `fit` composes descent, store and view into a Run; `open` and `compare` read stored ones."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from steepest.descent import Descent
from steepest.errors import InputError, StoreError
from steepest.record import Event, Measurement, Record
from steepest.settings import resolve
from steepest.space import NORMS_AND_BIASES
from steepest.store import Store, Writer, versions
from steepest.task import Task
from steepest.view.figures import curves
from steepest.view.terminal import Progress

POINTS = 10
"""Points that are stored on the way, the end not counted."""
POINT_BYTES = 256 << 20
"""What they may take in all; a large model keeps fewer, or the end alone."""


class Run:
    """A run and what is known of it.

    Attributes:
        record: its numbers and words.
        model: the trained module; None where the run was opened and its task is not one that can be built.
    """

    def __init__(self, store: Store, record: Record, model: nn.Module | None = None) -> None:
        self._store, self.record, self._model = store, record, model

    @property
    def id(self) -> str:
        return self.record.id

    @property
    def status(self) -> str:
        """running, done, interrupted, stopped or failed."""
        return self.record.status

    @property
    def losses(self) -> np.ndarray:
        """Training loss of every step, float64 [steps]."""
        return self.record.steps.loss

    @property
    def metrics(self) -> tuple[Measurement, ...]:
        """What was measured on whole splits, in time order."""
        return self.record.measurements

    @property
    def metric(self) -> float | None:
        """The last validation value of the task's first metric, or the validation loss."""
        return self.record.last("validation", self.record.config.get("metric", "loss"))

    @property
    def test(self) -> dict[str, float]:
        """Metrics and loss on the test split, measured once at the end; empty without one."""
        return {m.name: m.value for m in self.record.measurements if m.split == "test"}

    @property
    def events(self) -> tuple[Event, ...]:
        return self.record.events

    @property
    def tensors(self) -> dict[str, Tensor]:
        """The weights at the end, by name."""
        return self._store.load_point(self.id)

    @property
    def point(self) -> Tensor:
        """The weights at the end as one vector [N]."""
        stored = self.tensors
        return torch.cat([stored[name].reshape(-1) for name in self.record.config["parameters"]])

    @property
    def model(self) -> nn.Module:
        """The trained module.

        Raises:
            StoreError: the run was opened, and its task is not a built-in one; says what to do.
        """
        if self._model is None:
            self._model = _rebuilt(self)
        return self._model

    def figure(self, path: str | Path) -> Path:
        """Writes a figure of loss and rate over the steps: .png, .svg or .pdf."""
        return curves(self.record, path)

    def __repr__(self) -> str:
        metric = "" if self.metric is None else f", {self.record.config.get('metric', 'loss')} {self.metric:.4g}"
        return f"<Run {self.id}: {self.status}, {len(self.losses)} steps{metric}>"


def fit(
    task: Task,
    rule: Any = None,
    lr: float | None = None,
    schedule: Any = None,
    batch_size: int | str | None = None,
    epochs: int | None = None,
    steps: int | None = None,
    *,
    clip: float | None = None,
    accumulate: int = 1,
    average: float | None = None,
    precision: str | None = None,
    groups: Mapping[str, Mapping[str, float]] | None = None,
    no_decay: str | Sequence[str] | None = NORMS_AND_BIASES,
    start: "Run | str | None" = None,
    seed: int = 0,
    device: str = "auto",
    runs: str | Path = "runs",
    name: str | None = None,
    notes: str | None = None,
) -> Run:
    """Trains the task's model in place, from the task's start, and records everything.

        w ← rule(w, ∇L(w); lr · schedule(t)),  t = 1 … T

    What is not given comes from the task's recipe, else: adam at its default rate, `warmup(5%) >> cosine`, batches of
    64; epochs or steps must be said. Ctrl-C ends the run cleanly: it is marked interrupted, and everything so far is
    kept.

    Args:
        task: what is to be trained.
        rule: a name, a rule, stages, or a function `params -> torch.optim.Optimizer`.
        lr: base learning rate, above 0.
        schedule: factor of the rate over the run, as text or schedule.
        batch_size: samples per step: "full", 1, or n.
        epochs, steps: how long.
        clip: greatest gradient norm; a longer gradient is scaled down to it.
        accumulate: micro-batches that a batch is split into.
        average: β of a running average of the weights, which is then what is measured and left; such as 0.999.
        precision: "bfloat16" for forward pass and loss under autocast; weights stay as they are.
        groups: hyperparameters by glob on parameter names, `{"head.*": {"lr_scale": 0.1}}`.
        no_decay: parameters without weight decay: "norms and biases", globs, or None.
        start: a run (or its id) at whose end to begin, instead of the task's start.
        seed: of order, randomness, and of the start where the task's model is a function.
        device: "auto", "cpu", "cuda".
        runs: folder of the runs.
        name: of this run; else the task's.
        notes: kept with it.

    Returns:
        the Run.

    Raises:
        SteepestError: what cannot be trained or stored, before the first step; data found to be bad.
    """
    settings = resolve(
        task, rule=rule, lr=lr, schedule=schedule, batch_size=batch_size, epochs=epochs, steps=steps, clip=clip,
        accumulate=accumulate, average=average, precision=precision, groups=groups, no_decay=no_decay, seed=seed,
        device=device,
    )  # fmt: skip
    store = Store(runs)
    descent = Descent(task, settings, task.build(seed))
    if start is not None:
        begin_at(start, descent, store)
    config = _config(task, descent, start)
    writer = store.begin(name or task.name, config, versions(), seed, notes)
    progress = Progress(descent.steps, config["metric"])
    for words in task.said:
        progress.say(words)
    task.said.clear()
    training = descent.model.training
    with _recorded(descent, writer, progress):
        _train(descent, writer, progress)
    descent.model.train(training)
    return Run(store, store.read(writer.id), descent.model)


def _train(descent: Descent, writer: Writer, progress: Progress) -> None:
    """Every step to the record and to the screen; measurements at epochs' ends, points at intervals."""
    every = _point_interval(descent)
    record, show = writer.step, progress.step
    for step in descent:
        record(step)
        show(step)
        if step.event is not None:
            writer.event(step.event)
            progress.event(step.event)
        if step.t % descent.steps_per_epoch == 0 or step.t == descent.steps:
            _measure(descent, "validation", writer, progress)
        if step.t % every == 0 and step.t < descent.steps:
            writer.point(step.t, dict(descent.space.named()))


@contextmanager
def _recorded(descent: Descent, writer: Writer, progress: Progress) -> Iterator[None]:
    """Ends the record whatever happens in the block; Ctrl-C is an ending like others."""
    began, status = time.perf_counter(), "failed"
    try:
        yield
        status = "done"
    except KeyboardInterrupt:
        status = "interrupted"
        progress.say(f"interrupted after step {descent.t}; what was done is kept as {writer.id}")
    finally:
        seconds = time.perf_counter() - began
        try:
            if status != "failed":
                descent.finish()
                _measure(descent, "test", writer, progress)
            writer.point(descent.t, dict(descent.space.named()))
        finally:
            progress.stop()
            writer.close(status, seconds)


def _measure(descent: Descent, split: str, writer: Writer, progress: Progress) -> None:
    for name, value in descent.measure(split).items():
        m = Measurement(descent.t, descent.t / descent.steps_per_epoch, split, name, value)
        writer.measure(m)
        progress.measure(m)


def _point_interval(descent: Descent) -> int:
    size = sum(p.nbytes for p in descent.space.tensors())
    count = min(POINTS, POINT_BYTES // size)
    return max(1, descent.steps // count) if count else descent.steps


def _config(task: Task, descent: Descent, start: "Run | str | None") -> dict[str, Any]:
    """Everything that was chosen, as JSON."""
    settings = descent.settings.describe()
    if settings["lr"] is None:
        settings["lr"] = descent.base_rate
    return {
        "task": task.name,
        **settings,
        "device": str(descent.device),
        "steps": descent.steps,
        "steps_per_epoch": descent.steps_per_epoch,
        "samples": descent.batches.samples,
        "weights": descent.space.size,
        "metric": next(iter(task.metrics), "loss"),
        "start": (start.id if isinstance(start, Run) else start) or "the task's",
        "parameters": list(descent.space.names),
    }


@torch.no_grad()
def begin_at(start: "Run | str", descent: Descent, store: Store) -> None:
    """Puts a descent at another run's end, parameter by parameter.

    Raises:
        StoreError: no such run.
        InputError: its weights are not this model's; says which differ.
    """
    stored = start.tensors if isinstance(start, Run) else store.load_point(start)
    own = dict(descent.space.named())
    if {k: v.shape for k, v in stored.items()} != {k: v.shape for k, v in own.items()}:
        odd = sorted(set(stored) ^ set(own)) or [k for k in own if stored[k].shape != own[k].shape]
        raise InputError(
            f"start={start!r}: its weights are not those of this model; they differ in {', '.join(odd[:5])}"
        )
    for name, p in own.items():
        p.copy_(stored[name])


def open(run: str, runs: str | Path = "runs") -> Run:
    """A stored run, to read.

    Args:
        run: its id, the beginning of it, or a name (then the newest of that name).
        runs: the folder.

    Raises:
        StoreError: there is none; says the nearest.
    """
    store = Store(runs)
    return Run(store, store.read(run))


def _rebuilt(run: Run) -> nn.Module:
    raise StoreError(
        f"run {run.id} was opened and its model is not here; make it yourself and load `run.tensors` into it with "
        "load_state_dict(..., strict=False)"
    )
