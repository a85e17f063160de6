"""The trainers that people have: bit for bit the same without a fault, and with one the guard acts."""

import logging
import math
import re
import tomllib
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from torch import nn

import steepest as sd
from steepest.integrations import versions
from steepest.integrations.trainer import without_wrapper

pytestmark = pytest.mark.slow

SAMPLES, BATCH, EPOCHS, ONSET = 800, 32, 2, 130
FAULT_EPOCHS = 10
"""Enough for the guard to know the loss before the fault, and for the weights to recover from it."""


def data():
    random = torch.Generator().manual_seed(1)
    x = torch.randn(SAMPLES, 16, generator=random)
    return x, (x @ torch.randn(16, 4, generator=random)).argmax(1)


class Net(nn.Module):
    """A network that gives its loss, and whose weights explode once."""

    def __init__(self, is_faulty):
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 4))
        self.is_faulty, self.calls = is_faulty, 0

    def forward(self, x, labels=None):
        self.calls += self.training
        if self.is_faulty and self.calls == ONSET and self.training:
            with torch.no_grad():
                self.layers[2].weight.mul_(1e4)
        out = self.layers(x)
        return {"loss": nn.functional.cross_entropy(out, labels), "logits": out}


def transformers(net, folder, parts, epochs=EPOCHS):
    library = pytest.importorskip("transformers")
    from steepest.integrations.transformers import Steepest

    arguments = library.TrainingArguments(
        str(folder), num_train_epochs=epochs, per_device_train_batch_size=BATCH // parts, learning_rate=3e-3,
        gradient_accumulation_steps=parts, report_to=[], save_strategy="no", logging_strategy="no", disable_tqdm=True,
        use_cpu=True,
    )  # fmt: skip
    x, y = data()
    rows = [{"x": a, "labels": b} for a, b in zip(x, y, strict=True)]
    callback = Steepest(runs=folder) if folder.name == "runs" else None
    trainer = library.Trainer(
        net, arguments, train_dataset=rows, eval_dataset=rows[:50], callbacks=[callback] * bool(callback)
    )
    trainer.train()
    return callback and callback.run


def lightning_module(net, configure):
    """The module of a network that gives its loss, with the optimizers that a function of the module gives."""
    library = pytest.importorskip("lightning")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)

    class Module(library.LightningModule):
        def __init__(self):
            super().__init__()
            self.net = net

        def training_step(self, batch, index):
            return self.net(*batch)["loss"]

        def configure_optimizers(self):
            return configure(self)

    return Module()


def lightning(net, folder, parts, epochs=EPOCHS):
    library = pytest.importorskip("lightning")
    from steepest.integrations.lightning import Steepest

    def configure(module):
        optimizer = torch.optim.AdamW(module.parameters(), lr=3e-3)
        cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs * SAMPLES // BATCH)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": cosine, "interval": "step"}}

    callback = Steepest(runs=folder) if folder.name == "runs" else None
    trainer = library.Trainer(
        max_epochs=epochs, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, gradient_clip_val=10.0, accumulate_grad_batches=parts,
        callbacks=[callback] * bool(callback),
    )  # fmt: skip
    trainer.fit(lightning_module(net, configure), loader(parts))
    return callback and callback.run


def accelerate(net, folder, parts, epochs=EPOCHS):
    library = pytest.importorskip("accelerate")
    from steepest.integrations.accelerate import watch

    accelerator = library.Accelerator(cpu=True, gradient_accumulation_steps=parts)
    optimizer = torch.optim.AdamW(net.parameters(), lr=3e-3)
    model, optimizer, batches = accelerator.prepare(net, optimizer, loader(parts))
    run = watch(accelerator, model, optimizer, runs=folder) if folder.name == "runs" else None
    for _ in range(epochs):
        for x, y in batches:
            with accelerator.accumulate(model):
                accelerator.backward(model(x, y)["loss"])
                optimizer.step()
                optimizer.zero_grad()
    if run is not None:
        run.close()
    return run


def loader(parts):
    random = torch.Generator().manual_seed(2)
    return torch.utils.data.DataLoader(
        torch.utils.data.TensorDataset(*data()), BATCH // parts, shuffle=True, generator=random
    )


def end_loss(net):
    x, y = data()
    with torch.no_grad():
        return nn.functional.cross_entropy(net.layers(x), y).item()


