"""A space under everything people do to a module: it finds the weights where they are, and leaves no trace in them."""

import copy
import io

import pytest
import torch
from accelerate import Accelerator
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_model, save_model
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from steepest.descent.state import copy_state
from steepest.errors import InputError, TaskError
from steepest.records.config import NORMS_AND_BIASES, Config
from steepest.rules.memory import is_dense
from steepest.rules.textbook import RULES
from steepest.rules.update import Update
from steepest.tasks.space import Space
from tests.oracles import SlowUpdate, apart, furthest

RULE = RULES["adam"]
HYPERS = {**RULE.hypers, "lr": 0.05, "weight_decay": 0.1}


def mlp() -> nn.Sequential:
    return nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.LayerNorm(6), nn.Linear(6, 3))


def step(net: nn.Module, update: Update, x: Tensor) -> None:
    for p in net.parameters():
        p.grad = None
    net(x).square().sum().backward()
    update.advance(HYPERS)


def run(net: nn.Module, x: Tensor, steps: int = 3, between=lambda net: None) -> None:
    """Trains, with something happening to the net before each step; what it must not change is what comes out."""
    update = Update(Space(net), RULE)
    for _ in range(steps):
        between(net)
        step(net, update, x)


def weights(net: nn.Module) -> dict[str, Tensor]:
    return {n: p.detach().clone() for n, p in net.named_parameters()}


@pytest.fixture
def x() -> Tensor:
    return torch.randn(5, 4, generator=torch.Generator().manual_seed(0))


@pytest.fixture(autouse=True)
def _seeded():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


# -- Which weights -----------------------------------------------------------------------------------------------------


def test_names_shapes_sizes():
    space = Space(mlp())
    assert space.names == ("0.weight", "0.bias", "2.weight", "2.bias", "3.weight", "3.bias")
    assert space.shapes[0] == (6, 4)
    assert space.size == sum(space.sizes) == 24 + 6 + 6 + 6 + 18 + 3
    assert [n for n, _ in space.named()] == list(space.names)


def test_tied_weights():
    """One weight with two names is one parameter, and gets the sum of both gradients once."""
    net = nn.Sequential(nn.Linear(4, 4, bias=False), nn.Tanh(), nn.Linear(4, 4, bias=False))
    net[2].weight = net[0].weight
    space = Space(net)
    assert space.names == ("0.weight",)
    slow = SlowUpdate(RULE, net[0].weight)
    update = Update(space, RULE)
    net(torch.ones(2, 4)).square().sum().backward()
    slow.step(net[0].weight.grad, HYPERS)
    update.advance(HYPERS)
    assert net[2].weight is net[0].weight
    assert apart(net[0].weight, slow.w) < 1e-6


def test_frozen_layers(x):
    net = mlp()
    net[0].requires_grad_(False)
    space = Space(net)
    assert not any(n.startswith("0.") for n in space.names)
    before = weights(net)
    run(net, x)
    moved = {n for n, p in net.named_parameters() if not torch.equal(p, before[n])}
    assert moved == set(space.names)


def test_unused_parameters(x):
    net = mlp()
    net.register_parameter("spare", nn.Parameter(torch.ones(3, 3)))
    run(net, x)
    assert torch.equal(net.spare, torch.ones(3, 3))


@pytest.mark.parametrize("kind", ["weight_norm", "spectral_norm", "orthogonal"])
def test_parametrizations(kind, x):
    net = nn.Sequential(getattr(parametrizations, kind)(nn.Linear(4, 4)), nn.Linear(4, 2))
    space = Space(net)
    assert "0.bias" in space.names
    assert any(n.startswith("0.parametrizations.weight.original") for n in space.names)
    update = Update(space, RULE)
    slow = {}
    step_of = {n: SlowUpdate(RULE, p, {"weight_decay": 0.0} if p.dim() < 2 else {}) for n, p in space.named()}
    net(x).square().sum().backward()
    for name, p in space.named():
        step_of[name].step(p.grad, HYPERS)
        slow[name] = step_of[name].w
    update.advance(HYPERS)
    assert furthest(dict(space.named()), slow) < 1e-5


def test_compiled_module(x):
    """The names are those of the module itself, and training is the same."""
    plain = mlp()
    twin = copy.deepcopy(plain)
    compiled = torch.compile(twin, backend="eager")
    assert Space(compiled).names == Space(plain).names
    inside = nn.Sequential(torch.compile(nn.Linear(4, 4), backend="eager"))
    assert Space(inside, groups={"0.weight": {"lr_scale": 0.1}}).names == ("0.weight", "0.bias")
    run(plain, x)
    run(compiled, x)
    assert furthest(weights(twin), weights(plain)) < 1e-6


