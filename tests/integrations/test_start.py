"""A script that is started again: its record goes on where the script does."""

import numpy as np
import pytest
import torch
from torch import nn

import steepest as sd
from benchmarks.guard import watched_kills
from steepest.integrations.place import MARK, steps_of
from steepest.runs.store import Store

STEPS, EVERY = 60, 20


class Script:
    """A training script that saves its state every 20 steps, and restores it where there is one."""

    def __init__(self, folder, rule=torch.optim.AdamW, lr=1e-2, saves=True, restores=True, width=8, **choices):
        self.folder, self.saves = folder, saves
        torch.manual_seed(0)
        self.model = nn.Sequential(nn.Linear(4, width), nn.Tanh(), nn.Linear(width, 1))
        self.optimizer = rule(self.model.parameters(), lr=lr)
        self.file, self.first = folder / "mine.pt", 1
        if restores and self.file.exists():
            state = torch.load(self.file)
            self.model.load_state_dict(state["model"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.first = state["t"] + 1
        self.run = sd.watch(self.model, self.optimizer, runs=folder / "runs", **{"name": "mine"} | choices)

    def train(self, until=STEPS, dies=False, spoil=()):
        for t in range(self.first, until + 1):
            x = torch.randn(16, 4, generator=torch.Generator().manual_seed(t))
            self.optimizer.zero_grad()
            loss = self.model(x).sub(x.sum(1, keepdim=True)).square().mean() * (np.nan if t in spoil else 1.0)
            loss.backward()
            self.run.step(loss)
            if t % EVERY == 0:
                self.run.measure({"accuracy": t / STEPS})
                if self.saves:
                    state = {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict(), "t": t}
                    torch.save(state, self.file)
        if dies:
            kill(self.run)
        else:
            self.run.close()
        return self


def kill(run):
    """Leaves a record as a killed process does: it says that it is running, and its process has ended."""
    writer = run._record._writer
    writer.flush()
    writer._is_closed = True
    writer._wake.set()
    writer._thread.join()
    writer._database.execute("UPDATE runs SET pid=?, born='0' WHERE id=?", (2**22 - 1, writer.id))
    writer._database.close()
    run._mark.end(None)


def fail(script, error):
    with script.run:
        for _ in range(3):
            script.run.step(1.0)
        raise error("no more data")


def runs_of(folder):
    return Store(folder / "runs").runs()


def test_the_record_goes_on_where_the_script_does(tmp_path):
    (tmp_path / "twin").mkdir()
    twin = Script(tmp_path / "twin").train().run
    first = Script(tmp_path).train(until=47, dies=True).run
    assert sd.open("mine", tmp_path / "runs").status == "interrupted"
    second = Script(tmp_path).train(until=55, dies=True).run
    third = Script(tmp_path).train().run
    assert first.id == second.id == third.id
    assert [r.status for r in runs_of(tmp_path)] == ["done"]
    own, its = vars(third.record.steps), vars(twin.record.steps)
    assert all(np.array_equal(own[name], its[name]) for name in its)
    assert third.metrics == twin.metrics
    assert torch.equal(third.point, twin.point)


@pytest.mark.parametrize("rule", [torch.optim.SGD, torch.optim.AdamW, sd.optim.Adam])
def test_the_place_comes_with_the_optimizer(tmp_path, rule):
    Script(tmp_path, rule).train(until=30, dies=True)
    script = Script(tmp_path, rule)
    assert script.run.t == 20
    assert MARK not in script.optimizer.param_groups[0]
    assert len(script.train().run.losses) == STEPS


def test_the_guard_goes_on(tmp_path):
    first = Script(tmp_path).train(until=40, dies=True, spoil=(25, 31))
    learned = first.run._guards[id(first.optimizer)].state_dict()
    script = Script(tmp_path)
    assert script.run._guards[id(script.optimizer)].state_dict() == learned
    assert [e.t for e in script.train().run.events] == [25, 31]


def test_skipped_steps_count_as_steps(tmp_path):
    """The optimizer's own count leaves them out."""
    Script(tmp_path).train(until=40, dies=True, spoil=(5, 9))
    script = Script(tmp_path)
    assert (steps_of(script.optimizer), script.run.t) == (38, 40)


def test_a_loop_that_begins_at_step_1_begins_its_record_again(tmp_path, capsys):
    killed = Script(tmp_path, saves=False).train(until=30, dies=True).run
    script = Script(tmp_path, saves=False)
    assert "begins again at step 1; the 30 steps before stay in its history" in capsys.readouterr().err
    run = script.train(until=45).run
    assert run.id == killed.id
    assert run.record.steps.t.tolist() == list(range(1, 46))
    assert len(Store(tmp_path / "runs").history(run.id).record.steps) == 75
    assert [(e.t, e.kind) for e in run.events] == [(0, "note")]


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_a_run_that_has_an_end_stays_where_another_begins_at_step_1(tmp_path, error, capsys):
    script = Script(tmp_path, saves=False)
    with pytest.raises(error):
        fail(script, error)
    again = Script(tmp_path, saves=False).train().run
    assert "ended after step 3" in capsys.readouterr().err
    assert len(runs_of(tmp_path)) == 2
    assert again.id != script.run.id


@pytest.mark.parametrize(
    ("changes", "words"),
    [({"lr": 0.5, "restores": False}, "lr"), ({"width": 9, "restores": False}, "model"), ({"guard": False}, "guard")],
)
def test_other_settings_begin_a_new_run(tmp_path, changes, words, capsys):
    first = Script(tmp_path).train(until=30, dies=True).run
    again = Script(tmp_path, **changes).run
    again.close()
    assert f"A new run begins: run {first.id} has other settings" in (err := capsys.readouterr().err)
    assert words in err
    assert len(runs_of(tmp_path)) == 2


def test_a_run_that_is_done_or_alive_begins_a_new_one(tmp_path, capsys):
    one = Script(tmp_path, saves=False)
    two = Script(tmp_path, saves=False)
    assert f"run {one.run.id} is still running" in capsys.readouterr().err
    for script in (one, two):
        script.train()
    Script(tmp_path).run.close()
    assert len(runs_of(tmp_path)) == 3


def test_without_a_name_every_run_is_a_new_one(tmp_path):
    Script(tmp_path, name=None).train(until=30, dies=True)
    Script(tmp_path, name=None).train()
    assert [r.status for r in runs_of(tmp_path)] == ["interrupted", "done"]


def test_the_step_can_be_given(tmp_path, capsys):
    """Where a script restores the weights alone."""
    first = Script(tmp_path, torch.optim.SGD, saves=False).train(until=30, dies=True).run
    run = Script(tmp_path, torch.optim.SGD, saves=False, step=25).run
    assert "goes on after step 25; the guard begins anew" in capsys.readouterr().err
    assert (run.id, run.t, len(run.record.steps)) == (first.id, 25, 25)
    run.close()


def test_steps_that_were_lost_are_named(tmp_path, capsys):
    Script(tmp_path, saves=False).train(until=30, dies=True)
    script = Script(tmp_path, saves=False, step=40)
    assert "steps 31 to 40 were not recorded" in capsys.readouterr().err
    script.first = 41
    assert script.train().run.record.steps.t.tolist() == [*range(1, 31), *range(41, 61)]


def test_an_optimizer_that_has_trained_elsewhere_begins_a_new_run(tmp_path):
    """Its count alone, beyond what is recorded, is no step of that run."""
    Script(tmp_path, saves=False).train(until=10, dies=True)
    optimizer = torch.optim.AdamW((model := nn.Linear(2, 1)).parameters())
    for _ in range(30):
        model(torch.ones(1, 2)).sum().backward()
        optimizer.step()
    for _ in range(2):
        run = sd.watch(model, optimizer, runs=tmp_path / "runs", name="mine")
        run.step(1.0)
        run.close("failed")
    assert len(runs_of(tmp_path)) == 3


def test_an_optimizer_that_is_restored_too_late_is_refused(tmp_path):
    Script(tmp_path).train(until=30, dies=True)
    script = Script(tmp_path, restores=False)
    with pytest.raises(sd.InputError, match="must be restored before"):
        script.optimizer.load_state_dict(torch.load(script.file)["optimizer"])
    script.run.close("failed")


def test_a_state_that_is_loaded_later_is_the_users_own_affair(tmp_path):
    script = Script(tmp_path).train(until=30, dies=True)
    again = Script(tmp_path)
    again.train(until=25, dies=True)
    again.optimizer.load_state_dict(torch.load(script.file)["optimizer"])


def test_after_an_exception_the_state_still_has_its_place(tmp_path):
    script = Script(tmp_path)
    with pytest.raises(ValueError, match="no more data"):
        fail(script, ValueError)
    state = script.optimizer.state_dict()
    assert state["param_groups"][0][MARK]["t"] == 3
    torch.save({"model": script.model.state_dict(), "optimizer": state, "t": 3}, script.file)
    again = Script(tmp_path).train().run
    assert (again.id, again.status, len(again.losses), again.events) == (script.run.id, "done", STEPS, ())


@pytest.mark.parametrize("step", [-1, 1.5, "20"])
def test_a_step_that_is_none(tmp_path, step):
    with pytest.raises(sd.InputError, match="step must be"):
        Script(tmp_path, step=step)


@pytest.mark.slow
def test_a_script_that_is_killed_and_started_again_leaves_one_whole_record(monkeypatch):
    """A few of the report's 50, which the benchmark draws."""
    monkeypatch.setattr(watched_kills, "RUNS", 4)
    lines = watched_kills.measure()
    rows = [line for line in lines if line.endswith("| yes |")]
    assert len(rows) == 3, lines
