"""Variants of the textbook's rules that options of torch's classes select."""

import functools
import inspect
from typing import Any

from steepest.rules import textbook
from steepest.rules.rule import Rule, rule
from steepest.rules.trace import sqrt


@rule
def damped_momentum(w, g, v=0.0, *, lr=1e-3, beta=0.9, dampening=0.0, weight_decay=0.0):
    """Momentum in which a new gradient counts 1 − dampening."""
    g = g + weight_decay * w
    v = beta * v + (1 - dampening) * g
    return w - lr * v, v


@rule
def adagrad(w, g, s=0.0, *, t, lr=1e-2, lr_decay=0.0, eps=1e-10, weight_decay=0.0):
    """Adagrad with a learning rate of lr / (1 + (t − 1) lr_decay)."""
    lr = lr / (1 + (t - 1) * lr_decay)
    return textbook.adagrad.formula(w, g, s, lr=lr, eps=eps, weight_decay=weight_decay)


@rule
def rmsprop_momentum(w, g, v=0.0, u=0.0, *, lr=1e-2, beta=0.99, momentum=0.9, eps=1e-8, weight_decay=0.0):
    """RMSProp with momentum of its steps."""
    g = g + weight_decay * w
    v = beta * v + (1 - beta) * g * g
    u = momentum * u + g / (sqrt(v) + eps)
    return w - lr * u, v, u


@rule
def centered_rmsprop(w, g, v=0.0, a=0.0, *, lr=1e-2, beta=0.99, eps=1e-8, weight_decay=0.0):
    """RMSProp that divides by the standard deviation of the gradient; Graves 2013, arXiv:1308.0850."""
    g = g + weight_decay * w
    v = beta * v + (1 - beta) * g * g
    a = beta * a + (1 - beta) * g
    return w - lr * g / (sqrt(v - a * a) + eps), v, a


@rule
def centered_rmsprop_momentum(
    w, g, v=0.0, a=0.0, u=0.0, *, lr=1e-2, beta=0.99, momentum=0.9, eps=1e-8, weight_decay=0.0
):  # fmt: skip
    """Centered RMSProp with momentum of its steps."""
    g = g + weight_decay * w
    v = beta * v + (1 - beta) * g * g
    a = beta * a + (1 - beta) * g
    u = momentum * u + g / (sqrt(v - a * a) + eps)
    return w - lr * u, v, a, u


def with_decoupled_decay(base: Rule) -> Rule:
    """The rule with decoupled weight decay: w ← (1 − lr λ) w, then the rule without decay.

    Source: Loshchilov and Hutter 2019, arXiv:1711.05101.
    """
    formula = base.formula

    @functools.wraps(formula)
    def step(w: Any, g: Any, *slots: Any, lr: Any, weight_decay: Any, **hypers: Any) -> Any:
        return formula(w * (1 - lr * weight_decay), g, *slots, lr=lr, weight_decay=0.0, **hypers)

    step.__signature__ = inspect.signature(formula)  # type: ignore[attr-defined]
    return Rule(base.name, step, base.hypers, base.evaluate)


DECOUPLED_DECAY = {
    rule.name: with_decoupled_decay(rule) for rule in (textbook.amsgrad, textbook.nadam, textbook.radam, textbook.adopt)
}
"""By the name of the rule."""
