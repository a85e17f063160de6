"""The problems that learning-rate searches are tried on: small real trainings of many kinds, a second or two each.

No choice in a search may be made on them. Some tasks are those of `problems`, others are only here. The learning rate
is the rule's default; the best one lies between a tenth of it and a hundred times it. All have the schedule "warmup(5%)
>> cosine" and end in a loss that does not fall to nearly 0, so that its last value is more than chance.
"""

from benchmarks.problems.problems import COSINE, TABLE, Problem, problem
from steepest.rules.textbook import find_rule


def _problem(rule: str, task: str, batch_size: int, steps: int) -> Problem:
    return problem(task, rule, find_rule(rule).hypers["lr"], COSINE, batch_size, steps)


RATE_PROBLEMS = tuple(_problem(rule, *row) for rule, rows in TABLE["searches"].items() for row in rows)
DEVELOPMENT = tuple(_problem(rule, "factors", 64, 1000) for rule in ("gradient_descent", "adam", "lion"))
"""Used while the search was developed, so not reported: they showed that a first rung in which no member has begun to
learn carries no information."""
