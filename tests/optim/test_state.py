"""State is torch's: it can be copied, saved, loaded, edited and replaced, whatever the tensors are."""

import copy
import io
import json
import pickle
from contextlib import nullcontext
from functools import partial
from pathlib import Path

import pytest
import torch
import torch.distributed.checkpoint as dcp
from torch import nn
from torch.distributed.checkpoint.state_dict import get_optimizer_state_dict, set_optimizer_state_dict

import steepest as sd
from steepest.errors import InputError, SteepestError

TORCHS = {
    "SGD": {"momentum": 0.9, "weight_decay": 0.01},
    "Adam": {"amsgrad": True},
    "AdamW": {},
    "Adagrad": {"lr_decay": 0.1},
    "RMSprop": {"momentum": 0.5, "centered": True},
    "NAdam": {},
    "Adamax": {},
    "RAdam": {},
    "Adadelta": {},
    "Rprop": {},
    "ASGD": {"t0": 2},
}
OURS = {"Lion": {}, "Signum": {}, "ADOPT": {}, "AdEMAMix": {"warmup": 10}, "ScheduleFreeAdamW": {}}
ALL = TORCHS | OURS
LOOSE = {"NAdam": 1e-8, "ASGD": 1e-8}
"""Where torch itself keeps numbers in float32, and in float64 after `load_state_dict`."""
OLD = json.loads(Path(__file__).with_name("state_dicts_0_1.json").read_text())  # written by Steepest 0.1


