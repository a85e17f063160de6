"""Logs of other trainers: written by the real ones, and read back as what happened; broken ones refused in words."""

import json
import logging
import math
import re
import warnings

import numpy as np
import pytest
import torch
from torch import nn
from typer.testing import CliRunner

import steepest as sd
from steepest.cli import app
from steepest.integrations.logs.columns import Value, make_record
from steepest.records.config import Config

SAMPLES, BATCH, EPOCHS, EVERY = 320, 16, 3, 4
STEPS = EPOCHS * SAMPLES // BATCH


def data():
    random = torch.Generator().manual_seed(1)
    x = torch.randn(SAMPLES, 16, generator=random)
    return x, (x @ torch.randn(16, 4, generator=random)).argmax(1)


class Net(nn.Module):
    """A network that gives its loss, and remembers those of its training."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layers, self.losses = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 4)), []

    def forward(self, x, labels=None):
        out = self.layers(x)
        loss = nn.functional.cross_entropy(out, labels)
        if self.training:
            self.losses.append(loss.item())
        return {"loss": loss, "logits": out}


@pytest.fixture(autouse=True)
def _quiet():
    """What the libraries warn of is not ours."""
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@pytest.fixture(scope="module")
def trainer_state(tmp_path_factory):
    """The output folder of a real Trainer, and the network."""
    library = pytest.importorskip("transformers")
    folder, net = tmp_path_factory.mktemp("trainer"), Net()
    arguments = library.TrainingArguments(
        str(folder), num_train_epochs=EPOCHS, per_device_train_batch_size=BATCH, learning_rate=3e-3, report_to=[],
        save_strategy="epoch", logging_steps=EVERY, eval_strategy="epoch", eval_on_start=True, disable_tqdm=True,
        use_cpu=True,
    )  # fmt: skip
    rows = [{"x": a, "labels": b} for a, b in zip(*data(), strict=True)]
    trainer = library.Trainer(
        net, arguments, train_dataset=rows, eval_dataset=rows[:64],
        compute_metrics=lambda p: {"accuracy": float((p.predictions.argmax(-1) == p.label_ids).mean())},
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer.train()
    return folder, net


def test_a_trainer_state_is_what_the_trainer_did(trainer_state):
    folder, net = trainer_state
    record = sd.read_log(folder)
    assert record.steps.t.tolist() == list(range(EVERY, STEPS + 1, EVERY))
    means = np.reshape(net.losses, (-1, EVERY)).mean(1)
    np.testing.assert_allclose(record.steps.loss, means, rtol=1e-4)
    assert np.isfinite(record.steps.grad_norm).all()
    assert np.isnan(record.steps.update_norm).all()
    assert record.gaps == ("update_norm", "number of samples", "number of weights", "batch size")
    assert [m.t for m in record.series("validation", "accuracy")] == [0, *range(20, STEPS + 1, 20)]
    assert (record.config.steps, record.config.epochs, record.status) == (STEPS, EPOCHS, "done")
    assert (record.config.metric, record.config.better) == ("accuracy", "higher")
    assert record.config.lr == pytest.approx(3e-3, rel=0.1)
    assert {m.name for m in record.measurements} == {"loss", "accuracy"}


def test_a_checkpoint_and_its_file_are_logs_too(trainer_state):
    folder, _ = trainer_state
    middle = folder / f"checkpoint-{STEPS // EPOCHS}"
    for path in (middle, middle / "trainer_state.json"):
        record = sd.read_log(path)
        assert (record.steps.t[-1], record.config.steps, record.status) == (STEPS // EPOCHS, STEPS, "unknown")
    assert str(sd.diagnose(record)).startswith(f"So far, after {STEPS // EPOCHS} of {STEPS} steps. Too short to")


@pytest.mark.parametrize("logger", ["csv", "tensorboard"])
@pytest.mark.parametrize("every", [1, EVERY])
def test_lightnings_logs_are_what_it_did(tmp_path, logger, every):
    library = pytest.importorskip("lightning")
    if logger == "tensorboard":
        pytest.importorskip("tensorboard", reason="tensorboard is not installed")
    loggers = library.pytorch.loggers
    net = Net()

    class Module(library.LightningModule):
        def __init__(self):
            super().__init__()
            self.net = net

        def training_step(self, batch, index):
            loss = self.net(*batch)["loss"]
            self.log("train_loss", loss)
            return loss

        def validation_step(self, batch, index):
            self.log_dict({"val_loss": self.net(*batch)["loss"], "val_acc": 0.5})

        def configure_optimizers(self):
            return torch.optim.AdamW(self.parameters(), lr=3e-3)

    batches = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(*data()), BATCH)
    own = loggers.CSVLogger(tmp_path) if logger == "csv" else loggers.TensorBoardLogger(tmp_path)
    trainer = library.Trainer(
        max_epochs=EPOCHS, accelerator="cpu", logger=own, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, log_every_n_steps=every,
        callbacks=[library.pytorch.callbacks.LearningRateMonitor("step")],
    )  # fmt: skip
    trainer.fit(Module(), batches, batches)
    record = sd.read_log(tmp_path)
    assert record.steps.t.tolist() == list(range(every, STEPS + 1, every))
    np.testing.assert_allclose(record.steps.loss, net.losses[every - 1 :: every], rtol=1e-6)
    np.testing.assert_allclose(record.steps.lr, 3e-3)
    assert [m.t for m in record.series("validation", "loss")] == [20, 40, 60]
    assert record.gaps[:2] == ("grad_norm", "update_norm")
    assert record.config.metric == "acc"


def test_event_files_of_the_trainers_kind(tmp_path):
    pytest.importorskip("tensorboard", reason="tensorboard is not installed")
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(tmp_path / "runs" / "Nov30_host")) as writer:
        for step in range(10, 300, 10):
            writer.add_scalar("train/loss", math.nan if step == 50 else 1 / step, step)
            writer.add_scalar("train/grad_norm", 2.0, step)
            writer.add_scalar("eval/runtime", 1.0, step)
        writer.add_scalar("train/train_loss", 0.5, 290)
    record = sd.read_log(tmp_path)
    assert record.steps.t.tolist() == list(range(10, 300, 10))
    assert np.isnan(record.steps.loss).sum() == 1
    assert record.gaps[:2] == ("lr", "update_norm")
    assert not record.measurements
    file = next((tmp_path / "runs" / "Nov30_host").iterdir())
    assert sd.read_log(file).steps.loss[0] == record.steps.loss[0]
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])  # a process that was killed leaves a file that is cut off
    assert 5 < len(sd.read_log(file).steps) < 20
    file.write_bytes(b"not an event file at all, whatever its name may be" * 20)
    with pytest.raises(sd.InputError, match=r"must have scalars, got none|that is damaged"):
        sd.read_log(file)
    with SummaryWriter(str(tmp_path / "other")) as writer:
        writer.add_scalar("train/loss", 1.0, 1)
    with pytest.raises(sd.InputError, match=r"must be the log of one run, got .* with 2\. Pass one of them"):
        sd.read_log(tmp_path)


def test_our_own_csv_comes_back(tmp_path):
    x, y = data()
    task = sd.Task(nn.Linear(16, 4), (x, y), nn.functional.cross_entropy, validation=(x, y))
    run = sd.fit(task, "adam", 1e-2, epochs=2, batch_size=BATCH, runs=tmp_path, locate=False)
    record = sd.read_log(run.export("csv"))
    for name in ("t", "epoch", "lr", "loss", "grad_norm", "update_norm"):
        np.testing.assert_array_equal(getattr(record.steps, name), getattr(run.record.steps, name))
    assert sorted(record.measurements) == sorted(m for m in run.metrics)
    assert record.gaps == ("number of samples", "number of weights", "batch size")


def write_state(path, entries, **state):
    path.write_text(json.dumps({"log_history": entries, "global_step": 10, "max_steps": 100, **state}))
    return path


def test_a_loss_that_the_trainer_hides_is_not_finite(tmp_path):
    """`logging_nan_inf_filter` writes 0 for a loss that is NaN; the gradient's norm tells."""
    entries = [
        {"step": k, "loss": 0.0 if k > 30 else 2.0, "grad_norm": math.nan if k > 30 else 1.0} for k in range(1, 60)
    ]
    diagnosis = sd.diagnose(sd.read_log(write_state(tmp_path / "trainer_state.json", entries)))
    assert diagnosis.kind == "exploding"
    assert "29 logged values had a non-finite loss" in diagnosis.sentence


