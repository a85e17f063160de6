"""`resume`: continues a run as if it had never stopped."""

import dataclasses
import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from steepest.descent.loop import Descent
from steepest.descent.stages import Stages
from steepest.distributed.group import join
from steepest.distributed.processes import ALONE, Processes
from steepest.distributed.shards import shards_of
from steepest.errors import InputError, StoreError
from steepest.records.arguments import KINDS, check, check_arguments
from steepest.records.config import Config, to_json
from steepest.records.run import Record
from steepest.runs.best import BestPoint
from steepest.runs.config import checkpoint_interval, identity, settings_of
from steepest.runs.continuation import restore, state_of_run
from steepest.runs.live import LiveServer, open_live
from steepest.runs.no_record import NoProgress
from steepest.runs.preparation import Preparation
from steepest.runs.restore import built_in_task, check_identity, check_start, start_state
from steepest.runs.run import Run
from steepest.runs.store import Store, checkpoints, versions
from steepest.runs.store.store import check_not_in_use
from steepest.runs.together import begin_record, begin_together
from steepest.runs.trackers import Trackers, make_trackers, track
from steepest.runs.trainer import Trainer
from steepest.tasks import Task, data, module_state
from steepest.tasks.module_state import ModuleState
from steepest.view.terminal import Progress

LATE_STEPS = 1000
"""Steps within which a checkpoint that is due is written."""
NO_CHECKPOINT: dict[str, Any] = {"t": 0, "attempt": 0, "events": 0}
"""The manifest of a run without a checkpoint."""


def resume(
    run: Run | str,
    task: Task | None = None,
    *,
    epochs: int | None = None,
    steps: int | None = None,
    rule: Any = None,
    runs: str | Path = "runs",
    device: str = "auto",
    live: bool | LiveServer = False,
    trackers: Trackers = (),
) -> Run:
    """Continues a run from its last valid checkpoint to its end, under the same id.

    On the same machine and versions, the result is bit for bit that of a run that was never interrupted.

    Args:
        run: a Run, its id, the beginning of it, or its name.
        task: the run's task; None for the Run's own, or a built-in one.
        epochs, steps: a new length of the whole run, which stretches the schedule.
        rule: the run's rule, needed where it is not a built-in one.
        runs: folder of the runs, for a run that is named; a Run is continued in its own.
        device: "auto" for the recorded one, "cpu", "cuda".
        live: show the run in a browser, as in `fit`.
        trackers: of the run from now on, as in `fit`.

    Raises:
        StoreError: the run is still running, is finished, or was made with a different task; says what differs.
        InputError: the length or the rule does not fit the run.
    """
    arguments, processes = check_arguments(locals()), join("sd.resume")
    with processes.ending_together():
        preparation = prepare_resume(**arguments, processes=processes)
        preparation.train()
        result = preparation.run()
    preparation.trainer.signals.exit_to_requeue()
    return result


