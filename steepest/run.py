"""The front door: `fit` composes descent, store and view into a Run; `open` and `compare` read stored ones."""

import dataclasses
import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from steepest import filming
from steepest.beside import Beside, watcher
from steepest.configuration import configured
from steepest.descent.guard.guard import Guard
from steepest.descent.loop import Descent
from steepest.descent.settings import Settings, resolve
from steepest.errors import SteepestError, StoreError
from steepest.records.run import Event, Measurement, Record
from steepest.records.search import Search
from steepest.records.verdict import Verdict
from steepest.resuming import begin_at, ended, resumed, train
from steepest.search.rungs import search
from steepest.store import Store, versions
from steepest.tasks.space import NORMS_AND_BIASES, Space
from steepest.tasks.task import Task
from steepest.training import Training
from steepest.view.figures.curves import curves
from steepest.view.film.write import write
from steepest.view.terminal import Progress, SearchProgress

AUTO = "auto"


class Run:
    """A run and what is known of it.

    Attributes:
        store: where it is kept.
        record: its numbers and words.
        model: the trained module; None where the run was opened and its task is not one that can be built.
        task: that it was trained on; None where the run was opened.
    """

    def __init__(self, store: Store, record: Record, model: nn.Module | None = None, task: Task | None = None) -> None:
        self.store, self.record, self._model, self.task = store, record, model, task

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
    def verdict(self) -> Verdict | None:
        """Where it ended, by a short look; None where none was taken. `locate` looks longer."""
        found = self.record.config.get("verdict")
        return None if found is None else Verdict.of(found)

    @property
    def tensors(self) -> dict[str, Tensor]:
        """The weights at the end, by name."""
        return self.store.load_point(self.id)

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
            self._model, _ = ended(_built_in(self.record), self.store, self.record)
        return self._model

    def at_end(self, task: Task) -> tuple[nn.Module, Descent | None]:
        """A model of the task's as the run left it, and the descent at its end (None for a rule that is not ours)."""
        return ended(task, self.store, self.record)

    def figure(self, path: str | Path) -> Path:
        """Writes a figure of loss and rate over the steps: .png, .svg or .pdf."""
        return curves(self.record, path)

    def film(
        self, out: str | Path = "film.html", task: Task | None = None, planes: Sequence[str] | None = None
    ) -> Path:
        """Writes the run's film: its path on the loss surface, curves, events, verdict, to play and scrub.

        Where the model or its data are not here, the film has the curves alone, and says why.

        Args:
            out: where to; .html is one page that needs nothing else, .png a picture of its end, .gif and .mp4 (extra
                `video`) play it, .svg and .pdf show the first surface from above, .npz has the surfaces and the path.
            task: of the run, where it was opened and its task is not a built-in one.
            planes: through its end, the first one shown first: "curvature" (greatest and least), "principal" (the
                path's own), "random" (normalised filter by filter). None: all, with the curvature first where it
                ended at a critical point.

        Raises:
            InputError: another suffix, or a plane that there is none of.
        """
        known, model, why = self._known(task)
        made, ground = filming.of_run(self.store, self.id, known, model, planes, why)
        return write(made, ground, out)

    def _known(self, task: Task | None) -> tuple[Task | None, nn.Module | None, str]:
        """Task, and model at the end, or why there are none."""
        try:
            known = task or self.task or _built_in(self.record)
            if known is self.task and self._model is not None:
                return known, self._model, ""
            return known, ended(known, self.store, self.record)[0], ""
        except SteepestError as error:
            return None, None, str(error)

    def __repr__(self) -> str:
        metric = "" if self.metric is None else f", {self.record.config.get('metric', 'loss')} {self.metric:.4g}"
        return f"<Run {self.id}: {self.status}, {len(self.losses)} steps{metric}>"


