"""The loss and metrics of a split: metrics of any output, losses that differentiate inside, and what is said."""

import dataclasses

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset
from transformers.modeling_outputs import SequenceClassifierOutput

import steepest as sd
from steepest.errors import TaskError
from steepest.tasks import data
from steepest.tasks.objective import Objective
from steepest.tasks.task import Task


@dataclasses.dataclass
class Output:
    logits: torch.Tensor
    attention: torch.Tensor


FORMS = {
    "tuple": (lambda h: (h, h.softmax(-1)), lambda out: out[0]),
    "dict": (lambda h: {"logits": h, "scale": h.mean()}, lambda out: out["logits"]),
    "output": (lambda h: SequenceClassifierOutput(logits=h, hidden_states=(h, h)), lambda out: out.logits),
    "dataclass": (lambda h: Output(h, h.softmax(-1)), lambda out: out.logits),
    "state": (lambda h: (h, torch.zeros(2, len(h), 3)), lambda out: out[0]),
    "none": (lambda h: (h, None), lambda out: out[0]),
}


class Model(nn.Module):
    def __init__(self, form="tuple"):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(1)
            self.body = nn.Linear(4, 3)
        self.form = form

    def forward(self, x):
        return FORMS[self.form][0](self.body(x))


def samples(n=50):
    g = torch.Generator().manual_seed(0)
    return torch.randn(n, 4, generator=g), torch.randint(3, (n,), generator=g)


def accuracy(output, target):
    return (output.argmax(1) == target).double().mean()


@pytest.mark.parametrize("form", list(FORMS))
def test_metrics_get_all_of_what_the_model_gives(form):
    _, logits = FORMS[form]
    task = Task(Model(form), samples(), lambda out, y: F.cross_entropy(logits(out), y))
    seen = []

    def measure(output, target):
        seen.append(type(output))
        return accuracy(logits(output), target)

    objective = Objective(task.model, task)
    got = objective.evaluate(data.in_batches(samples(), 7), {"acc": measure})
    x, y = samples()
    output = task.model.body(x)
    assert got["acc"] == accuracy(output, y).item()
    assert got["loss"] == pytest.approx(F.cross_entropy(output, y).item(), rel=1e-6)
    assert seen == [type(task.model(x))]
    assert objective.note == ""


def test_predict_says_what_an_objective_hides(tmp_path):
    rows = dict(zip(("x", "labels"), samples(), strict=True))
    model = Model("dict")
    task = Task(
        model,
        rows,
        objective=lambda m, b: F.cross_entropy(m(b["x"])["logits"], b["labels"]),
        predict=lambda m, b: (m(b["x"])["logits"], b["labels"]),
        metrics={"accuracy": sd.accuracy},
    )
    run = sd.fit(task, lr=0.01, batch_size=10, epochs=2, runs=tmp_path, locate=False)
    x, y = task.validation["x"], task.validation["labels"]
    assert run.metric == accuracy(model.body(x), y).item()


def test_predict_serves_the_loss_without_a_second_pass():
    calls = []

    def predict(model, batch):
        calls.append(len(batch["x"]))
        return model(batch["x"])[0], batch["labels"]

    rows = dict(zip(("x", "labels"), samples(), strict=True))
    task = Task(Model(), rows, F.cross_entropy, predict=predict, metrics={"accuracy": sd.accuracy})
    got = Objective(task.model, task).evaluate(data.in_batches(rows, 20), task.metrics)
    assert calls == [20, 20, 10]
    x, y = samples()
    assert got["accuracy"] == accuracy(task.model.body(x), y).item()


def test_a_predict_that_is_no_pair():
    task = Task(Model(), samples(), F.cross_entropy, predict=lambda m, b: m(b[0])[0])
    with pytest.raises(
        TaskError, match=r"predict\(model, batch\) must return \(output, target\), got Tensor \[50, 3\]"
    ):
        Objective(task.model, task).evaluate([samples()], {})


