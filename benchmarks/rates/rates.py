"""How good the learning rate finders are: each one's rate against a grid of rates, all trained to the end.

For each problem a grid of rates, a quarter of a decade apart around the rule's default rate and three decades to each
side, is trained in full, without a guard; it is widened until its best rate is well inside. Then each method finds its
rate, and the problem is trained in full at that very rate. Loss is the validation loss at the end, infinite where it is
not finite. A method's ratio is its loss ÷ the grid's best, left out where losses fall below 0; its regret is the share
that it lacks of what the best rate gains: (loss − best) ÷ (loss at the start − best). Costs are relative to that full
run, in steps and in processor seconds of one thread, and to a plain loop of torch of as many steps (DataLoader, Adam);
what a method imports and compiles once for a rule is not counted.

    python -m benchmarks.rates.rates --problems dense-adam --methods find_lr --out DIR    # a part; adds to what is in
    DIR
    python -m benchmarks.rates.rates --report DIR [--details]                             # the tables of what is in DIR
"""

import functools
import math
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import mse_loss

import steepest as sd
from benchmarks.guard import trials
from benchmarks.guard.trials import Kept
from benchmarks.problems.problems import Problem, find
from benchmarks.rates.found import GRID, KEY, OURS, SEEDS, START, Lab, installed, lines
from benchmarks.rates.range_tests import PEERS, Finder, Found
from benchmarks.rates.rate_problems import DEVELOPMENT, RATE_PROBLEMS
from benchmarks.speed.loops import plain

TITLE = "Learning rates found"

SIDE = 12
"""Quarter decades to each side of the default rate."""
PLAIN_STEPS = 60
"""Of a plain loop, that are timed."""
MARGIN, FARTHEST = 2, 20
"""The best rate is so far inside the grid, unless the grid would have to be wider than this."""


def ours(problem: Problem, seed: int) -> Found:
    """Our own search."""
    rates = sd.find_lr(
        problem.descent(seed).task, problem.rule, schedule=problem.schedule, batch_size=problem.batch_size,
        steps=problem.steps, seed=seed,
    )  # fmt: skip
    return Found(replace(problem, lr=rates.best), rates.steps, rates.way)


METHODS: dict[str, Finder] = {OURS: ours, **{name: method for name, method in PEERS.items() if installed(name)}}


# -- Doing -------------------------------------------------------------------------------------------------------------


def work(kept: Kept, problems: Iterable[Problem], methods: Sequence[str], seeds: Sequence[int]) -> None:
    """Does the runs that are not there yet."""
    for problem in problems:
        for seed in seeds:
            _grid(kept, problem, seed)
            for method in methods:
                trial = _trial(problem, seed, method)
                kept.add(trial, lambda p=problem, s=seed, m=method: _outcome(p, s, m))


def _trial(problem: Problem, seed: int, method: str, at: int | None = None) -> dict[str, Any]:
    return dict(zip(KEY, (problem.name, seed, method, at), strict=True))


def _grid(kept: Kept, problem: Problem, seed: int) -> None:
    """Trains at all rates of the grid, which is widened while its best is near an edge."""
    kept.add(_trial(problem, seed, START), lambda: {"loss": problem.descent(seed).measure()["loss"]})
    low, high = -SIDE, SIDE
    while True:
        for at in range(low, high + 1):
            rate = float(f"{problem.lr * 10 ** (at / 4):.4g}")
            tuned = replace(problem, lr=rate)
            kept.add(_trial(problem, seed, GRID, at), lambda p=tuned: {"rate": p.lr, "loss": _trained(p, seed)})
        losses = Lab(kept).grids[problem.name, seed]
        best = min(losses, key=lambda at: losses[at][1])
        if best < low + MARGIN and low > -FARTHEST:
            low -= 1
        elif best > high - MARGIN and high < FARTHEST:
            high += 1
        else:
            return


def _trained(problem: Problem, seed: int) -> float:
    """Validation loss at the end of a full run."""
    descent = problem.descent(seed, guard=False)
    for _ in descent:
        pass
    loss = descent.measure()["loss"]
    return loss if math.isfinite(loss) else math.inf


def _outcome(problem: Problem, seed: int, method: str) -> dict[str, Any]:
    _used_once(method, problem.rule)
    searched, found = _timed(lambda: METHODS[method](problem, seed))
    trained, loss = _timed(lambda: _trained(found.tuned or problem, seed))
    return {
        "rate": found.tuned and found.tuned.lr,
        "loss": loss if found.tuned else math.inf,
        "steps": found.steps / problem.steps,
        "time": searched / trained,
        "plain": searched / _plain(problem, seed),
        "way": found.way,
    }


def _plain(problem: Problem, seed: int) -> float:
    """Processor seconds that a plain loop of torch takes for as many steps."""
    descent = problem.descent(seed)
    x, y = descent.task.data
    batch = len(x) if problem.batch_size == "full" else int(problem.batch_size)
    loop = plain(descent.model, x, y, batch, descent.task.loss or mse_loss)
    next(loop)
    seconds, _ = _timed(lambda: [next(loop) for _ in range(PLAIN_STEPS)])
    return seconds / PLAIN_STEPS * problem.steps


@functools.cache
def _used_once(method: str, rule: str) -> None:
    """Imports and compiles what a method needs for a rule, on the first problem that has the rule."""
    METHODS[method](next(p for p in RATE_PROBLEMS if p.rule == rule), 0)


def _timed(call: Callable[[], Any]) -> tuple[float, Any]:
    """Processor seconds, which other work on the machine does not lengthen, and what the call gives."""
    began = time.process_time()
    found = call()
    return time.process_time() - began, found


# -- Commands ----------------------------------------------------------------------------------------------------------


def measure() -> list[str]:
    """Lines of the report: all of it, from nothing. It takes about twenty minutes."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        kept = Kept(Path(folder), *KEY)
        work(kept, RATE_PROBLEMS, list(METHODS), SEEDS)
        return lines(Lab(kept))


def main() -> None:
    """The command line."""
    parser = trials.parser(__doc__)
    parser.add_argument("--methods", nargs="*", default=list(METHODS), choices=list(METHODS))
    given = parser.parse_args()
    known = RATE_PROBLEMS + DEVELOPMENT if given.problems else RATE_PROBLEMS
    problems, kept = find(given.problems, known), trials.kept(given, KEY)
    if given.report is None:
        work(kept, problems, given.methods, SEEDS if given.seeds is None else given.seeds)
    trials.told(given, "rates", lines(Lab(kept, problems), given.details), kept)


if __name__ == "__main__":
    main()
