"""Weights in bfloat16 that are stepped in float32: bit for bit the float32 weights of the same gradients, rounded."""

import copy
import inspect
import pickle

import pytest
import torch
from torch import nn

import steepest as sd
from steepest.errors import InputError, TensorError
from steepest.optim.optimizer import KernelOptimizer
from steepest.rules import textbook
from steepest.rules.rounding import Rounding, round_stochastically
from steepest.rules.rule import rule
from steepest.rules.tensor_groups import KernelGroup
from tests.optim.against_torch import ALL, OURS, TORCHS, copy_by_dcp
from tests.optim.test_state import save_and_load

MASTERS = {"master_weights": True}
BOTH = {"master_weights": True, "stochastic_rounding": True}
ALONE = {"stochastic_rounding": True}
OPTIONS = [MASTERS, BOTH, ALONE]
VARIANTS = {
    **{name: (name, options) for name, options in ALL.items()},
    "SGD alone": ("SGD", {}),
    "Nesterov": ("SGD", {"momentum": 0.9, "nesterov": True}),
    "Adam with decay": ("Adam", {"weight_decay": 0.1, "maximize": True}),
    "AMSGrad, decoupled": ("AdamW", {"amsgrad": True}),
    "RMSprop alone": ("RMSprop", {"weight_decay": 0.1}),
    "ADOPT, decoupled": ("ADOPT", {"weight_decay": 0.1, "decoupled_weight_decay": True}),
}

QUICK, SLOW = ("SGD", "AdamW", "Lion"), ("Adam", "NAdam", "RMSprop", "ScheduleFreeAdamW", "AMSGrad, decoupled")
"""Every kernel takes a second to compile; these are for `make slow`, the others for `make long`."""


def some_slow(names):
    names = list(names)
    marks = {name: [pytest.mark.slow] if name in SLOW else [pytest.mark.slow, pytest.mark.long] for name in names}
    return [name if name in QUICK else pytest.param(name, marks=marks[name]) for name in names]


def tensors(dtype=torch.bfloat16):
    """A tensor of several chunks, one of channels_last, one without dimensions, an empty one, and one with gaps."""
    random = torch.Generator().manual_seed(0)
    shapes = [(70, 71), (5,), (4, 3, 2, 2), (), (0, 3), (4, 6)]
    values = [torch.randn(shape, generator=random).bfloat16() for shape in shapes]
    values[2] = values[2].to(memory_format=torch.channels_last)
    values[5] = values[5][:, ::2]
    return [nn.Parameter(x.to(dtype)) for x in values]


def twins(params):
    """The same weights in float32, with the same gaps."""
    values = [p.detach().float() for p in params]
    have_gaps = [p.ndim == 2 and not p.is_contiguous() for p in params]
    return [
        nn.Parameter(x.repeat_interleave(2, -1)[..., ::2] if has_gaps else x)
        for x, has_gaps in zip(values, have_gaps, strict=True)
    ]


def give_gradients(params, t):
    random = torch.Generator().manual_seed(100 + t)
    for p in params:
        p.grad = torch.empty_like(p).copy_(torch.randn(p.shape, generator=random).bfloat16())


def make(name, params, options, library=sd.optim, **more):
    name, own = VARIANTS[name]
    return getattr(library, name)(params, **{"lr": 0.05, **own, **more}, **options)


def train(optimizer, params, steps):
    for t in steps:
        give_gradients(params, t)
        if t == 3:
            params[1].grad = None
        optimizer.step()


def are_same(a, b):
    """Whether two tensors have the same bits, NaNs aside."""
    return a.dtype is b.dtype and a.shape == b.shape and torch.equal(a.nan_to_num(7.0), b.nan_to_num(7.0))


def start_alike(optimizer, params, others):
    """Gives weights in float32 the masters' values after the first step, which torch's own code takes."""
    for p, q in zip(params, others, strict=True):
        torch.testing.assert_close(optimizer.state[p]["master_weight"], q.detach(), rtol=1e-6, atol=1e-7)
        q.data.copy_(optimizer.state[p]["master_weight"])


