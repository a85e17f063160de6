"""fit: a task trained, and everything about it recorded."""

import os
import signal
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

import steepest as sd
from steepest.records.config import to_json


def network(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 3))


@pytest.fixture
def data():
    g = torch.Generator().manual_seed(0)
    x = torch.randn(210, 4, generator=g)
    y = (x @ torch.randn(4, 3, generator=g)).argmax(1)
    return x, y


def a_task(data, **given):
    x, y = data
    splits = {"validation": (x[150:180], y[150:180]), "test": (x[180:], y[180:])}
    chosen = {"model": network, "data": (x[:150], y[:150]), "loss": cross_entropy, **splits, **given}
    return sd.Task(metrics={"accuracy": sd.accuracy}, name="small", **chosen)


def fit(task, tmp_path, **given):
    return sd.fit(task, **{"rule": "adam", "lr": 1e-2, "epochs": 3, "batch_size": 32, "runs": tmp_path, **given})


def test_the_record(data, tmp_path):
    run = fit(a_task(data), tmp_path, notes="first", name="mine", clip=1.0)
    config = run.record.config
    assert run.status == "done"
    assert run.id.startswith("mine-")
    assert run.record.notes == "first"
    assert (config.rule, config.lr, config.batch_size, config.clip, config.steps) == ("adam", 1e-2, 32, 1.0, 15)
    assert config.schedule == "warmup(5%) >> cosine"
    assert run.record.versions["torch"] == torch.__version__.partition("+")[0] or "torch" in run.record.versions
    assert len(run.losses) == 15
    assert np.isfinite(run.losses).all()
    assert [m.t for m in run.record.series("validation", "accuracy")] == [0, 5, 10, 15]
    assert run.point.shape == (sum(p.numel() for p in run.model.parameters()),)
    assert torch.equal(run.point, torch.cat([p.detach().flatten() for p in run.model.parameters()]))
    assert run.figure(tmp_path / "curves.svg").stat().st_size > 1000


def test_metrics_are_those_of_plain_evaluation(data, tmp_path):
    x, y = data
    run = fit(a_task(data), tmp_path)
    with torch.no_grad():
        output = run.model.eval()(x)
    right = (output.argmax(1) == y).double()
    assert run.metric == pytest.approx(right[150:180].mean().item())
    assert run.test["accuracy"] == pytest.approx(right[180:].mean().item())
    assert run.test["loss"] == pytest.approx(cross_entropy(output[180:], y[180:]).item(), rel=1e-6)


def test_what_is_measured_first_is_the_start(data, tmp_path):
    task = a_task(data)
    first = fit(task, tmp_path, seed=3).record.series("validation", "loss")[0]
    x, y = data
    assert (first.t, first.epoch) == (0, 0.0)
    assert first.value == pytest.approx(cross_entropy(task.build(3)(x[150:180]), y[150:180]).item(), rel=1e-6)


def test_the_same_seed_is_the_same_run(data, tmp_path):
    one, same, other = (fit(a_task(data), tmp_path, seed=s) for s in (3, 3, 4))
    assert one.losses.tolist() == same.losses.tolist()
    assert torch.equal(one.point, same.point)
    assert one.losses.tolist() != other.losses.tolist()


def test_two_fits_of_one_task_start_from_one_point(data, tmp_path):
    task = a_task(data, model=network())
    one, two = fit(task, tmp_path), fit(task, tmp_path)
    assert one.losses.tolist() == two.losses.tolist()


def test_start_is_another_runs_end(data, tmp_path):
    one = fit(a_task(data), tmp_path)
    two = fit(a_task(data), tmp_path, start=one, batch_size="full", steps=1, epochs=None)
    x, y = data
    assert two.losses[0] == pytest.approx(cross_entropy(one.model(x[:150]), y[:150]).item(), rel=1e-6)
    assert two.record.config.start == one.id
    wrong = a_task(data, model=lambda seed: nn.Linear(4, 3))
    with pytest.raises(sd.InputError, match="does not match this model; parameters that differ: "):
        fit(wrong, tmp_path, start=one.id)


def test_average_is_what_is_left_and_measured(data, tmp_path):
    plain, averaged = fit(a_task(data), tmp_path), fit(a_task(data), tmp_path, average=0.9)
    assert plain.losses == pytest.approx(averaged.losses, rel=1e-3)  # two kernels: other roundings
    assert not torch.equal(plain.point, averaged.point)
    with torch.no_grad():
        right = (averaged.model.eval()(data[0]).argmax(1) == data[1]).double()
    assert averaged.test["accuracy"] == pytest.approx(right[180:].mean().item())