# -- Wherever they go --------------------------------------------------------------------------------------------------


def test_the_users_tensors_are_left_where_they_are(x):
    net = mlp()
    objects = [(id(p), p.data_ptr()) for p in net.parameters()]
    attributes = [set(vars(p)) for p in net.parameters()]
    run(net, x)
    assert [(id(p), p.data_ptr()) for p in net.parameters()] == objects
    assert [set(vars(p)) for p in net.parameters()] == attributes
    assert not any(p._backward_hooks or p._post_accumulate_grad_hooks for p in net.parameters())


def _assign(net: nn.Module) -> None:
    net.load_state_dict({k: v.detach().clone() for k, v in net.state_dict().items()}, assign=True)


def _to_and_back(net: nn.Module) -> None:
    for p in list(net.parameters()):
        p.data = p.data.clone()


@pytest.mark.parametrize(
    "between",
    [
        _assign,
        _to_and_back,
        lambda net: net.zero_grad(set_to_none=True),
        lambda net: net.zero_grad(set_to_none=False),
        lambda net: net.double().float(),
        lambda net: net.load_state_dict(copy.deepcopy(net.state_dict())),
        lambda net: copy.deepcopy(net)(torch.ones(1, 4)).sum().backward(),
        lambda net: net.share_memory(),
        lambda net: net.eval() and net.train(),
    ],
    ids=["assign", "data", "none", "zero", "there and back", "load", "deepcopy", "share_memory", "modes"],
)
def test_what_changes_nothing(between, x):
    plain = mlp()
    twin = copy.deepcopy(plain)
    run(plain, x)
    run(twin, x, between=between)
    assert all(torch.equal(a, b) for a, b in zip(plain.parameters(), twin.parameters()))


@pytest.mark.parametrize("to_none", [True, False])
def test_zero_grad(to_none, x):
    net = mlp()
    update = Update(Space(net), RULE)
    step(net, update, x)
    net.zero_grad(set_to_none=to_none)
    before = weights(net)
    moved = update.advance(HYPERS)
    assert (moved == 0) is to_none  # zeros are a gradient: momentum goes on
    assert all(torch.equal(a, before[n]) for n, a in net.named_parameters()) is to_none


def test_to_double_in_mid_run(x):
    """Slots follow the weights into their new dtype."""
    net = mlp()
    update = Update(Space(net), RULE)
    step(net, update, x)
    state = copy_state(update.state())
    net.double()
    twin_net = copy.deepcopy(net)
    twin = Update(Space(twin_net), RULE)
    twin.load(state)
    step(net, update, x.double())
    step(twin_net, twin, x.double())
    assert update.slots["m"]["0.weight"].dtype is torch.float64
    assert update.t == 2
    assert furthest(weights(net), weights(twin_net)) < 1e-14


def test_half_in_mid_run(x):
    net = mlp()
    update = Update(Space(net), RULE)
    step(net, update, x)
    expected = copy_state(update.state())["slots"]["m"]
    net.bfloat16()
    net.zero_grad()
    update.norm()
    assert all(v.dtype is torch.bfloat16 for v in update.slots["m"].values())
    assert furthest(update.slots["m"], expected) < 0.01
    net.half()
    twin = copy.deepcopy(net).float()
    other = Update(Space(twin), RULE)
    other.load(update.state())
    for model, batch in ((net, x.half()), (twin, x)):
        model.zero_grad()
        model(batch).square().sum().backward()
    assert update.norm() == pytest.approx(other.norm(), rel=1e-3)
    assert update.advance(HYPERS) == pytest.approx(other.advance(HYPERS), rel=1e-3)
    assert update.slots["v"]["0.weight"].dtype is torch.float16
    assert furthest(weights(net), weights(twin)) < 1e-3


def test_channels_last_in_mid_run():
    """Slots turn with the weights; the path is the same."""
    plain = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.LazyLinear(2)).double()
    image = torch.randn(2, 3, 6, 6, dtype=torch.float64)
    plain(image)
    twin = copy.deepcopy(plain)
    run(plain, image, 4)
    seen = []

    def turn(net: nn.Module) -> None:
        seen.append(None)
        if len(seen) == 3:
            net.to(memory_format=torch.channels_last)

    run(twin, image, 4, turn)
    assert twin[0].weight.is_contiguous(memory_format=torch.channels_last)
    assert furthest(weights(twin), weights(plain)) < 1e-12


