"""The update rules.

Every rule is its paper's formula for one weight. Kernels, reference, page and manual are generated from this file. `w`
is the weight, `g` its gradient, further positional parameters are the rule's state with its starting values,
keyword-only parameters are hyperparameters, and `t` counts the rule's steps from 1. Default learning rates come from
the paper or from common practice; `find_lr` measures better ones.
"""

from steepest.errors import InputError, unknown
from steepest.rules.rule import Rule, W, rule, scalar
from steepest.rules.trace import exp, log, maximum, minimum, sign, sqrt, where

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


@rule
def radam(w, g, m=0.0, v=0.0, *, t, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8, weight_decay=0.0):
    """RAdam: Adam that does not divide by the root mean square until its variance is small enough.

    Liu et al. 2020, arXiv:1908.03265, algorithm 2; eps as in torch.
    """
    g = g + weight_decay * w
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g * g
    rho_end = 2 / (1 - beta2) - 1
    rho = rho_end - 2 * t * beta2**t / (1 - beta2**t)
    r, e = maximum(rho, 5.0), maximum(rho_end, 5.0)
    rectification = sqrt((r - 4) * (r - 2) * e / ((e - 4) * (e - 2) * r))
    adaptive = where(rho > 5, rectification * sqrt(1 - beta2**t), 0.0)
    m_hat = m / (1 - beta1**t)
    return w - lr * m_hat * (adaptive / (sqrt(v) + eps) + where(rho > 5, 0.0, 1.0)), m, v


@rule
def adadelta(w, g, v=0.0, u=0.0, *, lr=1.0, rho=0.9, eps=1e-6, weight_decay=0.0):
    """Adadelta: the step has the running root mean square of past steps in place of a learning rate.

    Zeiler 2012, arXiv:1212.5701, algorithm 1.
    """
    g = g + weight_decay * w
    v = rho * v + (1 - rho) * g * g
    step = sqrt((u + eps) / (v + eps)) * g
    u = rho * u + (1 - rho) * step * step
    return w - lr * step, v, u


@rule
def adopt(w, g, m=0.0, v=0.0, *, t, lr=1e-3, beta1=0.9, beta2=0.9999, eps=1e-6, weight_decay=0.0):
    """ADOPT: the gradient is divided by the root mean square of the gradients before it, then averaged.

    Taniguchi et al. 2024, arXiv:2411.02853, algorithm 2, with the clip t^(1/4); the first step only measures.
    """
    g = g + weight_decay * w
    clip = (t - 1) ** 0.25
    u = minimum(maximum(g / maximum(sqrt(v), eps), -clip), clip)
    m = beta1 * m + (1 - beta1) * u
    v = where(t > 1, beta2, 0.0) * v + where(t > 1, 1 - beta2, 1.0) * g * g
    return w - lr * m, m, v


@rule
def ademamix(
    w, g, m=0.0, m_slow=0.0, v=0.0, *,
    t, lr=1e-3, beta1=0.9, beta2=0.999, beta3=0.9999, alpha=5.0, warmup=0.0, eps=1e-8, weight_decay=0.0,
):  # fmt: skip
    """AdEMAMix: AdamW with a second, much slower momentum.

    Pagliardini, Ablin and Grangier 2024, arXiv:2409.03137, algorithm 1; `warmup` steps for alpha and beta3.
    """
    share = minimum(t / maximum(warmup, 1.0), 1.0)
    log1, log3 = log(maximum(beta1, 1e-300)), log(maximum(beta3, 1e-300))
    beta = minimum(exp(log1 * log3 / ((1 - share) * log3 + share * log1)), beta3)
    m = beta1 * m + (1 - beta1) * g
    m_slow = beta * m_slow + (1 - beta) * g
    v = beta2 * v + (1 - beta2) * g * g
    m_hat = m / (1 - beta1**t)
    v_hat = v / (1 - beta2**t)
    return w - lr * ((m_hat + share * alpha * m_slow) / (sqrt(v_hat) + eps) + weight_decay * w), m, m_slow, v


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


@rule
def rprop(
    w, g, previous=0.0, size=0.0, *,
    t, lr=1e-2, eta_minus=0.5, eta_plus=1.2, smallest=1e-6, largest=50.0, weight_decay=0.0,
):  # fmt: skip
    """Rprop: each weight has a step size, which grows while the gradient keeps its sign and shrinks when it changes.

    Riedmiller and Braun 1993, doi:10.1109/ICNN.1993.298623; for full batches. Step sizes begin at lr.
    """
    g = g + weight_decay * w
    change = g * previous
    growth = where(change > 0, eta_plus, where(change < 0, eta_minus, 1.0))
    size = minimum(maximum(where(t > 1, size, lr) * growth, smallest), largest)
    g = where(change < 0, 0.0, g)
    return w - sign(g) * size, g, size


# -- Averages of the weights -------------------------------------------------------------------------------------------


def _asgd_average(w, average):
    return average


@rule(evaluate=_asgd_average)
def asgd(
    w, g, average=W, eta=scalar(0.0), mu=scalar(1.0), *,
    t, lr=1e-2, lambd=1e-4, alpha=0.75, t0=1e6, weight_decay=0.0,
):  # fmt: skip
    """Averaged gradient descent: the learning rate decays, and the weights of all steps after t0 are averaged.

    Polyak and Juditsky 1992, doi:10.1137/0330046; the decay as in torch, after Bottou. Reports the average.
    """
    g = g + weight_decay * w
    eta = where(t > 1, eta, lr)
    w = w * (1 - lambd * eta) - eta * g
    average = average + mu * (w - average)
    return w, average, lr / (1 + lambd * lr * t) ** alpha, 1 / maximum(1.0, t - t0)


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
        gradient_descent, momentum, nesterov, adagrad, rmsprop, adam, adamw, amsgrad, nadam, adamax, radam, adadelta,
        adopt, ademamix, lion, signum, rprop, asgd, schedule_free_adamw,
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