@pytest.mark.parametrize("model", [network, None], ids=["a function", "a module"])
def test_a_rate_is_searched_where_the_run_begins(model, data, tmp_path):
    task = a_task(data, model=model or network(0))
    one = fit(task, tmp_path, lr=0.1)
    end, before = one.point, torch.cat([p.detach().flatten() for p in task.copy(0).parameters()])
    two = fit(task, tmp_path, lr="auto", start=one.id)
    x, y = task.validation
    net = network(0)
    nn.utils.vector_to_parameters(end, net.parameters())
    with torch.no_grad():
        there = cross_entropy(net(x), y).item()
    assert two.record.search.start == pytest.approx(there, rel=1e-6)
    from_the_start = fit(task, tmp_path, lr="auto").record.search.start
    assert there < 0.5 * from_the_start
    assert torch.equal(one.point, end)
    assert torch.equal(torch.cat([p.detach().flatten() for p in task.copy(0).parameters()]), before)


def test_a_search_from_another_models_end_is_refused(data, tmp_path):
    one = fit(a_task(data), tmp_path, lr=1e-2)
    with pytest.raises(sd.InputError, match="does not match this model; parameters that differ: "):
        fit(a_task(data, model=lambda seed: nn.Linear(4, 3)), tmp_path, lr="auto", start=one)


def test_open_and_compare(data, tmp_path):
    one, two = fit(a_task(data), tmp_path, lr=1e-2), fit(a_task(data), tmp_path, lr=1e-3)
    found = sd.open(one.id[:-1], tmp_path) if not two.id.startswith(one.id[:-1]) else sd.open(one.id, tmp_path)
    assert found.losses.tolist() == one.losses.tolist()
    assert found.point.tolist() == one.point.tolist()
    with pytest.raises(sd.StoreError, match="load_state_dict"):
        _ = found.model
    comparison = sd.compare(one, two.id, tmp_path)
    assert comparison.differing["lr"] == (1e-2, 1e-3)
    assert "One run each cannot separate this from seed-to-seed variation" in comparison.sentence
    assert comparison.figure(tmp_path / "both.png").exists()


def test_a_model_that_raises_leaves_a_failed_run(data, tmp_path):
    calls = []

    def loss(output, target):
        if output.requires_grad:
            calls.append(1)
            if len(calls) >= 6:  # also where the loss is called to learn about it, which asks twice
                raise RuntimeError("mine")
        return cross_entropy(output, target)

    with pytest.raises(RuntimeError, match="mine"):
        fit(a_task(data, loss=loss), tmp_path)
    found = sd.open("small", tmp_path)
    assert found.status == "failed"
    assert len(found.losses) == 5


def test_a_batch_with_nan_is_skipped_and_recorded(data, tmp_path):
    def augment(batch, generator):
        x, y = batch
        return (x * float("nan"), y) if torch.rand((), generator=generator) < 0.3 else (x, y)

    run = fit(a_task(data, augment=augment), tmp_path, guard=False)
    skipped = [e.t for e in run.events]
    assert skipped
    assert {e.kind for e in run.events} == {"skip"}
    assert np.flatnonzero(np.isnan(run.losses)).tolist() == [t - 1 for t in skipped]
    assert torch.isfinite(run.point).all()


def test_ctrl_c_ends_cleanly(tmp_path):
    code = """
        import sys, torch, steepest as sd
        torch.manual_seed(0)
        x = torch.randn(100, 4)
        task = sd.Task(torch.nn.Linear(4, 1), (x, x[:, :1]), torch.nn.functional.mse_loss, name="long")
        run = sd.fit(task, "momentum", 1e-3, batch_size=10, steps=10_000_000, runs=sys.argv[1])
        print(run.status, len(run.losses) > 0, len(run.tensors))
    """
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code), str(tmp_path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert process.stderr is not None
    assert any("steps/s" in line for line in iter(process.stderr.readline, ""))  # it trains
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert out.split() == ["interrupted", "True", "2"], err
    found = sd.open("long", tmp_path)
    assert found.status == "interrupted"
    assert len(found.losses) == found.record.steps.t[-1]


def best_by_hand(run, name="accuracy", better=max):
    series = run.record.series("validation", name)
    value = better(m.value for m in series)
    return next(m for m in series if m.value == value)


@pytest.mark.parametrize("average", [None, 0.9])
def test_the_best_point_is_left_kept_and_tested(data, tmp_path, average):
    x, y = data
    run = fit(a_task(data), tmp_path, keep="best", lr=0.3, epochs=8, schedule="constant", average=average)
    best = best_by_hand(run)
    assert best.t < 40  # else nothing is tested here
    short = fit(a_task(data), tmp_path, lr=0.3, steps=best.t, epochs=None, schedule="constant", average=average)
    assert torch.equal(run.point, short.point)  # as if it had ended there
    assert all(torch.equal(p, run.tensors[name]) for name, p in run.model.named_parameters())
    with torch.no_grad():
        right = (run.model.eval()(x).argmax(1) == y).double()
    assert right[150:180].mean().item() == pytest.approx(best.value)
    assert run.test["accuracy"] == pytest.approx(right[180:].mean().item())


def test_the_best_point_has_its_buffers(data, tmp_path):
    def normed(seed):
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(4, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 3))

    x, y = data
    run = fit(a_task(data, model=normed), tmp_path, keep="best", lr=0.3, epochs=7, schedule="constant")
    best = best_by_hand(run)
    assert best.t < 35
    with torch.no_grad():
        right = (run.model.eval()(x[150:180]).argmax(1) == y[150:180]).double()
    assert right.mean().item() == pytest.approx(best.value)


