"""`resume`: continues a run as if it had never stopped."""

import dataclasses
from pathlib import Path
from typing import Any

import torch

from steepest.descent.loop import Descent
from steepest.descent.stages import Stages
from steepest.errors import InputError, StoreError
from steepest.records.config import Config, to_json
from steepest.records.run import Record
from steepest.runs.config import identity, settings_of
from steepest.runs.live import LiveServer, open_live
from steepest.runs.restore import built_in_task, check_identity, load_start
from steepest.runs.run import Run
from steepest.runs.store import Store, checkpoints, versions
from steepest.runs.store.store import check_not_in_use
from steepest.runs.trainer import Trainer
from steepest.tasks import Task, data
from steepest.view.terminal import Progress

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

    Raises:
        StoreError: the run is still running, is finished, or was made with a different task; says what differs.
        InputError: the length or the rule does not fit the run.
    """
    store, own_task = (Store(runs), None) if isinstance(run, str) else (run.store, run.task)
    on_start = open_live(live, store.folder)
    record = store.read(run if isinstance(run, str) else run.id)
    check_not_in_use(record)
    if record.status in ("done", "stopped") and not (epochs or steps):
        raise StoreError(
            f"Run {record.id} is already finished. Pass more epochs or steps to extend it, or start={record.id!r} to "
            "start a new run from it."
        )
    task = task or own_task or built_in_task(record)
    check_identity(record, {"data": data.fingerprint(task.data)})
    config = record.config if device == "auto" else dataclasses.replace(record.config, device=device)
    settings = settings_of(task, config, rule, epochs, steps)
    messages = _restore_threads(record)
    descent = Descent(task, settings, task.build(settings.seed))
    check_identity(record, identity(task, descent.model))
    trainer, more = _make_trainer(store, record, descent, is_longer=bool(epochs or steps))
    trainer.run(on_start, [*messages, *more])
    return Run(store, store.read(record.id), descent.model, task)


def _make_trainer(store: Store, record: Record, descent: Descent, is_longer: bool) -> tuple[Trainer, list[str]]:
    """A trainer at the last valid checkpoint, and messages."""
    folder = store.folder / record.id / "checkpoints"
    checkpoint = checkpoints.load(folder)
    manifest, state, damage = checkpoint or (NO_CHECKPOINT, {}, [])
    t = manifest["t"]
    if checkpoint:
        check_identity(record, {k: str(manifest[k]) for k in ("model", "data")})
    elif record.config.start != Config.start:
        load_start(record.config.start, descent.space, store)
    _check_length(record, t, descent)
    _check_stage(record, t, descent.settings.stages, descent)
    if damage:
        checkpoints.set_damage_aside(folder)
    config, messages = _stretch(record.config, descent)
    writer = store.reopen(
        record.id, manifest["attempt"], t, manifest["events"], to_json(config, record.search, record.verdict)
    )
    seconds = manifest.get("seconds", 0.0) if record.status == "interrupted" else record.seconds
    progress = Progress(descent.steps, config.metric, start=t)
    trainer = Trainer(descent, writer, progress, config, record.search, record.verdict, seconds)
    if checkpoint:
        count = state["descent"]["taken"]
        if descent.batches.is_iterable and count and state["place"] is None:  # it cannot be set to its place
            name = type(descent.task.data).__name__
            messages.append(f"Skipping {count} batches of the {name} that were used before.")
        if is_longer and state["stopped"]:  # the patience that ended the run starts again
            state["stopped"], state["best"]["since"] = False, 0
        trainer.restore(state, manifest["events"])
    return trainer, [*messages, *damage, f"Resuming {record.id} after step {t}."]


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


def _restore_threads(record: Record) -> list[str]:
    """Restores the thread count; a message where anything else differs, since the result is then not bit-equal."""
    threads = int(record.versions["threads"])
    if threads != torch.get_num_threads():
        torch.set_num_threads(threads)
    now = versions()
    changes = [f"{k} {record.versions[k]} → {v}" for k, v in now.items() if record.versions.get(k) != v]
    return [f"Not continued bit for bit, since these changed: {'; '.join(changes)}."] if changes else []


def _stretch(config: Config, descent: Descent) -> tuple[Config, list[str]]:
    """The configuration with the descent's length, and a message if it is another one."""
    if descent.steps == config.steps:
        return config, []
    words = f"from {config.steps} to {descent.steps} steps, the schedule with it"
    changes = {"steps": descent.steps, "epochs": descent.settings.epochs, "stretched": (*config.stretched, words)}
    return dataclasses.replace(config, **changes), [f"Stretched {words}."]