def test_dict_batches_need_predict_or_an_objective():
    rows = dict(zip(("x", "labels"), samples(), strict=True))
    task = Task(Model(), rows, F.cross_entropy)
    with pytest.raises(TaskError, match=r"loss= needs batches \(\*inputs, target\), got dict with x: Tensor \[50, 4\]"):
        Objective(task.model, task).evaluate([rows], {})


def test_metrics_of_sequences_of_different_lengths_are_means_by_samples():
    g = torch.Generator().manual_seed(0)
    batches = [
        (torch.randint(5, (n, t), generator=g), torch.randint(5, (n, t), generator=g)) for n, t in ((3, 6), (2, 4))
    ]
    model = nn.Sequential(nn.Embedding(5, 8), nn.Linear(8, 5))
    task = Task(model, loss=lambda o, y: F.cross_entropy(o.transpose(1, 2), y, reduction="sum"))
    objective = Objective(model, task)
    got = objective.evaluate(batches, {"acc": lambda o, y: (o.argmax(-1) == y).double().mean()})
    each = [(model(x).argmax(-1) == y).double().mean().item() for x, y in batches]
    assert got["acc"] == pytest.approx((3 * each[0] + 2 * each[1]) / 5, rel=1e-12)
    assert objective.note.startswith(
        "Metrics are means over batches by samples, as outputs cannot be joined: rows to join"
    )
    objective.evaluate(batches[:1], {})
    assert objective.note == ""


def test_lists_of_samples_are_joined():
    """As of object detection: images of different sizes, and a dict of targets for each."""
    g = torch.Generator().manual_seed(0)
    images = [torch.randn(3, 4 + i % 3, generator=g) for i in range(14)]
    targets = [{"boxes": torch.randn(1 + i % 2, 2, generator=g)} for i in range(14)]
    loader = [(images[i : i + 6], targets[i : i + 6]) for i in range(0, 14, 6)]
    model = nn.Linear(3, 2)

    def predict(model, batch):
        return [model(image.mean(1)) for image in batch[0]], batch[1]

    def error(output, target):
        return torch.stack([(o - t["boxes"]).abs().mean() for o, t in zip(output, target, strict=True)]).mean()

    task = Task(model, loss=error, predict=predict)
    objective = Objective(model, task)
    got = objective.evaluate(loader, {"error": error})
    expected = error(*predict(model, (images, targets))).item()
    assert got["loss"] == pytest.approx(expected, rel=1e-6)
    assert got["error"] == pytest.approx(expected, rel=1e-6)
    with pytest.raises(TaskError, match=r"outputs have no row for each sample\)\. Pass Task\(count="):
        objective.gradient(loader, model.parameters())


def test_one_batch_that_cannot_be_counted_is_measured():
    batch = {"a": torch.ones(2), "b": torch.ones(3)}
    model = nn.Linear(1, 1)
    task = Task(model, objective=lambda m, b: m.weight.sum() * b["a"].sum())
    objective = Objective(model, task)
    assert objective.evaluate([batch], {})["loss"] == pytest.approx(2 * model.weight.item())
    with pytest.raises(
        TaskError, match=r"cannot be counted: dict with a: Tensor \[2\], b: Tensor \[3\]. Pass Task\(count="
    ):
        objective.evaluate([batch, batch], {})


# -- Objectives that differentiate inside ------------------------------------------------------------------------------


def residual(model, batch):
    x = batch[0].clone().requires_grad_(True)
    slope = torch.autograd.grad(model(x).sum(), x, create_graph=True)[0]
    return (slope - x.cos()).square().mean()