def test_without_metrics_the_best_is_the_least_loss(data, tmp_path):
    x, y = data
    task = sd.Task(network, (x[:150], y[:150]), cross_entropy, validation=(x[150:], y[150:]), name="small")
    run = fit(task, tmp_path, keep="best", lr=0.3, epochs=8, schedule="constant")
    best = best_by_hand(run, "loss", min)
    with torch.no_grad():
        assert cross_entropy(run.model.eval()(x[150:]), y[150:]).item() == pytest.approx(best.value, rel=1e-6)


@pytest.mark.parametrize("guard", [True, False])
def test_patience_stops_a_run(data, tmp_path, capsys, guard):
    run = fit(a_task(data), tmp_path, stop_after=2, lr=0.3, epochs=40, schedule="constant", guard=guard)
    series = run.record.series("validation", "accuracy")
    best = best_by_hand(run)
    assert run.status == "stopped"
    assert len(run.losses) == series[-1].t == best.t + 2 * 5  # two epochs without a gain
    (event,) = (e for e in run.events if e.kind == "stop")
    assert event.t == len(run.losses)
    assert event.seen == "validation accuracy has not improved in 2 evaluations"
    assert event.done == f"stopped early; best {best.value:.4g} at step {best.t}"
    assert event.seen in capsys.readouterr().err
    assert set(run.test) == {"accuracy", "loss"}


def test_patience_and_the_best_point(data, tmp_path):
    given = {"lr": 0.3, "schedule": "constant"}
    run = fit(a_task(data), tmp_path, stop_after=2, keep="best", epochs=40, **given)
    short = fit(a_task(data), tmp_path, steps=best_by_hand(run).t, epochs=None, **given)
    assert run.status == "stopped"
    assert torch.equal(run.point, short.point)


def test_a_run_that_the_guard_stops_ends_where_it_went_back_to(data, tmp_path):
    """Not at a later point that had been stored before."""
    guard = sd.Guard(snapshot_every=10, rewinds=0.5, lowered_steps=5, warmup_steps=20)
    given = {"rule": "momentum", "schedule": "step(60, gamma=1000)", "epochs": 40, "lr": 0.02}
    run = fit(a_task(data), tmp_path, guard=guard, **given)
    assert (run.status, run.events[-1].kind) == ("stopped", "stop")
    assert torch.equal(run.point, torch.cat([p.detach().flatten() for p in run.model.parameters()]))


@pytest.mark.parametrize(
    "given", [{"keep": "all"}, {"stop_after": 0}, {"checkpoint_every": 0}, {"checkpoint_every": "x"}]
)
def test_what_cannot_be_meant_is_refused(data, tmp_path, given):
    with pytest.raises(sd.InputError, match=f"{next(iter(given))} must be .*, got "):
        fit(a_task(data), tmp_path, **given)


def test_a_rate_that_is_found_is_kept_with_what_was_measured(data, tmp_path):
    adam = torch.optim.Adam  # its members always go one after another, so two searches are equal bit for bit
    run = fit(a_task(data), tmp_path, rule=adam, lr="auto", epochs=20)
    found = sd.find_lr(a_task(data), adam, batch_size=32, epochs=20)
    assert run.record.config.lr == pytest.approx(found.best)
    kept = sd.open(run.id, tmp_path).record.search
    assert kept.best == found.best
    assert [row[:3] for row in kept.table] == [row[:3] for row in found.table]
    twin = fit(a_task(data), tmp_path, rule=adam, lr=found.best, epochs=20)
    np.testing.assert_array_equal(run.losses, twin.losses)


def test_a_rate_that_is_no_number(data, tmp_path):
    with pytest.raises(sd.InputError, match="lr must be a positive number or 'auto', got 'often'"):
        fit(a_task(data), tmp_path, lr="often")


