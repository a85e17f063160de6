"""Writes peers.json: the rates of timm and optax, which are not installed for the tests, by their documented formulas.

Each function below was written for this file from what the peer documents, in plain Python, for a base rate of 1 and
the peer's own index t = 0, 1, …; nothing of it was copied. Made with `python tests/schedule/make_peers.py`.
"""

import json
from bisect import bisect_right
from itertools import accumulate
from math import cos, pi, sqrt
from operator import mul
from pathlib import Path

FILE = Path(__file__).with_name("peers.json")


def half_wave(share):
    return (1 + cos(pi * share)) / 2


# -- timm --------------------------------------------------------------------------------------------------------------


def timm_warmup(after, warmup_t, warmup_lr_init=0.0):
    """A line from warmup_lr_init to the base rate over warmup_t; then `after` counts from 0 (warmup_prefix=True)."""
    return lambda t: warmup_lr_init + t * (1 - warmup_lr_init) / warmup_t if t < warmup_t else after(t - warmup_t)


def timm_cycles(shape, t_initial, lr_min=0.0, cycle_mul=1, cycle_decay=1.0, cycle_limit=1):
    """Cycle i lasts t_initial · cycle_mulⁱ and begins at cycle_decayⁱ; after cycle_limit cycles it is lr_min."""

    def rate(t):
        begin = 0
        for i in range(cycle_limit):
            length = t_initial * cycle_mul**i
            if t < begin + length:
                return lr_min + (cycle_decay**i - lr_min) * shape((t - begin) / length)
            begin += length
        return lr_min

    return rate


