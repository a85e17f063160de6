"""The command line in a temporary folder."""

import shlex

import pytest
from typer.testing import CliRunner

from steepest.cli import app


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return lambda line: CliRunner().invoke(app, shlex.split(line))