def test_deepcopy_of_the_model_goes_its_own_way(x):
    net = mlp()
    update = Update(Space(net), RULE)
    step(net, update, x)
    twin = copy.deepcopy(net)
    before = weights(twin)
    step(net, update, x)
    assert all(torch.equal(p, before[n]) for n, p in twin.named_parameters())


# -- Saving ------------------------------------------------------------------------------------------------------------


def test_torch_save_of_a_submodule(x):
    """A part is saved as a part: nothing of the rest, no slots."""
    net = nn.Sequential(nn.Linear(4, 6), nn.Linear(6, 500), nn.Linear(500, 500))
    sizes = []
    for train in (False, True):
        if train:
            run(net, x)
        buffer = io.BytesIO()
        torch.save(net[0], buffer)
        sizes.append(buffer.tell())
    assert sizes[1] == pytest.approx(sizes[0], abs=64)
    buffer.seek(0)
    again = torch.load(buffer, weights_only=False)
    assert torch.equal(again.weight, net[0].weight)


def test_torch_save_of_a_state_dict(x):
    net = mlp()
    run(net, x)
    buffer = io.BytesIO()
    torch.save(net.state_dict(), buffer)
    buffer.seek(0)
    again = mlp()
    again.load_state_dict(torch.load(buffer))
    assert all(torch.equal(a, b) for a, b in zip(again.parameters(), net.parameters()))


def test_safetensors(x, tmp_path):
    net = mlp()
    run(net, x)
    save_model(net, str(tmp_path / "model.safetensors"))
    again = mlp()
    load_model(again, str(tmp_path / "model.safetensors"))
    assert all(torch.equal(a, b) for a, b in zip(again.parameters(), net.parameters()))


def test_accelerate(x, tmp_path):
    accelerator = Accelerator(cpu=True)
    net = accelerator.prepare_model(mlp())
    run(net, x)
    accelerator.save_model(net, str(tmp_path))
    again = mlp()
    load_model(again, str(tmp_path / "model.safetensors"))
    assert all(torch.equal(a, b) for a, b in zip(again.parameters(), accelerator.unwrap_model(net).parameters()))


def test_transformers(tmp_path):
    from transformers import BertConfig, BertForMaskedLM

    config = BertConfig(
        vocab_size=40, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=24,
        max_position_embeddings=12,
    )  # fmt: skip
    net = BertForMaskedLM(config)
    space = Space(net)
    assert net.cls.predictions.decoder.weight is net.bert.embeddings.word_embeddings.weight
    assert sum("word_embeddings" in n or "decoder.weight" in n for n in space.names) == 1
    update = Update(space, RULE)
    ids = torch.arange(12).reshape(2, 6)
    before = weights(net)
    net(input_ids=ids, labels=ids).loss.backward()
    update.advance(HYPERS)
    assert not torch.equal(net.bert.embeddings.word_embeddings.weight, before["bert.embeddings.word_embeddings.weight"])
    net.save_pretrained(tmp_path)
    again = BertForMaskedLM.from_pretrained(tmp_path)
    assert all(torch.equal(a, b) for a, b in zip(again.parameters(), net.parameters()))


# -- Gather and scatter ------------------------------------------------------------------------------------------------


@given(st.lists(st.lists(st.integers(0, 4), max_size=3), min_size=1, max_size=5), st.integers(0, 2**31))
def test_scatter_undoes_gather(shapes, seed):
    net = nn.ParameterList(nn.Parameter(torch.zeros(s)) for s in shapes)
    space = Space(net)
    there = torch.randn(space.size, generator=torch.Generator().manual_seed(seed))
    space.scatter(there)
    assert torch.equal(space.gather(), there)
    assert space.gather().dtype is torch.float32
    expected = [part.reshape(s) for part, s in zip(there.split(list(space.sizes)), shapes)]
    assert all(torch.equal(p, e) for p, e in zip(net, expected))


def test_gather_is_a_copy_in_the_widest_dtype():
    net = nn.ParameterList([torch.ones(2), torch.ones(2, dtype=torch.float64), torch.ones(1, dtype=torch.float16)])
    point = Space(net).gather()
    assert point.dtype is torch.float64
    assert not point.requires_grad
    point.zero_()
    assert net[0].sum() == 2