def test_names_of_columns_differ_only_in_separators(tmp_path):
    for loss, lr, norm, val in (
        ("loss", "lr", "grad_norm", "val_loss"),
        ("train/loss", "train/learning_rate", "train/grad_norm", "eval/loss"),
        ("train_loss_step", "lr-AdamW/pg1", "grad_2.0_norm_total", "val_loss_epoch"),
        ("Train Loss", "learning rate", "gradient norm", "Validation Loss"),
    ):
        names = {loss: 1.0, lr: 0.1, norm: 3.0, val: 2.0}
        record = make_record("log", [Value(k, n, x) for k in range(1, 4) for n, x in names.items()], Config())
        s = record.steps
        assert (s.loss.tolist(), s.lr.tolist(), s.grad_norm.tolist()) == ([1.0] * 3, [0.1] * 3, [3.0] * 3)
        assert [m.value for m in record.series("validation", "loss")] == [2.0] * 3


def test_a_column_with_gaps_is_missing_and_a_rate_is_filled(tmp_path):
    text = "step,loss,lr,grad_norm\n1,2.0,,\n2,1.9,0.1,1.0\n3,NaN,,\n4,inf,0.2,\n"
    (tmp_path / "metrics.csv").write_text(text)
    record = sd.read_log(tmp_path / "metrics.csv")
    assert record.steps.lr.tolist() == [0.1, 0.1, 0.1, 0.2]
    assert "grad_norm" in record.gaps
    assert math.isnan(record.steps.loss[2])
    assert record.steps.loss[3] == math.inf


