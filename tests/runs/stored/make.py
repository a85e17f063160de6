"""Makes the stored runs that `tests/runs/test_stored.py` opens and resumes, with the public names of commit 3e32ef2.

    cd CHECKOUT_OF_3e32ef2 && PYTHONPATH=. python .../tests/runs/stored/make.py

It writes beside itself `runs.tar.xz`, a folder of runs, most of them interrupted; and what the same commit gave
without the interruption: `expected.npz` (losses by step, final weights) and `expected.json` (status, events, metric).
"""

import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy, mse_loss
from torch.utils.data import DataLoader, TensorDataset

import steepest as sd

FOLDER = Path(__file__).parent
WORK = FOLDER / "work"
RUNS = WORK / "runs"

# -- Tasks -------------------------------------------------------------------------------------------------------------


def network(seed):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3))


def normalised(seed):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Dropout(0.1), nn.Linear(5, 3))


def samples(n, seed=0):
    g = torch.Generator().manual_seed(seed)
    x = torch.randint(-8, 9, (n, 4), generator=g) / 4.0  # the same to the bit on every machine
    return x, (x @ torch.tensor([[1.0, -1, 0], [0, 1, -1], [1, 0, 1], [-1, 0, 1]])).argmax(1)


def classify(data=None, model=network, loss=cross_entropy, **given):
    data = samples(48) if data is None else data
    return sd.Task(
        model, data, loss, validation=samples(24, 1), metrics={"accuracy": sd.accuracy}, name="small", **given
    )


def double_precision():
    x = samples(48)[0]
    data, held = (x.double(), x.double() @ torch.ones(4, 1).double()), samples(24, 1)[0].double()
    return sd.Task(lambda seed: network(seed).double()[:1], data, lambda w, y: mse_loss(w.sum(1, keepdim=True), y),
                   validation=(held, held @ torch.ones(4, 1).double()), name="small")  # fmt: skip


class Bowl(nn.Module):
    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.tensor([1.0, -2.0]))

    def forward(self):
        return (self.w**2 * torch.tensor([1.0, 5.0])).sum()


def loader(kind=DataLoader):
    return kind(TensorDataset(*samples(48)), batch_size=8)


class Resumable:
    """Batches in an order that changes with the epoch, and where it is in them."""

    def __init__(self):
        self.x, self.y = samples(48)
        self.epoch = self.at = 0

    def __len__(self):
        return 6

    def __iter__(self):
        order = torch.randperm(48, generator=torch.Generator().manual_seed(self.epoch)).view(6, 8)
        while self.at < 6:
            self.at += 1
            chosen = order[self.at - 1]
            yield self.x[chosen], self.y[chosen]
        self.epoch, self.at = self.epoch + 1, 0

    def state_dict(self):
        return {"epoch": self.epoch, "at": self.at}

    def load_state_dict(self, state):
        self.epoch, self.at = state["epoch"], state["at"]


def jittered(batch, generator):
    x, y = batch
    return x + 0.1 * torch.randn(x.shape, generator=generator), y


def not_a_number(steps):
    """A task whose batches of these steps have a loss that is not a number."""
    return _spoiled(steps, lambda loss: loss * float("nan"))


def outliers(steps):
    """A task whose batches of these steps have a loss 50 times as large."""
    return _spoiled(steps, lambda loss: 50 * loss)


def _spoiled(steps, spoil, n=1600):
    x, y = samples(n)
    order = []

    def looking(output, target):
        if torch.is_grad_enabled():
            order.append(target.tolist())
        return output.sum() * 0.0

    numbered = sd.Task(lambda seed: nn.Linear(4, 1), (x, torch.arange(n)), looking, validation=(x[:1], torch.zeros(1)))
    for _ in sd.descend(numbered, lr=0.1, batch_size=8, steps=max(steps) if max(steps) > 1 else 2):
        pass
    bad = [order[t - 1][0] for t in steps]
    y = y.clone()
    y[bad] += 3

    def loss(output, target):
        usual = cross_entropy(output, target % 3)
        return spoil(usual) if bool((target >= 3).any()) else usual

    return classify((x, y), loss=loss)


# -- Runs --------------------------------------------------------------------------------------------------------------


@sd.rule
def mine(w, g, v=0.0, *, lr=0.02, beta=0.8):
    """A rule of one's own."""
    v = beta * v + (1 - beta) * g
    return w - lr * v, v


RULES = (
    "gradient_descent", "momentum", "nesterov", "adagrad", "rmsprop", "adam", "adamw", "amsgrad", "nadam", "adamax",
    "lion", "signum", "schedule_free_adamw",
)  # fmt: skip