class Energy(nn.Module):
    """Forces are a gradient of its output."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(1, 8), nn.Tanh(), nn.Linear(8, 1))

    def forward(self, x):
        x = x.detach().requires_grad_(True)
        return -torch.autograd.grad(self.body(x).sum(), x, create_graph=True)[0]


def line():
    return (torch.linspace(-1, 1, 40)[:, None],)


@pytest.mark.parametrize("verb", ["evaluate", "value"])
def test_an_objective_that_differentiates_is_evaluated(verb):
    model = nn.Sequential(nn.Linear(1, 8), nn.Tanh(), nn.Linear(8, 1))
    objective = Objective(model, Task(model, objective=residual))
    expected = residual(model, line()).item()
    for _ in range(2):
        got = objective.value([line()]) if verb == "value" else objective.evaluate([line()], {})["loss"]
        assert got == pytest.approx(expected, rel=1e-6)
    assert not torch.is_inference_mode_enabled()
    assert all(p.grad is None for p in model.parameters())


def test_a_model_that_differentiates_is_measured_without_a_graph():
    model, (x,) = Energy(), line()
    task = Task(model, (x, x.sin()), F.mse_loss)
    seen = []

    def largest(output, target):
        seen.append(output.requires_grad)
        return (output - target).abs().max()

    got = Objective(model, task).evaluate(data.in_batches((x, x.sin()), 9), {"error": largest})
    assert got["error"] == pytest.approx((model(x) - x.sin()).abs().max().item(), rel=1e-6)
    assert seen == [False]


def test_a_metric_that_differentiates():
    model = Model()
    task = Task(model, samples(), lambda out, y: F.cross_entropy(out[0], y))

    def sensitivity(output, target):
        x = samples()[0].requires_grad_(True)
        return torch.autograd.grad(model(x)[0].sum(), x)[0].abs().mean()

    assert Objective(model, task).evaluate([samples()], {"s": sensitivity})["s"] > 0


def test_a_loss_of_whole_numbers_is_measured():
    model = nn.Linear(1, 1)
    task = Task(model, loss=lambda output, target: torch.tensor(3))
    assert Objective(model, task).evaluate([(*line(), *line())] * 2, {})["loss"] == 3


def test_other_errors_are_raised_as_they_are():
    calls = []

    def broken(model, batch):
        calls.append(1)
        if len(calls) == 1:
            raise RuntimeError("no such thing")
        return model(batch[0]).mean()

    model = nn.Linear(1, 1)
    with pytest.raises(RuntimeError, match="no such thing"):
        Objective(model, Task(model, objective=broken)).evaluate([line()], {})


# -- Dtypes ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["inputs", "labels", "fractions"])
def test_dtypes_that_do_not_match_are_said(kind, tmp_path):
    g = torch.Generator().manual_seed(0)
    x, y = torch.randn(40, 4, generator=g).numpy(), torch.randint(3, (40,), generator=g).numpy()
    rows = {"inputs": (x.astype("float64"), y), "labels": (x, y.astype("int32")), "fractions": (x, y.astype("float32"))}
    task = Task(nn.Linear(4, 3), rows[kind], F.cross_entropy)
    words = {
        "inputs": r"dtypes that fit the model's weights, float32, got .* \(.*\)\. Convert .*by x\.astype\('float32'\)",
        "labels": r"target must be class indices of int64, got int32 \[4\] \(.*\)\. Convert it by y\.long\(\)",
        "fractions": r"target must be class indices of int64, got float32 \[4\] \(.*\)\. Convert it by y\.long\(\)",
    }
    with pytest.raises(TaskError, match=words[kind]):
        sd.fit(task, lr=0.01, epochs=1, runs=tmp_path, locate=False)


def test_a_loader_of_any_output_is_trained_and_measured(tmp_path):
    loader = DataLoader(TensorDataset(*samples()), 16)
    task = Task(
        Model("output"), loader, lambda out, y: F.cross_entropy(out.logits, y), validation=loader,
        metrics={"acc": lambda out, y: accuracy(out.logits, y)},
    )  # fmt: skip
    run = sd.fit(task, lr=0.01, epochs=2, keep="best", runs=tmp_path, locate=False)
    x, y = samples()
    assert run.metric == pytest.approx(max(m.value for m in run.metrics if m.name == "acc"))
    assert accuracy(task.model(x).logits, y).item() == pytest.approx(run.metric)
