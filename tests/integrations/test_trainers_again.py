"""Trainers that are started again from their own checkpoint: the record goes on with them."""

import numpy as np
import pytest
import torch

import steepest as sd
from steepest.runs.store import Store
from tests.integrations.test_start import kill
from tests.integrations.test_trainers import Net, data, lightning_module

pytestmark = pytest.mark.slow

STEPS, EVERY, BREAK = 60, 20, 47


class Broken(Net):
    """A network that fails once."""

    def forward(self, x, labels=None):
        if self.calls == BREAK:
            raise RuntimeError("the machine is gone")
        return super().forward(x, labels)


def transformers(net, folder, again, is_watched=True):
    library = pytest.importorskip("transformers")
    from steepest.integrations.transformers import Steepest

    arguments = library.TrainingArguments(
        str(folder), max_steps=STEPS, per_device_train_batch_size=32, learning_rate=3e-3, report_to=[],
        save_strategy="steps", save_steps=EVERY, logging_strategy="no", disable_tqdm=True, use_cpu=True,
    )  # fmt: skip
    x, y = data()
    rows = [{"x": a, "labels": b} for a, b in zip(x, y, strict=True)]
    callback = Steepest(runs=folder / "runs", name="mine")
    trainer = library.Trainer(net, arguments, train_dataset=rows, callbacks=[callback] * is_watched)
    return callback, lambda: trainer.train(resume_from_checkpoint=str(folder / "checkpoint-40") if again else None)


def lightning(net, folder, again, is_watched=True):
    library = pytest.importorskip("lightning")
    from lightning.pytorch.callbacks import ModelCheckpoint

    from steepest.integrations.lightning import Steepest

    callback = Steepest(runs=folder / "runs", name="mine")
    saves = ModelCheckpoint(folder, every_n_train_steps=EVERY, save_top_k=-1)
    trainer = library.Trainer(
        max_steps=STEPS, accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False,
        callbacks=[callback, saves][not is_watched :],
    )  # fmt: skip
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(*data()), 32)
    checkpoint = next(folder.glob("*step=40*"), None) if again else None
    module = lightning_module(net, lambda module: torch.optim.AdamW(module.parameters(), lr=3e-3))
    return callback, lambda: trainer.fit(module, loader, ckpt_path=checkpoint)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("make", [transformers, lightning])
def test_the_record_goes_on_with_the_trainer(tmp_path, make):
    callback, train = make(Broken(False), tmp_path, False)
    with pytest.raises(RuntimeError, match="the machine is gone"):
        train()
    first = callback.run
    if make is transformers:  # its callbacks do not hear of an exception: the record ends with the process
        first.on_close()
        kill(first)
    net = Net(False)
    callback, train = make(net, tmp_path, True)
    train()
    assert [r.status for r in Store(tmp_path / "runs").runs()] == ["done"]
    run = sd.open("mine", tmp_path / "runs")
    assert (run.id, run.record.steps.t.tolist()) == (first.id, list(range(1, STEPS + 1)))
    assert np.isfinite(run.losses).all()
    alone = Net(False)
    _, train = make(alone, tmp_path, True, is_watched=False)
    train()
    assert all(torch.equal(a, b) for a, b in zip(alone.parameters(), net.parameters(), strict=True))
