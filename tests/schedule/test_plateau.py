"""Plateau against torch's ReduceLROnPlateau driven by the same losses; its place in a sequence; its memory."""

import copy
import json
import math
import pickle

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.optim.lr_scheduler import ReduceLROnPlateau

from steepest.errors import InputError
from steepest.schedule import cosine, linear, parse, plateau, warmup

PER_EPOCH = 6
LOSSES = [3.0, 2.0, 2.1, 2.2, 1.9, 1.95, 1.96, math.nan, 1.97, 1.98, 1.0, 1.0, 1.0, 1.0, 1.0]
losses = st.lists(
    st.one_of(st.floats(-3, 3), st.sampled_from([1.0, 0.9999, 0.99, math.nan, math.inf])), min_size=1, max_size=60
)


def theirs(settings, seen):
    """torch's rate after each of the losses, for a base rate of 1."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    peer = ReduceLROnPlateau(
        optimizer,
        factor=settings.factor,
        patience=settings.patience,
        threshold=settings.threshold,
        cooldown=settings.cooldown,
        min_lr=settings.floor,
        eps=0,
    )
    rates = []
    for loss in seen:
        peer.step(loss)
        rates.append(optimizer.param_groups[0]["lr"])
    return rates


def ours(bound, seen, first_epoch=1):
    """Our factor at the step after each epoch."""
    factors = []
    for epoch, loss in enumerate(seen, first_epoch):
        bound.observe(PER_EPOCH * epoch, loss)
        factors.append(bound(PER_EPOCH * epoch + 1))
    return factors


@given(
    losses,
    st.builds(
        plateau,
        factor=st.sampled_from([0.1, 0.5, 0.9]),
        patience=st.integers(0, 3),
        threshold=st.sampled_from([0.0, 1e-4, 0.1]),
        cooldown=st.integers(0, 3),
        floor=st.sampled_from([0.0, 0.01, 0.3]),
    ),
)
def test_equals_torchs(seen, settings):
    """Above zero: torch's threshold is on the wrong side of a negative best."""
    seen = [abs(loss) for loss in seen]
    bound = settings.bind(PER_EPOCH * len(seen), PER_EPOCH)
    assert ours(bound, seen) == theirs(settings, seen)


@pytest.mark.parametrize("losses", [[-1.0] * 8, [-1.0 + 5e-5 * k for k in range(8)], [-2.3, -2.30001] * 4])
def test_a_negative_loss_that_stays_or_rises_has_not_fallen(losses):
    assert ours(plateau(0.5, patience=2).bind(PER_EPOCH * 8, PER_EPOCH), losses)[-1] == 0.25


def test_a_negative_loss_that_falls_has_fallen():
    losses = [1.0, 0.5, 0.0, -0.5, -1.0, -1.1, -1.2, -1.3]
    assert ours(plateau(0.5, patience=0).bind(PER_EPOCH * 8, PER_EPOCH), losses)[-1] == 1.0


def test_in_a_sequence_it_sees_only_its_own_epochs():
    settings = plateau(0.5, patience=1)
    bound = (warmup("3 epochs") >> settings).bind(PER_EPOCH * 15, PER_EPOCH)
    low = [0.001, 0.002, 0.003]  # the best of all: a plateau that had seen them would reduce at once
    assert bound.watches
    assert ours(bound, low) == [7 / 18, 13 / 18, 1.0]
    assert ours(bound, LOSSES[:12], first_epoch=4) == theirs(settings, LOSSES[:12])
    assert theirs(settings, LOSSES[:12])[-1] == 0.125  # three reductions, so that there was something to see
    assert bound(PER_EPOCH) == pytest.approx(1 / 3)  # the warmup is as pure as ever


def test_a_boundary_within_an_epoch():
    bound = (warmup(7) >> plateau(0.5, patience=0, length=4) >> linear).bind(24, PER_EPOCH)
    for t in (6, 7, 12, 18, 24):  # steps 8 … 11 are the plateau's
        bound.observe(t, 1.0)
    assert bound.state_dict()["plateaus"][0]["best"] is None
    bound.observe(8, 1.0)
    bound.observe(11, 1.0)
    assert [bound(t) for t in (8, 11)] == [0.5, 0.5]
    assert bound(12) == pytest.approx(12 / 13)  # what follows is absolute
    assert bound(24) == 0.0


def test_in_a_product_it_multiplies():
    bound = (0.5 * plateau(0.1, patience=0) * cosine).bind(4, 1)
    alone = cosine().bind(4, 1)
    bound.observe(1, 1.0)
    bound.observe(2, 1.0)
    assert [bound(t) for t in (1, 2, 3, 4)] == pytest.approx([0.05 * alone(t) for t in (1, 2, 3, 4)])


def test_beyond_its_end_it_holds_and_no_longer_sees():
    bound = plateau(0.5, patience=0, length=3).bind(6, 1)
    assert [bound(t) for t in range(1, 7)] == [1.0] * 6
    for t in (1, 2, 3, 4, 5, 6, 7):
        bound.observe(t, 1.0)
    assert [bound(t) for t in (1, 3, 6, 60)] == [0.25] * 4


@given(losses, losses)
def test_a_resumed_plateau_goes_on_as_the_one_never_stopped(before, after):
    schedule = parse("plateau(0.5, patience=1, cooldown=1) * plateau(0.9, patience=0)")
    T = PER_EPOCH * (len(before) + len(after))
    whole, first = schedule.bind(T, PER_EPOCH), schedule.bind(T, PER_EPOCH)
    ours(whole, before)
    ours(first, before)
    state = json.loads(json.dumps(first.state_dict(), allow_nan=False))
    second = schedule.bind(2 * T, PER_EPOCH)  # also where the run has become longer
    second.load_state_dict(state)
    start = len(before) + 1
    assert ours(second, after, start) == ours(whole, after, start)


@pytest.mark.parametrize("copied", [copy.deepcopy, copy.copy, lambda bound: pickle.loads(pickle.dumps(bound))])
def test_a_copy_has_a_memory_of_its_own(copied):
    bound = parse("warmup(1) >> plateau(0.5, patience=0)").bind(9, 1)
    for t in (2, 3):
        bound.observe(t, 1.0)
    other = copied(bound)
    other.observe(4, 1.0)
    assert (bound(9), other(9)) == (0.5, 0.25)


def test_two_runs_of_one_schedule_share_no_memory():
    schedule = plateau(0.5, patience=0)
    one, other = schedule.bind(9, 1), schedule.bind(9, 1)
    for t in (1, 2):
        one.observe(t, 1.0)
    assert (one(3), other(3)) == (0.5, 1.0)


def test_a_list_of_factors_is_refused():
    with pytest.raises(InputError, match="depend on the losses"):
        parse("warmup(5) >> plateau").bind(9, 1).values([1, 2])


@pytest.mark.parametrize("state", [{}, {"plateaus": []}, {"plateaus": [{"scale": 1.0}]}, {"plateaus": [None]}])
def test_a_strange_state_is_refused(state):
    with pytest.raises(InputError, match="state"):
        plateau().bind(9, 1).load_state_dict(state)
    with pytest.raises(InputError, match="state"):
        cosine().bind(9, 1).load_state_dict(plateau().bind(9, 1).state_dict())
