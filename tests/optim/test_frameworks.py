"""Only the optimizer line is changed: other libraries and torch's own tools train as with torch's class."""

import copy

import pytest
import torch
from torch import nn
from torch.optim import optimizer as torch_optimizer
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

import steepest as sd

OPTIMIZERS = {"SGD": {"lr": 0.05, "momentum": 0.9}, "AdamW": {"lr": 0.01}}
EXACT, SINGLE = 1e-9, 1e-5
STEPS = 6


def network(dtype=torch.float64):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 2)).to(dtype)


def batches(dtype=torch.float64, count=STEPS):
    generator = torch.Generator().manual_seed(1)
    return [tuple(torch.randn(5, n, generator=generator, dtype=torch.float64).to(dtype) for n in (4, 2))
            for _ in range(count)]  # fmt: skip


def mse(model, batch):
    return nn.functional.mse_loss(model(batch[0]), batch[1])


def build(library, name, model):
    return getattr(library, name)(model.parameters(), **OPTIMIZERS.get(name, {}))


def compare(train, name, rtol=EXACT):
    """Trains with torch's class and ours: `train(library, name)` returns losses or weights."""
    expected, actual = (train(library, name) for library in (torch.optim, sd.optim))
    torch.testing.assert_close(actual, expected, rtol=rtol, atol=rtol)


by_both = pytest.mark.parametrize("name", OPTIMIZERS)


# -- torch's own tools -------------------------------------------------------------------------------------------------


def clip(model, optimizer, batch, t):
    loss = mse(model, batch)
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), 0.1)
    optimizer.step()
    optimizer.zero_grad()
    return loss


def accumulate(model, optimizer, batch, t):
    loss = mse(model, batch) / 2
    loss.backward()
    if t % 2:
        optimizer.step()
        optimizer.zero_grad(set_to_none=t % 4 == 1)
    return loss


def closure(model, optimizer, batch, t):
    def evaluate():
        optimizer.zero_grad()
        loss = mse(model, batch)
        loss.backward()
        return loss

    return optimizer.step(evaluate)


def under_no_grad(model, optimizer, batch, t):
    with torch.no_grad():
        return closure(model, optimizer, batch, t)


def with_functional_gradients(model, optimizer, batch, t):
    """Gradients of torch.func; a vmap over examples, whose mean is the gradient."""
    params = {name: p.detach() for name, p in model.named_parameters()}

    def loss(params, x, y):
        return nn.functional.mse_loss(torch.func.functional_call(model, params, (x,)), y)

    gradients = torch.func.vmap(torch.func.grad(loss), (None, 0, 0))(params, *batch)
    for name, p in model.named_parameters():
        p.grad = gradients[name].mean(0)
    optimizer.step()
    return loss(params, *batch)


def set_gradients_by_hand(model, optimizer, batch, t):
    loss = mse(model, batch)
    for p, g in zip(model.parameters(), torch.autograd.grad(loss, list(model.parameters())), strict=True):
        p.grad = g
    optimizer.step()
    return loss


def with_profiler(model, optimizer, batch, t):
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profiler:
        loss = clip(model, optimizer, batch, t)
    kind = type(optimizer).__name__
    assert any(f"Optimizer.step#{kind}.step" in event.key for event in profiler.key_averages())
    return loss


def cast_and_back(model, optimizer, batch, t):
    """The model in float32 at every second step, as `model.float()` leaves parameters where they are."""
    model.to(torch.float32 if t % 2 else torch.float64)
    optimizer.load_state_dict(optimizer.state_dict())
    return clip(model, optimizer, [x.to(model[0].weight.dtype) for x in batch], t)


WAYS = [clip, accumulate, closure, under_no_grad, with_functional_gradients, set_gradients_by_hand, with_profiler,
        cast_and_back]  # fmt: skip


@by_both
@pytest.mark.parametrize("way", WAYS)
def test_a_plain_loop(way, name):
    def train(library, name):
        model = network()
        optimizer = build(library, name, model)
        return [way(model, optimizer, b, t).detach().double() for t, b in enumerate(batches())]

    compare(train, name, SINGLE if way is cast_and_back else EXACT)