def weights(dtype=torch.float64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [nn.Parameter(torch.randn(s, generator=generator, dtype=torch.float64).to(dtype)) for s in ((3, 4), (5,))]


def give_gradients(params, t):
    generator = torch.Generator().manual_seed(100 + t)
    for p in params:
        p.grad = torch.randn(p.shape, generator=generator, dtype=torch.float64).to(p.dtype)


def train(optimizer, params, steps):
    for t in steps:
        give_gradients(params, t)
        optimizer.step()


def make(name, params, library=sd.optim):
    return getattr(library, name)(params, lr=0.05, **ALL[name])


def close(actual, expected, rtol=1e-9):
    torch.testing.assert_close(actual, expected, rtol=rtol, atol=rtol)


def save_and_load(state_dict):
    file = io.BytesIO()
    torch.save(state_dict, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def both(change, name="AdamW", params=weights, options=None, rtol=1e-9):
    """Trains with torch's class and ours, with a change of the optimizer before every step; the weights must agree."""
    results = []
    for library in (torch.optim, sd.optim):
        own = params()
        optimizer = getattr(library, name)(own, lr=0.05, **(TORCHS[name] if options is None else options))
        for t in range(6):
            give_gradients(own, t)
            change(t, optimizer, own)
            optimizer.step()
        results.append([p.detach() for p in own])
    close(results[1], results[0], rtol)


# -- Copies, files, torch's classes ------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["deepcopy", "pickle", "state_dict"])
@pytest.mark.parametrize("name", ALL)
def test_a_copy_goes_on_as_the_original(name, way):
    params = weights()
    optimizer = make(name, params)
    train(optimizer, params, range(3))
    if way == "state_dict":
        others = copy.deepcopy(params)
        other = make(name, others)
        other.load_state_dict(save_and_load(optimizer.state_dict()))
    else:
        duplicate = copy.deepcopy if way == "deepcopy" else lambda x: pickle.loads(pickle.dumps(x))
        other, others = duplicate((optimizer, params))
    train(optimizer, params, range(3, 6))
    train(other, others, range(3, 6))
    rtol = LOOSE.get(name, 1e-12) if way == "state_dict" else 1e-12
    close(others, params, rtol)
    if rtol == 1e-12:
        close(other.state_dict()["state"], optimizer.state_dict()["state"], rtol)


@pytest.mark.parametrize("first", ["torch", "ours"])
@pytest.mark.parametrize("name", TORCHS)
def test_state_goes_from_torchs_class_to_ours_and_back(name, first):
    libraries = [torch.optim, sd.optim] if first == "torch" else [sd.optim, torch.optim]
    expected, params = weights(), weights()
    train(make(name, expected, torch.optim), expected, range(6))
    optimizer = make(name, params, libraries[0])
    train(optimizer, params, range(3))
    other = make(name, params, libraries[1])
    other.load_state_dict(optimizer.state_dict())
    train(other, params, range(3, 6))
    close(params, expected, LOOSE.get(name, 1e-9))


@pytest.mark.parametrize("name", TORCHS)
def test_state_dict_has_torchs_keys_types_shapes_and_options(name):
    described = []
    for library in (torch.optim, sd.optim):
        params = weights(torch.float32)
        optimizer = make(name, params, library)
        train(optimizer, params, range(2))
        d = optimizer.state_dict()
        kinds = {i: {k: (type(x), x.dtype, x.shape) for k, x in s.items()} for i, s in d["state"].items()}
        described.append((kinds, d["param_groups"]))
    assert described[0] == described[1]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_numbers_of_a_state_stay_exact(dtype):
    params = weights(dtype)
    optimizer = make("ScheduleFreeAdamW", params)
    train(optimizer, params, range(3))
    others = copy.deepcopy(params)
    other = make("ScheduleFreeAdamW", others)
    other.load_state_dict(save_and_load(optimizer.state_dict()))
    assert {x.dtype for x in (other.state[others[0]][key] for key in ("weight_sum", "lr_max"))} == {torch.float64}
    train(optimizer, params, range(3, 6))
    train(other, others, range(3, 6))
    close((others, other.state_dict()), (params, optimizer.state_dict()), rtol=0)


def test_schedule_free_goes_on_from_a_state_saved_after_eval():
    params = weights()
    optimizer = make("ScheduleFreeAdamW", params)
    train(optimizer, params, range(3))
    optimizer.eval()
    others = copy.deepcopy(params)
    other = make("ScheduleFreeAdamW", others)
    other.load_state_dict(save_and_load(optimizer.state_dict()))
    with pytest.raises(InputError, match="Call optimizer"):
        other.step()
    optimizer.train()
    other.train()
    train(optimizer, params, range(3, 6))
    train(other, others, range(3, 6))
    close(others, params, rtol=0)


@pytest.mark.filterwarnings("ignore:torch.distributed is disabled")
@pytest.mark.parametrize("name", ["SGD", "AdamW", "Lion", "AdEMAMix", "ScheduleFreeAdamW"])
def test_distributed_checkpoint(name, tmp_path):
    def start(seed):
        torch.manual_seed(seed)
        model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2)).double()
        return model, make(name, model.parameters())

    model, optimizer = start(0)
    train(optimizer, list(model.parameters()), range(3))
    state = {"model": model.state_dict(), "optimizer": get_optimizer_state_dict(model, optimizer)}
    dcp.save(state, checkpoint_id=tmp_path, no_dist=True)
    other, other_optimizer = start(1)
    loaded = {"model": other.state_dict(), "optimizer": get_optimizer_state_dict(other, other_optimizer)}
    dcp.load(loaded, checkpoint_id=tmp_path, no_dist=True)
    other.load_state_dict(loaded["model"])
    set_optimizer_state_dict(other, other_optimizer, loaded["optimizer"])
    train(optimizer, list(model.parameters()), range(3, 6))
    train(other_optimizer, list(other.parameters()), range(3, 6))
    close(list(other.parameters()), list(model.parameters()), rtol=1e-12)