@dataclass(frozen=True)
class Case:
    """A run and where it is interrupted.

    Attributes:
        task: makes its task.
        given: arguments of `fit`.
        stop: gradients computed before Ctrl-C (rewound steps count too); 0: it is not interrupted.
        after: kind of an event; `stop` counts from the one of this number among those of its kind.
        longer: arguments with which a finished run is extended.
        killed: end the process at once instead of Ctrl-C.
        needs_verdict: it has a verdict and a film.
    """

    task: Any = classify
    given: dict[str, Any] = field(default_factory=dict)
    stop: int = 13
    after: tuple[str, int] | None = None
    longer: dict[str, Any] = field(default_factory=dict)
    killed: bool = False
    needs_verdict: bool = False


def guard(**given):
    """What makes one; today its thresholds have other names."""
    return lambda: sd.Guard(snapshot_every=10, **given)


STAGES = sd.stage("adam", "50%") >> sd.stage(sd.momentum(), lr=0.02)
HAND_OFF = sd.stage("adam", "50%") >> sd.stage("momentum")
LONG = {"rule": "momentum", "lr": 0.02, "schedule": "constant", "steps": 160, "no_decay": None}
JUMP = {**LONG, "schedule": "step(80, gamma=300)"}
RISING = {**LONG, "lr": 0.05, "schedule": "constant(60) >> linear(end=3000)", "steps": 240}
CASES = {
    **{name: Case(given={"rule": name}) for name in RULES},
    "decay-groups-clip": Case(given={"rule": sd.adamw(weight_decay=0.1), "groups": {"2.*": {"lr_scale": 0.1}},
                                     "no_decay": ["*.bias"], "clip": 0.5, "seed": 3}),
    "own-rule": Case(given={"rule": mine, "lr": None}),
    "torch-optimizer": Case(given={"rule": torch.optim.AdamW}),
    "stages-first": Case(given={"rule": STAGES}, stop=9),
    "stages-second": Case(given={"rule": STAGES}, stop=17),
    "hand-off-before": Case(given={"rule": HAND_OFF}, stop=9),
    "hand-off-after": Case(given={"rule": HAND_OFF}, stop=17),
    "average": Case(given={"average": 0.9}),
    "plateau": Case(given={"schedule": "warmup(4) >> plateau(0.5, patience=0)", "lr": 0.1}),
    "scheduled-beta": Case(given={"rule": sd.momentum(lr=0.03, beta=sd.linear(end=0.5)), "lr": None}),
    "plateau-in-beta": Case(given={"rule": sd.momentum(lr=0.03, beta=sd.plateau(0.5, patience=0)), "lr": None}),
    "accumulate": Case(given={"accumulate": 2}, stop=25),
    "loader": Case(lambda: classify(loader()), {"batch_size": None}),
    "loader-accumulate": Case(lambda: classify(loader()), {"batch_size": None, "accumulate": 2}, stop=25),
    "loader-with-state": Case(lambda: classify(Resumable()), {"batch_size": None}),
    "dataset": Case(lambda: classify(TensorDataset(*samples(48)))),
    "augmented": Case(lambda: classify(augment=jittered)),
    "batch-norm": Case(lambda: classify(model=normalised)),
    "keep-best": Case(given={"keep": "best", "lr": 0.3}),
    "stop-after": Case(given={"keep": "best", "stop_after": 1, "lr": 0.6, "steps": 60}),
    "full-batch": Case(given={"batch_size": "full"}),
    "bfloat16": Case(given={"precision": "bfloat16"}),
    "float64": Case(double_precision),
    "no-data": Case(lambda: sd.Task(Bowl(), objective=lambda model, batch: model(), name="small"),
                    {"batch_size": None, "epochs": None}),
    "epochs": Case(given={"steps": None, "epochs": 4}),
    "guard-off": Case(given={"guard": False}),
    "guard-watch": Case(given={**JUMP, "guard": "watch"}, stop=3, after=("lower", 0)),
    "guard-by-itself": Case(given={**LONG, "guard": True, "steps": 60}, stop=40),
    "guard-quiet": Case(given={**LONG, "guard": guard()}, stop=115),
    "guard-thresholds": Case(given={**LONG, "guard": guard(outlier=3, armed=15, quiet=20)}, stop=70),
    "guard-clip": Case(lambda: outliers(range(80, 125)), {**LONG, "guard": guard()}, stop=1, after=("clip", 0)),
    "guard-lowered": Case(given={**RISING, "guard": guard()}, stop=2, after=("lower", 0)),
    "guard-rewound-once": Case(given={**RISING, "guard": guard()}, stop=3, after=("rewind", 0)),
    "guard-rewound-often": Case(given={**RISING, "guard": guard()}, stop=8, after=("rewind", 2)),
    "guard-on-trial": Case(given={**LONG, "schedule": "constant(80) >> 5 * constant", "guard": guard()}, stop=100),
    "guard-jump": Case(given={**JUMP, "guard": guard()}, stop=20, after=("rewind", 0)),
    "guard-not-finite": Case(lambda: not_a_number((45, 70)), {**LONG, "guard": guard()}, stop=2, after=("skip", 1)),
    "guard-bad-data": Case(lambda: outliers(range(80, 125)), {**LONG, "guard": guard()}, stop=5, after=("rewind", 0)),
    "guard-stopped": Case(given={**RISING, "guard": guard(rewinds=1, lower=1.0)}, stop=0),
    "killed": Case(given={"checkpoint_every": 5}, killed=True),
    "killed-after-a-rewind": Case(given={**JUMP, "guard": guard(), "checkpoint_every": 7}, stop=9, after=("rewind", 0),
                                  killed=True),
    "extended": Case(stop=0, longer={"steps": 36}),
    "finished": Case(lambda: classify(samples(128)), given={"locate": True, "steps": 60}, stop=0, needs_verdict=True),
}  # fmt: skip
DEFAULTS = {"rule": "adam", "lr": 1e-2, "schedule": "warmup(5%) >> cosine", "batch_size": 8, "steps": 24,
            "checkpoint_every": 1000, "locate": False}  # fmt: skip
