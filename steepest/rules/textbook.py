"""The update rules.

Every rule is its paper's formula for one weight. Kernels, reference, page and manual are generated from this file. `w`
is the weight, `g` its gradient, further positional parameters are the rule's state with its starting values,
keyword-only parameters are hyperparameters, and `t` counts the rule's steps from 1. Default learning rates come from
the paper or from common practice; `find_lr` measures better ones.
"""

from steepest.errors import InputError, unknown
from steepest.rules.rule import Rule, W, rule, scalar
from steepest.rules.trace import maximum, sign, sqrt

# -- Gradient descent and momentum -------------------------------------------------------------------------------------


@rule
def gradient_descent(w, g, *, lr=0.1, weight_decay=0.0):
    """Gradient descent: a step along the negative gradient.

    Cauchy 1847; on samples: Robbins and Monro 1951.
    """
    g = g + weight_decay * w
    return w - lr * g


@rule
def momentum(w, g, v=0.0, *, lr=0.01, beta=0.9, weight_decay=0.0):
    """Heavy ball: a decaying sum of past gradients, which is large along a narrow valley and small across it.

    Polyak 1964, doi:10.1016/0041-5553(64)90137-5.
    """
    g = g + weight_decay * w
    v = beta * v + g
    return w - lr * v, v


@rule
def nesterov(w, g, v=0.0, *, lr=0.01, beta=0.9, weight_decay=0.0):
    """Nesterov's momentum: the gradient acts as if computed at the point to which the velocity leads.

    Nesterov 1983; in this form Sutskever et al. 2013.
    """
    g = g + weight_decay * w
    v = beta * v + g
    return w - lr * (g + beta * v), v


# -- A learning rate for each weight -----------------------------------------------------------------------------------


@rule
def adagrad(w, g, s=0.0, *, lr=0.01, eps=1e-10, weight_decay=0.0):
    """Adagrad: the learning rate of a weight decreases with the sum of its squared gradients.

    Duchi, Hazan and Singer 2011, jmlr.org/papers/v12/duchi11a.html.
    """
    g = g + weight_decay * w
    s = s + g * g
    return w - lr * g / (sqrt(s) + eps), s


@rule
def rmsprop(w, g, v=0.0, *, lr=1e-3, beta=0.99, eps=1e-8, weight_decay=0.0):
    """RMSProp: the gradient divided by its running root mean square.

    Tieleman and Hinton 2012, lecture 6.5 of "Neural networks for machine learning".
    """
    g = g + weight_decay * w
    v = beta * v + (1 - beta) * g * g
    return w - lr * g / (sqrt(v) + eps), v


@rule
def adam(w, g, m=0.0, v=0.0, *, t, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8, weight_decay=0.0):
    """Adam: momentum divided by the gradient's running root mean square, both with bias correction.

    Kingma and Ba 2015, arXiv:1412.6980, algorithm 1.
    """
    g = g + weight_decay * w
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g * g
    m_hat = m / (1 - beta1**t)
    v_hat = v / (1 - beta2**t)
    return w - lr * m_hat / (sqrt(v_hat) + eps), m, v


@rule
def adamw(w, g, m=0.0, v=0.0, *, t, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8, weight_decay=0.01):
    """AdamW: Adam with decoupled weight decay: added to the step instead of the gradient.

    Loshchilov and Hutter 2019, arXiv:1711.05101, algorithm 2.
    """
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g * g
    m_hat = m / (1 - beta1**t)
    v_hat = v / (1 - beta2**t)
    return w - lr * (m_hat / (sqrt(v_hat) + eps) + weight_decay * w), m, v


@rule
def amsgrad(w, g, m=0.0, v=0.0, v_max=0.0, *, t, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8, weight_decay=0.0):
    """AMSGrad: Adam with a second moment that never decreases.

    Reddi, Kale and Kumar 2018, arXiv:1904.09237, algorithm 2, with Adam's bias corrections.
    """
    g = g + weight_decay * w
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g * g
    v_max = maximum(v_max, v)
    m_hat = m / (1 - beta1**t)
    v_hat = v_max / (1 - beta2**t)
    return w - lr * m_hat / (sqrt(v_hat) + eps), m, v, v_max


