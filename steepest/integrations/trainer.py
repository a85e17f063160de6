"""What the callbacks of trainers share: a run that begins and ends with the training, and the trainer's own losses."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

import torch
from torch import nn
from torch.optim import Optimizer

from steepest.descent.guard.guard import Guard
from steepest.errors import InputError
from steepest.integrations.checks import closure_from
from steepest.integrations.losses import Losses
from steepest.integrations.watch import Watch, watch
from steepest.runs.trackers import Trackers

LAST: "WeakValueDictionary[tuple[Path, str | int], Watch]" = WeakValueDictionary()
"""The last run of each name, or of each callback, that a trainer began in this process."""


class TrainerRun:
    """The run of a trainer.

    Attributes:
        run: the run, once training has begun.

    Args:
        guard, runs, name, memory, trackers: of `sd.watch`.
    """

    def __init__(
        self, *, guard: bool | str | Guard = True, runs: str | Path = "runs", name: str | None = None,
        memory: str | int = "25%", trackers: Trackers = (),
    ) -> None:  # fmt: skip
        self._choices = {"guard": guard, "runs": runs, "name": name, "memory": memory, "trackers": trackers}
        self._losses = Losses()
        self.run: Watch | None = None

    def begin(self, model: nn.Module, optimizers: Sequence[Optimizer], schedulers: Sequence[Any], step: int) -> None:
        """Begins the run, or goes on with it after so many steps, and takes over the optimizers' steps.

        One that an exception left open in this process, as a notebook's cell does, is interrupted: not all trainers
        tell their callbacks.
        """
        key = (Path(self._choices["runs"]).resolve(), self._choices["name"] or id(self))
        if (before := LAST.get(key)) is not None:
            before.close("interrupted")
        self.run = LAST[key] = watch(model, optimizers, scheduler=schedulers, step=step, **self._choices)
        self.run.take_over(step_of_trainer(self.run, self._losses))

    @property
    def is_stopped(self) -> bool:
        """Whether the guard has given the training up."""
        return self.run is not None and self.run.is_stopped

    def at_epoch(self, epoch: float | None) -> None:
        """Says the epochs that are done once the next step is; None where the trainer does not know."""
        if self.run is not None and epoch is not None:
            self.run.epoch = float(epoch)

    def end(self, error: BaseException | None = None) -> None:
        """Ends the run; after an error as failed or interrupted, with the reason."""
        if self.run is not None:
            self.run.__exit__(error and type(error), error, None)


def step_of_trainer(run: Watch, losses: Losses) -> Callable[[Optimizer, Any], Any]:
    """What `optimizer.step()` is for a trainer.

    Args:
        run: that watches the optimizer.
        losses: where the trainer's losses are found.
    """

    def step(optimizer: Optimizer, closure: Any = None) -> Any:
        vars(optimizer)["_opt_called"] = True  # as torch's schedulers ask, which would wrap this one
        if closure is None:
            run.step(losses.take(), optimizer)
            return None
        with torch.enable_grad():
            result = closure()
        if result is None and losses.is_empty:  # the trainer leaves this batch out
            run.own_step(optimizer)
            return None
        run.step(closure_from(closure, losses.take(result)), optimizer)
        losses.clear()  # of further passes, where the optimizer computes the loss several times
        return result

    vars(step)["_wrapped_by_lr_sched"] = True
    return step


def see_backward(owner: Any, losses: Losses, is_sum: bool) -> Callable[[], None]:
    """From now on the losses that an accelerator, or every one of a class, computes gradients of are known.

    Args:
        owner: the accelerator, or its class.
        losses: that take them.
        is_sum: whether they add up to the loss of a step.

    Returns:
        ends that.
    """
    original = owner.backward

    def backward(*arguments: Any, **named: Any) -> Any:
        losses.add(named.get("loss", arguments[-1] if arguments else None), is_sum)
        return original(*arguments, **named)

    owner.backward = backward
    return lambda: setattr(owner, "backward", original)


def without_wrapper(optimizer: Any) -> Any:
    """The optimizer that accelerate's wrapper holds.

    Raises:
        InputError: it is stepped by a gradient scaler, behind whose back no step can be taken over.
    """
    if getattr(optimizer, "scaler", None) is not None:
        raise InputError(
            "mixed_precision must be 'no' or 'bf16' here, got 'fp16', whose gradient scaler calls the optimizer "
            "itself. Use bf16, or a loop of your own with sd.watch(..., scaler=scaler)."
        )
    return getattr(optimizer, "optimizer", optimizer)
