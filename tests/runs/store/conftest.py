"""A runs folder with two runs, to be damaged, and what lies beside it."""

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import pytest
import torch

from steepest.records.config import Config, StageConfig, to_json
from steepest.records.run import Event, Measurement, Step
from steepest.records.search import Search, Trial
from steepest.records.verdict import Number, Verdict
from steepest.runs.store import Store, checkpoints, versions

CONFIG = to_json(
    Config(
        task="digits", source="digits", rule="adam", lr=0.1, schedule="constant", batch_size=10, epochs=2, steps=20,
        steps_per_epoch=10, samples=100, weights=4, metric="accuracy", better="higher", parameters=("weight",),
        guard={"watch": False, "outlier": 8.0}, model="4 weights, 0", data="100 samples", last_checkpoint=20,
        stages=(StageConfig("adam", {"lr": 0.1, "beta1": 0.9}, "w - lr * m"),), groups={"w*": {"lr_scale": 0.1}},
    ),
    Search(0.1, 0.01, 0.1, None, (Trial(0.1, 9, 0.5, 1.0, "works"),), 1.0, 9, 20, 0.1, "together", "so", "adam", "It."),
    Verdict("DESCENDING", "Still descending.", "Go on.", (Number("training loss", 0.5, 0.4, 0.6),), 7, ("so",)),
)  # fmt: skip


class Folder(NamedTuple):
    """A runs folder with a run that may be damaged and one that must not suffer.

    Attributes:
        path: of the runs.
        run, other: their ids.
    """

    path: Path
    run: str
    other: str

    @property
    def store(self) -> Store:
        return Store(self.path)

    def execute(self, *statement) -> None:
        """Changes the database behind the store's back."""
        with closing(sqlite3.connect(self.path / "runs.db")) as database, database:
            database.execute(*statement)

    def snapshot(self) -> dict[str, tuple]:
        """Every file here and beside the runs folder: name, bytes, and when it was written."""
        files = (p for p in self.path.parent.rglob("*") if p.is_file() and not p.is_symlink())
        return {str(p): (p.read_bytes(), p.stat().st_mtime_ns) for p in files}


def _record(folder: Path, name: str) -> str:
    """Records a run of 20 steps."""
    writer = Store(folder).begin(name, CONFIG, versions(), 0, "a note")
    for t in range(1, 21):
        writer.step(Step(t, t / 10, 0.1, 1 / t, 1.0, 0.1))
        writer.keep(t, [torch.full((4,), float(t))])
    for t in (10, 20):
        writer.measure(Measurement(t, t / 10, "validation", "accuracy", 0.9))
    writer.event(Event(5, "skip", "seen", "done", "after"))
    writer.point(20, {"weight": torch.ones(4)})
    manifest = {"t": 20, "attempt": 0, "events": 1, "seconds": 1.0, "model": CONFIG["model"], "data": CONFIG["data"]}
    checkpoints.save(writer.folder / "checkpoints", {"descent": {"w": torch.ones(4)}}, manifest)
    writer.close("done", 1.5)
    return writer.id


@pytest.fixture(scope="session")
def _recorded(tmp_path_factory):
    folder = tmp_path_factory.mktemp("recorded") / "runs"
    return Folder(folder, _record(folder, "one"), _record(folder, "other"))


@pytest.fixture
def folder(_recorded, tmp_path):
    """A copy of the two runs in a folder of its own, beside a thesis."""
    shutil.copytree(_recorded.path, tmp_path / "runs")
    (tmp_path / "victim").mkdir()
    (tmp_path / "victim" / "thesis.txt").write_text("years of work")
    return Folder(tmp_path / "runs", _recorded.run, _recorded.other)