def state_of(optimizer):
    """The state of each parameter in turn, without its master weight."""
    return [
        {key: x for key, x in optimizer.state[p].items() if key != "master_weight"}
        for group in optimizer.param_groups for p in group["params"]
    ]  # fmt: skip


def by_kernel(optimizer):
    """How many parameters the last step's kernels stepped."""
    return sum(len(batch.members) for batch in optimizer._kernels._plans[0]._batches)


# -- The formula -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", some_slow(VARIANTS))
def test_master_weights_are_the_float32_weights_of_the_same_gradients(name):
    params, others = tensors(), twins(tensors())
    optimizer, other = make(name, params, MASTERS), make(name, others, {})
    for t in range(6):
        train(optimizer, params, [t])
        train(other, others, [t])
        if t == 0 and name == "SGD alone":  # without state, float32 is by a kernel at once
            start_alike(optimizer, params, others)
        for p, q in zip(params, others, strict=True):
            assert are_same(optimizer.state[p]["master_weight"], q.detach())
            assert are_same(p.detach(), q.detach().bfloat16())
    for own, theirs in zip(state_of(optimizer), state_of(other), strict=True):
        assert own.keys() == theirs.keys()
        assert all(are_same(own[key], theirs[key]) for key in own)
    assert by_kernel(optimizer) == by_kernel(other) == 4  # not the empty one, and not the one with gaps


