"""Adapter: drives a `torch.optim.Optimizer` with our loop."""

import copy
import inspect
import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from steepest.errors import InputError
from steepest.rules.update import Point


class TorchOptimizer:
    """A `torch.optim.Optimizer` with the methods of an Update.

    Args:
        space: the weights.
        make: `params -> torch.optim.Optimizer`.

    Attributes:
        tensors: that the optimizer was made for.
        lr: the learning rate of its first param group.
        needs_closure: whether its step evaluates the loss several times, as L-BFGS does.

    Raises:
        InputError: `make` returns another type.
    """

    def __init__(self, space: Point, make: Callable[[list[Tensor]], torch.optim.Optimizer]) -> None:
        self.space, self.t = space, 0
        self.tensors = space.tensors()
        self.optimizer = make(self.tensors)
        kind = type(self.optimizer).__name__
        if not isinstance(self.optimizer, torch.optim.Optimizer):
            raise InputError(f"the function passed as rule must return a torch.optim.Optimizer, got {kind}")
        closure = inspect.signature(type(self.optimizer).step).parameters.get("closure")
        self.needs_closure = closure is not None and closure.default is closure.empty
        self._scales = [float(g["lr"]) for g in self.optimizer.param_groups]
        self.lr = self._scales[0]

    @property
    def name(self) -> str:
        return type(self.optimizer).__name__

    def norm(self) -> float:
        """‖g‖ over all parameters with a gradient."""
        gradients = [p.grad for p in self.space.tensors() if p.grad is not None]
        return float(torch.nn.utils.get_total_norm(gradients)) if gradients else 0.0

    @torch.no_grad()
    def advance(
        self, hypers: Mapping[str, Any], scale: float = 1.0, evaluate: Callable[[], float] | None = None
    ) -> float:
        """One step at `hypers["lr"]`; param groups keep the ratios of their learning rates.

        Args:
            hypers: `lr` of this step.
            scale: factor of the gradient; NaN skips the step.
            evaluate: computes loss and gradient at the current weights; for an optimizer that needs a closure, whose
                losses and gradients are all scaled.

        Returns:
            ‖w_new − w‖.
        """
        if math.isnan(scale):
            return 0.0
        tensors = self.space.tensors()
        before = [p.detach().clone() for p in tensors]
        for group, own in zip(self.optimizer.param_groups, self._scales, strict=True):
            group["lr"] = hypers["lr"] * own / self.lr
        if self.needs_closure:
            assert evaluate is not None, "this optimizer needs `evaluate`"
            self.optimizer.step(lambda: self._evaluate(evaluate, scale))  # type: ignore[arg-type]
        else:
            self._scale_gradients(scale)
            self.optimizer.step()
        self.t += 1
        return float(torch.nn.utils.get_total_norm([p.detach() - old for p, old in zip(tensors, before, strict=True)]))

    def _evaluate(self, evaluate: Callable[[], float], scale: float) -> float:
        with torch.enable_grad():
            loss = evaluate()
        self._scale_gradients(scale)
        return scale * loss

    def _scale_gradients(self, scale: float) -> None:
        if scale != 1.0:
            for p in self.space.tensors():
                if p.grad is not None:
                    p.grad.mul_(scale)

    def state(self) -> dict[str, Any]:
        """The state of the optimizer, not copied."""
        return {"t": self.t, "optimizer": self.optimizer.state_dict()}

    def load(self, state: Mapping[str, Any]) -> None:
        """Restores what `state` returned."""
        self.t = state["t"]
        self.optimizer.load_state_dict(copy.deepcopy(state["optimizer"]))

    def adopt(self, before: "TorchOptimizer", old_names: Mapping[str, str]) -> None:
        """Takes over from the optimizer of other parameters; those with an old name go on with their state."""
        self.t = before.t
        theirs = dict(zip(before.space.names, before.tensors, strict=True))
        for name, p in zip(self.space.names, self.tensors, strict=True):
            old = theirs.get(old_names.get(name, ""))
            if old is not None and old in before.optimizer.state:
                self.optimizer.state[p] = before.optimizer.state[old]

    def reported_weights(self, hypers: Mapping[str, Any]) -> None:
        """None: the optimizer reports the weights themselves."""
        return


class ClosureStep(NamedTuple):
    """The step of an optimizer that needs a closure, on one batch.

    Attributes:
        optimizer: the optimizer.
        evaluate: computes loss and gradient of the batch at the current weights.
    """

    optimizer: TorchOptimizer
    evaluate: Callable[[], float]

    def advance(self, hypers: Mapping[str, Any], scale: Any = 1.0) -> float:
        """One step, as `TorchOptimizer.advance`."""
        return self.optimizer.advance(hypers, scale, self.evaluate)