@rule
def nadam(
    w, g, m=0.0, v=0.0, mu_product=scalar(1.0), *,
    t, lr=2e-3, beta1=0.9, beta2=0.999, eps=1e-8, weight_decay=0.0, decay=0.004,
):  # fmt: skip
    """NAdam: Adam with Nesterov's momentum and a warmup of the momentum.

    Dozat 2016, "Incorporating Nesterov momentum into Adam", algorithm 2.
    """
    g = g + weight_decay * w
    mu = beta1 * (1 - 0.5 * 0.96 ** (t * decay))
    mu_next = beta1 * (1 - 0.5 * 0.96 ** ((t + 1) * decay))
    mu_product = mu_product * mu
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g * g
    m_hat = mu_next * m / (1 - mu_product * mu_next) + (1 - mu) * g / (1 - mu_product)
    v_hat = v / (1 - beta2**t)
    return w - lr * m_hat / (sqrt(v_hat) + eps), m, v, mu_product


@rule
def adamax(w, g, m=0.0, u=0.0, *, t, lr=2e-3, beta1=0.9, beta2=0.999, eps=1e-8, weight_decay=0.0):
    """Adamax: Adam with the largest recent gradient in place of the root mean square.

    Kingma and Ba 2015, arXiv:1412.6980, algorithm 2; eps as in torch.
    """
    g = g + weight_decay * w
    m = beta1 * m + (1 - beta1) * g
    u = maximum(beta2 * u, abs(g) + eps)
    return w - lr / (1 - beta1**t) * m / u, m, u


# -- Sign rules --------------------------------------------------------------------------------------------------------


@rule
def lion(w, g, m=0.0, *, lr=1e-4, beta1=0.9, beta2=0.99, weight_decay=0.0):
    """Lion: the sign of an interpolation between momentum and gradient.

    Chen et al. 2023, arXiv:2302.06675, program 1.
    """
    u = sign(beta1 * m + (1 - beta1) * g)
    m = beta2 * m + (1 - beta2) * g
    return w - lr * (u + weight_decay * w), m


@rule
def signum(w, g, m=0.0, *, lr=1e-4, beta=0.9, weight_decay=0.0):
    """Signum: the sign of the momentum.

    Bernstein et al. 2018, arXiv:1802.04434, algorithm 2.
    """
    m = beta * m + (1 - beta) * g
    return w - lr * (sign(m) + weight_decay * w), m


# -- Schedule-free -----------------------------------------------------------------------------------------------------


def _average(w, z, *, beta1):
    """x, from y = (1 − β₁) z + β₁ x."""
    return (w - (1 - beta1) * z) / beta1


@rule(evaluate=_average)
def schedule_free_adamw(
    w, g, z=W, v=0.0, weight_sum=scalar(0.0), lr_max=scalar(0.0), *,
    t, lr=2.5e-3, beta1=0.9, beta2=0.999, eps=1e-8, weight_decay=0.0,
):  # fmt: skip
    """Schedule-free AdamW: steps at z, averages to x, computes the gradient at w = (1 − β₁) z + β₁ x; reports x.

    Defazio et al. 2024, arXiv:2405.15682, algorithm 1, solved for w, with the authors' weights for the average.
    """
    lr_max = maximum(lr_max, lr)
    weight_sum = weight_sum + lr_max**2
    c = lr_max**2 / maximum(weight_sum, 1e-300)  # 0 as long as a warm-up's rate is 0
    v = beta2 * v + (1 - beta2) * g * g
    u = g / (sqrt(v / (1 - beta2**t)) + eps) + weight_decay * w
    w = (1 - c) * w + c * z - lr * (1 - beta1 * (1 - c)) * u
    return w, z - lr * u, v, weight_sum, lr_max


# -- By name -----------------------------------------------------------------------------------------------------------

RULES: dict[str, Rule] = {
    r.name: r
    for r in (
        gradient_descent, momentum, nesterov, adagrad, rmsprop, adam, adamw, amsgrad, nadam, adamax, lion, signum,
        schedule_free_adamw,
    )
}  # fmt: skip


def find_rule(rule: str | Rule) -> Rule:
    """The rule with a name; a Rule is returned as it is.

    Raises:
        UnknownNameError: there is no such rule.
        InputError: the value is neither a name nor a rule.

    >>> find_rule("lion")
    lion(lr=0.0001, beta1=0.9, beta2=0.99, weight_decay=0.0)
    """
    if isinstance(rule, Rule):
        return rule
    if not isinstance(rule, str):
        raise InputError(
            "rule must be a name such as 'adam', a rule such as sd.adam(), or a function params -> Optimizer, "
            f"got {rule!r}"
        )
    if rule not in RULES:
        raise unknown("rule", rule, RULES)
    return RULES[rule]
