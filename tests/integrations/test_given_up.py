"""Where nothing is finite any more the guard gives up: a trainer ends, a loop is told once, and the record says so."""

import pytest
import torch

import steepest as sd
from steepest.integrations.trainer import TrainerRun


def begin(folder, guard=True, optimizers=1):
    model = torch.nn.Linear(3, 1)
    parameters = [[model.weight], [model.bias]][:optimizers]
    own = [torch.optim.SGD(p, lr=0.1) for p in parameters]
    return model, own, sd.watch(model, own if optimizers > 1 else own[0], runs=folder, guard=guard)


def step(model, optimizers, run, factor=1.0):
    """A step of all optimizers; the factor makes the loss NaN, or leaves it."""
    events = []
    for optimizer in optimizers:
        optimizer.zero_grad()
        loss = factor * model(torch.ones(8, 3)).square().mean()
        loss.backward()
        events.append(run.step(loss, optimizer))
    return events[0]


def test_a_loop_is_told_once_and_its_run_has_stopped(tmp_path, capsys):
    model, optimizers, run = begin(tmp_path)
    start = model.weight.detach().clone()
    events = [step(model, optimizers, run, float("nan")) for _ in range(200)]
    kinds = [event.kind for event in events if event is not None]
    assert kinds.count("stop") == 1
    assert kinds[-1] == "stop"  # nothing is said of the steps after it
    assert [event.kind for event in run.events].count("stop") == 1
    assert run.is_stopped
    run.close()
    assert run.status == "stopped"
    assert torch.equal(model.weight, start)
    words = capsys.readouterr().err
    assert words.count("steps are skipped until the loss is finite") == 1
    assert "No step was recorded" not in words


def test_a_loop_may_leave_at_the_event(tmp_path):
    model, optimizers, run = begin(tmp_path)
    with run:
        for _ in range(200):
            event = step(model, optimizers, run, float("nan"))
            if event and event.kind == "stop":
                break
    assert run.status == "stopped"
    assert run.t < 20


def test_a_loop_whose_loss_is_finite_again_goes_on(tmp_path):
    model, optimizers, run = begin(tmp_path)
    with run:
        for t in range(100):
            step(model, optimizers, run, float("nan") if t < 50 else 1.0)
        assert not run.is_stopped
    assert run.status == "done"
    assert model(torch.ones(1, 3)).abs().item() < 0.1


@pytest.mark.parametrize("guard", [False, "report"])
def test_without_a_guard_that_acts_nothing_is_given_up(tmp_path, guard):
    model, optimizers, run = begin(tmp_path, guard)
    with run:
        for _ in range(50):
            step(model, optimizers, run, float("nan"))
    assert run.status == "done"


def test_of_two_optimizers_each_is_given_up_once(tmp_path):
    model, optimizers, run = begin(tmp_path, optimizers=2)
    with run:
        for _ in range(100):
            step(model, optimizers, run, float("nan"))
    assert [event.kind for event in run.events].count("stop") <= 2
    assert run.status == "stopped"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_transformers_trainer_ends(tmp_path):
    transformers = pytest.importorskip("transformers")
    from steepest.integrations.transformers import Steepest

    class Model(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Linear(3, 1)

        def forward(self, x, labels=None):
            return {"loss": float("nan") * self.layer(x).mean(), "logits": self.layer(x)}

    arguments = transformers.TrainingArguments(
        output_dir=str(tmp_path / "out"), max_steps=100, report_to=[], use_cpu=True, save_strategy="no",
        per_device_train_batch_size=2, disable_tqdm=True, logging_strategy="no",
    )  # fmt: skip
    data = [{"x": torch.ones(3), "labels": torch.zeros(1)} for _ in range(10)]
    callback = Steepest(runs=tmp_path)
    trainer = transformers.Trainer(model=Model(), args=arguments, train_dataset=data, callbacks=[callback])
    trainer.train()
    assert trainer.state.global_step < 30
    assert callback.run.status == "stopped"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_lightnings_trainer_ends(tmp_path):
    lightning = pytest.importorskip("lightning.pytorch")
    from steepest.integrations.lightning import Steepest

    class Module(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Linear(3, 1)

        def training_step(self, batch, index):
            return float("nan") * self.layer(batch[0]).mean()

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.1)

    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(torch.ones(200, 3)), batch_size=2)
    callback = Steepest(runs=tmp_path)
    trainer = lightning.Trainer(
        max_epochs=2, accelerator="cpu", callbacks=[callback], logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, default_root_dir=tmp_path,
    )  # fmt: skip
    trainer.fit(Module(), loader)
    assert trainer.global_step < 30
    assert callback.run.status == "stopped"


def test_a_training_that_an_exception_left_open_is_interrupted_by_the_next(tmp_path):
    """As in a notebook: the cell has failed, the process lives, and the Trainer tells its callbacks nothing."""

    def begin_training(name, callback=None):
        model = torch.nn.Linear(3, 1)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        callback = callback or TrainerRun(runs=tmp_path, name=name)
        callback.begin(model, [optimizer], [], 0)
        return callback

    first, other = begin_training("mine"), begin_training("other")
    second = begin_training("mine")
    assert second.run.id == first.run.id  # the record goes on, and no other begins
    assert (second.run.status, other.run.status) == ("running", "running")
    with pytest.raises(sd.InputError, match="after the run had ended"):
        first.run.step(1.0)
    before = begin_training(None)
    run = before.run
    begin_training(None, before)
    assert run.status == "interrupted"