@by_both
@pytest.mark.parametrize("fused", [False, True])
def test_grad_scaler(fused, name):
    """Its scale overflows at the third step, which must be skipped."""

    def train(library, name):
        model = network(torch.float32)
        optimizer = getattr(library, name)(model.parameters(), **OPTIMIZERS[name], fused=fused)
        scaler = torch.amp.GradScaler("cpu", init_scale=8.0, growth_interval=2)
        path = []
        for t, (x, y) in enumerate(batches(torch.float32)):
            with torch.autocast("cpu", torch.bfloat16):
                loss = nn.functional.mse_loss(model(x), y)
            scaler.scale(loss * (float("inf") if t == 2 else 1.0)).backward()
            if t % 2:
                scaler.unscale_(optimizer)
                nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            scaler.step(optimizer)
            scaler.update()
            optimizer.zero_grad()
            path += [p.detach().clone() for p in model.parameters()] + [torch.tensor(scaler.get_scale())]
        assert all(x.isfinite().all() for x in path)
        return path

    compare(train, name, SINGLE)


@by_both
def test_averaged_model(name):
    def train(library, name):
        model = network()
        optimizer = build(library, name, model)
        averages = [AveragedModel(model), AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.9))]
        for t, b in enumerate(batches()):
            clip(model, optimizer, b, t)
            for average in averages:
                average.update_parameters(model)
        return [p.detach() for average in averages for p in average.parameters()]

    compare(train, name)


@by_both
@pytest.mark.filterwarnings("ignore:The .grad attribute")  # dynamo's, at the graph break of any backward()
@pytest.mark.parametrize("whole", [False, True])
def test_a_compiled_step(whole, name):
    """The step alone, and a function with all of a training step."""

    def train(library, name):
        model, path = network(), []
        optimizer = build(library, name, model)
        compiled = torch.compile(backend="eager") if library is sd.optim else lambda f: f
        step = optimizer.step if whole else compiled(optimizer.step)

        def train_step(b):
            optimizer.zero_grad()
            loss = mse(model, b)
            loss.backward()
            step()
            return loss.detach()

        if whole:
            train_step = compiled(train_step)
        for b in batches():
            path.append(train_step(b))
        return path

    torch._dynamo.reset()
    compare(train, name)


@by_both
def test_hooks(name):
    """Hooks of the step, of all optimizers and of state dicts are called as torch calls them."""
    calls = {}

    def train(library, name):
        model, log = network(), []
        optimizer = build(library, name, model)
        calls[library.__name__] = log
        handles = [
            optimizer.register_step_pre_hook(lambda o, args, kwargs: log.append("pre")),
            optimizer.register_step_post_hook(lambda o, args, kwargs: log.append("post")),
            torch_optimizer.register_optimizer_step_pre_hook(lambda o, args, kwargs: log.append("all pre")),
            torch_optimizer.register_optimizer_step_post_hook(lambda o, args, kwargs: log.append("all post")),
            optimizer.register_state_dict_pre_hook(lambda o: log.append("state pre")),
            optimizer.register_state_dict_post_hook(lambda o, d: log.append("state post")),
            optimizer.register_load_state_dict_pre_hook(lambda o, d: log.append("load pre")),
            optimizer.register_load_state_dict_post_hook(lambda o: log.append("load post")),
        ]
        path = [clip(model, optimizer, b, t).detach() for t, b in enumerate(batches(count=2))]
        optimizer.load_state_dict(optimizer.state_dict())
        for handle in handles:
            handle.remove()
        path += [clip(model, optimizer, b, t).detach() for t, b in enumerate(batches())]
        return path

    compare(train, name)
    assert calls["steepest.optim"] == calls["torch.optim"]
    assert len(calls["torch.optim"]) == 12


def test_what_a_hook_makes_of_a_state_dict_is_checked_and_loaded():
    model = network()
    optimizer = build(sd.optim, "ScheduleFreeAdamW", model)
    optimizer.register_load_state_dict_pre_hook(lambda o, d: d["wrapped"])
    state_dict = copy.deepcopy(optimizer.state_dict())
    optimizer.load_state_dict({"wrapped": state_dict})
    with pytest.raises(ValueError, match="its param groups have no"):
        optimizer.load_state_dict({"wrapped": build(torch.optim, "SGD", model).state_dict()})
    assert optimizer.state_dict() == state_dict


@pytest.mark.parametrize("how", ["as args", "as kwargs"])
def test_hooks_may_change_arguments_and_state_dicts(how):
    def give_closure(optimizer, args, kwargs):
        assert args == (optimizer,)
        assert not kwargs
        return ((optimizer, evaluate), {}) if how == "as args" else ((optimizer,), {"closure": evaluate})

    def evaluate():
        return torch.ones(())

    def train(library, name):
        model = network()
        optimizer = build(library, name, model)
        optimizer.register_state_dict_post_hook(lambda o, d: {"wrapped": d})
        optimizer.register_load_state_dict_pre_hook(lambda o, d: d["wrapped"])
        optimizer.register_step_pre_hook(give_closure)
        path = []
        for _ in range(3):
            mse(model, batches()[0]).backward()
            path += [optimizer.step(), *(p.detach().clone() for p in model.parameters())]
            optimizer.load_state_dict(copy.deepcopy(optimizer.state_dict()))
        return path

    compare(train, "AdamW")