AGAIN = {"own-rule": mine, "torch-optimizer": torch.optim.AdamW}
"""Rules that are given again to a run that is resumed."""


def arguments(case):
    """Of `fit`, without the folder."""
    given = {**DEFAULTS, **case.given}
    make_guard = given.get("guard")
    return {**given, "guard": make_guard()} if callable(make_guard) else given


def interrupt(task, n, killed):
    """Sends Ctrl-C (or ends the process) while the n-th gradient is computed."""
    calls, name = [], "loss" if task.loss is not None else "objective"
    own = getattr(task, name)

    def counted(*arguments):
        if torch.is_grad_enabled():
            calls.append(1)
            if len(calls) == n and killed:
                os._exit(0)
            if len(calls) == n:
                signal.raise_signal(signal.SIGINT)
        return own(*arguments)

    setattr(task, name, counted)


def stop_of(case):
    """Gradients that are computed before the interruption."""
    if case.after is None:
        return case.stop
    kind, number = case.after
    given = {k: v for k, v in {"guard": True, **arguments(case)}.items() if k not in ("checkpoint_every", "locate")}
    at = [n for n, step in enumerate(sd.descend(case.task(), **given), 1) if step.event and step.event.kind == kind]
    return at[number] + case.stop


def make(name):
    """Stores a run as it is when it is interrupted."""
    case, n = CASES[name], stop_of(CASES[name])
    task = case.task()
    interrupt(task, n, case.killed)
    given = arguments(case)
    run = sd.fit(task, **given, runs=RUNS, name=name)
    while case.needs_verdict and run.verdict is None:  # a busy machine has no time for one
        run.store.remove(run.id)
        run = sd.fit(task, **given, runs=RUNS, name=name)
    assert run.status in ("interrupted" if n else ("done", "stopped")), (name, run.status)
    if case.needs_verdict:
        run.film(RUNS / "film.html")
        (RUNS / "film.html").unlink()
    return run


def expect(name, folder):
    """What this version gives without an interruption."""
    case = CASES[name]
    run = sd.fit(case.task(), **arguments(case), runs=folder, name=name)
    if case.longer:
        run = sd.fit(case.task(), resume=run, runs=folder, **case.longer)
    print(f"{name}: {run.status}, {len(run.losses)} steps, {[(e.t, e.kind) for e in run.events]}", flush=True)
    what = {"status": run.status, "metric": run.metric, "events": [[e.t, e.kind] for e in run.events]}
    return what, {f"{name}/losses": run.losses, f"{name}/point": run.point.numpy()}


def tidy():
    """Keeps the newest checkpoint of each run, and one file of the database."""
    import sqlite3
    from contextlib import closing

    with closing(sqlite3.connect(RUNS / "runs.db")) as database:
        database.execute("PRAGMA journal_mode=DELETE")
        database.execute("VACUUM")
    for folder in RUNS.glob("*/checkpoints"):
        for old in sorted(folder.glob("[0-9]*"))[:-1]:
            shutil.rmtree(old)


def main():
    shutil.rmtree(WORK, ignore_errors=True)
    texts, arrays = {}, {}
    for name, case in CASES.items():
        texts[name], numbers = expect(name, WORK / "twins")
        arrays |= numbers
        if case.killed:
            subprocess.run([sys.executable, __file__, name], check=True)
        else:
            make(name)
    task = classify()
    sd.fit(task, "momentum", "auto", batch_size=8, steps=60, locate=False, runs=RUNS, name="searched")
    tidy()
    shutil.make_archive(str(FOLDER / "runs"), "xztar", RUNS)
    shutil.rmtree(WORK)
    np.savez_compressed(FOLDER / "expected.npz", **arrays)
    (FOLDER / "expected.json").write_text(json.dumps(texts, indent=1) + "\n")


if __name__ == "__main__":
    torch.set_num_threads(1)
    if len(sys.argv) > 1:
        make(sys.argv[1])
    else:
        main()
