"""Short trainings on digits in other frameworks: seconds per step.

All use a DataLoader (or the framework's own), AdamW, a cosine schedule by step, clipping at norm 1 and their usual log;
no validation, no progress bar, no checkpoints. They can't be paused between steps, so a callback reads the clock:
seconds from the end of step `WARM` to the end of the last one.
"""

import contextlib
import io
import logging
import math
import tempfile
import time
import warnings
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim.lr_scheduler import CosineAnnealingLR
from torch.utils.data import DataLoader, TensorDataset

WARM = 100
BATCH = 64
RATE = 1e-3


class Clock:
    """Counts steps and records when step `WARM` and the last one ended."""

    def __init__(self) -> None:
        self.steps, self.start, self.end = 0, 0.0, 0.0

    def tick(self, *_: Any, **__: Any) -> None:
        """Called after a step, with the arguments of any framework's callback."""
        self.steps += 1
        self.end = time.perf_counter()
        if self.steps == WARM:
            self.start = self.end

    def per_step(self) -> float:
        return (self.end - self.start) / (self.steps - WARM)


def lightning(net: nn.Module, x: Tensor, y: Tensor, steps: int) -> float:
    """Lightning: Trainer with its own logger."""
    from lightning.pytorch import Callback, LightningModule, Trainer

    class Module(LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net = net

        def training_step(self, batch: Any) -> Tensor:
            loss = cross_entropy(self.net(batch[0]), batch[1])
            self.log("loss", loss)
            return loss

        def configure_optimizers(self) -> Any:
            optimizer = torch.optim.AdamW(self.parameters(), lr=RATE)
            schedule = {"scheduler": CosineAnnealingLR(optimizer, WARM + steps), "interval": "step"}
            return {"optimizer": optimizer, "lr_scheduler": schedule}

    clock = Clock()
    watch = type("Watch", (Callback,), {"on_train_batch_end": staticmethod(clock.tick)})()
    with quiet(), tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(
            max_steps=WARM + steps, max_epochs=-1, accelerator="cpu", gradient_clip_val=1.0, callbacks=[watch],
            default_root_dir=folder, enable_progress_bar=False, enable_model_summary=False, enable_checkpointing=False,
        )  # fmt: skip
        trainer.fit(Module(), DataLoader(TensorDataset(x, y), BATCH, shuffle=True))
    return clock.per_step()


def transformers(net: nn.Module, x: Tensor, y: Tensor, steps: int) -> float:
    """Hugging Face's Trainer without reports."""
    from transformers import Trainer, TrainerCallback, TrainingArguments

    class Module(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = net

        def forward(self, x: Tensor, labels: Tensor) -> dict[str, Tensor]:
            return {"loss": cross_entropy(self.net(x), labels)}

    clock = Clock()
    watch = type("Watch", (TrainerCallback,), {"on_step_end": staticmethod(clock.tick)})
    samples: Any = [{"x": a, "labels": b} for a, b in zip(x, y, strict=True)]
    with quiet(), tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder, max_steps=WARM + steps, per_device_train_batch_size=BATCH, learning_rate=RATE,
            lr_scheduler_type="cosine", max_grad_norm=1.0, report_to="none", use_cpu=True, disable_tqdm=True,
            save_strategy="no", dataloader_pin_memory=False,
        )  # fmt: skip
        Trainer(Module(), arguments, train_dataset=samples, callbacks=[watch]).train()
    return clock.per_step()


def skorch(net: nn.Module, x: Tensor, y: Tensor, steps: int) -> float:
    """skorch: a classifier; as many whole epochs as the steps need."""
    from skorch import NeuralNetClassifier
    from skorch.callbacks import Callback, GradientNormClipping, LRScheduler

    clock, epochs = Clock(), math.ceil((WARM + steps) / math.ceil(len(x) / BATCH))
    watch = type("Watch", (Callback,), {"on_batch_end": staticmethod(clock.tick)})()
    schedule = LRScheduler(CosineAnnealingLR, T_max=WARM + steps, step_every="batch")
    with quiet():
        NeuralNetClassifier(
            net, criterion=nn.CrossEntropyLoss, optimizer=torch.optim.AdamW, lr=RATE, batch_size=BATCH,
            max_epochs=epochs, iterator_train__shuffle=True, train_split=None, verbose=0,
            callbacks=[GradientNormClipping(1.0), schedule, watch],
        ).fit(x, y)  # fmt: skip
    return clock.per_step()


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without output, log and warnings."""
    nowhere = io.StringIO()
    with warnings.catch_warnings(), contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere):
        warnings.simplefilter("ignore")
        logging.disable(logging.ERROR)
        try:
            yield
        finally:
            logging.disable(logging.NOTSET)