@pytest.mark.parametrize("name", some_slow(TORCHS))
def test_equals_torchs_optimizer_on_masters_of_ones_own(name):
    """As most loops have it: float32 copies of the weights, gradients cast, weights copied back."""
    params, weights = tensors()[:4], tensors()[:4]
    masters = [nn.Parameter(p.detach().float()) for p in weights]
    optimizer, other = make(name, params, MASTERS), make(name, masters, {}, torch.optim)
    for t in range(6):
        give_gradients(params, t)
        optimizer.step()
        give_gradients(weights, t)
        for p, m in zip(weights, masters, strict=True):
            m.grad = p.grad.float()
        other.step()
        for p, m in zip(weights, masters, strict=True):
            p.data.copy_(m)
    for p, m in zip(params, masters, strict=True):
        torch.testing.assert_close(optimizer.state[p]["master_weight"], m.detach(), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(p.detach().float(), m.detach(), rtol=2**-7, atol=1e-4)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_threads_do_not_matter(options, threads):
    ends = []
    before = torch.get_num_threads()
    for count in (1, threads):
        torch.set_num_threads(count)
        try:
            p = nn.Parameter(torch.linspace(-1, 1, 100_003).bfloat16())
            optimizer = sd.optim.AdamW([p], **options)
            for t in range(3):
                give_gradients([p], t)
                optimizer.step()
        finally:
            torch.set_num_threads(before)
        ends.append(p.detach())
    assert are_same(*ends)


@rule
def put(w, g, z=0.0, *, lr=1.0):
    """Sets the weight to the slot."""
    return z, z


def special_numbers():
    """Every upper half of a float32 with several lower halves: ties, NaNs, infinities, denormal and the largest."""
    upper = torch.arange(-(1 << 15), 1 << 15, dtype=torch.int32)[:, None] << 16
    lower = torch.tensor([0, 1, 0x7FFF, 0x8000, 0x8001, 0xFFFF], dtype=torch.int32)
    return (upper | lower).view(torch.float32).flatten()


def round_by_kernel(x, how, place=3, step=5):
    """x in bfloat16, and the master weights, by a kernel that sets the weights to x."""
    w, g = torch.zeros_like(x, dtype=torch.bfloat16), torch.zeros_like(x, dtype=torch.bfloat16)
    master = [torch.zeros_like(x)] if how.has_master else []
    group = KernelGroup(put, None, [w], [[m] for m in (*master, x.clone())], how, [place])
    group.read([w], [g])
    width = 1 + len(put.program.hoisted)
    group.advance([1.0] * width + [float(step)] * how.is_stochastic)
    return w, *master


@pytest.mark.parametrize("has_master", [True, False])
def test_rounds_all_numbers_as_torch_does(has_master):
    x = special_numbers()
    w, *master = round_by_kernel(x, Rounding(has_master, False))
    assert torch.equal(w.isnan(), x.isnan())
    expected = torch.where(x.isnan(), x, torch.tensor(x.tolist()).bfloat16().float())
    assert torch.equal(w.float().nan_to_num(7.0).view(torch.int32), expected.nan_to_num(7.0).view(torch.int32))
    for m in master:
        assert torch.equal(m.nan_to_num(7.0).view(torch.int32), x.nan_to_num(7.0).view(torch.int32))


@pytest.mark.parametrize("has_master", [True, False])
def test_stochastic_rounding_is_the_reference(has_master):
    x = special_numbers()
    w, *_ = round_by_kernel(x, Rounding(has_master, True), place=3, step=5)
    expected = round_stochastically(x, 3, 5)
    assert torch.equal(w.isnan(), x.isnan())
    assert torch.equal(w.nan_to_num(7.0).view(torch.int16), expected.nan_to_num(7.0).view(torch.int16))
    assert not torch.equal(expected.nan_to_num(7.0), round_stochastically(x, 4, 5).nan_to_num(7.0))
    assert not torch.equal(expected.nan_to_num(7.0), round_stochastically(x, 3, 6).nan_to_num(7.0))


# -- Stochastic rounding -----------------------------------------------------------------------------------------------


def test_the_mean_of_stochastic_rounding_is_exact():
    """Of a million weights a quarter of the way to the next one, within five standard errors; over steps, too."""
    unit, count = 2.0**-7, 1 << 20
    x = torch.full((count,), 1 + unit / 4)
    ups = [(round_stochastically(x, 0, step).float() - 1) / unit for step in range(1, 5)]
    for up in ups:
        assert set(up.unique().tolist()) == {0.0, 1.0}
        assert abs(up.mean().item() - 0.25) < 5 * (0.25 * 0.75 / count) ** 0.5
    for a, b in [(ups[0], ups[1]), (ups[2], ups[3]), (ups[0][1:], ups[0][:-1]), (ups[0][2048:], ups[0][:-2048])]:
        correlation = torch.corrcoef(torch.stack([a, b]))[0, 1].item()
        assert abs(correlation) < 5 / count**0.5


def test_stochastic_rounding_without_masters_moves_weights_that_nearest_leaves_where_they_are():
    """Steps of a thousandth of the spacing: the mean of the weights descends at the right rate."""
    means = []
    for options in ({}, ALONE):
        p = nn.Parameter(torch.ones(1 << 16, dtype=torch.bfloat16))
        optimizer = sd.optim.SGD([p], lr=2.0**-17, **options)
        for _ in range(200):
            p.grad = torch.full_like(p, 1.0)
            optimizer.step()
        means.append(1 - p.double().mean().item())
    assert means[0] == 0
    assert means[1] == pytest.approx(200 * 2.0**-17, rel=0.05)


@pytest.mark.parametrize("options", [BOTH, ALONE], ids=str)
@pytest.mark.parametrize("name", ["SGD", "SGD alone", "AdamW", "Lion", "ScheduleFreeAdamW"])
def test_stochastic_weights_are_neighbours_of_the_exact_ones(name, options):
    params, others = tensors()[:4], twins(tensors()[:4])
    optimizer, other = make(name, params, options), make(name, others, {})
    for t in range(4):
        train(optimizer, params, [t])
        train(other, others, [t])
        if t == 0 and name == "SGD alone" and options is BOTH:
            start_alike(optimizer, params, others)
    assert by_kernel(optimizer) == (3 if t == 3 else 4)
    assert [float(state["step"]) for state in state_of(optimizer)] == [4, 3, 4, 4]
    if options is BOTH:
        for place, (p, q) in enumerate(zip(params, others, strict=True)):
            assert are_same(optimizer.state[p]["master_weight"], q.detach())
            steps = int(optimizer.state[p]["step"])
            assert are_same(p.detach(), round_stochastically(q.detach(), place, steps))
    else:
        for p, q in zip(params, others, strict=True):
            torch.testing.assert_close(p.detach().float(), q.detach(), rtol=0.1, atol=0.1)


# -- Checkpoints -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("way", ["deepcopy", "pickle", "state_dict"])
@pytest.mark.parametrize("name", ["SGD", "SGD alone", "AdamW", "Lion"])
def test_a_copy_goes_on_bit_for_bit_with_all_options(name, way, options):
    goes_on(name, way, options)


@pytest.mark.parametrize("name", some_slow(name for name in ALL if name not in ("SGD", "AdamW", "Lion")))
def test_a_copy_goes_on_bit_for_bit(name):
    goes_on(name, "state_dict", MASTERS)


def goes_on(name, way, options):
    params = tensors()[:4]
    optimizer = make(name, params, options)
    train(optimizer, params, range(3))
    if way == "state_dict":
        others = copy.deepcopy(params)
        other = make(name, others, options)
        state_dict = save_and_load(optimizer.state_dict())
        other.load_state_dict(state_dict)
        saved, loaded = optimizer.state_dict()["state"], other.state_dict()["state"]
        assert all(are_same(saved[place][key], loaded[place][key]) for place in saved for key in saved[place])
    else:
        duplicate = copy.deepcopy if way == "deepcopy" else lambda x: pickle.loads(pickle.dumps(x))
        other, others = duplicate((optimizer, params))
    train(optimizer, params, range(3, 6))
    train(other, others, range(3, 6))
    assert all(are_same(p.detach(), q.detach()) for p, q in zip(params, others, strict=True))
    for own, theirs in zip(optimizer.state.values(), other.state.values(), strict=True):
        assert all(are_same(own[key], theirs[key]) for key in own)


@pytest.mark.filterwarnings("ignore:torch.distributed is disabled")
@pytest.mark.parametrize("name", ["SGD", "AdamW", "Lion", "ScheduleFreeAdamW"])
def test_distributed_checkpoint(name, tmp_path):
    def start(seed):
        torch.manual_seed(seed)
        model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2)).bfloat16()
        return model, make(name, model.parameters(), MASTERS)

    model, optimizer = start(0)
    train(optimizer, list(model.parameters()), range(3))
    other, other_optimizer = start(1)
    copy_by_dcp(model, optimizer, other, other_optimizer, tmp_path)
    train(optimizer, list(model.parameters()), range(4, 7))
    train(other_optimizer, list(other.parameters()), range(4, 7))
    for p, q in zip(model.parameters(), other.parameters(), strict=True):
        assert are_same(p.detach(), q.detach())
        assert are_same(optimizer.state[p]["master_weight"], other_optimizer.state[q]["master_weight"])