@pytest.mark.parametrize("case", OLD)
def test_a_state_dict_of_steepest_0_1_is_read(case):
    old = copy.deepcopy(OLD[case])
    a, b = (nn.Parameter(torch.tensor(x, dtype=torch.float64)) for x in old["middle"])
    groups = [{"params": [a]}, {"params": [b]}]
    if hasattr(sd, case):
        optimizer = sd.optim.RuleOptimizer(groups, getattr(sd, case)(lr=1.0))
    else:
        nesterov = {"nesterov": True, "momentum": 0.5} if "nesterov" in case else {}
        optimizer = getattr(sd.optim, case.split()[0])(groups, lr=1.0, **nesterov)
    state_dict = old["state_dict"]
    state_dict["state"] = {
        int(place): {key: torch.tensor(x, dtype=torch.float64) for key, x in slots.items()}
        for place, slots in state_dict["state"].items()
    }
    state_dict["param_groups"][1]["initial_lr"] = 0.05
    with pytest.warns(DeprecationWarning, match="Steepest 0.1"):
        optimizer.load_state_dict(state_dict)
    assert [group["lr"] for group in optimizer.param_groups] == [0.1, 0.05]
    assert optimizer.param_groups[1]["initial_lr"] == 0.05  # a scheduler that goes on needs it
    for t in range(3, 6):
        a.grad = torch.tensor([[1.0, -2.0], [0.5, t]], dtype=torch.float64)
        b.grad = torch.tensor([t - 1.5], dtype=torch.float64)
        optimizer.step()
    close([a.tolist(), b.tolist()], old["end"], rtol=1e-12)


# -- State that does not match -----------------------------------------------------------------------------------------


def other_shapes():
    params = [nn.Parameter(torch.ones(2, 4, dtype=torch.float64)), nn.Parameter(torch.ones(5, dtype=torch.float64))]
    optimizer = make("AdamW", params)
    train(optimizer, params, range(2))
    return optimizer.state_dict()


def other_optimizer():
    params = weights()
    optimizer = make("SGD", params, torch.optim)
    train(optimizer, params, range(2))
    return optimizer.state_dict()


def other_count():
    params = weights()[:1]
    optimizer = make("AdamW", params)
    train(optimizer, params, range(2))
    return optimizer.state_dict()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [(other_shapes, "same parameters"), (other_optimizer, "must come from AdamW"), (other_count, "size of optimizer")],
)
def test_state_that_does_not_match_is_refused_and_nothing_is_changed(wrong, message):
    params = weights()
    optimizer = make("AdamW", params)
    train(optimizer, params, range(2))
    before = copy.deepcopy((optimizer.state_dict(), params))
    with pytest.raises(ValueError, match=message):
        optimizer.load_state_dict(wrong())
    close((optimizer.state_dict(), params), before, rtol=0)


def test_a_split_optimizer_refuses_such_a_state_whole_and_calls_hooks():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 4), nn.Linear(4, 2))
    optimizer = sd.optim.split(model, matrices=partial(torch.optim.Muon, lr=0.02), rest=sd.optim.AdamW)
    calls = []
    optimizer.register_load_state_dict_pre_hook(lambda o, d: calls.append("pre"))
    optimizer.register_load_state_dict_post_hook(lambda o: calls.append("post"))
    train(optimizer, list(model.parameters()), range(2))
    before = copy.deepcopy(optimizer.state_dict())
    optimizer.load_state_dict(before)
    wrong = copy.deepcopy(before)
    for state in wrong["state"].values():
        for x in state.values():
            x.mul_(2)  # of both optimizers; one of them gets another shape besides
    wrong["state"][len(wrong["state"]) - 1]["exp_avg"] = torch.ones(7)
    with pytest.raises(ValueError, match="same parameters"):
        optimizer.load_state_dict(wrong)
    close(optimizer.state_dict(), before, rtol=0)
    assert calls == ["pre", "post", "pre"]


# -- State edited between steps ----------------------------------------------------------------------------------------


def scale_state(t, optimizer, params):
    for state in optimizer.state.values():
        state["exp_avg"].mul_(0.5)


def replace_state(t, optimizer, params):
    for state in optimizer.state.values():
        state["exp_avg"] = state["exp_avg"] * 0.5
        state["step"] = torch.tensor(7.0 + t)


