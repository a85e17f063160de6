"""How often verdict, outlook, diagnosis, learning-rate search and film contradict one another, on small trainings.

Tasks, rules, rates over six decades, noise, lengths and schedules are drawn from the number of the run; every fourth
run searches for its rate. `analysis.contradictions` says which claims may not stand together.
"""

import collections
import itertools
import random
import tempfile
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy, mse_loss

import steepest as sd
from benchmarks.problems.networks import dense
from benchmarks.report import table
from steepest.analysis import contradictions as said
from steepest.analysis.contradictions import Claim
from steepest.records.path import Path
from steepest.records.run import History
from steepest.view.film import summary

TITLE = "Contradictions"

FIRST, RUNS = 1000, 208
"""The first run and their number; the rules were made while runs 0 to 207 were looked at."""
RULES = "gradient_descent", "momentum", "adam", "rmsprop"
SCHEDULES = "constant", "constant", "cosine"
DECADES = range(-5, 1)
KINDS = "classes", "noisy classes", "regression", "parabola", "shuffled labels", "inactive units", "large inputs"


def measure() -> list[str]:
    """Lines of the report."""
    found, verdicts = collections.Counter(), collections.Counter()
    for number in range(FIRST, FIRST + RUNS):
        claims, kind = claims_of(number)
        verdicts[kind] += 1
        for one, other, why in said.contradictions(claims):
            found[f"{one.source}: {one.says}", f"{other.source}: {other.says}", why] += 1
    kinds = ", ".join(f"{kind} {count}" for kind, count in verdicts.most_common())
    lines = [f"{RUNS} runs, {sum(found.values())} contradictions. Verdicts: {kinds}.", ""]
    rows = [[*pair, str(count)] for pair, count in found.most_common()]
    return lines + (table(["said", "also said", "why not both", "runs"], rows) if rows else [])


def claims_of(number: int) -> tuple[list[Claim], str]:
    """Everything that is said of a run, and the kind of its verdict."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            run = train(number, folder)
        except sd.TaskError:  # the search says that no rate works, and nothing is run
            return [], "no rate"
        verdict, diagnosis, record = run.verdict, sd.diagnose(run), run.record
    film = History(record, {}, Path("run", np.empty((0, 0), np.float32)))
    claims = [] if verdict is None else said.verdict_claims(verdict)
    claims += itertools.chain.from_iterable(map(said.finding_claims, diagnosis.findings))
    claims += said.search_claims(record.search, record.config.lr)
    claims += said.text_claims("film", summary.headline(film, verdict, live=False))
    claims += said.text_claims("film", summary.advice(film, verdict))
    return claims, "none" if verdict is None else verdict.headline


def train(number: int, folder: str) -> Any:
    """A run of a second or less."""
    draw = random.Random(number)
    kind, rule, schedule = KINDS[number % len(KINDS)], draw.choice(RULES), draw.choice(SCHEDULES)
    lr: Any = "auto" if number % 4 == 3 else 10 ** (draw.choice(DECADES) + draw.random())
    batch: Any = draw.choice((4, 32, 32, "full"))
    steps = draw.choice((100, 300, 600))
    return sd.fit(
        task(kind, number), rule, lr, batch_size=batch, steps=steps, schedule=schedule, seed=number, runs=folder,
        guard=draw.choice((True, False)),
    )  # fmt: skip


def task(kind: str, seed: int) -> sd.Task:
    """A small problem."""
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(384, 8, generator=g)
    labels = (x @ torch.randn(8, 3, generator=g)).argmax(1)
    if kind in ("noisy classes", "shuffled labels"):
        is_wrong = torch.rand(384, generator=g) < (0.3 if kind == "noisy classes" else 1.0)
        labels = torch.where(is_wrong, torch.randint(0, 3, (384,), generator=g), labels)
    if kind in ("regression", "parabola"):
        y = x[:, :2].sin() + 0.1 * torch.randn(384, 2, generator=g)
        net = nn.Linear(8, 2) if kind == "parabola" else dense(seed, (8, 16, 2), nn.Tanh)
        return _task(net, x, y, mse_loss)
    net = dense(seed, (8, 24, 3))
    if kind == "inactive units":
        with torch.no_grad():
            nn.init.constant_(net.get_parameter("0.bias"), -20.0)
    return _task(net, 30 * x if kind == "large inputs" else x, labels, cross_entropy)


def _task(net: nn.Module, x: torch.Tensor, y: torch.Tensor, loss: Any) -> sd.Task:
    return sd.Task(net, (x[:256], y[:256]), loss, validation=(x[256:], y[256:]))
