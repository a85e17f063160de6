"""The folder of a run: nothing is read, written or deleted through a link that leads out of it."""

import os
import shutil

import pytest

from steepest.errors import StoreError
from tests.runs.store.conftest import CONFIG

ENTRIES = [
    "",
    "path.bin",
    "points",
    "points/20.safetensors",
    "checkpoints",
    "checkpoints/00000001",
    "beat",
    "survey.npz",
]


def replace_by_link(path, target):
    """Moves what is there to the target, and links to it."""
    if path.exists():
        shutil.move(path, target)
    else:
        target.write_text("theirs")
    path.symlink_to(target)


@pytest.mark.parametrize("entry", ENTRIES)
def test_a_link_out_of_the_folder_is_refused(entry, folder):
    replace_by_link(folder.path / folder.run / entry if entry else folder.path / folder.run, folder.path.parent / "out")
    before = folder.snapshot()
    acts = (
        lambda: folder.store.points(folder.run),
        lambda: folder.store.load_point(folder.run),
        lambda: folder.store.history(folder.run),
        lambda: folder.store.reopen(folder.run, 0, 0, 0, CONFIG),
    )
    for act in acts:
        with pytest.raises(StoreError, match=r"is a link out of the runs folder\. Replace it"):
            act()
        assert folder.snapshot() == before
    assert len(folder.store.read(folder.run).steps) == 20  # which needs no file of it
    folder.store.remove(folder.run)
    outside = {k: v for k, v in before.items() if "/out" in k or "/victim/" in k}
    assert {k: v for k, v in folder.snapshot().items() if "/out" in k or "/victim/" in k} == outside
    assert len(outside) > 1
    assert not os.path.lexists(folder.path / folder.run)


@pytest.mark.parametrize("entry", ["path.bin", "points/20.safetensors", "checkpoints/00000001/state.json"])
def test_a_pipe_is_not_waited_for(entry, folder):
    path = folder.path / folder.run / entry
    path.unlink()
    os.mkfifo(path)
    for act in (folder.store.history, folder.store.points):
        with pytest.raises(StoreError, match="must be a file, but is a pipe or a device"):
            act(folder.run)
    folder.store.remove(folder.run)


def test_links_within_the_runs_folder_are_followed(folder):
    """Such as points that were moved aside, on a disk of the same folder."""
    replace_by_link(folder.path / folder.run / "points", folder.path / "elsewhere")
    assert folder.store.load_point(folder.run)["weight"].tolist() == [1, 1, 1, 1]


def test_the_runs_folder_may_be_a_link(folder, tmp_path):
    link = tmp_path / "link"
    link.symlink_to(folder.path)
    store = type(folder.store)(link)
    assert len(store.history(folder.run).path.points) == 20
    assert store.load_point(folder.run)["weight"].tolist() == [1, 1, 1, 1]
    store.remove(folder.run)
    assert [r.id for r in folder.store.runs()] == [folder.other]


def test_a_circle_of_links(folder):
    (folder.path / folder.run / "loop").symlink_to(folder.path / folder.run / "loop")
    with pytest.raises(StoreError):
        folder.store.points(folder.run)