@pytest.mark.parametrize("name", some_slow(TORCHS))
def test_state_of_torchs_class_goes_on_with_masters(name):
    """Its groups have no such option, and its moments are in bfloat16."""
    params = tensors()[:4]
    theirs = make(name, params, {}, torch.optim)
    train(theirs, params, range(2))
    optimizer = make(name, params, MASTERS)
    optimizer.load_state_dict(theirs.state_dict())
    assert optimizer.param_groups[0]["master_weights"] is True
    train(optimizer, params, range(4, 7))
    assert by_kernel(optimizer) == 4
    for p in params:
        assert are_same(p.detach(), optimizer.state[p]["master_weight"].bfloat16())
        assert all(x.dtype is not torch.bfloat16 for x in optimizer.state[p].values() if isinstance(x, torch.Tensor))


def test_without_the_options_groups_and_state_are_torchs():
    params = tensors()[:2]
    optimizer, other = make("AdamW", params, {}), make("AdamW", params, {}, torch.optim)
    assert optimizer.param_groups == other.param_groups
    assert optimizer.defaults == other.defaults
    train(optimizer, params, range(2))
    assert optimizer.state[params[0]].keys() == {"step", "exp_avg", "exp_avg_sq"}
    assert optimizer.state[params[0]]["exp_avg"].dtype is torch.bfloat16


