"""Whether a loss has the second derivative that autograd gives for it, and which module lacks one.

An operation without a second derivative may raise, but it may also lose it in silence: what
`torch.autograd.function.once_differentiable` marks is a constant to the next derivative wherever the gradient that
reaches it is one.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils._pytree import tree_flatten, tree_unflatten

from steepest import seeds

AGREES = 1e-2
"""A product further than this share from a difference of gradients is wrong."""
STEPS = (1e-6, 1e-8, 1e-10)
"""Of the difference, relative to the point. A rectified unit that bends within a step spoils it, in fewer samples the
smaller it is; so one that agrees is enough."""
ASIDE = 1e-3
"""The point is moved by this share before: where biases are still 0, units may stand exactly where they bend."""

Of = Callable[[Sequence[Tensor]], Tensor]
Parts = Sequence[Tensor]


def why_not_twice(loss: Of, at: Parts) -> str:
    """What is wrong with the second derivative of a loss, near a point and along a direction; empty where nothing is.

    The derivative of the gradient by autograd is held against differences of gradients, in float64; in other precisions
    only what raises is seen.

    Args:
        loss: a function of tensors.
        at: where.
    """
    aside, along = _random(at, "aside"), _random(at, "along")
    scale = max(1e-3, _norm(at) / max(1.0, _norm(along)))
    at = _moved(at, ASIDE * scale, aside)
    try:
        product = _product(loss, at, along)
    except RuntimeError as error:
        return str(error).partition("\n")[0]
    if any(p.dtype != torch.float64 for p in at):
        return ""
    known = 0.0
    for h in (step * scale for step in STEPS):
        ahead, behind = (_gradient(loss, _moved(at, by, along)) for by in (h, -h))
        difference = [(a - b) / (2 * h) for a, b in zip(ahead, behind, strict=True)]
        known = _norm(difference)
        rounding = 100 * torch.finfo(torch.float64).eps * _norm(ahead) / h
        if not _norm(_moved(product, -1.0, difference)) > AGREES * known + rounding:
            return ""
    return f"autograd gives ‖∇²L v‖ = {_norm(product):.3g}, differences of gradients {known:.3g}"


def faulty(model: nn.Module, call: Callable[[], Any]) -> str:
    """The innermost modules without a second derivative, in words; empty where every module alone has one.

    Args:
        model: whose modules are tried, each with the inputs that reach it.
        call: runs the model once.
    """
    inputs: dict[str, tuple[Any, Any]] = {}

    def noting(name: str) -> Callable:
        def note(_: nn.Module, given: Any, named: Any) -> None:
            inputs.setdefault(name, (given, named))

        return note

    hooks = [m.register_forward_pre_hook(noting(name), with_kwargs=True) for name, m in model.named_modules()]
    try:
        with torch.no_grad():
            call()
    finally:
        for hook in hooks:
            hook.remove()
    found: list[str] = []
    for name in reversed(inputs):  # inner ones first
        module = model.get_submodule(name)
        if not any(n.startswith(f"{name}." if name else "") for n in found) and _lacks(module, *inputs[name]):
            found.append(name)
    kinds = [f"{type(model.get_submodule(n)).__name__} ({n or 'the model'})" for n in reversed(found)]
    return " and ".join(kinds)


def _lacks(module: nn.Module, given: Any, named: Any) -> bool:
    """Whether a module alone has no second derivative, by its inputs and parameters."""
    leaves, shape = tree_flatten((given, named))
    moving = [i for i, x in enumerate(leaves) if isinstance(x, Tensor) and x.is_floating_point()]
    names = [name for name, p in module.named_parameters() if p.requires_grad]

    def loss(parts: Parts) -> Tensor:
        inputs = list(leaves)
        for i, part in zip(moving, parts):
            inputs[i] = part
        args, kwargs = tree_unflatten(inputs, shape)
        output = functional_call(module, dict(zip(names, parts[len(moving) :], strict=True)), args, kwargs)
        outputs = [x for x in tree_flatten(output)[0] if isinstance(x, Tensor) and x.requires_grad]
        return torch.stack([x.square().sum() for x in outputs]).sum()

    at = [*(leaves[i].detach() for i in moving), *(module.get_parameter(n).detach() for n in names)]
    return bool(at) and bool(why_not_twice(loss, at))


def _product(loss: Of, at: Parts, v: Parts) -> Parts:
    """∇²L v by autograd; parts of the gradient that are constant do not know any."""
    leaves = [p.detach().requires_grad_() for p in at]
    gradient = torch.autograd.grad(loss(leaves), leaves, create_graph=True, materialize_grads=True)
    known = [i for i, g in enumerate(gradient) if g.requires_grad]
    if not known:
        return [torch.zeros_like(p) for p in at]
    return along([gradient[i] for i in known], [v[i] for i in known], leaves)


def along(gradients: Parts, v: Parts, leaves: Parts, retain_graph: bool = False) -> Parts:
    """∇(gᵀv), which is ∇²L v.

    Given v as `grad_outputs`, torch would import sympy for a check of shapes: a second and more, once in a process.
    """
    product = torch.stack([(g * x).sum() for g, x in zip(gradients, v, strict=True)]).sum()
    return torch.autograd.grad(product, leaves, retain_graph=retain_graph, materialize_grads=True)


def _gradient(loss: Of, at: Parts) -> Parts:
    leaves = [p.detach().requires_grad_() for p in at]
    return torch.autograd.grad(loss(leaves), leaves, materialize_grads=True)


def _random(at: Parts, purpose: str) -> Parts:
    stream = seeds.generator(0, "second derivative", purpose)
    return [torch.randn(p.shape, generator=stream, dtype=torch.float64).to(p) for p in at]


def _moved(at: Parts, by: float, along: Parts) -> Parts:
    return [p + by * x for p, x in zip(at, along, strict=True)]


def _norm(parts: Parts) -> float:
    return float(sum(p.detach().square().sum() for p in parts)) ** 0.5