def test_each_step_bumps_the_versions_of_the_weights():
    model = network()
    optimizer = build(sd.optim, "AdamW", model)
    for b in batches(count=2):
        mse(model, b).backward()
        optimizer.step()
    loss = mse(model, b)
    optimizer.step()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


# -- Libraries ---------------------------------------------------------------------------------------------------------


class Data(torch.utils.data.Dataset):
    def __init__(self) -> None:
        (self.x, self.y), *_ = batches(torch.float32, 1)

    def __len__(self):
        return len(self.x)

    def __getitem__(self, i):
        return {"x": self.x[i], "labels": self.y[i]}


@by_both
@pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning")  # Lightning's
@pytest.mark.filterwarnings("ignore:.*does not have many workers")
def test_lightning(name, tmp_path):
    lightning = pytest.importorskip("lightning")

    class Module(lightning.LightningModule):
        def __init__(self, library):
            super().__init__()
            self.network, self.library, self.losses = network(), library, []

        def training_step(self, batch, _):
            loss = mse(self.network, batch)
            self.losses.append(loss.detach())
            return loss

        def configure_optimizers(self):
            return build(self.library, name, self.network)

    def train(library, name):
        module = Module(library)
        settings = {"accelerator": "cpu", "logger": False, "enable_progress_bar": False, "enable_model_summary": False}
        loader = torch.utils.data.DataLoader(batches(), batch_size=None)
        for epochs, start in ((1, None), (2, tmp_path / "end.ckpt")):
            trainer = lightning.Trainer(
                max_epochs=epochs, gradient_clip_val=0.5, accumulate_grad_batches=2, enable_checkpointing=False,
                default_root_dir=tmp_path, **settings,
            )  # fmt: skip
            trainer.fit(module, loader, ckpt_path=start, weights_only=False if start else None)
            trainer.save_checkpoint(tmp_path / "end.ckpt")
        return module.losses

    compare(train, name)


class Wrapped(nn.Module):
    def __init__(self):
        super().__init__()
        self.network = network(torch.float32)

    def forward(self, x, labels):
        return {"loss": mse(self.network, (x, labels))}


@by_both
def test_transformers_trainer(name, tmp_path):
    transformers = pytest.importorskip("transformers")

    def train(library, name):
        model = Wrapped()
        settings = transformers.TrainingArguments(
            tmp_path, max_steps=STEPS, per_device_train_batch_size=2, logging_steps=1, save_strategy="no", report_to=[],
            disable_tqdm=True, use_cpu=True, warmup_steps=2,
        )  # fmt: skip
        trainer = transformers.Trainer(
            model, settings, train_dataset=Data(), optimizers=(build(library, name, model), None)
        )
        trainer.train()
        return [row["loss"] for row in trainer.state.log_history if "loss" in row]

    compare(train, name, SINGLE)


@by_both
def test_accelerate(name):
    accelerate = pytest.importorskip("accelerate")

    def train(library, name):
        accelerator = accelerate.Accelerator(cpu=True, gradient_accumulation_steps=2)
        model = network()
        loader = torch.utils.data.DataLoader(batches(), batch_size=None)
        model, optimizer, loader = accelerator.prepare(model, build(library, name, model), loader)
        path = []
        for b in loader:
            with accelerator.accumulate(model):
                loss = mse(model, b)
                accelerator.backward(loss)
                accelerator.clip_grad_norm_(model.parameters(), 0.5)
                optimizer.step()
                optimizer.zero_grad()
            path.append(loss.detach())
        return path

    compare(train, name)


@by_both
def test_skorch(name):
    skorch = pytest.importorskip("skorch")
    x, y = (x.numpy() for x in batches(torch.float32, 1)[0])

    def train(library, name):
        net = skorch.NeuralNetRegressor(
            network(torch.float32), criterion=nn.MSELoss, optimizer=getattr(library, name), max_epochs=5,
            train_split=None, verbose=0, batch_size=2,
            **{f"optimizer__{key}": value for key, value in OPTIMIZERS[name].items()},
        )  # fmt: skip
        net.fit(x, y)
        return net.history[:, "train_loss"]

    compare(train, name, SINGLE)
