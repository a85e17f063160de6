"""Parameters that miss steps: each has its own count, as in torch, in one update and with members."""

import random

import numpy as np
import pytest
import torch
from torch import nn

from steepest.descent.state import copy_state
from steepest.errors import TaskError
from steepest.rules.textbook import RULES
from steepest.rules.update import Update
from tests.oracles import Tensors

PEERS = {"adam": torch.optim.Adam, "nadam": torch.optim.NAdam, "radam": torch.optim.RAdam}
LR = 0.01


def tensors(seed=0):
    generator = torch.Generator().manual_seed(seed)
    return {n: nn.Parameter(torch.randn(3, 2, dtype=torch.float64, generator=generator)) for n in "abc"}


def point(parts):
    return Tensors(parts, (0, 0, 1), ({}, {"lr_scale": 0.5}))


def give_gradients(step, *groups):
    """The same gradients to all groups; at most steps one or two parameters have none."""
    generator = torch.Generator().manual_seed(step)
    present = [n for n in "abc" if random.Random(f"{step} {n}").random() < 0.6]
    for name in "abc":
        g = torch.randn(3, 2, dtype=torch.float64, generator=generator)
        for parts in groups:
            parts[name].grad = g.clone() if name in present else None


def advance(update):
    update.norm()
    update.advance({**update.rule.hypers, "lr": LR})


@pytest.mark.parametrize("on_device", [False, True])
@pytest.mark.parametrize("name", PEERS)
def test_each_parameter_counts_its_own_steps(name, on_device):
    ours, theirs = tensors(), tensors()
    update = Update(point(ours), RULES[name])
    if on_device:
        update.keep_on_device()
    torch.set_default_dtype(torch.float64)  # torch's NAdam keeps a product in it
    try:
        groups = [{"params": [theirs["a"], theirs["b"]]}, {"params": [theirs["c"]], "lr": LR / 2}]
        peer = PEERS[name](groups, lr=LR, eps=RULES[name].hypers["eps"])
        for step in range(40):
            give_gradients(step, ours, theirs)
            advance(update)
            peer.step()
    finally:
        torch.set_default_dtype(torch.float32)
    for place, letter in enumerate("abc"):
        torch.testing.assert_close(ours[letter], theirs[letter], rtol=1e-11, atol=1e-12)
        assert int(update.steps(place)) == int(peer.state[theirs[letter]]["step"]) < 40


def test_state_with_late_parameters_is_restored():
    ours, twin = tensors(), tensors()
    update = Update(point(ours), RULES["nadam"])
    for step in range(9):
        give_gradients(step, ours)
        advance(update)
    with torch.no_grad():
        for letter in "abc":
            twin[letter].copy_(ours[letter])
    other = Update(point(twin), RULES["nadam"])
    other.load(copy_state(update.state()))
    assert [other.steps(i) for i in range(3)] == [update.steps(i) for i in range(3)]
    for step in range(9, 20):
        give_gradients(step, ours, twin)
        advance(update)
        advance(other)
    assert all(torch.equal(ours[x], twin[x]) for x in "abc")


def test_members_that_skip_and_parameters_that_miss():
    """Each of two members, one of which skips two steps, is as it would be alone."""
    both = {n: nn.Parameter(torch.stack([p, p]).detach()) for n, p in tensors().items()}
    alone = [tensors(), tensors()]
    update, single = Update(point(both), RULES["nadam"], members=2), [Update(point(x), RULES["nadam"]) for x in alone]
    for step in range(15):
        give_gradients(step, *alone)
        for letter, p in both.items():
            g = alone[0][letter].grad
            p.grad = None if g is None else torch.stack([g, g])
        scale = np.array([1.0, np.nan if step in (3, 4) else 1.0])
        update.norm()
        update.advance({**RULES["nadam"].hypers, "lr": LR}, scale)
        for k, own in enumerate(single):
            own.norm()
            own.advance({**RULES["nadam"].hypers, "lr": LR}, float(scale[k]))
    for k in range(2):
        for letter in "abc":
            torch.testing.assert_close(both[letter][k], alone[k][letter].detach(), rtol=1e-12, atol=1e-13)
    assert [update.steps(i).tolist() for i in range(3)] == [[own.steps(i) for own in single] for i in range(3)]


def test_no_gradient_at_all_is_no_step():
    parts = tensors()
    update = Update(point(parts), RULES["adam"])
    before = {n: p.detach().clone() for n, p in parts.items()}
    assert update.norm() == 0.0
    assert update.advance(dict(RULES["adam"].hypers)) == 0.0
    assert [update.steps(i) for i in range(3)] == [0, 0, 0]
    assert all(torch.equal(parts[n], before[n]) for n in parts)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda p: setattr(p, "data", p.data[:2]), r"a must keep its shape \(3, 2\), got \(2, 2\)"),
        (
            lambda p: setattr(p, "data", torch.ones(4, 2, dtype=p.dtype)),
            r"a must keep its shape \(3, 2\), got \(4, 2\)",
        ),
        (lambda p: p.untyped_storage().resize_(0), "a must have memory, but its storage was freed"),
    ],
)
def test_a_parameter_that_is_not_what_it_was_is_refused_in_words(change, words):
    parts = tensors()
    update = Update(point(parts), RULES["adam"])
    give_gradients(1, parts)
    advance(update)
    others = {n: parts[n].detach().clone() for n in "bc"}
    change(parts["a"])
    with pytest.raises(TaskError, match=words):
        update.norm()
    assert all(torch.equal(parts[n], x) for n, x in others.items())
