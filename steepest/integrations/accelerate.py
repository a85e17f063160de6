"""Steepest in a loop that uses Hugging Face's Accelerate.

model, optimizer, loader, scheduler = accelerator.prepare(model, optimizer, loader, scheduler)
with steepest.integrations.accelerate.watch(accelerator, model, optimizer, scheduler) as run:
    ...                                   # the loop stays as it is
"""

from typing import Any

from steepest.integrations.losses import Losses
from steepest.integrations.trainer import see_backward, step_of_trainer, without_wrapper
from steepest.integrations.versions import require
from steepest.integrations.watch import Watch
from steepest.integrations.watch import watch as watch_loop


def watch(accelerator: Any, model: Any, optimizer: Any, scheduler: Any = None, **choices: Any) -> Watch:
    """Records and guards a loop whose `accelerator.backward(loss)` and `optimizer.step()` stay as they are.

    Args:
        accelerator: of the loop.
        model, optimizer, scheduler: as `accelerator.prepare` has given them.
        choices: further arguments of `sd.watch`.

    Raises:
        InputError: as `sd.watch`; accelerate is missing or too old, or trains in float16.
    """
    require("accelerate", "0.34")
    losses, inner = Losses(), without_wrapper(optimizer)
    run = watch_loop(accelerator.unwrap_model(model), inner, scheduler=scheduler, **choices)
    run.take_over(step_of_trainer(run, losses))
    run.on_close = see_backward(accelerator, losses, is_sum=False)
    return run
