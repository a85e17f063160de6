"""Schedulers of torch and of transformers on our optimizers set the options that they set on torch's."""

import pytest
import torch
import transformers
from torch import nn
from torch.optim import lr_scheduler as torch_schedulers
from torch.optim.swa_utils import SWALR

import steepest as sd

STEPS = 12


def in_sequence(optimizer):
    parts = [torch_schedulers.ConstantLR(optimizer, 0.1, 3), torch_schedulers.ExponentialLR(optimizer, 0.8)]
    return torch_schedulers.SequentialLR(optimizer, parts, milestones=[4])


def chained(optimizer):
    parts = [torch_schedulers.LinearLR(optimizer, total_iters=5), torch_schedulers.StepLR(optimizer, 3, 0.5)]
    return torch_schedulers.ChainedScheduler(parts, optimizer)


def one_cycle(optimizer):
    return torch_schedulers.OneCycleLR(optimizer, max_lr=0.1, total_steps=STEPS + 1)


def cyclic(optimizer):
    cycles_momentum = "momentum" in optimizer.defaults or "betas" in optimizer.defaults
    return torch_schedulers.CyclicLR(optimizer, 0.001, 0.1, step_size_up=4, cycle_momentum=cycles_momentum)


def multiplicative(optimizer):
    return torch_schedulers.MultiplicativeLR(optimizer, lambda t: 0.9)


SCHEDULERS = {
    "OneCycleLR": one_cycle,
    "CyclicLR": cyclic,
    "ReduceLROnPlateau": lambda o: torch_schedulers.ReduceLROnPlateau(o, patience=1, factor=0.5),
    "SequentialLR": in_sequence,
    "ChainedScheduler": chained,
    "CosineAnnealingWarmRestarts": lambda o: torch_schedulers.CosineAnnealingWarmRestarts(o, T_0=4),
    "CosineAnnealingLR": lambda o: torch_schedulers.CosineAnnealingLR(o, T_max=STEPS, eta_min=1e-4),
    "LambdaLR": lambda o: torch_schedulers.LambdaLR(o, lambda t: 1 / (1 + t)),
    "MultiplicativeLR": multiplicative,
    "LinearLR": lambda o: torch_schedulers.LinearLR(o, start_factor=0.2, total_iters=6),
    "MultiStepLR": lambda o: torch_schedulers.MultiStepLR(o, [3, 7]),
    "PolynomialLR": lambda o: torch_schedulers.PolynomialLR(o, total_iters=STEPS, power=2),
    "SWALR": lambda o: SWALR(o, swa_lr=0.05, anneal_epochs=5),
    **{
        f"transformers-{kind}": lambda o, kind=kind: transformers.get_scheduler(kind, o, 3, STEPS)
        for kind in ("linear", "cosine", "cosine_with_restarts", "polynomial", "constant_with_warmup", "inverse_sqrt")
    },
}
OPTIMIZERS = {"SGD": {"momentum": 0.9}, "AdamW": {}, "RMSprop": {"momentum": 0.5}}


def options(optimizer):
    keys = ("lr", "initial_lr", "momentum", "betas", "max_lr", "min_lr", "max_momentum", "base_momentum")
    return [{key: group[key] for key in keys if key in group} for group in optimizer.param_groups]


