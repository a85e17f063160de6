"""Schedules at every step against torch, transformers, timm and optax, within 1e-12 of a base rate of 1.

`offset=-1` evaluates a schedule at the peer's own index, which is 0 at the first step. torch and transformers are run;
of timm and optax `make_peers.py` has the documented formulas, transcribed independently of ours.
"""

import json

import pytest
import torch
import transformers
from torch.optim import lr_scheduler as peers

from steepest.schedule import parse
from tests.schedule import make_peers

BOUND = 1e-12
LENGTHS = (1, 2, 3, 7, 60, 401)


def optimizer_of(cls=torch.optim.SGD, **options):
    return cls([torch.nn.Parameter(torch.zeros(1, dtype=torch.float64))], lr=1.0, **options)


def path(make, steps, key="lr", **options):
    """The peer's values at its index 0 … steps − 1."""
    optimizer = optimizer_of(**options)
    scheduler = make(optimizer)
    values = []
    for _ in range(steps):
        values.append(optimizer.param_groups[0][key])
        optimizer.step()
        scheduler.step()
    return values


def closed(make, steps):
    """The same by the closed form of torch's schedulers, whose recursions lose digits."""
    scheduler = make(optimizer_of())
    values = []
    for e in range(steps):
        scheduler.last_epoch = e
        values.extend(scheduler._get_closed_form_lr())
    return values


def factors(text, T, steps=None, offset=-1, base=1.0):
    bound = parse(text).bind(T, 6, base=base, offset=offset)
    return [bound(t) for t in range(1, (steps or T) + 1)]


TORCH = {
    "constant": lambda o, T: peers.ConstantLR(o, factor=1.0, total_iters=T),
    "cosine": lambda o, T: peers.CosineAnnealingLR(o, T_max=T),
    "cosine(min_lr=0.01)": lambda o, T: peers.CosineAnnealingLR(o, T_max=T, eta_min=0.01),
    "linear(end=0.2)": lambda o, T: peers.LinearLR(o, start_factor=1.0, end_factor=0.2, total_iters=T),
    "0.25 * linear(end=4)": lambda o, T: peers.LinearLR(o, start_factor=0.25, total_iters=T),
    "polynomial(2)": lambda o, T: peers.PolynomialLR(o, total_iters=T, power=2),
    "exponential(0.01)": lambda o, T: peers.ExponentialLR(o, gamma=0.01 ** (1 / T)),
    "step(7, gamma=0.5)": lambda o, T: peers.StepLR(o, 7, 0.5),
    "multistep([3, 3, 8, 50])": lambda o, T: peers.MultiStepLR(o, [3, 3, 8, 50], 0.1),
}


@pytest.mark.parametrize("T", LENGTHS)
@pytest.mark.parametrize("text", TORCH)
def test_torchs_closed_forms(text, T):
    assert factors(text, T) == pytest.approx(closed(lambda o: TORCH[text](o, T), T), abs=BOUND)


TORCH_PATHS = {
    "cosine_restarts(8)": lambda o, T: peers.CosineAnnealingWarmRestarts(o, 8),
    "cosine_restarts(6, mult=2, min_lr=0.1)": lambda o, T: peers.CosineAnnealingWarmRestarts(o, 6, 2, eta_min=0.1),
    "cosine_restarts(1, mult=3)": lambda o, T: peers.CosineAnnealingWarmRestarts(o, 1, 3),
}
ONE_CYCLE = {
    "one_cycle": {},
    "one_cycle(anneal=linear)": {"anneal_strategy": "linear"},
    "one_cycle(phases=3)": {"three_phase": True},
    "one_cycle(rise=0.2, phases=3, anneal=linear)": {
        "three_phase": True, "anneal_strategy": "linear", "pct_start": 0.2,
    },
    "one_cycle(rise=0.45, div=10, final_div=100, phases=3)": {
        "three_phase": True, "pct_start": 0.45, "div_factor": 10, "final_div_factor": 100,
    },
    "one_cycle(rise=0.55, div=10, final_div=100)": {"pct_start": 0.55, "div_factor": 10, "final_div_factor": 100},
    "one_cycle(rise=0)": {"pct_start": 0.0},
}  # fmt: skip
CYCLIC = {
    "cyclic(10, begin=0.1)": {"step_size_up": 10},
    "cyclic(10, down=23, begin=0.1)": {"step_size_up": 10, "step_size_down": 23},
    "cyclic(1, begin=0.1)": {"step_size_up": 1},
    "cyclic(12, down=4, begin=0.1, cycle_gamma=0.5)": {
        "step_size_up": 12, "step_size_down": 4, "mode": "triangular2",
    },
    "cyclic(9, begin=0.1, gamma=0.99)": {"step_size_up": 9, "mode": "exp_range", "gamma": 0.99},
}  # fmt: skip


@pytest.mark.parametrize("T", LENGTHS)
@pytest.mark.parametrize("text", TORCH_PATHS)
def test_torchs_restarts(text, T):
    assert factors(text, T) == pytest.approx(path(lambda o: TORCH_PATHS[text](o, T), T), abs=BOUND)


