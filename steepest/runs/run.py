"""The front door: `fit` composes descent, store and view into a Run; `open` and `compare` read stored ones."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from steepest.analysis.conclusion import run_verdict
from steepest.descent.loop import Descent
from steepest.errors import SteepestError, StoreError
from steepest.records.run import Event, Measurement, Record
from steepest.records.verdict import Verdict
from steepest.runs.film import run_film
from steepest.runs.restore import restore_end
from steepest.runs.store import Store
from steepest.tasks.task import Task
from steepest.view.figures.curves import curves
from steepest.view.film.write import write


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
        return run_verdict(self.record)

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
            self._model, _ = restore_end(_built_in(self.record), self.store, self.record)
        return self._model

    def at_end(self, task: Task) -> tuple[nn.Module, Descent | None]:
        """A model of the task's as the run left it, and the descent at its end (None for a rule that is not ours)."""
        return restore_end(task, self.store, self.record)

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
        made, ground = run_film(self.store, self.id, known, model, planes, why)
        return write(made, ground, out)

    def _known(self, task: Task | None) -> tuple[Task | None, nn.Module | None, str]:
        """Task, and model at the end, or why there are none."""
        try:
            known = task or self.task or _built_in(self.record)
            if known is self.task and self._model is not None:
                return known, self._model, ""
            return known, restore_end(known, self.store, self.record)[0], ""
        except SteepestError as error:
            return None, None, str(error)

    def __repr__(self) -> str:
        metric = "" if self.metric is None else f", {self.record.config.get('metric', 'loss')} {self.metric:.4g}"
        return f"<Run {self.id}: {self.status}, {len(self.losses)} steps{metric}>"


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
