"""Every fault of the guard's benchmarks on two gloo processes: whether they decide alike, and what is survived.

The guard is on one process; on two, with a fault on both; on two, with a fault on the second alone; and on two that
hold shards of the weights (FSDP2), with a fault on both. All are compared with one process without a guard. A rate in
the schedule is the program's, so that it is never wrong on one process alone.

This file is also what torchrun starts: `… -m benchmarks.guard.ranks FOLDER`.
"""

import argparse
import functools
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.guard import fault_kinds, trials
from benchmarks.guard.faults import FAULTS
from benchmarks.guard.survivors import CONTROLS, KEY, ONSET, Survival
from benchmarks.guard.trials import METHODS as WAYS
from benchmarks.guard.trials import Fault
from benchmarks.parts import Options, Outcomes, Study
from benchmarks.problems.problems import GROUPS, Problem, find
from benchmarks.report import table, yes
from steepest.descent.loop import Descent
from steepest.distributed.group import join
from steepest.distributed.processes import ALONE, Processes
from steepest.distributed.shards import shards_of
from steepest.records.run import Step

TITLE = "The guard on two processes"
ALONE_UNGUARDED, ALONE_GUARDED = "no guard", "guard"
TOGETHER = TWO, SECOND, SHARDS = "guard, two processes", "guard, fault on the second", "guard, shards on two"
METHODS = (ALONE_UNGUARDED, ALONE_GUARDED, *TOGETHER)
"""As outcomes have them; the first is the plain loop, which takes every step."""
SPREAD_SEEDS = range(4)
PROBLEMS_OF_GROUP = 1


# -- A run on some processes -------------------------------------------------------------------------------------------


class Watched(Fault):
    """A fault that happens on this process or does not, and what the loop said here.

    Attributes:
        decisions: of the guard, in words.
        numbers: loss and gradient norm of each step.

    Args:
        own: the fault; None where it happens elsewhere.
    """

    def __init__(self, own: Fault | None) -> None:
        self._own = own or Fault()
        self.decisions: list[str] = []
        self.numbers: list[tuple[float, float]] = []

    def begin(self, descent: Descent) -> None:
        objective = descent.objective
        self._own.begin(descent)
        if descent.joint is not None and descent.objective is not objective:
            changed, descent.objective = descent.objective, objective
            _change_before_reduction(descent, changed)

    def after(self, step: Step) -> None:
        self.numbers.append((step.loss, step.grad_norm))
        if step.event is not None:
            self.decisions.append(repr(step.event))
        self._own.after(step)


class _Part:
    """A parameter whose gradient is that of this process's part."""

    def __init__(self, parameter: Any) -> None:
        self._parameter = parameter

    @property
    def grad(self) -> Tensor | None:
        gradient = self._parameter.grad
        return None if gradient is None else gradient._local_tensor


def _change_before_reduction(descent: Descent, changed: Any) -> None:
    """A fault of gradients changes those of this process, before they are summed with the others'."""
    changed.own = SimpleNamespace(gradient=lambda: 0.0)
    shards, seen = list(shards_of(descent.model).values()), []
    tensors = shards or list(descent.space.tensors())
    if shards:
        changed._tensors = [_Part(p) for p in shards]

    def count(p: Tensor) -> None:
        seen.append(p)
        if len(seen) % len(tensors) == 0:
            changed.gradient()

    for p in tensors:
        p.register_post_accumulate_grad_hook(count)


def _outcome(
    problem: Problem, make: Callable[[], Fault], method: str, seed: int, processes: Processes = ALONE
) -> dict[str, Any]:
    """A run with a fault as it is stored, and whether the processes were alike."""
    way = "plain loop" if method == ALONE_UNGUARDED else "guard"
    fault = Watched(make() if method != SECOND or processes.rank == 1 else None)
    torch.manual_seed(seed)
    descent = problem.descent(seed, processes, _shard if method == SHARDS else None, **WAYS[way].settings)
    run = trials.train(descent, way, fault)
    weights = b"".join(p.detach().numpy().tobytes() for p in descent.space.tensors())
    own = [_hash(fault.decisions), _hash(fault.numbers), _hash(weights)]
    decisions, numbers, points = (len(set(hashes)) == 1 for hashes in zip(*processes.gather(own)))
    return {
        "loss": run.loss, "executed": run.count, "stopped": None, "events": run.events, "onset": 0,
        "same": {"decisions": decisions, "numbers": numbers, "weights": points},
    }  # fmt: skip


def _hash(what: Any) -> str:
    return hashlib.sha256(what if isinstance(what, bytes) else repr(what).encode()).hexdigest()


def _shard(model: nn.Module) -> nn.Module:
    from torch.distributed.fsdp import fully_shard

    return fully_shard(model)


# -- All runs ----------------------------------------------------------------------------------------------------------


def _kinds(group: str) -> dict[str, Callable[[], Fault]]:
    return {name: make for name, make in FAULTS.items() if name not in CONTROLS} | fault_kinds.KINDS[group]


def _problems(options: Options) -> list[tuple[str, Problem]]:
    """Each group of faults with its problems, the first ones of those of `fault_kinds`."""
    pairs = []
    for group in options.groups:
        among, names = fault_kinds.PROBLEMS[group]
        pairs += [(group, p) for p in find(options.problems or names[: options.problems_of_group], GROUPS[among])]
    return pairs


