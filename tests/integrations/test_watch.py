"""A loop of the user's own, recorded and guarded."""

import math

import numpy as np
import pytest
import torch
from torch import nn

import steepest as sd
from steepest.integrations.loop_state import memory_bound, norm_of

STEPS, ONSET = 400, 250


class Loop:
    """A loop as people write it, with its losses."""

    def __init__(self, watched=True, fault=None, steps=STEPS, scheduled=True, rule=torch.optim.AdamW, **choices):
        torch.manual_seed(0)
        random = torch.Generator().manual_seed(1)
        x = torch.randn(1000, 16, generator=random)
        y = (x @ torch.randn(16, 4, generator=random)).argmax(1)
        self.model = nn.Sequential(nn.Linear(16, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 4))
        self.optimizer = rule(self.model.parameters(), lr=3e-3)
        self.scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(self.optimizer, steps)
        passed = {"scheduler": self.scheduler} if scheduled else {}
        self.run = sd.watch(self.model, self.optimizer, **passed, **choices) if watched else None
        self.losses = []
        for t in range(steps):
            i = torch.randint(1000, (32,), generator=random)
            self.optimizer.zero_grad()
            loss = nn.functional.cross_entropy(self.model(x[i]), y[i])
            loss.backward()
            self.losses.append(loss.item())
            self.run.step(loss) if watched else self.optimizer.step()
            self.scheduler.step()
            if fault is not None and t == ONSET:
                fault(self)
        if watched:
            self.run.close()

    def tensors(self):
        return list(self.model.state_dict().values())

    def kinds(self):
        return [e.kind for e in self.run.events]


@pytest.mark.parametrize("guard", [True, False, "report"])
def test_without_a_fault_it_is_the_loop_alone(tmp_path, guard):
    alone, watched = Loop(watched=False), Loop(guard=guard, runs=tmp_path)
    assert watched.losses == alone.losses
    assert all(torch.equal(a, b) for a, b in zip(alone.tensors(), watched.tensors(), strict=True))
    assert watched.run.losses.tolist() == alone.losses
    assert watched.run.status == "done"


@torch.no_grad()
def enlarge(loop):
    loop.model[3].weight.mul_(1000)


@torch.no_grad()
def spoil(loop):
    loop.model[0].weight[0, 0] = math.nan


def corrupt_moments(loop):
    for state in loop.optimizer.state.values():
        state["exp_avg"].fill_(100.0)


@pytest.mark.parametrize("fault", [enlarge, spoil, corrupt_moments])
def test_a_fault_is_undone(tmp_path, fault):
    healthy, alone, watched = (Loop(watched=False), Loop(watched=False, fault=fault), Loop(fault=fault, runs=tmp_path))
    usual = sum(healthy.losses[-20:])
    assert not sum(alone.losses[-20:]) < 1.5 * usual
    assert sum(watched.losses[-20:]) < 1.5 * usual
    assert "rewind" in watched.kinds()
    assert any(e.done.startswith("rewound to step 2") for e in watched.run.events)


def test_a_scheduler_that_was_not_passed_is_named(tmp_path):
    events = Loop(fault=spoil, runs=tmp_path, scheduled=False).run.events
    assert any("the scheduler was not passed and goes on" in e.done for e in events)


def test_what_a_user_adds_is_recorded(tmp_path):
    with sd.watch(
        model := nn.Linear(2, 1), torch.optim.SGD(model.parameters(), lr=0.1), runs=tmp_path, name="mine"
    ) as run:
        model(torch.ones(1, 2)).sum().backward()
        run.step(1.0)
        run.measure({"accuracy": 0.93})
        run.note("another loader from here")
    stored = sd.open("mine", tmp_path)
    assert (stored.status, stored.metric, len(stored.losses)) == ("done", 0.93, 1)
    assert [(e.kind, e.seen) for e in stored.events] == [("note", "another loader from here")]
    assert torch.equal(stored.tensors["weight"], model.weight)


@pytest.mark.parametrize(
    ("error", "status"), [(ValueError("no more data"), "failed"), (KeyboardInterrupt(), "interrupted")]
)
def test_an_exception_in_the_block_is_recorded(tmp_path, error, status):
    model = nn.Linear(2, 1)
    with (
        pytest.raises(type(error)),
        sd.watch(model, torch.optim.SGD(model.parameters(), lr=0.1), runs=tmp_path, name="mine"),
    ):
        raise error
    stored = sd.open("mine", tmp_path)
    assert stored.status == status
    assert stored.events[-1].kind == status


