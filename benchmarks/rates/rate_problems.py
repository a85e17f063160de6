"""The problems that learning-rate searches are tried on: small real trainings of many kinds, a second or two each.

No choice in a search may be made on them. Some tasks are those of `problems`, others are only here. The learning rate
is the rule's default; the best one lies between a tenth of it and a hundred times it. All have the schedule "warmup(5%)
>> cosine" and end in a loss that does not fall to nearly 0, so that its last value is more than chance.
"""

from benchmarks.problems.problems import Problem, problem
from steepest.rules.textbook import find_rule


def _problems(rule: str, **tasks: tuple[int, int]) -> list[Problem]:
    """Tasks, each with batch size and steps, trained by a rule from its default learning rate."""
    lr = find_rule(rule).hypers["lr"]
    return [problem(task, rule, lr, batch_size, steps) for task, (batch_size, steps) in tasks.items()]


RATE_PROBLEMS = (
    *_problems(
        "gradient_descent", softmax=(32, 800), dense=(32, 900), ravine=(64, 1000), conv=(32, 500),
        autoencoder=(48, 1000), matrix=(64, 1000),
    ),
    *_problems(
        "momentum", dense=(64, 900), conv=(32, 500), pictures=(32, 700), residual=(32, 600), spirals=(48, 1000),
        matrix=(48, 1000), scaled=(32, 1000),
    ),
    *_problems(
        "adam", dense=(32, 900), conv=(48, 500), rows=(32, 500), phrases=(32, 500), neighbours=(64, 1000),
        scaled=(32, 1000), matrix=(64, 1000), density=(32, 1000), linear_layers=(32, 800),
    ),
    *_problems(
        "lion", softmax=(32, 800), pictures=(32, 700), neighbours=(64, 1000), phrases=(32, 500), outliers=(32, 1000),
        matrix=(64, 1000),
    ),
)  # fmt: skip

DEVELOPMENT = tuple(p for rule in ("gradient_descent", "adam", "lion") for p in _problems(rule, factors=(64, 1000)))
"""Used while the search was developed, so not reported: they showed that a first rung in which no member has begun to
learn carries no information."""
