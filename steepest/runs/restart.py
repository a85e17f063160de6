"""A run that goes on by itself where its program is started again: `fit(..., name=..., resume="auto")`."""

import dataclasses
import json
from collections.abc import Callable, Mapping
from typing import Any

from steepest.descent.settings import ARGUMENTS, DEFAULT_SCHEDULE, resolve
from steepest.distributed.processes import Processes
from steepest.errors import InputError
from steepest.records.config import Config
from steepest.records.run import Record
from steepest.runs.config import AUTO
from steepest.runs.preparation import Preparation, prepare
from steepest.runs.restore import end_of
from steepest.runs.resume import prepare_again, prepare_resume
from steepest.runs.run import Run
from steepest.runs.store import Store
from steepest.tasks import Task, module_state

RUN_SETTINGS = (
    "rule", "stages", "schedule", "batch_size", "epochs", "clip", "average", "precision", "groups", "accumulate",
    "no_decay", "seed", "measure_every", "keep", "stop_after",
)  # fmt: skip
"""Fields of a configuration that must be those of the run that is gone on with, besides rate, steps and guard."""


def prepare_or_open(
    task: Task, arguments: Mapping[str, Any], caller: Callable, processes: Processes
) -> "Preparation | Run":
    """What `fit` is to train; with `resume="auto"` a run that is done already, at its end.

    Args:
        task: the run's.
        arguments: of `fit`, by name.
        caller: whose arguments they are.
        processes: that train it together.

    Raises:
        SteepestError: as `fit`.
    """
    if arguments["resume"] is None:
        return prepare(task, arguments, processes=processes)
    if arguments["resume"] != AUTO:
        return prepare_again(task, arguments, caller, processes=processes)
    if not arguments["name"]:
        raise InputError("resume='auto' needs name=, by which the run is found again, got none. Pass a name.")
    store = Store(arguments["runs"])
    record = processes.from_first(lambda: _find(store, task, arguments))
    if record is None:
        return prepare(task, arguments, processes=processes, can_requeue=True)
    if record.status in ("done", "stopped"):
        return _open(store, record, task, processes)
    free = {name: arguments[name] for name in ("rule", "runs", "device", "live", "trackers")}
    return prepare_resume(record.id, task, **free, processes=processes, can_requeue=True)


def _find(store: Store, task: Task, arguments: Mapping[str, Any]) -> Record | None:
    """The newest run of the name with the same settings."""
    own = _config(task, arguments)
    for record in reversed(store.runs()):
        if record.name == arguments["name"] and not record.damage and _is_same(own, record.config):
            return store.read(record.id)
    return None


def _config(task: Task, arguments: Mapping[str, Any]) -> Config:
    """The arguments as a run that is recorded has them; its rate is None where only the run knows it."""
    choices = {name: arguments[name] for name in ARGUMENTS}
    choices["lr"] = None if choices["lr"] == AUTO else choices["lr"]
    config = resolve(task, DEFAULT_SCHEDULE, **choices).describe()
    more = {name: arguments[name] for name in ("keep", "stop_after")} | (
        {"lr": None} if arguments["lr"] == AUTO else {}
    )
    return Config.from_json(json.loads(json.dumps(dataclasses.replace(config, **more).to_json())))


def _is_same(own: Config, other: Config) -> bool:
    is_rate = own.lr is None or own.lr == other.lr
    is_length = own.epochs is not None or own.steps == other.steps
    guards = [{k: v for k, v in (c.guard or {}).items() if k != "snapshot_every"} for c in (own, other)]
    has_guard = (own.guard is None) == (other.guard is None) and guards[0] == guards[1]
    return is_rate and is_length and has_guard and all(getattr(own, n) == getattr(other, n) for n in RUN_SETTINGS)


def _open(store: Store, record: Record, task: Task, processes: Processes) -> Run:
    """A run that is done, with the task's model at its end."""
    end = processes.from_first(lambda: end_of(store, record))
    model = task.build(record.config.seed)
    module_state.write(model, end)
    task.remember_weights(model)
    return Run(store, record, model, task)
