"""The same trainings as plain PyTorch loops: model, torch.optim, schedule; and torch's values at a point.

Order of samples and random numbers of a step are Steepest's, as functions of (seed, t); all else is written anew.
"""

import contextlib
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from steepest import seeds
from steepest.tasks import Batches
from tests.zoo.case import Case, joined

Schedule = Callable[[int, int], float]


def constant(t: int, steps: int) -> float:
    """1."""
    return 1.0


def cosine(t: int, steps: int) -> float:
    """Half a cosine wave to 0 at the last step."""
    return (1 + math.cos(math.pi * t / steps)) / 2


def warmup_cosine(t: int, steps: int) -> float:
    """Up for 5 % of the run, then half a cosine wave to 0."""
    n = max(1, round(0.05 * steps))
    return t / n if t <= n else cosine(t - n, steps - n)


OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "adam": lambda p, lr: torch.optim.Adam(p, lr=lr),
    "momentum": lambda p, lr: torch.optim.SGD(p, lr=lr, momentum=0.9),
    "nesterov": lambda p, lr: torch.optim.SGD(p, lr=lr, momentum=0.9, nesterov=True),
    "gradient_descent": lambda p, lr: torch.optim.SGD(p, lr=lr),
    "rmsprop": lambda p, lr: torch.optim.RMSprop(p, lr=lr),
}


@dataclass
class Training:
    """A plain training: the losses of its steps before each update, and the module at its end, with its task."""

    losses: list[float]
    system: nn.Module
    task: Any


def built(case: Case, seed: int = 0) -> tuple[nn.Module, Any]:
    """What a plain loop trains, at its start, and the task that it comes from."""
    task = case.make()
    model = task.model
    if not isinstance(model, nn.Module):
        with seeds.ours(seed, "model"):
            model = model(seed)
    return case.system(model, task.loss), task


def autocast(case: Case) -> contextlib.AbstractContextManager:
    """bfloat16 where the case asks for it."""
    on = case.options.get("precision") == "bfloat16"
    return torch.autocast("cpu", torch.bfloat16) if on else contextlib.nullcontext()


def train(
    case: Case, lr: float | None = None, schedule: Schedule = cosine, *, rule: Any = None, seed: int = 0
) -> Training:
    """A plain loop; stops where the loss is not finite."""
    system, task = built(case, seed)
    lr, rule = lr or case.lr, rule or case.rule
    optimizer = (OPTIMIZERS[rule] if isinstance(rule, str) else case.optimizer)(
        [p for p in system.parameters() if p.requires_grad], lr
    )
    batches, noise = Batches(task.data, case.batch_size, seed), seeds.StepRandomness(seed, torch.device("cpu"))
    steps, losses = case.steps or batches.steps_per_epoch * case.epochs, []
    system.train()
    for t in range(1, steps + 1):
        for group in optimizer.param_groups:
            group["lr"] = group.get("lr_scale", 1.0) * lr * schedule(t, steps)
        (batch,) = batches(t)
        optimizer.zero_grad()
        with noise.of_step(t), autocast(case):
            loss = case.loss(system, batch)
            loss.backward()
        losses.append(loss.item())
        if not math.isfinite(losses[-1]):
            break
        optimizer.step()
    return Training(losses, system, task)


# -- torch's values at a point -----------------------------------------------------------------------------------------


@contextlib.contextmanager
def evaluating(system: nn.Module) -> Iterator[None]:
    """Eval mode; modes and buffers are restored."""
    modes, buffers = [(m, m.training) for m in system.modules()], [(b, b.clone()) for b in system.buffers()]
    system.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode
        with torch.no_grad():
            for buffer, before in buffers:
                buffer.copy_(before)


def total(case: Case, system: nn.Module, batches: list[Any], backward: bool = False) -> float:
    """torch's loss on batches as one: Σ nᵢ Lᵢ / Σ nᵢ, or Σ Lᵢ of a sum; its gradient goes to `.grad`."""
    weights = [1.0 if case.weight is None else case.weight(batch) for batch in batches]
    scale, value = (1.0 if case.weight is None else sum(weights)), 0.0
    for batch, weight in zip(batches, weights, strict=True):
        if weight:
            with autocast(case):
                loss = case.loss(system, batch)
            if backward:
                (loss * (weight / scale)).backward()
            value += loss.item() * weight / scale
    return value


def value(case: Case, system: nn.Module, split: Any) -> float:
    """torch's loss on a split at the module's weights, in eval mode."""
    with evaluating(system), seeds.ours(0, "measure"):
        return total(case, system, case.batches(split))


def gradient(case: Case, system: nn.Module, batches: list[Any]) -> Tensor:
    """torch's gradient [N] of the loss on batches, in eval mode."""
    parameters = [p for p in system.parameters() if p.requires_grad]
    for p in parameters:
        p.grad = None
    with evaluating(system):
        total(case, system, batches, backward=True)
    parts = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
    return torch.cat([part.reshape(-1).to(torch.promote_types(part.dtype, torch.float32)) for part in parts]).double()


def state(system: nn.Module) -> dict[str, Tensor]:
    """Copies of weights and buffers."""
    tensors = (*system.named_parameters(), *system.named_buffers())
    return {n: x.detach().clone() for n, x in tensors if not isinstance(x, nn.parameter.UninitializedParameter)}


__all__ = ["Training", "built", "constant", "cosine", "gradient", "joined", "state", "total", "train", "value"]
