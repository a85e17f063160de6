"""Steepest in Hugging Face's Trainer, and in those that are made from it (TRL).

    Trainer(..., callbacks=[steepest.integrations.transformers.Steepest()])

The Trainer's callbacks get neither the loss nor the gradient's norm. The loss is what the Trainer computes gradients
of, whatever computed it, the parts of the micro-batches together; the norm is read at the optimizer's step, after the
Trainer's own clipping.
"""

import math
from typing import Any

from steepest.integrations.trainer import TrainerRun, see_backward, without_wrapper
from steepest.integrations.versions import require

require("transformers", "4.46")
from accelerate import Accelerator  # noqa: E402
from transformers import TrainerCallback  # noqa: E402

SPEEDS = ("runtime", "samples_per_second", "steps_per_second", "epoch")
"""What the Trainer puts among its metrics and is none."""


class Steepest(TrainerRun, TrainerCallback):
    """Records and guards a Trainer's run; the arguments are those of `sd.watch`.

    Attributes:
        run: the run, once training has begun.
    """

    def on_train_begin(self, args: Any, state: Any, control: Any, **parts: Any) -> None:
        """Begins the run."""
        self.begin(parts["model"], [without_wrapper(parts["optimizer"])], [parts["lr_scheduler"]], state.global_step)
        assert self.run is not None
        loader: Any = parts.get("train_dataloader")
        parts_per_step = max(1, args.gradient_accumulation_steps)
        self._steps = math.ceil(len(loader) / parts_per_step) if hasattr(loader, "__len__") else 0
        self.at_epoch(self._after_next(state))
        self.run.on_close = see_backward(Accelerator, self._losses, is_sum=True)

    def on_step_end(self, args: Any, state: Any, control: Any, **parts: Any) -> None:
        """Follows the Trainer's epoch; ends a training that the guard has given up."""
        self.at_epoch(self._after_next(state))
        control.should_training_stop |= self.is_stopped

    def _after_next(self, state: Any) -> float | None:
        """The epochs that are done after the next step; None where the data have no length."""
        return (state.epoch or 0.0) + 1 / self._steps if self._steps else None

    def on_evaluate(self, args: Any, state: Any, control: Any, **parts: Any) -> None:
        """Records what the Trainer has measured, without its speeds."""
        metrics = {k.removeprefix("eval_"): v for k, v in (parts.get("metrics") or {}).items()}
        if self.run is not None:
            self.at_epoch(state.epoch)
            self.run.measure({k: v for k, v in metrics.items() if isinstance(v, int | float) and k not in SPEEDS})
            self.at_epoch(self._after_next(state))

    def on_train_end(self, args: Any, state: Any, control: Any, **parts: Any) -> None:
        """Ends the run."""
        self.end()
