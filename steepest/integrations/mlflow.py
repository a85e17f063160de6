"""A run in MLflow: `sd.fit(..., trackers=["mlflow"])`, or `["mlflow:http://localhost:5000"]`.

Values go in batches, and from a thread of MLflow's own: a slow server does not slow the training. MLflow cannot delete
values, so steps that the guard undid stay in its charts, before those that took their places.
"""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from steepest.errors import InputError
from steepest.integrations.versions import require
from steepest.records.run import COLUMNS, Event, Measurement, Step
from steepest.records.tracker import RunStart, Tracker
from steepest.view.format import describe_event

MAX_VALUES, MAX_PARAMS, MAX_PARAM_TEXT = 1000, 100, 500
"""What MLflow takes in one call, and characters of a parameter."""
BATCH_S = 5.0
"""Seconds after which values are sent, however few they are."""
RUN_TAG, EVENT_TAG = "steepest.run", "steepest.event"
MLFLOW_STATUS = {"failed": "FAILED", "interrupted": "KILLED"}


class MLflow(Tracker):
    """Sends a run to MLflow, into the experiment that `MLFLOW_EXPERIMENT_NAME` names. A resumed run goes on there.

    Attributes:
        path: of the server, or the folder.

    Args:
        path: of the server, or a folder; None for what MLflow is set to (`MLFLOW_TRACKING_URI`).

    Raises:
        InputError: mlflow is not installed.
    """

    def __init__(self, path: str | Path | None = None) -> None:
        require("mlflow-skinny", "2.9", extra="mlflow")
        self.path = path
        self._values: list[Any] = []
        self._calls: list[Any] = []
        self._due = 0.0

    def begin(self, run: RunStart) -> None:
        """Begins a run of MLflow's, with the settings as its parameters; or finds that of a resumed one.

        Raises:
            InputError: MLflow cannot be used there; says why.
        """
        from mlflow import MlflowClient, MlflowException  # type: ignore[import-not-found]
        from mlflow.entities import Metric, Param  # type: ignore[import-not-found]

        try:
            self._client, self._metric = MlflowClient(_address(self.path)), Metric
            self.path = self._client.tracking_uri
            experiment, earlier = _experiment(self._client), []
            if run.t:
                earlier = self._client.search_runs([experiment], f"tags.`{RUN_TAG}` = '{run.id}'", max_results=1)
        except (MlflowException, ImportError, OSError) as error:
            raise InputError(
                f"path must be a server or a folder that MLflow can use, got {self.path}: {error}"
            ) from error
        if earlier:
            self._run = earlier[0].info.run_id
            self._client.update_run(self._run, "RUNNING")
            return
        self._run = self._client.create_run(experiment, tags={RUN_TAG: run.id}, run_name=run.id or run.name).info.run_id
        params = [Param(name, text) for name, text in _params(run.config).items()]
        for k in range(0, len(params), MAX_PARAMS):
            self._client.log_batch(self._run, params=params[k : k + MAX_PARAMS])

    def step(self, step: Step) -> None:
        """Takes a step's numbers."""
        for name in COLUMNS[1:]:
            self._add(f"train/{name}", getattr(step, name), step.t)

    def measure(self, m: Measurement) -> None:
        """Takes a measurement."""
        self._add(f"{m.split}/{m.name}", m.value, m.t)

    def event(self, event: Event) -> None:
        """Tags the run with what happened last."""
        self._client.set_tag(self._run, EVENT_TAG, describe_event(event), synchronous=False)

    def end(self, status: str) -> None:
        """Sends the rest, and ends the run of MLflow's.

        Raises:
            Exception: of MLflow's, where values could not be sent.
        """
        self._send()
        for call in self._calls:
            call.wait()
        self._client.set_terminated(self._run, MLFLOW_STATUS.get(status, "FINISHED"))

    def _add(self, name: str, value: float, t: int) -> None:
        now = time.time()
        self._values.append(self._metric(name, value, int(1000 * now), t))
        if len(self._values) >= MAX_VALUES or now > self._due:
            self._send()

    def _send(self) -> None:
        if self._values:
            self._calls.append(self._client.log_batch(self._run, metrics=self._values, synchronous=False))
        self._values, self._due = [], time.time() + BATCH_S


def _address(path: str | Path | None) -> str | None:
    """The address of a server as it is; of a folder, MLflow's database in it."""
    if path is None or "://" in str(path) or str(path).startswith("databricks"):
        return None if path is None else str(path)
    Path(path).mkdir(parents=True, exist_ok=True)
    return f"sqlite:///{Path(path).resolve().as_posix()}/mlflow.db"


def _params(config: Mapping[str, Any]) -> dict[str, str]:
    """The settings as text; those that are not set are left out."""
    return {name: str(value)[:MAX_PARAM_TEXT] for name, value in config.items() if value not in (None, "", [], {})}


def _experiment(client: Any) -> str:
    from mlflow.environment_variables import MLFLOW_EXPERIMENT_NAME  # type: ignore[import-not-found]

    name = MLFLOW_EXPERIMENT_NAME.get() or "Default"
    experiment = client.get_experiment_by_name(name)
    return client.create_experiment(name) if experiment is None else experiment.experiment_id