def test_the_lowered_rate_is_never_seen_by_the_scheduler(tmp_path):
    model = nn.Linear(2, 1, bias=False)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    run = sd.watch(model, optimizer, runs=tmp_path)
    run._guards[id(optimizer)]._backoff.cut = 0.25
    run._guards[id(optimizer)]._backoff._cut_age = 1 << 30
    before = model.weight.detach().clone()
    model(torch.ones(1, 2)).sum().backward()
    run.step(1.0)
    assert torch.allclose(before - model.weight, torch.full((1, 2), 0.25))
    assert optimizer.param_groups[0]["lr"] == 1.0
    run.close()


def test_two_optimizers_have_a_guard_each(tmp_path):
    one, two = nn.Linear(2, 2), nn.Linear(2, 1)
    model = nn.Sequential(one, two)
    optimizers = [torch.optim.SGD(part.parameters(), lr=0.01) for part in (one, two)]
    run = sd.watch(model, optimizers, runs=tmp_path)
    for _ in range(5):
        for optimizer in optimizers:
            model(torch.ones(1, 2)).sum().backward()
            run.step(1.0, optimizer)
    with pytest.raises(sd.InputError, match="needs its optimizer where 2 are watched"):
        run.step(1.0)
    run.close()
    assert len(run.losses) == 5


def test_a_scaler_is_stepped_and_updated(tmp_path):
    def train(watched):
        torch.manual_seed(0)
        model = nn.Linear(4, 1)
        optimizer, scaler = torch.optim.SGD(model.parameters(), lr=0.1), torch.amp.GradScaler("cpu", init_scale=1024.0)
        run = sd.watch(model, optimizer, scaler=scaler, runs=tmp_path) if watched else None
        for t in range(30):
            optimizer.zero_grad()
            loss = model(torch.randn(8, 4)).square().mean()
            scaler.scale(loss * (math.inf if t == 20 else 1.0)).backward()
            if run is None:
                scaler.step(optimizer)
                scaler.update()
            else:
                run.step(loss)
        return model, scaler.get_scale(), run

    alone, watched = train(False), train(True)
    assert torch.equal(alone[0].weight, watched[0].weight)
    assert alone[1] == watched[1] == 512.0
    assert watched[2].events == ()


def test_a_scaler_that_overflows_for_ever_is_a_divergence(tmp_path):
    """The scaler alone would skip every step, and say nothing."""
    model = nn.Linear(4, 1)
    optimizer, scaler = torch.optim.SGD(model.parameters(), lr=0.1), torch.amp.GradScaler("cpu", init_scale=2.0)
    with sd.watch(model, optimizer, scaler=scaler, runs=tmp_path) as run:
        for _ in range(60):
            optimizer.zero_grad()
            loss = model(torch.randn(8, 4)).square().mean()
            scaler.scale(loss * math.inf).backward()
            run.step(loss)
    assert {e.kind for e in run.events} >= {"skip"}
    assert "non-finite gradient" in run.events[0].seen


def test_a_watched_run_is_diagnosed(tmp_path):
    loop = Loop(runs=tmp_path)
    assert loop.run.record.steps.update_norm.all()
    assert loop.run.diagnose().kind in ("healthy", "noise floor")


def test_what_a_run_held_is_free_once_it_is_closed(tmp_path):
    loop = Loop(runs=tmp_path, steps=60)
    assert loop.run._recovery.snapshots.good == []
    assert type(loop.optimizer.step).__name__ != "partial"


def test_a_rewind_of_the_second_optimizer_leaves_one_whole_record(tmp_path):
    """As in a GAN: two networks, a step of each in turn."""
    torch.manual_seed(0)
    model = nn.ModuleList([nn.Linear(4, 4), nn.Linear(4, 1)])
    optimizers = [torch.optim.SGD(part.parameters(), lr=0.01) for part in model]
    with sd.watch(model, optimizers, runs=tmp_path) as run:
        for t in range(160):
            for part, optimizer in zip(model, optimizers, strict=True):
                optimizer.zero_grad()
                loss = part(torch.ones(2, 4)).square().mean() + 0.1
                loss.backward()
                run.step(loss, optimizer)
            if t == 120:
                with torch.no_grad():
                    model[1].weight.fill_(math.nan)
    assert "rewind" in {e.kind for e in run.events}
    assert run.status == "done"
    assert np.isfinite(run.losses).all()
    assert all(p.isfinite().all() for p in model.parameters())


def test_micro_batches_are_averaged(tmp_path):
    model = nn.Linear(2, 1)
    run = sd.watch(model, torch.optim.SGD(model.parameters(), lr=0.1), runs=tmp_path)
    run.step([1.0, torch.tensor(2.0)])
    run.close()
    assert run.losses.tolist() == [1.5]


def test_without_room_for_a_snapshot_it_does_not_go_back(tmp_path, capsys):
    loop = Loop(fault=enlarge, runs=tmp_path, memory=1000)
    assert "does not go back" in capsys.readouterr().err
    assert "rewind" not in loop.kinds()


