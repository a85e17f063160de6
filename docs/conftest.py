"""pytest reads the code of the pages; the Python files beside them belong to Sphinx and are tested in tests/docs."""

from pathlib import Path

import pytest

collect_ignore_glob = ["*.py"]
collect_ignore = ["extension", "figures"]
FOREIGN = ("transformers.md", "lightning.md", "accelerate.md")
"""Pages whose libraries warn of their own."""
LONG = {"batch-size.md", "frozen-rate.md", "input-scales.md", "deep.md", "explodes.md", "eval-mode.md"}
"""Pages of the playbook whose trainings take seconds."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Warnings of other libraries are no errors of ours; long pages are slow tests."""
    for item in items:
        if item.path.name in LONG and item.path.parent.name == "playbook":
            item.add_marker(pytest.mark.slow)
        if item.path.name in FOREIGN and item.path.parent.name == "tools":
            item.add_marker(pytest.mark.filterwarnings("ignore"))


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page may write where it runs, as its reader does."""
    monkeypatch.chdir(tmp_path)
