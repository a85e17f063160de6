"""Every part against torch's or transformers' values at every step, at the index that its docstring states."""

import copy
import pickle
import warnings

import pytest
import torch
import transformers
from torch.optim import lr_scheduler as peers

from steepest.errors import InputError, ScheduleError
from steepest.schedule import (
    constant,
    cosine,
    cosine_restarts,
    custom,
    exponential,
    inverse_sqrt,
    linear,
    one_cycle,
    parse,
    plateau,
    polynomial,
    step,
    warmup,
)

RUNS = (1, 2, 3, 7, 60, 401)
STEPS_PER_EPOCH = 6


def factors(text, T):
    bound = parse(text).bind(T, STEPS_PER_EPOCH)
    return [bound(t) for t in range(1, T + 1)]


def rates(make, steps, *given):
    """The peer's rates at its indices e = 0 … steps − 1, for a base rate of 1."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = make(optimizer, *given)
    found = [optimizer.param_groups[0]["lr"]]
    for _ in range(steps - 1):
        optimizer.step()
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "The epoch parameter")  # SequentialLR warns of its own call
            scheduler.step()
        found.append(optimizer.param_groups[0]["lr"])
    return found


AT_S = {  # e = s
    "constant": lambda o, T: peers.ConstantLR(o, factor=1.0, total_iters=T),
    "0.5 * constant": lambda o, T: peers.ConstantLR(o, factor=0.5, total_iters=T + 1),
    "cosine": lambda o, T: peers.CosineAnnealingLR(o, T_max=T),
    "cosine(floor=0.1)": lambda o, T: peers.CosineAnnealingLR(o, T_max=T, eta_min=0.1),
    "linear": lambda o, T: peers.LinearLR(o, start_factor=1.0, end_factor=0.0, total_iters=T),
    "linear(end=0.2)": lambda o, T: peers.LinearLR(o, start_factor=1.0, end_factor=0.2, total_iters=T),
    "polynomial(2)": lambda o, T: peers.PolynomialLR(o, total_iters=T, power=2),
    "polynomial(0.5)": lambda o, T: peers.PolynomialLR(o, total_iters=T, power=0.5),
    "polynomial(3, end=0.1)": lambda o, T: transformers.get_polynomial_decay_schedule_with_warmup(
        o, 0, T, lr_end=0.1, power=3
    ),
    "exponential(0.01)": lambda o, T: peers.ExponentialLR(o, gamma=0.01 ** (1 / T)),
    "exponential(2)": lambda o, T: peers.ExponentialLR(o, gamma=2 ** (1 / T)),
}
WITH_WARMUP = {  # e = s, T > 10
    "warmup(10)": lambda o, T: transformers.get_constant_schedule_with_warmup(o, 10),
    "warmup(10) >> constant": lambda o, T: transformers.get_constant_schedule_with_warmup(o, 10),
    "warmup(10) >> linear": lambda o, T: transformers.get_linear_schedule_with_warmup(o, 10, T),
    "warmup(10) >> cosine": lambda o, T: transformers.get_cosine_schedule_with_warmup(o, 10, T),
    "warmup(10) >> polynomial(2, end=0.01)": lambda o, T: transformers.get_polynomial_decay_schedule_with_warmup(
        o, 10, T, lr_end=0.01, power=2
    ),
    "warmup(10) >> constant >> linear(20)": lambda o, T: transformers.get_wsd_schedule(
        o, 10, 20, num_stable_steps=T - 30, decay_type="linear"
    ),
    "inverse_sqrt(10)": lambda o, T: transformers.get_inverse_sqrt_schedule(o, 10),
}
BEFORE_S = {  # e = s − 1
    "step(7, gamma=0.5)": lambda o, T: peers.StepLR(o, 7, 0.5),
    "step(2 epochs)": lambda o, T: peers.StepLR(o, 12, 0.1),
    "step(1, gamma=0.99)": lambda o, T: peers.ExponentialLR(o, 0.99),
    "one_cycle": lambda o, T: peers.OneCycleLR(o, max_lr=1.0, total_steps=T),
    "one_cycle(rise=0)": lambda o, T: peers.OneCycleLR(o, max_lr=1.0, total_steps=T, pct_start=0.0),
    "one_cycle(rise=0.55, div=10, final_div=100)": lambda o, T: peers.OneCycleLR(
        o, max_lr=1.0, total_steps=T, pct_start=0.55, div_factor=10, final_div_factor=100
    ),
    "cosine_restarts(8)": lambda o, T: peers.CosineAnnealingWarmRestarts(o, 8),
    "cosine_restarts(1 epoch, mult=2, floor=0.1)": lambda o, T: peers.CosineAnnealingWarmRestarts(o, 6, 2, eta_min=0.1),
    "cosine_restarts(1, mult=3)": lambda o, T: peers.CosineAnnealingWarmRestarts(o, 1, 3),
}


@pytest.mark.parametrize("T", RUNS)
@pytest.mark.parametrize("text", AT_S)
def test_equals_its_peer_at_s(text, T):
    # torch's recursions lose digits as they near 0, hence an absolute tolerance beside the relative one
    assert factors(text, T) == pytest.approx(rates(AT_S[text], T + 1, T)[1:], rel=1e-9, abs=1e-11)


@pytest.mark.parametrize("T", [40, 60, 401])
@pytest.mark.parametrize("text", WITH_WARMUP)
def test_equals_its_peer_with_warmup(text, T):
    assert factors(text, T) == pytest.approx(rates(WITH_WARMUP[text], T + 1, T)[1:], rel=1e-12, abs=1e-15)


@pytest.mark.parametrize("T", RUNS)
@pytest.mark.parametrize("text", BEFORE_S)
def test_equals_its_peer_before_s(text, T):
    assert factors(text, T) == pytest.approx(rates(BEFORE_S[text], T, T), rel=1e-9, abs=1e-12)


def test_sequence_equals_torchs():
    """One part after another, both counted from their own start, which torch's SequentialLR does at e = s − 1."""

    def theirs(optimizer):
        stairs = peers.StepLR(optimizer, 5, 0.5)
        restarts = peers.CosineAnnealingWarmRestarts(optimizer, 7, 2)
        return peers.SequentialLR(optimizer, [stairs, restarts], milestones=[23])

    found = factors("step(5, gamma=0.5, length=23) >> cosine_restarts(7, mult=2)", 60)
    assert found == pytest.approx(rates(theirs, 60), rel=1e-12)


