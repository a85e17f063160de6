"""Runs that a script or a notebook never closes."""

import gc
import subprocess
import sys
import weakref

import pytest
import torch
from torch import nn

import steepest as sd
from steepest.runs.store import Store

SCRIPT = """
import sys, torch, steepest as sd
model = torch.nn.Linear(4, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
run = sd.watch(model, optimizer, runs=sys.argv[1], name="left")
for t in range(37):
    optimizer.zero_grad()
    loss = model(torch.randn(8, 4)).square().mean()
    loss.backward()
    run.step(loss)
run.measure({"loss": loss})
"""
ENDS = {"": 0, "sys.exit(3)": 3, "1 / 0": 1}


@pytest.mark.slow
@pytest.mark.parametrize("end", ENDS)
def test_nothing_is_lost_where_the_script_ends_without_close(tmp_path, end):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT + end)
    command = [sys.executable, "-W", "always::ResourceWarning", str(script), str(tmp_path / "runs")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == ENDS[end], done.stderr
    assert "ResourceWarning" not in done.stderr
    (run,) = Store(tmp_path / "runs").runs()
    record = sd.open(run.id, runs=tmp_path / "runs").record
    assert record.status == "interrupted"
    assert len(record.steps.t) == 37
    assert [(m.t, m.name) for m in record.measurements] == [(37, "loss")]
    assert record.seconds > 0


def test_a_cell_that_runs_again_leaves_nothing_in_memory(tmp_path):
    def cell():
        model = nn.Linear(4, 1)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        run = sd.watch(model, optimizer, runs=tmp_path)
        for _ in range(30):
            optimizer.zero_grad()
            loss = model(torch.randn(8, 4)).square().mean()
            loss.backward()
            run.step(loss)
        return weakref.ref(model), weakref.ref(run)

    held = [*cell(), *cell()]
    gc.collect()
    assert [r() for r in held] == [None] * 4


def test_a_run_that_is_still_open_is_found_through_its_optimizer(tmp_path):
    model = nn.Linear(4, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    sd.watch(model, optimizer, runs=tmp_path)  # its name is forgotten at once
    gc.collect()
    with pytest.raises(sd.InputError, match="watched already"):
        sd.watch(model, optimizer, runs=tmp_path)
