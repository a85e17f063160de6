"""What the errors show."""

import pytest
import torch
from torch import nn

import steepest as sd
from steepest.errors import ScheduleError
from steepest.rules.rule import with_average
from steepest.rules.textbook import find_rule
from steepest.rules.torch_optimizer import TorchOptimizer
from steepest.rules.update import Update
from steepest.schedule import as_schedule, parse
from tests.oracles import Tensors


@pytest.mark.parametrize(
    ("text", "position", "shown"),
    [
        ("warmup(5%) >> cosin", 14, ["warmup(5%) >> cosin", "              ^"]),
        ("warmup(5%)\n  >> cosin", 16, ["  >> cosin", "     ^"]),
        ("warmup(5%)\n>> cosin\n* linear", 14, [">> cosin", "   ^"]),
        ("cosin\n>> linear", 0, ["cosin", "^"]),
        ("warmup(5%)\r\n>> cosin >>\r\nlinear", 15, [">> cosin >> ", "   ^"]),
        ("\twarmup(5%)\t>>\tcosin", 15, [" warmup(5%) >> cosin", "               ^"]),
        ("warmup(5%)\x85>>\u2028cosin", 14, ["warmup(5%) >> cosin", "              ^"]),
        ("cosine(\x1b[31m)", 7, ["cosine( [31m)", "       ^"]),
        ("warmup(5%) >>\n", 14, ["warmup(5%) >>", "             ^"]),
        ("warmup(5%)\n>>  \n\n", 17, [">>  ", "  ^"]),
        ("\n \n", 3, ["", "^"]),
        ("", 0, ["", "^"]),
        ("   ", 3, ["   ", "   ^"]),
    ],
)
def test_the_caret_is_under_the_mistake(text, position, shown):
    error = ScheduleError(text, position, "what is wrong")
    said = f"Invalid schedule at character {position + 1}: what is wrong"
    assert str(error).split("\n") == [said, *(f"    {line}" for line in shown)]
    assert (error.text, error.position) == (text, position)


@sd.rule
def without_rate(w, g, *, lr):
    return w - lr * g


def formula(body):
    """A rule whose formula is wrong in one place."""
    return sd.rule(body).program


def optimizer(**given):
    return sd.optim.SGD([nn.Parameter(torch.ones(2))], **given)