# -- Weights and options that change -----------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [MASTERS, BOTH], ids=str)
def test_a_weight_that_was_set_counts_and_its_master_does_not(options):
    """As by `model.load_state_dict`, a clamp, or weights of another kind."""
    params = tensors()[:1]
    optimizer = make("SGD alone", params, options, lr=1e-3)
    train(optimizer, params, range(3))
    [p] = params
    before, master = p.detach().clone(), optimizer.state[p]["master_weight"].clone()
    with torch.no_grad():
        p.clamp_(-0.5, 0.5)
    p.grad = torch.zeros_like(p)
    optimizer.step()
    new, is_far, is_inside = optimizer.state[p]["master_weight"], before.abs() > 0.51, before.abs() < 0.5
    assert is_far.sum() > 1000
    assert are_same(new[is_far], before[is_far].sign().float() / 2)
    assert are_same(new[is_inside], master[is_inside])


def test_a_parameter_may_be_replaced_and_resized_with_its_state():
    p, q = tensors()[:2]
    optimizer = make("AdamW", [p, q], MASTERS)
    train(optimizer, [p, q], range(2))
    smaller = nn.Parameter(p.detach()[:-3].clone())
    state = optimizer.state.pop(p)
    optimizer.state[smaller] = {k: x[:-3].clone() if x.ndim else x for k, x in state.items()}
    optimizer.param_groups[0]["params"][0] = smaller
    train(optimizer, [smaller, q], range(4, 6))
    assert by_kernel(optimizer) == 2
    assert are_same(smaller.detach(), optimizer.state[smaller]["master_weight"].bfloat16())
    optimizer.state[smaller]["master_weight"] = torch.ones(3)
    with pytest.raises(TensorError, match=r"'master_weight' of parameter 0 of param group 0 must be float32 of shape"):
        train(optimizer, [smaller, q], [6])
    del optimizer.state[smaller]["master_weight"]
    train(optimizer, [smaller, q], [6, 7])


def test_options_and_dtypes_may_change_between_steps():
    """bfloat16, masters, both, without masters, float32, back: no step fails, and weights stay near the exact ones."""
    params, others = tensors()[:4], twins(tensors()[:4])
    optimizer, other = make("AdamW", params, {}, lr=1e-2), make("AdamW", others, {}, lr=1e-2)
    changes = [{}, MASTERS, BOTH, {"master_weights": False}, {"stochastic_rounding": False}, BOTH]
    for t, change in enumerate(changes):
        optimizer.param_groups[0].update(change)
        if t == 4:
            for p in params:
                p.grad, p.data = None, p.data.float()
        if t == 5:
            for p in params:
                p.grad, p.data = None, p.data.bfloat16()
        for own in (params, others):
            give_gradients(own, t)
        optimizer.step(), other.step()
    for p, q in zip(params, others, strict=True):
        torch.testing.assert_close(p.detach().float(), q.detach(), rtol=0.02, atol=0.02)


def test_groups_may_differ():
    def groups(params):
        return [{"params": params[:2]}, {"params": params[2:4], "master_weights": True, "lr": 0.01}]

    params, plain, exact = tensors(), tensors(), twins(tensors())
    optimizer = sd.optim.AdamW(groups(params))
    others = [sd.optim.AdamW(plain[:2]), sd.optim.AdamW(exact[2:4], lr=0.01)]
    for t in range(4):
        for own in (params, plain, exact):
            give_gradients(own, t)
        for one in (optimizer, *others):
            one.step()
    assert all(are_same(p.detach(), q.detach()) for p, q in zip(params[:2], plain[:2], strict=True))
    assert all(are_same(p.detach(), q.detach().bfloat16()) for p, q in zip(params[2:4], exact[2:4], strict=True))
    optimizer.add_param_group({"params": [params[5]], "stochastic_rounding": True})
    give_gradients(params, 5)
    optimizer.step()
    assert "step" in optimizer.state[params[5]]