BROKEN = {
    "cut.json": ('{"log_history": [{"step": 1', "must be JSON, got a file that is cut off or damaged"),
    "other.json": ('{"a": 1}', "must be a Trainer's state with log_history, got JSON without it"),
    "list.json": ("[1, 2]", "must be a Trainer's state with log_history"),
    "entry.json": (
        '{"log_history": [{"loss": 1}]}',
        "must have a step in each entry of log_history, got none in entry 1",
    ),
    "no_loss.json": (
        '{"log_history": [{"step": 1, "eval_loss": 2.0}]}',
        "training loss, as loss or train_loss, got the",
    ),
    "empty.csv": ("", "must have a column step, got an empty file"),
    "columns.csv": ("a,b\n1,2\n", "must have a column step, got a, b"),
    "word.csv": ("step,loss\n1,2.0\n2,abc\n", "must have numbers, got 'abc' as loss in line 3"),
    "step.csv": ("step,loss\n1,2.0\n,1.0\n", "must have a step in each row, got none in line 3"),
    "bytes.csv": (b"step,loss\n1,\xff\xfe\n", "must be a CSV in UTF-8"),
    "table.xlsx": ("x", "path must be trainer_state.json (Transformers), metrics.csv (Lightning), or an event file"),
    "missing.csv": (None, "which does not exist"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_no_log_is_refused_in_words(tmp_path, name):
    content, words = BROKEN[name]
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(sd.InputError) as error:
        sd.read_log(path)
    assert words in str(error.value)
    for command in ("diagnose", "show"):
        result = CliRunner().invoke(app, [command, str(path)])
        assert result.exit_code == 1
        assert words in result.stderr


def test_the_command_line_reads_logs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "output"
    folder.mkdir()
    entries = [{"step": 10 * k, "epoch": k / 10, "loss": 2.0**-k, "learning_rate": 1e-3} for k in range(1, 41)]
    entries = [{"step": 0, "eval_loss": 1.0}, *entries, {"step": 400, "eval_loss": 0.01}]  # with eval_on_start
    write_state(folder / "trainer_state.json", entries, max_steps=400, global_step=400)
    for path in ("output", "output/trainer_state.json"):
        result = CliRunner().invoke(app, ["diagnose", path])
        assert result.exit_code == 0
        assert result.stdout.splitlines()[0] == "No problem found."
        last = "Not in the log: grad_norm, update_norm, number of samples, number of weights, batch size"
        assert result.stdout.splitlines()[-1] == f"{last}; values every 10 steps."
    fields = json.loads(CliRunner().invoke(app, ["diagnose", "output", "--json"]).stdout)
    assert (fields["steps"], fields["gaps"][:2]) == (400, ["grad_norm", "update_norm"])
    shown = CliRunner().invoke(app, ["show", "output", "--figure", "curve.png"]).stdout
    assert "status done · 400 steps, 40 of them in the log" in shown
    assert "not in the log" in shown
    assert (tmp_path / "curve.png").stat().st_size > 1000
    assert json.loads(CliRunner().invoke(app, ["show", "output", "--json"]).stdout)["losses"][0] == 0.5
    x, y = data()
    task = sd.Task(nn.Linear(16, 4), (x, y), nn.functional.cross_entropy, name="output")
    sd.fit(task, "adam", 1e-2, steps=5, batch_size=BATCH, locate=False)  # a run of that name comes first
    assert CliRunner().invoke(app, ["diagnose", "output"]).stdout.startswith("Too short to diagnose: 5 finite steps")
    result = CliRunner().invoke(app, ["diagnose", "nothing"])
    assert (result.exit_code, "nothing" in result.stderr) == (1, True)


def test_sizes_that_the_user_tells_decide_what_a_log_leaves_open(tmp_path):
    """Learned by heart: of a thousand samples or more, the labels are out of order; of fewer it proves nothing."""
    rows = ["0,,1.1", *(f"{t},{1.1 * 0.98**t},{1.1 + 0.01 * t if t % 50 == 0 else ''}" for t in range(1, 201))]
    path = tmp_path / "metrics.csv"
    path.write_text("\n".join(["step,train_loss,val_loss", *rows]), encoding="utf-8")
    assert sd.diagnose(sd.read_log(path)).kind == "cannot tell"
    record = sd.read_log(path, samples=5000, batch_size=50, weights=300)
    assert sd.diagnose(record).kind == "labels out of order"
    assert sd.diagnose(sd.read_log(path, samples=100)).kind != "labels out of order"
    assert record.gaps == ("lr", "grad_norm", "update_norm")
    assert (record.config.samples, record.config.batch_size, record.config.weights) == (5000, 50, 300)
    said = CliRunner().invoke(app, ["diagnose", str(path), "--samples", "5000"])
    assert said.stdout.startswith("Labels seem out of order")


@pytest.mark.parametrize("size", [0, -3, 2.5, True, "32"])
@pytest.mark.parametrize("name", ["batch_size", "samples", "weights"])
def test_a_size_that_is_none_is_refused(tmp_path, name, size):
    words = f"{name} must be a positive whole number, or None where it is not known, got {size!r}"
    with pytest.raises(sd.InputError, match=re.escape(words)):
        sd.read_log(tmp_path, **{name: size})


def test_diagnose_of_a_path_says_how(tmp_path):
    with pytest.raises(sd.InputError, match=r"run must be a run or its record, got 'log.csv'. Read the log"):
        sd.diagnose("log.csv")