ERRORS = {
    "adma": (
        lambda: find_rule("adma"),
        "Unknown rule 'adma'. Did you mean 'adam'? Known rules: adadelta, adagrad, adam, adamax, adamw, ademamix, "
        "adopt, amsgrad, asgd, gradient_descent, lion, momentum, nadam, nesterov, radam, rmsprop, rprop, "
        "schedule_free_adamw, signum",
    ),
    "not a rule": (
        lambda: find_rule(3),
        "rule must be a name such as 'adam', a rule such as sd.adam(), or a function params -> Optimizer, got 3",
    ),
    "unknown hyperparameter": (
        lambda: sd.momentum(bta=0.5),
        "Unknown hyperparameter 'bta' of momentum. Did you mean 'beta'? Known hyperparameters: beta, lr, weight_decay",
    ),
    "lr": (lambda: sd.adam(lr=-1), "lr of adam must be a positive number, such as 1e-3, got -1"),
    "lr as text": (lambda: sd.adam(lr="fast"), "lr of adam must be a finite number or a schedule, got 'fast'"),
    "beta": (lambda: sd.adam(beta1=1), "beta1 of adam must be at least 0 and below 1, got 1"),
    "weight decay": (lambda: sd.adam(weight_decay=-1), "weight_decay of adam must be at least 0, got -1"),
    "average": (lambda: with_average(sd.adam, 1.5), "average must be at least 0 and below 1, such as 0.999, got 1.5"),
    "average of an average": (
        lambda: with_average(sd.schedule_free_adamw, 0.9),
        "average cannot be used with schedule_free_adamw, which reports an average of its own. Drop it.",
    ),
    "branch in a formula": (
        lambda: formula(lambda w, g, *, lr: w if g > 0 else g),
        "a formula must be straight-line arithmetic: it cannot branch on a value that differs between weights or "
        "steps. Write sd.where(condition, a, b) instead of if / and / or / not / max / min.",
    ),
    "torch in a formula": (
        lambda: formula(lambda w, g, *, lr: w - lr * torch.sqrt(g)),
        "torch.sqrt needs tensors, but a formula describes one weight. Write sd.sqrt.",
    ),
    "text in a formula": (
        lambda: formula(lambda w, g, *, lr: w - "x"),
        "a formula cannot use str 'x'. A formula may use its arguments, numbers, + - * / **, comparisons and "
        "sd.sqrt, sign, abs, where, maximum, minimum, exp, log.",
    ),
    "a formula without lr": (
        lambda: formula(lambda w, g: w - g),
        "the keyword-only parameter lr (learning rate) is missing. Write (w, g, *, lr).",
    ),
    "lr of a group": (
        lambda: Update(Tensors({"w": torch.ones(2)}, (0,), ({"lr": 0.1},)), sd.adam),
        "groups cannot set lr, which follows the schedule. Use lr_scale, a factor of lr.",
    ),
    "hyperparameter of a group": (
        lambda: Update(Tensors({"w": torch.ones(2)}, (0,), ({"momentum": 0.1},)), sd.momentum),
        "Unknown hyperparameter 'momentum' of momentum. Known hyperparameters: beta, lr, lr_scale, weight_decay",
    ),
    "not an optimizer": (
        lambda: TorchOptimizer(Tensors({"w": torch.ones(2)}), lambda params: params),
        "the function passed as rule must return a torch.optim.Optimizer, got list",
    ),
    "option of a param group": (
        lambda: sd.optim.SGD([{"params": [torch.nn.Parameter(torch.ones(2))], "momentun": 0.9}]),
        "Unknown option 'momentun' of a param group of SGD. Did you mean 'momentum'? Known: dampening, lr, maximize, "
        "momentum, nesterov, weight_decay. Set a key for code of your own later, in optimizer.param_groups.",
    ),
    "cosin": (
        lambda: parse("cosin"),
        "Invalid schedule at character 1: unknown 'cosin'. Did you mean 'cosine'? Known: constant, cooldown, "
        "cosine, cosine_cycles, cosine_restarts, cyclic, exponential, inverse_sqrt, linear, multistep, one_cycle, "
        "plateau, polynomial, step, warmup\n"
        "    cosin\n    ^",
    ),
    "argument of a schedule": (
        lambda: parse("cosine(flor=0.1)"),
        "Invalid schedule at character 8: unknown argument 'flor' of cosine. Did you mean 'floor'? "
        "Known: floor, length, min_lr\n    cosine(flor=0.1)\n           ^",
    ),
    "value in a schedule": (
        lambda: parse("cosine(floor=2)"),
        "Invalid schedule at character 14: floor of cosine must be between 0 and 1, got 2\n"
        "    cosine(floor=2)\n                 ^",
    ),
    "length": (
        lambda: sd.warmup(0.05),
        "length of warmup: a length must look like 500 (steps), '30 epochs' or '5%' (of the run), got 0.05",
    ),
    "warmup": (
        lambda: parse("warmup"),
        "Invalid schedule at character 1: warmup needs length, as in warmup(5%)\n    warmup\n    ^",
    ),
    "two rests": (
        lambda: sd.cosine() >> sd.linear(),
        "both cosine and linear take the rest of the run. Give one of them a length, such as 50%.",
    ),
    "too long": (
        lambda: parse("warmup(500) >> cosine").bind(100, 10),
        "Invalid schedule at character 1: warmup(500) lasts 500 steps, but only 100 of the run's 100 are left. "
        "Shorten it, train longer, or use a share of the run, such as 5%.\n    warmup(500) >> cosine\n    ^",
    ),
    "no schedule": (
        lambda: as_schedule(0.1),
        "schedule must be a text such as 'warmup(5%) >> cosine' or a schedule, got 0.1",
    ),
    "scale": (lambda: -1 * sd.cosine(), "the scale of a schedule must be finite and above 0, got -1"),
    "metric without a plateau": (
        lambda: sd.optim.Schedule(optimizer(), "cosine", steps=20).step(0.5),
        "metric must be given to a schedule with a plateau, got 0.5 for cosine",
    ),
    "state of another schedule": (
        lambda: sd.optim.Schedule(optimizer(), "cosine", steps=20).load_state_dict(
            sd.optim.Schedule(optimizer(), "cosine", steps=30).state_dict()
        ),
        "state_dict must be of the same schedule: steps must be 20, got 30",
    ),
    "steps of a schedule": (
        lambda: sd.optim.Schedule(optimizer(), "cosine", steps=0),
        "T, the number of steps of the run, must be an integer ≥ 1, got 0",
    ),
    "optimizer without lr": (
        lambda: sd.optim.RuleOptimizer([nn.Parameter(torch.ones(2))], without_rate),
        "lr is missing: rule without_rate has no default. Pass without_rate(lr=...).",
    ),
    "state of another optimizer": (
        lambda: optimizer().load_state_dict(torch.optim.Adam([nn.Parameter(torch.ones(2))]).state_dict()),
        "state_dict must come from SGD, but its param groups have no dampening, momentum. They have: amsgrad, betas, "
        "capturable, decoupled_weight_decay, differentiable, eps, foreach, fused, lr, maximize, weight_decay",
    ),
    "sparse gradient": (
        lambda: step_sparsely(),
        "the gradient of parameter 0 of param group 0 must be dense, got torch.sparse_coo. "
        "Build the embedding with sparse=False.",
    ),
}


def step_sparsely():
    net = nn.Embedding(3, 2, sparse=True)
    net(torch.tensor([1])).sum().backward()
    sd.optim.Lion(net.parameters()).step()


@pytest.mark.parametrize("name", ERRORS)
def test_what_users_meet_first(name):
    """The whole sentence; that of a formula stands behind the file and the line."""
    make, sentence = ERRORS[name]
    with pytest.raises(sd.InputError) as caught:
        make()
    message = str(caught.value)
    if isinstance(caught.value, sd.FormulaError):
        assert message.startswith(f"{__file__}:")
        assert message.endswith(f": {sentence}")
    else:
        assert message == sentence