@pytest.mark.parametrize("T", LENGTHS)
@pytest.mark.parametrize("text", ONE_CYCLE)
@pytest.mark.parametrize("offset", [0, -1])
def test_one_cycle_with_momentum(text, T, offset):
    options = ONE_CYCLE[text]
    make = lambda o: peers.OneCycleLR(o, max_lr=1.0, total_steps=T, base_momentum=0.85, max_momentum=0.95, **options)  # noqa: E731
    assert factors(text, T, offset=offset) == pytest.approx(path(make, T, momentum=0.9), abs=BOUND)
    written = [f"rise={options.get('pct_start', 0.3)}", "div=1", "final_div=1", f"peak={0.85 / 0.95!r}"]
    written += [f"phases={3 if 'three_phase' in options else 2}", f"anneal={options.get('anneal_strategy', 'cos')}"]
    momentum = [0.95 * factor for factor in factors(f"one_cycle({', '.join(written)})", T, offset=offset)]
    assert momentum == pytest.approx(path(make, T, "momentum", momentum=0.9), abs=BOUND)


@pytest.mark.parametrize("T", LENGTHS)
@pytest.mark.parametrize("text", CYCLIC)
@pytest.mark.parametrize("offset", [0, -1])
def test_cyclic_with_momentum(text, T, offset):
    make = lambda o: peers.CyclicLR(o, 0.1, 1.0, base_momentum=0.8, max_momentum=0.9, **CYCLIC[text])  # noqa: E731
    assert factors(text, T, offset=offset) == pytest.approx(path(make, T, momentum=0.9), abs=BOUND)
    other = text.replace("begin=0.1", f"begin=1, peak={0.8 / 0.9!r}")
    momentum = [0.9 * factor for factor in factors(other, T, offset=offset)]
    assert momentum == pytest.approx(path(make, T, "momentum", momentum=0.9), abs=BOUND)


@pytest.mark.filterwarnings("ignore:The epoch parameter")  # SequentialLR warns of its own call
def test_a_sequence_is_torchs():
    def theirs(optimizer):
        parts = [
            peers.LambdaLR(optimizer, lambda e: e / 10),
            peers.MultiStepLR(optimizer, [4, 9], 0.5),
            peers.CosineAnnealingWarmRestarts(optimizer, 7, 2),
        ]
        return peers.SequentialLR(optimizer, parts, milestones=[10, 33])

    text = "warmup(10) >> multistep([4, 9], gamma=0.5, length=23) >> cosine_restarts(7, mult=2)"
    assert factors(text, 60) == pytest.approx(path(theirs, 60), abs=BOUND)


TRANSFORMERS = {
    "warmup(10)": lambda o, T: transformers.get_constant_schedule_with_warmup(o, 10),
    "warmup(10) >> linear": lambda o, T: transformers.get_linear_schedule_with_warmup(o, 10, T),
    "warmup(10) >> cosine": lambda o, T: transformers.get_cosine_schedule_with_warmup(o, 10, T),
    "warmup(10) >> cosine_cycles(1)": lambda o, T: transformers.get_cosine_with_hard_restarts_schedule_with_warmup(
        o, 10, T, 1
    ),
    "warmup(10) >> cosine_cycles(4)": lambda o, T: transformers.get_cosine_with_hard_restarts_schedule_with_warmup(
        o, 10, T, 4
    ),
    "warmup(10) >> cosine(min_lr=0.02)": lambda o, T: transformers.get_cosine_with_min_lr_schedule_with_warmup(
        o, 10, T, min_lr=0.02
    ),
    "warmup(10) >> polynomial(2, min_lr=0.01)": lambda o, T: transformers.get_polynomial_decay_schedule_with_warmup(
        o, 10, T, lr_end=0.01, power=2
    ),
    "warmup(10) >> constant >> cooldown(20)": lambda o, T: transformers.get_wsd_schedule(
        o, 10, 20, num_training_steps=T, decay_type="1-sqrt"
    ),
    "warmup(10) >> constant >> cosine(20)": lambda o, T: transformers.get_wsd_schedule(
        o, 10, 20, num_training_steps=T, decay_type="cosine"
    ),
    "0.1 * linear(10, end=10) >> constant >> cooldown(20, floor=0.1)": lambda o, T: transformers.get_wsd_schedule(
        o, 10, 20, num_training_steps=T, decay_type="1-sqrt", min_lr_ratio=0.1
    ),
    "inverse_sqrt(10)": lambda o, T: transformers.get_inverse_sqrt_schedule(o, 10),
}


@pytest.mark.parametrize("T", [40, 50, 401])
@pytest.mark.parametrize("text", TRANSFORMERS)
def test_transformers_from_0_and_past_the_end(text, T):
    goes_on = text in ("inverse_sqrt(10)", "warmup(10) >> cosine", "warmup(10) >> cosine(min_lr=0.02)")
    past = 0 if goes_on else 5
    theirs = path(lambda o: TRANSFORMERS[text](o, T), T + past)
    assert factors(text, T, T + past) == pytest.approx(theirs, abs=BOUND)
    assert factors(text, T, offset=0) == pytest.approx(path(lambda o: TRANSFORMERS[text](o, T), T + 1)[1:], abs=BOUND)


ROWS = json.loads(make_peers.FILE.read_text())


@pytest.mark.parametrize(("peer", "text", "rates"), ROWS, ids=[row[0] for row in ROWS])
def test_timm_and_optax(peer, text, rates):
    assert factors(text, len(rates)) == pytest.approx(rates, abs=BOUND)


def test_the_file_of_timm_and_optax_is_what_its_formulas_give():
    expected = [(peer, text, [rate(t) for t in range(make_peers.T)]) for peer, text, rate in make_peers.ROWS]
    for row, (peer, text, rates) in zip(ROWS, expected, strict=True):
        assert row[:2] == [peer, text]
        assert row[2] == pytest.approx(rates, abs=1e-15)
