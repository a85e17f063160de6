"""pytest reads the code of the pages; the Python files beside them belong to Sphinx and are tested in tests/docs."""

from pathlib import Path

import pytest

collect_ignore_glob = ["*.py"]
collect_ignore = ["extension", "figures"]


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page may write where it runs, as its reader does."""
    monkeypatch.chdir(tmp_path)
