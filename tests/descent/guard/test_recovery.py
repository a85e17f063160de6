"""Guard, snapshots and descent together: a run that explodes gets up again, and everything goes back."""

import math

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

import steepest as sd
from steepest.descent.guard.guard import Guard
from steepest.descent.guard.world import batch_loss
from steepest.descent.loop import Descent
from steepest.descent.settings import resolve
from steepest.descent.state import copy_state
from steepest.records.run import REWIND, SKIP, STOP, Outcome


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(8, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Dropout(0.1), nn.Linear(32, 3))

    def forward(self, x):
        return self.layers(x)


@pytest.fixture(scope="module")
def task():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(600, 8, generator=generator)
    y = (x @ torch.randn(8, 3, generator=generator)).argmax(1)

    def model(seed):
        return Net()

    return sd.Task(model, (x[:500], y[:500]), cross_entropy, validation=(x[500:], y[500:]))


def descent(task, guard=True, **given):
    chosen = {"rule": "adam", "lr": 3e-3, "schedule": "constant", "batch_size": 25, "steps": 600, **given}
    guard = Guard(snapshot_every=50) if guard is True else guard
    settings = resolve(task, guard=guard, **chosen)
    return Descent(task, settings, task.build(0))


class Bad:
    """Batches of which some are spoiled, in between the descent and its own."""

    def __init__(self, own, spoil, steps):
        self.own, self.spoil, self.steps, self.seen = own, spoil, steps, []

    def __getattr__(self, name):
        return getattr(self.own, name)

    def __call__(self, t):
        self.seen.append(t)
        return [self.spoil(part) for part in self.own(t)] if t in self.steps else self.own(t)


def spoiled(d, spoil, steps):
    d.batches = Bad(d.batches, spoil, steps)
    return d


def shuffled(batch):
    x, y = batch
    return x, (y + 1) % 3


def finished(d):
    """Its events of consequence."""
    return [step.event for step in d if step.event and step.event.kind != "clip"]


def test_a_healthy_run_is_bit_for_bit_as_without_a_guard(task):
    ends = []
    for guard in (True, None):
        d = descent(task, guard if guard else False)
        assert [s for s in d if s.event and s.event.kind != "clip"] == []
        ends.append(d.space.gather())
    assert torch.equal(*ends)


def test_a_rate_that_explodes_is_survived(task):
    d = descent(task)
    own = d.schedule

    class Jumped:
        watches = False

        def __call__(self, t):
            return own(t) * (300 if t > 250 else 1)

        def state_dict(self):
            return own.state_dict()

        def load_state_dict(self, state):
            own.load_state_dict(state)

    d.schedule = Jumped()
    kinds = [e.kind for e in finished(d)]
    assert kinds[0] == REWIND
    assert d.t == 600
    healthy = descent(task)
    finished(healthy)
    assert d.measure()["loss"] <= 1.5 * healthy.measure()["loss"]


def test_bad_data_is_skipped_steps_and_the_rate_stays(task):
    bad = range(300, 340)
    d = spoiled(descent(task), shuffled, bad)
    events = finished(d)
    rewinds = [e for e in events if e.kind == REWIND]
    assert rewinds
    assert all("cause: bad data" in e.done for e in rewinds)
    assert set(bad) <= d.recovery.skipped_steps | {e.t for e in events}
    assert len(d.recovery.skipped_steps - set(bad)) <= 4
    assert d.recovery.guard.rate == 1.0
    skipped = {e.t for e in events if e.kind == SKIP}
    assert skipped == {t for t in d.recovery.skipped_steps if t > 250}


def test_a_weight_that_breaks_is_chance_and_everything_goes_back(task):
    d, twin = descent(task), descent(task)
    events = []
    for step in d:
        if step.t == 310 and not events:
            with torch.no_grad():
                d.space.tensors()[0][0, 0] = math.nan
        if step.event and step.event.kind != "clip":
            events.append(step.event)
    finished(twin)
    assert [e.kind for e in events] == [REWIND]
    assert "retrying unchanged" in events[-1].done
    assert torch.equal(d.space.gather(), twin.space.gather())  # weights, slots, buffers, randomness: all of it
    assert all(torch.equal(a, b) for a, b in zip(d.model.buffers(), twin.model.buffers(), strict=True))


def test_after_a_rewind_steps_are_done_again_in_another_attempt(task):
    d = descent(task)
    ts = []
    for step in d:
        if step.t == 310 and 311 not in ts:
            with torch.no_grad():
                d.space.tensors()[0][0, 0] = math.nan
        ts.append(step.t)
    back = ts.index(311) + 1
    assert ts[back] < 310
    assert ts[back:] == list(range(ts[back], 601))
    assert d.recovery.attempt == 1


