"""Settings that people give their trainers: with each the weights are bit for bit those of the trainer alone."""

import logging

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

import steepest as sd

pytestmark = pytest.mark.filterwarnings("ignore")
RANDOM = torch.Generator().manual_seed(1)
X = torch.randn(200, 8, generator=RANDOM)
Y = (X @ torch.randn(8, 3, generator=RANDOM)).argmax(1)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Dropout(0.1), nn.Linear(16, 3))

    def forward(self, x, labels=None):
        out = self.layers(x)
        return {"loss": F.cross_entropy(out, labels), "logits": out}


def weights(model):
    return torch.cat([p.detach().flatten().float() for p in model.parameters()])


# -- Transformers ------------------------------------------------------------------------------------------------------


def train_transformers(folder, settings, resume=None):
    library = pytest.importorskip("transformers")
    from steepest.integrations.transformers import Steepest

    settings = {"num_train_epochs": 2, "save_strategy": "no", "logging_strategy": "no", **settings}
    patience = settings.pop("patience", None)
    callbacks = [Steepest(runs=folder)] if folder.name == "runs" else []
    callbacks += [library.EarlyStoppingCallback(patience)] if patience else []
    rows = [{"x": x, "labels": y} for x, y in zip(X, Y, strict=True)]
    arguments = library.TrainingArguments(
        str(folder), per_device_train_batch_size=16, learning_rate=3e-3, report_to=[], disable_tqdm=True, use_cpu=True,
        **settings,
    )  # fmt: skip
    model = Net()
    trainer = library.Trainer(model, arguments, train_dataset=rows[:160], eval_dataset=rows[160:], callbacks=callbacks)
    trainer.train(resume_from_checkpoint=resume and str(folder / resume))
    return weights(model), callbacks[0].run if folder.name == "runs" else None


CHECKPOINTS = {"eval_strategy": "steps", "eval_steps": 5, "save_strategy": "steps", "save_steps": 5}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("settings", "steps"),
    [
        ({"max_grad_norm": 0.1}, 20),
        ({"bf16": True}, 20),
        ({"gradient_accumulation_steps": 3, "max_grad_norm": 0.1}, 8),
        ({"optim": "adafactor", "lr_scheduler_type": "cosine", "warmup_steps": 3}, 20),
        ({**CHECKPOINTS, "load_best_model_at_end": True}, 20),
        ({**CHECKPOINTS, "load_best_model_at_end": True, "patience": 1, "optim": "sgd", "num_train_epochs": 9}, None),
        ({"lr_scheduler_type": "reduce_lr_on_plateau", "eval_strategy": "epoch"}, 20),
        ({"logging_strategy": "steps", "logging_steps": 5}, 20),
    ],
)
def test_transformers(tmp_path, settings, steps):
    alone, _ = train_transformers(tmp_path / "alone", settings)
    watched, run = train_transformers(tmp_path / "runs", settings)
    assert torch.equal(alone, watched)
    assert (run.status, run.events) == ("done", ())
    assert steps in (None, len(run.losses))


@pytest.mark.slow
def test_transformers_from_a_checkpoint(tmp_path):
    ends = []
    for folder in (tmp_path / "alone", tmp_path / "runs"):
        train_transformers(folder, {"save_strategy": "steps", "save_steps": 10, "max_steps": 10})
        ends.append(train_transformers(folder, {"max_steps": 20}, resume="checkpoint-10"))
    assert torch.equal(ends[0][0], ends[1][0])
    assert len(ends[1][1].losses) == 10


# -- Lightning ---------------------------------------------------------------------------------------------------------


def module(kind, library):
    """A Lightning module of a kind."""

    class Automatic(library.LightningModule):
        def __init__(self):
            super().__init__()
            self.net = Net()
            self.automatic_optimization = self.is_automatic

        is_automatic = True

        def training_step(self, batch, index):
            return self.net(*batch)["loss"]

        def validation_step(self, batch, index):
            self.log("val_loss", self.net(*batch)["loss"])

        def configure_optimizers(self):
            return torch.optim.AdamW(self.parameters(), lr=3e-3)

    class LeavesOut(Automatic):
        def training_step(self, batch, index):
            return None if index % 3 == 0 else super().training_step(batch, index)

    class LBFGS(Automatic):
        def configure_optimizers(self):
            return torch.optim.LBFGS(self.parameters(), lr=0.1, max_iter=3)

    class Manual(Automatic):
        is_automatic = False

        def training_step(self, batch, index):
            self.manual_backward(self.net(*batch)["loss"] / 2)
            if index % 2:
                self.optimizers().step()
                self.optimizers().zero_grad()

    class Closure(Automatic):
        is_automatic = False

        def training_step(self, batch, index):
            optimizer = self.optimizers()

            def closure():
                optimizer.zero_grad()
                loss = self.net(*batch)["loss"]
                self.manual_backward(loss)
                return loss

            optimizer.step(closure=closure)

    class Two(Automatic):
        """As a GAN: the networks take their steps in turn."""

        is_automatic = False

        def training_step(self, batch, index):
            for optimizer in self.optimizers():
                optimizer.zero_grad()
                self.manual_backward(self.net(*batch)["loss"])
                optimizer.step()

        def configure_optimizers(self):
            return [torch.optim.Adam(self.net.layers[k].parameters(), lr=1e-3) for k in (0, 3)]

    class Plateau(Automatic):
        def configure_optimizers(self):
            optimizer = torch.optim.SGD(self.parameters(), lr=0.1)
            plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=0)
            return {"optimizer": optimizer, "lr_scheduler": {"scheduler": plateau, "monitor": "val_loss"}}

    class None_(Automatic):
        def configure_optimizers(self):
            return None

    kinds = (Automatic, LeavesOut, LBFGS, Manual, Closure, Two, Plateau, None_)
    return {k.__name__: k for k in kinds}[kind]()


