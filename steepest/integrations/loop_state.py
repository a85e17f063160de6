"""What goes back together when a loop of the user's is rewound: model, optimizers, and what was passed beside them."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from steepest.descent.guard.snapshots import machine_memory
from steepest.descent.state import copy_state, restore_tensors
from steepest.errors import InputError
from steepest.tasks import module_state

UPDATE_STEPS, LATER, LATER_STEPS = 25, 500, 100
"""The update's norm is measured at the first step, at every 25th, and from step 500 on at every 100th."""


class LoopState:
    """The state of a loop, copied and restored.

    Attributes:
        is_busy: whether a state_dict is taken or loaded here, and not by the user.

    Args:
        model: that is trained.
        optimizers: of it.
        others: schedulers and gradient scalers: whatever has `state_dict` and `load_state_dict`.
    """

    def __init__(self, model: nn.Module, optimizers: Sequence[Optimizer], others: Sequence[Any]) -> None:
        self.model, self.optimizers, self.others = model, optimizers, others
        self.is_busy = False

    @property
    def has_initial_lr(self) -> bool:
        """Whether a scheduler has written to an optimizer."""
        return any("initial_lr" in group for o in self.optimizers for group in o.param_groups)

    @property
    def weights(self) -> list[Tensor]:
        """All parameters."""
        return list(self._weights().values())

    def _weights(self) -> dict[str, Tensor]:
        """The model's parameters, and those that only an optimizer has, such as a loss's, by its place and theirs."""
        own = {id(p) for p in self.model.parameters()}
        others = ((f"{k}.{j}", p) for k, place in enumerate(self._parameters()) for j, p in enumerate(place))
        return {**module_state.parameters_of(self.model), **{n: p.detach() for n, p in others if id(p) not in own}}

    @property
    def structure(self) -> list[list[int]]:
        """Which parameters the optimizers have."""
        return [[id(p) for p in parameters] for parameters in self._parameters()]

    def _parameters(self) -> list[list[Tensor]]:
        """Those of each optimizer."""
        return [[p for group in optimizer.param_groups for p in group["params"]] for optimizer in self.optimizers]

    def copy(self) -> dict[str, Any]:
        """A deep copy of everything."""
        with self._busy():
            return copy_state({
                "weights": self._weights(), "buffers": module_state.buffers_of(self.model),
                "extra": module_state.storable_extra(self.model),
                "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
                "others": [other.state_dict() for other in self.others],
            })  # fmt: skip

    def load(self, state: dict[str, Any]) -> None:
        """Restores the result of `copy`, which stays as it is; the learning rate remains at the loader's place.

        The loader goes on, and a schedule that fell behind it would end before its rate has come down. So a scheduler
        is stepped forward to where it is now, what schedulers that were not passed have written remains, and so do
        buffers that count steps: an objective that changes with them would be judged as it was.
        """
        places = [_place(other) for other in self.others]
        options = [[_options(group) for group in optimizer.param_groups] for optimizer in self.optimizers]
        self._restore(state)
        if all(place is None for place in places):
            for optimizer, own in zip(self.optimizers, options, strict=True):
                for group, values in zip(optimizer.param_groups, own, strict=True):
                    group.update(values)
        for other, place in zip(self.others, places, strict=True):
            _step_forward(other, place)

    def _restore(self, state: dict[str, Any]) -> None:
        restore_tensors(state["weights"], self._weights())
        buffers = module_state.buffers_of(self.model)
        restore_tensors(state["buffers"], {name: x for name, x in buffers.items() if not _is_counter(x)})
        module_state.write_extra(self.model, state["extra"])
        for parts, name in ((self.optimizers, "optimizers"), (self.others, "others")):
            with self._busy():
                for part, own in zip(parts, state[name], strict=True):
                    part.load_state_dict(copy_state(own))

    @contextmanager
    def _busy(self) -> Iterator[None]:
        self.is_busy = True
        try:
            yield
        finally:
            self.is_busy = False


def _options(group: dict[str, Any]) -> dict[str, Any]:
    """Learning rate and other settings of a parameter group."""
    return {key: value for key, value in group.items() if key != "params"}


