"""Steepest in Hugging Face's Trainer, and in those that are made from it (TRL).

    Trainer(..., callbacks=[steepest.integrations.transformers.Steepest()])

The Trainer's callbacks get neither the loss nor the gradient's norm. The loss is what the Trainer computes gradients
of, whatever computed it, the parts of the micro-batches together; the norm is read at the optimizer's step, after the
Trainer's own clipping.
"""

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
        self.run.on_close = see_backward(Accelerator, self._losses, is_sum=True)

    def on_evaluate(self, args: Any, state: Any, control: Any, **parts: Any) -> None:
        """Records what the Trainer has measured, without its speeds."""
        metrics = {k.removeprefix("eval_"): v for k, v in (parts.get("metrics") or {}).items()}
        if self.run is not None:
            self.run.measure({k: v for k, v in metrics.items() if isinstance(v, int | float) and k not in SPEEDS})

    def on_train_end(self, args: Any, state: Any, control: Any, **parts: Any) -> None:
        """Ends the run."""
        self.end()
