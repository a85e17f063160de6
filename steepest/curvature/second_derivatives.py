"""Checks whether the second derivative that autograd gives for a loss is right, and which module lacks one.

An operation without a second derivative may raise, but it may also be wrong without an error: the next derivative takes
what `torch.autograd.function.once_differentiable` marks for a constant, wherever the gradient that reaches it is one.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils._pytree import tree_flatten, tree_unflatten

from steepest import seeds

MAX_PRODUCT_ERROR = 1e-2
"""A product that differs from a difference of gradients by a larger share is wrong."""
DIFFERENCE_STEPS = (1e-6, 1e-8, 1e-10)
"""Steps of the difference, relative to the point. A rectified unit whose kink lies within the step spoils it, in fewer
samples the smaller the step is; so agreement with one of them is enough."""
DISPLACEMENT = 1e-3
"""Share by which the point is displaced first: while biases are still 0, units may be exactly at their kinks."""

LossOfParts = Callable[[Sequence[Tensor]], Tensor]
Parts = Sequence[Tensor]


def why_not_twice_differentiable(loss: LossOfParts, at: Parts) -> str:
    """What is wrong with the second derivative of a loss near a point, in words; empty if nothing is.

    Compares ∇²L v by autograd with differences of gradients, in float64, along a random direction v; in other
    precisions only errors are noticed.

    Args:
        loss: a function of tensors.
        at: the point.
    """
    displacement, v = _random(at, "aside"), _random(at, "along")
    scale = max(1e-3, _norm(at) / max(1.0, _norm(v)))
    at = _add(at, DISPLACEMENT * scale, displacement)
    try:
        product = _product(loss, at, v)
    except RuntimeError as error:
        return str(error).partition("\n")[0]
    if any(p.dtype != torch.float64 for p in at):
        return ""
    reference = 0.0
    for h in (step * scale for step in DIFFERENCE_STEPS):
        ahead, behind = (_gradient(loss, _add(at, by, v)) for by in (h, -h))
        difference = [(a - b) / (2 * h) for a, b in zip(ahead, behind, strict=True)]
        reference = _norm(difference)
        rounding = 100 * torch.finfo(torch.float64).eps * _norm(ahead) / h
        if not _norm(_add(product, -1.0, difference)) > MAX_PRODUCT_ERROR * reference + rounding:
            return ""
    return f"autograd gives ‖∇²L v‖ = {_norm(product):.3g}, differences of gradients give {reference:.3g}"


def modules_without_second_derivative(model: nn.Module, call: Callable[[], Any]) -> str:
    """The innermost modules without a second derivative, in words; empty if every module alone has one.

    Args:
        model: whose modules are checked, each with the inputs that reach it.
        call: runs the model once.
    """
    with torch.no_grad():
        inputs = module_inputs(model, call)
    names, culprits = {module: name for name, module in model.named_modules()}, dict[str, nn.Module]()
    for module, calls in reversed(inputs.items()):  # inner ones first
        name = names[module]
        if not any(n.startswith(f"{name}." if name else "") for n in culprits) and _lacks(module, *calls[0]):
            culprits[name] = module
    return " and ".join(f"{type(module).__name__} ({n or 'the model'})" for n, module in reversed(culprits.items()))


def module_inputs(
    model: nn.Module, call: Callable[[], Any], kinds: Any = nn.Module
) -> dict[nn.Module, list[tuple[Any, Any]]]:
    """The inputs of a model's modules in one pass: the arguments of each call, by position and by name.

    Args:
        model: whose modules are watched.
        call: runs the model once.
        kinds: classes of modules.
    """
    inputs: dict[nn.Module, list[tuple[Any, Any]]] = {}

    def record(module: nn.Module, args: Any, kwargs: Any) -> None:
        inputs.setdefault(module, []).append((args, kwargs))

    hooks = [m.register_forward_pre_hook(record, with_kwargs=True) for m in model.modules() if isinstance(m, kinds)]
    try:
        call()
    finally:
        for hook in hooks:
            hook.remove()
    return inputs


def _lacks(module: nn.Module, args: Any, kwargs: Any) -> bool:
    """Whether a module alone has no second derivative, by its inputs and parameters."""
    leaves, shape = tree_flatten((args, kwargs))
    variable = [i for i, x in enumerate(leaves) if isinstance(x, Tensor) and x.is_floating_point()]
    names = [name for name, p in module.named_parameters() if p.requires_grad]

    def loss(parts: Parts) -> Tensor:
        inputs = list(leaves)
        for i, part in zip(variable, parts):
            inputs[i] = part
        parameters = dict(zip(names, parts[len(variable) :], strict=True))
        output = functional_call(module, parameters, *tree_unflatten(inputs, shape))
        outputs = [x for x in tree_flatten(output)[0] if isinstance(x, Tensor) and x.requires_grad]
        return torch.stack([x.square().sum() for x in outputs]).sum()

    at = [*(leaves[i].detach() for i in variable), *(module.get_parameter(n).detach() for n in names)]
    return bool(at) and bool(why_not_twice_differentiable(loss, at))


def _product(loss: LossOfParts, at: Parts, v: Parts) -> Parts:
    """∇²L v by autograd; parts of the gradient that are constant have no graph."""
    leaves = [p.detach().requires_grad_() for p in at]
    gradient = torch.autograd.grad(loss(leaves), leaves, create_graph=True, materialize_grads=True)
    variable = [i for i, g in enumerate(gradient) if g.requires_grad]
    if not variable:
        return [torch.zeros_like(p) for p in at]
    return gradient_product([gradient[i] for i in variable], [v[i] for i in variable], leaves)


def gradient_product(gradients: Parts, v: Parts, leaves: Parts, retain_graph: bool = False) -> Parts:
    """∇(gᵀv), which is ∇²L v.

    With v as `grad_outputs`, torch would import sympy to check shapes, which takes a second or more, once in a process.
    """
    product = torch.stack([(g * x).sum() for g, x in zip(gradients, v, strict=True)]).sum()
    return torch.autograd.grad(product, leaves, retain_graph=retain_graph, materialize_grads=True)


def _gradient(loss: LossOfParts, at: Parts) -> Parts:
    leaves = [p.detach().requires_grad_() for p in at]
    return torch.autograd.grad(loss(leaves), leaves, materialize_grads=True)


def _random(at: Parts, purpose: str) -> Parts:
    stream = seeds.generator(0, "second derivative", purpose)
    return [torch.randn(p.shape, generator=stream, dtype=torch.float64).to(p) for p in at]


def _add(at: Parts, by: float, v: Parts) -> Parts:
    return [p + by * x for p, x in zip(at, v, strict=True)]


def _norm(parts: Parts) -> float:
    return float(sum(p.detach().square().sum() for p in parts)) ** 0.5