def _is_counter(buffer: Tensor) -> bool:
    """Whether a buffer is a whole number, which counts steps."""
    return buffer.numel() == 1 and not (buffer.is_floating_point() or buffer.is_complex() or buffer.dtype == torch.bool)


def _place(other: Any) -> int | None:
    """How many steps a scheduler has taken; None for what does not only count steps."""
    scheduler = getattr(other, "scheduler", other)  # accelerate wraps it
    counts = isinstance(scheduler, LRScheduler) and not isinstance(scheduler, ReduceLROnPlateau)
    return scheduler.last_epoch if counts else None


def _step_forward(other: Any, place: int | None) -> None:
    scheduler = getattr(other, "scheduler", other)
    for _ in range(0 if place is None else place - scheduler.last_epoch):
        scheduler.step()


def memory_bound(memory: str | int) -> float:
    """Bytes that snapshots may hold: a number, or a share of the machine's memory as text.

    Raises:
        InputError: it is neither.

    >>> memory_bound(1 << 20)
    1048576
    """
    if isinstance(memory, int) and not isinstance(memory, bool) and memory >= 0:
        return memory
    try:
        share = float(str(memory).removesuffix("%")) / 100 if str(memory).endswith("%") else -1.0
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise InputError(f"memory must be bytes, or a share of the machine's such as '25%', got {memory!r}")
    return share * machine_memory() if share else 0.0


# -- Gradients ---------------------------------------------------------------------------------------------------------


def gradients_of(optimizer: Optimizer) -> list[Tensor]:
    """The gradients that an optimizer would use; the values of a sparse one."""
    gradients = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
    return [g.coalesce().values() if g.is_sparse else g for g in gradients]


@torch.no_grad()
def norm_of(gradients: Sequence[Tensor]) -> float:
    """‖∇L(w)‖, 0 where there is no gradient.

    On a CPU scalar products take a third of the time of norms; where squares overflow or vanish, norms are taken.
    """
    if all(g.is_cpu and g.dtype == torch.float32 and g.is_contiguous() for g in gradients):
        total = math.fsum(float(torch.dot(g.view(-1), g.view(-1))) for g in gradients)
        if 0 < total < math.inf:
            return math.sqrt(total)
    return float(nn.utils.get_total_norm(gradients))


@torch.no_grad()
def scale(gradients: Sequence[Tensor], factor: float) -> None:
    """Multiplies gradients in place."""
    for g in gradients:
        g.mul_(factor)


class UpdateRatio:
    """‖Δw‖ ÷ lr of an optimizer's steps, which costs three passes over the weights where it is measured.

    Attributes:
        value: when it was last measured; between, the update's norm follows the learning rate.

    Args:
        optimizer: whose steps they are.
    """

    def __init__(self, optimizer: Optimizer) -> None:
        self._optimizer, self.value = optimizer, math.nan

    @contextmanager
    def measure(self, optimizer: Optimizer, t: int) -> Iterator[None]:
        """Measures the step inside the block, after step t, where it is that optimizer's and is due."""
        if optimizer is not self._optimizer or t % (LATER_STEPS if t >= LATER else UPDATE_STEPS):
            yield
            return
        weights = [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        before = [p.detach().clone() for p in weights]
        yield
        lr = float(optimizer.param_groups[0]["lr"])
        change = norm_of([w.sub_(p.detach()) for p, w in zip(weights, before, strict=True)])
        self.value = change / lr if lr else 0.0


class LowerRate:
    """The optimizer's learning rates are multiplied inside the block; the scheduler never sees it."""

    def __init__(self, optimizer: Optimizer, factor: float) -> None:
        self._optimizer, self._factor = optimizer, factor

    def __enter__(self) -> None:
        if self._factor == 1.0:
            return
        self._rates = [group["lr"] for group in self._optimizer.param_groups]
        for group in self._optimizer.param_groups:
            group["lr"] = group["lr"] * self._factor

    def __exit__(self, *error: object) -> None:
        if self._factor == 1.0:
            return
        for group, rate in zip(self._optimizer.param_groups, self._rates, strict=True):
            group["lr"] = rate
