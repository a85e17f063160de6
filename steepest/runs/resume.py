"""A run that goes on as if it had never stopped, and what is left where it has ended."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from steepest.descent.loop import Descent
from steepest.descent.stages import Stages
from steepest.errors import InputError, StoreError
from steepest.records.run import Record
from steepest.runs.config import identity, settings_of
from steepest.runs.restore import check_identity, load_start
from steepest.runs.store import Store, checkpoints, versions
from steepest.runs.store.state import unpack
from steepest.runs.store.store import check_not_in_use
from steepest.runs.trainer import Trainer, train
from steepest.tasks import data
from steepest.tasks.task import Task
from steepest.view.terminal import Progress

# -- Going on ----------------------------------------------------------------------------------------------------------


def resumed(
    task: Task, run: Any, runs: str | Path, rule: Any, epochs: int | None, steps: int | None,
    given: Mapping[str, Any], device: str, watched: Callable[[str], None] | None = None,
) -> tuple[Record, nn.Module]:  # fmt: skip
    """Goes on with a run, from its last sound checkpoint, to its end.

    Args:
        task: the run's task.
        run: a Run, or what names one.
        runs: the folder.
        rule: the run's rule, where it is not a built-in one.
        epochs, steps: another length; the schedule is stretched.
        given: what else the caller said; a resumed run takes none of it.
        device: "auto" for the recorded one.
        watched: is told the run's id when it goes on.

    Returns:
        the record at the end, and the model.

    Raises:
        StoreError: the run is still running, is done, or its checkpoints are of something else; says what differs.
        InputError: something is given that a run that goes on already has.
    """
    store = Store(runs)
    record = store.read(run if isinstance(run, str) else run.id)
    if given:
        raise InputError(
            f"resume={record.id!r} is given with {', '.join(given)}; a run that goes on has them already: leave them "
            "out, or begin a new run at its end with start="
        )
    _check_free(record, epochs or steps)
    config = dict(record.config)
    check_identity(record, {"data": config["data"]}, {"data": data.fingerprint(task.data)})
    settings = settings_of(task, config, rule, epochs, steps, device)
    said = _same_machine(record)
    descent = Descent(task, settings, task.build(settings.seed))
    check_identity(record, {k: config[k] for k in ("model", "data")}, identity(task, descent.model))
    then = config["steps"]
    said += _stretched(config, descent)
    found = checkpoints.load(store.folder / record.id / "checkpoints")
    manifest, state, tensors, damaged = found or ({"t": 0, "attempt": 0, "events": 0}, None, {}, [])
    if found:
        check_identity(record, {k: manifest[k] for k in ("model", "data")}, identity(task, descent.model))
    elif config["start"] != "the task's":
        load_start(config["start"], descent.space, store)
    _check_longer(record, manifest["t"], epochs, steps, descent.steps)
    _check_stage(record, manifest["t"], settings.stages, (then, descent.steps), descent.steps_per_epoch)
    if damaged:
        checkpoints.rename_damaged(store.folder / record.id / "checkpoints")
    writer = store.reopen(record.id, manifest["attempt"], manifest["t"], manifest["events"], config)
    progress = Progress(descent.steps, config["metric"], done=manifest["t"])
    before = manifest.get("seconds", 0.0) if record.status == "interrupted" else record.seconds
    training = Trainer(descent, writer, progress, config, before)
    if found:
        held = unpack(state, tensors)
        said += _passed_over(descent, held)
        if epochs or steps:
            _go_on(held)
        training.restore(held)
    for words in (*said, *damaged, f"{record.id} goes on after step {manifest['t']}"):
        progress.say(words)
    train(training, watched)
    return store.read(record.id), descent.model


def _check_longer(record: Record, t: int, epochs: int | None, steps: int | None, now: int) -> None:
    ended = record.status in ("done", "stopped")
    if t > now or (ended and t == now):
        given = f"steps={steps}" if epochs is None else f"epochs={epochs}"
        raise InputError(f"{given} is given, and run {record.id} goes on after step {t}, at the end of that or beyond")


def _check_stage(record: Record, t: int, stages: Stages, lengths: tuple[int, int], steps_per_epoch: int) -> None:
    """A rule's memory is of its own stage: another length must not put step t into another one."""
    then, now = (
        next((n for n, (*_, end) in enumerate(stages.bounds(steps, steps_per_epoch), 1) if end >= t), 0)
        for steps in lengths
    )
    if then != now:
        raise InputError(
            f"run {record.id} goes on after step {t} of {lengths[0]}, in its stage {then}; of {lengths[1]} steps this "
            f"one belongs to stage {now}, whose rule has another memory: give a length that leaves it where it is, or "
            "begin a new run at its end with start="
        )


def _go_on(held: dict[str, Any]) -> None:
    """Where more is asked for, what had ended the run no longer does."""
    if held["stopped"]:
        held["stopped"], held["best"]["since"] = False, 0


def _passed_over(descent: Descent, held: dict[str, Any]) -> list[str]:
    """What an iterable has given already is taken from it again, unless it can begin in the middle."""
    taken, kind = held["descent"]["taken"], type(descent.task.data).__name__
    if not descent.batches.is_iterable or not taken or held["place"] is not None:
        return []
    return [f"{taken} batches of the {kind} are passed over"]


def _check_free(record: Record, longer: int | None) -> None:
    check_not_in_use(record)
    if record.status in ("done", "stopped") and not longer:
        raise StoreError(
            f"run {record.id} is {record.status}; give more epochs or steps to go on, or begin a new run at its end "
            "with start="
        )


def _same_machine(record: Record) -> list[str]:
    """Restores the thread count, and says what else differs: the same bits are promised only where nothing does."""
    threads = int(record.versions["threads"])
    if threads != torch.get_num_threads():
        torch.set_num_threads(threads)
    now = versions()
    differing = [f"{k} {record.versions[k]} then, {v} now" for k, v in now.items() if record.versions.get(k) != v]
    return [f"not bit for bit as it would have been: {'; '.join(differing)}"] if differing else []


def _stretched(config: dict[str, Any], descent: Descent) -> list[str]:
    """Another length goes into the configuration, and is said."""
    if descent.steps == config["steps"]:
        return []
    words = f"from {config['steps']} to {descent.steps} steps, the schedule with it"
    config["stretched"] = [*config.get("stretched", []), words]
    config["steps"] = descent.steps
    config.pop("epochs", None)
    if descent.settings.epochs is not None:
        config["epochs"] = descent.settings.epochs
    return [f"stretched {words}"]