def point_state_elsewhere(t, optimizer, params):
    for state in optimizer.state.values():
        state["exp_avg_sq"].data = state["exp_avg_sq"] + 1


def clear_state(t, optimizer, params):
    if t == 3:
        optimizer.state.clear()
    if t == 4:
        del optimizer.state[params[0]]


def reset_one_key(t, optimizer, params):
    if t == 3:
        optimizer.state[params[0]] = {k: torch.zeros_like(x) for k, x in optimizer.state[params[0]].items()}


def skip_some_gradients(t, optimizer, params):
    params[t % 2].grad = None if t != 2 else params[0].grad


def freeze(t, optimizer, params):
    params[0].requires_grad_(t in (0, 3, 4))
    params[0].grad = params[0].grad if params[0].requires_grad else None


def other_options(t, optimizer, params):
    optimizer.param_groups[0].update(lr=0.1 / (t + 1), betas=(0.8, 0.9), weight_decay=0.1 * t, maximize=t % 2 == 1)


@pytest.mark.parametrize(
    "change",
    [scale_state, replace_state, point_state_elsewhere, clear_state, reset_one_key, skip_some_gradients, freeze,
     other_options],
)  # fmt: skip
def test_state_and_options_may_be_edited_between_steps(change):
    both(change)


def test_steps_are_counted_per_parameter_and_frozen_ones_have_no_state():
    params = weights()
    params.append(nn.Parameter(torch.ones(2), requires_grad=False))
    optimizer = make("Adam", params)
    train(optimizer, params[:1], range(3))
    train(optimizer, params[:2], range(3, 5))
    assert [float(optimizer.state[p]["step"]) for p in params[:2]] == [5, 2]
    assert params[2] not in optimizer.state


@pytest.mark.parametrize("name", OURS)
def test_rules_of_our_own_count_per_parameter_too(name):
    params, alone = weights(), weights()
    optimizer, other = make(name, params), make(name, alone[1:])
    train(optimizer, params[:1], range(2))
    params[0].grad = None
    train(optimizer, params[1:], range(2, 5))
    train(other, alone[1:], range(2, 5))
    close(params[1], alone[1], rtol=1e-12)


# -- Tensors of other kinds --------------------------------------------------------------------------------------------


def as_channels_last():
    x = torch.randn(4, 3, 2, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return [nn.Parameter(x.to(memory_format=torch.channels_last))]


def without_dimensions():
    return [nn.Parameter(torch.tensor(2.0, dtype=torch.float64)), *weights()]


def empty():
    return [nn.Parameter(torch.ones(0, 3, dtype=torch.float64)), *weights()]


def transposed():
    return [nn.Parameter(weights()[0].detach().T), weights()[1]]


def with_gaps():
    return [nn.Parameter(torch.ones(4, 6, dtype=torch.float64)[:, ::2]), weights()[1]]


def complex_weights():
    return weights(torch.complex128)


def in_half_precision():
    return weights(torch.bfloat16)


def in_single_precision():
    return [*weights(torch.float32), *weights()]


def of_one_memory():
    memory = torch.randn(8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return [nn.Parameter(memory[:6]), nn.Parameter(memory[2:])]


def of_expanded_memory():
    return [nn.Parameter(torch.ones(4, 1, dtype=torch.float64)), weights()[1]]


KINDS = [as_channels_last, without_dimensions, empty, transposed, with_gaps, complex_weights, in_half_precision,
         in_single_precision, of_one_memory, of_expanded_memory]  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", TORCHS)
def test_parameters_of_any_kind(name, kind):
    rtol = {in_half_precision: 0, in_single_precision: 1e-6}.get(kind, LOOSE.get(name, 1e-9))
    both(lambda t, optimizer, params: None, name, kind, rtol=rtol)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind is not of_one_memory])
