"""What a run of several processes does besides at its start: all of them begin alike, and the first one records it."""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import nn

from steepest.descent.norm_statistics import norm_layers
from steepest.descent.settings import Settings
from steepest.distributed.group import check_alike, script_hash
from steepest.distributed.processes import Processes
from steepest.distributed.shards import check_policies, shards_of
from steepest.errors import InputError
from steepest.records.config import Config
from steepest.rules.rule import Rule
from steepest.runs.config import model_identity
from steepest.runs.no_record import OtherRecord
from steepest.runs.store import Writer, versions
from steepest.tasks import Task
from steepest.tasks.batches import part_of
from steepest.tasks.data import fingerprint

ENVIRONMENT = ("python", "steepest", "torch", "numpy", "numba")
"""What of the environment must be the same on all processes."""


def begin_together(
    processes: Processes, task: Task, settings: Settings, model: nn.Module, choices: Mapping[str, Any]
) -> str:
    """Checks that all processes train the same run; what to say about it, empty on one process.

    Args:
        processes: of the run.
        task, settings, model: of the descent.
        choices: besides.

    Raises:
        InputError: the batches are too small, or a process has other data, settings or code; names it.
    """
    if shards_of(model):
        check_policies(model)
        _check_rules(settings, choices)
    if not processes.are_several:
        return ""
    size = settings.batch_size
    if isinstance(size, int) and size // settings.accumulate < processes.count:
        raise InputError(
            f"batch_size / accumulate must be at least {processes.count}, the number of processes, got {size} / "
            f"{settings.accumulate}. Pass larger batches, or start fewer processes."
        )
    own = versions()
    check_alike(
        processes,
        {
            "data": [fingerprint(split) for split in (task.data, task.validation, task.test)],
            "model": model_identity(model),
            "settings": [dataclasses.replace(settings.describe(), device="").to_json(), sorted(choices.items())],
            "code": [script_hash(), task.source_hash, *(own[name] for name in ENVIRONMENT)],
        },
    )
    return _split_words(size, processes.count, model)


def _check_rules(settings: Settings, choices: Mapping[str, Any]) -> None:
    """Refuses what needs whole weights where each process has a part of them."""
    first, *later = settings.stages.parts
    if not all(isinstance(part.rule, Rule) for part in (first, *later)):
        raise InputError(
            "A sharded model needs a rule of Steepest, got a torch optimizer. Pass a rule, such as 'adamw'."
        )
    if any(part.lr is None for part in later):
        raise InputError(
            "With a sharded model every later stage needs its rate, got one without. Pass lr= to sd.stage."
        )
    if choices.get("start", Config.start) != Config.start:
        raise InputError("A sharded model begins at its own weights, got start=. Load them into the model before.")


def _split_words(size: int | str | None, count: int, model: nn.Module) -> str:
    """How batches are split, and what is not as on one process."""
    words = f"Training on {count} processes"
    if isinstance(size, int):
        low, high = size // count, part_of(size, 0, count)[1]
        samples = f"{low}" if low == high else f"{low} or {high}, weighted by their number"
        words += f": of each batch of {size} samples, each takes {samples}"
    if norm_layers(model):
        words += ". Batch norm sees each process's own samples, and its running statistics are those of the first"
    return words + "."


def begin_record(processes: Processes, begin: Callable[[], Writer], runs: Path) -> Writer | OtherRecord:
    """The record of a run on its first process; what stands in for it on the others.

    Args:
        processes: of the run.
        begin: makes the record.
        runs: folder of the runs.
    """
    writers: list[Writer] = []

    def begin_here() -> str:
        writers.append(begin())
        return writers[0].id

    run = processes.from_first(begin_here)
    return writers[0] if writers else OtherRecord(run, runs / run)


def versions_of(processes: Processes) -> dict[str, str]:
    """What the environment of a run of several processes has besides."""
    return {"processes": str(processes.count)} if processes.are_several else {}
