"""The Hessian ∇²L(w) of a loss in batches, by its products with vectors; checks whether it is right.

The gradient's graph is kept, so that a product is one backward pass: 1.4 to 2.2 × the time of a loss and gradient on
the demo's network, where a new graph for each product takes 2.4 to 3.5, forward over reverse 4.5 to 7.8, and
`torch.func.linearize` 1.8 to 3.0 (64 to 1,293 samples, float32 and float64, one core of an AMD EPYC, torch 2.13).

An operation without a second derivative may raise, but it may also be wrong without an error: the next derivative takes
what `torch.autograd.function.once_differentiable` marks for a constant, wherever the gradient that reaches it is one.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils._pytree import tree_flatten, tree_unflatten

from steepest import seeds
from steepest.errors import InputError

GRAPH_BYTES = 1 << 30
"""Memory for graphs that are kept; further batches are evaluated again for each product."""
BLOCK_BYTES, MIN_BLOCK_COLUMNS = 4 << 20, 4
"""Columns of a block are multiplied together, as many as have graphs of this size, if these are at least four. Small
networks then take 0.1 to 0.7 of the time, the demo's with 256 samples 1.4 × (one core of an AMD EPYC)."""
MAX_PRODUCT_ERROR = 1e-2
"""A product that differs from a difference of gradients by a larger share is wrong."""
DIFFERENCE_STEPS = (1e-6, 1e-8, 1e-10)
"""Steps of the difference, relative to the point. A rectified unit whose kink lies within the step spoils it, in fewer
samples the smaller the step is; so agreement with one of them is enough."""
DISPLACEMENT = 1e-3
"""Share by which the point is displaced first: while biases are still 0, units may be exactly at their kinks."""

Pass = Callable[[], Tensor]
Inputs = dict[nn.Module, list[tuple[Any, Any]]]
LossOfParts = Callable[[Sequence[Tensor]], Tensor]
Parts = Sequence[Tensor]