# -- The learning rate of a first stage --------------------------------------------------------------------------------

TWO = sd.stage("adam", "50%", lr=0.02) >> sd.stage("momentum", lr=0.05)


@pytest.mark.parametrize(
    ("given", "lr"),
    [
        ({"rule": sd.stage(sd.adam(), lr=0.02), "lr": None}, 0.02),
        ({"rule": sd.stage(sd.adam(), lr=0.02), "lr": 0.5}, 0.02),
        ({"rule": TWO, "lr": None}, 0.02),
        ({"rule": sd.stage("adam", "50%") >> sd.stage("momentum", lr=0.05), "lr": 0.02}, 0.02),
        ({"rule": sd.stage(torch.optim.SGD, lr=0.02), "lr": None}, 0.02),
    ],
)
@pytest.mark.parametrize("recipe", [{}, {"rule": "adam", "lr": 0.3}])
def test_the_recorded_lr_is_the_one_that_was_used(given, lr, recipe, data, tmp_path):
    run = fit(a_task(data, recipe=recipe), tmp_path, schedule="constant", locate=False, **given)
    plain = given["rule"].parts[0].rule
    assert run.record.config.lr == run.record.steps.lr[0] == lr
    steps = sd.descend(a_task(data), batch_size=32, epochs=3, schedule="constant", **given)
    assert next(steps).lr == lr
    if len(given["rule"].parts) == 1:
        twin = fit(a_task(data), tmp_path, schedule="constant", locate=False, rule=plain, lr=lr)
        assert run.losses.tolist() == twin.losses.tolist()


def test_a_search_tries_the_learning_rates_that_it_reports(data):
    x, y = data[0], data[0] @ torch.tensor([[1.0], [-2.0], [3.0], [0.5]])
    task = sd.Task(nn.Linear(4, 1), (x, y), loss=nn.functional.mse_loss)
    plain, staged = (
        sd.find_lr(task, rule, batch_size="full", steps=100, way="one after another")
        for rule in (sd.gradient_descent, sd.stage(sd.gradient_descent, lr=1e-3))
    )
    assert (staged.best, staged.table) == (plain.best, plain.table)
    assert len({row.loss for row in staged.table}) > 3


def test_a_measured_lr_replaces_the_first_stages(data, tmp_path):
    run = fit(a_task(data), tmp_path, rule=TWO, lr="auto", epochs=6, schedule="constant", locate=False)
    search = run.record.search
    assert run.record.config.lr == run.record.steps.lr[0] == search.best != 0.02
    assert (search.rule, run.record.steps.lr[-1]) == ("adam", 0.05)


# -- The record's types ------------------------------------------------------------------------------------------------


def test_settings_of_a_run_by_item_access_are_deprecated(data, tmp_path):
    record = fit(a_task(data), tmp_path, locate=False).record
    with pytest.warns(DeprecationWarning, match="Use config.lr"):
        assert record.config["lr"] == 1e-2
    with pytest.warns(DeprecationWarning, match="Pass a Config"):
        old = sd.Record("id", "name", "done", "", 0.0, record.config.to_json(), {}, record.steps)
    assert old.config == record.config


def test_the_verdict_is_recorded_under_its_key(data, tmp_path):
    run = fit(a_task(data), tmp_path)
    opened = sd.open(run.id, tmp_path)
    assert opened.verdict == run.verdict
    assert opened.record.verdict == run.record.verdict
    assert opened.record.verdict is not None
    stored = to_json(opened.record.config, None, opened.record.verdict)
    assert stored["verdict"] == run.record.verdict.describe()
    assert "search" not in stored


def test_a_split_that_is_not_measured_as_a_whole_is_said_once(tmp_path, capsys):
    def contrast(output, target):
        return cross_entropy(output @ output.T, torch.arange(len(output)))

    batches = [(torch.randn(8, 3 + k, 1), torch.randint(2, (8, 3 + k))) for k in range(4)]
    loss = lambda output, target: cross_entropy(output.flatten(0, 1), target.flatten())  # noqa: E731
    ragged = sd.Task(nn.Linear(1, 2), batches, loss, validation=batches)
    sd.fit(ragged, "adam", 1e-2, epochs=2, runs=tmp_path, locate=False)
    assert capsys.readouterr().err.count("cannot be joined") == 1
    x = torch.randn(64, 3)
    sd.fit(sd.Task(nn.Linear(3, 2), (x, x), contrast, validation=(x, x)), "adam", 1e-2, epochs=2, runs=tmp_path)
    assert "cannot be joined" not in capsys.readouterr().err