def prepare_resume(
    run: Run | str,
    task: Task | None = None,
    epochs: int | None = None,
    steps: int | None = None,
    rule: Any = None,
    runs: str | Path = "runs",
    device: str = "auto",
    live: bool | LiveServer = False,
    trackers: Trackers = (),
    has_body: bool = False,
    processes: Processes = ALONE,
    can_requeue: bool = False,
) -> Preparation:
    """A stored run before its next step; the first arguments are those of `resume`, the last of `prepare`.

    Nothing of the model or the record is touched before all is checked.
    """
    check("run", run, KINDS["run"])
    store, own_task = (Store(runs), None) if isinstance(run, str) else (run.store, run.task)
    record = processes.from_first(lambda: store.read(run if isinstance(run, str) else run.id))
    _check_can_go_on(record, is_longer=bool(epochs or steps))
    own_trackers = make_trackers(trackers) if processes.is_first else []
    task = task or own_task or built_in_task(record)
    check_identity(record, {"data": data.fingerprint(task.data)})
    config = record.config if device == "auto" else dataclasses.replace(record.config, device=device)
    settings = settings_of(task, config, rule, epochs, steps)
    with task.unchanged_on_error():
        model = task.build(settings.seed)
        last = _last_state(store, record, model, processes)
        if last.start is not None:
            check_start(record.config.start, last.start, model)
            module_state.write(model, last.start)
        split_words = begin_together(processes, task, settings, model, {"run": record.id, "step": last.t})
        descent = Descent(task, settings, model, processes)
        check_identity(record, identity(task, descent.model))
        _check_length(record, last.t, descent)
        _check_stage(record, last.t, descent.settings.stages, descent)
        best, messages = _restore(last, descent, is_longer=bool(epochs or steps))
        config, words = _stretch(dataclasses.replace(record.config, end_step=None), descent)
        as_json = to_json(config, record.search, record.verdict)
        place = last.manifest["attempt"], last.t, last.manifest["events"]
        writer = begin_record(processes, lambda: store.reopen(record.id, *place, as_json), store.folder)
    if last.damage and processes.is_first:
        checkpoints.set_damage_aside(store.folder_of(record.id) / "checkpoints")
    seconds = last.manifest.get("seconds", 0.0) if record.status == "interrupted" else record.seconds
    progress = Progress(descent.steps, config.metric, start=last.t) if processes.is_first else NoProgress()
    writer = track(writer, own_trackers, as_json, record.name, last.t, progress.say)
    trainer = Trainer(descent, writer, progress, config, record.search, record.verdict, seconds, has_body, can_requeue)
    trainer.best = best or trainer.best
    messages = [
        *_restore_threads(record, processes),
        split_words,
        *words,
        *messages,
        *last.damage,
        f"Resuming {record.id} after step {last.t}.",
    ]
    return Preparation(trainer, store, task, messages, open_live(live if processes.is_first else False, store.folder))


def _check_can_go_on(record: Record, is_longer: bool) -> None:
    """Refuses a run that is in use, is of a loop of the user's own, or is finished and does not get longer."""
    check_not_in_use(record)
    if record.config.is_watched:
        raise StoreError(
            f"Run {record.id} is of a loop of your own, which only its script can go on with. Start the script again, "
            f"with sd.watch(..., name={record.name!r}) after the weights and the optimizer are restored."
        )
    if record.status in ("done", "stopped") and not is_longer:
        raise StoreError(
            f"Run {record.id} is already finished. Pass more epochs or steps to extend it, or start={record.id!r} to "
            "start a new run from it."
        )


class LastState(NamedTuple):
    """Where a stored run stands: a checkpoint, or its start.

    Attributes:
        manifest, state: of the checkpoint.
        damage: messages about newer checkpoints that are damaged.
        start: the end of the run that it started from, where it has no checkpoint.
    """

    manifest: dict[str, Any]
    state: dict[str, Any] | None
    damage: list[str]
    start: ModuleState | None

    @property
    def t(self) -> int:
        """The last step before it."""
        return self.manifest["t"]


def _last_state(store: Store, record: Record, model: nn.Module, processes: Processes) -> LastState:
    if shards_of(model):  # each process reads its own parts
        return _read_last_state(store, record, model)
    return processes.from_first(lambda: _read_last_state(store, record, model))


def _read_last_state(store: Store, record: Record, model: nn.Module) -> LastState:
    checkpoint = checkpoints.load(store.folder_of(record.id) / "checkpoints", model)
    if checkpoint:
        check_identity(record, {k: str(checkpoint.manifest[k]) for k in ("model", "data")})
        return LastState(*checkpoint, None)
    _check_start_over(store, record)
    origin = record.config.start
    return LastState(NO_CHECKPOINT, None, [], None if origin == Config.start else start_state(origin, store))


def _check_start_over(store: Store, record: Record) -> None:
    """Refuses to begin a run at its start again where its record holds more than a run before its first checkpoint."""
    last, has_point = record.config.last_checkpoint, bool(store.points(record.id))
    if last is None:  # a run of Steepest 0.1: at its end, and every so many steps, it wrote one
        every = checkpoint_interval(record.config.checkpoint_every)[1]
        is_late = every is not None and len(record.steps) > every + LATE_STEPS
        last = int(is_late or (has_point and record.status == "interrupted"))
    if len(record.steps) and (last or record.status in ("done", "stopped")):
        raise StoreError(
            f"Run {record.id} has no checkpoint any more, so it cannot be continued. Its record of "
            f"{len(record.steps):,} steps stays as it is. "
            + (f"Pass start={record.id!r} (--start) for a new run from its end." if has_point else "Start a new run.")
        )


