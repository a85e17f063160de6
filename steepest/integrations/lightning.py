"""Steepest in Lightning's Trainer.

L.Trainer(..., callbacks=[steepest.integrations.lightning.Steepest()])
"""

from pathlib import Path
from typing import Any

from steepest.descent.guard.guard import Guard
from steepest.errors import InputError
from steepest.integrations.losses import Losses
from steepest.integrations.versions import require
from steepest.integrations.watch import Watch, watch

require("lightning", "2.1")
from lightning.pytorch.callbacks import Callback  # noqa: E402


class Steepest(Callback):
    """Records and guards a Lightning Trainer's run.

    Attributes:
        run: the run, once training has begun.

    Args:
        guard, runs, name, memory: of `sd.watch`.
    """

    def __init__(
        self, *, guard: bool | str | Guard = True, runs: str | Path = "runs", name: str | None = None,
        memory: str | int = "25%",
    ) -> None:  # fmt: skip
        self._choices = {"guard": guard, "runs": runs, "name": name, "memory": memory}
        self._losses = Losses()
        self.run: Watch | None = None

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Begins the run, and takes over the optimizers' steps."""
        schedulers = [config.scheduler for config in trainer.lr_scheduler_configs]
        if not trainer.optimizers:
            raise InputError("Lightning's module must have an optimizer, got none from configure_optimizers")
        self.run = watch(pl_module, trainer.optimizers, scheduler=schedulers, **self._choices)
        self.run.take_over(self._losses)

    def on_before_backward(self, trainer: Any, pl_module: Any, loss: Any) -> None:
        """Takes the loss of a micro-batch, which Lightning has divided by their number."""
        self._losses.add(loss, is_sum=True)

    def on_validation_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """Records what the module has values in validation."""
        if self.run is not None and not trainer.sanity_checking:
            values = {k: float(v) for k, v in trainer.callback_metrics.items() if k.startswith(("val", "valid"))}
            self.run.measure({k.split("_", 1)[-1]: v for k, v in values.items()})

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """Ends the run."""
        if self.run is not None:
            self.run.close()

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        """Ends the run as failed or interrupted, with the reason."""
        if self.run is not None:
            self.run.__exit__(type(exception), exception, None)