def test_schedule_free_evaluates_at_the_average_and_goes_on_in_float32():
    params, others = tensors()[:4], twins(tensors()[:4])
    optimizer, other = make("ScheduleFreeAdamW", params, MASTERS), make("ScheduleFreeAdamW", others, {})
    for t in range(6):
        train(optimizer, params, [t]), train(other, others, [t])
        for one in (optimizer, other):
            one.eval()
        assert all(are_same(p.detach(), q.detach().bfloat16()) for p, q in zip(params, others, strict=True))
        for one in (optimizer, other):
            one.train()
        assert all(are_same(p.detach(), q.detach().bfloat16()) for p, q in zip(params, others, strict=True))


# -- Tensors of other kinds --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.complex64, torch.complex128])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_weights_of_other_dtypes_are_stepped_as_without_the_options(dtype, options):
    """Beside one in bfloat16, as of a model whose norms are in float32."""
    ends = []
    for own in (options, {}):
        params = [*tensors(dtype)[:3], *tensors()[:1]]
        optimizer = make("AdamW", params, own)
        for t in range(3):
            give_gradients(params, t)
            optimizer.step()
        ends.append([p.detach() for p in params[:3]])
        assert all("master_weight" not in optimizer.state[p] for p in params[:3])
    assert all(torch.equal(a, b) for a, b in zip(*ends, strict=True))


@pytest.mark.parametrize("name", some_slow(ALL))
def test_float16_has_masters_too(name):
    params, others = tensors(torch.float16)[:4], twins(tensors()[:4])
    optimizer, other = make(name, params, MASTERS), make(name, others, {})
    train(optimizer, params, range(4))
    train(other, others, range(4))
    for p, q in zip(params, others, strict=True):
        torch.testing.assert_close(optimizer.state[p]["master_weight"], q.detach(), rtol=1e-4, atol=1e-5)
        assert are_same(p.detach(), optimizer.state[p]["master_weight"].half())