@pytest.mark.parametrize("name", OURS)
def test_parameters_of_any_kind_by_rules_of_our_own(name, kind):
    """As when each parameter is contiguous and has an optimizer of its own."""
    params, alone = kind(), [nn.Parameter(p.detach().clone().contiguous()) for p in kind()]
    train(make(name, params), params, range(4))
    optimizers = [make(name, [p]) for p in alone]
    for t in range(4):
        give_gradients(alone, t)
        for optimizer in optimizers:
            optimizer.step()
    close([p.detach().contiguous() for p in params], [p.detach() for p in alone], rtol=1e-6)


# -- Gradients of other kinds ------------------------------------------------------------------------------------------


def negated(x):
    return torch._neg_view(-x)


def conjugated(x):
    return torch.complex(x, -x).conj().imag


def expanded(x):
    return x.flatten()[:1].expand(x.numel()).view(x.shape)


def strided(x):
    return torch.stack([x, x], -1)[..., 0]


def transposed_gradient(x):
    return x.mT.contiguous().mT if x.ndim > 1 else x


GRADIENTS = [negated, conjugated, expanded, strided, transposed_gradient]


@pytest.mark.parametrize("kind", GRADIENTS)
@pytest.mark.parametrize("name", ["SGD", "Adam", "ASGD"])
def test_gradients_of_any_kind(name, kind):
    def change(t, optimizer, params):
        for p in params:
            p.grad = kind(p.grad)

    both(change, name)


@pytest.mark.parametrize("name", ALL)
def test_bfloat16_gradients_of_float32_weights(name):
    """As those of float32 with the same values, also where torch's own step fails."""
    params, others = weights(torch.float32), weights(torch.float32)
    optimizer, other = make(name, params), make(name, others)
    for p in params:
        p.grad_dtype = torch.bfloat16
    for t in range(4):
        give_gradients(others, t)
        for p, q in zip(params, others, strict=True):
            p.grad = q.grad.bfloat16()
            q.grad = p.grad.float()
        other.step()
        optimizer.step()
    close(params, others, rtol=0)
    assert {p.grad.dtype for p in params} == {torch.bfloat16}


def sparse(t, optimizer, params):
    params[0].grad = params[0].grad.to_sparse(1)


@pytest.mark.filterwarnings("ignore:Sparse invariant checks")
@pytest.mark.parametrize("name", ["SGD", "Adagrad"])
def test_sparse_gradients_where_torch_has_them(name):
    both(sparse, name, options={})


@pytest.mark.parametrize("name", [name for name in ALL if name not in ("SGD", "Adagrad")])
def test_sparse_gradients_are_refused_elsewhere(name):
    params = weights()
    optimizer = make(name, params)
    train(optimizer, params, range(3))
    before = copy.deepcopy(params)
    give_gradients(params, 3)
    sparse(3, optimizer, params)
    with pytest.raises(RuntimeError, match=r"sparse|dense"):
        optimizer.step()
    close(params, before, rtol=0)
    train(optimizer, params, [3])


# -- Options -----------------------------------------------------------------------------------------------------------

FLAGS = [{"foreach": True}, {"foreach": False}, {"fused": True}, {"maximize": True}, {"lr": 0.0},
         {"lr": torch.tensor(0.05, dtype=torch.float64)}]  # fmt: skip


@pytest.mark.parametrize("flags", FLAGS, ids=str)
@pytest.mark.parametrize("name", TORCHS)
def test_options_mean_what_they_mean_in_torch(name, flags):
    def outcome(library):
        params = weights()
        try:
            optimizer = getattr(library, name)(params, **{"lr": 0.05, **TORCHS[name], **flags})
            train(optimizer, params, range(5))
        except (TypeError, ValueError, RuntimeError) as error:
            return type(error), str(error).split("__init__")[-1]
        return params

    expected, actual = outcome(torch.optim), outcome(sd.optim)
    if isinstance(expected, tuple):
        assert actual == expected
    else:
        close(actual, expected, LOOSE.get(name, 1e-9))


