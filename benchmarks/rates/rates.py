"""How good learning-rate searches are: the learning rate of each, against a grid of them, all trained to the end.

The grid is a quarter of a decade fine and three decades wide to each side of the rule's default; it is widened until
its best learning rate is well inside. Nothing has a guard. Ratios are omitted where losses fall below 0. What a method
imports and compiles once for a rule is not counted.
"""

import argparse
import functools
import math
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from torch.nn.functional import mse_loss

import steepest as sd
from benchmarks.parts import Options, Outcomes, Study
from benchmarks.problems.problems import Problem, final_loss, find
from benchmarks.rates.range_tests import PEERS, Choice, Finder
from benchmarks.rates.rate_problems import DEVELOPMENT, RATE_PROBLEMS
from benchmarks.rates.results import GRID, KEY, OURS, SEEDS, START, Results, is_installed, lines
from benchmarks.speed.loops import plain

TITLE = "Learning-rate search"

SIDE = 12
"""Quarter decades to each side of the default learning rate."""
PLAIN_STEPS = 60
"""Timed steps of a plain loop."""
MARGIN, MAX_SIDE = 2, 20
"""The grid is widened until the best place is MARGIN from its edges, or to MAX_SIDE."""


def ours(problem: Problem, seed: int) -> Choice:
    """Our own search."""
    rates = sd.find_lr(
        problem.descent(seed).task, problem.rule, schedule=problem.schedule, batch_size=problem.batch_size,
        steps=problem.steps, seed=seed,
    )  # fmt: skip
    return Choice(replace(problem, lr=rates.best), rates.steps, rates.way)


METHODS: dict[str, Finder] = {OURS: ours, **{name: method for name, method in PEERS.items() if is_installed(name)}}


def _problems(options: Options) -> list[Problem]:
    return find(options.problems, RATE_PROBLEMS + DEVELOPMENT if options.problems else RATE_PROBLEMS)


def _work(outcomes: Outcomes, options: Options) -> None:
    """Runs the missing trials."""
    for problem in _problems(options):
        for seed in SEEDS if options.seeds is None else options.seeds:
            _grid(outcomes, problem, seed)
            for method in options.methods:
                outcomes.add((problem.name, seed, method, None), functools.partial(_outcome, problem, seed, method))


def _grid(outcomes: Outcomes, problem: Problem, seed: int) -> None:
    """Trains at all learning rates of the grid, which is widened while its best one is near an edge."""
    outcomes.add((problem.name, seed, START, None), lambda: {"loss": problem.descent(seed).measure()["loss"]})
    low, high = -SIDE, SIDE
    while True:
        for at in range(low, high + 1):
            one = replace(problem, lr=float(f"{problem.lr * 10 ** (at / 4):.4g}"))
            outcomes.add((problem.name, seed, GRID, at), functools.partial(_grid_outcome, one, seed))
        losses = Results(outcomes, [problem]).grids[problem.name, seed]
        best = min(losses, key=lambda at: losses[at][1])
        if best < low + MARGIN and low > -MAX_SIDE:
            low -= 1
        elif best > high - MARGIN and high < MAX_SIDE:
            high += 1
        else:
            return


def _grid_outcome(problem: Problem, seed: int) -> dict[str, Any]:
    return {"rate": problem.lr, "loss": final_loss(problem, seed, guard=False)}


def _outcome(problem: Problem, seed: int, method: str) -> dict[str, Any]:
    _warm_up(method, problem.rule)
    search_time, choice = _time(lambda: METHODS[method](problem, seed))
    train_time, loss = _time(lambda: final_loss(choice.problem or problem, seed, guard=False))
    return {
        "rate": choice.problem and choice.problem.lr,
        "loss": loss if choice.problem else math.inf,
        "steps": choice.steps / problem.steps,
        "time": search_time / train_time,
        "plain": search_time / _plain_time(problem, seed),
        "way": choice.way,
    }


def _plain_time(problem: Problem, seed: int) -> float:
    """Processor seconds of a plain loop of torch for as many steps."""
    descent = problem.descent(seed)
    x, y = descent.task.data
    batch = len(x) if problem.batch_size == "full" else int(problem.batch_size)
    loop = plain(descent.model, x, y, batch, descent.task.loss or mse_loss)
    next(loop)
    seconds, _ = _time(lambda: [next(loop) for _ in range(PLAIN_STEPS)])
    return seconds / PLAIN_STEPS * problem.steps


@functools.cache
def _warm_up(method: str, rule: str) -> None:
    """Imports and compiles what a method needs for a rule, on the first problem that has the rule."""
    METHODS[method](next(p for p in RATE_PROBLEMS if p.rule == rule), 0)


def _time(call: Callable[[], Any]) -> tuple[float, Any]:
    """Processor seconds of a call, which other work on the machine does not lengthen, and its result."""
    start = time.process_time()
    result = call()
    return time.process_time() - start, result


def _lines(outcomes: Outcomes, options: Options) -> list[str]:
    return lines(Results(outcomes, _problems(options)), options.details)


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--methods", nargs="*", default=list(METHODS), choices=list(METHODS))


STUDY = Study("rates", KEY, _work, _lines, _add_options)
"""All of it takes about twenty minutes."""
measure, main = STUDY.measure, STUDY.main