def test_one_cycle_whose_peak_is_the_first_step():
    """torch divides by zero here (rise · n = 1)."""
    assert factors("one_cycle(rise=0.1)", 10)[0] == 1.0


def test_warmup_is_t_over_n_and_cosine_ends_at_its_floor():
    found = factors("warmup(5%) >> cosine(floor=0.1)", 100)
    assert found[:5] == [0.2, 0.4, 0.6, 0.8, 1.0]
    assert found[-1] == 0.1


@pytest.mark.parametrize("part", [linear(end=0.3), cosine(floor=0.3), polynomial(2, end=0.3), exponential(0.3)])
@pytest.mark.parametrize("T", RUNS)
def test_ends_exactly_at_its_end(part, T):
    assert part.bind(T, 1)(T) == 0.3


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: cosine(floor=1.5), "floor of cosine must be between 0 and 1, got 1.5"),
        (lambda: cosine(floor=True), "must be between 0 and 1, got True"),
        (lambda: cosine(floor="0.1"), "must be between 0 and 1, got '0.1'"),  # type: ignore[arg-type]
        (lambda: cosine(0), "length of cosine: a length must be above 0 and below 1e+15, got 0"),
        (lambda: cosine("0%"), "a length must be above 0 and below 1e+15, got 0%"),
        (lambda: constant("101%"), "a share of the run must be at most 100%, got 101%"),
        (
            lambda: warmup(0.05),
            "length of warmup: a length must look like 500 (steps), '30 epochs' or '5%' (of the run), got 0.05",
        ),
        (
            lambda: warmup(None),
            "length of warmup: a length must look like 500 (steps), '30 epochs' or '5%' (of the run), got None",
        ),
        (lambda: linear(end=-1), "end of linear must be finite and at least 0, got -1"),
        (lambda: linear(end=float("nan")), "must be finite and at least 0, got nan"),
        (lambda: polynomial(0), "power of polynomial must be finite and above 0, got 0"),
        (lambda: exponential(0), "end of exponential must be finite and above 0, got 0"),
        (lambda: exponential(float("inf")), "must be finite and above 0, got inf"),
        (lambda: step(5, gamma=0), "gamma of step must be finite and above 0, got 0"),
        (lambda: one_cycle(rise=1), "rise of one_cycle must be at least 0 and below 1, got 1"),
        (lambda: one_cycle(div=0), "div of one_cycle must be finite and above 0, got 0"),
        (lambda: cosine_restarts(5, mult=0), "mult of cosine_restarts must be an integer ≥ 1, got 0"),
        (lambda: cosine_restarts(5, mult=1.5), "must be an integer ≥ 1, got 1.5"),  # type: ignore[arg-type]
        (
            lambda: inverse_sqrt("-5%"),
            "warmup of inverse_sqrt: a length must look like 500 (steps), '30 epochs' or '5%' (of the run), got '-5%'",
        ),
        (lambda: plateau(1.0), "factor of plateau must be above 0 and below 1, got 1"),
        (lambda: plateau(patience=-1), "patience of plateau must be an integer ≥ 0, got -1"),
        (lambda: -1 * cosine(), "the scale of a schedule must be finite and above 0, got -1"),
        (lambda: cosine * float("inf"), "the scale of a schedule must be finite and above 0, got inf"),
        (lambda: warmup >> cosine, "warmup needs arguments, as in warmup(...)"),
    ],
)
def test_what_cannot_be_meant_is_said(make, words):
    with pytest.raises(InputError) as caught:
        make()
    assert words in str(caught.value)


