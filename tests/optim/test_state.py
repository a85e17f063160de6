"""State is torch's: it can be copied, saved, loaded, edited and replaced."""

import copy
import io
import json
import pickle
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import nn

import steepest as sd
from steepest.errors import InputError
from tests.optim.against_torch import ALL, LOOSE, OURS, TORCHS, both, close, copy_by_dcp, make, train, weights

OLD = json.loads(Path(__file__).with_name("state_dicts_0_1.json").read_text())  # written by Steepest 0.1


def save_and_load(state_dict):
    file = io.BytesIO()
    torch.save(state_dict, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


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
    other, other_optimizer = start(1)
    copy_by_dcp(model, optimizer, other, other_optimizer, tmp_path)
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
    optimizer = sd.optim.split(model, matrices=partial(torch.optim.SGD, lr=0.02, momentum=0.9), rest=sd.optim.AdamW)
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