class Hessian:
    """∇²L(w): `H @ v` for v [N] or for a block [N, B].

    Attributes:
        shape: (N, N).
        dtype, device: of the products.
        loss: L(w).
        gradient: ∇L(w) [N].

    Args:
        parts: the point, as leaves in the order of its numbers.
        passes: each gives the loss of a batch at those leaves, and has this weight in L.
        graph_sizes: bytes of each gradient's graph.

    Raises:
        InputError: the loss at the point is not finite.
    """

    def __init__(self, parts: list[Tensor], passes: Sequence[tuple[Pass, float]], graph_sizes: Sequence[float]) -> None:
        self._parts, self._sizes = parts, [p.numel() for p in parts]
        self.shape = (sum(self._sizes), sum(self._sizes))
        self.dtype, self.device = parts[0].dtype, parts[0].device
        self.loss, self.gradient = 0.0, torch.zeros(self.shape[0], dtype=self.dtype, device=self.device)
        self._graphs: list[tuple[list[Tensor], float]] = []
        self._passes: list[tuple[Pass, float]] = []
        columns = int(BLOCK_BYTES // max(1, *graph_sizes, 1))
        self._columns = columns if columns >= MIN_BLOCK_COLUMNS else 1
        free = GRAPH_BYTES
        for (evaluate, weight), size in zip(passes, graph_sizes, strict=True):
            loss = evaluate()
            keep = size <= free
            graph = self._gradient_graph(loss) if keep else torch.autograd.grad(loss, parts, materialize_grads=True)
            self.loss, self.gradient = self.loss + weight * loss.item(), self.gradient + weight * flat(graph).detach()
            if keep:
                free -= size
                self._graphs.append((list(graph), weight))
            else:
                self._passes.append((evaluate, weight))
        if not math.isfinite(self.loss):
            bad = f"{sum(int((~p.isfinite()).sum()) for p in parts)} of {self.shape[0]} weights are not finite"
            raise InputError(f"the loss must be finite to measure curvature, got {self.loss} ({bad})")

    def __matmul__(self, v: Tensor) -> Tensor:
        if v.dim() not in (1, 2) or len(v) != self.shape[1]:
            raise InputError(f"H @ v: v must have shape [{self.shape[1]}] or [{self.shape[1]}, B], got {list(v.shape)}")
        rows = v.to(self.device, self.dtype)
        if v.dim() == 1:
            return self._products(rows[None])[0]
        return torch.cat([self._products(some) for some in rows.T.split(self._columns)]).T

    def _products(self, rows: Tensor) -> Tensor:
        """∇²L(w) v for each row v [B, N]."""
        products = torch.zeros_like(rows)
        for graph, weight in self._graphs:
            products += weight * self._back(graph, rows)
        for evaluate, weight in self._passes:
            products += weight * self._back(self._gradient_graph(evaluate()), rows)
        return products

    def _gradient_graph(self, loss: Tensor) -> list[Tensor]:
        """The gradient with its graph."""
        return list(torch.autograd.grad(loss, self._parts, create_graph=True, materialize_grads=True))

    def _back(self, graph: list[Tensor], rows: Tensor) -> Tensor:
        """A backward pass through the gradient's graph for each row; constant parts of the gradient have no graph."""
        split = [x.reshape(-1, *p.shape) for x, p in zip(rows.split(self._sizes, 1), self._parts, strict=True)]
        variable = [(g, x) for g, x in zip(graph, split, strict=True) if g.requires_grad]
        if not variable:
            return torch.zeros_like(rows)
        gradients, vectors = zip(*variable)
        if len(rows) > 1:
            try:
                products = torch.autograd.grad(
                    gradients, self._parts, vectors, retain_graph=True, materialize_grads=True, is_grads_batched=True
                )
                return torch.cat([x.reshape(len(x), -1) for x in products], 1)
            except RuntimeError:  # an operation that torch cannot map over columns
                self._columns = 1
        one_by_one = [[x[i] for x in vectors] for i in range(len(rows))]
        return torch.stack([flat(gradient_product(gradients, v, self._parts, retain_graph=True)) for v in one_by_one])


class DifferenceHessian:
    """∇²L(w) by differences of gradients, for losses without a second derivative:

        H v ≈ (∇L(w + h v) − ∇L(w − h v)) / 2h        h ‖v‖ = ε^(1/3) max(1, ‖w‖), ε of the precision

    Attributes:
        shape, dtype, device, loss, gradient: as of `Hessian`.

    Args:
        gradient: w [N] -> L(w), ∇L(w) [N].
        w: the point.

    Raises:
        InputError: the loss at the point is not finite.
    """

    def __init__(self, gradient: Callable[[Tensor], tuple[float, Tensor]], w: Tensor) -> None:
        self._gradient_at, self._w = gradient, w
        self.shape, self.dtype, self.device = (len(w), len(w)), w.dtype, w.device
        self.loss, self.gradient = gradient(w)
        if not math.isfinite(self.loss):
            raise InputError(f"the loss must be finite to measure curvature, got {self.loss}")
        self._length = torch.finfo(w.dtype).eps ** (1 / 3) * max(1.0, float(w.norm()))

    def __matmul__(self, v: Tensor) -> Tensor:
        if v.dim() == 2:
            return torch.stack([self @ column for column in v.T], 1)
        v = v.to(self.device, self.dtype)
        norm = float(v.norm())
        if norm == 0:
            return torch.zeros_like(v)
        h = self._length / norm
        return (self._gradient_at(self._w + h * v)[1] - self._gradient_at(self._w - h * v)[1]) / (2 * h)


def flat(parts: Iterable[Tensor]) -> Tensor:
    """Tensors as one vector."""
    return torch.cat([p.reshape(-1) for p in parts])


def graph_bytes(evaluate: Pass, parts: Sequence[Tensor]) -> int:
    """Bytes of the graph of a loss's gradient; it is built and dropped."""
    tensors: dict[int, int] = {}

    def note(x: Tensor) -> Tensor:
        if x.layout is torch.strided:  # a sparse tensor, such as a graph's, is a constant that is there in any case
            tensors[x.data_ptr()] = x.nbytes
        return x.detach()  # the tensor itself would hold its own graph

    with torch.autograd.graph.saved_tensors_hooks(note, lambda x: x):
        graph = torch.autograd.grad(evaluate(), parts, create_graph=True, materialize_grads=True)
    del graph
    return sum(tensors.values())


# -- Checks ------------------------------------------------------------------------------------------------------------


def why_not_twice_differentiable(loss: LossOfParts, at: Parts) -> str:
    """What is wrong with the second derivative of a loss near a point, in words; empty if nothing is.

    Compares ∇²L v by autograd with differences of gradients, in float64, along a random direction v; in other
    precisions only errors are noticed. The direction has no part along weights without a gradient, such as a row of
    padding, and a gradient that is by intention not that of the loss (`detach` in the model) is no fault: what it
    leaves out, autograd's second derivative leaves out too.

    Args:
        loss: a function of tensors.
        at: the point.
    """
    displacement, v = _random(at, "aside"), _random(at, "along")
    scale = max(1e-3, _norm(at) / max(1.0, _norm(v)))
    at = _add(at, DISPLACEMENT * scale, displacement)
    gradient = _gradient(loss, at)
    v = [x * (g != 0) for x, g in zip(v, gradient, strict=True)]
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
    if _is_partial(loss, at, v, gradient, scale):
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


def module_inputs(model: nn.Module, call: Callable[[], Any], kinds: Any = nn.Module) -> Inputs:
    """The inputs of a model's modules in one pass: the arguments of each call, by position and by name.

    Args:
        model: whose modules are watched.
        call: runs the model once.
        kinds: classes of modules.
    """
    inputs: Inputs = {}

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


def _is_partial(loss: LossOfParts, at: Parts, v: Parts, gradient: Parts, scale: float) -> bool:
    """Whether the gradient is not that of the loss: part of the model is detached, or masked in its backward pass."""
    slope = float(sum((g * x).sum() for g, x in zip(gradient, v, strict=True)))
    for h in (step * scale for step in DIFFERENCE_STEPS):
        points = ([p.detach().requires_grad_() for p in _add(at, by, v)] for by in (h, -h))
        ahead, behind = (loss(point).item() for point in points)
        rounding = 100 * torch.finfo(torch.float64).eps * (abs(ahead) + abs(behind)) / h
        if not abs((ahead - behind) / (2 * h) - slope) > MAX_PRODUCT_ERROR * abs(slope) + rounding:
            return False
    return True


def _random(at: Parts, purpose: str) -> Parts:
    stream = seeds.generator(0, "second derivative", purpose)
    return [torch.randn(p.shape, generator=stream, dtype=torch.float64).to(p) for p in at]


def _add(at: Parts, by: float, v: Parts) -> Parts:
    return [p + by * x for p, x in zip(at, v, strict=True)]


def _norm(parts: Parts) -> float:
    return float(sum(p.detach().square().sum() for p in parts)) ** 0.5