@pytest.mark.parametrize("make", [lambda: cosine() >> 5, lambda: cosine() * "x", lambda: "x" * cosine()])
def test_only_schedules_and_numbers_combine(make):
    with pytest.raises(TypeError):
        make()


@pytest.mark.parametrize(
    ("text", "T", "position", "words"),
    [
        ("warmup(500) >> cosine", 100, 0, "warmup(500) lasts 500 steps, but only 100 of the run's 100 are left"),
        ("warmup(30 epochs)", 60, 0, "lasts 180 steps, but only 60"),
        ("warmup(60%) >> linear(50%)", 100, 15, "linear(50%) lasts 50 steps, but only 40"),
        ("constant(90%) >> cosine >> linear(11%)", 100, 27, "linear(11%) lasts 11 steps, but only 10"),
        ("inverse_sqrt(200)", 100, 13, "the warmup lasts 200 steps"),
        ("inverse_sqrt(20%, length=10%)", 100, 13, "has only 10 of the run's 100"),
        ("step(1, gamma=1.5)", 10_000, 0, "exceeds the float range in 10000 steps. Lower gamma."),
    ],
)
def test_what_does_not_fit_the_run_is_said(text, T, position, words):
    with pytest.raises(ScheduleError) as caught:
        parse(text).bind(T, STEPS_PER_EPOCH)
    assert (caught.value.text, caught.value.position) == (text, position)
    assert words in str(caught.value)
    parse("constant(50%) >> inverse_sqrt(50%, length=50%)").bind(5, 1)  # half steps: not too long by rounding


# -- A function of one's own, and a least rate -------------------------------------------------------------------------


def halved(t, T):
    return 0.5 if t > T / 2 else 1.0


def test_a_function_of_ones_own():
    schedule = warmup(2) >> custom(halved, length="50%") >> linear
    assert schedule.bind(8, 1).values(range(1, 9)).tolist() == [0.5, 1, 1, 1, 0.5, 0.5, 0.5, 0.0]
    assert str(schedule) == "warmup(2) >> custom(halved, length=50%) >> linear"
    assert (0.5 * custom(halved)).bind(2, 1).values([1, 2]).tolist() == [0.5, 0.25]
    assert custom(halved) == custom(halved) != custom(lambda t, T: 1.0)
    assert pickle.loads(pickle.dumps(schedule.bind(8, 1)))(5) == 0.5
    assert [custom(lambda t, T: t).bind(3, 1, offset=-1)(t) for t in range(1, 6)] == [0, 1, 2, 3, 3]


@pytest.mark.parametrize("factor", [float("nan"), -1.0, None, "1"])
def test_a_function_that_gives_no_factor_is_refused(factor):
    def broken(t, T):
        return factor

    with pytest.raises(
        InputError, match=r"the factor of custom\(broken\) at step 1 of 3 must be finite and at least 0, got"
    ):
        custom(broken).bind(3, 1)(1)
    with pytest.raises(InputError, match=r"f of custom must be a function \(t, T\) → factor, got 5"):
        custom(5)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["cosine", "linear", "cooldown", "polynomial", "cosine_cycles", "cosine_restarts"])
def test_a_least_rate(name):
    needed = {"polynomial": "2, ", "cosine_cycles": "3, ", "cosine_restarts": "7, "}.get(name, "")
    least = "end" if name in ("linear", "polynomial") else "floor"
    for base in (0.5, 1e-3):
        absolute = parse(f"warmup(3) >> {name}({needed}min_lr=1e-4)").bind(24, 1, base=base)
        relative = parse(f"warmup(3) >> {name}({needed}{least}={1e-4 / base!r})").bind(24, 1)
        assert [absolute(t) for t in range(1, 30)] == [relative(t) for t in range(1, 30)]
    below = parse(f"{name}({needed}min_lr=1e-4)").bind(24, 1, base=1e-5)
    assert {below(t) for t in range(1, 30)} == {1.0}


def test_a_least_rate_without_a_base_is_refused():
    with pytest.raises(InputError, match="min_lr must be for the learning rate, whose base value is known"):
        cosine(min_lr=1e-6).bind(10, 1)
    with pytest.raises(InputError, match="offset must be 0, or -1 to evaluate parts from 0, got 1"):
        cosine().bind(10, 1, offset=1)


def test_a_bound_schedule_is_copied_with_its_base_and_offset():
    bound = (warmup(3) >> cosine(min_lr=0.1)).bind(10, 1, base=0.5, offset=-1)
    other = copy.deepcopy(bound)
    assert [other(t) for t in range(1, 14)] == [bound(t) for t in range(1, 14)]
    assert bound(1) == 0.0
    assert bound(11) == 0.2
