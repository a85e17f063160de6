"""Steepest: gradient descent for PyTorch users.

w ← w − α ∇L(w)
"""

from steepest import optim
from steepest.analysis.conclusion import diagnose
from steepest.analysis.diagnosis.diagnose import Diagnosis
from steepest.descent.guard.guard import Guard
from steepest.descent.stages import stage
from steepest.errors import (
    DivergedError,
    FormulaError,
    InputError,
    ScheduleError,
    SteepestError,
    StoreError,
    TaskError,
    UnknownNameError,
)
from steepest.integrations.logs.read import read_log
from steepest.integrations.watch import watch
from steepest.records.run import Call, Event, Measurement, Record, Step
from steepest.records.tracker import Tracker
from steepest.records.verdict import Verdict
from steepest.rules.rule import Rule, W, rule, scalar
from steepest.rules.textbook import (
    adadelta,
    adagrad,
    adam,
    adamax,
    adamw,
    ademamix,
    adopt,
    amsgrad,
    asgd,
    gradient_descent,
    lion,
    momentum,
    nadam,
    nesterov,
    radam,
    rmsprop,
    rprop,
    schedule_free_adamw,
    signum,
)
from steepest.rules.trace import abs, exp, log, maximum, minimum, sign, sqrt, where
from steepest.runs.compare import Comparison, compare
from steepest.runs.descend import descend
from steepest.runs.fit import fit
from steepest.runs.locate import locate
from steepest.runs.resume import resume
from steepest.runs.run import Run, open
from steepest.schedule import (
    constant,
    cooldown,
    cosine,
    cosine_cycles,
    cosine_restarts,
    custom,
    cyclic,
    exponential,
    inverse_sqrt,
    linear,
    multistep,
    one_cycle,
    plateau,
    polynomial,
    step,
    warmup,
)
from steepest.search.find_lr import Rates, find_lr
from steepest.search.race import Race, race
from steepest.tasks.space import Space
from steepest.tasks.task import Metric, Task, accuracy, metric
from steepest.version import own_version
from steepest.view.play import play

__version__ = own_version()

__all__ = [
    "Call", "Comparison", "Diagnosis", "DivergedError", "Event", "FormulaError", "Guard", "InputError",
    "Measurement", "Metric", "Race", "Rates", "Record", "Rule", "Run", "ScheduleError", "Space", "SteepestError",
    "Step", "StoreError", "Task", "TaskError", "Tracker", "UnknownNameError", "Verdict", "W", "abs", "accuracy",
    "adadelta", "adagrad", "adam", "adamax", "adamw", "ademamix", "adopt", "amsgrad", "asgd", "compare", "constant",
    "cooldown", "cosine", "cosine_cycles", "cosine_restarts", "custom", "cyclic", "descend", "diagnose", "exp",
    "exponential", "find_lr", "fit", "gradient_descent", "inverse_sqrt", "linear", "lion", "locate", "log",
    "maximum", "metric", "minimum", "momentum", "multistep", "nadam", "nesterov", "one_cycle", "open", "optim",
    "plateau", "play", "polynomial", "race", "radam", "read_log", "resume", "rmsprop", "rprop", "rule", "scalar",
    "schedule_free_adamw", "sign", "signum", "sqrt", "stage", "step", "warmup", "watch", "where",
]  # fmt: skip