def timm_step(decay_t, decay_rate):
    return lambda t: decay_rate ** (t // decay_t)


def timm_multistep(decay_t, decay_rate):
    """One power of decay_rate for each of decay_t up to t."""
    return lambda t: decay_rate ** bisect_right(decay_t, t)


def timm_wsd(t_initial, decay_t, lr_min, decay):
    """The base rate, and in the last decay_t of t_initial lr_min + (1 − lr_min) · decay(share of the decay)."""

    def rate(t):
        share = min(max(t - (t_initial - decay_t), 0) / decay_t, 1)
        return lr_min + (1 - lr_min) * decay(share)

    return rate


# -- optax -------------------------------------------------------------------------------------------------------------


def optax_polynomial(init_value, end_value, power, transition_steps):
    return lambda t: end_value + (init_value - end_value) * (1 - min(t, transition_steps) / transition_steps) ** power


def optax_cosine(decay_steps, alpha=0.0):
    return lambda t: alpha + (1 - alpha) * half_wave(min(t, decay_steps) / decay_steps)


def optax_exponential(transition_steps, decay_rate, staircase=False):
    return lambda t: decay_rate ** (t // transition_steps if staircase else t / transition_steps)


def optax_piecewise(boundaries, scale):
    return lambda t: scale ** sum(t >= boundary for boundary in boundaries)


def optax_interpolated(init_value, boundaries_and_scales):
    """Lines between the products of the scales at their boundaries; then the last product."""
    bounds = [0, *boundaries_and_scales]
    values = list(accumulate([init_value, *boundaries_and_scales.values()], mul))

    def rate(t):
        i = bisect_right(bounds, t) - 1
        if i == len(bounds) - 1:
            return values[-1]
        return values[i] + (values[i + 1] - values[i]) * (t - bounds[i]) / (bounds[i + 1] - bounds[i])

    return rate


def optax_joined(schedules, boundaries):
    begins = [0, *boundaries]

    def rate(t):
        i = bisect_right(boundaries, t)
        return schedules[i](t - begins[i])

    return rate


def optax_warmup_cosine(warmup_steps, decay_steps, init_value=0.0, end_value=0.0):
    rise = optax_polynomial(init_value, 1.0, 1, warmup_steps)
    return optax_joined([rise, optax_cosine(decay_steps - warmup_steps, end_value)], [warmup_steps])


ROWS = [  # peer, our text, its rate
    ("timm CosineLRScheduler(t_initial=60)", "cosine(60)", timm_cycles(half_wave, 60)),
    ("timm CosineLRScheduler(t_initial=60, lr_min=0.01)", "cosine(60, floor=0.01)", timm_cycles(half_wave, 60, 0.01)),
    (
        "timm CosineLRScheduler(t_initial=60, lr_min=0.01, warmup_t=7, warmup_lr_init=0.001, warmup_prefix=True)",
        "0.001 * linear(7, end=1000) >> cosine(60, floor=0.01)",
        timm_warmup(timm_cycles(half_wave, 60, 0.01), 7, 0.001),
    ),
    (
        "timm CosineLRScheduler(t_initial=10, lr_min=0.01, cycle_mul=2, cycle_decay=0.5, cycle_limit=3)",
        "cosine_restarts(10, mult=2, floor=0.01, decay=0.5, limit=3)",
        timm_cycles(half_wave, 10, 0.01, 2, 0.5, 3),
    ),
    (
        "timm CosineLRScheduler(t_initial=20, cycle_decay=0.8, cycle_limit=4, warmup_t=5, warmup_prefix=True)",
        "warmup(5) >> cosine_restarts(20, decay=0.8, limit=4)",
        timm_warmup(timm_cycles(half_wave, 20, cycle_decay=0.8, cycle_limit=4), 5),
    ),
    (
        "timm PolyLRScheduler(t_initial=70, power=2, lr_min=0.02, warmup_t=5, warmup_prefix=True)",
        "warmup(5) >> polynomial(2, end=0.02, length=70)",
        timm_warmup(timm_cycles(lambda x: (1 - x) ** 2, 70, 0.02), 5),
    ),
    ("timm StepLRScheduler(decay_t=9, decay_rate=0.5)", "step(9, gamma=0.5)", timm_step(9, 0.5)),
    (
        "timm MultiStepLRScheduler(decay_t=[20, 50], decay_rate=0.1)",
        "multistep([20, 50])",
        timm_multistep([20, 50], 0.1),
    ),
    (
        "timm WSDLRScheduler(t_initial=80, decay_t=30, lr_min=0.05, warmup_t=6)",
        "warmup(6) >> constant(50) >> cooldown(30, floor=0.05)",
        timm_warmup(timm_wsd(80, 30, 0.05, lambda x: 1 - sqrt(x)), 6),
    ),
    (
        "timm WSDLRScheduler(t_initial=80, decay_t=30, decay_fn='power', decay_power=2)",
        "constant(50) >> cooldown(30, power=2)",
        timm_wsd(80, 30, 0.0, lambda x: 1 - x**2),
    ),
    (
        "timm WSDLRScheduler(t_initial=80, decay_t=30, decay_fn='cosine')",
        "constant(50) >> cosine(30)",
        timm_wsd(80, 30, 0.0, half_wave),
    ),
    ("optax linear_schedule(1, 0.1, 40)", "linear(40, end=0.1)", optax_polynomial(1.0, 0.1, 1, 40)),
    ("optax linear_schedule(0.2, 1, 40)", "0.2 * linear(40, end=5)", optax_polynomial(0.2, 1.0, 1, 40)),
    (
        "optax polynomial_schedule(1, 0.1, 3, 40)",
        "polynomial(3, end=0.1, length=40)",
        optax_polynomial(1.0, 0.1, 3, 40),
    ),
    ("optax cosine_decay_schedule(1, 90, alpha=0.1)", "cosine(90, floor=0.1)", optax_cosine(90, 0.1)),
    ("optax exponential_decay(1, 10, 0.8)", "exponential(0.1073741824)", optax_exponential(10, 0.8)),
    ("optax exponential_decay(1, 10, 0.8, staircase=True)", "step(10, gamma=0.8)", optax_exponential(10, 0.8, True)),
    (
        "optax piecewise_constant_schedule(1, {30: 0.2, 70: 0.2})",
        "multistep([30, 70], gamma=0.2)",
        optax_piecewise([30, 70], 0.2),
    ),
    ("optax warmup_constant_schedule(0, 1, 12)", "warmup(12)", optax_polynomial(0.0, 1.0, 1, 12)),
    (
        "optax warmup_cosine_decay_schedule(0, 1, 12, 100, 0.05)",
        "warmup(12) >> cosine(88, floor=0.05)",
        optax_warmup_cosine(12, 100, end_value=0.05),
    ),
    (
        "optax sgdr_schedule of warmup_cosine_decay_schedule(0, 1, 5, 40) and (0, 1, 5, 60, 0.1)",
        "warmup(5) >> cosine(35) >> warmup(5) >> cosine(55, floor=0.1)",
        optax_joined([optax_warmup_cosine(5, 40), optax_warmup_cosine(5, 60, end_value=0.1)], [40]),
    ),
    (
        "optax linear_onecycle_schedule(100, 1)",
        "0.04 * linear(30, end=25) >> linear(55, end=0.04) >> 0.04 * linear(15, end=0.0001)",
        optax_interpolated(0.04, {30: 25.0, 85: 0.04, 100: 1e-4}),
    ),
]
T = 100  # steps of the run; a few past its end where the peer holds its last value


def main():
    rows = [[peer, text, [rate(t) for t in range(T)]] for peer, text, rate in ROWS]
    lines = ",\n".join(json.dumps(row) for row in rows)
    FILE.write_text(f"[\n{lines}\n]\n")


if __name__ == "__main__":
    main()