@pytest.mark.parametrize("name", ["SGD", "AdamW", "Lion"])
def test_gradients_in_float32_keep_their_precision(name):
    params, others = tensors()[:2], twins(tensors()[:2])
    optimizer, other = make(name, params, MASTERS), make(name, others, {})
    for p in params:
        p.grad_dtype = torch.float32
    random = torch.Generator().manual_seed(0)
    for _ in range(3):
        for p, q in zip(params, others, strict=True):
            p.grad = torch.randn(p.shape, generator=random)
            q.grad = p.grad.clone()
        optimizer.step(), other.step()
    for p, q in zip(params, others, strict=True):
        torch.testing.assert_close(optimizer.state[p]["master_weight"], q.detach(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("change", [torch._neg_view, lambda g: torch.stack([g, g], -1)[..., 0], torch.Tensor.to_sparse])
def test_gradients_of_any_kind(change):
    params, others = tensors()[:3], twins(tensors()[:3])
    optimizer, other = make("SGD alone", params, MASTERS), make("SGD alone", others, {})
    for t in range(3):
        for own in (params, others):
            give_gradients(own, t)
            for p in own:
                p.grad = change(p.grad)
        optimizer.step(), other.step()
    for p, q in zip(params, others, strict=True):
        torch.testing.assert_close(optimizer.state[p]["master_weight"], q.detach(), rtol=1e-5, atol=1e-6)


@pytest.mark.filterwarnings("ignore:Sparse invariant checks")
@pytest.mark.parametrize("name", some_slow(name for name in ALL if name not in ("SGD", "Adagrad")))
def test_sparse_gradients_are_refused_where_torch_refuses_them(name):
    params = tensors()[:2]
    optimizer = make(name, params, MASTERS)
    train(optimizer, params, range(2))
    before = copy.deepcopy((params, optimizer.state_dict()["state"]))
    give_gradients(params, 2)
    params[0].grad = params[0].grad.to_sparse(1)
    with pytest.raises(RuntimeError, match=r"sparse|dense"):
        optimizer.step()
    assert all(are_same(p.detach(), q.detach()) for p, q in zip(params, before[0], strict=True))
    after = optimizer.state_dict()["state"]
    assert all(are_same(after[i][key], x) for i, state in before[1].items() for key, x in state.items())


def test_a_gradient_that_is_not_finite_is_the_formulas():
    params, others = tensors()[:1], twins(tensors()[:1])
    optimizer, other = make("AdamW", params, MASTERS), make("AdamW", others, {})
    for t in range(3):
        for own in (params, others):
            give_gradients(own, t)
            if t == 2:
                own[0].grad[0, :2] = torch.tensor([float("nan"), float("inf")])
        optimizer.step(), other.step()
    assert are_same(params[0].detach(), others[0].detach().bfloat16())
    assert params[0].isnan().sum() == 2


def test_parameters_that_share_memory_are_stepped_by_torchs_code():
    memory = torch.ones(8, dtype=torch.bfloat16)
    params = [nn.Parameter(memory[:6]), nn.Parameter(memory[2:])]
    optimizer = make("SGD alone", params, MASTERS, lr=0.25)
    for _ in range(3):
        for p in params:
            p.grad = torch.ones_like(p)
        optimizer.step()
    assert by_kernel(optimizer) == 0
    assert are_same(params[1].detach(), optimizer.state[params[1]]["master_weight"].bfloat16())


# -- Bad input ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["AdamW", "Lion"])
@pytest.mark.parametrize("option", ["master_weights", "stochastic_rounding"])
def test_options_are_booleans(name, option):
    with pytest.raises(InputError, match=f"{option} must be True or False, got 'bf16'"):
        getattr(sd.optim, name)(tensors(), **{option: "bf16"})


@pytest.mark.parametrize("name", ["AdamW", "Lion"])
def test_float16_is_not_rounded_stochastically(name):
    params = tensors(torch.float16)[:1]
    words = "stochastic_rounding needs weights in bfloat16, got float16 of parameter 0"
    with pytest.raises(InputError, match=words):
        getattr(sd.optim, name)(params, stochastic_rounding=True)
    optimizer = getattr(sd.optim, name)(tensors()[:2], stochastic_rounding=True)
    with pytest.raises(InputError, match="got float16"):
        optimizer.add_param_group({"params": params})
    assert len(optimizer.param_groups) == 1
    p = optimizer.param_groups[0]["params"][0]
    p.data = p.data.half()
    p.grad = torch.ones_like(p)
    with pytest.raises(InputError, match="got float16"):
        optimizer.step()


def test_a_rounding_is_not_differentiated():
    with pytest.raises(InputError, match="differentiable must be False with master_weights"):
        sd.optim.SGD(tensors(), lr=0.1, differentiable=True, master_weights=True)


@pytest.mark.parametrize("name", TORCHS)
def test_signatures_are_torchs_with_two_options_more(name):
    ours, theirs = (list(inspect.signature(getattr(library, name)).parameters) for library in (sd.optim, torch.optim))
    assert ours == [*theirs, "master_weights", "stochastic_rounding"]
    with pytest.raises(TypeError, match="unexpected keyword argument 'master_weigths'"):
        getattr(sd.optim, name)(tensors(), lr=0.1, master_weigths=True)


@pytest.mark.parametrize("name", OURS)
def test_a_misspelled_option_of_ours_is_an_error(name):
    with pytest.raises(TypeError, match="unexpected keyword argument 'master_weigths'"):
        getattr(sd.optim, name)(tensors(), master_weigths=True)


@pytest.mark.slow
@pytest.mark.long
def test_every_rule_has_the_options():
    """Rules as they stand in the textbook."""
    for name, own in textbook.RULES.items():
        params, others = tensors()[:2], twins(tensors()[:2])
        optimizer = sd.optim.RuleOptimizer(params, own(lr=0.01), master_weights=True)
        other = sd.optim.RuleOptimizer(others, own(lr=0.01))
        for t in range(3):
            give_gradients(params, t), give_gradients(others, t)
            optimizer.step(), other.step()
            if t == 0:
                start_alike(optimizer, params, others)
        assert isinstance(optimizer, KernelOptimizer)
        assert by_kernel(optimizer) == 2
        for p, q in zip(params, others, strict=True):
            assert are_same(p.detach(), q.detach().bfloat16()), name