def fit(
    task: Task,
    rule: Any = None,
    lr: float | str | None = None,
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
    keep: str = "last",
    stop_after: int | None = None,
    guard: bool | str | Guard = True,
    locate: bool = True,
    start: "Run | str | None" = None,
    resume: "Run | str | None" = None,
    checkpoint_every: int | str = "30 s",
    seed: int = 0,
    device: str = "auto",
    runs: str | Path = "runs",
    name: str | None = None,
    notes: str | None = None,
    live: bool | Beside = False,
) -> Run:
    """Trains the task's model in place, from the task's start, and records everything.

        w ← rule(w, ∇L(w); lr · schedule(t)),  t = 1 … T

    What is not given comes from the task's recipe, else: adam at its default rate, `warmup(5%) >> cosine`, batches of
    64; epochs or steps must be said. The validation split is measured before the first step, after each epoch and at
    the end. Ctrl-C ends the run cleanly: it is marked interrupted, and everything so far is kept.

    Args:
        task: what is to be trained.
        rule: a name, a rule, stages, or a function `params -> torch.optim.Optimizer`.
        lr: base learning rate, above 0, of the first stage where there are several; "auto" finds it by measurement
            first, as `find_lr` does for that stage's rule alone but from where the run begins, and keeps with the run
            what was measured.
        schedule: factor of the rate over the run, as text or schedule.
        batch_size: samples per step: "full", 1, or n.
        epochs, steps: how long.
        clip: greatest gradient norm; a longer gradient is scaled down to it.
        accumulate: micro-batches that a batch is split into.
        average: β of a running average of the weights, which is then what is measured and left; such as 0.999.
        precision: "bfloat16" for forward pass and loss under autocast; weights stay as they are.
        groups: hyperparameters by glob on parameter names, `{"head.*": {"lr_scale": 0.1}}`.
        no_decay: parameters without weight decay: "norms and biases", globs, or None.
        keep: "last", or "best": the point with the best validation metric is left and kept.
        stop_after: measurements without a better validation metric after which the run stops.
        guard: whether it gets up again when the loss explodes; "watch" only reports; a Guard has its own thresholds.
        locate: end with a short look at where the point is (`run.verdict`), which takes a tenth of the run's time or
            two seconds, whichever is more.
        start: a run (or its id) at whose end to begin, instead of the task's start.
        resume: a run (or its id) to go on with, under the same id. Everything is as it was recorded; only `rule`, where
            it is not a built-in one, is given again, and epochs or steps may be, which stretches the schedule.
        checkpoint_every: steps, or seconds as text ("30 s"), between what a killed run goes on from.
        seed: of order, randomness, and of the start where the task's model is a function.
        device: "auto", "cpu", "cuda".
        runs: folder of the runs.
        name: of this run; else the task's.
        notes: kept with it.
        live: show it in a browser while it trains, at an address that is printed; the server is a process of its own,
            which ends with this one.

    Returns:
        the Run.

    Raises:
        SteepestError: what cannot be trained or stored, before the first step; data found to be bad.
    """
    watched = watcher(live, runs)
    if resume is not None:
        given = {
            "lr": lr, "schedule": schedule, "batch_size": batch_size, "clip": clip, "average": average, "notes": notes,
            "precision": precision, "groups": groups, "stop_after": stop_after, "start": start, "name": name,
            "accumulate": accumulate, "no_decay": no_decay, "keep": keep, "guard": guard, "seed": seed,
            "checkpoint_every": checkpoint_every, "locate": locate,
        }  # fmt: skip
        said = {k: v for k, v in given.items() if v != inspect.signature(fit).parameters[k].default}
        record, model = resumed(task, resume, runs, rule, epochs, steps, said, device, watched)
        return Run(Store(runs), record, model, task)
    settings = resolve(
        task, rule=rule, lr=None if lr == AUTO else lr, schedule=schedule, batch_size=batch_size, epochs=epochs,
        steps=steps, clip=clip, accumulate=accumulate, average=average, precision=precision, groups=groups,
        no_decay=no_decay, guard=guard, seed=seed, device=device,
    )  # fmt: skip
    store = Store(runs)
    found = None
    if lr == AUTO:
        found = _searched(task, settings, start, store)
        settings = dataclasses.replace(settings, lr=found.best)
        task.say(found.sentence)
    descent = Descent(task, settings, task.build(seed))
    if start is not None:
        begin_at(start, descent.space, store)
    config = configured(task, descent, start, keep, stop_after, checkpoint_every, locate)
    if found is not None:
        config["search"] = found.describe()
    writer = store.begin(name or task.name, config, versions(), seed, notes)
    train(Training(descent, writer, Progress(descent.steps, config["metric"]), config), watched)
    return Run(store, store.read(writer.id), descent.model, task)


def _searched(task: Task, settings: Settings, start: Run | str | None, store: Store) -> Search:
    """The rate of the first stage, from where the training will begin."""
    if start is not None:
        space = Space(task.copy(settings.seed))
        begin_at(start, space, store)
        task = task.at(space.gather())
    with SearchProgress() as shown:
        return search(task, dataclasses.replace(settings, stages=settings.stages.first), watch=shown)


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


def _built_in(record: Record) -> Task:
    """The task of an opened run, where it is a built-in one."""
    from steepest.tasks import BUILT_IN, load

    source = record.config.get("source")
    if source not in BUILT_IN:
        raise StoreError(
            f"run {record.id} was opened and its model is not here, for its task is not a built-in one; give the task, "
            "or make the model yourself and load `run.tensors` into it with load_state_dict(..., strict=False)"
        )
    return load(source)
