"""Steepest in Hugging Face's Trainer, and in those that are made from it (TRL).

    Trainer(..., callbacks=[steepest.integrations.transformers.Steepest()])

The Trainer's callbacks get neither the loss nor the gradient's norm: the loss is taken from the model's output, those
of the micro-batches together, and the norm at the optimizer's step, after the Trainer's own clipping.
"""

from pathlib import Path
from typing import Any

from torch import nn

from steepest.descent.guard.guard import Guard
from steepest.integrations.losses import Losses
from steepest.integrations.versions import require
from steepest.integrations.watch import Watch, watch

require("transformers", "4.46")
from transformers import TrainerCallback  # noqa: E402


class Steepest(TrainerCallback):
    """Records and guards a Trainer's run.

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
        self._losses, self._hook = Losses(), None
        self.run: Watch | None = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **parts: Any) -> None:
        """Begins the run, and takes over the optimizer's step."""
        model, optimizer, lr_scheduler = parts["model"], parts["optimizer"], parts["lr_scheduler"]
        inner = getattr(optimizer, "optimizer", optimizer)  # without accelerate's wrapper
        self.run = watch(model, inner, scheduler=lr_scheduler, **self._choices)
        self.run.take_over(self._losses)
        self._hook = model.register_forward_hook(self._see, with_kwargs=True)

    def _see(self, model: nn.Module, inputs: Any, named: dict[str, Any], output: Any) -> None:
        """Takes the loss out of the model's output."""
        loss = output.get("loss") if hasattr(output, "get") else output[0]
        if model.training and loss is not None:
            self._losses.add(loss, named.get("num_items_in_batch") is not None)

    def on_evaluate(self, args: Any, state: Any, control: Any, **parts: Any) -> None:
        """Records what the Trainer has measured, without its speeds."""
        metrics = parts.get("metrics")
        if self.run is not None and metrics:
            values = {k.removeprefix("eval_"): v for k, v in metrics.items() if isinstance(v, int | float)}
            speeds = ("runtime", "samples_per_second", "steps_per_second", "epoch")
            self.run.measure({k: v for k, v in values.items() if k not in speeds})

    def on_train_end(self, args: Any, state: Any, control: Any, **parts: Any) -> None:
        """Ends the run."""
        if self._hook is not None:
            self._hook.remove()
        if self.run is not None:
            self.run.close()
