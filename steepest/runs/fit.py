"""`fit`: trains a task and records the run."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from steepest.descent.guard.guard import Guard
from steepest.distributed.group import join
from steepest.errors import InputError
from steepest.records.arguments import check_arguments
from steepest.runs.live import LiveServer
from steepest.runs.restart import prepare_or_open
from steepest.runs.run import Run
from steepest.runs.trackers import Trackers
from steepest.tasks import NORMS_AND_BIASES, Task


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
    measure_every: int | str | None = None,
    checkpoint_every: int | str = "30 s",
    seed: int = 0,
    device: str = "auto",
    runs: str | Path = "runs",
    name: str | None = None,
    notes: str | None = None,
    live: bool | LiveServer = False,
    trackers: Trackers = (),
) -> Run:
    """Trains the task's model in place, from the task's start, and records the run.

        w ← rule(w, ∇L(w); lr · schedule(t)),  t = 1 … T

    An argument that is not given comes from the task's recipe; without one the rule is adam at its default learning
    rate, the schedule `warmup(5%) >> cosine`, the batch size 64. epochs or steps is required. The validation split is
    measured before the first step, as `measure_every` says, and at the end. Ctrl-C ends the run after the present
    step: its status is "interrupted", and everything so far is saved. In a process group, or under torchrun, all
    processes train one run, each with its share of every batch; the first one records it.

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
        average: β of a running average of the weights, such as 0.999; the average is measured and left in the model,
            with batch-norm statistics of its own.
        precision: "bfloat16" for forward pass and loss under autocast; the weights keep their precision.
        groups: hyperparameters by glob on parameter names, `{"head.*": {"lr_scale": 0.1}}`.
        no_decay: parameters without weight decay: "norms and biases", globs, or None.
        keep: "last", or "best" to leave and store the point with the best validation metric.
        stop_after: number of measurements without a better validation metric after which the run stops.
        guard: True lowers the learning rate or rewinds when the loss explodes; "report" only reports; a Guard sets the
            thresholds.
        locate: end with a quick check of the point (`run.verdict`), which takes about a tenth of the run, or half a
            second if that is longer, by counted work.
        start: a run or its id, at whose end (weights, buffers, extra state) to start instead of the task's start.
        resume: a run or its id to continue, as `sd.resume` does. Only rule, epochs, steps, runs, device, live and
            trackers may be given with it. Or "auto", for a program that is started again: the newest run of this
            `name` with the same settings goes on where it was interrupted, is returned where it is done, and is begun
            where there is none; SIGTERM, SIGUSR1 and SIGUSR2 then write a checkpoint and exit with code 75.
        measure_every: steps (500), or a length ("2 epochs", "5%" of the run), from one measurement of the validation
            split to the next; patience, best point and plateaus count these. None is every epoch, and 5 % of the run
            for data without a length.
        checkpoint_every: steps, or seconds as text ("30 s"), between checkpoints, from which a killed run resumes.
        seed: of the order of data, of all randomness, and of the start if the task's model is a function.
        device: "auto", "cpu" or "cuda".
        runs: folder of the runs.
        name: of the run; None for the task's.
        notes: stored with the run.
        live: show the run in a browser while it trains, at an address that is printed; the server is a process of its
            own, which ends with this one.
        trackers: what else gets the numbers as they come: "csv", "mlflow", "tensorboard", each also with a place
            ("csv:loss.csv", "mlflow:http://localhost:5000"), or a `Tracker`. csv and tensorboard write to the run's
            folder by default. One that fails is named, and the run continues.

    Returns:
        the Run.

    Raises:
        SteepestError: invalid arguments, or a task that cannot be trained or stored, before the first step; the model
            is then as it was. Bad data when it is found.
    """
    if runs is None:
        raise InputError("runs must be a folder, got None. Use sd.descend for a descent without a record.")
    arguments = check_arguments(locals())
    processes = join()
    with processes.ending_together():
        preparation = prepare_or_open(task, arguments, fit, processes)
        if isinstance(preparation, Run):
            return preparation
        preparation.train()
        run = preparation.run()
    preparation.trainer.signals.exit_to_requeue()
    return run
