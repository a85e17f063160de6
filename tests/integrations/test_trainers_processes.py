"""Trainers under torchrun with two processes: a fault on one of them leads to the same action on both.

This file is also the program of the processes: `torchrun --nproc-per-node 2 …processes.py FOLDER TRAINER ...`.
"""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

import steepest as sd
from steepest.runs.store import Store

STEPS, ONSET, BATCH = 120, 70, 16


class Net(nn.Module):
    """A network that gives its loss, and whose weights explode once on the second process."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 4))
        self.calls = 0

    def forward(self, x, labels=None):
        self.calls += 1
        if self.calls == ONSET and os.environ["RANK"] == "1":
            with torch.no_grad():
                self.layers[2].weight.mul_(1e4)
        out = self.layers(x)
        return {"loss": nn.functional.cross_entropy(out, labels), "logits": out}


def samples():
    random = torch.Generator().manual_seed(1)
    x = torch.randn(800, 16, generator=random)
    return torch.utils.data.TensorDataset(x, (x @ torch.randn(16, 4, generator=random)).argmax(1))


def transformers(net, folder):
    from transformers import Trainer, TrainingArguments

    from steepest.integrations.transformers import Steepest

    arguments = TrainingArguments(
        str(folder / "out"), max_steps=STEPS, per_device_train_batch_size=BATCH, learning_rate=3e-3, report_to=[],
        save_strategy="no", logging_strategy="no", disable_tqdm=True, use_cpu=True, ddp_backend="gloo",
    )  # fmt: skip
    callback = Steepest(runs=folder / "runs", name="mine")
    rows = [{"x": x, "labels": y} for x, y in samples()]
    Trainer(net, arguments, train_dataset=rows, callbacks=[callback]).train()
    return callback.run


def lightning(net, folder):
    from lightning.pytorch import LightningModule, Trainer

    from steepest.integrations.lightning import Steepest

    class Module(LightningModule):
        def __init__(self):
            super().__init__()
            self.net = net

        def training_step(self, batch, index):
            return self.net(*batch)["loss"]

        def configure_optimizers(self):
            return torch.optim.AdamW(self.parameters(), lr=3e-3)

    callback = Steepest(runs=folder / "runs", name="mine")
    Trainer(
        max_steps=STEPS, accelerator="cpu", devices=2, strategy="ddp", logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, callbacks=[callback],
    ).fit(Module(), torch.utils.data.DataLoader(samples(), BATCH))  # fmt: skip
    return callback.run


def accelerate(net, folder):
    from accelerate import Accelerator

    from steepest.integrations.accelerate import watch

    accelerator = Accelerator(cpu=True)
    optimizer, loader = torch.optim.AdamW(net.parameters(), lr=3e-3), torch.utils.data.DataLoader(samples(), BATCH)
    model, optimizer, loader = accelerator.prepare(net, optimizer, loader)
    with watch(accelerator, model, optimizer, runs=folder / "runs", name="mine") as run:
        for _ in range(STEPS * BATCH * 2 // 800):
            for batch in loader:
                optimizer.zero_grad()
                accelerator.backward(model(*batch)["loss"])
                optimizer.step()
    return run


TRAINERS = {f.__name__: f for f in (accelerate, transformers, lightning)}


@pytest.mark.long
@pytest.mark.slow
def test_a_fault_on_one_process_is_undone_on_both(tmp_path):
    """All trainers in one launch: most of its time goes to imports."""
    names = [name for name in TRAINERS if importlib.util.find_spec(name)]
    if not names:
        pytest.skip(f"none of {', '.join(TRAINERS)} is installed")
    command = [sys.executable, "-W", "ignore", "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(sd.__file__).parents[1])}
    subprocess.run([*command, __file__, str(tmp_path), *names], env=environment, check=True, timeout=300)
    for name in names:
        first, second = (json.loads((tmp_path / name / f"{rank}.json").read_text()) for rank in range(2))
        assert first == second, name
        (record,) = Store(tmp_path / name / "runs").runs()
        run = sd.open("mine", tmp_path / name / "runs")
        events = {e.kind for e in run.events}
        assert (record.status, len(run.losses), "rewind" in events) == ("done", first["t"], True), name
        assert run.losses[-10:].mean() < 1.3, name


if __name__ == "__main__":
    for name in sys.argv[2:]:
        net, folder = Net(), Path(sys.argv[1], name)
        folder.mkdir(exist_ok=True)
        run = TRAINERS[name](net, folder)
        result = {"id": run.id, "t": run.t, "weights": [p.tolist() for p in net.parameters()]}
        Path(folder, f"{os.environ['RANK']}.json").write_text(json.dumps(result))
