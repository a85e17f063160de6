"""Whether logs of other trainers are diagnosed as our own record with the same columns and the same interval.

The runs are some of those of `diagnoses`. Each is written as other trainers write it, read back, and diagnosed; beside
it stands our own record, reduced to what that format holds. Also: what the reduced records still tell of the faults
that are known, and how often they say something wrong.
"""

import json
import math
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks.diagnosis import diagnoses
from benchmarks.diagnosis.known_faults import PLAIN, Faults, is_right, known_faults, make_record
from benchmarks.diagnosis.trainings import FRESH
from benchmarks.parts import Options, Outcomes, Study
from benchmarks.report import check, table
from steepest.analysis.conclusion import diagnose
from steepest.analysis.diagnosis.diagnose import Diagnosis
from steepest.analysis.diagnosis.findings import CANNOT_TELL, TOO_SHORT
from steepest.integrations.csv_file import CsvFile
from steepest.integrations.logs.read import read_log
from steepest.records.config import Config
from steepest.records.run import COLUMNS, SIZE_OF_BATCH, SIZE_OF_DATA, SIZE_OF_MODEL, Record, Steps
from steepest.runs.trackers import replay

TITLE = "Diagnoses of logs of other trainers"
SAMPLE = FRESH[::5]
SHARE = 3
"""Of the runs whose fault is known every third is written and read."""
EVERY = 5
"""Steps between two values of the formats that are not written at every step: the runs are short."""
SIZES = (SIZE_OF_DATA, SIZE_OF_MODEL, SIZE_OF_BATCH)


class Format(NamedTuple):
    """How a trainer writes a run.

    Attributes:
        write: writes a record into a folder; gives the path of the log.
        gaps: columns that it does not hold.
        every: steps between two values.
        is_mean: whether a loss is the mean since the one before.
        has_start: whether validation before the first step is in it.
    """

    write: Callable[[Record, Path], Path]
    gaps: tuple[str, ...] = ()
    every: int = 1
    is_mean: bool = False
    has_start: bool = True


# -- Formats -----------------------------------------------------------------------------------------------------------


def _trainer_state(record: Record, folder: Path) -> Path:
    """As Hugging Face's Trainer: every few steps the mean loss, the gradient norm of the last one."""
    s = reduce(record, TRAINER_STATE).steps
    log: list[dict[str, float]] = [
        {"epoch": e, "grad_norm": g, "learning_rate": lr, "loss": loss, "step": int(t)}
        for t, e, lr, loss, g in zip(s.t, s.epoch, s.lr, s.loss, s.grad_norm, strict=True)
    ]
    log += [
        {"epoch": m.epoch, f"eval_{m.name}": m.value, "eval_runtime": 1.0, "step": m.t} for m in record.measurements
    ]
    state = {"log_history": log, "max_steps": record.config.steps, "global_step": record.config.steps}
    path = folder / "trainer_state.json"
    path.write_text(json.dumps(state))
    return path


def _lightning(record: Record, folder: Path) -> Path:
    """As Lightning's CSVLogger: the loss of every few steps, which count from 0; no norms."""
    from lightning.pytorch.loggers import CSVLogger

    logger, s = CSVLogger(folder, flush_logs_every_n_steps=10**9), reduce(record, LIGHTNING).steps
    for t, epoch, lr, loss in zip(s.t, s.epoch, s.lr, s.loss, strict=True):
        logger.log_metrics({"train_loss": loss, "lr-SGD": lr, "epoch": epoch}, int(t) - 1)
    for m in record.measurements:
        if m.t:
            logger.log_metrics({f"val_{m.name}": m.value, "epoch": m.epoch}, m.t - 1)
    logger.save()
    return Path(logger.log_dir) / "metrics.csv"


def _tensorboard(record: Record, folder: Path) -> Path:
    """As scalars in an event file: loss, gradient norm and rate of every step."""
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(folder)) as writer:
        s = record.steps
        for t, lr, loss, g in zip(s.t, s.lr, s.loss, s.grad_norm, strict=True):
            for tag, value in (("train/loss", loss), ("train/learning_rate", lr), ("train/grad_norm", g)):
                writer.add_scalar(tag, value, int(t))
        for m in record.measurements:
            writer.add_scalar(f"eval/{m.name}", m.value, m.t)
    return folder