def train_lightning(folder, kind="Automatic", **settings):
    library = pytest.importorskip("lightning")
    from steepest.integrations.lightning import Steepest

    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    extra, checkpoint = settings.pop("callbacks", lambda library: []), settings.pop("ckpt_path", None)
    watch = [Steepest(runs=folder)] if folder.name == "runs" else []
    settings = {"max_epochs": 2, "enable_checkpointing": False, **settings}
    trainer = library.Trainer(
        accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False,
        default_root_dir=str(folder), callbacks=[*extra(library), *watch], **settings,
    )  # fmt: skip
    model = module(kind, library)
    random = torch.Generator().manual_seed(5)
    train = DataLoader(TensorDataset(X[:160], Y[:160]), 16, shuffle=True, generator=random)
    torch.manual_seed(7)
    trainer.fit(model, train, DataLoader(TensorDataset(X[160:], Y[160:]), 16), ckpt_path=checkpoint)
    return weights(model), watch[0].run if watch else None


def averaging(library):
    return [library.pytorch.callbacks.StochasticWeightAveraging(1e-2, swa_epoch_start=1)]


def early_stopping(library):
    return [library.pytorch.callbacks.EarlyStopping("val_loss", patience=1)]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("settings", "steps"),
    [
        ({"kind": "LeavesOut"}, 12),
        ({"kind": "LBFGS"}, 20),
        ({"kind": "Manual"}, 10),
        ({"kind": "Closure"}, 20),
        ({"kind": "Two"}, 20),
        ({"kind": "Plateau"}, 20),
        ({"accumulate_grad_batches": 3, "gradient_clip_val": 0.1}, 8),
        ({"gradient_clip_val": 0.01, "gradient_clip_algorithm": "value"}, 20),
        ({"precision": "bf16-mixed"}, 20),
        ({"precision": "64-true"}, 20),
        ({"callbacks": averaging}, 20),
        ({"callbacks": early_stopping, "max_epochs": 6}, None),
    ],
)
def test_lightning(tmp_path, settings, steps):
    alone, _ = train_lightning(tmp_path / "alone", **settings)
    watched, run = train_lightning(tmp_path / "runs", **settings)
    assert torch.equal(alone, watched)
    assert (run.status, run.events) == ("done", ())
    assert steps in (None, len(run.losses))


@pytest.mark.slow
def test_lightning_from_a_checkpoint(tmp_path):
    ends = []
    for folder in (tmp_path / "alone", tmp_path / "runs"):
        train_lightning(folder, enable_checkpointing=True, max_epochs=1)
        checkpoint = next(folder.rglob("*.ckpt"))
        ends.append(train_lightning(folder, ckpt_path=str(checkpoint)))
    assert torch.equal(ends[0][0], ends[1][0])
    assert len(ends[1][1].losses) == 10


def test_lightning_without_an_optimizer(tmp_path):
    with pytest.raises(sd.InputError, match="must have an optimizer, got none from configure_optimizers"):
        train_lightning(tmp_path / "runs", "None_")


def test_lightning_has_its_optimizers_back(tmp_path):
    """After the training `optimizer.step` is the optimizer's own again."""
    _, run = train_lightning(tmp_path / "runs")
    assert run._optimizers
    assert all("take_over" not in repr(o.step) for o in run._optimizers)


# -- Accelerate --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("precision", ["no", "bf16"])
@pytest.mark.parametrize("clip", [None, 0.1])
def test_accelerate(tmp_path, precision, clip):
    library = pytest.importorskip("accelerate")
    from accelerate.state import AcceleratorState

    from steepest.integrations.accelerate import watch

    ends = []
    for is_watched in (False, True):
        AcceleratorState._reset_state(reset_partial_state=True)
        accelerator = library.Accelerator(cpu=True, gradient_accumulation_steps=3, mixed_precision=precision)
        net = Net()
        optimizer = torch.optim.AdamW(net.parameters(), lr=3e-3)
        scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 30)
        model, optimizer, loader, scheduler = accelerator.prepare(
            net, optimizer, DataLoader(TensorDataset(X[:160], Y[:160]), 16), scheduler
        )
        torch.manual_seed(7)
        run = watch(accelerator, model, optimizer, scheduler, runs=tmp_path) if is_watched else None
        for x, y in [pair for _ in range(2) for pair in loader]:
            with accelerator.accumulate(model):
                accelerator.backward(model(x, y)["loss"])
                if clip and accelerator.sync_gradients:
                    accelerator.clip_grad_norm_(model.parameters(), clip)
                optimizer.step()
                scheduler.step()
                optimizer.zero_grad()
        if run is not None:
            run.close()
        ends.append((weights(net), run))
    AcceleratorState._reset_state(reset_partial_state=True)
    assert torch.equal(ends[0][0], ends[1][0])
    assert ends[1][1].events == ()
