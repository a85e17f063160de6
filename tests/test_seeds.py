"""Randomness is a function of a seed and a purpose, and the caller's own is left alone."""

import random
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from steepest import seeds

numbers = st.integers(-(2**70), 2**70)
purposes = st.lists(st.one_of(st.integers(0, 2**40), st.text(max_size=8)), max_size=3)


def states():
    python, numpy = random.getstate(), np.random.get_state()
    return python, numpy[1].tolist(), numpy[2:], torch.default_generator.get_state().tolist()


def draws():
    return random.random(), np.random.rand(), torch.rand(3).tolist()


def test_scrambles_as_splitmix64_does():
    # The generator's first outputs from state 0, as its authors' C code prints them.
    state, found = 0, []
    for _ in range(3):
        found.append(seeds._scramble(state))
        state += 0x9E3779B97F4A7C15
    assert found == [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]


@pytest.mark.parametrize(
    ("text", "expected"), [("", 0xCBF29CE484222325), ("a", 0xAF63DC4C8601EC8C), ("foobar", 0x85944171F73967E8)]
)
def test_texts_are_hashed_by_fnv_1a(text, expected):
    assert seeds._hash(text) == expected


@settings(max_examples=200, deadline=None, derandomize=True)
@given(numbers, purposes)
def test_a_mix_fits_every_generator(seed, parts):
    assert 0 <= seeds.mix(seed, *parts) < 2**63
    assert seeds.mix(seed, *parts) == seeds.mix(seed, *parts)
    seeds.generator(seed, *parts)


def test_purposes_differ():
    parts = [("order", e) for e in range(100)] + [("augment", t, i) for t in range(100) for i in range(4)] + [("step",)]
    found = {seeds.mix(seed, *part) for seed in range(-20, 20) for part in parts}
    assert len(found) == 40 * len(parts)


def test_parts_are_in_order():
    assert len({seeds.mix(0), seeds.mix(0, 0), seeds.mix(0, 0, 0), seeds.mix(0, 1, 2), seeds.mix(0, 2, 1)}) == 5


def test_every_bit_is_used():
    found = [seeds.mix(0, "order", n) for n in range(2000)]
    for bit in range(63):
        assert 850 < sum(x >> bit & 1 for x in found) < 1150  # 6.7 standard deviations


@pytest.mark.slow
def test_the_same_in_every_process():
    code = "from steepest import seeds; print(seeds.mix(3, 'order', 5))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(run.stdout) == seeds.mix(3, "order", 5)


def test_ours_is_a_function_of_the_seed():
    with seeds.ours(1, "model"):
        first = draws()
    draws()
    with seeds.ours(1, "model"):
        again = draws()
    with seeds.ours(2, "model"):
        other = draws()
    assert first == again
    assert all(a != b for a, b in zip(first, other, strict=True))


def test_ours_leaves_the_callers_state():
    before = states()
    with seeds.ours(1, "model"):
        draws()
    assert states() == before


def test_ours_leaves_the_callers_state_after_an_error():
    @seeds.ours(1)
    def failing():
        draws()
        raise KeyError

    before = states()
    with pytest.raises(KeyError):
        failing()
    assert states() == before


def test_ours_can_be_nested():
    with seeds.ours(1):
        first = draws()
        second = draws()
    with seeds.ours(1):
        assert draws() == first
        with seeds.ours(2):
            draws()
        assert draws() == second


def test_many_blocks_in_one_hold_draw_what_they_draw_alone():
    def blocks():
        for seed in (1, 2, 1):
            with seeds.ours(seed):
                first = draws()
                with seeds.ours(3):
                    inner = draws()
                yield first, inner, draws()

    np.random.randn()  # so that numpy keeps the second number of a pair
    before, alone = states(), list(blocks())
    with seeds.hold(), seeds.hold():
        assert list(blocks()) == alone
    assert states() == before
    with seeds.ours(4):
        drawn, mine = draws(), states()
        with seeds.hold():
            assert list(blocks()) == alone
        assert states() == mine
    with seeds.ours(4):
        assert draws() == drawn


def test_a_hold_leaves_the_callers_state_after_an_error():
    @seeds.hold()
    def failing():
        with seeds.ours(1):
            raise KeyError

    before = states()
    with pytest.raises(KeyError):
        failing()
    assert states() == before
    with seeds.ours(1):
        draws()
    assert states() == before


def test_a_steps_randomness_is_a_function_of_seed_and_t():
    def drawn(seed, t):
        randomness = seeds.StepRandomness(seed, torch.device("cpu"))
        with randomness.of_step(t):
            return torch.rand(4).tolist()

    before = states()
    assert drawn(0, 7) == drawn(0, 7)
    found = [tuple(drawn(seed, t)) for seed in range(5) for t in range(1, 50)]
    assert len(set(found)) == len(found)
    assert states() == before