TRAINERS = [transformers, lightning, accelerate]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("parts", [1, 2])
@pytest.mark.parametrize("train", TRAINERS)
def test_without_a_fault_it_is_the_trainer_alone(tmp_path, train, parts):
    alone, watched = Net(False), Net(False)
    train(alone, tmp_path / "alone", parts)
    run = train(watched, tmp_path / "runs", parts)
    assert all(torch.equal(a, b) for a, b in zip(alone.parameters(), watched.parameters(), strict=True))
    assert (run.status, run.events, len(run.losses)) == ("done", (), EPOCHS * SAMPLES // BATCH)
    assert run.losses[0] == pytest.approx(math.log(4), abs=0.3)
    epochs = run.record.steps.epoch
    if train is accelerate:  # which does not know them
        assert not epochs.any()
    else:
        assert epochs == pytest.approx(np.arange(1, len(epochs) + 1) * BATCH / SAMPLES)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("train", TRAINERS)
def test_a_fault_is_undone(tmp_path, train):
    healthy, alone, watched = Net(False), Net(True), Net(True)
    train(healthy, tmp_path / "healthy", 1, FAULT_EPOCHS)
    train(alone, tmp_path / "alone", 1, FAULT_EPOCHS)
    run = train(watched, tmp_path / "runs", 1, FAULT_EPOCHS)
    assert end_loss(alone) > 3 * end_loss(healthy)
    assert end_loss(watched) < 1.5 * end_loss(healthy)
    assert "rewind" in {e.kind for e in run.events}


@pytest.mark.filterwarnings("ignore")
def test_a_trainer_that_computes_its_own_loss(tmp_path):
    """As trainers of preferences and of distillation do: the model's output has no loss, or another one."""
    library = pytest.importorskip("transformers")
    from steepest.integrations.transformers import Steepest

    class Own(library.Trainer):
        def compute_loss(self, model, inputs, return_outputs=False, **rest):
            out = model.layers(inputs["x"])
            loss = nn.functional.cross_entropy(out, inputs["labels"], label_smoothing=0.1)
            return (loss, {"logits": out}) if return_outputs else loss

    x, y = data()
    rows = [{"x": a, "labels": b} for a, b in zip(x, y, strict=True)]
    arguments = library.TrainingArguments(str(tmp_path), max_steps=20, report_to=[], disable_tqdm=True, use_cpu=True)
    backward, callback = Accelerator.backward, Steepest(runs=tmp_path)
    Own(Net(False), arguments, train_dataset=rows, callbacks=[callback]).train()
    assert (callback.run.status, len(callback.run.losses)) == ("done", 20)
    assert callback.run.losses[0] == pytest.approx(math.log(4), abs=0.3)
    assert Accelerator.backward is backward


def test_float16_of_accelerate_is_refused():
    wrapper = SimpleNamespace(scaler=object(), optimizer=None)
    with pytest.raises(sd.InputError, match="got 'fp16'"):
        without_wrapper(wrapper)


@pytest.mark.filterwarnings("ignore")
def test_a_trainer_that_fails_leaves_a_failed_run(tmp_path):
    class Broken(Net):
        def forward(self, x, labels=None):
            if self.calls == 5:
                raise ValueError("a broken layer")
            return super().forward(x, labels)

    with pytest.raises(ValueError, match="a broken layer"):
        lightning(Broken(False), tmp_path / "runs", 1)
    stored = sd.open("Module", tmp_path / "runs")
    assert stored.status == "failed"
    assert "a broken layer" in stored.events[-1].seen


def test_what_is_advised_to_install_exists():
    """Every library that is asked for is an extra of the package, of the same least version."""
    extras = tomllib.loads(Path("pyproject.toml").read_text())["project"]["optional-dependencies"]
    names = {}
    for path in Path(versions.__file__).parent.glob("*.py"):
        names.update(re.findall(r"""^\s*require\("(\w+)", "([\d.]+)"\)""", path.read_text(), re.MULTILINE))
    assert set(names) == {"transformers", "lightning", "accelerate", "tensorboard"}
    assert all(f"{name}>={least}" in extras[name] for name, least in names.items())


def test_a_library_that_is_missing_or_old_is_named(monkeypatch):
    with pytest.raises(sd.InputError, match="nothing-of-this-name is not installed"):
        versions.require("nothing-of-this-name", "1.0")
    with pytest.raises(sd.InputError, match="torch must be 99"):
        versions.require("torch", "99.0")
