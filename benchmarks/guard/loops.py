"""A problem in a loop or trainer that people have: plain PyTorch, Transformers' Trainer, Lightning's.

Model, batches and schedule are those of a `Descent`, so that the guard's faults change a loop as they change one; the
steps are a torch optimizer's. A loader goes on after a rewind: steps and batches are counted as they are executed.
"""

import logging
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam, RMSprop
from torch.utils.data import DataLoader, IterableDataset

import steepest as sd
from benchmarks.guard.trials import Fault
from steepest.descent.loop import Descent

RULES: dict[str, tuple[type[torch.optim.Optimizer], dict[str, Any]]] = {
    "adam": (Adam, {}),
    "gradient_descent": (SGD, {}),
    "momentum": (SGD, {"momentum": 0.9}),
    "rmsprop": (RMSprop, {}),
}


class _Update:
    """A torch optimizer's own step, with the hyperparameters that a fault leaves."""

    def __init__(self, optimizer: torch.optim.Optimizer, step: Callable[[], Any]) -> None:
        self._optimizer, self._step = optimizer, step

    @property
    def slots(self) -> dict[str, dict[Tensor, Tensor]]:
        """The optimizer's memory, by name."""
        states = self._optimizer.state
        names = [name for name in next(iter(states.values()), {}) if name != "step"]
        return {name: {p: state[name] for p, state in states.items()} for name in names}

    def hypers(self) -> dict[str, Any]:
        group = self._optimizer.param_groups[0]
        momentum = {"beta1": group["betas"][0]} if "betas" in group else {"beta": group.get("momentum", 0.0)}
        return {"lr": group["lr"], "weight_decay": group["weight_decay"], **momentum}

    def advance(self, hypers: Mapping[str, Any], scale: float = 1.0) -> float:
        group = self._optimizer.param_groups[0]
        before = dict(group)
        group.update({name: hypers[name] for name in ("lr", "weight_decay")})
        if "betas" in group:
            group["betas"] = (hypers["beta1"], group["betas"][1])
        elif group.get("momentum"):
            group["momentum"] = hypers["beta"]
        self._step()
        group.update(before)
        return 0.0


class Loop(nn.Module):
    """The network of a loop, which gives the loss of a batch, and a fault that happens to it.

    Attributes:
        model, space, steps, schedule, batches, objective, update: as a Descent's, for the fault to change.
        optimizer, scheduler: torch's.
        t: the last step whose fault is over.
        body: called after each step.
    """

    def __init__(
        self, descent: Descent, rule: str, lr: float, fault: Fault | None = None, body: Any = lambda step: None
    ) -> None:
        super().__init__()
        self.__dict__["descent"], self.t, self._has_begun, self.body = descent, 0, False, body
        self.model, self.space, self.steps = descent.model, descent.space, descent.steps
        self.schedule, self.batches, self.fault = descent.schedule, descent.batches, fault or Fault()
        own = self.objective = SimpleNamespace(gradient=lambda: 0.0)
        self.optimizer = self._make_optimizer(*RULES[rule], lr)
        self.scheduler = torch.optim.lr_scheduler.LambdaLR(self.optimizer, lambda n: self.schedule(n + 1))
        self.fault.begin(self)  # type: ignore[arg-type]
        if self.objective is not own:
            self._call_after_backward()

    def _make_optimizer(self, kind: Any, settings: dict[str, Any], lr: float) -> torch.optim.Optimizer:
        loop = self

        class Own(kind):
            def step(self, closure: Any = None) -> Any:
                result = None if closure is None else torch.enable_grad()(closure)()
                loop.update.advance(own.hypers())
                return result

        optimizer = Own(self.model.parameters(), lr=lr, **settings)
        self.update = own = _Update(optimizer, lambda: kind.step(optimizer))
        return optimizer

    def _call_after_backward(self) -> None:
        """Lets the fault change the gradients once all of them are there."""
        tensors, seen = list(self.space.tensors()), []

        def count(p: Tensor) -> None:
            seen.append(p)
            if len(seen) % len(tensors) == 0:
                self.objective.gradient()

        for p in tensors:
            p.register_post_accumulate_grad_hook(count)

    def loader(self) -> DataLoader:
        """The batches of all steps."""

        class Batches(IterableDataset):
            def __iter__(_) -> Iterator[dict[str, Any]]:
                return ({"batch": self.batches(t)[0]} for t in range(1, self.steps + 1))

        return DataLoader(Batches(), batch_size=None)

    def forward(self, batch: Any) -> dict[str, Tensor]:
        """The loss of a batch in training."""
        if self._has_begun:
            self.t += 1
            step: Any = SimpleNamespace(t=self.t)
            self.body(step)
            self.fault.after(step)
        self._has_begun = True
        return {"loss": self.descent.objective.loss(batch)}

    def end_loss(self) -> float:
        """The loss on the validation split."""
        return self.descent.measure()["loss"]


# -- Loops and trainers ------------------------------------------------------------------------------------------------


def plain(loop: Loop, runs: Path | None) -> Any:
    """A loop of plain PyTorch."""
    run = None if runs is None else sd.watch(loop, loop.optimizer, scheduler=loop.scheduler, runs=runs)
    loop.train()
    for batch in loop.loader():
        loop.optimizer.zero_grad()
        loss = loop(**batch)["loss"]
        loss.backward()
        loop.optimizer.step() if run is None else run.step(loss)
        loop.scheduler.step()
    if run is not None:
        run.close()
    return run


def transformers(loop: Loop, runs: Path | None) -> Any:
    """Hugging Face's Trainer, with its defaults (gradients are clipped at norm 1)."""
    import transformers as library

    from steepest.integrations.transformers import Steepest

    class Trainer(library.Trainer):
        def get_train_dataloader(self) -> DataLoader:
            return loop.loader()

    callbacks = [] if runs is None else [Steepest(runs=runs)]
    arguments = library.TrainingArguments(
        str(runs), max_steps=loop.steps, report_to=[], save_strategy="no", logging_strategy="no", disable_tqdm=True,
        use_cpu=True,
    )  # fmt: skip
    Trainer(loop, arguments, callbacks=callbacks, optimizers=(loop.optimizer, loop.scheduler)).train()
    return callbacks and callbacks[0].run


def lightning(loop: Loop, runs: Path | None) -> Any:
    """Lightning's Trainer, with its defaults."""
    import lightning as library

    from steepest.integrations.lightning import Steepest

    class Module(library.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.loop = loop

        def training_step(self, batch: Any, index: int) -> Tensor:
            return self.loop(**batch)["loss"]

        def configure_optimizers(self) -> Any:
            return {"optimizer": loop.optimizer, "lr_scheduler": {"scheduler": loop.scheduler, "interval": "step"}}

    callbacks = [] if runs is None else [Steepest(runs=runs)]
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    trainer = library.Trainer(
        max_steps=loop.steps, max_epochs=1, accelerator="cpu", logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, callbacks=callbacks,
    )  # fmt: skip
    trainer.fit(Module(), loop.loader())
    return callbacks and callbacks[0].run


TRAINERS = {"plain loop": plain, "Trainer": transformers, "Lightning": lightning}
