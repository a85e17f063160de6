"""Steepest in Lightning's Trainer.

L.Trainer(..., callbacks=[steepest.integrations.lightning.Steepest()])
"""

import math
from typing import Any

from steepest.errors import InputError
from steepest.integrations.checks import without_split
from steepest.integrations.trainer import TrainerRun
from steepest.integrations.versions import require

require("lightning", "2.1")
from lightning.pytorch.callbacks import Callback  # noqa: E402


class Steepest(TrainerRun, Callback):
    """Records and guards a Lightning Trainer's run; the arguments are those of `sd.watch`.

    Attributes:
        run: the run, once training has begun.
    """

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Begins the run."""
        if not any(group["params"] for optimizer in trainer.optimizers for group in optimizer.param_groups):
            raise InputError("Lightning's module must have an optimizer, got none from configure_optimizers")
        schedulers = [config.scheduler for config in trainer.lr_scheduler_configs]
        self.begin(pl_module, trainer.optimizers, schedulers, trainer.global_step)

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        """Follows the trainer's epoch."""
        batches = trainer.num_training_batches
        self.at_epoch(trainer.current_epoch + (batch_idx + 1) / batches if 0 < batches < math.inf else None)

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Ends a training that the guard has given up."""
        if self.is_stopped:
            trainer.should_stop = True

    def on_before_zero_grad(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
        """Forgets the losses of a step that a gradient scaler did not take."""
        self._losses.clear()

    def on_before_backward(self, trainer: Any, pl_module: Any, loss: Any) -> None:
        """Takes the loss of a micro-batch, which Lightning has divided by their number, and scaled where it scales."""
        scaler = getattr(trainer.precision_plugin, "scaler", None)
        self._losses.add(loss if scaler is None else loss.detach() / scaler.get_scale(), is_sum=True)

    def on_validation_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """Records what the module has logged in validation."""
        if self.run is not None and not trainer.sanity_checking:
            self.run.measure({k: float(v) for k, v in trainer.callback_metrics.items() if without_split(k)})

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """Ends the run."""
        self.end()

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        """Ends the run as failed or interrupted."""
        self.end(exception)