def test_gradients_that_stay_nan_stop_on_a_snapshot_and_say_why(task):
    d = descent(task)
    own = d.objective.gradient

    def exploding(batches, tensors):
        loss = own(batches, tensors)
        if d.t >= 200:
            tensors[0].grad.fill_(math.nan)
        return loss

    d.objective.gradient = exploding
    events = finished(d)
    assert events[-1].kind == STOP
    assert "restored the best snapshot" in events[-1].done
    assert d.is_stopped
    assert d.t <= 200
    assert torch.isfinite(d.space.gather()).all()


def test_a_loss_that_rises_for_all_weights_is_the_new_level(task):
    """The objective changes, as where a term is switched on: nothing is done, and nothing is different."""

    class Switched(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.net = nn.Linear(8, 3)
            self.register_buffer("count", torch.zeros((), dtype=torch.int64))

    def objective(model, batch):
        model.count += model.training
        return cross_entropy(model.net(batch[0]), batch[1]) * (1 if model.count < 300 else 8)

    def run(guard):
        own = sd.Task(Switched(), objective=objective, data=task.data, validation=task.validation)
        return descent(own, guard=guard, steps=600)

    guarded, twin = run(True), run(False)
    kinds = [event.kind for event in finished(guarded)]
    finished(twin)
    assert kinds == ["accept"]
    assert torch.equal(guarded.space.gather(), twin.space.gather())


def test_looking_leaves_everything_as_it_was(task):
    d = descent(task)
    for step in d:
        if step.t == 60:
            break
    state, random = copy_state(d.state()), torch.get_rng_state()
    first = batch_loss(d, 61)
    assert first == batch_loss(d, 61)
    for name, x in d.end_state().tensors.items():
        assert torch.equal(x, {**state["weights"], **state["buffers"]}[name])
    assert torch.equal(random, torch.get_rng_state())
    assert first == d.step().loss


def test_a_state_is_everything(task):
    d = descent(task, rule=sd.nadam(), schedule="warmup(10) >> plateau(0.5, patience=1)", average=0.9)
    for step in d:
        if step.t == 100:
            break
    state = copy_state(d.state())
    tail = [d.step() for _ in range(100)]
    end = d.space.gather()
    d.load(state)
    d.recovery.guard.load_state_dict(state["guard"])
    assert [d.step() for _ in range(100)] == tail
    assert torch.equal(d.space.gather(), end)


@pytest.mark.parametrize("t", [30, 40, 50, 51, 80])
@pytest.mark.parametrize("lr", [0.01, None], ids=["given", "followed"])
def test_a_state_from_another_stage(lr, t, task):
    stages = sd.stage(sd.adam(), "50%") >> sd.stage(sd.momentum(), "25%", lr=lr) >> sd.stage("nesterov", lr=lr)
    d = descent(task, rule=stages, lr=None, steps=100)
    for step in d:
        if step.t == t:
            state = copy_state(d.state())
    end = d.space.gather()
    d.load(state)
    d.recovery.guard.load_state_dict(state["guard"])
    for _ in d:
        pass
    assert torch.equal(d.space.gather(), end)


def test_a_plateau_in_another_hyperparameter_is_observed(task):
    rule = sd.momentum(beta=sd.plateau(0.5, patience=0, threshold=0.9))
    d = descent(task, False, rule=rule, steps=100)
    seen = []
    for _ in d:
        seen.append(d._hypers["beta"])
    assert seen[0] == 1.0
    assert seen[-1] < 1.0


def test_the_outcome_of_an_event_is_an_update_of_a_later_step(task):
    d = spoiled(descent(task), shuffled, range(300, 340))
    outcomes = [update for step in d for update in step.updates if isinstance(update, Outcome)]
    numbers = [outcome.n for outcome in outcomes]
    assert numbers == sorted(numbers)
    assert all("50 steps later" in outcome.words for outcome in outcomes)
    assert numbers[0] == 1


def test_a_weight_that_explodes_on_some_batches_only_is_undone_at_once(task):
    """Skipping them leaves the weight as it is; that the last good weights are as usual on the batch tells."""
    d = descent(task)
    events = []
    for step in d:
        if step.t == 310 and not events:
            with torch.no_grad():
                d.space.tensors()[-2][0, 0] *= 1e12
        if step.event and step.event.kind != "clip":
            events.append(step.event)
    assert events[0].kind == REWIND
    assert "as usual on this batch" in events[0].seen
    assert len(events) == 1


def test_of_a_rewind_to_the_start_no_ratio_to_a_mean_that_is_not_known_is_said(tmp_path):
    random = torch.Generator().manual_seed(0)
    x = torch.randn(1000, 20, generator=random)
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(20, 32), torch.nn.ReLU(), torch.nn.Linear(32, 4))
    task = sd.Task(model, (x, x[:, :4].argmax(1)), torch.nn.functional.cross_entropy)
    run = sd.fit(task, "momentum", 3.0, "constant", 50, epochs=10, runs=tmp_path, locate=False)
    to_start = [event for event in run.events if "rewound to step 0" in event.done]
    assert to_start
    assert not any("nan" in event.after for event in run.events)