def _own_csv(record: Record, folder: Path) -> Path:
    """As `run.export("csv")`: every column of every step, but no sizes."""
    replay(record, {}, folder, CsvFile())
    return folder / "metrics.csv"


TRAINER_STATE = Format(_trainer_state, ("update_norm",), EVERY, is_mean=True)
LIGHTNING = Format(_lightning, ("grad_norm", "update_norm"), EVERY, has_start=False)
FORMATS = {
    f"Trainer's trainer_state.json, means of {EVERY} steps": TRAINER_STATE,
    f"Lightning's metrics.csv, every {EVERY}th step, no norms": LIGHTNING,
    "TensorBoard's event file, every step, no update norm": Format(_tensorboard, ("update_norm",)),
    '`run.export("csv")`, every step and column': Format(_own_csv),
}


def reduce(record: Record, form: Format) -> Record:
    """Our own record with the columns and the interval of a format, and without the sizes that no log says."""
    s, k = record.steps, form.every
    at = np.arange(k - 1, len(s), k)
    columns = {name: getattr(s, name)[at] for name in COLUMNS}
    if form.is_mean:
        columns["loss"] = np.array([float(np.mean(s.loss[i - k + 1 : i + 1])) for i in at])
    columns |= {name: np.full(len(at), math.nan) for name in form.gaps}
    rates = columns["lr"][np.isfinite(columns["lr"])]
    config = Config(steps=record.config.steps, lr=float(rates.max()) if len(rates) else None)
    measurements = tuple(m for m in record.measurements if m.t or form.has_start)
    return replace(record, config=config, measurements=measurements, steps=Steps(**columns), gaps=(*form.gaps, *SIZES))


# -- Trials ------------------------------------------------------------------------------------------------------------


def _work(outcomes: Outcomes, options: Options) -> None:
    options.problems = options.problems or [series.problem.name for series in SAMPLE]
    diagnoses.STUDY.work(outcomes, options)


def _lines(outcomes: Outcomes, options: Options) -> list[str]:
    cases = [(make_record(run), faults) for run, faults in known_faults(outcomes) if run["way"] == PLAIN]
    cases = cases[::SHARE]
    rows = [["our record, whole", "", "", *_answers([(diagnose(record), faults) for record, faults in cases])]]
    for name, form in FORMATS.items():
        own = [(diagnose(reduce(record, form)), faults) for record, faults in cases]
        logs = [(_of_log(record, form), faults) for record, faults in cases]
        same = sum(a.findings == b.findings for (a, _), (b, _) in zip(own, logs, strict=True))
        rows.append([name, f"{same} / {len(cases)}", check(-same, -len(cases)), *_answers(logs)])
        if options.details:
            rows += _differences(name, own, logs)
    how = (
        f"{len(cases)} runs whose fault is known, of {len({o['series'] for o in outcomes})} of the trainings of "
        "`diagnoses`: every fifth of them, every third of their runs. *Same*: all findings, words and numbers are "
        "those of our own record with the same columns and the same interval (aim: all). *Right*: the first finding "
        "is one of the run's faults. A log without the update norm says little by design: what depends on it is not "
        "guessed. These runs were read twice: at first 5 of 56 Trainer's logs and 7 of Lightning's were named wrongly; "
        "then, on trainings of the development sets, logs that begin after the start were made to say less."
    )
    return [how, "", *table(["log", "same", "met", "right", "cannot tell", "wrong"], rows)]


def _of_log(record: Record, form: Format) -> Diagnosis:
    with tempfile.TemporaryDirectory() as folder:
        return diagnose(read_log(form.write(record, Path(folder))))


def _answers(cases: Sequence[tuple[Diagnosis, Faults]]) -> list[str]:
    """How many are right, say that they cannot tell, and are wrong."""
    right = sum(is_right(diagnosis, faults) for diagnosis, faults in cases)
    silent = sum(diagnosis.kind in (CANNOT_TELL, TOO_SHORT) for diagnosis, _ in cases)
    return [f"{count} ({count / len(cases):.1%})" for count in (right, silent, len(cases) - right - silent)]


def _differences(name: str, own: Sequence, logs: Sequence) -> list[list[str]]:
    return [
        [name, "differs", "", a.sentence, b.sentence, ""]
        for (a, _), (b, _) in zip(own, logs, strict=True) if a.findings != b.findings
    ]  # fmt: skip


STUDY = Study("foreign", diagnoses.KEY, _work, _lines)
measure, main = STUDY.measure, STUDY.main
