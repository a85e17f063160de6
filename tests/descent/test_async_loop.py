"""The loop whose numbers are read late, forced on the CPU: the same descent, and a guard that is late but not wrong."""

import math

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from steepest.descent.async_loop import LAG, steps
from steepest.descent.guard.guard import Guard
from steepest.descent.state import copy_state
from steepest.records.run import CLIP, LOWER, REWIND, SKIP
from steepest.rules.update import Update
from tests.descent.guard.test_recovery import descent, shuffled, spoiled, task

assert callable(task)  # the fixture

RULES = ("gradient_descent", "momentum", "adam", "nadam", "lion", "schedule_free_adamw")
KINDS = (REWIND, LOWER)


class Reads(TorchDispatchMode):
    """Counts where a number is fetched from a tensor, for which a device would have to be waited for."""

    count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.count += function is torch.ops.aten._local_scalar_dense.default
        return function(*args, **(kwargs or {}))


def loud(factor):
    return lambda batch: (batch[0] * factor, batch[1])


def ended(d, lag=LAG, **given):
    found = list(steps(d, lag=lag, **given))
    return found, d.space.gather(), dict(d.model.named_buffers())


@pytest.mark.parametrize("rule", RULES)
def test_blocks_are_the_same_descent_as_single_steps(task, rule):
    (one, w1, b1), (many, w16, b16) = (ended(descent(task, rule=rule, lr=1e-3, steps=90, clip=1.0), k) for k in (1, 16))
    assert one == many
    assert torch.equal(w1, w16)
    assert all(torch.equal(b1[name], b16[name]) for name in b1)


@pytest.mark.parametrize("rule", RULES)
def test_it_is_the_loop_that_does_not_defer(task, rule):
    given = {"rule": rule, "lr": 1e-3, "steps": 60, "clip": 0.5, "groups": {"layers.0.*": {"lr_scale": 0.5}}}
    found, w, _ = ended(descent(task, **given))
    d = descent(task, **given)
    own = list(d)
    assert [s.loss for s in found] == pytest.approx([s.loss for s in own], rel=1e-4)
    assert [s.update_norm for s in found] == pytest.approx([s.update_norm for s in own], rel=1e-3)
    bias = slice(8 * 32, 8 * 32 + 32)  # its gradient before a batch norm is rounding, of which Adam makes steps
    for point in (w, d.space.gather()):
        point[bias] = 0
    assert torch.allclose(w, point, atol=1e-4)


def test_no_step_waits_for_the_device(task):
    d = descent(task, guard=Guard(snapshot_every=1000), steps=100)
    taken = steps(d)
    for _ in range(2 * LAG):
        next(taken)
    with Reads() as reads:
        for _ in range(2 * LAG):
            next(taken)
    assert reads.count == 0  # a block is read by one copy of a table


@pytest.mark.parametrize("rule", ["adam", "nadam"])
def test_a_step_that_is_not_finite_never_was(task, rule):
    given = {"rule": rule, "lr": 1e-3, "steps": 90}
    bad = spoiled(descent(task, **given), loud(math.nan), {50})
    found, w, buffers = ended(bad)
    assert [s.event.kind for s in found if s.event] == [SKIP]
    assert found[49].update_norm == 0
    assert isinstance(bad.update, Update)
    assert int(bad.update.t) == 89

    twin = descent(task, **given)
    for t in range(1, 91):  # the same steps without that one
        twin.before_step(t)
        twin.update.keep_on_device()
        if t == 50:
            twin.t = t
            continue
        twin.t, own = t - 1, twin.steps
        twin.steps = t
        list(steps(twin))
        twin.steps = own
    assert torch.equal(w, twin.space.gather())
    assert all(torch.equal(b, buffers[name]) for name, b in twin.model.named_buffers())


def test_gradients_far_out_are_skipped_and_clipped_on_the_device(task):
    def found(factor):
        d = spoiled(descent(task, rule="momentum", lr=1e-3, steps=150), loud(1.0), {120})
        own = d.objective.backward

        def scaled(batches, tensors):
            loss = own(batches, tensors)
            if d.batches.seen[-1] == 120:
                for p in d.space.tensors():
                    p.grad.mul_(factor)
            return loss

        d.objective.backward = scaled
        return next(s for s in steps(d) if s.t == 120)

    assert found(100.0).event.kind == CLIP
    assert found(1e6).event.kind == SKIP
    assert found(1e6).update_norm == 0
    assert 0 < found(100.0).update_norm < found(1.0).update_norm * 60


@pytest.mark.parametrize("at", [192, 199])
def test_a_rate_too_high_is_noticed_at_most_a_block_late(task, at):
    def kinds(read):
        d = descent(task, rule="momentum", lr=0.02, steps=400)
        own, d.schedule = d.schedule, None
        d.schedule = Jumping(own, at)
        found = list(read(d))
        return d, [(s.t, s.event.kind) for s in found if s.event and s.event.kind in KINDS]

    once, prompt = kinds(iter)
    late, deferred = kinds(steps)
    assert prompt[0][1] == deferred[0][1] == REWIND
    assert abs(deferred[0][0] - prompt[0][0]) <= LAG
    assert late.t == once.t == 400
    assert torch.isfinite(late.space.gather()).all()
    assert late.measure()["loss"] < 1.2 * once.measure()["loss"] + 0.02


class Jumping:
    """A schedule that is a thousandfold from a step on, for a while."""

    def __init__(self, own, at, lasts=60):
        self.own, self.at, self.lasts = own, at, lasts

    def __getattr__(self, name):
        return getattr(self.own, name)

    def __call__(self, t):
        return self.own(t) * (1e3 if self.at <= t < self.at + self.lasts else 1.0)


def test_what_was_done_after_a_divergence_is_dropped_and_done_again(task):
    d = spoiled(descent(task, lr=3e-3, steps=400), shuffled, range(200, 240))
    found = list(steps(d))
    events = [s for s in found if s.event and s.event.kind == REWIND]
    assert events
    back = next(i for i, s in enumerate(found) if s.event and s.event.kind == REWIND)
    assert found[back + 1].t <= 200  # the next step handed out is from before it
    assert [s.t for s in found if s.t == found[back].t][-1] == found[back].t
    assert d.t == 400


def test_a_run_goes_on_from_between_two_blocks(task):
    given = {"rule": "nadam", "lr": 1e-3, "steps": 200}
    whole = ended(descent(task, **given), marks=(40,))
    one = descent(task, **given)
    held = None
    for step in steps(one, (40,)):
        if step.t == one.t == 120:
            held = copy_state(one.state()), copy_state(one.recovery.state())
            break
    other = descent(task, **given)
    other.load(held[0])
    other.recovery.load(held[1])
    rest = list(steps(other, (40,)))
    assert rest == whole[0][120:]
    assert torch.equal(other.space.gather(), whole[1])


def test_blocks_end_where_somebody_looks(task):
    d = descent(task, steps=100)
    ends = [step.t for step in steps(d, (30,)) if step.t == d.t]
    assert {30, 60, 90, 50, 100} <= set(ends)  # the marks, and the snapshots at 50 and 100
    assert max(b - a for a, b in zip([0, *ends], ends)) <= LAG


def test_a_lasting_jump_of_the_schedule_is_taken_back_before_its_steps_are_taken(task):
    d = descent(task, rule="momentum", lr=0.02, steps=400)
    d.schedule = Jumping(d.schedule, 199, lasts=1000)
    found = list(steps(d))
    assert d.t == 400
    assert found[-1].lr == pytest.approx(0.02 * d.schedule.own(400))  # the jump is divided out
    assert d.measure()["loss"] < 0.6