def _watch(**changes):
    model = nn.Linear(2, 1)
    given = {"model": model, "optimizer": torch.optim.SGD(model.parameters(), lr=0.1)} | changes
    return sd.watch(given.pop("model"), given.pop("optimizer"), **given)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"model": nn.Linear(3, 1)}, "must have parameters of the model"),
        ({"optimizer": []}, "got none"),
        ({"optimizer": [nn.Linear(1, 1)]}, "must be a torch optimizer, got Linear"),
        ({"memory": "a lot"}, "memory must be bytes"),
        ({"memory": "120%"}, "memory must be bytes"),
        ({"guard": "sometimes"}, "guard must be"),
    ],
)
def test_invalid_arguments(tmp_path, changes, words):
    with pytest.raises(sd.InputError, match=words):
        _watch(runs=tmp_path, **changes)


def test_one_optimizer_is_watched_once_at_a_time(tmp_path):
    model = nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    run = sd.watch(model, optimizer, runs=tmp_path)
    with pytest.raises(sd.InputError, match=f"watched already, as run {run.id}"):
        sd.watch(model, optimizer, runs=tmp_path)
    run.close()
    sd.watch(model, optimizer, runs=tmp_path).close()
    with pytest.raises(sd.InputError, match="after the run had ended"):
        run.step(1.0)


@pytest.mark.parametrize(
    ("loss", "words"), [(None, "got None"), ("high", "got str"), (torch.ones(2), "shape"), ([], "empty list")]
)
def test_a_loss_that_is_no_number(tmp_path, loss, words):
    run = _watch(runs=tmp_path)
    with pytest.raises(sd.InputError, match=words):
        run.step(loss)
    run.close()


def test_memory_as_a_share():
    assert memory_bound("50%") == pytest.approx(2 * memory_bound("25%"), abs=2)


@pytest.mark.parametrize("size", [1.0, 1e25, 1e-30, math.inf, math.nan])
def test_the_norm_of_gradients_is_torchs(size):
    gradients = [torch.full((3, 4), size), torch.full((5,), 2 * size)]
    assert norm_of(gradients) == pytest.approx(float(nn.utils.get_total_norm(gradients)), rel=1e-6, nan_ok=True)
    assert norm_of([]) == 0


def measured(folder, values, count=1, **options):
    """Watched runs with these validation measurements, each a little higher than the one before."""
    runs = []
    for k in range(count):
        model = nn.Linear(2, 1)
        with sd.watch(model, torch.optim.SGD(model.parameters(), lr=0.1), runs=folder, name="mine") as run:
            for t in range(3):
                loss = model(torch.ones(4, 2)).square().mean()
                loss.backward()
                run.step(loss)
                run.measure({name: value + (k + t) / 100 for name, value in values.items()}, **options)
        runs.append(run)
    return runs


@pytest.mark.parametrize(
    ("name", "recorded"), [("val_loss", "loss"), ("val/loss", "loss"), ("Valid_Acc", "Acc"), ("value", "value")]
)
def test_the_split_is_no_part_of_a_measurements_name(tmp_path, name, recorded):
    [run] = measured(tmp_path, {name: 1.0})
    assert {m.name for m in run.metrics} == {recorded}


def test_of_another_split_a_name_is_kept(tmp_path):
    [run] = measured(tmp_path, {"val_loss": 1.0}, split="test")
    assert {m.name for m in run.metrics} == {"val_loss"}
    [run] = measured(tmp_path, {"val_loss": 1.0, "loss": 2.0})  # two of them stay two
    assert {m.name for m in run.metrics} == {"val_loss", "loss"}


@pytest.mark.parametrize(
    ("values", "options", "conclusion"),
    [
        ({"loss": 1.0}, {}, "worse"),
        ({"loss": 1.0, "accuracy": 0.2}, {}, "better"),
        ({"loss": 1.0, "wonder": 0.2}, {"better": "higher"}, "better"),
        ({"loss": 1.0, "wonder": 0.2}, {"better": "lower"}, "worse"),
    ],
)
def test_groups_of_watched_runs_are_compared(tmp_path, values, options, conclusion):
    low = measured(tmp_path, values, 4, **options)
    high = measured(tmp_path, {name: value + 0.5 for name, value in values.items()}, 4, **options)
    assert sd.compare(low, high).conclusion == conclusion


def test_a_metric_whose_direction_nobody_knows_is_compared_once_it_is_said(tmp_path):
    runs = measured(tmp_path, {"wonder": 0.2}, 4)
    with pytest.raises(sd.InputError, match=r"run.measure\(\.\.\., better='higher'\)"):
        sd.compare(runs[:2], runs[2:])
    with pytest.raises(sd.InputError, match="better must be 'higher' or 'lower', got 'up'"):
        measured(tmp_path, {"bleu": 0.2}, better="up")
