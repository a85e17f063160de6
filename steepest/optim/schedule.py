"""A schedule as a `torch.optim` scheduler."""

from typing import Any

import torch
from torch import Tensor
from torch.optim.lr_scheduler import LRScheduler

from steepest.errors import InputError
from steepest.schedule import as_schedule


class Schedule(LRScheduler):
    """A schedule as a torch scheduler: the learning rate of step t is the base learning rate times factor(t).

    Call `step()` after each step of the optimizer.

    Args:
        optimizer: any torch optimizer.
        schedule: a schedule or its text, without a plateau.
        steps: T, the number of steps of the whole run.
        steps_per_epoch: steps of one epoch, for lengths in epochs.

    Raises:
        InputError: the schedule has a plateau.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, schedule: Any, steps: int, steps_per_epoch: int = 1) -> None:
        self._factor = as_schedule(schedule).bind(steps, steps_per_epoch)
        if self._factor.watches:
            raise InputError(
                f"schedule cannot contain a plateau, which needs the losses, got {schedule}. "
                "Use torch's ReduceLROnPlateau, or sd.fit."
            )
        super().__init__(optimizer)

    def get_lr(self) -> list[float | Tensor]:
        """The learning rates of the next step, `last_epoch + 1`."""
        return [base * self._factor(self.last_epoch + 1) for base in self.base_lrs]

    def state_dict(self) -> dict[str, Any]:
        """The state of the scheduler, without the schedule itself."""
        return {k: v for k, v in super().state_dict().items() if k != "_factor"}