def _trials(options: Options) -> list[tuple[str, str, str, str, int]]:
    """(group, problem, fault, method, seed) of all runs."""
    rows = []
    for group, problem in _problems(options):
        seeds = options.seeds or [0]
        rows += [(group, problem.name, "nothing", ALONE_UNGUARDED, s) for s in sorted({*SPREAD_SEEDS, *seeds})]
        rows += [(group, problem.name, f, m, s) for m in METHODS for s in seeds for f in _kinds(group) if _can_be(f, m)]
    return rows


def _can_be(fault: str, method: str) -> bool:
    """Whether a fault can happen where the method has it: a rate in the schedule is the same on all processes."""
    return method != SECOND or not (fault in FAULTS and fault.startswith("lr ×"))


def _run(row: tuple[str, str, str, str, int], outcomes: Outcomes, processes: Processes = ALONE) -> None:
    """Runs a trial; the first process stores the outcome."""
    group, name, fault, method, seed = row
    (problem,) = find([name], GROUPS[fault_kinds.PROBLEMS[group][0]])
    run = functools.partial(_outcome, problem, {"nothing": Fault, **_kinds(group)}[fault], method, seed, processes)
    if processes.is_first:
        outcomes.add(row[1:], run)
    else:
        run()


def _work(outcomes: Outcomes, options: Options) -> None:
    rows = [row for row in _trials(options) if outcomes.lacks(row[1:])]
    for row in rows:
        if row[3] not in TOGETHER:
            _run(row, outcomes)
    together = [row for row in rows if row[3] in TOGETHER]
    if together:
        (outcomes.folder / "trials.json").write_text(json.dumps(together))
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.getcwd()}
        command += ["--module", "benchmarks.guard.ranks", str(outcomes.folder)]
        subprocess.run(command, env=environment, check=True)


def train_together(folder: Path) -> None:
    """What each of the two processes does."""
    torch.set_num_threads(1)
    processes = join()
    rows = json.loads((folder / "trials.json").read_text())
    outcomes = Outcomes(folder, KEY)
    for row in rows:
        _run(tuple(row), outcomes, processes)


# -- The report --------------------------------------------------------------------------------------------------------


def _lines(outcomes: Outcomes, options: Options) -> list[str]:
    seen, pairs = list(outcomes), _problems(options)
    faults = list(dict.fromkeys(name for group, _ in pairs for name in _kinds(group)))
    survival = Survival(seen, [p.name for _, p in pairs], ["nothing", *faults])
    rows = [[name, *(survival.share(some, m) for m in METHODS)] for name, some in [(f, [f]) for f in faults]]
    rows += [["all faults", *(survival.share(faults, m) for m in METHODS)]]
    rows += [
        [
            "all that can be on one process",
            *(survival.share([f for f in faults if _can_be(f, SECOND)], m) for m in METHODS),
        ]
    ]
    groups = "; ".join(f"{p.name}, faults of group {group!r}" for group, p in pairs)
    how = (
        f"Survivors / runs that count, as in *Surviving faults* ({groups}; seeds "
        f"{', '.join(map(str, options.seeds or [0]))}). A fault begins after {ONSET:.0%} of the run and counts if it "
        "harms one process's plain loop. On two processes it changes gradients before they are summed."
    )
    details = _unlike(seen) if options.details else []
    return [how, "", *table(["fault", *METHODS], rows), "", *_likeness(seen, pairs), *details]


def _likeness(seen: list[dict[str, Any]], pairs: list[tuple[str, Problem]]) -> list[str]:
    """How often the two processes were alike."""
    rows, names = [], {p.name for _, p in pairs}
    for method in TOGETHER:
        runs = [o for o in seen if o["problem"] in names and o["method"] == method]
        counts = {what: sum(o["same"][what] for o in runs) for what in ("decisions", "numbers", "weights")}
        alike = [f"{counts[what]} of {len(runs)}" for what in ("decisions", "numbers")]
        points = "" if method == SHARDS else f"{counts['weights']} of {len(runs)}"
        events = f"{sum(len(o['events']) for o in runs)}"
        rows.append([method, events, *alike, points, yes(counts["decisions"] == len(runs))])
    header = ["", "events", "same decisions", "same losses and norms", "same weights at the end", "met"]
    return [
        *table(header, rows),
        "",
        "Decisions are compared word for word, losses and norms of all steps bit for bit.",
    ]


def _unlike(seen: list[dict[str, Any]]) -> list[str]:
    """Runs whose processes were not alike."""
    odd = [(o, [what for what, same in o["same"].items() if not same]) for o in seen if o["method"] in TOGETHER]
    return ["", *(f"{o['problem']}, {o['fault']}, {o['method']}: other {', '.join(what)}" for o, what in odd if what)]


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--groups", nargs="*", default=list(fault_kinds.KINDS), choices=list(fault_kinds.KINDS))
    parser.add_argument("--problems-of-group", type=int, default=PROBLEMS_OF_GROUP, help="of each group of faults")


STUDY = Study("ranks", KEY, _work, _lines, _add_options)
measure, main = STUDY.measure, STUDY.main

if __name__ == "__main__":
    train_together(Path(sys.argv[1]))
