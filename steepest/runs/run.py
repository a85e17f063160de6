"""A run: its record, its model, its figure and film; `open` reads a stored one."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor, nn

from steepest.analysis.conclusion import run_verdict
from steepest.errors import InputError, SteepestError
from steepest.records.arguments import A_PATH, check, check_arguments
from steepest.records.config import to_json
from steepest.records.run import Event, Measurement, Record
from steepest.records.tracker import Tracker
from steepest.records.verdict import Verdict
from steepest.runs.film import run_film
from steepest.runs.restore import RunEnd, built_in_task, end_model, end_of, restore_end
from steepest.runs.store import Store, end_point
from steepest.runs.trackers import make_tracker, make_trackers, replay
from steepest.tasks.task import Task
from steepest.tasks.with_loss import parts
from steepest.view.figures.curves import curves
from steepest.view.film.write import check_file, write
from steepest.view.notebook import run_card
from steepest.view.terminal import StageDisplay


class Run:
    """A run.

    Attributes:
        store: that holds it.
        record: its numbers and words.
        model: the trained module.
        loss: the loss, where it was trained too.
        task: that it was trained on; None for a run that was opened without it.
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
        """Measurements on whole splits, in time order."""
        return self.record.measurements

    @property
    def metric(self) -> float | None:
        """The last validation value of the task's first metric, or the validation loss."""
        return self.record.last("validation", self.record.config.metric)

    @property
    def test(self) -> dict[str, float]:
        """Metrics and loss on the test split, measured once at the end; empty without a test split."""
        return {m.name: m.value for m in self.record.measurements if m.split == "test"}

    @property
    def events(self) -> tuple[Event, ...]:
        return self.record.events

    @property
    def verdict(self) -> Verdict | None:
        """Where the run ended, by a quick check; None without one. `locate` is the full analysis."""
        return run_verdict(self.record)

    @property
    def tensors(self) -> dict[str, Tensor]:
        """Weights and buffers at the end, by name, for `load_state_dict`; without frozen weights."""
        return end_point.state_dict(end_of(self.store, self.record))

    @property
    def point(self) -> Tensor:
        """The weights at the end as one vector [N]."""
        return end_point.vector(self.tensors, self.record.config.parameters)

    @property
    def model(self) -> nn.Module:
        """The trained module; of an opened run a copy of the task's model, with weights, buffers and extra state.

        Raises:
            StoreError: the run was opened without its task, which is not a built-in one; or the task's model is
                another one.
        """
        return parts(self._module())[0]

    @property
    def loss(self) -> Any:
        """The loss, where it has parameters or buffers of its own, as it is at the end; else None.

        Raises:
            StoreError: as for `model`.
        """
        return parts(self._module())[1]

    def _module(self) -> nn.Module:
        """What was trained: the model, with its loss where that has parameters."""
        if self._model is None:
            self._model = end_model(self.task or built_in_task(self.record), self.store, self.record)
        return self._model

    def at_end(self, task: Task) -> RunEnd:
        """A copy of the task's model where the run ended, and its descent (None for a rule that is not built in)."""
        return restore_end(task, self.store, self.record)

    def figure(self, path: str | Path) -> Path:
        """Writes a figure of the loss and the learning rate over the steps: .png, .svg or .pdf."""
        return curves(self.record, path)

    def export(self, tracker: str | Tracker, path: str | Path | None = None) -> Any:
        """Gives the run's numbers to another program: all steps, measurements and events, as they are recorded now.

        Args:
            tracker: "csv", "mlflow", "tensorboard", or a `Tracker`.
            path: csv: the file. tensorboard: the folder of the event file. mlflow: the folder or the address of its
                server. None for the run's folder (`metrics.csv`, event file), or what MLflow is set to.

        Returns:
            where it was written: the tracker's `path`; None of a tracker that has none.

        Raises:
            InputError: an unknown name, or a path that cannot be written; or a library is missing: says what to
                install.
        """
        own = make_tracker(tracker, path) if isinstance(tracker, str) else make_trackers([tracker])[0]
        record = self.record
        replay(record, to_json(record.config, record.search, record.verdict), self.store.folder_of(record.id), own)
        return getattr(own, "path", None)

    def film(
        self, out: str | Path = "film.html", task: Task | None = None, planes: Sequence[str] | None = None,
        budget: float | None = None,
    ) -> Path:  # fmt: skip
        """Writes the run's film: its path on the loss surface, curves, events and verdict, to play and scrub.

        Without the model or its data, the film has only the curves, and says why. What cannot be measured is left out,
        and said; after Ctrl-C the film has the surfaces that are done.

        Args:
            out: path to write to. .html is one self-contained page, .png a picture of the end, .gif and .mp4 (extra
                `video`) an animation; .svg and .pdf show the first surface from above; .npz has the surfaces and path.
            task: the run's, where it was opened and its task is not a built-in one.
            planes: through the end; the first one is shown first: "curvature" (λ_max, λ_min), "principal" (PCA of the
                path), "random" (filter-normalised). None for all, with the curvature plane first where the run ended
                at a critical point.
            budget: seconds for the surfaces. It is the only stopwatch on which a result hangs: those that are not done
                in time are left out, and said. None: all are made, with as many samples and cells as their sizes allow.

        Raises:
            InputError: an unknown suffix or plane, a budget that is not positive, or an .mp4 without imageio-ffmpeg.
        """
        check("out", out, A_PATH)
        check_file(out)
        budget = check_arguments({"task": task, "planes": planes, "budget": budget})["budget"]
        if budget is not None and not (isinstance(budget, int | float) and budget > 0):
            raise InputError(f"budget must be positive seconds, got {budget!r}")
        folder = Path(out).parent
        if folder.is_dir() and not os.access(folder, os.W_OK):  # said before minutes of measuring
            raise InputError(f"out must be in a folder that can be written, got {out}. Pass another one: out= (-o).")
        model, why = None, ""
        try:
            task = task or self.task or built_in_task(self.record)
            model = self._model if task is self.task and self._model is not None else self.at_end(task).model
        except SteepestError as error:
            why = str(error)
        with StageDisplay("film") as display:
            film, surfaces = run_film(self.store, self.id, task, model, planes, why, budget, display)
        return write(film, surfaces, out)

    def _repr_html_(self) -> str:
        verdict = self.verdict  # of a run that goes on, its record is written first
        return run_card(self.store.history(self.id), verdict)

    def __repr__(self) -> str:
        metric = "" if self.metric is None else f", {self.record.config.metric} {self.metric:.4g}"
        return f"<Run {self.id}: {self.status}, {len(self.losses)} steps{metric}>"


def open(run: str, runs: str | Path = "runs", *, task: Task | None = None) -> Run:
    """A stored run.

    Args:
        run: its id, the beginning of it, or a name (the newest run of that name).
        runs: folder of the runs.
        task: the run's, for its model, its film and `resume`; a built-in one need not be passed. Its own model stays
            as it is.

    Raises:
        StoreError: no such run; says the nearest.
    """
    store = Store(runs)
    return Run(store, store.read(run), task=task)