def test_scatter_into_several_dtypes():
    dtypes = (torch.float32, torch.float64, torch.float16)
    net = nn.ParameterList(torch.zeros(2, dtype=dtype) for dtype in dtypes)
    there = torch.tensor([1 / 3] * 6, dtype=torch.float64)
    Space(net).scatter(there)
    assert [p.dtype for p in net] == list(dtypes)
    assert all(torch.equal(p.detach(), there[:2].to(p.dtype)) for p in net)


def test_channels_last_is_gathered_in_logical_order():
    net = nn.Conv2d(3, 4, 3, bias=False)
    expected = net.weight.detach().flatten().clone()
    net.to(memory_format=torch.channels_last)
    space = Space(net)
    assert torch.equal(space.gather(), expected)
    space.scatter(expected * 2)
    assert torch.equal(space.gather(), expected * 2)
    assert net.weight.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("shape", [(5,), (1, 63), (64,), ()])
def test_scatter_of_another_length(shape):
    with pytest.raises(InputError, match=r"point must have shape \(63,\), got"):
        Space(mlp()).scatter(torch.zeros(shape))


@pytest.mark.parametrize(
    ("tensor", "dense"),
    [
        (torch.zeros(3, 4), True),
        (torch.zeros(3, 4).T, True),
        (torch.zeros(2, 3, 4, 5).to(memory_format=torch.channels_last), True),
        (torch.zeros(1, 3, 1), True),
        (torch.zeros(2, 7)[:1, :3], True),
        (torch.zeros(()), True),
        (torch.zeros(0, 3), True),
        (torch.zeros(3, 4)[:, :2], False),
        (torch.zeros(8)[::2], False),
        (torch.zeros(1).expand(4), False),
        (torch.zeros(1, 4).expand(3, 4), False),
    ],
)
def test_is_dense(tensor, dense):
    assert is_dense(tensor) is dense


# -- Groups ------------------------------------------------------------------------------------------------------------


def overrides(space: Space) -> dict[str, dict]:
    return {n: space.overrides[r] for n, r in zip(space.names, space.rows)}


def test_no_decay_on_norms_and_biases():
    found = overrides(Space(mlp()))
    undecayed = {n for n, row in found.items() if row == {"weight_decay": 0.0}}
    assert undecayed == {"0.bias", "2.weight", "2.bias", "3.bias"}
    assert found["0.weight"] == found["3.weight"] == {}


class Scale(nn.Module):
    """A layer scale: a vector that is neither a norm's nor a bias."""

    def __init__(self):
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(4))
        self.temperature = nn.Parameter(torch.ones(()))


class TokenNorm(nn.Module):
    """A norm of one's own, with a matrix."""

    def __init__(self):
        super().__init__()
        self.gain = nn.Parameter(torch.ones(4, 4))


class NormedLinear(nn.Linear):
    """No norm: a linear layer."""


class Zoo(nn.Module):
    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(4, 2, add_bias_kv=True)
        self.lstm = nn.LSTM(4, 4)
        self.conv = nn.Conv1d(4, 4, 3)
        self.embedding = nn.Embedding(5, 4)
        self.norms = nn.ModuleList([
            nn.LayerNorm([4, 4]), nn.RMSNorm(4), nn.BatchNorm2d(4), nn.GroupNorm(2, 4),
            nn.InstanceNorm1d(4, affine=True), TokenNorm(),
        ])  # fmt: skip
        self.scale = Scale()
        self.normed = NormedLinear(4, 4)
        self.prelu = nn.PReLU()
        self.weights = nn.ParameterList([torch.ones(3)])
        self.class_bias = nn.Parameter(torch.zeros(2, 3))
        self.unbiased = nn.Parameter(torch.zeros(3))


def test_no_decay_goes_by_the_kind_of_module_and_not_by_dimensions():
    undecayed = {name for name, row in overrides(Space(Zoo())).items() if row == {"weight_decay": 0.0}}
    biases = {"attention.in_proj_bias", "attention.out_proj.bias", "attention.bias_k", "attention.bias_v", "conv.bias"}
    biases |= {"lstm.bias_ih_l0", "lstm.bias_hh_l0", "normed.bias", "class_bias"}
    assert undecayed == biases | {name for name, _ in Zoo().named_parameters() if name.startswith("norms.")}
    decayed = set(Space(Zoo()).names) - undecayed
    assert {"scale.gamma", "scale.temperature", "prelu.weight", "weights.0", "unbiased", "normed.weight"} < decayed