def train(library, name, make_scheduler):
    """The weights and the options of both param groups after every step; the scheduler is saved and loaded halfway."""
    torch.manual_seed(0)
    model = nn.Linear(4, 3).double()
    groups = [{"params": [model.weight]}, {"params": [model.bias], "lr": 0.02, "weight_decay": 0.1}]
    optimizer = getattr(library, name)(groups, lr=0.01, **OPTIMIZERS[name])
    scheduler = make_scheduler(optimizer)
    x, path = torch.randn(8, 4, dtype=torch.float64), []
    for t in range(STEPS):
        optimizer.zero_grad()
        loss = model(x).square().mean()
        loss.backward()
        optimizer.step()
        if isinstance(scheduler, torch_schedulers.ReduceLROnPlateau):
            scheduler.step(1.0)
        else:
            scheduler.step()
        path.append((options(optimizer), [p.detach().clone() for p in model.parameters()]))
        if t == STEPS // 2:
            scheduler.load_state_dict(scheduler.state_dict())
            optimizer.load_state_dict(optimizer.state_dict())
    return path


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_a_scheduler_sets_what_it_sets_on_torchs(scheduler, name):
    expected = train(torch.optim, name, SCHEDULERS[scheduler])
    actual = train(sd.optim, name, SCHEDULERS[scheduler])
    for (torchs, weights), (options, own) in zip(expected, actual, strict=True):
        assert options == torchs
        torch.testing.assert_close(own, weights, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", ["Lion", "Signum", "ADOPT", "AdEMAMix", "ScheduleFreeAdamW"])
def test_schedulers_drive_the_optimizers_that_torch_does_not_have(name):
    weight = nn.Parameter(torch.ones(3))
    optimizer = getattr(sd.optim, name)([weight], lr=0.1)
    scheduler = torch_schedulers.CosineAnnealingLR(optimizer, T_max=4)
    for _ in range(4):
        weight.grad = torch.ones(3)
        optimizer.step()
        scheduler.step()
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0, abs=1e-12)
    before = weight.detach().clone()
    optimizer.param_groups[0]["lr"] = 0.0
    optimizer.step()
    assert torch.equal(weight, before) or name == "ScheduleFreeAdamW"  # whose average goes on


def test_one_cycle_sets_the_momentum_of_signum():
    optimizer = sd.optim.Signum([nn.Parameter(torch.ones(3))], lr=0.1)
    torch_schedulers.OneCycleLR(optimizer, max_lr=0.1, total_steps=10)
    assert optimizer.param_groups[0]["momentum"] == 0.95


@pytest.mark.parametrize("library", [torch.optim, sd.optim])
def test_a_scheduler_before_the_first_step_warns_as_with_torch(library):
    weight = nn.Parameter(torch.ones(3))
    optimizer = library.SGD([weight], lr=0.1)
    scheduler = torch_schedulers.StepLR(optimizer, 1)
    with pytest.warns(UserWarning, match="before `optimizer.step"):
        scheduler.step()


@pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning")  # Lightning's
@pytest.mark.filterwarnings("ignore:.*does not have many workers")
def test_lightning_monitors_the_learning_rate(tmp_path):
    lightning = pytest.importorskip("lightning")
    callbacks = pytest.importorskip("lightning.pytorch.callbacks")
    loggers = pytest.importorskip("lightning.pytorch.loggers")
    rates = {}
    for library in (torch.optim, sd.optim):

        class Module(lightning.LightningModule):
            def __init__(self, library=library):
                super().__init__()
                self.layer, self.library = nn.Linear(4, 1), library

            def training_step(self, batch, _):
                return self.layer(batch).square().mean()

            def configure_optimizers(self):
                optimizer = self.library.AdamW(self.parameters(), lr=0.1)
                scheduler = torch_schedulers.StepLR(optimizer, 1, 0.5)
                return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

        monitor = callbacks.LearningRateMonitor(logging_interval="step", log_momentum=True, log_weight_decay=True)
        trainer = lightning.Trainer(
            max_epochs=1, accelerator="cpu", callbacks=[monitor], enable_progress_bar=False, log_every_n_steps=1,
            enable_model_summary=False, enable_checkpointing=False, default_root_dir=tmp_path,
            logger=loggers.CSVLogger(tmp_path, name=library.__name__),
        )  # fmt: skip
        data = torch.utils.data.DataLoader(torch.randn(8, 4), batch_size=2)
        trainer.fit(Module(), data)
        rates[library.__name__] = (tmp_path / library.__name__ / "version_0" / "metrics.csv").read_text()
    assert "lr-AdamW" in rates["steepest.optim"]
    assert rates["steepest.optim"] == rates["torch.optim"]
