"""`fit`: trains a task and records the run."""

import dataclasses
import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from steepest.descent.guard.guard import Guard
from steepest.descent.loop import Descent
from steepest.descent.population.dispatch import SEQUENTIAL
from steepest.descent.settings import ARGUMENTS, Settings, resolve
from steepest.errors import InputError
from steepest.records.config import Config, to_json
from steepest.records.search import Search
from steepest.runs.config import AUTO, check_choices, make_config
from steepest.runs.live import LiveServer, open_live
from steepest.runs.restore import load_start
from steepest.runs.resume import resume as resume_run
from steepest.runs.run import Run
from steepest.runs.store import Store, versions
from steepest.runs.trainer import Trainer
from steepest.search.rungs import run_search
from steepest.tasks import NORMS_AND_BIASES, Space, Task
from steepest.view.terminal import Progress, SearchDisplay


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
    """Trains the task's model in place, from the task's start, and records the run.

        w ← rule(w, ∇L(w); lr · schedule(t)),  t = 1 … T

    An argument that is not given comes from the task's recipe; without one the rule is adam at its default learning
    rate, the schedule `warmup(5%) >> cosine`, the batch size 64. epochs or steps is required. The validation split is
    measured before the first step, after each epoch and at the end. Ctrl-C ends the run after the present step: its
    status is "interrupted", and everything so far is saved.

    Args:
        task: the task to train.
        rule: a name, a rule, stages, or a function `params -> torch.optim.Optimizer`.
        lr: base learning rate, positive; with stages, that of the first one. "auto" measures it first, as `find_lr`
            does for that stage's rule, but from this run's start; the measurement is recorded.
        schedule: factor of the learning rate over the run, as text or schedule.
        batch_size: samples per step: "full" or an integer ≥ 1.
        epochs, steps: length of the run; one of them.
        clip: largest gradient norm; a longer gradient is scaled down to it.
        accumulate: micro-batches that each batch is split into.
        average: β of a running average of the weights, such as 0.999; the average is measured and left in the model.
        precision: "bfloat16" for forward pass and loss under autocast; the weights keep their precision.
        groups: hyperparameters by glob on parameter names, `{"head.*": {"lr_scale": 0.1}}`.
        no_decay: parameters without weight decay: "norms and biases", globs, or None.
        keep: "last", or "best" to leave and store the point with the best validation metric.
        stop_after: number of measurements without a better validation metric after which the run stops.
        guard: True lowers the learning rate or rewinds when the loss explodes; "report" only reports; a Guard sets the
            thresholds.
        locate: end with a quick check of the point (`run.verdict`), which takes at most 10 % of the run's time, or two
            seconds if that is longer.
        start: a run or its id, at whose end to start instead of the task's start.
        resume: a run or its id to continue, as `sd.resume` does. Only rule, epochs, steps, runs, device and live may be
            given with it.
        checkpoint_every: steps, or seconds as text ("30 s"), between checkpoints, from which a killed run resumes.
        seed: of the order of data, of all randomness, and of the start if the task's model is a function.
        device: "auto", "cpu" or "cuda".
        runs: folder of the runs.
        name: of the run; None for the task's.
        notes: stored with the run.
        live: show the run in a browser while it trains, at an address that is printed; the server is a process of its
            own, which ends with this one.

    Returns:
        the Run.

    Raises:
        SteepestError: invalid arguments, or a task that cannot be trained or stored, before the first step; bad data
            when it is found.
    """
    arguments = locals()
    check_choices(task, keep, stop_after, checkpoint_every)
    if resume is not None:
        _refuse_changes(arguments, resume if isinstance(resume, str) else resume.id)
        return resume_run(resume, task, epochs=epochs, steps=steps, rule=rule, runs=runs, device=device, live=live)
    on_start = open_live(live, runs)
    settings = resolve(task, **{name: arguments[name] for name in ARGUMENTS} | {"lr": None if lr == AUTO else lr})
    store, search, messages = Store(runs), None, [task.validation_note()]
    if lr == AUTO:
        search = _find_lr(task, settings, start, store)
        settings = dataclasses.replace(settings, lr=search.best)
        messages.append(search.sentence)
        if search.way == SEQUENTIAL:
            messages.append(f"The search ran sequentially: {search.why}.")
    if start is None:
        messages.append(task.change_note())
    descent = Descent(task, settings, task.build(seed))
    if start is not None:
        load_start(start, descent.space, store)
    origin = start if isinstance(start, str) else getattr(start, "id", Config.start)
    config = make_config(
        task, descent, keep=keep, stop_after=stop_after, checkpoint_every=checkpoint_every, locate=locate, start=origin
    )
    writer = store.begin(name or task.name, to_json(config, search, None), versions(), seed, notes)
    Trainer(descent, writer, Progress(descent.steps, config.metric), config, search).run(on_start, messages)
    return Run(store, store.read(writer.id), descent.model, task)


def _refuse_changes(arguments: Mapping[str, Any], run: str) -> None:
    """Raises an InputError if an argument that a resumed run already has differs from its default."""
    free = {"resume", *inspect.signature(resume_run).parameters}
    parameters = inspect.signature(fit).parameters
    changes = [n for n, p in parameters.items() if n not in free and arguments[n] != p.default]
    if changes:
        raise InputError(f"resume cannot change {', '.join(changes)}. Drop it, or start a new run with start={run!r}.")


def _find_lr(task: Task, settings: Settings, start: Run | str | None, store: Store) -> Search:
    """The learning rate of the first stage, measured at the run's start."""
    if start is not None:
        space = Space(task.copy(settings.seed))
        load_start(start, space, store)
        task = task.at(space.gather())
    with SearchDisplay() as display:
        return run_search(task, dataclasses.replace(settings, stages=settings.stages.first), watch=display)
