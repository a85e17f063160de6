"""`fit`: trains a task and records the run."""

import dataclasses
import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from steepest.descent.guard.guard import Guard
from steepest.descent.loop import Descent
from steepest.descent.settings import Settings, resolve
from steepest.records.search import Search
from steepest.runs.config import make_config
from steepest.runs.live import LiveServer, open_live
from steepest.runs.restore import load_start
from steepest.runs.resume import resumed
from steepest.runs.run import Run
from steepest.runs.store import Store, versions
from steepest.runs.trainer import Trainer, train
from steepest.search.rungs import run_search
from steepest.tasks.space import NORMS_AND_BIASES, Space
from steepest.tasks.task import Task
from steepest.view.terminal import Progress, SearchDisplay

AUTO = "auto"


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
    live: bool | LiveServer = False,
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
    watched = open_live(live, runs)
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
        load_start(start, descent.space, store)
    config = make_config(task, descent, start, keep, stop_after, checkpoint_every, locate)
    if found is not None:
        config["search"] = found.describe()
    writer = store.begin(name or task.name, config, versions(), seed, notes)
    train(Trainer(descent, writer, Progress(descent.steps, config["metric"]), config), watched)
    return Run(store, store.read(writer.id), descent.model, task)


def _searched(task: Task, settings: Settings, start: Run | str | None, store: Store) -> Search:
    """The rate of the first stage, from where the training will begin."""
    if start is not None:
        space = Space(task.copy(settings.seed))
        load_start(start, space, store)
        task = task.at(space.gather())
    with SearchDisplay() as shown:
        return run_search(task, dataclasses.replace(settings, stages=settings.stages.first), watch=shown)
