"""What torchrun starts three times: a run that is killed on one process, and told to end on the other."""

import json
import os
import signal
import sys
from pathlib import Path

import steepest as sd
from steepest import seeds
from tests.distributed import tasks
from tests.distributed.program import result

STEPS = 60
FAULTS = {0: (0, 31, signal.SIGKILL), 1: (1, 47, signal.SIGTERM)}
"""By the number of the restart: the process, the step of the run and the signal."""


def fit(runs, rank, fault=None, **choices):
    def at_step(batch, generator):
        if fault is not None and generator.initial_seed() == seed_of(fault[1], rank):
            os.kill(os.getpid(), fault[2])
        return batch

    task = tasks.task(augment=at_step, model=tasks.network(dropout=0.2))
    arguments = tasks.tuned(steps=STEPS, checkpoint_every=5, measure_every=10, average=0.9)
    return sd.fit(task, **arguments, runs=runs, **choices)


def seed_of(step, rank):
    """The seed of `augment`'s generator, by which it knows the step."""
    return seeds.mix(0, "augment", step, 0, *((rank,) if rank else ()))


if __name__ == "__main__":
    rank, folder, restart = int(os.environ["RANK"]), Path(sys.argv[1]), int(os.environ["TORCHELASTIC_RESTART_COUNT"])
    fault = FAULTS.get(restart, (None, 0, 0))
    run = fit(folder / "runs", rank, fault if rank == fault[0] else None, name="again", resume="auto")
    once_more = fit(folder / "runs", rank, name="again", resume="auto")
    twin = fit(folder / "runs", rank, name="twin")
    seen = {"again": result(run), "once more": result(once_more), "twin": result(twin), "restart": restart}
    (folder / f"{rank}.json").write_text(json.dumps(seen))