def set_tensor_rate(t, optimizer, params):
    group = optimizer.param_groups[0]
    if t == 2:
        group["lr"] = torch.tensor(0.05, dtype=torch.float64)
    elif t > 2:
        group["lr"].mul_(0.5)  # in place, as a compiled scheduler does


def test_a_learning_rate_that_is_a_tensor_may_change_in_place():
    both(set_tensor_rate)


def test_the_step_can_be_differentiated():
    rate = torch.tensor(0.1, dtype=torch.float64, requires_grad=True)
    derivatives = []
    for library in (torch.optim, sd.optim):
        x = torch.tensor([1.0, 2.0], dtype=torch.float64).requires_grad_().clone()
        x.grad = torch.tensor([3.0, 4.0], dtype=torch.float64)
        library.SGD([x], lr=rate, differentiable=True).step()
        derivatives.append(torch.autograd.grad(x.sum(), rate)[0])
    assert derivatives[0] == derivatives[1] == -7


# -- Bad input ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ALL)
def test_groups_that_share_a_parameter_are_refused(name):
    params = weights()
    with pytest.raises(ValueError, match="more than one parameter group"):
        make(name, [{"params": params}, {"params": params[:1]}])
    optimizer = make(name, params)
    with pytest.raises(ValueError, match="more than one parameter group"):
        optimizer.add_param_group({"params": params[:1]})
    assert len(optimizer.param_groups) == 1


@pytest.mark.parametrize("name", ALL)
def test_an_unknown_option_of_a_group_is_refused(name):
    with pytest.raises(ValueError, match="Unknown option 'wieght_decay'"):
        make(name, [{"params": weights(), "wieght_decay": 0.1}])
    optimizer = make(name, weights())
    with pytest.raises(ValueError, match="Unknown option 'rl'"):
        optimizer.add_param_group({"params": weights(), "rl": 0.1})
    assert len(optimizer.param_groups) == 1


@pytest.mark.parametrize("name", ALL)
def test_meta_tensors_are_refused(name):
    params = [*weights(), nn.Parameter(torch.ones(2, 3, device="meta"))]
    optimizer = make(name, params)
    train(optimizer, params[:2], range(2))
    before = copy.deepcopy(params[:2])
    params[2].grad = torch.ones(2, 3, device="meta")
    with pytest.raises(ValueError, match="meta device"):
        optimizer.step()
    close(params[:2], before, rtol=0)


@pytest.mark.parametrize("name", ALL)
def test_a_gradient_of_another_shape_is_refused(name):
    params = weights()
    optimizer = make(name, params)
    train(optimizer, params, range(2))
    params[1].data = torch.ones(7, dtype=torch.float64)
    before = copy.deepcopy([p.detach() for p in params])
    with pytest.raises(ValueError, match=r"shape \(7,\), got \(5,\)"):
        optimizer.step()
    close([p.detach() for p in params], before, rtol=0)


def test_a_gradient_whose_memory_was_freed_is_refused():
    params = weights()
    optimizer = make("AdamW", params)
    train(optimizer, params, range(2))
    give_gradients(params, 2)
    params[0].grad.untyped_storage().resize_(0)
    before = params[1].detach().clone()
    with pytest.raises(SteepestError, match="storage was freed"):
        optimizer.step()
    assert torch.equal(params[1], before)


@pytest.mark.parametrize("name", ["Adam", "AdEMAMix", "ScheduleFreeAdamW"])
def test_torchs_default_device_does_not_matter(name):
    params, others = weights(), weights()
    optimizer, other = make(name, params), make(name, others)
    train(optimizer, params, range(4))
    for t in range(4):
        give_gradients(others, t)
        for p in others:
            p.grad = negated(p.grad)  # of which a copy is made
        with torch.device("meta") if t or name not in TORCHS else nullcontext():  # torch makes its counts there
            other.step()
    close(others, params, rtol=0)