def _restore(last: LastState, descent: Descent, is_longer: bool) -> tuple[BestPoint | None, list[str]]:
    """Restores a checkpoint; returns the best point so far, and messages."""
    state, messages = last.state, []
    if state is None:
        return None, messages
    with state_of_run():
        count, is_stopped = state["descent"]["taken"], state["stopped"]
    if descent.batches.is_iterable and count and state["place"] is None:  # it cannot be set to its place
        name = type(descent.task.data).__name__
        messages.append(f"Skipping {count} batches of the {name} that were used before.")
    if is_longer and is_stopped:  # the patience that ended the run starts again
        state["stopped"], state["best"]["since"] = False, 0
    return restore(descent, state, last.manifest["events"]), messages


def _check_length(record: Record, t: int, descent: Descent) -> None:
    has_ended = record.status in ("done", "stopped")
    if t > descent.steps or (has_ended and t == descent.steps):
        s = descent.settings
        name, value = ("steps", s.steps) if s.epochs is None else ("epochs", s.epochs)
        raise InputError(f"{name} must extend run {record.id} beyond step {t}, got {value}")


def _check_stage(record: Record, t: int, stages: Stages, descent: Descent) -> None:
    """Another length must not move step t into another stage, whose rule has no state for it."""
    then, now = (
        next((n for n, part in enumerate(stages.bounds(steps, descent.steps_per_epoch), 1) if part.last >= t), 0)
        for steps in (record.config.steps, descent.steps)
    )
    if then != now:
        raise InputError(
            f"The new length must leave step {t} in stage {then}, whose rule has its state, got {descent.steps} steps, "
            f"which move it to stage {now}. Pass another length, or start={record.id!r} for a new run."
        )


def _restore_threads(record: Record, processes: Processes) -> list[str]:
    """Restores the thread count; a message where anything else differs, since the result is then not bit-equal."""
    threads = int(record.versions["threads"])
    if threads != torch.get_num_threads():
        torch.set_num_threads(threads)
    then, now = {"processes": "1", **record.versions}, {**versions(), "processes": str(processes.count)}
    changes = [f"{k} {then[k]} → {v}" for k, v in now.items() if then.get(k) != v]
    return [f"Not continued bit for bit, since these changed: {'; '.join(changes)}."] if changes else []


def _stretch(config: Config, descent: Descent) -> tuple[Config, list[str]]:
    """The configuration with the descent's length, and a message if it is another one."""
    if descent.steps == config.steps:
        return config, []
    words = f"from {config.steps} to {descent.steps} steps, the schedule with it"
    changes = {"steps": descent.steps, "epochs": descent.settings.epochs, "stretched": (*config.stretched, words)}
    return dataclasses.replace(config, **changes), [f"Stretched {words}."]


def prepare_again(
    task: Task,
    arguments: Mapping[str, Any],
    caller: Callable,
    has_body: bool = False,
    processes: Processes = ALONE,
) -> Preparation:
    """The run that `fit` or `descend` was given as `resume`, before its next step.

    Raises:
        InputError: an argument that the run already has differs from its default.
    """
    run = arguments["resume"]
    free = {"resume", *inspect.signature(resume).parameters}
    parameters = inspect.signature(caller).parameters
    changes = [n for n, p in parameters.items() if n not in free and arguments[n] != p.default]
    if changes:
        name = run if isinstance(run, str) else run.id
        raise InputError(f"resume cannot change {', '.join(changes)}. Drop it, or start a new run with start={name!r}.")
    names = ("epochs", "steps", "rule", "device", "live", "trackers")
    runs = arguments["runs"] or "runs"
    choices = {name: arguments[name] for name in names}
    return prepare_resume(run, task, runs=runs, has_body=has_body, processes=processes, **choices)