def test_no_decay_of_compiled_and_parametrized_norms():
    net = nn.Sequential(torch.compile(nn.LayerNorm(4), backend="eager"), nn.Linear(4, 4), nn.LayerNorm(4))
    parametrizations.weight_norm(net[1], dim=None)  # its magnitude is a number
    for key in ("weight", "bias"):
        nn.utils.parametrize.register_parametrization(net[2], key, nn.Softplus())
    nn.utils.parametrize.register_parametrization(net[1], "bias", nn.Softplus())
    undecayed = {name for name, row in overrides(Space(net)).items() if row}
    assert undecayed == {
        "0.weight", "0.bias", "1.parametrizations.bias.original", "2.parametrizations.weight.original",
        "2.parametrizations.bias.original",
    }  # fmt: skip


def test_each_parameter_has_its_module():
    net = nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4), nn.MultiheadAttention(4, 2))
    parametrizations.weight_norm(net[0])
    space = Space(net)
    owners = dict(zip(space.names, space.modules, strict=True))
    assert owners["0.parametrizations.weight.original0"] is owners["0.bias"] is net[0]
    assert owners["1.weight"] is net[1]
    assert owners["2.out_proj.bias"] is net[2].out_proj


def test_no_decay_of_runs_of_before():
    """Then it went by dimensions; a stored run is resumed with its groups, and a new one is recorded as new."""
    before = Config.from_json({"no_decay": "norms and biases"})
    found = overrides(Space(Zoo(), no_decay=before.no_decay))
    assert {name for name, row in found.items() if row} == {n for n, p in Zoo().named_parameters() if p.dim() < 2}
    now = Config(no_decay=NORMS_AND_BIASES)
    for config in (before, now, Config(no_decay=["*.bias"]), Config()):
        assert Config.from_json(config.to_json()) == config
    assert now.to_json()["no_decay"] != "norms and biases"


def test_no_decay_by_glob_or_not_at_all():
    assert set(map(str, overrides(Space(mlp(), no_decay=None)).values())) == {"{}"}
    found = overrides(Space(mlp(), no_decay=["0.*", "*.bias"]))
    assert {n for n, row in found.items() if row} == {"0.weight", "0.bias", "2.bias", "3.bias"}
    assert overrides(Space(mlp(), no_decay="3.*"))["3.weight"] == {"weight_decay": 0.0}


def test_later_globs_win():
    groups = {"*": {"lr_scale": 0.5, "beta1": 0.8}, "3.*": {"lr_scale": 0.1}, "*.bias": {"weight_decay": 0.2}}
    found = overrides(Space(mlp(), groups))
    assert found["0.weight"] == {"lr_scale": 0.5, "beta1": 0.8}
    assert found["3.weight"] == {"lr_scale": 0.1, "beta1": 0.8}
    assert found["3.bias"] == {"weight_decay": 0.2, "lr_scale": 0.1, "beta1": 0.8}


def test_globs_tell_capitals_from_small_letters():
    net = nn.ModuleDict({"Head": nn.Linear(2, 2, bias=False), "head": nn.Linear(2, 2, bias=False)})
    assert overrides(Space(net, {"Head.*": {"lr_scale": 0.1}})) == {"Head.weight": {"lr_scale": 0.1}, "head.weight": {}}


def test_equal_rows_are_one():
    space = Space(mlp(), {"0.weight": {"lr_scale": 0.1}, "3.weight": {"lr_scale": 0.1}})
    assert len(space.overrides) == 2


# -- Errors ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: nn.Tanh(), "Tanh has nothing to train: it has no parameters"),
        (lambda: mlp().requires_grad_(False), r"all 6 parameters are frozen \(requires_grad=False\)"),
        (lambda: nn.LazyLinear(3), "weight must have a shape. Run the model once on a batch"),
        (
            lambda: nn.ParameterList([torch.ones(2, dtype=torch.complex64)]),
            r"0 must be real floating-point, got torch\.complex64",
        ),
        (
            lambda: nn.ParameterList([torch.ones(2, 2).to_sparse()]),
            r"0 must be dense \(torch\.strided\), got torch\.sparse_coo",
        ),
    ],
    ids=["none", "frozen", "lazy", "complex", "sparse"],
)
def test_nothing_to_train(make, message):
    with pytest.raises(TaskError, match=message):
        Space(make())


@pytest.mark.parametrize("given", [{"groups": {"4.weihgt": {"lr_scale": 1.0}}}, {"no_decay": ["4.weihgt"]}])
def test_glob_that_matches_nothing(given):
    argument = next(iter(given))
    with pytest.raises(InputError, match=rf"{argument}: no parameter matches '4.weihgt'. Did you mean '.\.weight'"):
        Space(mlp(), **given)
