"""Watched runs as they are read: right, or refused in words."""

import math

import numpy as np
import pytest
import torch
from torch import nn
from typer.testing import CliRunner

import steepest as sd
from steepest.cli import app
from steepest.errors import StoreError
from steepest.records.config import Config
from steepest.view.film import npz

SAMPLES = torch.randn(200, 6, generator=torch.Generator().manual_seed(1))
TARGETS = SAMPLES.sum(1, keepdim=True).tanh()


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 1))


def task():
    return sd.Task(network(), (SAMPLES, TARGETS), nn.functional.mse_loss, name="mine")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder, model = tmp_path_factory.mktemp("read"), network()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    scheduler = torch.optim.lr_scheduler.LinearLR(optimizer, 0.01, 1.0, 20)
    with sd.watch(model, optimizer, scheduler=scheduler, runs=folder / "runs", name="mine") as run:
        for t in range(80):
            optimizer.zero_grad()
            batch = torch.randint(200, (16,), generator=torch.Generator().manual_seed(t))
            loss = nn.functional.mse_loss(model(SAMPLES[batch]), TARGETS[batch])
            loss.backward()
            run.step(loss)
            scheduler.step()
            if t == 39:
                run.measure({"error": float(loss.detach())})
                run.epoch = 1
        run.measure({"error": float(loss.detach())})
    return folder


def test_the_base_learning_rate_is_recorded(folder):
    """What the scheduler begins with is a hundredth of it."""
    assert sd.open("mine", folder / "runs").record.config.lr == 1e-2


def test_an_epoch_is_recorded_where_the_loop_tells_it(folder):
    record = sd.open("mine", folder / "runs").record
    assert np.unique(record.steps.epoch).tolist() == [0, 1]
    first, last = record.timed_measurements
    assert math.isnan(first.epoch)
    assert last.epoch == 1


def test_a_film_without_a_task_has_the_curves_and_says_what_it_needs(folder):
    run = sd.open("mine", folder / "runs")
    page = run.film(folder / "film.html").read_text(encoding="utf-8")
    assert "No surface: a loop of your own does not record its model, loss and data" in page
    assert f"steepest film {run.id} --task FILE" in page


@pytest.mark.slow
def test_a_film_with_a_task_has_the_surface_and_the_path(folder):
    run = sd.open("mine", folder / "runs")
    surfaces = npz.load(run.film(folder / "film.npz", task=task()))
    assert next(iter(surfaces.grids)) == "principal"
    losses = surfaces.losses[run.id]
    assert losses[-1] < losses[0]


def test_locate_of_a_watched_run(folder):
    verdict = sd.locate(task(), sd.open("mine", folder / "runs"), products=20)
    assert verdict.number("training loss").value == pytest.approx(
        nn.functional.mse_loss(sd.open("mine", folder / "runs", task=task()).model(SAMPLES), TARGETS).item(), rel=0.3
    )


def test_another_model_is_refused(folder):
    other = sd.Task(nn.Linear(6, 1), (SAMPLES, TARGETS), nn.functional.mse_loss)
    with pytest.raises(StoreError, match="different task"):
        sd.locate(other, sd.open("mine", folder / "runs"), products=20)


def test_what_needs_a_task_says_so(folder):
    with pytest.raises(StoreError, match=r"model, loss and data are not recorded. Pass them as a task: sd.Task"):
        _ = sd.open("mine", folder / "runs").model
    with pytest.raises(StoreError, match="only its script can go on with"):
        sd.resume("mine", task(), runs=folder / "runs")


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("locate", "Write them as task() in a Python file, then run: steepest locate mine-"),
        ("film", "then run: steepest film mine-"),
        ("resume", "Start the script again"),
    ],
)
def test_the_command_line_says_what_is_missing(folder, command, words):
    result = CliRunner().invoke(app, [command, "mine", "--runs", str(folder / "runs")])
    assert words in result.output


def test_show_leaves_out_what_is_not_known(folder):
    text = CliRunner().invoke(app, ["show", "mine", "--runs", str(folder / "runs")]).output
    assert "adamw" in text
    assert not {"seed", "schedule", "steps_per_epoch", "checkpoint_every"} & set(text.split())


def test_a_run_of_fit_is_no_watched_one():
    assert not Config().is_watched
    assert not Config(model="3 weights", schedule="constant").is_watched
    assert Config(model="3 weights").is_watched
